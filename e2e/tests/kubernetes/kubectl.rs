//! What `kubectl` shows of a murder, and what it can do with it.

use std::process::Stdio;
use std::time::Duration;

use murder_e2e::kube::{KubeMurder, USERS, condition};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::load::under_load;
use crate::{kube, manifests};

const LIMIT: Duration = Duration::from_secs(120);

/// Columns of a kind, and those of `-o wide`.
const COLUMNS: [(&str, &str, &str); 3] = [
    (
        "mc",
        "NAME READY BACKENDS DRAINING MUPDATE SKEW% VERSION AGE",
        "NAME READY BACKENDS DRAINING MUPDATE SKEW% VERSION MAILBOXES BYTES REBALANCE AGE",
    ),
    (
        "mbe",
        "NAME CLUSTER STATE READY DRAIN MOVED REMAINING MAILBOXES USED NODE AGE",
        "NAME CLUSTER STATE READY DRAIN MOVED REMAINING MAILBOXES USED NODE RATE ETA CONNECTIONS MOVABLE AGE",
    ),
    (
        "mfe",
        "NAME CLUSTER DESIRED READY CONNECTIONS AGE",
        "NAME CLUSTER DESIRED READY CONNECTIONS AGE",
    ),
];

/// Where a drain may be, in order.
const DRAIN: [&str; 8] = [
    "NotRequested",
    "Queued",
    "Cordoning",
    "Planning",
    "Transferring",
    "Verifying",
    "Deactivating",
    "Empty",
];

/// Rows 3, 8, 13, 18, 62 and 65.
#[tokio::test]
async fn kubectl_shows_and_does_with_a_murder_what_it_does_with_others() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-kubectl", &text, USERS)
        .await
        .unwrap();
    under_load(&murder, async { Ok(()) }).await;
    columns_are_as_told(&murder).await;
    users_write_no_status(&murder).await;
    pods_lie_apart_and_can_be_evicted(&murder).await;
    frontends_can_be_scaled_by_others(&murder).await;
    a_drain_shows_its_steps_in_order(&murder).await;
    murder.down().await.unwrap();
}

/// What `kubectl` says of the murder's namespace.
async fn kubectl(murder: &KubeMurder, arguments: &[&str]) -> String {
    let mut all = vec!["-n", &murder.namespace];
    all.extend(arguments);
    murder.kube.kubectl(&all).await.unwrap()
}

/// Row 8.
async fn columns_are_as_told(murder: &KubeMurder) {
    for (kind, narrow, wide) in COLUMNS {
        for (format, expected) in [("", narrow), ("wide", wide)] {
            let text = kubectl(murder, &["get", kind, "-o", format]).await;
            let head: Vec<_> = text.lines().next().unwrap().split_whitespace().collect();
            assert_eq!(head.join(" "), expected, "{text}");
        }
    }
    let all = kubectl(murder, &["get", "murder", "-o", "name"]).await;
    let mut all: Vec<_> = all.lines().collect();
    all.sort_unstable();
    let expected = [
        "backend.murder.rs/be-a",
        "backend.murder.rs/be-b",
        "frontend.murder.rs/fe",
        "murdercluster.murder.rs/mc",
    ];
    assert_eq!(all, expected);
}

