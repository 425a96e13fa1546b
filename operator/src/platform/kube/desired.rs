//! The workloads of a murder as they should be, and whether their time has come.
//!
//! A workload that would change although nobody asked for it, because the operator is another version, stays as it is
//! until somebody asks (`UpdatePending`). With strategy Supervised each change waits for its revision's approval.
//!
//! Template and settings change together, and only when the turn of the workload has come: a pod or container that
//! dies before comes back as it was.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::Value;

use super::objects::{Objects, REVISION, claim_name};
use super::packed::{Packed, PackedWorkload, template_revision};
use super::watch::Stores;
use crate::crd::UpdateStrategy;
use crate::resources::names::INPUTS_ANNOTATION as INPUTS;
use crate::resources::{Defaults, Murder, RenderError, Workload};

/// A workload, and what of it is due.
pub(super) struct Rendered {
    pub(super) workload: Arc<PackedWorkload>,
    /// The workload's set as it stays for now, if it does.
    kept: Option<Packed>,
    /// Why it stays as it is for now.
    pub(super) held: Option<String>,
    /// The revision that its pods should have now.
    pub(super) revision: String,
    /// Whether its turn has come: what there is of it has this revision already, or there is nothing.
    pub(super) applied: bool,
}

impl Rendered {
    /// The StatefulSet or Deployment as it should be now.
    pub(super) fn set(&self) -> &Packed {
        self.kept.as_ref().unwrap_or(&self.workload.set)
    }
}

/// All workloads of a murder; a spec that cannot be rendered has its error in place.
pub(super) struct Desired {
    pub(super) mupdate: Option<Result<Rendered, String>>,
    pub(super) backends: BTreeMap<String, Result<Rendered, String>>,
    pub(super) frontends: BTreeMap<String, Result<Rendered, String>>,
    /// Names all revisions together.
    pub(super) update_revision: String,
}

/// Workloads as they were rendered before, by kind and name, and of what: to render a thousand takes most of a pass.
#[derive(Default)]
pub(super) struct RenderedBefore(BTreeMap<(&'static str, String), (u64, Arc<PackedWorkload>)>);

impl RenderedBefore {
    /// The workload of an object, rendered anew only if what it is made of has changed.
    fn workload(
        &mut self,
        kind: &'static str,
        name: &str,
        source: u64,
        render: impl FnOnce() -> Result<Workload, RenderError>,
    ) -> Result<Arc<PackedWorkload>, RenderError> {
        let key = (kind, name.to_owned());
        if let Some((of, workload)) = self.0.get(&key)
            && *of == source
        {
            return Ok(Arc::clone(workload));
        }
        let workload = Arc::new(PackedWorkload::of(&render()?));
        self.0.insert(key, (source, Arc::clone(&workload)));
        Ok(workload)
    }
}

/// A hash of all that a workload is made of: what its own object and the murder say.
fn source_of<K: kube::ResourceExt>(
    murder: u64,
    object: &K,
    spec: &impl serde::Serialize,
    claim: &str,
) -> u64 {
    let mut hasher = DefaultHasher::new();
    (murder, object.uid(), object.annotations(), claim).hash(&mut hasher);
    // It was read from JSON.
    let spec = serde_json::to_string(spec).unwrap_or_default();
    spec.hash(&mut hasher);
    hasher.finish()
}

impl Desired {
    /// Renders everything.
    pub(super) fn render(
        objects: &Objects,
        stores: &Stores,
        defaults: &Defaults,
        before: &mut RenderedBefore,
    ) -> Self {
        let murder = Murder {
            cluster: &objects.cluster,
            namespace: &objects.key.namespace,
            defaults,
        };
        let of_murder = source_of(0, objects.cluster.as_ref(), &objects.cluster.spec, "");
        let cluster = format!("{}-mupdate", objects.key.name);
        let mupdate = (objects.cluster.spec.mupdate.replicas > 0)
            .then(|| before.workload("StatefulSet", &cluster, of_murder, || murder.mupdate()));
        let backends = objects.backends.iter().map(|backend| {
            let name = backend.name_any();
            let claim = objects.claim_of(&name);
            let source = source_of(of_murder, backend.as_ref(), &backend.spec, &claim);
            let workload = before.workload("StatefulSet", &name, source, || {
                let mut workload = murder.backend(backend)?;
                use_claim(&mut workload.set, &claim);
                Ok(workload)
            });
            (name, workload)
        });
        let backends: BTreeMap<_, _> = backends.collect();
        let frontends = objects.frontends.iter().map(|frontend| {
            let name = frontend.name_any();
            let source = source_of(of_murder, frontend.as_ref(), &frontend.spec, "");
            let render = || murder.frontend(frontend);
            let workload = before.workload("Deployment", &name, source, render);
            (name, workload)
        });
        let frontends: BTreeMap<_, _> = frontends.collect();
        before.0.retain(|(kind, name), _| match *kind {
            "Deployment" => frontends.contains_key(name),
            _ => *name == cluster || backends.contains_key(name),
        });
        let mut hasher = DefaultHasher::new();
        let all = mupdate
            .iter()
            .chain(backends.values())
            .chain(frontends.values());
        for workload in all.flatten() {
            workload.revision.hash(&mut hasher);
        }
        let update_revision = format!("{:016x}", hasher.finish());
        let gate = Gate {
            objects,
            stores,
            update_revision: &update_revision,
        };
        let due = |kind, name: &str, rendered: Result<Arc<PackedWorkload>, RenderError>| {
            rendered
                .map(|workload| gate.pass(kind, name, workload))
                .map_err(|error| error.to_string())
        };
        let named = |kind: &'static str, all: BTreeMap<String, Result<_, _>>| {
            let all = all.into_iter();
            all.map(|(name, workload)| {
                let rendered = due(kind, &name, workload);
                (name, rendered)
            })
            .collect()
        };
        Self {
            mupdate: mupdate.map(|workload| due("StatefulSet", &cluster, workload)),
            backends: named("StatefulSet", backends),
            frontends: named("Deployment", frontends),
            update_revision,
        }
    }

    /// Every workload that was rendered.
    pub(super) fn all(&self) -> impl Iterator<Item = &Rendered> {
        let all = self.mupdate.iter().chain(self.backends.values());
        all.chain(self.frontends.values()).flatten()
    }
}

impl Objects {
    /// Name of the claim that a Backend uses or will use: the volume it adopts, the one it has, or a name that no
    /// volume let go earlier has.
    pub(super) fn claim_of(&self, backend: &str) -> String {
        let adopted = self
            .backend(backend)
            .and_then(|b| b.spec.adopt_volume.as_ref());
        if let Some(adopted) = adopted {
            return adopted.claim_name.clone();
        }
        if let Some(claim) = self.claim_labelled(backend) {
            return claim.clone();
        }
        let base = claim_name(backend);
        let free = |name: &String| !self.released.contains_key(name);
        let numbered = (2..).map(|number| format!("{base}-{number}"));
        let mut names = std::iter::once(base.clone()).chain(numbered);
        names.find(free).unwrap_or(base)
    }
}

struct Gate<'a> {
    objects: &'a Objects,
    stores: &'a Stores,
    update_revision: &'a str,
}

