//! The end of a murder, and of a namespace.
//!
//! A murder that holds mail is not deleted unless its spec gives the mail up. Then frontends stop first, backends
//! next, the master last; volumes stay, with the identities of their servers on the claims.
//!
//! One that seems empty may get mail as long as anybody serves: its frontends stop, its servers are closed, and only if
//! then all of them answer and hold nothing, that is written down, and the rest stops, too. Who stopped is not asked
//! again. If there is something after all, everything serves again and the murder stays.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, DynamicObject, Patch, PropagationPolicy};
use kube::{Api, ResourceExt as _};
use murder_api::admin::BackendStatus;
use serde_json::json;

use super::apply::{FIELD_MANAGER, merge};
use super::context::Context;
use super::memory::Memory;
use super::objects::Objects;
use super::watch::{APPLIED, BACKEND_LABEL, CLUSTER_LABEL, FRONTEND_LABEL, resource};
use super::{call, claims, finalizers, is_absent, observe};
use crate::core::{BackendView, World};
use crate::crd::{Backend, ClusterDeletion, Frontend, MurderCluster};
use crate::node_client::NodeClient;

/// Annotation of a deleted MurderCluster that was found empty: its uid.
const FOUND_EMPTY: &str = "murder.rs/found-empty";

/// How often an ending murder is looked at when nothing happens.
const LONG: Duration = Duration::from_secs(30);
/// How soon it is looked at when something changed meanwhile.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// Whether the namespace of a murder is on its way out: then nothing is made in it, and nothing of ours holds it up.
pub(super) async fn namespace_ends(
    context: &Context,
    objects: &Objects,
    memory: &Memory,
) -> anyhow::Result<bool> {
    if memory.ending.is_some() && memory.ending == objects.cluster.uid() {
        return Ok(true);
    }
    let goes = |object: &ObjectMeta| object.deletion_timestamp.is_some();
    if !goes(&objects.cluster.metadata) && !objects.backends.iter().any(|b| goes(&b.metadata)) {
        return Ok(false);
    }
    let api: Api<Namespace> = Api::all(context.client.clone());
    let namespace = &objects.key.namespace;
    match call("get Namespace", namespace, api.get_opt(namespace)).await {
        Ok(found) => Ok(found.is_none_or(|n| n.metadata.deletion_timestamp.is_some())),
        // Where namespaces may not be read, the API server tells when something is to be made.
        Err(error) => {
            tracing::debug!(namespace, %error, "namespace_not_read");
            Ok(false)
        }
    }
}

/// Lets everything of a murder go with its namespace; says when to look again.
pub(super) async fn end_with_namespace(
    context: &Context,
    objects: &Objects,
    memory: &mut Memory,
) -> anyhow::Result<Duration> {
    let uid = objects.cluster.uid();
    if memory.ending != uid {
        tracing::info!(murder = %objects.key, "namespace_ends");
        memory.ending = uid;
    }
    let all_went = let_all_go(context, objects).await?;
    Ok(if all_went { LONG } else { SOON })
}

/// Removes our finalizers from everything of a murder; false if something was not seen as it is.
async fn let_all_go(context: &Context, objects: &Objects) -> anyhow::Result<bool> {
    let namespace = &objects.key.namespace;
    let mut outcomes = Vec::new();
    let frontends: Api<Frontend> = Api::namespaced(context.client.clone(), namespace);
    for frontend in &objects.frontends {
        outcomes.push(finalizers::remove(&frontends, frontend.as_ref()).await);
    }
    let backends: Api<Backend> = Api::namespaced(context.client.clone(), namespace);
    for backend in &objects.backends {
        outcomes.push(finalizers::remove(&backends, backend.as_ref()).await);
    }
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), namespace);
    for claim in objects.claims.values().chain(objects.released.values()) {
        outcomes.push(finalizers::remove(&claims, claim.as_ref()).await);
    }
    let mut all_went = true;
    for outcome in outcomes {
        all_went &= finalizers::unless_changed(outcome)?;
    }
    if !all_went {
        return Ok(false);
    }
    // The last: without it nobody looks at the others.
    let clusters: Api<MurderCluster> = Api::namespaced(context.client.clone(), namespace);
    finalizers::unless_changed(finalizers::remove(&clusters, objects.cluster.as_ref()).await)
}

