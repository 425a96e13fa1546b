//! The status of a Backend.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::{Finding, conditions, fails, holds, unknown};
use super::{DrainProgress, problem};
use crate::core::{BackendView, Blocked, DrainReport, DrainState, VolumeView, Wish, World};
use crate::crd::{Backend, BackendStatus, DrainStatus, FailedMove, NodeDrain, VolumeStatus};

/// Its conditions, in order.
pub(super) const TYPES: [&str; 9] = [
    "Ready",
    "Serving",
    "Schedulable",
    "Drained",
    "DrainStalled",
    "VolumeHealthy",
    "NodeDraining",
    "UpdatePending",
    "DeletionBlocked",
];

/// Failed moves named in the status.
const FAILED_MAX: usize = 10;

/// What is seen around a Backend beyond the world of its plan.
#[derive(Clone, Debug, Default)]
pub struct BackendInput {
    /// The machine that its pod runs on, or where its volume is.
    pub machine: Option<String>,
    /// Whether that takes no pods.
    pub machine_closed: bool,
    /// Whether its pod may go only once it is empty.
    pub holds_until_empty: bool,
    /// What happens when the machine is drained; never Inherit.
    pub policy: NodeDrain,
    /// Name of its claim.
    pub claim: String,
    /// Identity of the claim, once it is there.
    pub claim_uid: Option<String>,
    /// Whether the claim was deleted by somebody.
    pub claim_deleted: bool,
    /// What is seen of the volume.
    pub volume: Option<VolumeStatus>,
    /// What is to be said of a volume that is not as large as asked.
    pub resize: Option<Resize>,
    /// Open sessions.
    pub connections: Option<i64>,
    /// Why it stays as it is although other settings are wanted.
    pub update_pending: Option<String>,
    /// Whether its pod has other settings than it should.
    pub updating: bool,
    /// What is wrong; the worst first.
    pub problems: Vec<String>,
}

/// What is to be said of a volume that is not as large as asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resize {
    /// Whether it does not grow before somebody does something.
    pub stuck: bool,
    /// Reason of the condition.
    pub reason: &'static str,
    /// What is known, and what to do.
    pub message: String,
}

/// What a Backend says of itself.
pub fn backend_status(
    object: &Backend,
    world: &World,
    view: &BackendView,
    report: &DrainReport,
    progress: &DrainProgress,
    input: &BackendInput,
    now: Timestamp,
) -> BackendStatus {
    let status = view.status.as_ref();
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let known_before = object.status.as_ref();
    let partitions = || status.iter().flat_map(|status| &status.partitions);
    let total: u64 = partitions()
        .map(|partition| partition.total_bytes)
        .max()
        .unwrap_or(0);
    let findings = [
        ready(view, world, report, input),
        serving(view, world),
        schedulable(view, world),
        drained(view, world, report),
        stalled(report, progress, now),
        volume_healthy(view, world, input),
        node_draining(view, report, input),
        update_pending(input),
        deletion_blocked(view, report),
    ];
    let found = TYPES.into_iter().zip(findings).collect();
    let before: Option<&Vec<Condition>> = known_before.and_then(|s| s.conditions.as_ref());
    let generation = object.metadata.generation;
    BackendStatus {
        observed_generation: generation,
        server_id: view.server_id.map(|id| id.to_string()).or_else(|| {
            let seen = status.map(|status| status.server_id.to_string());
            seen.or_else(|| known_before.and_then(|status| status.server_id.clone()))
        }),
        pod_name: view.pod.as_ref().map(|pod| pod.name.clone()),
        node_name: input.machine.clone(),
        claim_name: Some(input.claim.clone()),
        claim_uid: input.claim_uid.clone(),
        volume: input.volume.clone(),
        mailboxes: status.map(|status| count(status.mailboxes)),
        used_bytes: status.map(|status| count(status.bytes)),
        capacity_bytes: (total > 0).then(|| count(total)),
        connections: input.connections,
        drain: drain_status(
            view,
            report,
            progress,
            known_before.and_then(|s| s.drain.as_ref()),
        ),
        conditions: Some(conditions(before, generation, now, found)),
    }
}

/// What is to be done about a volume that went back in time, if the master blocks its server.
fn restored(view: &BackendView, world: &World) -> Option<Finding> {
    let rows = world.mupdate.as_ref()?.servers.iter().flatten();
    let is_it = |id| view.server_id.is_none_or(|known| known == id);
    let mut blocked = rows.filter(|row| {
        row.server.as_str() == view.name && row.blocked && !row.retired && is_it(row.server_id)
    });
    let id = blocked.next()?.server_id;
    let message = format!(
        "its volume went back in time, as one restored from an old copy: it serves nothing. Put the newest volume \
         back, or, if there is none, confirm server {id} at the mupdate master: see \"A volume was restored\" in \
         docs/kubernetes.md"
    );
    Some(fails("VolumeRestored", message))
}

