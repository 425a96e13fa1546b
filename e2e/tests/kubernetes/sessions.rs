//! What clients notice of a Frontend pod that goes.

use std::time::Duration;

use anyhow::Context as _;
use murder_e2e::imap::Failure;
use murder_e2e::kube::KubeMurder;

use crate::{kube, manifests};

const LIMIT: Duration = Duration::from_secs(60);

/// Rows 48 and 49: a pod that is told to go is out of its Service at once; the sessions that it has go on until they
/// end or the drain time is over, and then end with BYE; those who connect meanwhile are served by another pod.
#[tokio::test]
async fn sessions_outlive_the_end_of_their_pod_by_the_drain_time() {
    let kube = kube().await;
    let text = manifests(&["be-a"])
        .replace("replicas: 2", "replicas: 1")
        .replace("drainTimeout: 5s", "drainTimeout: 20s");
    let murder = KubeMurder::up(&kube, "e2e-sessions", &text, 1)
        .await
        .unwrap();
    let namespace = &murder.namespace;
    let party = murder.party().await.unwrap();
    let login = || party.doors[0].login(&party.users[0], &party.password);
    let mut session = login().await.unwrap();
    session.select("INBOX").await.unwrap();

    let pods = kube.list(namespace, "pods").await.unwrap();
    let name = |pod: &serde_json::Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
    let pod = pods.iter().map(name).find(|name| name.starts_with("fe-"));
    let pod = pod.unwrap();
    kube.kubectl(&["-n", namespace, "delete", "pod", &pod, "--wait=false"])
        .await
        .unwrap();
    kube.until("the pod is out of the Service", LIMIT, async || {
        let slices = kube.list(namespace, "endpointslices").await?;
        let of_service = slices
            .iter()
            .filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == "fe");
        let mut endpoints =
            of_service.flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
        Ok(!endpoints
            .any(|one| one["targetRef"]["name"] == *pod && one["conditions"]["ready"] == true))
    })
    .await
    .unwrap();
    // The old session still works.
    session.select("INBOX").await.unwrap();
    kube.until("a new session is served", LIMIT, async || {
        login().await?.logout().await.map(|()| true)
    })
    .await
    .unwrap();
    // It is told when the time is over.
    let ended = loop {
        if let Err(error) = session.idle(LIMIT).await {
            break error;
        }
    };
    let failure = Failure::of(&ended).with_context(|| format!("no BYE: {ended:#}"));
    assert!(matches!(failure.unwrap(), Failure::Bye { .. }), "{ended:#}");
    murder.down().await.unwrap();
}
