//! Backends are deleted.

use std::time::Duration;

use murder_e2e::kube::{KubeMurder, USERS, condition};

use crate::load::under_load;
use crate::{backend, kube, manifests};

/// Rows 19, 20, 30: deletion empties first; the volume stays, marked as that of a retired server.
#[tokio::test]
async fn smoke_a_backend_is_deleted_under_load() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-delete", &text, USERS)
        .await
        .unwrap();
    under_load(&murder, async {
        let arguments = [
            "-n",
            &murder.namespace,
            "delete",
            "backend",
            "be-b",
            "--timeout=120s",
        ];
        kube.kubectl_waiting(&arguments).await.map(|_| ())
    })
    .await;
    let claim = murder.get("pvc", "be-b-data").await.unwrap();
    let annotations = &claim["metadata"]["annotations"];
    assert!(annotations["murder.rs/retired"].is_string(), "{claim}");
    assert!(
        kube.get(&murder.namespace, "pod", "be-b-0")
            .await
            .unwrap()
            .is_none()
    );

    // A new Backend of the name gets a volume of its own.
    kube.apply(&murder.namespace, &backend("be-b", "shared", "1Gi"))
        .await
        .unwrap();
    let limit = Duration::from_secs(60);
    kube.wait_for(&murder.namespace, "backend/be-b", "condition=Ready", limit)
        .await
        .unwrap();
    let status = murder.get("backend", "be-b").await.unwrap();
    assert_eq!(status["status"]["claimName"], "be-b-data-2");
    murder.down().await.unwrap();
}

/// Row 10: the last Backend is held, says why, and goes once another is there.
#[tokio::test]
async fn the_last_backend_is_held_until_there_is_another() {
    let kube = kube().await;
    let text = manifests(&["be-a"]);
    let murder = KubeMurder::up(&kube, "e2e-last", &text, USERS)
        .await
        .unwrap();
    under_load(&murder, async {
        let arguments = [
            "-n",
            &murder.namespace,
            "delete",
            "backend",
            "be-a",
            "--wait=false",
        ];
        kube.kubectl(&arguments).await?;
        let limit = Duration::from_secs(60);
        kube.wait_for(
            &murder.namespace,
            "backend/be-a",
            "condition=DeletionBlocked",
            limit,
        )
        .await?;
        let held = murder.get("backend", "be-a").await?;
        assert_eq!(
            condition(&held, "DeletionBlocked").1,
            "NoDestination",
            "{held}"
        );
        assert_eq!(condition(&held, "Drained").1, "NoDestination");
        kube.apply(&murder.namespace, &backend("be-b", "shared", "1Gi"))
            .await?;
        let limit = Duration::from_secs(120);
        kube.wait_for(&murder.namespace, "backend/be-a", "delete", limit)
            .await
    })
    .await;
    murder.down().await.unwrap();
}
