//! Carries steps out, by the API server and the nodes' admin interfaces. Doing one again does no harm.
//!
//! What destroys is never decided on a watch alone: the object is read again, compared, and deleted with its uid and
//! version as preconditions. So a command of a leader that was deposed, or that thinks of an earlier object, fails.

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{
    DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy,
};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::apply::merge;
use super::context::Context;
use super::desired::{Desired, Rendered, keep_template};
use super::memory::Memory;
use super::objects::{DELETE_AFTER, Objects, RELEASED, RETIRED, SERVER_ID};
use super::packed::Packed;
use super::watch::{APPLIED, CLUSTER_LABEL, resource};
use super::{call, is_absent};
use crate::core::{Action, Kind, Proof, Step, World};
use crate::crd::{Backend, Frontend};
use crate::node_client::{NodeAddress, NodeClient};
use crate::resources::Murder;

/// What is done with claims, for errors.
const GET_CLAIM: &str = "get PersistentVolumeClaim";
const PATCH_CLAIM: &str = "patch PersistentVolumeClaim";

/// Which template and settings a workload gets that is there already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Template {
    /// What should run now: its turn has come.
    Due,
    /// What it has: only the number of its pods matters.
    Kept,
}

/// What steps of one pass are carried out with.
pub(super) struct Acting<'a> {
    pub(super) context: &'a Context,
    pub(super) objects: &'a Objects,
    pub(super) desired: &'a Desired,
    pub(super) world: &'a World,
    pub(super) node_client: &'a NodeClient,
    pub(super) memory: &'a mut Memory,
}