fn ready(view: &BackendView, world: &World, report: &DrainReport, input: &BackendInput) -> Finding {
    if let Some((reason, message)) = problem(&input.problems) {
        return fails(reason, message);
    }
    if let Some(finding) = restored(view, world) {
        return finding;
    }
    let Some(pod) = &view.pod else {
        return match view.volume {
            VolumeView::Retired { .. } => fails("Retired", "its server ended for ever"),
            VolumeView::Absent | VolumeView::Present => {
                fails("PodMissing", "its pod is being made")
            }
        };
    };
    let is_silent = view.status.as_ref().is_some_and(|s| s.deactivated);
    if report.state == DrainState::Empty || (is_silent && view.is_leaving()) {
        return fails(
            "Empty",
            "it is empty and serves nothing; set spec.desiredState to Active to use it again",
        );
    }
    if !pod.ready {
        let message = format!(
            "{} does not serve yet; see `kubectl logs {}`",
            pod.name, pod.name
        );
        return fails("PodNotReady", message);
    }
    match &view.status {
        Some(_) => holds("Serving", format!("{} serves", pod.name)),
        None if report.message.is_empty() => unknown(
            "NotReached",
            format!("{} does not answer the operator", pod.name),
        ),
        None => unknown("NotReached", report.message.clone()),
    }
}

fn serving(view: &BackendView, world: &World) -> Finding {
    if restored(view, world).is_some() {
        return fails("VolumeRestored", "its volume is to be confirmed first");
    }
    match (&view.status, view.pod.as_ref().is_some_and(|pod| pod.ready)) {
        (Some(status), _) if status.deactivated => {
            fails("Deactivated", "it was emptied and serves nothing")
        }
        (Some(_), true) => holds("Accepting", "it serves its mailboxes"),
        (Some(_), false) => fails("Starting", "it does not serve yet"),
        (None, _) => unknown("NotReached", "it does not answer the operator"),
    }
}

fn schedulable(view: &BackendView, world: &World) -> Finding {
    let row = world
        .mupdate
        .as_ref()
        .and_then(|mupdate| mupdate.servers.as_ref());
    let row = row.and_then(|rows| {
        rows.iter()
            .find(|row| row.server.as_str() == view.name && !row.retired)
    });
    let Some(status) = &view.status else {
        return unknown("NotReached", "it does not answer the operator");
    };
    let wished = view.wish == Wish::Cordoned;
    match status.cordoned || row.is_some_and(|row| row.cordoned) {
        true if wished => {
            let message = "spec.desiredState is Cordoned: it gets no new users";
            return fails("Cordoned", message);
        }
        true => return fails("Draining", "it gets no new users while it is emptied"),
        false if wished => {
            let message = "spec.desiredState is Cordoned, but it still gets new users";
            return holds("CordonPending", message);
        }
        false => {}
    }
    if world.mupdate.is_some() && row.is_none() {
        return unknown("NotRegistered", "the mupdate master does not know it yet");
    }
    holds("Active", "it gets new users")
}

fn drained(view: &BackendView, world: &World, report: &DrainReport) -> Finding {
    if view.is_leaving() && view.abandon && report.state != DrainState::Empty {
        return fails(
            "Abandoned",
            "its mail was given up with confirmation; nothing is moved or proven",
        );
    }
    let is_silent = view.status.as_ref().is_some_and(|s| s.deactivated);
    if world.cluster.paused && view.is_leaving() {
        // Nothing is planned; what was silenced had been proven empty.
        return match is_silent {
            true => holds("Empty", "nothing was left on it; spec.paused is set"),
            false => fails("Queued", "spec.paused is set: nothing moves"),
        };
    }
    let message = match (&report.message[..], report.remaining) {
        ("", 0) => String::new(),
        ("", left) => format!("{left} users are left, {} have moved", report.moved),
        (message, _) => message.to_owned(),
    };
    match report.state {
        DrainState::Empty => holds(
            "Empty",
            "nothing is left on it, by its own word and the master's",
        ),
        // Stopping and releasing come after the proof.
        DrainState::StoppingPod | DrainState::ReleasingVolume => {
            holds("Empty", "it is empty; its pod and its volume are let go")
        }
        DrainState::NotRequested if view.is_leaving() => fails("Queued", message),
        state => fails(state.reason(), message),
    }
}

fn stalled(report: &DrainReport, progress: &DrainProgress, now: Timestamp) -> Finding {
    match progress.stalled_for(now) {
        Some(_) if report.state == DrainState::NotRequested => fails("NotRequested", ""),
        Some(still) => {
            let minutes = still.as_mins();
            let message = format!(
                "nothing has moved for {minutes} minutes; {}",
                report.message
            );
            holds("NoProgress", message)
        }
        None => fails("Progressing", ""),
    }
}