/// What is sure of a deleted murder that may go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    /// Every server answers and holds nothing. Mail may still come in.
    SeemsEmpty,
    /// Its mail was given up, or it was found empty with nobody left to bring mail.
    Decided,
}

/// Why a deleted murder stays: a reason in one word, and a sentence.
pub(super) type Stays = (&'static str, String);

/// How far the end of a murder is.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// Everything stopped, and the murder was let go.
    Gone,
    /// Something is under way.
    GoesOn,
    /// A server cannot be closed.
    Stays(Stays),
}

/// Whether the end of a deleted murder is decided: no server is asked any more.
pub(super) fn is_decided(objects: &Objects) -> bool {
    let spec = &objects.cluster.spec;
    let given_up =
        spec.deletion_policy == ClusterDeletion::Abandon && spec.confirmation == objects.key.name;
    let uid = objects.cluster.uid();
    given_up || (uid.is_some() && objects.cluster.annotations().get(FOUND_EMPTY) == uid.as_ref())
}

/// What a server has that would be lost.
fn holdings(status: &BackendStatus) -> Option<String> {
    let counts = [
        (status.mailboxes, "mailboxes"),
        (status.units, "units"),
        (status.units_in_doubt, "units in doubt"),
        (status.units_staged, "units that arrive"),
        (status.outbox, "names that the master does not know"),
        (status.held, "deliveries"),
    ];
    let (count, what) = counts.into_iter().find(|(count, _)| *count > 0)?;
    Some(format!("{count} {what}"))
}

/// Whether a deleted murder may go, or why not.
pub(super) fn verdict(objects: &Objects, world: &World) -> Result<Ending, Stays> {
    if is_decided(objects) {
        return Ok(Ending::Decided);
    }
    let mut holding = Vec::new();
    let mut silent = Vec::new();
    for view in &world.backends {
        match &view.status {
            Some(status) => {
                let held = holdings(status);
                holding.extend(held.map(|held| format!("{} holds {held}", view.name)));
            }
            // What cannot be asked may hold mail, if it ever had a server.
            None if view.server_id.is_some() => {
                silent.push(format!("pod {} does not answer", view.pod_name()));
            }
            None => {}
        }
    }
    let name = &objects.key.name;
    let give_up = format!("set spec.deletionPolicy: Abandon and spec.confirmation: {name}");
    let (reason, advice) = match (holding.is_empty(), silent.is_empty()) {
        (true, true) => return Ok(Ending::SeemsEmpty),
        (true, false) => ("NotReached", "bring it back, as its volume may hold mail"),
        (false, _) => ("HoldsMail", "delete its users"),
    };
    holding.append(&mut silent);
    Err((
        reason,
        format!("{}; {advice}, or {give_up}", holding.join(", ")),
    ))
}

/// Stops everything in order. Until its end is decided that is only what brings mail: a murder without Frontends and
/// with closed servers that is empty now stays so.
pub(super) async fn tear_down(
    context: &Context,
    objects: &Objects,
    world: &World,
    client: &NodeClient,
    ending: Ending,
) -> anyhow::Result<Progress> {
    let stages: [(&str, &str, Option<&str>); 3] = [
        ("Deployment", FRONTEND_LABEL, Some(FRONTEND_LABEL)),
        ("StatefulSet", BACKEND_LABEL, Some(BACKEND_LABEL)),
        ("StatefulSet", CLUSTER_LABEL, None),
    ];
    for (index, (kind, label, pods)) in stages.into_iter().enumerate() {
        if index == 1 && ending == Ending::SeemsEmpty {
            return match close(client, objects, world).await {
                Ok(false) => Ok(Progress::GoesOn),
                Ok(true) => note_empty(context, objects).await,
                Err(stays) => Ok(Progress::Stays(stays)),
            };
        }
        let mut busy = delete_sets(context, objects, kind, label).await?;
        busy |= objects.pods.values().any(|pod| match pods {
            Some(label) => pod.labels().contains_key(label),
            None => true,
        });
        if busy {
            return Ok(Progress::GoesOn);
        }
    }
    let_all_go_of_deleted(context, objects).await?;
    Ok(Progress::Gone)
}

