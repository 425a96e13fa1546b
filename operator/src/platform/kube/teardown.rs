//! The end of a murder, and of a namespace.
//!
//! A murder that holds mail is not deleted unless its spec gives the mail up. Then frontends stop first, backends
//! next, the master last; volumes stay, with the identities of their servers on the claims.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, DynamicObject, PropagationPolicy};
use kube::{Api, ResourceExt as _};

use super::apply::FIELD_MANAGER;
use super::context::Context;
use super::memory::Memory;
use super::objects::Objects;
use super::watch::{APPLIED, BACKEND_LABEL, CLUSTER_LABEL, FRONTEND_LABEL, resource};
use super::{call, claims, finalizers, is_absent};
use crate::core::World;
use crate::crd::{Backend, ClusterDeletion, Frontend, MurderCluster};

/// How often an ending murder is looked at when nothing happens.
const LONG: Duration = Duration::from_secs(30);
/// How soon it is looked at when something changed meanwhile.
const SOON: Duration = Duration::from_secs(1);

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

/// Whether a deleted murder may go, or why not.
pub(super) fn verdict(objects: &Objects, world: &World) -> Result<(), String> {
    let spec = &objects.cluster.spec;
    if spec.deletion_policy == ClusterDeletion::Abandon && spec.confirmation == objects.key.name {
        return Ok(());
    }
    let advice = format!(
        "delete its users, or set spec.deletionPolicy: Abandon and spec.confirmation: {}",
        objects.key.name
    );
    let mut holding = Vec::new();
    for view in &world.backends {
        match &view.status {
            Some(status) if status.mailboxes > 0 || status.units_in_doubt > 0 => {
                holding.push(format!(
                    "{} holds {} mailboxes",
                    view.name, status.mailboxes
                ));
            }
            Some(_) => {}
            // What cannot be asked may hold mail, if it ever had a server.
            None if view.server_id.is_some() => {
                holding.push(format!("{} does not answer", view.name));
            }
            None => {}
        }
    }
    if holding.is_empty() {
        return Ok(());
    }
    Err(format!("{}; {advice}", holding.join(", ")))
}

/// Stops everything in order; says whether it is all gone and the murder was let go.
pub(super) async fn tear_down(context: &Context, objects: &Objects) -> anyhow::Result<bool> {
    let stages: [(&str, &str, Option<&str>); 3] = [
        ("Deployment", FRONTEND_LABEL, Some(FRONTEND_LABEL)),
        ("StatefulSet", BACKEND_LABEL, Some(BACKEND_LABEL)),
        ("StatefulSet", CLUSTER_LABEL, None),
    ];
    for (kind, label, pods) in stages {
        let mut busy = delete_sets(context, objects, kind, label).await?;
        busy |= objects.pods.values().any(|pod| match pods {
            Some(label) => pod.labels().contains_key(label),
            None => true,
        });
        if busy {
            return Ok(false);
        }
    }
    let_all_go_of_deleted(context, objects).await?;
    Ok(true)
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
mod tests {
    use serde_json::{Value, json};

    use crate::platform::kube::stage::Stage;

    const MURDER: &str = "/apis/murder.rs/v1alpha1/namespaces/mail";

    fn finalizers(stage: &Stage) -> Vec<Value> {
        ["murderclusters/mc", "backends/be-a", "frontends/fe"]
            .map(|object| {
                let found = stage.api.get(&format!("{MURDER}/{object}")).unwrap();
                found["metadata"]["finalizers"].clone()
            })
            .to_vec()
    }

    async fn stage() -> Stage {
        let mut stage = Stage::new(json!({"domains": ["example.org"]})).await;
        let of = json!({"clusterRef": {"name": "mc"}});
        stage.murder("Backend", "be-a", of.clone());
        stage.murder("Frontend", "fe", of);
        stage
    }

    fn terminating() -> Value {
        let cause = json!({
            "reason": "NamespaceTerminating", "field": "metadata.namespace",
            "message": "namespace mail is being terminated",
        });
        json!({"message": "forbidden", "details": {"causes": [cause]}})
    }

    /// row 38
    #[tokio::test(start_paused = true)]
    async fn a_refusal_because_the_namespace_ends_lets_everything_go_and_makes_nothing_again() {
        let refused = [
            "POST /api/v1/namespaces/mail/secrets",
            "PATCH /api/v1/namespaces/mail/secrets",
            "PATCH /api/v1/namespaces/mail/configmaps",
            "PATCH /apis/policy",
            "PATCH /apis/apps",
        ];
        for call in refused {
            let mut stage = stage().await;
            stage.api.refuse(call, 403, &terminating());
            stage.pass().await.unwrap();
            for _ in 0..3 {
                stage.pass().await.unwrap();
            }
            assert_eq!(
                finalizers(&stage),
                [json!([]), json!([]), json!([])],
                "{call}"
            );
            let before = stage.writes();
            stage.pass().await.unwrap();
            assert_eq!(stage.writes(), before, "{call}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_refusal_is_a_problem_of_its_object_and_lets_nothing_go() {
        let mut stage = stage().await;
        let why = json!({"message": "exceeded quota"});
        stage
            .api
            .refuse("PATCH /api/v1/namespaces/mail/configmaps/fe", 403, &why);
        stage.pass().await.unwrap();
        let held = json!(["murder.rs/murder"]);
        assert_eq!(finalizers(&stage), [held.clone(), held.clone(), held]);
        let frontend = stage.api.get(&format!("{MURDER}/frontends/fe")).unwrap();
        let ready = &frontend["status"]["conditions"][0];
        let message = "apply ConfigMap/fe: 403 Forbidden: exceeded quota";
        assert_eq!(ready["message"], message);
    }
}
