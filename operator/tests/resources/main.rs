//! The objects of a murder on Kubernetes, in full: what is written for which custom resources.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod goldens;
mod hashes;
mod overlays;
mod pods;
mod refusals;
mod services;
mod volumes;

use murder_operator::crd::{Backend, Frontend, MurderCluster};
use murder_operator::resources::{Defaults, Murder};
use serde_json::{Value, json};

/// What the operator was started with.
fn defaults() -> Defaults {
    Defaults {
        image: "murder.local/node:dev".to_owned(),
        pull_policy: "IfNotPresent".to_owned(),
    }
}

fn object<T: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: Value) -> T {
    serde_json::from_value(json!({
        "apiVersion": "murder.rs/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "mail", "uid": format!("uid-of-{name}")},
        "spec": spec,
    }))
    .unwrap()
}

fn cluster(spec: Value) -> MurderCluster {
    object("MurderCluster", "mc", spec)
}

/// A Backend `be-a` of `mc`.
fn backend(mut spec: Value) -> Backend {
    spec["clusterRef"] = json!({"name": "mc"});
    object("Backend", "be-a", spec)
}

/// A Frontend `fe` of `mc`.
fn frontend(mut spec: Value) -> Frontend {
    spec["clusterRef"] = json!({"name": "mc"});
    object("Frontend", "fe", spec)
}

/// Runs `check` with the murder `mc` in namespace `mail`.
fn with_murder<R>(spec: Value, check: impl FnOnce(Murder<'_>) -> R) -> R {
    let (cluster, defaults) = (cluster(spec), defaults());
    check(Murder {
        cluster: &cluster,
        namespace: "mail",
        defaults: &defaults,
    })
}
