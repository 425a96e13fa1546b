//! The status of a MurderCluster.

use jiff::Timestamp;

use super::conditions::{Finding, conditions, fails, holds, unknown};
use super::problem;
use crate::core::{DrainState, Plan, World};
use crate::crd::{MurderCluster, MurderClusterStatus, RebalanceStatus};

/// Its conditions, in order.
const TYPES: [&str; 8] = [
    "Ready",
    "MupdateAvailable",
    "Progressing",
    "Degraded",
    "Rebalanced",
    "UpdatePending",
    "DeletionBlocked",
    "Paused",
];

/// What is seen of a murder beyond the world of its plan.
#[derive(Clone, Debug, Default)]
pub struct ClusterInput {
    /// Backends of the pool.
    pub pool: i32,
    /// Label selector of the backends' pods, as text.
    pub selector: String,
    /// The revision that should run.
    pub update_revision: String,
    /// Whether every pod runs it.
    pub up_to_date: bool,
    /// Workloads that stay as they are for now, and why.
    pub update_pending: Option<String>,
    /// The version of each node that answers.
    pub versions: Vec<String>,
    /// Backends by which the pool does not shrink, because spec.minActive needs them.
    pub kept: usize,
    /// Why it may not be deleted: a reason in one word, and a sentence.
    pub deletion: Option<(&'static str, String)>,
    /// State and message of rebalancing.
    pub rebalanced: Option<(bool, &'static str, String)>,
    /// The proposal of a rebalance.
    pub rebalance: Option<RebalanceStatus>,
    /// Difference between the fullest and the emptiest backend, by their mean.
    pub skew_percent: i32,
    /// What is wrong with the murder itself; the worst first.
    pub problems: Vec<String>,
    /// Backends and Frontends that have problems.
    pub troubled: Vec<String>,
}

/// What a MurderCluster says of itself.
pub fn cluster_status(
    object: &MurderCluster,
    world: &World,
    plan: &Plan,
    input: &ClusterInput,
    now: Timestamp,
) -> MurderClusterStatus {
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let is_ready = |pod: &Option<crate::core::PodView>| pod.as_ref().is_some_and(|pod| pod.ready);
    let ready = world.backends.iter().filter(|b| is_ready(&b.pod)).count();
    let draining = world.backends.iter().filter(|b| b.is_leaving()).count();
    let sum = |of: fn(&murder_api::admin::BackendStatus) -> u64| {
        let statuses = world.backends.iter().filter_map(|b| b.status.as_ref());
        i64::try_from(statuses.map(of).sum::<u64>()).unwrap_or(i64::MAX)
    };
    let queued = plan
        .drains
        .iter()
        .filter(|drain| drain.state == DrainState::Queued);
    let findings = [
        ready_finding(world, plan, input),
        mupdate(world),
        progressing(object, plan, input),
        degraded(world, input),
        rebalanced(input),
        update_pending(input),
        deletion_blocked(object, input),
        paused(object),
    ];
    let found = TYPES.into_iter().zip(findings).collect();
    let before = object.status.as_ref();
    let generation = object.metadata.generation;
    let current = match (input.up_to_date, before) {
        (true, _) => input.update_revision.clone(),
        (false, before) => before
            .map(|s| s.current_revision.clone())
            .unwrap_or_default(),
    };
    let conditions = conditions(
        before.and_then(|s| s.conditions.as_ref()),
        generation,
        now,
        found,
    );
    MurderClusterStatus {
        observed_generation: generation,
        replicas: input.pool,
        ready_replicas: count(ready),
        selector: input.selector.clone(),
        backends: format!("{ready}/{}", world.backends.len()),
        draining: count(draining),
        mupdate_primary: world
            .mupdate
            .as_ref()
            .map_or_else(String::new, |m| m.pod_name.clone()),
        version: most_run(&input.versions).to_owned(),
        mailboxes: sum(|status| status.mailboxes),
        bytes: sum(|status| status.bytes),
        skew_percent: input.skew_percent,
        current_revision: current,
        update_revision: input.update_revision.clone(),
        drain_queue: queued.map(|drain| drain.backend.clone()).collect(),
        rebalance: input.rebalance.clone(),
        conditions: Some(conditions),
    }
}

/// The version that most nodes run, of several the lowest.
fn most_run(versions: &[String]) -> &str {
    let count = |version: &str| versions.iter().filter(|other| *other == version).count();
    let best = versions.iter().max_by(|one, other| {
        let by_order = || {
            numbers(other)
                .cmp(&numbers(one))
                .then_with(|| other.cmp(one))
        };
        count(one).cmp(&count(other)).then_with(by_order)
    });
    best.map_or("", String::as_str)
}

/// The numbers in a version, by which 0.10 comes after 0.9.
fn numbers(version: &str) -> Vec<u64> {
    let parts = version.split(|c: char| !c.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

fn ready_finding(world: &World, plan: &Plan, input: &ClusterInput) -> Finding {
    if let Some((reason, message)) = problem(&input.problems) {
        return fails(reason, message);
    }
    let serves = |pod: Option<&crate::core::PodView>| pod.is_some_and(|pod| pod.ready);
    if world
        .mupdate
        .as_ref()
        .is_some_and(|m| !serves(m.pod.as_ref()))
    {
        return fails("MupdateUnavailable", "the mupdate master does not serve");
    }
    let silent = |name: &str| {
        let drain = plan.drains.iter().find(|drain| drain.backend == name);
        drain.is_some_and(|d| {
            matches!(
                d.state,
                DrainState::Empty | DrainState::StoppingPod | DrainState::ReleasingVolume
            )
        })
    };
    let down = world
        .backends
        .iter()
        .filter(|b| !serves(b.pod.as_ref()) && !silent(&b.name));
    let down: Vec<&str> = down.map(|backend| backend.name.as_str()).collect();
    if !down.is_empty() {
        return fails("BackendsDown", format!("not serving: {}", down.join(", ")));
    }
    let frontends = world.frontends.iter().filter(|f| !f.deleting);
    let short = frontends.filter(|f| f.pods.iter().filter(|pod| pod.ready).count() < f.replicas);
    let short: Vec<&str> = short.map(|frontend| frontend.name.as_str()).collect();
    if !short.is_empty() {
        return fails(
            "FrontendsDown",
            format!("too few pods serve: {}", short.join(", ")),
        );
    }
    if world.backends.is_empty() {
        return fails(
            "NoBackend",
            "there is no Backend; make one, or set spec.backends.replicas",
        );
    }
    holds("Serving", "everything serves")
}

fn mupdate(world: &World) -> Finding {
    match &world.mupdate {
        None => holds("NotNeeded", "a single unified server needs no master"),
        Some(mupdate) if mupdate.servers.is_some() => {
            holds("Available", format!("{} answers", mupdate.pod_name))
        }
        Some(mupdate) => {
            let message = format!(
                "{} does not answer: mail is read and delivered, but users are neither made nor moved",
                mupdate.pod_name
            );
            fails("NotReached", message)
        }
    }
}

fn progressing(object: &MurderCluster, plan: &Plan, input: &ClusterInput) -> Finding {
    if object.spec.paused {
        return fails("Paused", "spec.paused is set");
    }
    let held = (input.kept > 0).then(|| {
        let (kept, needed) = (input.kept, object.spec.min_active);
        format!(
            "{kept} of the pool's Backends should leave but stay, as spec.minActive is {needed}: lower it, or make a \
             Backend outside of the pool"
        )
    });
    match (plan.converged, held) {
        (true, Some(held)) => fails("ScaleInHeld", held),
        (true, None) => fails("Converged", "everything is as wished"),
        (false, held) => {
            let steps = plan.steps.iter().take(3).map(ToString::to_string);
            let said: Vec<String> = steps.chain(held).collect();
            holds("Converging", said.join(", "))
        }
    }
}

fn degraded(world: &World, input: &ClusterInput) -> Finding {
    if !input.troubled.is_empty() {
        return holds("ObjectsInTrouble", input.troubled.join("; "));
    }
    let silent = world
        .backends
        .iter()
        .filter(|b| b.pod.is_some() && b.status.is_none());
    let silent: Vec<&str> = silent.map(|backend| backend.name.as_str()).collect();
    match silent.is_empty() {
        true => fails("Healthy", ""),
        false => holds(
            "BackendsSilent",
            format!("do not answer: {}", silent.join(", ")),
        ),
    }
}

fn rebalanced(input: &ClusterInput) -> Finding {
    match &input.rebalanced {
        Some((true, reason, message)) => holds(reason, message.clone()),
        Some((false, reason, message)) => fails(reason, message.clone()),
        None => unknown("Disabled", "spec.rebalance.mode is Disabled"),
    }
}

fn update_pending(input: &ClusterInput) -> Finding {
    match &input.update_pending {
        Some(why) => holds("Waiting", why.clone()),
        None if !input.up_to_date => holds("RollingOut", "pods are restarted one at a time"),
        None => fails("UpToDate", ""),
    }
}

fn deletion_blocked(object: &MurderCluster, input: &ClusterInput) -> Finding {
    match &input.deletion {
        Some((reason, why)) => holds(reason, why.clone()),
        None if object.metadata.deletion_timestamp.is_some() => {
            fails("Stopping", "everything stops")
        }
        None => fails("NotDeleted", ""),
    }
}

fn paused(object: &MurderCluster) -> Finding {
    match object.spec.paused {
        true => holds("Paused", "spec.paused is set: nothing is done"),
        false => fails("NotPaused", ""),
    }
}
