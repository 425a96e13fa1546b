//! Manifests that are wrong, and objects that somebody else changes.

use std::time::Duration;

use murder_e2e::kube::{KubeMurder, condition, repository};

use crate::{backend, kube, manifests};

const LIMIT: Duration = Duration::from_secs(60);

/// Row 9: each rule refuses with its message.
#[tokio::test]
async fn each_rule_refuses_with_its_message() {
    let kube = kube().await;
    let murder = KubeMurder::prepare(&kube, "e2e-invalid", 1).await.unwrap();
    let folder = repository().join("operator/tests/invalid");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# expect: "));
        let Some(expected) = expected else { continue };
        // Rules about changes have what was there before in front.
        let refused = kube.apply(&murder.namespace, &text).await;
        let error = format!("{:#}", refused.expect_err(&path.display().to_string()));
        assert!(error.contains(expected), "{}: {error}", path.display());
        let clean = [
            "-n",
            &murder.namespace,
            "delete",
            "mc,mbe,mfe",
            "--all",
            "--timeout=60s",
        ];
        kube.kubectl_waiting(&clean).await.unwrap();
        count += 1;
    }
    assert!(count > 10, "{count} manifests");
    murder.down().await.unwrap();
}

/// What passes and cannot work shows, and holds up nothing else.
#[tokio::test]
async fn what_cannot_work_says_so_and_holds_up_nothing_else() {
    let kube = kube().await;
    let mut text = manifests(&["be-a"]);
    text += &backend("be-lost", "no-such-class", "1Gi");
    let murder = KubeMurder::prepare(&kube, "e2e-trouble", 1).await.unwrap();
    kube.apply(&murder.namespace, &text).await.unwrap();
    kube.wait_for(&murder.namespace, "backend/be-a", "condition=Ready", LIMIT)
        .await
        .unwrap();
    kube.until("be-lost says why", LIMIT, async || {
        let lost = murder.get("backend", "be-lost").await?;
        let (status, reason, _) = condition(&lost, "Ready");
        Ok(status == "False" && reason == "Unschedulable")
    })
    .await
    .unwrap();
    let alone = backend("be-alone", "shared", "1Gi").replace("name: mc", "name: nobody");
    kube.apply(&murder.namespace, &alone).await.unwrap();
    kube.until(
        "be-alone says that its murder is not there",
        LIMIT,
        async || {
            let alone = murder.get("backend", "be-alone").await?;
            Ok(condition(&alone, "Ready").1 == "ClusterNotFound")
        },
    )
    .await
    .unwrap();
    murder.down().await.unwrap();
}

/// An owned object that somebody changes is put back.
#[tokio::test]
async fn a_changed_owned_object_is_put_back() {
    let kube = kube().await;
    let text = manifests(&["be-a"]);
    let murder = KubeMurder::up(&kube, "e2e-foreign", &text, 1)
        .await
        .unwrap();
    let namespace = &murder.namespace;
    kube.kubectl(&[
        "-n",
        namespace,
        "scale",
        "statefulset",
        "be-a",
        "--replicas=0",
    ])
    .await
    .unwrap();
    kube.until("it has one replica again", LIMIT, async || {
        let set = murder.get("statefulset", "be-a").await?;
        Ok(set["spec"]["replicas"] == 1)
    })
    .await
    .unwrap();
    kube.until("an event says so", LIMIT, async || {
        let events = kube.list(namespace, "events").await?;
        Ok(events
            .iter()
            .any(|event| event["reason"] == "ForeignChange"))
    })
    .await
    .unwrap();
    murder.ready(LIMIT).await.unwrap();
    murder.down().await.unwrap();
}
