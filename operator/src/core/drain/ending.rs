//! The end of a drain: two proofs, deactivation, and for a Backend that goes away its retirement.

use murder_api::admin::BackendStatus;

use super::report::{DrainReport, DrainState};
use super::{POLL_MS, PROOF_INTERVAL_MS};
use crate::core::observe::BackendView;
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
    if backend.deleting || backend.scale_in {
        // Terminal from here on; until now the Backend could be taken back.
        if pass.world.row(backend).is_some() {
            pass.backend(
                backend,
                Action::Retire {
                    server_id: status.server_id,
                },
            );
            pass.wake_in(POLL_MS);
        } else {
            retire_volume(pass, backend);
        }
    }
    report.is(DrainState::Empty)
}

pub(super) fn retire_volume(pass: &mut Pass<'_>, backend: &BackendView) {
    let last_flip = backend.last_flip_ms.unwrap_or(pass.world.now_ms);
    // Mail that was given up is never deleted by us.
    let delete = backend.delete_volume && !backend.abandon;
    let delete_after_ms = delete.then_some(last_flip + pass.world.cluster.grace_ms);
    pass.backend(backend, Action::RetireVolume { delete_after_ms });
    pass.wake_in(POLL_MS);
}

pub(super) fn release(
    pass: &mut Pass<'_>,
    backend: &BackendView,
    report: DrainReport,
    delete_after_ms: Option<u64>,
) -> DrainReport {
    pass.wake_in(POLL_MS);
    if let Some(pod) = &backend.pod {
        pass.backend(
            backend,
            Action::StopPod {
                pod: pod.name.clone(),
            },
        );
        return report.is(DrainState::StoppingPod);
    }
    match delete_after_ms {
        None => pass.backend(backend, Action::ReleaseVolume),
        Some(at) if at <= pass.world.now_ms => pass.backend(backend, Action::DeleteVolume),
        Some(at) => pass.wake_in(at - pass.world.now_ms),
    }
    report.is(DrainState::ReleasingVolume)
}