/// Row 3.
async fn users_write_no_status(murder: &KubeMurder) {
    const NONSENSE: i64 = 987_654_321;
    let patch = format!(r#"{{"status":{{"mailboxes":{NONSENSE}}}}}"#);
    let (kube, namespace) = (&murder.kube, &murder.namespace);
    kube.patch(namespace, "backend", "be-a", &patch)
        .await
        .unwrap();
    let backend = murder.get("backend", "be-a").await.unwrap();
    assert_ne!(backend["status"]["mailboxes"], NONSENSE, "{backend}");
}

/// Rows 13 and 62: Backends are on different machines where there are several; every pod has a controller, so
/// `kubectl drain` needs no force.
async fn pods_lie_apart_and_can_be_evicted(murder: &KubeMurder) {
    let mut machines = Vec::new();
    for pod in murder.kube.list(&murder.namespace, "pods").await.unwrap() {
        let owner = &pod["metadata"]["ownerReferences"][0];
        assert_eq!(owner["controller"], true, "{}", pod["metadata"]);
        if pod["metadata"]["labels"]["app.kubernetes.io/component"] == "backend" {
            machines.push(pod["spec"]["nodeName"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(machines.len(), 2);
    let several = murder.kube.list("default", "nodes").await.unwrap().len() > 1;
    assert!(!several || machines[0] != machines[1], "{machines:?}");
    let drain = [
        "drain",
        &machines[0],
        "--dry-run=server",
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--timeout=60s",
        "--pod-selector=murder.rs/cluster=mc",
    ];
    let evicted = murder.kube.kubectl_waiting(&drain).await.unwrap();
    assert!(evicted.contains("be-"), "{evicted}");
}

/// Row 65: the scale subresource tells which pods are meant, and an autoscaler finds it.
async fn frontends_can_be_scaled_by_others(murder: &KubeMurder) {
    let path = format!(
        "/apis/murder.rs/v1alpha1/namespaces/{}/frontends/fe/scale",
        murder.namespace
    );
    let scale = murder.kube.kubectl(&["get", "--raw", &path]).await.unwrap();
    let scale: Value = serde_json::from_str(&scale).unwrap();
    assert_eq!(scale["spec"]["replicas"], 2, "{scale}");
    assert_eq!(scale["status"]["replicas"], 2, "{scale}");
    let selector = scale["status"]["selector"].as_str().unwrap();
    let pods = kubectl(murder, &["get", "pods", "-l", selector, "-o", "name"]).await;
    let pods: Vec<_> = pods.lines().collect();
    assert_eq!(pods.len(), 2, "{selector}: {pods:?}");
    assert!(
        pods.iter().all(|pod| pod.starts_with("pod/fe-")),
        "{pods:?}"
    );

    let autoscale = ["autoscale", "frontend/fe", "--min=2", "--max=3"];
    kubectl(murder, &autoscale).await;
    let (kube, namespace) = (&murder.kube, &murder.namespace);
    kube.until("the autoscaler can scale", LIMIT, async || {
        let scaler = kube.get(namespace, "hpa", "fe").await?;
        let scaler = scaler.unwrap_or_default();
        Ok(condition(&scaler, "AbleToScale").0 == "True")
    })
    .await
    .unwrap();
    kubectl(murder, &["delete", "hpa", "fe"]).await;
}

/// Row 18: `kubectl get --watch` shows where a drain is, and it never goes back.
async fn a_drain_shows_its_steps_in_order(murder: &KubeMurder) {
    let format = r#"jsonpath={.status.conditions[?(@.type=="Drained")].reason}{"\n"}"#;
    let mut watch = Command::new("kubectl")
        .args(["-n", &murder.namespace, "get", "backend", "be-a"])
        .args(["--watch", "-o", format])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut seen: Vec<String> = Vec::new();
    while seen.last().is_none_or(|last| last != "Empty") {
        let line = timeout(LIMIT, lines.next_line()).await;
        let line = line.unwrap_or_else(|_| unreachable!("not Empty: {seen:?}"));
        let line = line.unwrap().unwrap();
        if seen.is_empty() {
            murder.desire("be-a", "Drained").await.unwrap();
        }
        if seen.last() != Some(&line) {
            seen.push(line);
        }
    }
    let place = |reason: &String| DRAIN.iter().position(|known| known == reason);
    let places: Option<Vec<usize>> = seen.iter().map(place).collect();
    let places = places.unwrap_or_else(|| unreachable!("others than {DRAIN:?}: {seen:?}"));
    assert!(places.is_sorted(), "{seen:?}");
    assert_eq!(seen[0], "NotRequested");
    assert!(seen.iter().any(|one| one == "Transferring"), "{seen:?}");
    murder.desire("be-a", "Active").await.unwrap();
}
