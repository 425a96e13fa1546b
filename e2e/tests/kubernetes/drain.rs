//! A Backend is emptied, and taken back.

use std::time::Duration;

use murder_e2e::kube::{KubeMurder, USERS, condition};

use crate::load::under_load;
use crate::{kube, manifests};

/// Rows 7, 18, 20, 21: a drained Backend keeps its pod, `kubectl wait` sees it, and Active undoes it. Clients see only
/// what they may try again: one delivery that is refused for good is a fault. (That writes wait within a budget is
/// tested with transfers.)
#[tokio::test]
async fn smoke_a_backend_is_drained_under_load_and_taken_back() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-drain", &text, USERS)
        .await
        .unwrap();
    under_load(&murder, async {
        let limit = Duration::from_secs(120);
        let namespace = &murder.namespace;
        murder.desire("be-a", "Drained").await?;
        kube.wait_for(namespace, "backend/be-a", "condition=Drained", limit)
            .await?;
        let backend = murder.get("backend", "be-a").await?;
        assert_eq!(backend["status"]["mailboxes"], 0, "{backend}");
        assert_eq!(condition(&backend, "Drained").1, "Empty");
        assert!(kube.get(namespace, "pod", "be-a-0").await?.is_some());
        murder.desire("be-a", "Active").await?;
        kube.wait_for(namespace, "backend/be-a", "condition=Schedulable", limit)
            .await?;
        kube.wait_for(namespace, "backend/be-a", "condition=Ready", limit)
            .await
    })
    .await;
    murder.down().await.unwrap();
}
