//! What somebody sees who looks on: events, the log, metrics, field managers.

use std::time::Duration;

use anyhow::Context as _;
use murder_e2e::kube::{KubeMurder, OPERATOR_NAMESPACE, USERS};
use serde_json::Value;

use crate::load::under_load;
use crate::{kube, manifests};

const LIMIT: Duration = Duration::from_secs(120);

/// Rows 12, 44, 45 and 46: a drain leaves events, lines of JSON that name murder and fence, and metrics; and nobody but
/// the operator and the user writes a Backend.
#[tokio::test]
async fn a_drain_can_be_followed_by_events_log_and_metrics() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-observing", &text, USERS)
        .await
        .unwrap();
    let namespace = &murder.namespace;
    under_load(&murder, async {
        murder.desire("be-a", "Drained").await?;
        kube.wait_for(namespace, "backend/be-a", "condition=Drained", LIMIT)
            .await
    })
    .await;

    kube.until("events tell of the drain", LIMIT, async || {
        let events = kube
            .kubectl(&["-n", namespace, "events", "--for", "backend/be-a"])
            .await?;
        Ok(events.contains("DrainEmpty"))
    })
    .await
    .unwrap();
    let events = kube.list(namespace, "events").await.unwrap();
    let of_backend = events.iter().filter(|event| {
        event["involvedObject"]["name"] == "be-a" || event["regarding"]["name"] == "be-a"
    });
    assert!(of_backend.count() < 60, "events are spammed");

    let log = [
        "-n",
        OPERATOR_NAMESPACE,
        "logs",
        "-l",
        "app.kubernetes.io/name=murder-operator",
        "--tail=-1",
    ];
    let log = kube.kubectl(&log).await.unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| {
            serde_json::from_str(line)
                .with_context(|| line.to_owned())
                .unwrap()
        })
        .collect();
    let full_name = murder.full_name();
    let steps: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] == "step_taken" && line["murder"] == *full_name)
        .collect();
    assert!(!steps.is_empty(), "no step is logged");
    assert!(
        steps.iter().all(|step| step["fence"].as_u64() > Some(0)),
        "{steps:?}"
    );

    let pods = kube.list(OPERATOR_NAMESPACE, "pods").await.unwrap();
    let is_operator = |pod: &&Value| {
        pod["metadata"]["labels"]["app.kubernetes.io/component"] == "operator"
            && pod["status"]["phase"] == "Running"
    };
    let pod = pods.iter().find(is_operator).unwrap()["metadata"]["name"]
        .as_str()
        .unwrap();
    let path = format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{pod}:9090/proxy/metrics");
    let metrics = kube.kubectl(&["get", "--raw", &path]).await.unwrap();
    for start in [
        "murder_operator_leader 1",
        "murder_operator_reconcile_seconds_bucket{",
        "murder_operator_requeues_total{",
        "murder_drain_units{",
        "murder_drain_bytes{",
        "murder_backend_ready{",
        "murder_mupdate_available{",
        "murder_certificate_expiry_timestamp_seconds{",
    ] {
        assert!(
            metrics.lines().any(|line| line.starts_with(start)),
            "no {start} in:\n{metrics}"
        );
    }

    let arguments = [
        "-n",
        namespace,
        "get",
        "backend",
        "be-a",
        "-o",
        "json",
        "--show-managed-fields",
    ];
    let backend: Value = serde_json::from_str(&kube.kubectl(&arguments).await.unwrap()).unwrap();
    for entry in backend["metadata"]["managedFields"].as_array().unwrap() {
        let manager = entry["manager"].as_str().unwrap();
        assert!(
            manager.starts_with("kubectl") || manager.starts_with("murder-operator"),
            "{entry}"
        );
    }
    murder.down().await.unwrap();
}
