//! A drain is slowed down and let go while it runs.

use std::time::Duration;

use murder_e2e::kube::{KubeMurder, USERS, condition};

use crate::load::under_load;
use crate::{kube, manifests};

const LIMIT: Duration = Duration::from_secs(120);

/// So slow that the drain would outlast the test.
const SLOW: &str =
    r#"{"spec":{"transfer":{"bytesPerSecondPerBackend":4096,"parallelPerBackend":1}}}"#;
const FAST: &str = r#"{"spec":{"transfer":{"bytesPerSecondPerBackend":0,"parallelPerBackend":4}}}"#;

/// Rows 59 and 60: the rate is changed in the middle of a drain, without a restart, and the status tells how far it is.
#[tokio::test]
async fn the_rate_of_a_drain_is_changed_while_it_runs() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-throttle", &text, USERS)
        .await
        .unwrap();
    let namespace = &murder.namespace;
    let pod = murder.get("pod", "be-a-0").await.unwrap();
    kube.patch(namespace, "murdercluster", "mc", SLOW)
        .await
        .unwrap();
    under_load(&murder, async {
        murder.desire("be-a", "Drained").await?;
        kube.until("mail is on its way, slowly", LIMIT, async || {
            let backend = murder.get("backend", "be-a").await?;
            let drain = &backend["status"]["drain"];
            let (moved, total) = (drain["bytesMoved"].as_i64(), drain["bytesTotal"].as_i64());
            let is_told = drain["rateBps"].is_i64() && drain["startedAt"].is_string();
            Ok(condition(&backend, "Drained").1 == "Transferring" && is_told && moved < total)
        })
        .await?;
        kube.patch(namespace, "murdercluster", "mc", FAST).await?;
        kube.wait_for(namespace, "backend/be-a", "condition=Drained", LIMIT)
            .await
    })
    .await;
    let same = murder.get("pod", "be-a-0").await.unwrap();
    assert_eq!(same["metadata"]["uid"], pod["metadata"]["uid"], "restarted");
    murder.down().await.unwrap();
}