impl Gate<'_> {
    fn pass(&self, kind: &str, name: &str, workload: Arc<PackedWorkload>) -> Rendered {
        let namespace = &self.objects.key.namespace;
        let live = self.stores.object(kind, namespace, name);
        let held = live.as_ref().and_then(|live| self.holds(live, &workload));
        let running = live.as_ref().map(|live| template_revision(live));
        let applied = running.is_none_or(|running| running == Some(&workload.revision));
        let whole = held
            .as_ref()
            .and_then(|_| self.stores.whole(kind, namespace, name));
        let Some((live, why)) = whole.zip(held) else {
            return Rendered {
                kept: None,
                held: None,
                revision: workload.revision.clone(),
                workload,
                applied,
            };
        };
        let mut set = workload.set.value();
        keep_template(&mut set, &live);
        let revision = live.annotations().get(REVISION).cloned();
        Rendered {
            kept: Some(Packed::of(&set)),
            workload,
            held: Some(why),
            revision: revision.unwrap_or_default(),
            applied,
        }
    }

    /// Why a workload stays as it is, if it would change.
    fn holds(&self, live: &DynamicObject, workload: &PackedWorkload) -> Option<String> {
        let annotation = |key: &str| live.annotations().get(key).map(String::as_str);
        let running = annotation(REVISION)?;
        let update = &self.objects.cluster.spec.update;
        if running == workload.revision || update.approved_revision == self.update_revision {
            return None;
        }
        if update.strategy == UpdateStrategy::Supervised {
            let wanted = self.update_revision;
            return Some(format!("waits for spec.update.approvedRevision: {wanted}"));
        }
        (annotation(INPUTS) == Some(workload.inputs.as_str())).then(|| {
            let wanted = self.update_revision;
            format!(
                "this operator would run it in another way; it is restarted with the next change of its spec, the \
                 annotation murder.rs/restartedAt, or spec.update.approvedRevision: {wanted}"
            )
        })
    }
}

