//! The finalizer of our kinds and of claims, written with the version that was seen.

use kube::api::Patch;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::apply::merge;
use super::calls::ApiError;
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
    write(api, object, &others(object)).await
}

/// Whether it was done; false if the object had changed meanwhile, of which its watch will tell.
pub(super) fn unless_changed(outcome: anyhow::Result<()>) -> anyhow::Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.downcast_ref().is_some_and(ApiError::is_conflict) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The finalizers of an object without ours.
pub(super) fn others(object: &impl ResourceExt) -> Vec<String> {
    let finalizers = object.finalizers().iter();
    finalizers.filter(|f| *f != FINALIZER).cloned().collect()
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