/// Tells all servers to serve nothing any more, which those refuse that hold something. Whether all were closed when
/// they were asked in this pass: then none has got anything since.
async fn close(client: &NodeClient, objects: &Objects, world: &World) -> Result<bool, Stays> {
    let mut all = true;
    let mut failed = Vec::new();
    let is_open = |view: &&BackendView| view.status.as_ref().is_some_and(|s| !s.deactivated);
    for view in world.backends.iter().filter(is_open) {
        all = false;
        let pod = view.pod_name();
        let address = objects.pods.get(&pod);
        let Some(address) = address.and_then(|pod| observe::admin_address(pod)) else {
            failed.push(format!("pod {pod} has no address"));
            continue;
        };
        tracing::info!(murder = %objects.key, pod, "server_closed_for_the_end");
        if let Err(error) = client.deactivate(&address).await {
            failed.push(format!("pod {pod}: {error}"));
        }
    }
    match failed.is_empty() {
        true => Ok(all),
        false => Err(("NotReached", format!("not closed: {}", failed.join(", ")))),
    }
}

/// Writes down that the murder was found empty: from now on it goes, also by a later operator.
async fn note_empty(context: &Context, objects: &Objects) -> anyhow::Result<Progress> {
    anyhow::ensure!(context.leadership.is_held(), "no longer the leader");
    let (name, uid) = (&objects.key.name, objects.cluster.uid());
    let patch = json!({"metadata": {"uid": uid, "annotations": {FOUND_EMPTY: uid}}});
    let clusters: Api<MurderCluster> =
        Api::namespaced(context.client.clone(), &objects.key.namespace);
    let (parameters, patch) = (merge(), Patch::Merge(&patch));
    let patching = clusters.patch(name, &parameters, &patch);
    is_absent(call("patch MurderCluster", name, patching).await)?;
    tracing::info!(murder = %objects.key, "murder_found_empty");
    Ok(Progress::GoesOn)
}

async fn delete_sets(
    context: &Context,
    objects: &Objects,
    kind: &str,
    label: &str,
) -> anyhow::Result<bool> {
    let Some((api_version, kind, plural)) = APPLIED.iter().find(|(_, k, _)| *k == kind) else {
        return Ok(false);
    };
    let key = &objects.key;
    let of_murder = |set: &DynamicObject| {
        set.namespace().as_deref() == Some(&key.namespace)
            && set.labels().get(CLUSTER_LABEL) == Some(&key.name)
            && set.labels().contains_key(label)
    };
    let store = context.stores.applied.get(kind);
    let sets = store
        .map(|store| store.state_filter(of_murder))
        .unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(
        context.client.clone(),
        &key.namespace,
        &resource(api_version, kind, plural),
    );
    for set in &sets {
        if set.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let parameters = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            preconditions: Some(kube::api::Preconditions {
                uid: set.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let name = set.name_any();
        let doing = format!("delete {kind}");
        is_absent(call(&doing, &name, api.delete(&name, &parameters)).await)?;
    }
    Ok(!sets.is_empty())
}

/// Lets the murder go and those of its objects that were deleted, too. Others stay, as nobody's.
async fn let_all_go_of_deleted(context: &Context, objects: &Objects) -> anyhow::Result<()> {
    let namespace = &objects.key.namespace;
    let frontends: Api<Frontend> = Api::namespaced(context.client.clone(), namespace);
    for frontend in &objects.frontends {
        if frontend.metadata.deletion_timestamp.is_some() || of_pool(frontend.as_ref()) {
            finalizers::remove(&frontends, frontend.as_ref()).await?;
        }
    }
    let backends: Api<Backend> = Api::namespaced(context.client.clone(), namespace);
    for backend in &objects.backends {
        if backend.metadata.deletion_timestamp.is_some() || of_pool(backend.as_ref()) {
            let name = backend.name_any();
            claims::let_go(context, namespace, &objects.key.name, Some(&name)).await?;
            finalizers::remove(&backends, backend.as_ref()).await?;
        }
    }
    claims::let_go(context, namespace, &objects.key.name, None).await?;
    let clusters: Api<MurderCluster> = Api::namespaced(context.client.clone(), namespace);
    finalizers::remove(&clusters, objects.cluster.as_ref()).await
}

/// Whether the operator made an object, which then goes with its murder.
fn of_pool(object: &impl kube::ResourceExt) -> bool {
    let by = object.labels().get("app.kubernetes.io/managed-by");
    by.is_some_and(|by| by == FIELD_MANAGER)
}

#[cfg(test)]
#[path = "teardown_tests.rs"]
mod tests;
