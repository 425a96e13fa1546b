//! Objects of the Prometheus operator, for a murder that wants them.

use serde_json::{Value, json};

use super::names::{BACKEND_LABEL, CLUSTER_LABEL, COMPONENT_LABEL, FRONTEND_LABEL, METRICS};
use super::{Murder, RenderError, is_on, names};

const API_VERSION: &str = "monitoring.coreos.com/v1";

impl Murder<'_> {
    /// PodMonitor and PrometheusRule, as far as the MurderCluster wants them.
    pub fn monitoring(&self) -> Result<Vec<Value>, RenderError> {
        let wished = &self.cluster.spec.monitoring;
        let mut objects = Vec::new();
        if is_on(wished.pod_monitor) {
            objects.push(self.pod_monitor()?);
        }
        if is_on(wished.rules) {
            objects.push(self.rules()?);
        }
        Ok(objects)
    }

    fn monitoring_metadata(&self) -> Result<Value, RenderError> {
        let mut labels = self.selector(names::Component::Mupdate, "");
        labels.remove(COMPONENT_LABEL);
        for (key, value) in [
            (names::NAME_LABEL, names::NODE),
            ("app.kubernetes.io/instance", self.name()),
            ("app.kubernetes.io/part-of", "murder"),
            ("app.kubernetes.io/managed-by", names::OPERATOR),
        ] {
            labels.insert(key.to_owned(), value.into());
        }
        Ok(self.metadata(self.name(), labels, self.owner()?))
    }

    fn pod_monitor(&self) -> Result<Value, RenderError> {
        let label = |label: &str, target: &str| {
            let name: String = label
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                .collect();
            json!({
                "action": "replace",
                "sourceLabels": [format!("__meta_kubernetes_pod_label_{name}")],
                "targetLabel": target,
            })
        };
        Ok(json!({
            "apiVersion": API_VERSION,
            "kind": "PodMonitor",
            "metadata": self.monitoring_metadata()?,
            "spec": {
                "selector": {"matchLabels": {CLUSTER_LABEL: self.name()}},
                "podMetricsEndpoints": [{
                    "port": METRICS.name,
                    "path": "/metrics",
                    "scheme": "http",
                    "relabelings": [
                        label(CLUSTER_LABEL, "cluster"),
                        label(BACKEND_LABEL, "backend"),
                        label(FRONTEND_LABEL, "frontend"),
                        label(COMPONENT_LABEL, "component"),
                    ],
                }],
            },
        }))
    }

    /// Alerts on what the nodes themselves say. Those on what the operator sees of all murders come with its chart.
    fn rules(&self) -> Result<Value, RenderError> {
        let of = format!(
            "namespace=\"{}\",cluster=\"{}\"",
            self.namespace,
            self.name()
        );
        let of_replicas = ["MurderNodeWithoutMaster", "MurderReplicaLag"];
        let rules: Vec<Value> = ALERTS
            .iter()
            .filter(|alert| self.has_master() || !of_replicas.contains(&alert.name))
            .map(|alert| {
                json!({
                    "alert": alert.name,
                    "expr": alert.expression.replace("{OF", &format!("{{{of}")),
                    "for": alert.lasting,
                    "labels": {"severity": alert.severity},
                    "annotations": {
                        "summary": alert.summary,
                        "description": alert.description,
                        "runbook_url": format!("docs/alerts.md#{}", alert.name.to_lowercase()),
                    },
                })
            })
            .collect();
        Ok(json!({
            "apiVersion": API_VERSION,
            "kind": "PrometheusRule",
            "metadata": self.monitoring_metadata()?,
            "spec": {"groups": [{"name": format!("murder-{}", self.name()), "rules": rules}]},
        }))
    }
}

/// An alert; `{OF` in its expression stands for the labels of one murder.
struct Alert {
    name: &'static str,
    expression: &'static str,
    lasting: &'static str,
    severity: &'static str,
    summary: &'static str,
    description: &'static str,
}

/// Their names and thresholds are those of the alerts on all murders in the operator's chart.
const ALERTS: &[Alert] = &[
    Alert {
        name: "MurderNodeDown",
        expression: "up{OF,component=~\"backend|frontend|mupdate\"} == 0",
        lasting: "5m",
        severity: "critical",
        summary: "{{ $labels.component }} {{ $labels.pod }} does not answer",
        description: "Its metrics cannot be read.",
    },
    Alert {
        name: "MurderPartitionFailed",
        expression: "murder_node_partition_failed{OF} == 1",
        lasting: "1m",
        severity: "critical",
        summary: "Partition {{ $labels.partition }} of {{ $labels.pod }} has failed",
        description: "The node could not write or read its volume and stopped serving the partition, to lose nothing.",
    },
    Alert {
        name: "MurderVolumeNearlyFull",
        expression: "murder_node_partition_bytes{OF,state=\"free\"} / ignoring(state) \
                     (murder_node_partition_bytes{OF,state=\"total\"} > 0) < 0.15",
        lasting: "15m",
        severity: "warning",
        summary: "Partition {{ $labels.partition }} of {{ $labels.pod }} is nearly full",
        description: "{{ $value | humanizePercentage }} are free. Grow the volume or move users away.",
    },
    Alert {
        name: "MurderNodeWithoutMaster",
        expression: "murder_node_master_connected{OF} == 0",
        lasting: "5m",
        severity: "warning",
        summary: "{{ $labels.pod }} has no connection to the mupdate master",
        description: "Users and shared roots cannot be made, renamed or moved on it; reading and delivering go on.",
    },
    Alert {
        name: "MurderReplicaLag",
        expression: "murder_node_replica_lag_changes{OF} > 100",
        lasting: "5m",
        severity: "warning",
        summary: "{{ $labels.pod }} is {{ $value }} changes behind the mupdate master",
        description: "It asks the master for what it does not know, which takes longer.",
    },
    Alert {
        name: "MurderTransfersFail",
        expression: "increase(murder_node_transfers_total{OF,outcome=\"failed\"}[30m]) > 5",
        lasting: "5m",
        severity: "warning",
        summary: "Transfers from {{ $labels.pod }} fail",
        description: "{{ $value | humanize }} transfers failed in 30 minutes.",
    },
    Alert {
        name: "MurderNodeCertificateExpiry",
        expression: "murder_node_certificate_expiry_timestamp_seconds{OF} - time() < 7 * 86400",
        lasting: "1h",
        severity: "warning",
        summary: "A certificate of {{ $labels.pod }} ends within a week",
        description: "Nodes refuse each other, and clients refuse the murder, once it has ended.",
    },
];
