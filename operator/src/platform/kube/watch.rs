//! What the API server has, kept near by watches, and who is told when it changes.
//!
//! Custom resources are read one by one: an object that cannot be understood is named in the log and left out, and
//! hides no other. What changes leads to a pass of the murder that it belongs to.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::channel::mpsc;
use futures::stream::BoxStream;
use futures::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, PodSpec};
use kube::api::{ApiResource, DynamicObject};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, reflector};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::calls::short_watch;
use super::packed::{pack, unpack};
use crate::crd::{Backend, Frontend, MurderCluster};
pub(super) use crate::resources::names::{BACKEND_LABEL, CLUSTER_LABEL, FRONTEND_LABEL};

/// Label of everything that the operator makes.
pub(super) const MANAGED: &str = "app.kubernetes.io/managed-by=murder-operator";

/// Passes that may wait to be told.
const TRIGGERS_MAX: usize = 4096;

/// Kinds of objects that are applied as a whole and put back when somebody changes them.
///
/// Secrets are not among them: watching them needs the right to list all of a namespace.
pub(super) const APPLIED: [(&str, &str, &str); 6] = [
    ("v1", "ConfigMap", "configmaps"),
    ("v1", "Service", "services"),
    ("apps/v1", "StatefulSet", "statefulsets"),
    ("apps/v1", "Deployment", "deployments"),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
];

/// Kinds of objects that are applied without being watched: they may not be there, and we may not list them.
pub(super) const UNWATCHED: [(&str, &str, &str); 2] = [
    ("monitoring.coreos.com/v1", "PodMonitor", "podmonitors"),
    (
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        "prometheusrules",
    ),
];

/// The API resource of a kind, from its version and plural.
pub(super) fn resource(api_version: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// Objects in a page of a first list. A page is many times its size while it is read, and several kinds are read at once.
const PAGE: u32 = 100;

fn looks() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

/// What is watched.
#[derive(Clone)]
pub(super) struct Stores {
    pub(super) clusters: Store<MurderCluster>,
    pub(super) backends: Store<Backend>,
    pub(super) frontends: Store<Frontend>,
    pub(super) pods: Store<Pod>,
    pub(super) claims: Store<PersistentVolumeClaim>,
    /// Machines, if they may be read.
    pub(super) nodes: Option<Store<Node>>,
    /// By kind.
    pub(super) applied: BTreeMap<&'static str, Store<DynamicObject>>,
}

/// Streams that drive the controllers.
pub(super) struct Streams {
    pub(super) clusters: BoxStream<'static, Result<MurderCluster, watcher::Error>>,
    pub(super) backends: BoxStream<'static, Result<Backend, watcher::Error>>,
    pub(super) frontends: BoxStream<'static, Result<Frontend, watcher::Error>>,
    /// Murders to look at because of something that is theirs.
    pub(super) triggers: mpsc::Receiver<ObjectRef<MurderCluster>>,
    /// A murder is gone: its Backends and Frontends are nobody's.
    pub(super) orphaned: [mpsc::Receiver<()>; 2],
}

/// Where reads and watches look: one namespace, or all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Scope(pub(super) Option<String>);

impl Scope {
    pub(super) fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match &self.0 {
            None => Api::all(client.clone()),
            Some(namespace) => Api::namespaced(client.clone(), namespace),
        }
    }

    fn dynamic(&self, client: &Client, resource: &ApiResource) -> Api<DynamicObject> {
        match &self.0 {
            None => Api::all_with(client.clone(), resource),
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        }
    }
}

/// Tells that murders should be looked at.
#[derive(Clone)]
struct Trigger(mpsc::Sender<ObjectRef<MurderCluster>>);

impl Trigger {
    async fn murder(&mut self, namespace: Option<String>, name: Option<String>) {
        if let (Some(namespace), Some(name)) = (namespace, name) {
            // An error means that the controllers ended.
            let _ = self.0.send(ObjectRef::new(&name).within(&namespace)).await;
        }
    }

    /// Whom a labelled object belongs to.
    async fn owner_of(&mut self, object: &impl kube::ResourceExt) {
        let name = object.labels().get(CLUSTER_LABEL).cloned();
        self.murder(object.namespace(), name).await;
    }
}

