//! Where a Backend is on its way to being empty, derived from the world, and the steps that bring it on.
//!
//! ```text
//! Queued → Cordoning → Planning → Transferring ⇄ Blocked → Verifying → Deactivating → Empty
//! Empty (deleted or scaled in) → retired at the master → StoppingPod → ReleasingVolume → gone
//! any before retirement, taken back → Aborting or Reactivating → NotRequested
//! ```
//!
//! Retirement is the point of no return: from then on a Backend goes, whatever it is told.

mod ending;
mod holdings;
mod report;
mod transfers;

use murder_api::admin::{BackendStatus, ServerStatus, TransferPhase};

pub(super) use self::ending::is_retired;
use self::ending::{finish, release, retire_volume};
use self::holdings::{Holdings, holdings};
use self::report::figures;
pub use self::report::{Blocked, DrainReport, DrainState};
use self::transfers::transfer;
use super::observe::{BackendView, Record, VolumeView, Wish, World};
use super::placement::{accepts, is_ours, is_running};
use super::plan::{Action, Pass, Reason};

/// How far apart the two proofs of emptiness are.
const PROOF_INTERVAL_MS: u64 = 1000;

/// How soon a pass follows while something is under way.
pub(super) const POLL_MS: u64 = 500;

/// Steps of one Backend. `turn` says whether it may be emptied now.
pub(super) fn steps(pass: &mut Pass<'_>, backend: &BackendView, turn: bool) -> DrainReport {
    if backend.is_leaving() || is_retired(pass.world, backend) {
        leave(pass, backend, turn)
    } else {
        stay(pass, backend)
    }
}

