//! A murder that is paused.

use std::time::Duration;

use murder_e2e::kube::{KubeMurder, condition};

use crate::{kube, manifests};

const LIMIT: Duration = Duration::from_secs(60);

/// Row 54: while `spec.paused` is set nothing is written; what was changed meanwhile is put back afterwards.
#[tokio::test]
async fn a_paused_murder_is_left_alone() {
    let kube = kube().await;
    let text = manifests(&["be-a"]);
    let murder = KubeMurder::up(&kube, "e2e-paused", &text, 1).await.unwrap();
    let namespace = &murder.namespace;
    let pause = |paused: bool| format!(r#"{{"spec":{{"paused":{paused}}}}}"#);
    kube.patch(namespace, "murdercluster", "mc", &pause(true))
        .await
        .unwrap();
    kube.wait_for(namespace, "murdercluster/mc", "condition=Paused", LIMIT)
        .await
        .unwrap();
    kube.kubectl(&[
        "-n",
        namespace,
        "label",
        "service",
        "fe",
        "app.kubernetes.io/part-of=else",
        "--overwrite",
    ])
    .await
    .unwrap();
    // A later wish is seen and not carried out: by then the label would have been put back.
    murder.desire("be-a", "Cordoned").await.unwrap();
    kube.until("the wish is seen", LIMIT, async || {
        let backend = murder.get("backend", "be-a").await?;
        Ok(backend["status"]["observedGeneration"] == backend["metadata"]["generation"])
    })
    .await
    .unwrap();
    let backend = murder.get("backend", "be-a").await.unwrap();
    assert_eq!(condition(&backend, "Schedulable").0, "True", "{backend}");
    let part_of = |service: &serde_json::Value| {
        service["metadata"]["labels"]["app.kubernetes.io/part-of"].clone()
    };
    assert_eq!(part_of(&murder.get("service", "fe").await.unwrap()), "else");

    kube.patch(namespace, "murdercluster", "mc", &pause(false))
        .await
        .unwrap();
    kube.wait_for(
        namespace,
        "backend/be-a",
        "condition=Schedulable=False",
        LIMIT,
    )
    .await
    .unwrap();
    kube.until("the label is put back", LIMIT, async || {
        Ok(part_of(&murder.get("service", "fe").await?) == "murder")
    })
    .await
    .unwrap();
    murder.down().await.unwrap();
}