/// Starts all watches in `tasks`.
pub(super) fn start(
    client: &Client,
    scope: &Scope,
    with_nodes: bool,
    tasks: &mut JoinSet<()>,
) -> (Stores, Streams) {
    let (sender, triggers) = mpsc::channel(TRIGGERS_MAX);
    let trigger = Trigger(sender);
    let (mut gone_backends, orphaned_backends) = mpsc::channel(1);
    let (mut gone_frontends, orphaned_frontends) = mpsc::channel(1);
    let (clusters, cluster_stream) = custom::<MurderCluster>(scope.api(client));
    let cluster_stream = cluster_stream
        .inspect_ok(move |event| {
            if matches!(event, Event::Delete(_)) {
                // One that waits already is enough.
                let _ = (gone_backends.try_send(()), gone_frontends.try_send(()));
            }
        })
        .applied_objects()
        .boxed();
    let (backends, stream) = custom::<Backend>(scope.api(client));
    let backend_stream = tell(stream, trigger.clone(), |backend: &Backend| {
        backend.spec.cluster_ref.name.clone()
    });
    let (frontends, stream) = custom::<Frontend>(scope.api(client));
    let frontend_stream = tell(stream, trigger.clone(), |frontend: &Frontend| {
        frontend.spec.cluster_ref.name.clone()
    });
    let owned = looks().labels(MANAGED);
    let api = scope.api(client);
    let pods = owned_store(api, owned.clone(), trigger.clone(), slim, tasks);
    let api = scope.api(client);
    let claims = owned_store(api, owned.clone(), trigger.clone(), |_| {}, tasks);
    let mut applied = BTreeMap::new();
    for (api_version, kind, plural) in APPLIED {
        let api = scope.dynamic(client, &resource(api_version, kind, plural));
        let resource = resource(api_version, kind, plural);
        let store = dynamic_store(api, resource, owned.clone(), trigger.clone(), tasks);
        applied.insert(kind, store);
    }
    let nodes = with_nodes.then(|| node_store(client, pods.clone(), trigger, tasks));
    let stores = Stores {
        clusters,
        backends,
        frontends,
        pods,
        claims,
        nodes,
        applied,
    };
    let streams = Streams {
        clusters: cluster_stream,
        backends: backend_stream,
        frontends: frontend_stream,
        triggers,
        orphaned: [orphaned_backends, orphaned_frontends],
    };
    (stores, streams)
}

/// Watches a kind of ours; objects that cannot be read are left out and named.
fn custom<K>(
    api: Api<DeserializeGuard<K>>,
) -> (
    Store<K>,
    BoxStream<'static, Result<Event<K>, watcher::Error>>,
)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = store();
    let events = watcher(api, looks())
        .default_backoff()
        .inspect_err(|error| interrupted(&K::kind(&()), error))
        .try_filter_map(|event| futures::future::ready(Ok(readable(event))));
    (reader, reflector(writer, events).boxed())
}

fn readable<K: Resource<DynamicType = ()>>(event: Event<DeserializeGuard<K>>) -> Option<Event<K>> {
    let understood = |guard: DeserializeGuard<K>| match guard.0 {
        Ok(mut object) => {
            object.meta_mut().managed_fields = None;
            Some(object)
        }
        Err(invalid) => {
            let name = invalid.metadata.name.unwrap_or_default();
            let namespace = invalid.metadata.namespace.unwrap_or_default();
            let kind = K::kind(&());
            tracing::error!(%kind, namespace, name, error = %invalid.error, "object_not_understood");
            None
        }
    };
    Some(match event {
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
        Event::InitApply(guard) => Event::InitApply(understood(guard)?),
        Event::Apply(guard) => Event::Apply(understood(guard)?),
        Event::Delete(guard) => Event::Delete(understood(guard)?),
    })
}

/// Tells the murder of each object that changed or went, and goes on with those that are there.
fn tell<K>(
    stream: BoxStream<'static, Result<Event<K>, watcher::Error>>,
    trigger: Trigger,
    cluster: fn(&K) -> String,
) -> BoxStream<'static, Result<K, watcher::Error>>
where
    K: Resource<DynamicType = ()> + Send + Sync + 'static,
{
    stream
        .then(move |event| {
            let mut trigger = trigger.clone();
            async move {
                if let Ok(Event::Apply(object) | Event::InitApply(object) | Event::Delete(object)) =
                    &event
                {
                    let namespace = object.meta().namespace.clone();
                    trigger.murder(namespace, Some(cluster(object))).await;
                }
                event
            }
        })
        .applied_objects()
        .boxed()
}

fn owned_store<K>(
    api: Api<K>,
    config: watcher::Config,
    trigger: Trigger,
    slim: fn(&mut K),
    tasks: &mut JoinSet<()>,
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = store();
    let stream = watcher(api, config)
        .default_backoff()
        .modify(move |object: &mut K| {
            object.meta_mut().managed_fields = None;
            slim(object);
        });
    let stream = reflector(writer, stream).touched_objects();
    let kind = K::kind(&()).into_owned();
    tasks.spawn(follow(kind, stream.boxed(), trigger));
    reader
}

/// Keeps of a pod's spec only where it runs: what it should be is its workload's.
fn slim(pod: &mut Pod) {
    if let Some(spec) = &mut pod.spec {
        let node_name = spec.node_name.take();
        *spec = PodSpec {
            node_name,
            ..PodSpec::default()
        };
    }
}

