//! Backends and Frontends whose murder does not exist: they say so, and when they are deleted nothing holds them.
//!
//! Their volumes stay: without a mupdate master nobody can prove that a server is empty.

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PropagationPolicy};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::context::Context;
use super::watch::{APPLIED, resource};
use super::{call, claims, finalizers, is_absent};
use crate::crd::{API_VERSION, Backend, Frontend, MurderCluster};
use crate::status;

/// Whether the murder that an object names exists.
fn has_murder(context: &Context, object: &impl kube::ResourceExt, cluster: &str) -> bool {
    let namespace = object.namespace().unwrap_or_default();
    let reference = ObjectRef::<MurderCluster>::new(cluster).within(&namespace);
    context.stores.clusters.get(&reference).is_some()
}

/// Looks at a Backend; says whether it has no murder.
pub(super) async fn backend(context: &Context, backend: &Backend) -> anyhow::Result<bool> {
    let cluster = &backend.spec.cluster_ref.name;
    context.stores.ready().await;
    if has_murder(context, backend, cluster) {
        return Ok(false);
    }
    let namespace = backend.namespace().unwrap_or_default();
    let api: Api<Backend> = Api::namespaced(context.client.clone(), &namespace);
    if backend.metadata.deletion_timestamp.is_some() {
        let name = backend.name_any();
        stop(context, &namespace, "StatefulSet", &name).await?;
        claims::let_go(context, &namespace, cluster, Some(&name)).await?;
        finalizers::remove(&api, backend).await?;
        return Ok(true);
    }
    let conditions = status::orphan_conditions(
        "Backend",
        cluster,
        backend.metadata.generation,
        backend
            .status
            .as_ref()
            .and_then(|s| s.conditions.as_deref()),
        jiff::Timestamp::now(),
    );
    let known = backend
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    if known != Some(&conditions) {
        let generation = backend.metadata.generation;
        let status = json!({"observedGeneration": generation, "conditions": conditions});
        say(&api, "Backend", &backend.name_any(), status).await?;
    }
    Ok(true)
}

/// Looks at a Frontend; says whether it has no murder.
pub(super) async fn frontend(context: &Context, frontend: &Frontend) -> anyhow::Result<bool> {
    let cluster = &frontend.spec.cluster_ref.name;
    context.stores.ready().await;
    if has_murder(context, frontend, cluster) {
        return Ok(false);
    }
    let namespace = frontend.namespace().unwrap_or_default();
    let api: Api<Frontend> = Api::namespaced(context.client.clone(), &namespace);
    if frontend.metadata.deletion_timestamp.is_some() {
        finalizers::remove(&api, frontend).await?;
        return Ok(true);
    }
    let conditions = status::orphan_conditions(
        "Frontend",
        cluster,
        frontend.metadata.generation,
        frontend
            .status
            .as_ref()
            .and_then(|s| s.conditions.as_deref()),
        jiff::Timestamp::now(),
    );
    let known = frontend
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    if known != Some(&conditions) {
        let generation = frontend.metadata.generation;
        let status = json!({
            "observedGeneration": generation, "conditions": conditions,
            "replicas": 0, "readyReplicas": 0, "selector": "", "connections": 0,
        });
        say(&api, "Frontend", &frontend.name_any(), status).await?;
    }
    Ok(true)
}

async fn say<K>(
    api: &Api<K>,
    kind: &str,
    name: &str,
    status: serde_json::Value,
) -> anyhow::Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let object = json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "status": status});
    let parameters = PatchParams::apply(super::publish::STATUS_MANAGER).force();
    let (doing, patch) = (format!("patch the status of {kind}"), Patch::Apply(&object));
    is_absent(call(&doing, name, api.patch_status(name, &parameters, &patch)).await)
}

/// Stops the workload of a Backend that nobody runs any more.
async fn stop(context: &Context, namespace: &str, kind: &str, name: &str) -> anyhow::Result<()> {
    let Some(set) = context.stores.object(kind, namespace, name) else {
        return Ok(());
    };
    let Some((api_version, kind, plural)) = APPLIED.iter().find(|(_, k, _)| *k == kind) else {
        return Ok(());
    };
    let resource = resource(api_version, kind, plural);
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), namespace, &resource);
    let parameters = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        preconditions: Some(kube::api::Preconditions {
            uid: set.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let doing = format!("delete {kind}");
    is_absent(call(&doing, name, api.delete(name, &parameters)).await)
}
