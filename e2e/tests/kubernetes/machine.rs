//! A machine is drained with `kubectl drain`.

use std::time::Duration;

use murder_e2e::kube::{Kube, KubeMurder, USERS};

use crate::load::under_load;
use crate::{CLUSTER, FRONTEND, backend, kube, manifests};

const LIMIT: Duration = Duration::from_secs(120);

async fn machine_of(murder: &KubeMurder, pod: &str) -> anyhow::Result<String> {
    let pod = murder.get("pod", pod).await?;
    Ok(pod["spec"]["nodeName"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

/// `kubectl drain`, which ends with 0 by itself or fails.
async fn drain(kube: &Kube, namespace: &str, machine: &str) -> anyhow::Result<String> {
    let selector = "murder.rs/cluster=mc";
    let arguments = [
        "drain",
        machine,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--timeout=180s",
        "--pod-selector",
        selector,
    ];
    let drained = kube.kubectl_waiting(&arguments).await;
    drained.map_err(|error| error.context(format!("in {namespace}")))
}

/// Row 32: a volume that can follow its pod does so, and no mailbox moves.
#[tokio::test]
async fn a_machine_is_drained_whose_volume_can_follow() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-movable", &text, USERS)
        .await
        .unwrap();
    let machine = machine_of(&murder, "be-a-0").await.unwrap();
    let claim = murder.get("pvc", "be-a-data").await.unwrap();
    under_load(&murder, async {
        drain(&kube, &murder.namespace, &machine).await?;
        kube.until("be-a runs elsewhere", LIMIT, async || {
            Ok(machine_of(&murder, "be-a-0").await? != machine)
        })
        .await?;
        murder.ready(LIMIT).await
    })
    .await;
    kube.kubectl(&["uncordon", &machine]).await.unwrap();
    let same = murder.get("pvc", "be-a-data").await.unwrap();
    assert_eq!(claim["metadata"]["uid"], same["metadata"]["uid"]);
    murder.down().await.unwrap();
}

/// Row 33: a volume that cannot follow is emptied first, behind 429s, and `kubectl drain` ends by itself.
#[tokio::test]
async fn a_machine_is_drained_whose_volume_cannot_follow() {
    let kube = kube().await;
    let text = format!(
        "{CLUSTER}{}{}{FRONTEND}",
        backend("be-a", "local", "900Mi"),
        backend("be-b", "shared", "1Gi"),
    );
    let murder = KubeMurder::up(&kube, "e2e-immovable", &text, USERS)
        .await
        .unwrap();
    let budget = murder.get("pdb", "be-a").await.unwrap();
    assert_eq!(budget["spec"]["maxUnavailable"], 0, "{budget}");
    let machine = machine_of(&murder, "be-a-0").await.unwrap();
    under_load(&murder, async {
        drain(&kube, &murder.namespace, &machine).await?;
        kube.kubectl(&["uncordon", &machine]).await?;
        kube.wait_for(
            &murder.namespace,
            "backend/be-a",
            "condition=Schedulable",
            LIMIT,
        )
        .await
    })
    .await;
    murder.down().await.unwrap();
}
