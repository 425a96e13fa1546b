//! The end of a drain: two proofs, deactivation, and for a Backend that goes away its retirement.
//!
//! Nothing that cannot be undone comes before the server's identity is retired at the master. Then its pod stops, and
//! its volume is given out of our hands; it is deleted only if that is the policy, the server was proven empty, and
//! the grace period after the last unit's departure is over.

use murder_api::admin::BackendStatus;

use super::holdings::{Holdings, by_node};
use super::report::{DrainReport, DrainState};
use super::{POLL_MS, PROOF_INTERVAL_MS};
use crate::core::observe::{BackendView, Record, VolumeView, World};
use crate::core::plan::{Action, Pass};

/// Two proofs, deactivation, and for a Backend that goes away its retirement.
pub(super) fn finish(
    pass: &mut Pass<'_>,
    backend: &BackendView,
    status: &BackendStatus,
    report: DrainReport,
) -> DrainReport {
    let now = pass.world.now_ms;
    let proof = backend
        .proof
        .filter(|proof| proof.server_id == status.server_id);
    let Some(proof) = proof else {
        pass.backend(
            backend,
            Action::RecordProof {
                server_id: status.server_id,
            },
        );
        pass.wake_in(PROOF_INTERVAL_MS);
        return report.is(DrainState::Verifying);
    };
    let due = proof.at_ms + PROOF_INTERVAL_MS;
    if now < due {
        pass.wake_in(due - now);
        return report.is(DrainState::Verifying);
    }
    if !status.deactivated {
        pass.backend(backend, Action::Deactivate);
        pass.wake_in(POLL_MS);
        return report.is(DrainState::Deactivating);
    }
    if backend.is_going() {
        // A server that the master never heard of has no identity to retire.
        match pass.world.record(backend) {
            Record::Listed(_) => {
                let server_id = status.server_id;
                pass.backend(backend, Action::Retire { server_id });
                pass.wake_in(POLL_MS);
            }
            _ => retire_volume(pass, backend),
        }
    }
    report.is(DrainState::Empty)
}

/// Whether the server's identity ended, so that the Backend cannot be taken back.
pub(in crate::core) fn is_retired(world: &World, backend: &BackendView) -> bool {
    match backend.volume {
        VolumeView::Absent => false,
        VolumeView::Present => world.row(backend).is_some_and(|row| row.retired),
        VolumeView::Retired { .. } => true,
    }
}

pub(super) fn retire_volume(pass: &mut Pass<'_>, backend: &BackendView) {
    let last_flip = backend.last_flip_ms.unwrap_or(pass.world.now_ms);
    // Mail that was given up, or that nobody has proven gone, is never deleted by us.
    let policy = backend.is_going() && backend.delete_volume && !backend.abandon;
    let delete = policy && is_proven_empty(backend);
    let delete_after_ms = delete.then_some(last_flip + pass.world.cluster.grace_ms);
    pass.backend(backend, Action::RetireVolume { delete_after_ms });
    pass.wake_in(POLL_MS);
}

/// Whether the server is seen empty now or, if too little is seen of it, was found empty before.
fn is_proven_empty(backend: &BackendView) -> bool {
    let id = backend.status.as_ref().map(|status| status.server_id);
    let id = id.or(backend.server_id);
    match by_node(backend) {
        Holdings::Nothing => true,
        Holdings::Something => false,
        Holdings::Unknown => backend.proof.map(|proof| proof.server_id) == id && id.is_some(),
    }
}

pub(super) fn release(
    pass: &mut Pass<'_>,
    backend: &BackendView,
    report: DrainReport,
    delete_after_ms: Option<u64>,
) -> DrainReport {
    // It may have registered after it was found unknown.
    if let Some(row) = pass.world.row(backend)
        && !row.retired
        && row.units == 0
    {
        let server_id = row.server_id;
        pass.backend(backend, Action::Retire { server_id });
    }
    if let Some(pod) = &backend.pod {
        let pod = pod.name.clone();
        pass.backend(backend, Action::StopPod { pod });
        pass.wake_in(POLL_MS);
        return report.is(DrainState::StoppingPod);
    }
    match delete_after_ms {
        None => pass.backend(backend, Action::ReleaseVolume),
        Some(at) if at <= pass.world.now_ms => pass.backend(backend, Action::DeleteVolume),
        Some(at) => pass.wake_in(at - pass.world.now_ms),
    }
    report.is(DrainState::ReleasingVolume)
}
