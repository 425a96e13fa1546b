//! The pool of Backends grows and shrinks.

use std::time::Duration;

use murder_e2e::kube::{KubeMurder, USERS};

use crate::load::under_load;
use crate::{FRONTEND, kube};

const POOL: &str = "apiVersion: murder.rs/v1alpha1
kind: MurderCluster
metadata: {name: mc}
spec:
  mupdate: {storage: {size: 1Gi}}
  transfer: {gracePeriod: 5s}
  backends:
    replicas: 2
    template: {storage: {size: 1Gi, storageClassName: shared}}
";

const LIMIT: Duration = Duration::from_secs(120);

/// Rows 14, 15, 17: out makes Backend, volume and Service; in takes the one that the user chose, drains it first, and then
/// its volume goes, too.
#[tokio::test]
async fn smoke_the_pool_grows_and_shrinks_under_load() {
    let kube = kube().await;
    let text = format!("{POOL}{FRONTEND}");
    let murder = KubeMurder::up(&kube, "e2e-scale", &text, USERS)
        .await
        .unwrap();
    under_load(&murder, async {
        let scale = |count: &'static str| {
            let arguments = ["-n", "e2e-scale", "scale", "murdercluster/mc", count];
            let kube = kube.clone();
            async move { kube.kubectl(&arguments).await }
        };
        scale("--replicas=3").await?;
        kube.until("mc-2 is there", LIMIT, async || {
            Ok(kube.get("e2e-scale", "backend", "mc-2").await?.is_some())
        })
        .await?;
        kube.wait_for("e2e-scale", "backend/mc-2", "condition=Ready", LIMIT)
            .await?;
        murder.get("service", "mc-2").await?;
        kube.kubectl(&[
            "-n",
            "e2e-scale",
            "annotate",
            "backend",
            "mc-0",
            "murder.rs/remove-first=true",
        ])
        .await?;
        scale("--replicas=2").await?;
        kube.wait_for("e2e-scale", "backend/mc-0", "delete", LIMIT)
            .await?;
        kube.until(
            "the volume goes after its grace period",
            LIMIT,
            async || Ok(kube.get("e2e-scale", "pvc", "mc-0-data").await?.is_none()),
        )
        .await
    })
    .await;
    murder.down().await.unwrap();
}

/// Row 16: scaled in and out again, the victim stays, and what has moved stays where it is.
#[tokio::test]
async fn a_scale_in_is_taken_back() {
    let kube = kube().await;
    let text = format!("{POOL}{FRONTEND}");
    let murder = KubeMurder::up(&kube, "e2e-cancel", &text, USERS)
        .await
        .unwrap();
    under_load(&murder, async {
        let scale = |count: &'static str| {
            let arguments = ["-n", "e2e-cancel", "scale", "murdercluster/mc", count];
            let kube = kube.clone();
            async move { kube.kubectl(&arguments).await }
        };
        scale("--replicas=1").await?;
        kube.until("one leaves", LIMIT, async || {
            let backends = kube.list("e2e-cancel", "backends").await?;
            Ok(backends
                .iter()
                .any(|b| b["status"]["drain"]["reason"] == "ScaleIn"))
        })
        .await?;
        scale("--replicas=2").await?;
        for name in ["backend/mc-0", "backend/mc-1"] {
            kube.wait_for("e2e-cancel", name, "condition=Schedulable", LIMIT)
                .await?;
            kube.wait_for("e2e-cancel", name, "condition=Ready", LIMIT)
                .await?;
        }
        Ok(())
    })
    .await;
    murder.down().await.unwrap();
}
