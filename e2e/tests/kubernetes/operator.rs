//! The operator dies, is stopped, is taken away.

use std::time::Duration;

use murder_e2e::kube::{KubeMurder, OPERATOR_NAMESPACE, USERS};

use crate::load::under_load;
use crate::{kube, manifests};

const LIMIT: Duration = Duration::from_secs(180);

/// Row 22: killed again and again while a Backend is deleted, it ends in the same state.
#[tokio::test]
async fn smoke_the_operator_is_killed_during_a_drain() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-operator", &text, USERS)
        .await
        .unwrap();
    under_load(&murder, async {
        let namespace = &murder.namespace;
        kube.kubectl(&["-n", namespace, "delete", "backend", "be-b", "--wait=false"])
            .await?;
        let mut seen = String::new();
        let mut kills = 0;
        kube.until("be-b is gone", LIMIT, async || {
            let Some(backend) = kube.get(namespace, "backend", "be-b").await? else {
                return Ok(true);
            };
            let (_, reason, _) = murder_e2e::kube::condition(&backend, "Drained");
            // Once at each step that shows.
            if reason != seen && kills < 8 {
                seen = reason;
                kills += 1;
                let selector = "app.kubernetes.io/name=murder-operator";
                let kill = [
                    "-n",
                    OPERATOR_NAMESPACE,
                    "delete",
                    "pod",
                    "-l",
                    selector,
                    "--grace-period=0",
                    "--force",
                ];
                kube.kubectl(&kill).await?;
            }
            Ok(false)
        })
        .await?;
        assert!(kills > 0);
        Ok(())
    })
    .await;
    murder.down().await.unwrap();
}

/// Rows 36, 37: uninstalling is refused while murders are there; forced, mail goes on; installed again, nothing restarts.
#[tokio::test]
async fn the_operator_is_uninstalled_and_installed_again() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-uninstall", &text, USERS)
        .await
        .unwrap();
    let before = murder.get("pod", "be-a-0").await.unwrap();
    let uninstall = [
        "uninstall",
        murder_e2e::kube::RELEASE,
        "-n",
        OPERATOR_NAMESPACE,
        "--timeout",
        "60s",
    ];
    kube.helm(&uninstall).await.unwrap_err();
    kube.keep_operator().await.unwrap();
    kube.install_operator(&["replicas=1", "uninstall.allowWithResources=true"])
        .await
        .unwrap();
    under_load(&murder, async {
        kube.helm(&uninstall).await?;
        assert!(
            kube.get(&murder.namespace, "pod", "be-a-0")
                .await?
                .is_some()
        );
        kube.install_operator(&["replicas=1"]).await
    })
    .await;
    murder.ready(LIMIT).await.unwrap();
    let after = murder.get("pod", "be-a-0").await.unwrap();
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
    murder.down().await.unwrap();
}
