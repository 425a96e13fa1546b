//! One change at a time, and how long the operator takes for it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::board::{condition, is_observed};
use super::run::Stage;

/// How long a change may take before the run is given up.
const LIMIT: Duration = Duration::from_secs(60);

/// How long each try of a change took.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) what: &'static str,
    pub(super) times: Vec<Duration>,
}

impl Trial {
    fn new(what: &'static str) -> Self {
        let times = Vec::new();
        Self { what, times }
    }

    fn sorted(&self) -> Vec<Duration> {
        let mut times = self.times.clone();
        times.sort_unstable();
        times
    }

    /// The middle one; of two, the longer.
    pub(super) fn median(&self) -> Duration {
        let times = self.sorted();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }

    /// The longest.
    pub(super) fn worst(&self) -> Duration {
        self.sorted().last().copied().unwrap_or_default()
    }
}

/// Name of the Backend of this number.
pub(super) fn backend(index: usize) -> String {
    format!("be-{index:04}")
}

/// Name of the Frontend of this number.
pub(super) fn frontend(index: usize) -> String {
    format!("fe-{index:03}")
}

/// Changes objects of a murder at rest, each `count` times on another object.
pub(super) async fn all(stage: &Stage, count: usize) -> Result<Vec<Trial>> {
    let mut weight = Trial::new("Backend: spec.weight seen");
    let mut cordon = Trial::new("Backend: cordoned at node and master");
    let mut opened = Trial::new("Backend: open again");
    let mut scaled = Trial::new("Frontend: replicas at the Deployment");
    let mut served = Trial::new("Frontend: replicas all ready");
    for index in 0..count {
        // Spread over all, so that neither the first nor the last is special.
        let backend = backend(index * stage.backends / count);
        let frontend = frontend(index * stage.frontends / count);
        at_rest(stage).await?;
        let wanted = stage.number("backends", &backend, "weight") + 1;
        let patch = json!({"spec": {"weight": wanted}});
        let begun = change(stage, "backends", &backend, &patch).await?;
        let seen = stage.board.until("the new weight", LIMIT, |board| {
            board.holds("backends", &backend, |b| {
                b["spec"]["weight"] == wanted && is_observed(b)
            })
        });
        weight.times.push(seen.await? - begun);
        for (state, trial) in [("Cordoned", &mut cordon), ("Active", &mut opened)] {
            at_rest(stage).await?;
            let patch = json!({"spec": {"desiredState": state}});
            let begun = change(stage, "backends", &backend, &patch).await?;
            let cordoned = state == "Cordoned";
            let seen = stage.board.until(state, LIMIT, |board| {
                let said = board.holds("backends", &backend, |b| {
                    let told = condition(b, "Schedulable")
                        .is_some_and(|(is, _)| (is == "True") != cordoned);
                    b["spec"]["desiredState"] == state && is_observed(b) && told
                });
                said && stage.nodes.is_cordoned(&backend) == Some(cordoned)
            });
            trial.times.push(seen.await? - begun);
        }
        at_rest(stage).await?;
        let wanted = stage.number("frontends", &frontend, "replicas") + 1;
        let begun = change(
            stage,
            "frontends",
            &frontend,
            &json!({"spec": {"replicas": wanted}}),
        )
        .await?;
        let of_set = |d: &Value| d["spec"]["replicas"] == wanted;
        let seen = stage
            .board
            .until("replicas at the Deployment", LIMIT, |board| {
                let observed = board.holds("frontends", &frontend, |f| {
                    f["spec"]["replicas"] == wanted && is_observed(f)
                });
                observed && board.holds("deployments", &frontend, of_set)
            });
        scaled.times.push(seen.await? - begun);
        let seen = stage.board.until("the new pod", LIMIT, |board| {
            let ready = |f: &Value| f["status"]["readyReplicas"] == wanted;
            board.holds("frontends", &frontend, ready)
        });
        served.times.push(seen.await? - begun);
    }
    at_rest(stage).await?;
    Ok(vec![weight, cordon, opened, scaled, served])
}

async fn change(stage: &Stage, kind: &'static str, name: &str, patch: &Value) -> Result<Instant> {
    let path = format!("{}/{kind}/{name}", stage.resources());
    let begun = Instant::now();
    let changed = stage.api.patch(&path, patch).await?;
    changed.with_context(|| format!("{kind} {name} is gone"))?;
    Ok(begun)
}

/// Waits until the murder says that everything is as wished.
pub(super) async fn at_rest(stage: &Stage) -> Result<()> {
    stage
        .board
        .until("a murder at rest", LIMIT, is_at_rest)
        .await?;
    Ok(())
}

pub(super) fn is_at_rest(board: &super::board::Board) -> bool {
    board.holds("murderclusters", super::run::CLUSTER, |mc| {
        let ready = condition(mc, "Ready").is_some_and(|(is, _)| is == "True");
        let settled = condition(mc, "Progressing").is_some_and(|(_, why)| why == "Converged");
        ready && settled
    })
}