impl Acting<'_> {
    /// Carries one step out.
    pub(super) async fn act(&mut self, step: &Step) -> anyhow::Result<()> {
        anyhow::ensure!(self.context.leadership.is_held(), "no longer the leader");
        let name = step.object.as_str();
        match (&step.action, step.kind) {
            (Action::AddFinalizer, Kind::Backend) => self.add_finalizer(name).await,
            (Action::RemoveFinalizer, Kind::Backend) => self.remove_backend(name).await,
            (Action::RemoveFinalizer, Kind::Frontend) => self.remove_frontend(name).await,
            (Action::CreateVolume, kind) => self.create_volume(kind, name).await,
            (Action::StartPod { .. }, kind) => self.apply_set(kind, name, Template::Kept).await,
            (Action::StopPod { .. }, Kind::Backend) => self.delete_set("StatefulSet", name).await,
            (Action::StopPod { .. }, kind) => self.apply_set(kind, name, Template::Kept).await,
            (Action::RestartPod { .. }, Kind::Frontend) => {
                self.apply_set(step.kind, name, Template::Due).await
            }
            (Action::RestartPod { pod }, kind) => self.restart(kind, name, pod).await,
            (Action::RecordProof { server_id }, _) => {
                let (at_ms, server_id) = (self.world.now_ms, *server_id);
                self.drain(name).proof = Some(Proof { at_ms, server_id });
                Ok(())
            }
            (Action::DropProof, _) => {
                self.drain(name).proof = None;
                Ok(())
            }
            (Action::RetireVolume { delete_after_ms }, _) => {
                self.retire_volume(name, *delete_after_ms).await
            }
            (Action::ReleaseVolume, _) => self.release_volume(name).await,
            (Action::DeleteVolume, _) => self.delete_volume(name).await,
            (action, _) => self.call_node(name, action).await,
        }
    }

    fn drain(&mut self, backend: &str) -> &mut super::memory::DrainMemory {
        self.memory.drains.entry(backend.to_owned()).or_default()
    }

    fn namespace(&self) -> &str {
        &self.objects.key.namespace
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.context.client.clone(), self.namespace())
    }

    fn rendered(&self, kind: Kind, name: &str) -> anyhow::Result<&Rendered> {
        let rendered = match kind {
            Kind::MurderCluster => self.desired.mupdate.as_ref(),
            Kind::Backend => self.desired.backends.get(name),
            Kind::Frontend => self.desired.frontends.get(name),
        };
        let rendered = rendered.with_context(|| format!("{name} is not wanted"))?;
        rendered
            .as_ref()
            .map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Applies the settings if they change, and then the StatefulSet or Deployment.
    async fn apply_set(
        &mut self,
        kind: Kind,
        name: &str,
        template: Template,
    ) -> anyhow::Result<()> {
        if kind == Kind::Frontend && !self.desired.frontends.contains_key(name) {
            return Ok(());
        }
        let rendered = self.rendered(kind, name)?;
        let mut set = rendered.set().value();
        let frontend = self.objects.frontend(name);
        let stopped = |f: &std::sync::Arc<Frontend>| f.metadata.deletion_timestamp.is_some();
        if kind == Kind::Frontend && frontend.is_none_or(stopped) {
            // Its sessions end as in any scale-in; the object goes with its owner.
            set["spec"]["replicas"] = 0.into();
        }
        let namespace = self.namespace().to_owned();
        let context = self.context;
        // What had its turn before, or was missing, was applied with all that is always there.
        let mut changes = !rendered.applied && rendered.held.is_none();
        let wanted = rendered.set();
        let live = context.stores.whole(&wanted.kind, &namespace, &wanted.name);
        if template == Template::Kept
            && !rendered.applied
            && let Some(live) = live
        {
            keep_template(&mut set, &live);
            changes = false;
        }
        let config = changes.then(|| rendered.workload.config.clone());
        let applied = &mut self.memory.applied;
        for object in config.iter().chain([&Packed::of(&set)]) {
            applied
                .apply(&context.client, &context.stores, &namespace, object)
                .await?;
        }
        Ok(())
    }

    /// Deletes a pod so that it comes back with the present template.
    async fn restart(&mut self, kind: Kind, name: &str, pod: &str) -> anyhow::Result<()> {
        self.apply_set(kind, name, Template::Due).await?;
        let set = match kind {
            Kind::MurderCluster => format!("{name}-mupdate"),
            Kind::Backend | Kind::Frontend => name.to_owned(),
        };
        let claim = match kind {
            Kind::Backend => self.objects.claim_of(name),
            Kind::Frontend | Kind::MurderCluster => super::objects::claim_name(&set),
        };
        let claim = self.objects.claims.get(&claim);
        if claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_some()) {
            bail!("the volume claim of {name} was deleted, so that no other pod can use it");
        }
        let wanted = self.rendered(kind, name)?.revision.clone();
        // Its controller must have seen the template, or the pod would come back as it was.
        let api = self.dynamic("StatefulSet")?;
        let live = call("get StatefulSet", &set, api.get(&set)).await?;
        let observed = live
            .data
            .pointer("/status/observedGeneration")
            .and_then(Value::as_i64);
        let due = live
            .data
            .pointer("/spec/template/metadata/annotations/murder.rs~1revision")
            .and_then(Value::as_str);
        if observed < live.metadata.generation || due != Some(wanted.as_str()) {
            return Ok(());
        }
        let pods: Api<Pod> = self.api();
        let Some(live) = call("get Pod", pod, pods.get_opt(pod)).await? else {
            return Ok(());
        };
        let runs = live.annotations().get(super::objects::REVISION);
        if runs == Some(&wanted) || live.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let parameters = DeleteParams {
            preconditions: Some(exactly(&live)),
            ..DeleteParams::default()
        };
        is_absent(call("delete Pod", pod, pods.delete(pod, &parameters)).await)?;
        Ok(())
    }

    fn dynamic(&self, kind: &str) -> anyhow::Result<Api<DynamicObject>> {
        let found = APPLIED.iter().find(|(_, known, _)| *known == kind);
        let (api_version, kind, plural) = found.context("kind is not known")?;
        let resource = resource(api_version, kind, plural);
        let client = self.context.client.clone();
        Ok(Api::namespaced_with(client, self.namespace(), &resource))
    }

    async fn delete_set(&mut self, kind: &str, name: &str) -> anyhow::Result<()> {
        let api = self.dynamic(kind)?;
        let doing = format!("get {kind}");
        let Some(live) = call(&doing, name, api.get_opt(name)).await? else {
            return Ok(());
        };
        if live.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let parameters = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            preconditions: Some(Preconditions {
                uid: live.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let doing = format!("delete {kind}");
        is_absent(call(&doing, name, api.delete(name, &parameters)).await)?;
        self.memory.applied.forget(kind, name);
        Ok(())
    }

    async fn add_finalizer(&self, name: &str) -> anyhow::Result<()> {
        let backend = self.objects.backend(name).context("no such Backend")?;
        let api: Api<Backend> = self.api();
        super::finalizers::add(&api, backend.as_ref()).await
    }

    async fn remove_backend(&mut self, name: &str) -> anyhow::Result<()> {
        let backend = self.objects.backend(name).context("no such Backend")?;
        let api: Api<Backend> = self.api();
        if backend.metadata.deletion_timestamp.is_none() {
            // One of the pool, which shrank: nobody has deleted it yet.
            let parameters = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: backend.uid(),
                    resource_version: None,
                }),
                ..DeleteParams::default()
            };
            // Deleting it changes its version: the finalizer goes in the next pass.
            return is_absent(call("delete Backend", name, api.delete(name, &parameters)).await);
        }
        self.memory.drains.remove(name);
        super::metering::forget(self.context, self.objects, name);
        super::finalizers::remove(&api, backend.as_ref()).await
    }

    async fn remove_frontend(&self, name: &str) -> anyhow::Result<()> {
        let frontend = self.objects.frontend(name).context("no such Frontend")?;
        let api: Api<Frontend> = self.api();
        super::finalizers::remove(&api, frontend.as_ref()).await
    }

    async fn create_volume(&self, kind: Kind, name: &str) -> anyhow::Result<()> {
        let murder = Murder {
            cluster: &self.objects.cluster,
            namespace: self.namespace(),
            defaults: &self.context.defaults,
        };
        let api: Api<PersistentVolumeClaim> = self.api();
        let claim = match kind {
            Kind::Backend => {
                let backend = self.objects.backend(name).context("no such Backend")?;
                if let Some(adopted) = &backend.spec.adopt_volume {
                    return self
                        .adopt(name, &adopted.claim_name, &adopted.server_id)
                        .await;
                }
                let mut claim = murder.backend_claim(backend);
                claim["metadata"]["name"] = self.objects.claim_of(name).into();
                claim
            }
            Kind::Frontend | Kind::MurderCluster => murder.mupdate_claim(),
        };
        let claim_name = claim["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let parameters = PatchParams::apply(super::apply::FIELD_MANAGER);
        let patch = Patch::Apply(&claim);
        let made = api.patch(&claim_name, &parameters, &patch);
        call("make PersistentVolumeClaim", &claim_name, made).await?;
        Ok(())
    }

    /// Takes an existing claim: it is labelled as this Backend's, unless its server ended for ever.
    async fn adopt(&self, backend: &str, claim: &str, server_id: &str) -> anyhow::Result<()> {
        let api: Api<PersistentVolumeClaim> = self.api();
        let live = call(GET_CLAIM, claim, api.get_opt(claim)).await?;
        let live = live.with_context(|| format!("spec.adoptVolume: there is no claim {claim}"))?;
        let annotations = live.annotations();
        if annotations.contains_key(RETIRED) {
            bail!("spec.adoptVolume: the server on claim {claim} is retired for ever");
        }
        let noted = annotations.get(SERVER_ID).map(String::as_str);
        if noted.is_some_and(|noted| noted != server_id) {
            bail!("spec.adoptVolume: claim {claim} holds another server than {server_id}");
        }
        let patch = json!({"metadata": {
            "resourceVersion": live.resource_version(),
            "annotations": {SERVER_ID: server_id, RELEASED: null},
            "labels": {
                "app.kubernetes.io/managed-by": "murder-operator",
                CLUSTER_LABEL: self.objects.key.name,
                super::watch::BACKEND_LABEL: backend,
            },
        }});
        let (parameters, patch) = (merge(), Patch::Merge(&patch));
        call(PATCH_CLAIM, claim, api.patch(claim, &parameters, &patch)).await?;
        Ok(())
    }

    /// Writes on a claim, if it is still the one that was seen.
    async fn note_on_claim(&self, backend: &str, metadata: Value) -> anyhow::Result<()> {
        let name = self.objects.claim_of(backend);
        let seen = self.objects.claims.get(&name);
        let seen = seen.with_context(|| format!("there is no claim {name}"))?;
        let api: Api<PersistentVolumeClaim> = self.api();
        let mut metadata = metadata;
        metadata["uid"] = json!(seen.uid());
        metadata["resourceVersion"] = json!(seen.resource_version());
        let patch = json!({ "metadata": metadata });
        let (parameters, patch) = (merge(), Patch::Merge(&patch));
        call(PATCH_CLAIM, &name, api.patch(&name, &parameters, &patch)).await?;
        Ok(())
    }

    async fn retire_volume(&self, name: &str, after: Option<u64>) -> anyhow::Result<()> {
        let mut annotations = json!({RETIRED: self.world.now_ms.to_string()});
        if let Some(after) = after {
            annotations[DELETE_AFTER] = after.to_string().into();
        }
        self.note_on_claim(name, json!({ "annotations": annotations }))
            .await
    }

    async fn release_volume(&self, name: &str) -> anyhow::Result<()> {
        let now = self.world.now_ms.to_string();
        let view = self.world.backends.iter().find(|view| view.name == name);
        let id = view.and_then(|view| view.server_id);
        let label = id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
        let claim = self.objects.claims.get(&self.objects.claim_of(name));
        let kept = claim.map(|claim| super::finalizers::others(claim.as_ref()));
        // From now on it is an administrator's to delete.
        let metadata = json!({
            "annotations": {RELEASED: now},
            "labels": {"murder.rs/retired": label},
            "finalizers": kept,
        });
        self.note_on_claim(name, metadata).await
    }

    /// Deletes a claim whose server ended for ever, was proven empty, and whose grace period is over.
    async fn delete_volume(&self, name: &str) -> anyhow::Result<()> {
        let claim = self.objects.claim_of(name);
        let api: Api<PersistentVolumeClaim> = self.api();
        let Some(live) = call(GET_CLAIM, &claim, api.get_opt(&claim)).await? else {
            return Ok(());
        };
        let after = live.annotations().get(DELETE_AFTER);
        let after: Option<u64> = after.and_then(|text| text.parse().ok());
        let retired = live.annotations().contains_key(RETIRED);
        if !retired || after.is_none_or(|after| after > self.world.now_ms) {
            bail!("claim {claim} is not to be deleted now");
        }
        let pods: Api<Pod> = self.api();
        let pod = format!("{name}-0");
        if call("get Pod", &pod, pods.get_opt(&pod)).await?.is_some() {
            bail!("pod {pod} still uses claim {claim}");
        }
        if live.metadata.deletion_timestamp.is_some() {
            return super::finalizers::remove(&api, &live).await;
        }
        let parameters = DeleteParams {
            preconditions: Some(exactly(&live)),
            ..DeleteParams::default()
        };
        let doing = "delete PersistentVolumeClaim";
        match call(doing, &claim, api.delete(&claim, &parameters)).await {
            Ok(answer) => match answer.left() {
                Some(going) => super::finalizers::remove(&api, &going).await,
                None => Ok(()),
            },
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn call_node(&self, name: &str, action: &Action) -> anyhow::Result<()> {
        let client = self.node_client;
        let node = || self.address(&format!("{name}-0"));
        let master = || self.address(&format!("{}-mupdate-0", self.objects.key.name));
        match action {
            Action::CordonServer { cordoned } => {
                client.cordon_server(&master()?, name, *cordoned).await?;
            }
            Action::CordonNode { cordoned } => {
                client.cordon(&node()?, *cordoned).await?;
            }
            Action::StartTransfer {
                move_id,
                root,
                destination,
            } => {
                let (root, destination) = (root.clone(), destination.clone());
                client
                    .start_transfer(&node()?, *move_id, root, destination)
                    .await?;
            }
            Action::CancelTransfer { move_id } => {
                client.cancel_transfer(&node()?, *move_id).await?;
            }
            Action::Deactivate => {
                client.deactivate(&node()?).await?;
            }
            // Opening a node for new units also makes it serve again.
            Action::Reactivate => {
                client.cordon(&node()?, false).await?;
            }
            Action::Retire { server_id } => {
                client.retire(&master()?, name, *server_id).await?;
            }
            other => bail!("{} is not a call", other.name()),
        }
        Ok(())
    }

    fn address(&self, pod: &str) -> anyhow::Result<NodeAddress> {
        let found = self.objects.pods.get(pod);
        let address = found.and_then(|pod| super::observe::admin_address(pod));
        address.with_context(|| format!("{pod} has no address"))
    }
}

/// Deletes only this very object, as it is.
fn exactly(object: &impl kube::ResourceExt) -> Preconditions {
    Preconditions {
        uid: object.uid(),
        resource_version: object.resource_version(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;
    use kube::api::DeleteParams;
    use serde_json::json;

    use super::exactly;

    /// Row 31.
    #[test]
    fn a_claim_is_deleted_only_if_it_is_the_one_that_was_looked_at() {
        let claim =
            json!({"metadata": {"name": "be-a-data", "uid": "an-id", "resourceVersion": "7"}});
        let claim: PersistentVolumeClaim = serde_json::from_value(claim).unwrap();
        let parameters = DeleteParams {
            preconditions: Some(exactly(&claim)),
            ..DeleteParams::default()
        };
        let asked = serde_json::to_value(parameters).unwrap();
        let expected = json!({"uid": "an-id", "resourceVersion": "7"});
        assert_eq!(asked["preconditions"], expected);
    }
}
