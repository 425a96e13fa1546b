//! Waiting until the murder is as wished, and showing how far it is.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::calls::look;
use super::output;
use super::progress::Progress;
use crate::platform::local::protocol::{BackendLine, Change, Status};
use crate::platform::local::state::Folder;

/// How often a waiting command looks.
const LOOK: Duration = Duration::from_millis(200);
/// How long a drain may stay blocked before a waiting command gives up: what only people can solve, what a node that
/// is about to be ready solves, and what a node that is started again solves.
const BLOCKED_MAX: Duration = Duration::from_secs(5);
const BLOCKED_READY_MAX: Duration = Duration::from_secs(10);
const BLOCKED_RESTART_MAX: Duration = Duration::from_secs(60);

/// What is waited for.
pub(super) enum Goal {
    /// That all is as wished.
    All,
    /// That a Backend has become what it was told to be.
    Of(String, Change),
}

impl Goal {
    fn is_reached(&self, status: &Status) -> bool {
        let Self::Of(name, change) = self else {
            return status.converged;
        };
        let mut backends = status.backends.iter();
        let backend = backends.find(|backend| backend.name == *name);
        match change {
            Change::Activate | Change::Cordon => backend.is_some_and(|backend| backend.settled),
            Change::Delete => backend.is_none_or(|backend| backend.grace_seconds.is_some()),
            Change::Drain => backend.is_some_and(|backend| backend.drain == "Empty"),
        }
    }

    /// The Backends whose drain is shown, and whose trouble ends the waiting.
    fn watches(&self, backend: &BackendLine) -> bool {
        match self {
            Self::All => !matches!(backend.drain.as_str(), "" | "NotRequested"),
            Self::Of(name, _) => backend.name == *name,
        }
    }

    /// What is left to say when it is reached.
    fn epilogue(&self, status: &Status) -> Option<String> {
        let Self::Of(name, _) = self else {
            return None;
        };
        let mut backends = status.backends.iter();
        let backend = backends.find(|backend| backend.name == *name)?;
        let left = output::seconds(backend.grace_seconds?);
        Some(format!(
            "{name} is retired and stopped; its volume is deleted in {left}"
        ))
    }
}

/// Waits for the goal; shows the drains that it is about.
pub(super) fn wait(
    folder: &Folder,
    generation: u64,
    limit: Duration,
    goal: &Goal,
) -> anyhow::Result<ExitCode> {
    let mut progress = Progress::new();
    let outcome = watch(folder, generation, limit, goal, &mut progress);
    progress.finish();
    let outcome = outcome?;
    let (line, code) = match outcome {
        Ok(epilogue) => (epilogue, ExitCode::SUCCESS),
        Err(problem) => (Some(format!("error: {problem}")), ExitCode::FAILURE),
    };
    if let Some(line) = line {
        output::error(&line);
    }
    Ok(code)
}

/// Looks until the goal is reached or cannot be; gives the last word to say either way.
fn watch(
    folder: &Folder,
    generation: u64,
    limit: Duration,
    goal: &Goal,
    progress: &mut Progress,
) -> anyhow::Result<Result<Option<String>, String>> {
    let started = Instant::now();
    let mut blocked_since: Option<(String, Instant)> = None;
    loop {
        let status = look(folder)?;
        if status.generation >= generation {
            let watched = status.backends.iter().filter(|b| goal.watches(b));
            watched.clone().for_each(|backend| progress.show(backend));
            if goal.is_reached(&status) {
                return Ok(Ok(goal.epilogue(&status)));
            }
            let mut blocked = watched.filter(|backend| backend.blocked);
            match blocked.next() {
                None => blocked_since = None,
                Some(backend) => {
                    let reason = backend.drain.clone();
                    let same = blocked_since.take().filter(|(since, _)| *since == reason);
                    let (reason, since) = same.unwrap_or_else(|| (reason, Instant::now()));
                    if since.elapsed() > patience(&reason) {
                        return Ok(Err(trouble(backend)));
                    }
                    blocked_since = Some((reason, since));
                }
            }
        }
        if started.elapsed() > limit {
            let table = output::status(&status, false);
            return Ok(Err(format!("not done in {} s\n{table}", limit.as_secs())));
        }
        std::thread::sleep(LOOK);
    }
}

/// How long this reason of a drain that is blocked may stay.
fn patience(reason: &str) -> Duration {
    match reason {
        "InsufficientCapacity" | "NoDestination" => BLOCKED_READY_MAX,
        "MupdateUnavailable" | "SourceDown" => BLOCKED_RESTART_MAX,
        _ => BLOCKED_MAX,
    }
}

fn trouble(backend: &BackendLine) -> String {
    let BackendLine {
        name,
        drain,
        message,
        ..
    } = backend;
    format!("{name}: {drain}: {message}")
}
