//! A murder for tests: an API server in memory, and watches that have what was put there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::api::DynamicObject;
use kube::runtime::reflector::store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::context::{Context, Key};
use super::events::Events;
use super::fake_api::FakeApi;
use super::leader::{Election, LeaseSettings};
use super::objects::Objects;
use super::watch::{APPLIED, Stores, resource};
use crate::crd::{Backend, Frontend, MurderCluster};
use crate::resources::Defaults;
use crate::telemetry::Metrics;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

/// Everything that a pass needs, with the murder `mc` in namespace `mail`.
pub(super) struct Stage {
    pub(super) api: FakeApi,
    pub(super) context: Context,
    clusters: Writer<MurderCluster>,
    backends: Writer<Backend>,
    frontends: Writer<Frontend>,
    pods: Writer<Pod>,
    claims: Writer<PersistentVolumeClaim>,
    applied: BTreeMap<&'static str, Writer<DynamicObject>>,
    _election: Election,
}

fn show<K>(writer: &mut Writer<K>, object: &Value)
where
    K: kube::runtime::reflector::Lookup + Clone + DeserializeOwned + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone,
{
    let object = serde_json::from_value(object.clone()).unwrap();
    writer.apply_watcher_event(&Event::Apply(object));
}

/// A watch whose first list is complete.
fn watched<K>(mut writer: Writer<K>) -> Writer<K>
where
    K: kube::runtime::reflector::Lookup + Clone + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone,
{
    for event in [Event::Init, Event::InitDone] {
        writer.apply_watcher_event(&event);
    }
    writer
}

impl Stage {
    /// We lead, and there is a MurderCluster `mc` with this spec.
    pub(super) async fn new(spec: Value) -> Self {
        let api = FakeApi::default();
        let client = api.client();
        let settings = LeaseSettings {
            namespace: "murder-system".to_owned(),
            name: "murder-operator".to_owned(),
            identity: "us".to_owned(),
            duration: Duration::from_secs(15),
        };
        let mut election = Election::new(client.clone(), settings);
        election.acquire().await;
        let (cluster_store, clusters) = store();
        let (backend_store, backends) = store();
        let (frontend_store, frontends) = store();
        let (pod_store, pods) = store();
        let (claim_store, claims) = store();
        let writer = |(version, kind, plural): (&str, &'static str, &str)| {
            (kind, watched(Writer::new(resource(version, kind, plural))))
        };
        let applied: BTreeMap<_, Writer<DynamicObject>> = APPLIED.into_iter().map(writer).collect();
        let readers = applied.iter();
        let stores = Stores {
            clusters: cluster_store,
            backends: backend_store,
            frontends: frontend_store,
            pods: pod_store,
            claims: claim_store,
            nodes: None,
            applied: readers.map(|(kind, w)| (*kind, w.as_reader())).collect(),
        };
        let defaults = Defaults {
            image: "murder.local/node:dev".to_owned(),
            pull_policy: String::new(),
        };
        let context = Context::new(
            client.clone(),
            stores,
            defaults,
            election.leadership(),
            Events::new(client, "us"),
            Arc::new(Metrics::default()),
        );
        let mut stage = Self {
            api,
            context,
            clusters: watched(clusters),
            backends: watched(backends),
            frontends: watched(frontends),
            pods: watched(pods),
            claims: watched(claims),
            applied,
            _election: election,
        };
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mail"}});
        stage.api.put("/api/v1/namespaces/mail", namespace);
        stage.murder("MurderCluster", "mc", spec);
        stage
    }

    /// Puts one of our own objects there.
    pub(super) fn murder(&mut self, kind: &str, name: &str, spec: Value) {
        self.put(json!({
            "apiVersion": "murder.rs/v1alpha1", "kind": kind,
            "metadata": {"name": name, "finalizers": ["murder.rs/murder"]},
            "spec": spec,
        }));
    }

    /// A Backend of the murder and its bound claim of 10Gi and class `fast`.
    pub(super) fn backend_with_claim(&mut self, name: &str, size: &str) {
        let storage = json!({"size": size, "storageClassName": "fast"});
        let spec = json!({"clusterRef": {"name": "mc"}, "storage": storage});
        self.murder("Backend", name, spec);
        self.claim(&format!("{name}-data"), &json!({"murder.rs/backend": name}));
    }

