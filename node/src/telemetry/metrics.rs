//! Counters and gauges in Prometheus' text format. Labels are bounded: never a user or a mailbox.

use std::time::Duration;

use murder_api::Settings;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Label of a protocol: `imap`, `lmtp`, `mupdate`, `transfer` or `append`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Protocol {
    /// The protocol's name.
    pub protocol: &'static str,
}

/// Label of a partition.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct PartitionLabel {
    /// The partition's name in the settings.
    pub partition: String,
}

/// Label of a state: of units, or of the bytes of a partition.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct StateLabel {
    /// One of few words.
    pub state: &'static str,
}

/// Labels of a partition's bytes.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct RoomLabel {
    /// The partition's name in the settings.
    pub partition: String,
    /// `free` or `total`.
    pub state: &'static str,
}

/// Label of how a transfer ended: `done`, `failed` or `cancelled`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct OutcomeLabel {
    /// How.
    pub outcome: &'static str,
}

/// Label of a certificate: `node` or `public`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct CertificateLabel {
    /// Which.
    pub certificate: &'static str,
}

/// A histogram of seconds, from some milliseconds to half an hour.
#[derive(Clone, Debug)]
pub struct Seconds(Histogram);

impl Seconds {
    /// Notes a time that something took.
    pub fn observe(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }
}

impl Default for Seconds {
    fn default() -> Self {
        Self(Histogram::new([
            0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
            1800.0,
        ]))
    }
}

/// What a node tells of what it has and whom it is connected to. Most is looked up when it is asked
/// for.
#[derive(Debug, Default)]
pub struct NodeMetrics {
    /// Units by what the node is to them.
    pub units: Family<StateLabel, Gauge>,
    /// Mailboxes of the units served here.
    pub mailboxes: Gauge,
    /// Bytes of their messages.
    pub messages_bytes: Gauge,
    /// Room of the partitions.
    pub partition_bytes: Family<RoomLabel, Gauge>,
    /// Whether a partition stopped taking writes.
    pub partition_failed: Family<PartitionLabel, Gauge>,
    /// Transfers from here that ended.
    pub transfers: Family<OutcomeLabel, Counter>,
    /// How long those that were done took, queueing left out.
    pub transfer_seconds: Seconds,
    /// How long writes waited in them.
    pub transfer_freeze_seconds: Seconds,
    /// Bytes sent by transfers.
    pub transfer_bytes: Counter,
    /// Changes that the replica has not seen yet.
    pub replica_lag_changes: Gauge,
    /// Whether there is a connection to the master.
    pub master_connected: Gauge,
    /// When certificates end, in seconds since 1970.
    pub certificate_expiry: Family<CertificateLabel, Gauge>,
    /// Commands of a replaced operator that were refused.
    pub fenced_commands: Counter,
}

impl NodeMetrics {
    /// Registers those that such a node has.
    fn register(&self, registry: &mut Registry, settings: &Settings) {
        let in_murder = settings.mupdate.is_some();
        registry.register(
            "node_certificate_expiry_timestamp_seconds",
            "When certificates end",
            self.certificate_expiry.clone(),
        );
        registry.register(
            "node_fenced_commands",
            "Commands of replaced operators that were refused",
            self.fenced_commands.clone(),
        );
        if settings.role.holds_mailboxes() {
            self.register_mailboxes(registry);
        }
        if settings.role.holds_mailboxes() && in_murder {
            self.register_transfers(registry);
        }
        if in_murder {
            registry.register(
                "node_master_connected",
                "Whether there is a connection to the mupdate master",
                self.master_connected.clone(),
            );
        }
        if settings.role.routes() && in_murder {
            registry.register(
                "node_replica_lag_changes",
                "Changes of locations that were not seen yet",
                self.replica_lag_changes.clone(),
            );
        }
    }

    fn register_mailboxes(&self, registry: &mut Registry) {
        registry.register("node_units", "Units by state", self.units.clone());
        registry.register(
            "node_mailboxes",
            "Mailboxes of the units served",
            self.mailboxes.clone(),
        );
        registry.register(
            "node_messages_bytes",
            "Bytes of their messages",
            self.messages_bytes.clone(),
        );
        registry.register(
            "node_partition_bytes",
            "Room of partitions",
            self.partition_bytes.clone(),
        );
        registry.register(
            "node_partition_failed",
            "Whether a partition stopped taking writes",
            self.partition_failed.clone(),
        );
    }

