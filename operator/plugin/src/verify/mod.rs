//! `kubectl murder verify`: whether the master's rows and the servers' own units say the same.

mod compare;

use std::process::ExitCode;
use std::time::Duration;

use kube::ResourceExt as _;
use murder_api::admin::UnitOfRecord;
use serde::Serialize;

use self::compare::{Comparison, Finding, Truth, compare};
use crate::access::Access;
use crate::murder::{self, Murder};
use crate::nodes::{Nodes, Questions};
use crate::options::Options;
use crate::output;
use crate::text::{self, Cell, Tone, head, table};

/// Between two looks: what a move or a new user brings about is over by then.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// What came of it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verification {
    murder: String,
    /// Whether there is a master to compare with.
    has_master: bool,
    #[serde(flatten)]
    comparison: Comparison,
}

/// Compares, and once more if something is odd: only what is odd both times is told.
pub(crate) async fn run(access: &Access, options: &Options) -> anyhow::Result<ExitCode> {
    let mut found = look(access, options).await?;
    if !found.comparison.findings.is_empty() {
        tokio::time::sleep(SECOND_LOOK).await;
        let first = found.comparison.findings;
        found = look(access, options).await?;
        found
            .comparison
            .findings
            .retain(|finding| first.contains(finding));
    }
    let names: Vec<String> = found
        .comparison
        .findings
        .iter()
        .map(Finding::name)
        .collect();
    output::answer(options.output, &found, &names, |_| {
        page(&found, output::is_colourful())
    })?;
    Ok(if found.comparison.is_fine() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn look(access: &Access, options: &Options) -> anyhow::Result<Verification> {
    let murder = Murder::load(access, options.cluster_name.as_deref()).await?;
    let nodes = Nodes::open(access, &murder).await?;
    let has_master = murder.master_pod().is_some();
    let rows = match murder.master_pod() {
        None => Ok(Vec::new()),
        Some(name) => rows(&murder, &nodes, &name).await,
    };
    let questions = Questions {
        units: true,
        ..Questions::default()
    };
    let answers = nodes.ask(&murder, questions).await;
    let truths = murder.backends.iter().map(|backend| {
        let name = backend.name_any();
        let heard = answers
            .get(&murder::pod_of(&name))
            .cloned()
            .unwrap_or_default();
        let own = heard.status.and_then(|status| status.backend);
        let silent = format!("{} does not run", murder::pod_of(&name));
        Truth {
            server_id: own.map(|own| own.server_id),
            units: heard.units.ok_or_else(|| heard.error.unwrap_or(silent)),
            server: name,
        }
    });
    let truths: Vec<Truth> = truths.collect();
    Ok(Verification {
        murder: murder.name(),
        has_master,
        comparison: compare(has_master.then_some(rows), &truths),
    })
}

async fn rows(murder: &Murder, nodes: &Nodes, pod: &str) -> Result<Vec<UnitOfRecord>, String> {
    let pod = murder
        .pod(pod)
        .ok_or_else(|| format!("there is no pod {pod}"))?;
    let rows = nodes.client.rows(&nodes.endpoint(pod)).await;
    rows.map_err(|error| error.to_string())
}

fn page(found: &Verification, colour: bool) -> String {
    let Comparison {
        rows,
        served,
        moving,
        findings,
        unknown,
    } = &found.comparison;
    let served = text::counted(*served, "user", "users");
    let mut out = if found.has_master {
        let rows = text::counted(*rows, "row", "rows");
        format!("{}: {rows} of the master, {served} served\n", found.murder)
    } else {
        format!(
            "{}: {served} served; there is no master to compare with\n",
            found.murder
        )
    };
    if *moving > 0 {
        let moving = text::counted(*moving, "is", "are");
        out.push_str(&format!("{moving} moving or being made\n"));
    }
    if !findings.is_empty() {
        let mut rows = vec![head(&["FINDING", "ROOT", "WHAT"])];
        rows.extend(findings.iter().map(|finding| {
            let kind = format!("{:?}", finding.kind);
            vec![
                Cell::new(kind, Tone::Bad),
                finding.root.clone().into(),
                finding.message.clone().into(),
            ]
        }));
        out.push_str(&format!("\n{}", table(&rows, colour)));
    }
    for unknown in unknown {
        out.push_str(&format!(
            "{} {unknown}\n",
            Tone::Warning.paint("not judged:", colour)
        ));
    }
    let is_fine = found.comparison.is_fine();
    if is_fine {
        let fine = Tone::Good.paint("Everything fits.", colour);
        out.push_str(&format!("{fine}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::compare::tests::{all_is_well, truths_with_faults};
    use super::{Verification, compare, page};

    #[test]
    fn a_murder_in_order_is_one_sentence() {
        let (rows, truths) = all_is_well();
        let found = Verification {
            murder: "mc".to_owned(),
            has_master: true,
            comparison: compare(Some(Ok(rows)), &truths),
        };
        assert_eq!(
            page(&found, false),
            "mc: 3 rows of the master, 3 users served\nEverything fits.\n"
        );
    }

    #[test]
    fn findings_are_a_table_and_silence_is_told() {
        let (rows, truths) = truths_with_faults();
        let found = Verification {
            murder: "mc".to_owned(),
            has_master: true,
            comparison: compare(Some(Ok(rows)), &truths),
        };
        assert_eq!(
            page(&found, false),
            "mc: 5 rows of the master, 4 users served\n\
             1 is moving or being made\n\
             \n\
             FINDING   ROOT         WHAT\n\
             Double    user.alice   served by be-a (epoch 1) and be-b (epoch 2) at once\n\
             Stray     user.alice   be-b serves it (epoch 2), the master says be-a (epoch 1)\n\
             Ghost     user.bob     the master says be-a (epoch 1), which has it no more\n\
             Stray     user.carol   be-b serves it (epoch 4), the master knows nothing of it\n\
             not judged: be-c-0 did not answer in 5s (1 row)\n"
        );
    }
}
