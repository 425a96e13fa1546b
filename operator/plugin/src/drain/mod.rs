//! `kubectl murder drain`: empties a Backend, or says what that would take.

mod plan;
mod progress;
mod verdict;
mod waiting;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kube::ResourceExt as _;
use murder_operator::crd::DesiredState;

use crate::access::Access;
use crate::murder::Murder;
use crate::nodes::{Nodes, Questions};
use crate::options::{Options, parse_limit};
use crate::{output, state};

/// What kubectl means by a dry run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum DryRun {
    /// Drain.
    None,
    /// Only show what would move.
    Client,
    /// The same; the API server checks the change and does not keep it.
    Server,
}

/// Arguments of `drain`.
#[derive(Args, Debug)]
pub(crate) struct DrainArgs {
    /// Name of the Backend
    #[arg(value_name = "NAME")]
    name: String,
    /// Wait until it is proven empty; show how far it is
    #[arg(long)]
    wait: bool,
    /// Change nothing; show what would move where, and what is in the way
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        num_args = 0..=1,
        require_equals = true,
        default_value = "none",
        default_missing_value = "client"
    )]
    dry_run: DryRun,
    /// How long to wait, e.g. 90m; 0 is without end
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_limit)]
    timeout: Duration,
}

/// Drains.
pub(crate) async fn run(
    access: &Access,
    options: &Options,
    args: &DrainArgs,
) -> anyhow::Result<ExitCode> {
    let name = &args.name;
    if args.dry_run != DryRun::None {
        return Box::pin(show_plan(access, options, args)).await;
    }
    let before = state::find(access, name).await?;
    let is_going = before.metadata.deletion_timestamp.is_some();
    if is_going {
        output::error(&format!(
            "{name} was deleted and is being emptied; that cannot be taken back"
        ));
    }
    let backend = state::set(access, name, DesiredState::Drained, false).await?;
    let word = match before.spec.desired_state {
        DesiredState::Drained => "is drained already or being drained",
        DesiredState::Active | DesiredState::Cordoned => "is being drained",
    };
    if !args.wait {
        return state::say(options, &backend, word);
    }
    output::error(&format!("{} {word}", state::full_name(name)));
    let wait = waiting::Wait {
        name: name.clone(),
        uid: backend.uid().unwrap_or_default(),
        generation: backend.metadata.generation.unwrap_or(0),
        limit: args.timeout,
        again: options.repeated(access.namespace()),
        can_be_taken_back: !is_going,
    };
    wait.run(access).await
}

async fn show_plan(
    access: &Access,
    options: &Options,
    args: &DrainArgs,
) -> anyhow::Result<ExitCode> {
    let name = &args.name;
    if args.dry_run == DryRun::Server {
        state::set(access, name, DesiredState::Drained, true).await?;
    }
    let (murder, _) = Murder::of_backend(access, name).await?;
    let nodes = Nodes::open(access, &murder).await?;
    let mut questions = Questions {
        murder: true,
        ..Questions::default()
    };
    let mut answers = nodes.ask(&murder, questions).await;
    // Only the source's units are wanted one by one.
    questions.units = true;
    let pod = crate::murder::pod_of(name);
    let source = nodes.ask_pod(&murder, &pod, questions).await;
    answers.extend(source.map(|heard| (pod, heard)));
    let world = world::of_drain(&murder, &answers, name);
    let plan = plan::plan_drain(&world, name);
    output::answer(options.output, &plan, &[state::full_name(name)], |wide| {
        plan::text(&plan, wide, output::is_colourful())
    })?;
    Ok(if plan.blockers.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
