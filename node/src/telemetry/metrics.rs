//! Counters and gauges in Prometheus' text format. Labels are bounded: never a user or a mailbox.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
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
