//! The pool of a murder: Backends that the operator makes, and by which it shrinks.

use kube::api::{Patch, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::apply::{FIELD_MANAGER, merge};
use super::call;
use super::context::Context;
use super::memory::Memory;
use super::objects::{Objects, RETIRED, SERVED, is_ready};
use super::problems::Problems;

use crate::core::{Kind, Member, PoolPlan, PoolWish, Removal, pool};
use crate::crd::{API_VERSION, Backend, DesiredState, Pool, RemovalPreference};
use crate::resources::names::POOL_LABEL;

/// Annotation of a Backend that should go first.
const REMOVE_FIRST: &str = "murder.rs/remove-first";
/// Annotation of a Backend that leaves because the pool shrinks.
const SCALE_IN: &str = "murder.rs/scale-in";

/// Makes what the pool lacks, marks what it can do without, and says what was decided.
pub(super) async fn apply(
    context: &Context,
    objects: &Objects,
    memory: &Memory,
    problems: &mut Problems,
) -> PoolPlan {
    let Some(wanted) = &objects.cluster.spec.backends else {
        return PoolPlan::default();
    };
    let plan = decide(objects, memory, wanted, &taken(context, objects));
    let going = objects.cluster.metadata.deletion_timestamp.is_some();
    if objects.cluster.spec.paused || going {
        return plan;
    }
    if let Err(error) = carry_out(context, objects, wanted, &plan).await {
        let error = error.context("the pool of Backends");
        problems.failed(Kind::MurderCluster, &objects.key.name, &error);
    }
    plan
}

fn is_member(objects: &Objects, backend: &Backend) -> bool {
    backend.labels().get(POOL_LABEL) == Some(&objects.key.name)
}

fn is_staying(backend: &Backend) -> bool {
    backend.metadata.deletion_timestamp.is_none()
        && backend.spec.desired_state == DesiredState::Active
}

/// Names in the namespace that no new member can have: those of other Backends and of Frontends, of any murder.
fn taken(context: &Context, objects: &Objects) -> Vec<String> {
    let here = |namespace: Option<String>| namespace.as_deref() == Some(&objects.key.namespace);
    let others = context.stores.backends.state_filter(|backend| {
        let ours = backend.spec.cluster_ref.name == objects.key.name;
        here(backend.namespace()) && !(ours && is_member(objects, backend))
    });
    let frontends = context
        .stores
        .frontends
        .state_filter(|frontend| here(frontend.namespace()));
    let others = others.iter().map(|backend| backend.name_any());
    others
        .chain(frontends.iter().map(|f| f.name_any()))
        .collect()
}

fn decide(objects: &Objects, memory: &Memory, wanted: &Pool, taken: &[String]) -> PoolPlan {
    let (members, others): (Vec<_>, Vec<_>) = objects
        .backends
        .iter()
        .partition(|backend| is_member(objects, backend));
    let members: Vec<Member> = members
        .into_iter()
        .map(|backend| member(objects, memory, backend))
        .collect();
    let outside = others.iter().filter(|b| is_staying(b.as_ref())).count();
    let wish = PoolWish {
        cluster: &objects.key.name,
        replicas: wanted.replicas.unsigned_abs() as usize,
        removal: match wanted.removal_preference {
            RemovalPreference::Annotated => Removal::Annotated,
            RemovalPreference::LeastData => Removal::LeastData,
            RemovalPreference::Newest => Removal::Newest,
        },
        min_active: objects.cluster.spec.min_active.unsigned_abs() as usize,
        active_outside: outside,
        taken,
    };
    pool(wish, &members)
}

fn member(objects: &Objects, memory: &Memory, backend: &Backend) -> Member {
    let name = backend.name_any();
    let pod_name = format!("{name}-0");
    let pod = objects.pods.get(&pod_name);
    let claim = objects.claims.get(&objects.claim_of(&name));
    let status = memory.reports.status(&pod_name);
    let status = status.and_then(|status| status.backend.as_ref());
    let created = backend.metadata.creation_timestamp.as_ref();
    Member {
        deleting: backend.metadata.deletion_timestamp.is_some(),
        scale_in: backend.annotations().contains_key(SCALE_IN),
        retired: claim.is_some_and(|claim| claim.annotations().contains_key(RETIRED)),
        remove_first: backend
            .annotations()
            .get(REMOVE_FIRST)
            .is_some_and(|value| value == "true"),
        set_aside: backend.spec.desired_state != DesiredState::Active,
        ready: pod.is_some_and(|pod| is_ready(pod)),
        was_ready: pod.is_some_and(|pod| pod.annotations().contains_key(SERVED)),
        bytes: status.map(|status| status.bytes),
        created_ms: created.map_or(0, |time| {
            u64::try_from(time.0.as_millisecond()).unwrap_or(0)
        }),
        name,
    }
}

async fn carry_out(
    context: &Context,
    objects: &Objects,
    wanted: &Pool,
    plan: &PoolPlan,
) -> anyhow::Result<()> {
    let namespace = &objects.key.namespace;
    let api: Api<Backend> = Api::namespaced(context.client.clone(), namespace);
    for name in &plan.create {
        anyhow::ensure!(context.leadership.is_held(), "no longer the leader");
        let backend: Backend = serde_json::from_value(made(objects, wanted, name))?;
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        match call("create Backend", name, api.create(&parameters, &backend)).await {
            Ok(_) => tracing::info!(murder = %objects.key, backend = name, "pool_grows"),
            Err(error) if error.is_already_exists() => {
                // Made by the last pass, or somebody else's: then the watch tells soon, and another number is taken.
            }
            Err(error) => return Err(error.into()),
        }
    }
    for backend in objects.backends.iter().filter(|b| is_member(objects, b)) {
        let name = backend.name_any();
        let leaves = plan.leave.contains(&name);
        let marked = backend.annotations().contains_key(SCALE_IN);
        let mut patch = json!({"metadata": {"uid": backend.uid()}});
        if leaves != marked {
            let mark = leaves.then_some("true");
            patch["metadata"]["annotations"] = json!({SCALE_IN: mark});
        }
        let spec = template(wanted);
        let found = serde_json::to_value(&backend.spec)?;
        let changed = spec.as_object().is_some_and(|spec| {
            spec.iter()
                .any(|(key, value)| found.get(key) != Some(value))
        });
        if changed && backend.metadata.deletion_timestamp.is_none() {
            patch["spec"] = spec;
        }
        if patch.get("spec").is_some() || patch["metadata"].get("annotations").is_some() {
            let parameters = merge();
            let patch = Patch::Merge(&patch);
            let patching = api.patch(&name, &parameters, &patch);
            super::is_absent(call("patch Backend", &name, patching).await)?;
        }
    }
    Ok(())
}

/// What the template says of each member. An absent overlay leaves that of the member alone.
fn template(wanted: &Pool) -> serde_json::Value {
    let template = &wanted.template;
    let mut spec = json!({
        "weight": template.weight,
        "storage": template.storage,
        "volumeRetention": template.volume_retention,
        "nodeDrain": template.node_drain,
        "topologySpread": template.topology_spread,
    });
    for (key, overlay) in [
        ("resources", &template.resources),
        ("podOverlay", &template.pod_overlay),
    ] {
        if !overlay.0.is_empty() {
            spec[key] = json!(overlay);
        }
    }
    spec
}

fn made(objects: &Objects, wanted: &Pool, name: &str) -> serde_json::Value {
    let mut spec = template(wanted);
    spec["clusterRef"] = json!({"name": objects.key.name});
    json!({
        "apiVersion": API_VERSION,
        "kind": "Backend",
        "metadata": {
            "name": name,
            "namespace": objects.key.namespace,
            "labels": {
                "app.kubernetes.io/managed-by": "murder-operator",
                POOL_LABEL: objects.key.name,
            },
            "ownerReferences": [{
                "apiVersion": API_VERSION,
                "kind": "MurderCluster",
                "name": objects.key.name,
                "uid": objects.cluster.uid(),
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": spec,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::platform::kube::stage::Stage;

    const BACKENDS: &str = "/apis/murder.rs/v1alpha1/namespaces/mail/backends";

    fn reference(cluster: &str) -> Value {
        json!({"clusterRef": {"name": cluster}})
    }

    /// row 14
    #[tokio::test(start_paused = true)]
    async fn a_number_that_something_else_has_is_skipped() {
        let spec = json!({"domains": ["example.org"], "backends": {"replicas": 2}});
        let mut stage = Stage::new(spec).await;
        stage.murder("Backend", "mc-0", reference("mc"));
        stage.murder("Backend", "mc-2", reference("other"));
        stage.murder("Frontend", "mc-3", reference("mc"));
        stage.pass().await.unwrap();
        stage.pass().await.unwrap();
        let made: Vec<String> = stage
            .api
            .paths()
            .into_iter()
            .filter(|path| path.starts_with(BACKENDS))
            .filter(|path| {
                let labels = &stage.api.get(path).unwrap()["metadata"]["labels"];
                labels["murder.rs/pool"] == "mc"
            })
            .collect();
        assert_eq!(
            made,
            [format!("{BACKENDS}/mc-1"), format!("{BACKENDS}/mc-4")]
        );
    }

    /// row 16
    #[tokio::test(start_paused = true)]
    async fn a_scale_in_that_min_active_holds_is_told_in_the_status() {
        let spec = json!({
            "domains": ["example.org"], "minActive": 2, "backends": {"replicas": 2},
        });
        let mut stage = Stage::new(spec).await;
        stage.pass().await.unwrap();
        stage.change("MurderCluster", "mc", |mc| {
            mc["spec"]["backends"]["replicas"] = json!(1);
        });
        stage.pass().await.unwrap();
        let path = "/apis/murder.rs/v1alpha1/namespaces/mail/murderclusters/mc";
        let conditions = stage.api.get(path).unwrap()["status"]["conditions"].take();
        let conditions = conditions.as_array().unwrap().clone();
        let progressing = conditions
            .iter()
            .find(|c| c["type"] == "Progressing")
            .unwrap();
        let message = progressing["message"].as_str().unwrap();
        let held = "1 of the pool's Backends should leave but stay, as spec.minActive is 2";
        assert!(message.contains(held), "{message}");
    }
}
