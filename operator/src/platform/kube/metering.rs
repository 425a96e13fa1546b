//! What the operator's metrics say of a murder.

use kube::ResourceExt as _;

use super::context::Context;
use super::memory::Memory;
use super::objects::Objects;
use crate::core::{BackendView, DrainReport, DrainState, World};
use crate::status::DrainProgress;
use crate::telemetry::{OfBackend, OfBackendState, OfBlocked, OfMurder, OfPod, OfSecret};

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Metrics of a Backend.
pub(super) fn backend(
    context: &Context,
    objects: &Objects,
    view: &BackendView,
    report: &DrainReport,
    progress: &DrainProgress,
    stalled: bool,
) {
    let metrics = &context.metrics;
    let of = OfBackend {
        namespace: objects.key.namespace.clone(),
        cluster: objects.key.name.clone(),
        backend: view.name.clone(),
    };
    let state = |state| OfBackendState {
        namespace: of.namespace.clone(),
        cluster: of.cluster.clone(),
        backend: of.backend.clone(),
        state,
    };
    let ready = view.pod.as_ref().is_some_and(|pod| pod.ready);
    let empty = report.state == DrainState::Empty;
    metrics
        .backend_ready
        .get_or_create(&of)
        .set(i64::from(ready || empty));
    if let Some(status) = &view.status {
        let total = status.partitions.iter().map(|p| p.total_bytes).max();
        let free = status.partitions.iter().map(|p| p.free_bytes).max();
        let (total, free) = (total.unwrap_or(0), free.unwrap_or(0));
        let used = total.saturating_sub(free);
        metrics
            .volume_bytes
            .get_or_create(&state("total"))
            .set(gauge(total));
        metrics
            .volume_bytes
            .get_or_create(&state("used"))
            .set(gauge(used));
    }
    let blocked = |reason| OfBlocked {
        namespace: of.namespace.clone(),
        cluster: of.cluster.clone(),
        backend: of.backend.clone(),
        reason,
    };
    for reason in BLOCKED_REASONS {
        metrics.drain_blocked.remove(&blocked(reason));
    }
    if !view.is_leaving() {
        for name in ["total", "moved", "remaining", "failed"] {
            metrics.drain_units.remove(&state(name));
            metrics.drain_bytes.remove(&state(name));
        }
        metrics.drain_started.remove(&of);
        metrics.drain_stalled.remove(&of);
        return;
    }
    if let DrainState::Blocked(_) = report.state {
        let reason = report.state.reason();
        metrics.drain_blocked.get_or_create(&blocked(reason)).set(1);
    }
    let units = [
        ("total", report.moved + report.remaining),
        ("moved", report.moved),
        ("remaining", report.remaining),
        ("failed", report.failed.len() as u64),
    ];
    for (name, count) in units {
        metrics
            .drain_units
            .get_or_create(&state(name))
            .set(gauge(count));
    }
    let bytes = [
        ("total", report.bytes_moved + report.bytes_remaining),
        ("moved", report.bytes_moved),
    ];
    for (name, count) in bytes {
        metrics
            .drain_bytes
            .get_or_create(&state(name))
            .set(gauge(count));
    }
    metrics
        .drain_stalled
        .get_or_create(&of)
        .set(i64::from(stalled));
    if let Some(started) = progress.started_at() {
        metrics
            .drain_started
            .get_or_create(&of)
            .set(started.as_second());
    }
}

/// Reasons of a blocked drain.
const BLOCKED_REASONS: [&str; 6] = [
    "FailedMailboxes",
    "IdentityMismatch",
    "InsufficientCapacity",
    "MupdateUnavailable",
    "NoDestination",
    "SourceDown",
];

/// Metrics of a murder as a whole.
pub(super) fn murder(
    context: &Context,
    objects: &Objects,
    world: &World,
    memory: &Memory,
    expiries: &[(String, i64)],
) {
    let metrics = &context.metrics;
    let (namespace, cluster) = (&objects.key.namespace, &objects.key.name);
    if let Some(mupdate) = &world.mupdate {
        let of = OfMurder {
            namespace: namespace.clone(),
            cluster: cluster.clone(),
        };
        let available = i64::from(mupdate.servers.is_some());
        metrics.mupdate_available.get_or_create(&of).set(available);
    }
    for (secret, at) in expiries {
        let of = OfSecret {
            namespace: namespace.clone(),
            cluster: cluster.clone(),
            secret: secret.clone(),
        };
        metrics.certificate_expiry.get_or_create(&of).set(*at);
    }
    for (pod, report) in memory.reports.all() {
        let of = OfPod {
            namespace: namespace.clone(),
            cluster: cluster.clone(),
            pod: pod.to_owned(),
        };
        let silent = i64::from(report.error.is_some());
        metrics.node_unreachable.get_or_create(&of).set(silent);
    }
    for pod in memory.reports.forgotten() {
        let of = OfPod {
            namespace: namespace.clone(),
            cluster: cluster.clone(),
            pod: pod.clone(),
        };
        metrics.node_unreachable.remove(&of);
    }
}

/// A Backend that is gone has no metrics any more.
pub(super) fn forget(context: &Context, objects: &Objects, backend: &str) {
    let metrics = &context.metrics;
    let of = OfBackend {
        namespace: objects.key.namespace.clone(),
        cluster: objects.key.name.clone(),
        backend: backend.to_owned(),
    };
    let known = objects.backends.iter().any(|b| b.name_any() == backend);
    tracing::debug!(murder = %objects.key, backend, known, "metrics_dropped");
    metrics.backend_ready.remove(&of);
    metrics.drain_started.remove(&of);
    metrics.drain_stalled.remove(&of);
    for state in ["total", "moved", "remaining", "failed", "used"] {
        let of = OfBackendState {
            namespace: of.namespace.clone(),
            cluster: of.cluster.clone(),
            backend: of.backend.clone(),
            state,
        };
        metrics.drain_units.remove(&of);
        metrics.drain_bytes.remove(&of);
        metrics.volume_bytes.remove(&of);
    }
}
