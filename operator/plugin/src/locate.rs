//! `kubectl murder where`: which server has a user, by the master's word and by the servers' own.

use std::process::ExitCode;
use std::time::Duration;

use futures::StreamExt as _;
use kube::ResourceExt as _;
use murder_api::admin::{UnitOfRecord, UnitSummary};
use murder_model::{RootName, UserName};
use serde::Serialize;

use crate::access::Access;
use crate::murder::{self, Murder};
use crate::nodes::Nodes;
use crate::options::Options;
use crate::text::{self, Tone, head, table};
use crate::{BadInput, output, state};

/// Servers asked at a time.
const ASKED_MAX: usize = 16;

/// Between two looks.
const SECOND_LOOK: Duration = Duration::from_millis(2200);

/// Whom to look for.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Whom {
    /// Name of the user
    #[arg(value_name = "USER")]
    user: String,
    /// USER is the name of a shared tree
    #[arg(long)]
    shared: bool,
}

impl Whom {
    /// The root of the tree.
    pub(crate) fn root(&self) -> anyhow::Result<RootName> {
        let root = if self.shared {
            RootName::parse(&self.user)
        } else {
            UserName::parse(&self.user).map(|user| RootName::user(&user))
        };
        root.map_err(|error| BadInput(format!("{:?}: {error}", self.user)).into())
    }
}

/// As on the command line.
impl std::fmt::Display for Whom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shared = if self.shared { " --shared" } else { "" };
        write!(f, "{}{shared}", self.user)
    }
}

/// Where a root is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Whereabouts {
    pub(crate) root: String,
    /// The server that serves it, if exactly one does.
    pub(crate) server: Option<String>,
    /// What each server has of it.
    pub(crate) copies: Vec<Copy>,
    /// The master's word; none if there is no master or it knows nothing of the root.
    pub(crate) master: Option<UnitOfRecord>,
    /// Nodes that did not answer, with why.
    pub(crate) unheard: Vec<String>,
    /// What does not fit together.
    pub(crate) problems: Vec<String>,
}

/// What one server has of a root.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Copy {
    pub(crate) server: String,
    #[serde(flatten)]
    pub(crate) unit: UnitSummary,
}