/// Mounts another claim than the one that a Backend's name leads to.
fn use_claim(set: &mut Value, claim: &str) {
    let volumes = set
        .pointer_mut("/spec/template/spec/volumes")
        .and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        if let Some(name) = volume.pointer_mut("/persistentVolumeClaim/claimName") {
            *name = claim.into();
        }
    }
}

/// Puts the template and the annotations of what runs into what is wanted.
pub(super) fn keep_template(set: &mut Value, live: &DynamicObject) {
    if let (Some(wanted), Some(template)) = (
        set.pointer_mut("/spec/template"),
        live.data.pointer("/spec/template"),
    ) {
        *wanted = template.clone();
    }
    for key in [REVISION, INPUTS] {
        if let (Some(annotations), Some(value)) = (
            set.pointer_mut("/metadata/annotations")
                .and_then(Value::as_object_mut),
            live.annotations().get(key),
        ) {
            annotations.insert(key.to_owned(), value.clone().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Desired, RenderedBefore};
    use crate::platform::kube::stage::Stage;

    const SET: &str = "/apis/apps/v1/namespaces/mail/statefulsets";
    const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/mail/deployments";
    const ALL: [&str; 5] = ["mc-mupdate-0", "be-a-0", "be-b-0", "fe-0", "fe-1"];
    const CONFIG: &str = "/api/v1/namespaces/mail/configmaps";

    /// Template and settings of a server.
    fn of(stage: &Stage, server: &str) -> (Value, Value) {
        let get = |kind: &str| stage.api.get(&format!("{kind}/{server}")).unwrap();
        (
            get(SET)["spec"]["template"].take(),
            get(CONFIG)["data"].take(),
        )
    }

    /// A murder of two servers and a Frontend, with these pods that serve, which then gets other settings.
    async fn stage(pods: &[&str]) -> Stage {
        let mut stage = Stage::new(json!({"domains": ["example.org"]})).await;
        stage.backend_with_claim("be-a", "10Gi");
        stage.backend_with_claim("be-b", "10Gi");
        let frontend = json!({"clusterRef": {"name": "mc"}, "replicas": 2});
        stage.murder("Frontend", "fe", frontend);
        stage.pass().await.unwrap();
        for pod in pods {
            serves(&mut stage, pod, true);
        }
        stage.change("MurderCluster", "mc", |mc| {
            mc["spec"]["transfer"] = json!({"freezeTimeout": "7s"});
            mc["spec"]["domains"] = json!(["example.org", "example.net"]);
        });
        stage.change("Frontend", "fe", |fe| {
            fe["spec"]["drainTimeout"] = json!("7s");
        });
        stage
    }

    /// A pod of a server's set or of the Frontend, as the template is now.
    fn serves(stage: &mut Stage, pod: &str, ready: bool) {
        if let Some(set) = pod.strip_suffix("-0").filter(|set| *set != "fe") {
            return stage.pod(set, ready);
        }
        let template =
            stage.api.get(&format!("{DEPLOYMENT}/fe")).unwrap()["spec"]["template"].take();
        let mut metadata = template["metadata"].clone();
        metadata["name"] = json!(pod);
        let status = if ready { "True" } else { "False" };
        stage.put(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"],
            "status": {"conditions": [{"type": "Ready", "status": status}]},
        }));
    }

    /// How many pods the Frontend should have, its template, and its settings.
    fn of_frontend(stage: &Stage) -> (Value, Value, Value) {
        let mut set = stage.api.get(&format!("{DEPLOYMENT}/fe")).unwrap();
        let config = stage.api.get(&format!("{CONFIG}/fe")).unwrap()["data"].take();
        let spec = &mut set["spec"];
        (spec["replicas"].take(), spec["template"].take(), config)
    }

    #[tokio::test(start_paused = true)]
    async fn settings_change_with_the_template_and_only_in_their_turn() {
        let mut stage = stage(&ALL).await;
        let before = [of(&stage, "be-a"), of(&stage, "be-b")];
        // Somebody is down: nobody who serves is restarted.
        serves(&mut stage, "mc-mupdate-0", false);
        stage.pass().await.unwrap();
        assert_eq!([of(&stage, "be-a"), of(&stage, "be-b")], before);
        // What is down anyway has its turn first, also if it is not alone.
        serves(&mut stage, "mc-mupdate-0", false);
        serves(&mut stage, "be-b-0", false);
        let seen = stage.writes().len();
        stage.pass().await.unwrap();
        assert_eq!(of(&stage, "be-a"), before[0]);
        let (template, config) = of(&stage, "be-b");
        assert_ne!(template, before[1].0);
        assert_ne!(config, before[1].1);
        let writes = stage.writes()[seen..].to_vec();
        let turn: Vec<&str> = writes
            .iter()
            .map(String::as_str)
            .filter(|call| !call.contains("/murder.rs/") && !call.contains("/policy/"))
            .collect();
        let expected = [
            format!("PATCH {CONFIG}/be-b"),
            format!("PATCH {SET}/be-b"),
            "DELETE /api/v1/namespaces/mail/pods/be-b-0".to_owned(),
        ];
        assert_eq!(turn, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_died_before_its_turn_comes_back_as_it_was() {
        let mut stage = stage(&["mc-mupdate-0", "be-a-0", "fe-0", "fe-1"]).await;
        let before = of(&stage, "be-b");
        stage.pass().await.unwrap();
        assert_eq!(of(&stage, "be-b"), before);
        // It never served, and so has its turn, with template and settings together.
        serves(&mut stage, "be-b-0", false);
        stage.pass().await.unwrap();
        let (template, config) = of(&stage, "be-b");
        assert_ne!(template, before.0);
        assert_ne!(config, before.1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frontend_gets_more_and_fewer_pods_before_its_turn_but_as_they_were() {
        let mut stage = stage(&ALL).await;
        let (_, template, config) = of_frontend(&stage);
        let as_it_was = |count: i32| (json!(count), template.clone(), config.clone());
        for count in [3, 1, 3] {
            stage.change("Frontend", "fe", |fe| fe["spec"]["replicas"] = json!(count));
            stage.pass().await.unwrap();
            assert_eq!(of_frontend(&stage), as_it_was(count));
        }
        serves(&mut stage, "fe-2", false);
        for server in ["be-a", "be-b", "mc-mupdate"] {
            stage.pass().await.unwrap();
            assert_eq!(of_frontend(&stage), as_it_was(3), "{server}");
            // It was started again, if it had its turn.
            stage.pod(server, true);
        }
        stage.pass().await.unwrap();
        let (count, new_template, new_config) = of_frontend(&stage);
        assert_eq!(count, 3);
        assert_ne!(new_template, template);
        assert_ne!(new_config, config);
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_backend_does_not_hold_up_the_turn_of_others() {
        let mut stage = stage(&ALL).await;
        stage.change("Backend", "be-a", |a| a["spec"]["paused"] = json!(true));
        let before = [of(&stage, "be-a"), of(&stage, "be-b")];
        stage.pass().await.unwrap();
        assert_eq!(of(&stage, "be-a"), before[0]);
        assert_ne!(of(&stage, "be-b"), before[1]);
    }

    #[tokio::test(start_paused = true)]
    async fn settings_that_are_missing_are_made_at_once() {
        let mut stage = stage(&ALL).await;
        serves(&mut stage, "be-b-0", false);
        let template = of(&stage, "be-a").0;
        stage.lose("ConfigMap", "be-a");
        stage.pass().await.unwrap();
        let (found, config) = of(&stage, "be-a");
        assert_eq!(found, template);
        assert!(
            config["node.yaml"].as_str().unwrap().contains("murder"),
            "{config}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_workload_is_rendered_anew_only_if_its_own_object_or_the_murder_changes() {
        let mut stage = Stage::new(json!({})).await;
        stage.backend_with_claim("be-a", "10Gi");
        stage.backend_with_claim("be-b", "10Gi");
        let mut before = RenderedBefore::default();
        let mut revisions = |stage: &Stage| {
            let context = &stage.context;
            let (stores, defaults) = (&context.stores, &context.defaults);
            let desired = Desired::render(&stage.objects(), stores, defaults, &mut before);
            let of = |name: &str| {
                desired.backends[name]
                    .as_ref()
                    .ok()
                    .unwrap()
                    .workload
                    .clone()
            };
            (of("be-a"), of("be-b"))
        };
        let same = std::sync::Arc::ptr_eq;
        let first = revisions(&stage);
        let second = revisions(&stage);
        assert!(same(&first.0, &second.0) && same(&first.1, &second.1));
        stage.change("Backend", "be-a", |backend| {
            backend["spec"]["partitions"] = json!(["default", "more"]);
        });
        let third = revisions(&stage);
        assert_ne!(third.0.revision, first.0.revision);
        assert!(same(&third.1, &first.1));
        stage.change("MurderCluster", "mc", |murder| {
            murder["metadata"]["annotations"]["murder.rs/restartedAt"] = json!("now");
        });
        let fourth = revisions(&stage);
        assert_ne!(fourth.1.revision, first.1.revision);
    }
}