    fn register_transfers(&self, registry: &mut Registry) {
        for outcome in ["done", "failed", "cancelled"] {
            // Known from the start, so that the first one is seen to be one more.
            let _zero = self
                .transfers
                .get_or_create_owned(&OutcomeLabel { outcome });
        }
        registry.register(
            "node_transfers",
            "Transfers from here that ended",
            self.transfers.clone(),
        );
        registry.register(
            "node_transfer_seconds",
            "How long transfers took that were done",
            self.transfer_seconds.0.clone(),
        );
        registry.register(
            "node_transfer_freeze_seconds",
            "How long writes waited in transfers",
            self.transfer_freeze_seconds.0.clone(),
        );
        registry.register(
            "node_transfer_bytes",
            "Bytes sent by transfers",
            self.transfer_bytes.clone(),
        );
    }
}

/// Everything a node counts.
#[derive(Debug, Default)]
pub struct Metrics {
    registry: Registry,
    /// Sessions open now.
    pub sessions: Family<Protocol, Gauge>,
    /// Sessions accepted since start.
    pub sessions_started: Family<Protocol, Counter>,
    /// Logins refused.
    pub login_failures: Family<Protocol, Counter>,
    /// Messages acknowledged by LMTP, one a recipient.
    pub deliveries: Counter,
    /// Recipients answered with a temporary failure.
    pub deliveries_deferred: Counter,
    /// Deliveries recognised as repeated.
    pub deliveries_suppressed: Counter,
    /// Batches made durable.
    pub commits: Family<PartitionLabel, Counter>,
    /// Operations in those batches.
    pub operations: Family<PartitionLabel, Counter>,
    /// Bytes appended to logs.
    pub log_bytes: Family<PartitionLabel, Counter>,
    /// What the node is and has; see [`Self::of_node`].
    pub node: NodeMetrics,
}

impl Metrics {
    /// Registers all metrics under the prefix `murder`.
    pub fn new() -> Self {
        let metrics = Self::default();
        let mut registry = Registry::with_prefix("murder");
        registry.register("sessions", "Sessions open now", metrics.sessions.clone());
        registry.register(
            "sessions_started",
            "Sessions accepted",
            metrics.sessions_started.clone(),
        );
        registry.register(
            "login_failures",
            "Logins refused",
            metrics.login_failures.clone(),
        );
        registry.register(
            "deliveries",
            "Deliveries acknowledged",
            metrics.deliveries.clone(),
        );
        registry.register(
            "deliveries_deferred",
            "Recipients answered with a temporary failure",
            metrics.deliveries_deferred.clone(),
        );
        registry.register(
            "deliveries_suppressed",
            "Deliveries recognised as repeated",
            metrics.deliveries_suppressed.clone(),
        );
        registry.register("commits", "Batches made durable", metrics.commits.clone());
        registry.register(
            "operations",
            "Operations made durable",
            metrics.operations.clone(),
        );
        registry.register_with_unit(
            "log",
            "Appended to logs",
            Unit::Bytes,
            metrics.log_bytes.clone(),
        );
        Self {
            registry,
            ..metrics
        }
    }

    /// All metrics of a node with these settings.
    pub fn of_node(settings: &Settings) -> Self {
        let mut metrics = Self::new();
        metrics.node.register(&mut metrics.registry, settings);
        metrics
    }

    /// The text that a scrape gets.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }

    /// Counts a session of `protocol` until the guard is dropped.
    pub fn session(&self, protocol: &'static str) -> SessionGuard {
        let label = Protocol { protocol };
        self.sessions_started.get_or_create_owned(&label).inc();
        let gauge = self.sessions.get_or_create_owned(&label);
        gauge.inc();
        SessionGuard(gauge)
    }
}

/// One open session; see [`Metrics::session`].
#[derive(Debug)]
pub struct SessionGuard(Gauge);

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn a_scrape_shows_open_sessions_by_protocol() {
        let metrics = Metrics::new();
        let session = metrics.session("imap");
        assert!(
            metrics
                .encode()
                .contains("murder_sessions{protocol=\"imap\"} 1\n")
        );
        drop(session);
        assert!(
            metrics
                .encode()
                .contains("murder_sessions{protocol=\"imap\"} 0\n")
        );
        assert!(
            metrics
                .encode()
                .contains("murder_sessions_started_total{protocol=\"imap\"} 1\n")
        );
    }
}
