//! Two operators, of which one leads.

use std::time::Duration;

use anyhow::Context as _;
use murder_e2e::kube::{Frozen, KubeMurder, OPERATOR_NAMESPACE, RELEASE, USERS, condition};

use crate::load::under_load;
use crate::{kube, manifests};

const LIMIT: Duration = Duration::from_secs(120);

async fn holder(murder: &KubeMurder) -> anyhow::Result<String> {
    let lease = murder
        .kube
        .get(OPERATOR_NAMESPACE, "lease", RELEASE)
        .await?;
    let lease = lease.context("there is no Lease")?;
    let holder = lease["spec"]["holderIdentity"].as_str();
    Ok(holder.unwrap_or_default().to_owned())
}

async fn fence(murder: &KubeMurder) -> anyhow::Result<u64> {
    let cluster = murder.get("murdercluster", "mc").await?;
    let fence = cluster["metadata"]["annotations"]["murder.rs/fence"].as_str();
    Ok(fence.context("the murder has no fence")?.parse()?)
}

/// Rows 23, 24: the leader stops for longer than its Lease in the middle of a drain; another one goes on with a higher
/// fence, and the first one, when it goes on, does not act.
#[tokio::test]
async fn a_leader_that_stops_for_longer_than_its_lease_is_deposed() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-leader", &text, USERS)
        .await
        .unwrap();
    kube.install_operator(&["replicas=2"]).await.unwrap();
    let namespace = &murder.namespace;
    under_load(&murder, async {
        let before = fence(&murder).await?;
        let old = holder(&murder).await?;
        let pods = kube.list(OPERATOR_NAMESPACE, "pods").await?;
        let name = |pod: &serde_json::Value| {
            pod["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let leader = pods.iter().find(|pod| old.starts_with(&name(pod)));
        let leader = leader.context("the leader has no pod")?;
        // It is stopped wherever it is in the drain.
        murder.desire("be-a", "Drained").await?;
        let frozen = Frozen::stop(leader).await?;
        let frozen = frozen.context("the machines' processes are not visible from here")?;
        kube.until("another one leads", LIMIT, async || {
            let now = holder(&murder).await?;
            Ok(!now.is_empty() && !now.starts_with(&name(leader)))
        })
        .await?;
        kube.until("its fence is higher", LIMIT, async || {
            Ok(fence(&murder).await? > before)
        })
        .await?;
        kube.wait_for(namespace, "backend/be-a", "condition=Drained", LIMIT)
            .await?;
        murder.desire("be-a", "Active").await?;
        kube.wait_for(namespace, "backend/be-a", "condition=Schedulable", LIMIT)
            .await?;
        frozen.resume().await?;
        // What it believes is a drain that is over; it says that it does not lead, or has ended and begins anew.
        let path = format!(
            "/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{}:9090/proxy/metrics",
            name(leader)
        );
        kube.until("the deposed one knows it", LIMIT, async || {
            let metrics = kube.kubectl(&["get", "--raw", &path]).await?;
            Ok(metrics
                .lines()
                .any(|line| line == "murder_operator_leader 0"))
        })
        .await?;
        anyhow::ensure!(holder(&murder).await? != old, "the deposed one leads again");
        let backend = murder.get("backend", "be-a").await?;
        anyhow::ensure!(condition(&backend, "Schedulable").0 == "True", "{backend}");
        Ok(())
    })
    .await;
    kube.install_operator(&["replicas=1"]).await.unwrap();
    murder.down().await.unwrap();
}
