//! Murders and namespaces go.

use std::time::Duration;

use murder_e2e::kube::{KubeMurder, USERS, condition};

use crate::load::under_load;
use crate::{kube, manifests};

const LIMIT: Duration = Duration::from_secs(120);

/// Row 38: a murder with mail is held; with the confirmation it goes, and its volumes stay.
#[tokio::test]
async fn a_murder_with_mail_is_deleted_only_with_the_confirmation() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-abandon", &text, USERS)
        .await
        .unwrap();
    under_load(&murder, async { Ok(()) }).await;
    let namespace = &murder.namespace;
    let before = murder.get("deployment", "fe").await.unwrap();
    kube.kubectl(&[
        "-n",
        namespace,
        "delete",
        "murdercluster",
        "mc",
        "--wait=false",
    ])
    .await
    .unwrap();
    let object = "murdercluster/mc";
    kube.wait_for(namespace, object, "condition=DeletionBlocked", LIMIT)
        .await
        .unwrap();
    let held = murder.get("murdercluster", "mc").await.unwrap();
    assert!(
        condition(&held, "DeletionBlocked").2.contains("mailboxes"),
        "{held}"
    );
    let frontend = murder.get("deployment", "fe").await.unwrap();
    assert_eq!(frontend["metadata"]["generation"], 1, "{frontend}");
    assert_eq!(frontend["metadata"]["uid"], before["metadata"]["uid"]);
    let patch = r#"{"spec":{"deletionPolicy":"Abandon","confirmation":"mc"}}"#;
    kube.patch(namespace, "murdercluster", "mc", patch)
        .await
        .unwrap();
    kube.wait_for(namespace, object, "delete", LIMIT)
        .await
        .unwrap();
    assert_eq!(
        kube.list(namespace, "pods").await.unwrap(),
        Vec::<serde_json::Value>::new()
    );
    murder.get("pvc", "be-a-data").await.unwrap();
    let orphan = murder.get("backend", "be-a").await.unwrap();
    assert_eq!(condition(&orphan, "Ready").1, "ClusterNotFound", "{orphan}");
    murder.down().await.unwrap();
}

/// Row 38: a murder without mail needs no confirmation; its volumes stay, with the identities of their servers.
#[tokio::test]
async fn a_murder_without_mail_is_deleted_without_a_confirmation() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-empty", &text, USERS)
        .await
        .unwrap();
    let namespace = &murder.namespace;
    kube.kubectl_waiting(&[
        "-n",
        namespace,
        "delete",
        "murdercluster",
        "mc",
        "--timeout=120s",
    ])
    .await
    .unwrap();
    assert_eq!(
        kube.list(namespace, "pods").await.unwrap(),
        Vec::<serde_json::Value>::new()
    );
    for claim in ["be-a-data", "be-b-data"] {
        let claim = murder.get("pvc", claim).await.unwrap();
        let metadata = &claim["metadata"];
        assert!(
            metadata["annotations"]["murder.rs/server-id"].is_string(),
            "{claim}"
        );
        assert!(metadata["deletionTimestamp"].is_null(), "{claim}");
        assert_eq!(claim["status"]["phase"], "Bound", "{claim}");
    }
    let master = murder.get("pvc", "mc-mupdate-data").await.unwrap();
    assert!(
        master["metadata"]["deletionTimestamp"].is_null(),
        "{master}"
    );
    murder.down().await.unwrap();
}

/// Row 38: a namespace with a murder in it ends. One of the same names that comes after it is another.
#[tokio::test]
async fn a_namespace_with_a_murder_ends() {
    let kube = kube().await;
    let text = manifests(&["be-a"]);
    for _ in 0..2 {
        let murder = KubeMurder::up(&kube, "e2e-namespace", &text, USERS)
            .await
            .unwrap();
        murder.down().await.unwrap();
    }
}
