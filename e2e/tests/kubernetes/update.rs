//! Settings, versions and certificates change.

use std::collections::BTreeMap;
use std::time::Duration;

use murder_e2e::kube::{KubeMurder, USERS};

use crate::load::under_load;
use crate::{kube, manifests};

const LIMIT: Duration = Duration::from_secs(180);

async fn uids(murder: &KubeMurder) -> anyhow::Result<BTreeMap<String, String>> {
    let pods = murder.kube.list(&murder.namespace, "pods").await?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let pods = pods.iter().map(|pod| {
        (
            text(&pod["metadata"]["name"]),
            text(&pod["metadata"]["uid"]),
        )
    });
    Ok(pods.collect())
}

/// Rows 50, 70: everything restarts, one at a time, under load.
#[tokio::test]
async fn everything_is_restarted_in_turn_under_load() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-update", &text, USERS)
        .await
        .unwrap();
    let before = uids(&murder).await.unwrap();
    under_load(&murder, async {
        let mark = "murder.rs/restartedAt=now";
        kube.kubectl(&[
            "-n",
            &murder.namespace,
            "annotate",
            "murdercluster",
            "mc",
            mark,
        ])
        .await?;
        kube.until("all pods are new", LIMIT, async || {
            let now = uids(&murder).await?;
            Ok(before
                .values()
                .all(|old| !now.values().any(|new| new == old)))
        })
        .await?;
        murder.ready(LIMIT).await
    })
    .await;
    murder.down().await.unwrap();
}

/// Row 51: another operator with another default image restarts nothing, and says what waits.
#[tokio::test]
async fn another_operator_restarts_no_mail_pod() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-upgrade", &text, USERS)
        .await
        .unwrap();
    let before = uids(&murder).await.unwrap();
    let image = "nodeImage.repository=murder.local/other";
    kube.install_operator(&["replicas=1", image]).await.unwrap();
    let object = "murdercluster/mc";
    kube.wait_for(&murder.namespace, object, "condition=UpdatePending", LIMIT)
        .await
        .unwrap();
    assert_eq!(uids(&murder).await.unwrap(), before);
    kube.install_operator(&["replicas=1"]).await.unwrap();
    murder.down().await.unwrap();
}

/// Row 52: certificates are replaced under load, without a restart.
#[tokio::test]
async fn certificates_are_rotated_under_load() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-rotate", &text, USERS)
        .await
        .unwrap();
    let before = uids(&murder).await.unwrap();
    let old = murder.get("secret", "be-a-tls").await.unwrap();
    under_load(&murder, async {
        let mark = "murder.rs/rotate-certificates=1";
        kube.kubectl(&[
            "-n",
            &murder.namespace,
            "annotate",
            "murdercluster",
            "mc",
            mark,
        ])
        .await?;
        kube.until("the certificate is another", LIMIT, async || {
            let new = murder.get("secret", "be-a-tls").await?;
            Ok(new["data"]["tls.crt"] != old["data"]["tls.crt"])
        })
        .await
    })
    .await;
    assert_eq!(uids(&murder).await.unwrap(), before);
    murder.down().await.unwrap();
}