fn dynamic_store(
    api: Api<DynamicObject>,
    resource: ApiResource,
    config: watcher::Config,
    trigger: Trigger,
    tasks: &mut JoinSet<()>,
) -> Store<DynamicObject> {
    let kind = resource.kind.clone();
    let writer = Writer::new(resource);
    let reader = writer.as_reader();
    let stream = watcher(api, config)
        .default_backoff()
        .modify(|object: &mut DynamicObject| {
            object.metadata.managed_fields = None;
            pack(object);
        });
    let stream = reflector(writer, stream).touched_objects();
    tasks.spawn(follow(kind, stream.boxed(), trigger));
    reader
}

fn interrupted(kind: &str, error: &watcher::Error) {
    let error = short_watch(kind, error);
    tracing::warn!(error, "watch_interrupted");
}

async fn follow<K: kube::ResourceExt>(
    kind: String,
    mut stream: BoxStream<'static, Result<K, watcher::Error>>,
    mut trigger: Trigger,
) {
    while let Some(event) = stream.next().await {
        match event {
            Ok(object) => trigger.owner_of(&object).await,
            Err(error) => interrupted(&kind, &error),
        }
    }
}

/// Machines; a change of whether one takes pods tells the murders that have pods there.
fn node_store(
    client: &Client,
    pods: Store<Pod>,
    mut trigger: Trigger,
    tasks: &mut JoinSet<()>,
) -> Store<Node> {
    let (reader, writer) = store();
    let api: Api<Node> = Api::all(client.clone());
    let stream = watcher(api, looks())
        .default_backoff()
        .modify(|node: &mut Node| {
            node.metadata.managed_fields = None;
            if let Some(status) = &mut node.status {
                // Names of images alone are many kilobytes a machine.
                status.images = None;
            }
        });
    let mut stream = reflector(writer, stream).applied_objects().boxed();
    tasks.spawn(async move {
        let mut known: BTreeMap<String, bool> = BTreeMap::new();
        while let Some(event) = stream.next().await {
            let node = match event {
                Ok(node) => node,
                Err(error) => {
                    interrupted("Node", &error);
                    continue;
                }
            };
            let closed = is_closed(&node);
            if known.insert(node.name_any(), closed) == Some(closed) {
                continue;
            }
            for pod in pods.state() {
                let spec = pod.spec.as_ref();
                let machine = spec.and_then(|spec| spec.node_name.as_deref());
                // A volume may bind a pod that runs nowhere to the machine.
                if machine.is_none_or(|machine| machine == node.name_any()) {
                    trigger.owner_of(pod.as_ref()).await;
                }
            }
        }
    });
    reader
}

/// Whether a machine takes no pods: `kubectl cordon`, `kubectl drain`.
pub(super) fn is_closed(node: &Node) -> bool {
    let spec = node.spec.as_ref();
    spec.is_some_and(|spec| spec.unschedulable == Some(true))
}

impl Stores {
    /// Waits until each store has the first complete list. Before that what is not in a store may well be there.
    pub(super) async fn ready(&self) {
        self.wait(|_| {}).await;
    }

    /// The same, for a limited time; an error names the kind of which there is no list yet.
    pub(super) async fn ready_within(&self, limit: Duration) -> anyhow::Result<()> {
        let mut missing = "";
        let waited = tokio::time::timeout(limit, self.wait(|kind| missing = kind)).await;
        waited.with_context(|| format!("the API server has not listed all {missing} objects yet"))
    }

    async fn wait<'a>(&'a self, mut waits_for: impl FnMut(&'a str)) {
        // An error means that the writer is gone, and so are the controllers.
        waits_for("MurderCluster");
        let _ = self.clusters.wait_until_ready().await;
        waits_for("Backend");
        let _ = self.backends.wait_until_ready().await;
        waits_for("Frontend");
        let _ = self.frontends.wait_until_ready().await;
        waits_for("Pod");
        let _ = self.pods.wait_until_ready().await;
        waits_for("PersistentVolumeClaim");
        let _ = self.claims.wait_until_ready().await;
        if let Some(nodes) = &self.nodes {
            waits_for("Node");
            let _ = nodes.wait_until_ready().await;
        }
        for (kind, store) in &self.applied {
            waits_for(kind);
            let _ = store.wait_until_ready().await;
        }
    }

    /// An object that is applied as a whole, with all that it holds.
    pub(super) fn whole(&self, kind: &str, namespace: &str, name: &str) -> Option<DynamicObject> {
        let packed = self.object(kind, namespace, name)?;
        Some(unpack(&packed))
    }

    /// The same; beside its metadata it is packed.
    pub(super) fn object(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<DynamicObject>> {
        let (api_version, kind, plural) = APPLIED.iter().find(|(_, k, _)| *k == kind)?;
        let reference = ObjectRef::new_with(name, resource(api_version, kind, plural));
        self.applied.get(kind)?.get(&reference.within(namespace))
    }
}
