//! Scenarios on a real Kubernetes, one a file, each in a namespace of its own.
//!
//! `make e2e-smoke` runs those whose name begins with `smoke`, `make e2e` all of them. Row numbers are those of the
//! operator's checklist: what a platform team may expect of an operator of stateful servers.

#![expect(clippy::unwrap_used, reason = "a failed step ends its test")]

mod authority;
mod crds;
mod create;
mod definitions;
mod delete;
mod documented;
mod drain;
mod given;
mod issuer;
mod kubectl;
mod leader;
mod load;
mod machine;
mod observing;
mod operator;
mod paused;
mod plugin;
mod pods;
mod policies;
mod refusals;
mod scale;
mod sessions;
mod space;
mod teardown;
mod throttle;
mod traces;
mod unified;
mod update;

use murder_e2e::kube::Kube;
use tokio::sync::OnceCell;

static INSTALLED: OnceCell<()> = OnceCell::const_new();

/// The cluster, with the operator installed.
async fn kube() -> Kube {
    let kube = Kube::connect().await.unwrap();
    let install = || async {
        kube.install_operator(&["replicas=1"]).await.unwrap();
    };
    INSTALLED.get_or_init(install).await;
    kube
}

/// Manifests of a murder with these Backends and a Frontend that takes mail from the cluster.
fn manifests(backends: &[&str]) -> String {
    let mut text = CLUSTER.to_owned();
    for name in backends {
        text += &backend(name, "shared", "1Gi");
    }
    text + FRONTEND
}

/// A Backend with a volume of a class and size.
fn backend(name: &str, class: &str, size: &str) -> String {
    format!(
        "---\napiVersion: murder.rs/v1alpha1\nkind: Backend\nmetadata: {{name: {name}}}\nspec:\n  clusterRef: {{name: mc}}\n  storage: {{size: {size}, storageClassName: {class}}}\n"
    )
}

/// A murder; its small grace period lets tests see volumes go.
const CLUSTER: &str = "apiVersion: murder.rs/v1alpha1
kind: MurderCluster
metadata: {name: mc}
spec:
  mupdate: {storage: {size: 1Gi}}
  transfer: {gracePeriod: 5s}
";

const FRONTEND: &str = "---
apiVersion: murder.rs/v1alpha1
kind: Frontend
metadata: {name: fe}
spec:
  clusterRef: {name: mc}
  replicas: 2
  drainTimeout: 5s
  lmtpTrustedNetworks: [10.0.0.0/8, 127.0.0.0/8]
";
