//! The finalizer of our kinds, written with the version that was seen.

use kube::api::Patch;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::apply::merge;
use super::objects::FINALIZER;
use super::{call, is_absent};

/// Holds an object until we let it go.
pub(super) async fn add<K>(api: &Api<K>, object: &K) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let mut finalizers = object.finalizers().to_vec();
    if object.meta().deletion_timestamp.is_some() || finalizers.iter().any(|f| f == FINALIZER) {
        return Ok(());
    }
    finalizers.push(FINALIZER.to_owned());
    write(api, object, &finalizers).await
}

/// Lets an object go.
pub(super) async fn remove<K>(api: &Api<K>, object: &K) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let finalizers = object.finalizers();
    if !finalizers.iter().any(|f| f == FINALIZER) {
        return Ok(());
    }
    let kept: Vec<String> = finalizers
        .iter()
        .filter(|f| *f != FINALIZER)
        .cloned()
        .collect();
    write(api, object, &kept).await
}

async fn write<K>(api: &Api<K>, object: &K, finalizers: &[String]) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let version = object.resource_version();
    let patch = json!({"metadata": {
        "uid": object.uid(), "resourceVersion": version, "finalizers": finalizers,
    }});
    let name = object.name_any();
    let doing = format!("patch {}", K::kind(&()));
    let (parameters, patch) = (merge(), Patch::Merge(&patch));
    is_absent(call(&doing, &name, api.patch(&name, &parameters, &patch)).await)
}
