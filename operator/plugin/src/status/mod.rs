//! `kubectl murder status`: the whole murder on one page.

mod alerts;
mod certificates;
mod report;
mod table;

use std::process::ExitCode;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

pub(crate) use self::alerts::is_blocked;
use self::certificates::Certificate;
use self::report::Picture;
use crate::access::Access;
use crate::murder::Murder;
use crate::nodes::{Answers, Nodes, Questions};
use crate::options::Options;
use crate::output;

/// Shows the murder.
pub(crate) async fn run(access: &Access, options: &Options) -> anyhow::Result<ExitCode> {
    let murder = Murder::load(access, options.cluster_name.as_deref()).await?;
    let picture = look(access, murder).await;
    let report = report::report(&picture);
    let names = names(&picture.murder);
    output::answer(options.output, &report, &names, |wide| {
        table::text(&report, wide, output::is_colourful())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the nodes; without them, the objects have to do.
async fn look(access: &Access, murder: Murder) -> Picture {
    let questions = Questions {
        murder: true,
        certificates: true,
        ..Questions::default()
    };
    let mut picture = Picture {
        now: Timestamp::now().as_second(),
        murder,
        answers: Answers::new(),
        certificates: Vec::new(),
        silence: None,
    };
    match Nodes::open(access, &picture.murder).await {
        Ok(nodes) => {
            picture.answers = nodes.ask(&picture.murder, questions).await;
            picture.certificates = certificates::all(&nodes, &picture.answers);
        }
        Err(error) => picture.silence = Some(format!("{error:#}")),
    }
    picture
}

fn names(murder: &Murder) -> Vec<String> {
    let cluster = format!("murdercluster.murder.rs/{}", murder.name());
    let backends = murder.backends.iter();
    let backends = backends.map(|backend| crate::state::full_name(&backend.name_any()));
    let frontends = murder.frontends.iter();
    let frontends = frontends.map(|fe| format!("frontend.murder.rs/{}", fe.name_any()));
    std::iter::once(cluster)
        .chain(backends)
        .chain(frontends)
        .collect()
}
