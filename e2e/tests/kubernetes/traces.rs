//! The same history has the same steps on this machine and on Kubernetes.

use std::time::Duration;

use murder_e2e::kube::{KubeMurder, repository};
use tokio::process::Command;

use crate::kube;

const LIMIT: Duration = Duration::from_secs(120);

/// `murder-operator local …` with a state folder.
async fn local(state: &std::path::Path, arguments: &[&str]) -> String {
    let own = std::env::current_exe().unwrap();
    let program = own.ancestors().nth(2).unwrap().join("murder-operator");
    let output = Command::new(program)
        .arg("local")
        .args(arguments)
        .arg("--state")
        .arg(state)
        .output()
        .await
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Create, scale a Frontend, drain, take back, delete.
#[tokio::test]
async fn traces_are_equal_here_and_on_kubernetes() {
    let kube = kube().await;
    let file = repository().join("examples/murder.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let more = text.replace("replicas: 2", "replicas: 3");

    let murder = KubeMurder::up(&kube, "e2e-traces", &text, 1).await.unwrap();
    let namespace = &murder.namespace;
    settled(&murder).await;
    kube.apply(namespace, &more).await.unwrap();
    kube.until("three pods serve", LIMIT, async || {
        Ok(murder.get("frontend", "fe").await?["status"]["readyReplicas"] == 3)
    })
    .await
    .unwrap();
    settled(&murder).await;
    murder.desire("be-b", "Drained").await.unwrap();
    kube.wait_for(namespace, "backend/be-b", "condition=Drained", LIMIT)
        .await
        .unwrap();
    settled(&murder).await;
    murder.desire("be-b", "Active").await.unwrap();
    kube.wait_for(namespace, "backend/be-b", "condition=Schedulable", LIMIT)
        .await
        .unwrap();
    settled(&murder).await;
    let delete = [
        "-n",
        namespace,
        "delete",
        "backend",
        "be-c",
        "--timeout=120s",
    ];
    kube.kubectl_waiting(&delete).await.unwrap();
    let there = kube.steps(&murder.full_name()).await.unwrap();
    murder.down().await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let changed = folder.path().join("more.yaml");
    std::fs::write(&changed, more).unwrap();
    local(&state, &["up", "-f", file.to_str().unwrap(), "--detach"]).await;
    local(&state, &["up", "-f", changed.to_str().unwrap(), "--detach"]).await;
    local(&state, &["drain", "be-b"]).await;
    local(&state, &["uncordon", "be-b"]).await;
    local(&state, &["delete", "be-c"]).await;
    let here = local(&state, &["trace"]).await;
    local(&state, &["down", "--purge"]).await;
    let here: Vec<&str> = here.lines().collect();
    assert_eq!(here, there);
}

/// Waits until nothing is under way, as the local platform's commands do.
async fn settled(murder: &KubeMurder) {
    murder
        .kube
        .wait_for(
            &murder.namespace,
            "murdercluster/mc",
            "condition=Progressing=False",
            LIMIT,
        )
        .await
        .unwrap();
}
