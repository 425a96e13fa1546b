//! How things are, for people and programs.

use std::collections::BTreeMap;

use super::protocol::{BackendLine, FailedUnit, FrontendLine, PodStatus, Status};
use super::state::State;
use crate::core::{BackendView, DrainReport, DrainState, Plan, PodView, VolumeView, Wish, World};

/// The status after a pass.
pub(super) fn describe(
    state: &State,
    sessions: &BTreeMap<String, u64>,
    problems: &[String],
    world: &World,
    plan: &Plan,
) -> Status {
    let pod = |name: &str, view: Option<&PodView>| {
        let record = state.pods.get(name);
        PodStatus {
            name: name.to_owned(),
            pid: record.map_or(0, |record| record.pid),
            ready: view.is_some_and(|view| view.ready),
            restarts: record.map_or(0, |record| record.restarts),
        }
    };
    let line = |backend: &BackendView| {
        let report = plan
            .drains
            .iter()
            .find(|drain| drain.backend == backend.name);
        let pod_name = backend.pod_name();
        let mut line = backend_line(backend, report);
        line.pod = pod(&pod_name, backend.pod.as_ref());
        line.grace_seconds = match backend.volume {
            VolumeView::Retired { delete_after_ms } if line.settled => {
                delete_after_ms.map(|at| at.saturating_sub(world.now_ms).div_ceil(1000))
            }
            _ => None,
        };
        line.sessions = sessions.get(&pod_name).copied().unwrap_or(0);
        line
    };
    // What a pass let go is gone for its readers too.
    let kept = |backend: &&BackendView| state.backends.contains_key(&backend.name);
    let frontend = |frontend: &crate::core::FrontendView| FrontendLine {
        name: frontend.name.clone(),
        replicas: frontend.replicas as u64,
        pods: frontend
            .pods
            .iter()
            .map(|view| pod(&view.name, Some(view)))
            .collect(),
    };
    Status {
        generation: 0,
        converged: plan.converged,
        problems: problems.to_vec(),
        cluster: world.cluster.name.clone(),
        mupdate: world
            .mupdate
            .as_ref()
            .map(|m| pod(&m.pod_name, m.pod.as_ref())),
        backends: world.backends.iter().filter(kept).map(line).collect(),
        frontends: world.frontends.iter().map(frontend).collect(),
    }
}

fn backend_line(backend: &BackendView, report: Option<&DrainReport>) -> BackendLine {
    let wish = match backend.wish {
        _ if backend.deleting => "Deleting",
        Wish::Active => "Active",
        Wish::Cordoned => "Cordoned",
        Wish::Drained => "Drained",
    };
    let mut line = BackendLine {
        name: backend.name.clone(),
        state: wish.to_owned(),
        server_id: backend.server_id.map(|id| id.to_string()),
        ..BackendLine::default()
    };
    if let Some(status) = &backend.status {
        line.cordoned = status.cordoned;
        line.units = status.units + status.units_in_doubt;
        line.mailboxes = status.mailboxes;
        line.bytes = status.bytes;
    }
    if let Some(report) = report {
        line.drain = report.state.reason().to_owned();
        line.blocked = matches!(report.state, DrainState::Blocked(_));
        line.message.clone_from(&report.message);
        if backend.is_leaving() && backend.status.is_some() {
            line.units = report.remaining;
            line.bytes = report.bytes_remaining;
        }
        line.moved = report.moved;
        line.mailboxes_moved = report.mailboxes_moved;
        line.bytes_moved = report.bytes_moved;
        line.in_flight = report.in_flight;
        line.settled = report.settled;
        let failed = report
            .failed
            .iter()
            .map(|(root, attempts, error)| FailedUnit {
                root: root.clone(),
                attempts: *attempts,
                error: error.clone(),
            });
        line.failed = failed.collect();
    }
    line
}
