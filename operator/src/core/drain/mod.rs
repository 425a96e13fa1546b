//! Where a Backend is on its way to being empty, derived from the world, and the steps that bring it on.
//!
//! ```text
//! Queued → Cordoning → Planning → Transferring ⇄ Blocked → Verifying → Deactivating → Empty
//! Empty (deleted or scaled in) → StoppingPod → ReleasingVolume → gone
//! any before retirement, taken back → Aborting or Reactivating → NotRequested
//! ```

mod ending;
mod report;
mod transfers;

use murder_api::admin::{BackendStatus, TransferPhase};

use self::ending::{finish, release, retire_volume};
use self::report::figures;
pub use self::report::{Blocked, DrainReport, DrainState};
use self::transfers::transfer;
use super::observe::{BackendView, VolumeView, Wish, World};
use super::placement::{accepts, is_running};
use super::plan::{Action, Pass, Reason};

/// How far apart the two proofs of emptiness are.
const PROOF_INTERVAL_MS: u64 = 1000;

/// How soon a pass follows while something is under way.
pub(super) const POLL_MS: u64 = 500;

/// Which leaving Backends may be worked on: those already cordoned first, then by name.
pub(super) fn turns(world: &World) -> Vec<String> {
    let mut waiting: Vec<(bool, &str)> = world
        .backends
        .iter()
        .filter(|backend| {
            backend.is_leaving() && !backend.abandon && holds_something(world, backend)
        })
        .map(|backend| {
            let begun = backend
                .status
                .as_ref()
                .is_some_and(|status| status.cordoned);
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
pub(super) fn leave(pass: &mut Pass<'_>, backend: &BackendView, turn: bool) -> DrainReport {
    let world = pass.world;
    let report = figures(backend);
    let row_retired = world.row(backend).is_some_and(|row| row.retired);
    if backend.deleting || backend.scale_in {
        if let VolumeView::Retired { delete_after_ms } = backend.volume {
            return release(pass, backend, report, delete_after_ms);
        }
        if backend.volume == VolumeView::Absent && backend.pod.is_none() {
            pass.backend(backend, Action::RemoveFinalizer);
            return report.is(DrainState::ReleasingVolume);
        }
        if row_retired || backend.abandon {
            retire_volume(pass, backend);
            return report.is(DrainState::StoppingPod);
        }
    }
    if world
        .mupdate
        .as_ref()
        .is_some_and(|mupdate| mupdate.servers.is_none())
    {
        let message = "the mupdate master does not answer".to_owned();
        return report.blocked(Blocked::MupdateUnavailable, message);
    }
    let Some(status) = &backend.status else {
        let message = format!("{} does not answer", backend.pod_name());
        return report.blocked(Blocked::SourceDown, message);
    };
    if !holds_something(world, backend) && is_cordoned(world, backend, status) {
        return finish(pass, backend, status, report);
    }
    if !turn && holds_something(world, backend) {
        return report.is(DrainState::Queued);
    }
    if holds_something(world, backend)
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
pub(super) fn stay(pass: &mut Pass<'_>, backend: &BackendView) -> DrainReport {
    let report = DrainReport {
        backend: backend.name.clone(),
        ..DrainReport::default()
    };
    let Some(status) = &backend.status else {
        return report;
    };
    let ours: Vec<_> = backend
        .transfers
        .iter()
        .filter(|transfer| is_running(transfer.phase) && status.cordoned)
        .collect();
    for transfer in &ours {
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
    if !ours.is_empty() {
        pass.wake_in(POLL_MS);
        return figures(backend).is(DrainState::Aborting);
    }
    if status.deactivated {
        pass.step(backend, Action::Reactivate, Reason::TakenBack);
        return report.is(DrainState::Reactivating);
    }
    if pass
        .world
        .mupdate
        .as_ref()
        .is_some_and(|mupdate| mupdate.servers.is_none())
    {
        return report;
    }
    cordon(pass, backend, status, backend.wish == Wish::Cordoned);
    report
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

/// Whether anything says that the backend is not empty. Silence is no proof, so an unseen node holds something.
fn holds_something(world: &World, backend: &BackendView) -> bool {
    let Some(status) = &backend.status else {
        return backend.volume == VolumeView::Present;
    };
    let here =
        status.units + status.units_in_doubt + status.units_staged + status.outbox + status.held;
    let running = backend
        .transfers
        .iter()
        .any(|transfer| is_running(transfer.phase));
    here > 0
        || running
        || world
            .row(backend)
            .is_some_and(|row| row.units > 0 || row.names > 0)
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