/// Which leaving Backends may be worked on: those already cordoned first, then by name.
pub(super) fn turns(world: &World) -> Vec<String> {
    let mut waiting: Vec<(bool, &str)> = world
        .backends
        .iter()
        .filter(|backend| backend.is_leaving() && !backend.abandon)
        .filter(|backend| holdings(world, backend) != Holdings::Nothing)
        .map(|backend| {
            let status = backend.status.as_ref();
            let begun = status.is_some_and(|status| status.cordoned);
            (!begun, backend.name.as_str())
        })
        .collect();
    waiting.sort_unstable();
    waiting.truncate(world.cluster.max_concurrent_drains);
    waiting
        .into_iter()
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// Steps of a Backend that is to be emptied.
fn leave(pass: &mut Pass<'_>, backend: &BackendView, turn: bool) -> DrainReport {
    let world = pass.world;
    let report = figures(backend);
    if let VolumeView::Retired { delete_after_ms } = backend.volume {
        return release(pass, backend, report, delete_after_ms);
    }
    if is_retired(world, backend) || (backend.is_going() && backend.abandon) {
        retire_volume(pass, backend);
        return report.is(DrainState::StoppingPod);
    }
    if backend.is_going() && backend.volume == VolumeView::Absent && backend.pod.is_none() {
        pass.backend(backend, Action::RemoveFinalizer);
        return report.is(DrainState::ReleasingVolume);
    }
    if world.is_master_silent() {
        let message = "the mupdate master does not answer".to_owned();
        return report.blocked(Blocked::MupdateUnavailable, message);
    }
    let Some(status) = &backend.status else {
        let message = format!("{} does not answer", backend.pod_name());
        return report.blocked(Blocked::SourceDown, message);
    };
    if let Record::Foreign(row) = world.record(backend) {
        let message = foreign(backend, status, row);
        return report.blocked(Blocked::IdentityMismatch, message);
    }
    let holds = holdings(world, backend);
    if holds == Holdings::Something && backend.proof.is_some() {
        pass.backend(backend, Action::DropProof);
    }
    if holds == Holdings::Nothing && is_cordoned(world, backend, status) {
        return finish(pass, backend, status, report);
    }
    if holds != Holdings::Nothing && !turn {
        return report.is(DrainState::Queued);
    }
    if holds == Holdings::Something
        && let Some(message) = too_few(world, backend)
    {
        return report.blocked(Blocked::NoDestination, message);
    }
    if cordon(pass, backend, status, true) {
        pass.wake_in(POLL_MS);
        return report.is(DrainState::Cordoning);
    }
    transfer(pass, backend, report)
}

/// Steps of a Backend that is to serve: whatever a drain did is taken back.
fn stay(pass: &mut Pass<'_>, backend: &BackendView) -> DrainReport {
    let mut report = DrainReport {
        backend: backend.name.clone(),
        ..DrainReport::default()
    };
    let Some(status) = &backend.status else {
        if backend.pod.as_ref().is_some_and(|pod| pod.ready) {
            let pod = backend.pod_name();
            report.message = format!("{pod} is ready but its admin interface does not answer");
        }
        return report;
    };
    if backend.proof.is_some() {
        pass.step(backend, Action::DropProof, Reason::TakenBack);
    }
    let begun = status.deactivated || (status.cordoned && backend.wish == Wish::Active);
    if begun && backend.transfers.is_none() {
        pass.wake_in(POLL_MS);
        report.message = format!("the transfers of {} could not be read", backend.name);
        return report.is(DrainState::Aborting);
    }
    // An administrator's own transfers (XFER) are nobody else's to withdraw.
    let transfers = backend.transfers.iter().flatten();
    let ours = transfers.filter(|t| is_running(t.phase) && is_ours(t.move_id));
    let mut withdrawing = false;
    for transfer in ours {
        withdrawing = true;
        // What is released can only go forward.
        if transfer.phase != TransferPhase::Released {
            let move_id = transfer.move_id;
            pass.step(
                backend,
                Action::CancelTransfer { move_id },
                Reason::TakenBack,
            );
        }
    }
    if withdrawing {
        pass.wake_in(POLL_MS);
        return figures(backend).is(DrainState::Aborting);
    }
    if status.deactivated {
        pass.step(backend, Action::Reactivate, Reason::TakenBack);
        return report.is(DrainState::Reactivating);
    }
    match pass.world.record(backend) {
        Record::Silent => {}
        Record::Foreign(row) => report.message = foreign(backend, status, row),
        Record::Absent | Record::Listed(_) | Record::NoMaster => {
            cordon(pass, backend, status, backend.wish == Wish::Cordoned);
        }
    }
    report
}

fn foreign(backend: &BackendView, status: &BackendStatus, row: &ServerStatus) -> String {
    let (name, id) = (&backend.name, status.server_id);
    let (listed, listed_id) = (row.server.as_str(), row.server_id);
    format!(
        "the volume of {name} is that of server {id}, but the mupdate master lists {listed} as {listed_id}"
    )
}

/// Brings the cordon at the master and at the node to `wanted`; says whether something was to be done.
fn cordon(
    pass: &mut Pass<'_>,
    backend: &BackendView,
    status: &BackendStatus,
    wanted: bool,
) -> bool {
    let reason = if wanted {
        Pass::reason(backend)
    } else {
        Reason::TakenBack
    };
    let at_master = pass
        .world
        .row(backend)
        .is_some_and(|row| row.cordoned != wanted);
    let at_node = status.cordoned != wanted;
    // The master first when closing, last when opening: it never places where the node refuses.
    if at_master && wanted {
        pass.step(backend, Action::CordonServer { cordoned: wanted }, reason);
    }
    if at_node {
        pass.step(backend, Action::CordonNode { cordoned: wanted }, reason);
    }
    if at_master && !wanted {
        pass.step(backend, Action::CordonServer { cordoned: wanted }, reason);
    }
    at_master || at_node
}

fn is_cordoned(world: &World, backend: &BackendView, status: &BackendStatus) -> bool {
    status.cordoned && world.row(backend).is_none_or(|row| row.cordoned)
}

/// Whether too few backends would be left.
fn too_few(world: &World, backend: &BackendView) -> Option<String> {
    let left = world
        .backends
        .iter()
        .filter(|other| other.name != backend.name && accepts(world, other))
        .count();
    let needed = world.cluster.min_active.max(1);
    (left < needed).then(|| {
        format!(
            "{left} other backends are ready to take its users, {needed} must be; add a Backend"
        )
    })
}