    /// A bound claim of 10Gi and class `fast`.
    pub(super) fn claim(&mut self, name: &str, labels: &Value) {
        let mut labels = labels.clone();
        labels["murder.rs/cluster"] = json!("mc");
        labels["app.kubernetes.io/managed-by"] = json!("murder-operator");
        self.put(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "storageClassName": "fast",
                "resources": {"requests": {"storage": "10Gi"}},
            },
            "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}},
        }));
    }

    /// A pod of a StatefulSet as its template is now; it served once.
    pub(super) fn pod(&mut self, set: &str, ready: bool) {
        let path = format!("/apis/apps/v1/namespaces/mail/statefulsets/{set}");
        let template = self.api.get(&path).unwrap()["spec"]["template"].take();
        let mut metadata = template["metadata"].clone();
        metadata["name"] = json!(format!("{set}-0"));
        metadata["annotations"]["murder.rs/served"] = json!("true");
        let status = if ready { "True" } else { "False" };
        self.put(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"],
            "status": {"conditions": [{"type": "Ready", "status": status}]},
        }));
    }

    /// Puts an object of the namespace there; the watches have it, too.
    pub(super) fn put(&mut self, mut object: Value) {
        let (kind, name) = (text(&object, "/kind"), text(&object, "/metadata/name"));
        let path = path(&object, &kind, &name);
        let metadata = &mut object["metadata"];
        metadata["namespace"] = json!("mail");
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("uid-{name}"));
        }
        self.api.put(&path, object);
        self.see(&kind, &path);
    }

    /// Puts an applied object there; the watches have it out of a list, whose items do not name their kind.
    pub(super) fn list(&mut self, object: Value) {
        let (kind, name) = (text(&object, "/kind"), text(&object, "/metadata/name"));
        let path = path(&object, &kind, &name);
        self.put(object);
        let mut item = self.api.get(&path).unwrap();
        for key in ["apiVersion", "kind"] {
            item.as_object_mut().unwrap().remove(key);
        }
        show(self.applied.get_mut(kind.as_str()).unwrap(), &item);
    }

    /// Changes an object as somebody else would; the watches have it, too.
    pub(super) fn change(&mut self, kind: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let version = match kind {
            "MurderCluster" | "Backend" | "Frontend" => "murder.rs/v1alpha1",
            "PersistentVolumeClaim" | "Pod" => "v1",
            _ => APPLIED.iter().find(|(_, k, _)| *k == kind).unwrap().0,
        };
        let path = path(&json!({"apiVersion": version}), kind, name);
        let mut object = self.api.get(&path).unwrap();
        change(&mut object);
        self.api.put(&path, object);
        self.see(kind, &path);
    }

    /// Somebody deletes an object; the watches know.
    pub(super) fn lose(&mut self, kind: &str, name: &str) {
        let version = APPLIED.iter().find(|(_, k, _)| *k == kind).unwrap().0;
        let path = path(&json!({"apiVersion": version}), kind, name);
        let object = serde_json::from_value(self.api.get(&path).unwrap()).unwrap();
        let writer = self.applied.get_mut(kind).unwrap();
        writer.apply_watcher_event(&Event::Delete(object));
        self.api.remove(&path);
    }

    /// The MurderCluster is gone.
    pub(super) fn gone(&mut self, name: &str) {
        let path = format!("/apis/murder.rs/v1alpha1/namespaces/mail/murderclusters/{name}");
        self.api.remove(&path);
        for cluster in self.context.stores.clusters.state() {
            let event = Event::Delete(cluster.as_ref().clone());
            self.clusters.apply_watcher_event(&event);
        }
    }

    /// The watches learn what the API server has of an object.
    fn see(&mut self, kind: &str, path: &str) {
        let object = self.api.get(path).unwrap();
        match kind {
            "MurderCluster" => show(&mut self.clusters, &object),
            "Backend" => show(&mut self.backends, &object),
            "Frontend" => show(&mut self.frontends, &object),
            "Pod" => show(&mut self.pods, &object),
            "PersistentVolumeClaim" => show(&mut self.claims, &object),
            kind => show(self.applied.get_mut(kind).unwrap(), &object),
        }
    }

    /// The watches learn everything.
    pub(super) fn catch_up(&mut self) {
        for path in self.api.paths() {
            let kind = text(&self.api.get(&path).unwrap(), "/kind");
            if path.contains("/namespaces/mail/") && kind != "Secret" && kind != "Event" {
                self.see(&kind, &path);
            }
        }
    }

    /// The watch of claims begins anew: nothing is known of them yet.
    pub(super) fn unlist_claims(&mut self) {
        (self.context.stores.claims, self.claims) = store();
    }

    /// One pass of the murder.
    pub(super) async fn pass(&mut self) -> anyhow::Result<Duration> {
        self.catch_up();
        let cluster = self.context.stores.clusters.state().remove(0);
        super::pass::pass(&self.context, cluster).await
    }

    /// What the watches have of the murder.
    pub(super) fn objects(&self) -> Objects {
        let key = Key {
            namespace: "mail".to_owned(),
            name: "mc".to_owned(),
        };
        let cluster = self.context.stores.clusters.state();
        Objects::gather(&self.context.stores, &key, Arc::clone(&cluster[0]))
    }

    /// Calls that write, but for the Lease and events.
    pub(super) fn writes(&self) -> Vec<String> {
        let calls = self.api.calls().into_iter();
        calls
            .filter(|call| !call.starts_with("GET "))
            .filter(|call| !call.contains("/leases") && !call.contains("/events"))
            .collect()
    }
}

fn text(object: &Value, pointer: &str) -> String {
    let found = object.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

fn path(object: &Value, kind: &str, name: &str) -> String {
    let version = text(object, "/apiVersion");
    let root = if version.contains('/') { "apis" } else { "api" };
    let plural = match kind {
        "NetworkPolicy" => "networkpolicies".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    format!("/{root}/{version}/namespaces/mail/{plural}/{name}")
}
