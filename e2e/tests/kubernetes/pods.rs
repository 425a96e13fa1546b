//! Pods die while a Backend is emptied.

use std::time::Duration;

use murder_e2e::kube::{KubeMurder, USERS};

use crate::load::under_load;
use crate::{kube, manifests};

const LIMIT: Duration = Duration::from_secs(180);

/// Empties be-b while these pods are killed, and everything is still there.
async fn drained_while_killed(namespace: &str, pods: &[&str]) {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b", "be-c"]);
    let murder = KubeMurder::up(&kube, namespace, &text, USERS)
        .await
        .unwrap();
    under_load(&murder, async {
        murder.desire("be-b", "Drained").await?;
        kube.until("the drain begins", LIMIT, async || {
            let backend = murder.get("backend", "be-b").await?;
            Ok(backend["status"]["drain"]["total"].as_i64().unwrap_or(0) > 0)
        })
        .await?;
        for pod in pods {
            let arguments = [
                "-n",
                namespace,
                "delete",
                "pod",
                pod,
                "--grace-period=0",
                "--force",
            ];
            kube.kubectl(&arguments).await?;
        }
        kube.wait_for(namespace, "backend/be-b", "condition=Drained", LIMIT)
            .await?;
        murder.ready(LIMIT).await
    })
    .await;
    murder.down().await.unwrap();
}

/// Row 25.
#[tokio::test]
async fn the_source_is_killed_during_a_drain() {
    drained_while_killed("e2e-source", &["be-b-0"]).await;
}

/// Row 26.
#[tokio::test]
async fn a_destination_is_killed_during_a_drain() {
    drained_while_killed("e2e-destination", &["be-a-0"]).await;
}

/// Row 27.
#[tokio::test]
async fn the_master_is_killed_during_a_drain() {
    drained_while_killed("e2e-master", &["mc-mupdate-0"]).await;
}
