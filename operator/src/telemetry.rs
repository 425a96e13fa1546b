//! Metrics and health of the operator, over plain HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

/// A kind of custom resource.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct OfKind {
    kind: &'static str,
}

/// A murder and one of its objects.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct OfBackend {
    /// Namespace.
    pub namespace: String,
    /// Name of the MurderCluster.
    pub cluster: String,
    /// Name of the Backend.
    pub backend: String,
}

/// A figure of a Backend, by what it counts.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct OfBackendState {
    /// Namespace.
    pub namespace: String,
    /// Name of the MurderCluster.
    pub cluster: String,
    /// Name of the Backend.
    pub backend: String,
    /// What is counted.
    pub state: &'static str,
}

/// Why a Backend's drain is blocked.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct OfBlocked {
    /// Namespace.
    pub namespace: String,
    /// Name of the MurderCluster.
    pub cluster: String,
    /// Name of the Backend.
    pub backend: String,
    /// The reason in the condition Drained.
    pub reason: &'static str,
}

/// A murder.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct OfMurder {
    /// Namespace.
    pub namespace: String,
    /// Name of the MurderCluster.
    pub cluster: String,
}

/// A pod of a murder.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct OfPod {
    /// Namespace.
    pub namespace: String,
    /// Name of the MurderCluster.
    pub cluster: String,
    /// Name of the pod.
    pub pod: String,
}

/// A Secret with a certificate.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct OfSecret {
    /// Namespace.
    pub namespace: String,
    /// Name of the MurderCluster.
    pub cluster: String,
    /// Name of the Secret.
    pub secret: String,
}

/// All metrics of the operator. Gauges of murders are replaced as a whole by each pass of theirs.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    leader: Gauge,
    seconds: Family<OfKind, Histogram, fn() -> Histogram>,
    errors: Family<OfKind, Counter>,
    requeues: Family<OfKind, Counter>,
    fenced: Counter,
    /// Whether a pod's admin interface does not answer: 0 or 1.
    pub node_unreachable: Family<OfPod, Gauge>,
    /// Users and shared roots of a drain, by state.
    pub drain_units: Family<OfBackendState, Gauge>,
    /// Bytes of a drain, by state.
    pub drain_bytes: Family<OfBackendState, Gauge>,
    /// When a drain began.
    pub drain_started: Family<OfBackend, Gauge>,
    /// Whether a drain makes no progress.
    pub drain_stalled: Family<OfBackend, Gauge>,
    /// Whether a drain waits for help, and why.
    pub drain_blocked: Family<OfBlocked, Gauge>,
    /// Whether a Backend is ready.
    pub backend_ready: Family<OfBackend, Gauge>,
    /// Bytes of a Backend's volume.
    pub volume_bytes: Family<OfBackendState, Gauge>,
    /// Whether the master answers.
    pub mupdate_available: Family<OfMurder, Gauge>,
    /// When a certificate ends.
    pub certificate_expiry: Family<OfSecret, Gauge>,
    ready: AtomicBool,
    /// When the Lease was last looked at, in seconds since the start.
    alive: AtomicI64,
    started: std::time::Instant,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 14))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            leader: Gauge::default(),
            seconds: Family::new_with_constructor(seconds),
            errors: Family::default(),
            requeues: Family::default(),
            fenced: Counter::default(),
            node_unreachable: Family::default(),
            drain_units: Family::default(),
            drain_bytes: Family::default(),
            drain_started: Family::default(),
            drain_stalled: Family::default(),
            drain_blocked: Family::default(),
            backend_ready: Family::default(),
            volume_bytes: Family::default(),
            mupdate_available: Family::default(),
            certificate_expiry: Family::default(),
            ready: AtomicBool::new(false),
            alive: AtomicI64::new(0),
            started: std::time::Instant::now(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let operator = self.registry.sub_registry_with_prefix("murder_operator");
        operator.register("leader", "Whether this operator acts", self.leader.clone());
        let help = "Duration of passes";
        operator.register("reconcile_seconds", help, self.seconds.clone());
        operator.register(
            "reconcile_errors",
            "Passes that failed",
            self.errors.clone(),
        );
        operator.register(
            "requeues",
            "Passes that end with another",
            self.requeues.clone(),
        );
        let help = "Commands that a node refused because another operator had taken over";
        operator.register("fenced_commands", help, self.fenced.clone());
        let help = "Whether a pod's admin interface does not answer";
        operator.register("node_unreachable", help, self.node_unreachable.clone());
        let drain = self.registry.sub_registry_with_prefix("murder_drain");
        drain.register(
            "units",
            "Users and shared roots of a drain",
            self.drain_units.clone(),
        );
        drain.register("bytes", "Bytes of a drain", self.drain_bytes.clone());
        let help = "When the drain began";
        drain.register(
            "started_timestamp_seconds",
            help,
            self.drain_started.clone(),
        );
        drain.register(
            "stalled",
            "Whether a drain makes no progress",
            self.drain_stalled.clone(),
        );
        drain.register(
            "blocked",
            "Whether a drain waits for help",
            self.drain_blocked.clone(),
        );
        let murder = self.registry.sub_registry_with_prefix("murder");
        let help = "Whether a Backend is ready";
        murder.register("backend_ready", help, self.backend_ready.clone());
        let help = "Bytes of a Backend's volume";
        murder.register("backend_volume_bytes", help, self.volume_bytes.clone());
        let help = "Whether the mupdate master answers";
        murder.register("mupdate_available", help, self.mupdate_available.clone());
        let help = "When a certificate ends";
        let expiry = self.certificate_expiry.clone();
        murder.register("certificate_expiry_timestamp_seconds", help, expiry);
    }

    /// Whether this operator acts.
    pub fn set_leader(&self, leader: bool) {
        self.leader.set(i64::from(leader));
    }

    /// A pass ended.
    pub fn reconciled(&self, kind: &'static str, took: Duration) {
        let of_kind = OfKind { kind };
        self.seconds
            .get_or_create(&of_kind)
            .observe(took.as_secs_f64());
        self.requeues.get_or_create(&of_kind).inc();
    }

    /// A pass failed.
    pub fn failed(&self, kind: &'static str) {
        self.errors.get_or_create(&OfKind { kind }).inc();
    }

    /// A node refused a command because of a higher fence.
    pub fn fenced(&self) {
        self.fenced.inc();
    }

    /// Whether this operator can do its work: act, or wait for its turn.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// The Lease was looked at.
    pub fn beat(&self) {
        let now = i64::try_from(self.started.elapsed().as_secs()).unwrap_or(i64::MAX);
        self.alive.store(now, Ordering::Relaxed);
    }

    fn is_alive(&self) -> bool {
        let now = i64::try_from(self.started.elapsed().as_secs()).unwrap_or(i64::MAX);
        now - self.alive.load(Ordering::Relaxed) < 120
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// Serves `/healthz`, `/readyz` and `/metrics` for ever.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(metrics);
    axum::serve(listener, routes).await
}

async fn healthz(State(metrics): State<Arc<Metrics>>) -> (StatusCode, &'static str) {
    if metrics.is_alive() {
        (StatusCode::OK, "ok\n")
    } else {
        let text = "the Lease was not looked at for two minutes\n";
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

async fn readyz(State(metrics): State<Arc<Metrics>>) -> (StatusCode, &'static str) {
    if metrics.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], metrics.text())
}
