//! Create, deliver and read through Services.

use murder_e2e::kube::{KubeMurder, USERS, condition};

use crate::load::under_load;
use crate::{kube, manifests};

/// Rows 5, 6, 11, 39, 41: conditions are there, a second apply changes nothing, everything is restricted.
#[tokio::test]
async fn smoke_a_murder_is_made_and_delivers() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-create", &text, USERS)
        .await
        .unwrap();
    under_load(&murder, async { Ok(()) }).await;

    let backend = murder.get("backend", "be-a").await.unwrap();
    for kind in [
        "Ready",
        "Serving",
        "Schedulable",
        "Drained",
        "DrainStalled",
        "VolumeHealthy",
        "NodeDraining",
        "UpdatePending",
        "DeletionBlocked",
    ] {
        let (status, reason, _) = condition(&backend, kind);
        assert!(
            !status.is_empty() && !reason.is_empty(),
            "{kind}: {backend}"
        );
    }
    assert!(backend["status"]["serverID"].is_string(), "{backend}");
    assert_eq!(
        backend["status"]["observedGeneration"],
        backend["metadata"]["generation"]
    );

    let pod = murder.get("pod", "be-a-0").await.unwrap();
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    let container = &pod["spec"]["containers"][0]["securityContext"];
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(pod["metadata"]["ownerReferences"][0]["controller"], true);

    kube.apply(&murder.namespace, &text).await.unwrap();
    let again = murder.get("backend", "be-a").await.unwrap();
    assert_eq!(
        again["metadata"]["generation"],
        backend["metadata"]["generation"]
    );
    let same = murder.get("pod", "be-a-0").await.unwrap();
    assert_eq!(same["metadata"]["uid"], pod["metadata"]["uid"]);
    murder.down().await.unwrap();
}