fn volume_healthy(view: &BackendView, world: &World, input: &BackendInput) -> Finding {
    if input.claim_deleted {
        let message = format!(
            "claim {} was deleted: it and its mail are kept until this Backend is drained, but no other pod can use it. Drain \
             it while its pod runs; if that is gone, see \"A volume claim was deleted\" in docs/kubernetes.md",
            input.claim
        );
        return fails("ClaimDeleted", message);
    }
    if let Some(finding) = restored(view, world) {
        return finding;
    }
    let failed = view.status.iter().flat_map(|status| &status.partitions);
    for partition in failed {
        if let Some(why) = &partition.failed {
            let message = format!("partition {} takes no writes: {why}", partition.name);
            return fails("PartitionFailed", message);
        }
    }
    if let Some(resize) = input.resize.as_ref().filter(|resize| resize.stuck) {
        return fails(resize.reason, resize.message.clone());
    }
    let phase = input
        .volume
        .as_ref()
        .and_then(|volume| volume.phase.as_deref());
    match phase {
        Some("Bound") => match &input.resize {
            Some(resize) => holds(resize.reason, resize.message.clone()),
            None => holds("Bound", ""),
        },
        Some("Lost") => fails(
            "Lost",
            format!("the volume behind claim {} is lost", input.claim),
        ),
        Some(_) => unknown(
            "Pending",
            format!("claim {} has no volume yet", input.claim),
        ),
        None => unknown(
            "ClaimMissing",
            format!("claim {} is not there yet", input.claim),
        ),
    }
}

fn node_draining(view: &BackendView, report: &DrainReport, input: &BackendInput) -> Finding {
    let Some(machine) = &input.machine else {
        return unknown("NotScheduled", "it runs on no machine yet");
    };
    if !input.machine_closed {
        let policy = match input.holds_until_empty {
            true => {
                "its mailboxes would leave first, as its volume cannot follow or nodeDrain is Transfer"
            }
            false => "its pod may be evicted",
        };
        return fails(
            "NodeOpen",
            format!("{machine} takes pods; if it is drained, {policy}"),
        );
    }
    if input.policy == NodeDrain::Hold {
        let message = format!(
            "{machine} is being drained, and nodeDrain is Hold: set it to Transfer or Restart to let the pod go"
        );
        return holds("Held", message);
    }
    if !input.holds_until_empty {
        return holds(
            "Restart",
            format!("{machine} is being drained; the pod may be evicted"),
        );
    }
    match report.state {
        DrainState::Empty => holds("Empty", format!("empty; the pod may leave {machine}")),
        DrainState::Blocked(_) => {
            let message = format!("{machine} is being drained and waits: {}", report.message);
            holds("Blocked", message)
        }
        _ => {
            let left = view.status.as_ref().map_or(0, |status| status.units);
            let message =
                format!("{machine} is being drained and waits until {left} users have moved");
            holds("Transferring", message)
        }
    }
}

fn update_pending(input: &BackendInput) -> Finding {
    match &input.update_pending {
        Some(why) => holds("Waiting", why.clone()),
        None if input.updating => holds("Queued", "it is restarted in its turn"),
        None => fails("UpToDate", ""),
    }
}

fn deletion_blocked(view: &BackendView, report: &DrainReport) -> Finding {
    if !view.deleting {
        return fails("NotDeleted", "");
    }
    match report.state {
        DrainState::Blocked(Blocked::NoDestination) => {
            holds("NoDestination", report.message.clone())
        }
        DrainState::Blocked(_) => holds(report.state.reason(), report.message.clone()),
        _ => fails("Draining", "it goes once it is empty"),
    }
}

fn drain_status(
    view: &BackendView,
    report: &DrainReport,
    progress: &DrainProgress,
    before: Option<&DrainStatus>,
) -> Option<DrainStatus> {
    if !view.is_leaving() {
        return None;
    }
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let pace = progress.shown();
    let failed = report.failed.iter().take(FAILED_MAX);
    let status = DrainStatus {
        reason: if view.deleting {
            "Delete"
        } else if view.scale_in {
            "ScaleIn"
        } else if view.evacuate {
            "NodeDrain"
        } else {
            "Spec"
        }
        .to_owned(),
        started_at: progress.started_at().map(|at| at.to_string()),
        last_progress_at: pace.last_progress_at.map(|at| at.to_string()),
        total: count(report.moved + report.remaining),
        moved: count(report.moved),
        remaining: count(report.remaining),
        bytes_total: count(report.bytes_moved + report.bytes_remaining),
        bytes_moved: count(report.bytes_moved),
        rate_bps: pace.rate_bps.map(count),
        eta: pace.eta.map(|at| at.to_string()),
        in_flight: count(report.in_flight),
        failed_count: count(report.failed.len() as u64),
        failed: failed
            .map(|(root, attempts, error)| FailedMove {
                root: root.clone(),
                attempts: i32::try_from(*attempts).unwrap_or(i32::MAX),
                last_error: error.clone(),
            })
            .collect(),
    };
    // The figures are the node's: while it is silent, and when its pod has gone, they are what it said last.
    match before.filter(|_| view.status.is_none()) {
        Some(before) => Some(DrainStatus {
            total: before.total,
            moved: before.moved,
            remaining: before.remaining,
            bytes_total: before.bytes_total,
            bytes_moved: before.bytes_moved,
            ..status
        }),
        None => Some(status),
    }
}
