//! Whether the world is as wished: what was not seen does not count as so.

use super::drain::{DrainReport, DrainState};
use super::observe::{BackendView, FrontendView, PodView, Record, VolumeView, Wish, World};
use super::placement::is_open;

/// Whether everything is as wished; the Backends' reports say whether they are.
pub(super) fn is_settled(world: &World, drains: &[DrainReport]) -> bool {
    let mut mupdate = world.mupdate.iter();
    mupdate.all(|m| serves(m.pod.as_ref(), &m.revision) && m.servers.is_some())
        && drains.iter().all(|drain| drain.settled)
        && world.frontends.iter().all(frontend_is_settled)
}

/// Whether a Backend is as wished.
pub(super) fn backend_is_settled(
    world: &World,
    backend: &BackendView,
    drain: &DrainReport,
) -> bool {
    if let VolumeView::Retired { delete_after_ms } = backend.volume {
        // Only time is missing.
        let waits = delete_after_ms.is_some_and(|at| at > world.now_ms);
        return waits && backend.is_going() && backend.pod.is_none();
    }
    let Some(status) = &backend.status else {
        return false;
    };
    let pod = backend.pod.as_ref();
    if backend.is_leaving() {
        // A server that serves nothing any more need not be ready.
        let runs = pod.is_some_and(|pod| pod.revision == backend.revision);
        return !backend.is_going() && runs && drain.state == DrainState::Empty;
    }
    let as_wished = match backend.wish {
        Wish::Active => is_open(world, backend, status),
        Wish::Cordoned => {
            let at_master = match world.record(backend) {
                Record::NoMaster => true,
                Record::Listed(row) => row.cordoned && !row.retired,
                Record::Absent | Record::Foreign(_) | Record::Silent => false,
            };
            status.cordoned && !status.deactivated && at_master
        }
        Wish::Drained => false,
    };
    as_wished && drain.state == DrainState::NotRequested && serves(pod, &backend.revision)
}

fn frontend_is_settled(frontend: &FrontendView) -> bool {
    let mut pods = frontend.pods.iter();
    !frontend.deleting
        && frontend.pods.len() == frontend.replicas
        && pods.all(|pod| serves(Some(pod), &frontend.revision))
}

fn serves(pod: Option<&PodView>, revision: &str) -> bool {
    pod.is_some_and(|pod| pod.ready && pod.revision == revision)
}