/// Shows where a user is.
pub(crate) async fn run(
    access: &Access,
    options: &Options,
    whom: &Whom,
) -> anyhow::Result<ExitCode> {
    let root = whom.root()?;
    let murder = Murder::load(access, options.cluster_name.as_deref()).await?;
    let nodes = Nodes::open(access, &murder).await?;
    let found = look(&murder, &nodes, &root).await;
    let names: Vec<String> = found
        .server
        .iter()
        .map(|name| state::full_name(name))
        .collect();
    output::answer(options.output, &found, &names, |wide| {
        text(&found, wide, output::is_colourful())
    })?;
    let is_sure = found.server.is_some() && found.problems.is_empty();
    Ok(if is_sure {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Asks the master and every server, and once more if that does not fit together: a user may have moved meanwhile, and
/// what nodes list may be two seconds old.
pub(crate) async fn look(murder: &Murder, nodes: &Nodes, root: &RootName) -> Whereabouts {
    let found = look_once(murder, nodes, root).await;
    if found.problems.is_empty() {
        return found;
    }
    tokio::time::sleep(SECOND_LOOK).await;
    look_once(murder, nodes, root).await
}

async fn look_once(murder: &Murder, nodes: &Nodes, root: &RootName) -> Whereabouts {
    let mut found = Whereabouts {
        root: root.to_string(),
        ..Whereabouts::default()
    };
    let mut knows_master = true;
    if let Some(name) = murder.master_pod() {
        match murder.pod(&name) {
            Some(pod) => match nodes.client.row(&nodes.endpoint(pod), root).await {
                Ok(row) => found.master = row,
                Err(error) => {
                    knows_master = false;
                    found.unheard.push(error.to_string());
                }
            },
            None => {
                knows_master = false;
                found.unheard.push(format!("there is no pod {name}"));
            }
        }
    }
    let calls = murder.backends.iter().map(|backend| async {
        let name = backend.name_any();
        let units = match murder.pod(&murder::pod_of(&name)) {
            None => Err(format!("there is no pod {}", murder::pod_of(&name))),
            Some(pod) => {
                let units = nodes.client.units_of(&nodes.endpoint(pod), root).await;
                units.map_err(|error| error.to_string())
            }
        };
        (name, units)
    });
    let calls: Vec<_> = calls.collect();
    let heard: Vec<_> = futures::stream::iter(calls)
        .buffered(ASKED_MAX)
        .collect()
        .await;
    for (server, units) in heard {
        match units {
            Err(error) => found.unheard.push(error),
            Ok(units) => found.copies.extend(units.into_iter().map(|unit| Copy {
                server: server.clone(),
                unit,
            })),
        }
    }
    judge(&mut found, murder.master_pod().is_some() && knows_master);
    found
}

/// Says who serves, and what does not fit. `has_master`: it was asked and answered.
fn judge(found: &mut Whereabouts, has_master: bool) {
    let owners = found
        .copies
        .iter()
        .filter(|copy| copy.unit.state == "Owner");
    let owners: Vec<&Copy> = owners.collect();
    let names: Vec<&str> = owners.iter().map(|copy| copy.server.as_str()).collect();
    let mut problems = Vec::new();
    match names.as_slice() {
        [one] => found.server = Some((*one).to_owned()),
        [] if found.unheard.is_empty() => problems.push("no server serves it".to_owned()),
        [] => problems.push("no server that answered serves it".to_owned()),
        several => problems.push(format!("{} serve it at once", several.join(" and "))),
    }
    let master = found.master.as_ref();
    match (master, found.server.as_deref()) {
        (Some(row), Some(server)) if row.server.as_str() != server => {
            let says = format!("the master says {}, {server} serves it", row.server);
            problems.push(says);
        }
        (Some(row), None) => problems.push(format!("the master says {}", row.server)),
        (None, Some(_)) if has_master => {
            problems.push("the master knows nothing of it".to_owned());
        }
        _ => {}
    }
    found.problems = problems;
}

fn text(found: &Whereabouts, wide: bool, colour: bool) -> String {
    let mut out = String::new();
    if !found.copies.is_empty() {
        let mut names = head(&[
            "ROOT",
            "SERVER",
            "PARTITION",
            "EPOCH",
            "STATE",
            "MAILBOXES",
            "BYTES",
        ]);
        if wide {
            names.extend(head(&["MESSAGES", "UNIT"]));
        }
        let mut rows = vec![names];
        for Copy { server, unit } in &found.copies {
            let mut row = vec![
                found.root.clone().into(),
                server.clone().into(),
                unit.partition.to_string().into(),
                unit.epoch.to_string().into(),
                unit.state.clone().into(),
                unit.mailboxes.to_string().into(),
                text::bytes(unit.bytes).into(),
            ];
            if wide {
                row.push(unit.messages.to_string().into());
                row.push(unit.unit.to_string().into());
            }
            rows.push(row);
        }
        out.push_str(&table(&rows, colour));
    }
    for problem in &found.problems {
        out.push_str(&format!(
            "{} {problem}\n",
            Tone::Bad.paint("problem:", colour)
        ));
    }
    for unheard in &found.unheard {
        out.push_str(&format!(
            "{} {unheard}\n",
            Tone::Warning.paint("not heard:", colour)
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use murder_api::admin::UnitOfRecord;

    use super::{Copy, Whereabouts, judge, text};
    use crate::fixture::{row, unit};

    fn shown(copies: &[(&str, &str)], master: Option<UnitOfRecord>, unheard: &[&str]) -> String {
        let copies = copies.iter().map(|(server, state)| Copy {
            server: (*server).to_owned(),
            unit: unit(1, "user.alice", state, 3, 5 << 20),
        });
        let mut found = Whereabouts {
            root: "user.alice".to_owned(),
            copies: copies.collect(),
            master,
            unheard: unheard.iter().map(|&text| text.to_owned()).collect(),
            ..Whereabouts::default()
        };
        judge(&mut found, true);
        text(&found, false, false)
    }

    #[test]
    fn one_owner_that_the_master_confirms_is_the_answer() {
        let shown = shown(
            &[("be-a", "Owner"), ("be-b", "Moved")],
            Some(row(1, "user.alice", "be-a", 3)),
            &[],
        );
        assert_eq!(
            shown,
            "ROOT         SERVER   PARTITION   EPOCH   STATE   MAILBOXES   BYTES\n\
             user.alice   be-a     default     3       Owner   4           5.0 MiB\n\
             user.alice   be-b     default     3       Moved   4           5.0 MiB\n"
        );
    }

    #[test]
    fn disagreement_is_told() {
        let shown = shown(
            &[("be-a", "Owner")],
            Some(row(1, "user.alice", "be-b", 4)),
            &[],
        );
        assert!(
            shown.ends_with("\nproblem: the master says be-b, be-a serves it\n"),
            "{shown}"
        );
    }

    #[test]
    fn silence_is_not_taken_for_absence() {
        let shown = shown(&[], None, &["be-a-0 did not answer in 5s"]);
        assert_eq!(
            shown,
            "problem: no server that answered serves it\nnot heard: be-a-0 did not answer in 5s\n"
        );
    }
}
