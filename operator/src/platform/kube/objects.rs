//! The objects of one murder, as the watches have them.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;

use super::context::Key;
use super::watch::{BACKEND_LABEL, CLUSTER_LABEL, FRONTEND_LABEL, Stores};
use crate::core::{Kind, PodView};
use crate::crd::{Backend, Frontend, MurderCluster};
pub(super) use crate::resources::names::{FINALIZER, REVISION_ANNOTATION as REVISION};

/// Annotation of a pod that was ready once.
pub(super) const SERVED: &str = "murder.rs/served";
/// Annotation of a claim: the identity on the volume.
pub(super) const SERVER_ID: &str = "murder.rs/server-id";
/// Annotation of a claim whose server ended for ever: when, in milliseconds.
pub(super) const RETIRED: &str = "murder.rs/retired";
/// Annotation of such a claim: when it may be deleted.
pub(super) const DELETE_AFTER: &str = "murder.rs/delete-after";
/// Annotation of a claim that we let go, with its data.
pub(super) const RELEASED: &str = "murder.rs/released";

/// Name of the claim, in the murder's own place.
pub(super) fn claim_name(object: &str) -> String {
    format!("{object}-data")
}

/// Objects of a murder.
pub(super) struct Objects {
    pub(super) key: Key,
    pub(super) cluster: Arc<MurderCluster>,
    pub(super) backends: Vec<Arc<Backend>>,
    pub(super) frontends: Vec<Arc<Frontend>>,
    /// By name.
    pub(super) pods: BTreeMap<String, Arc<Pod>>,
    /// By name, without those let go.
    pub(super) claims: BTreeMap<String, Arc<PersistentVolumeClaim>>,
    /// Claims that were let go, by name.
    pub(super) released: BTreeMap<String, Arc<PersistentVolumeClaim>>,
    /// Names of claims in use, by Backend.
    claims_of: BTreeMap<String, String>,
}

impl Objects {
    /// Gathers what belongs to a murder.
    pub(super) fn gather(stores: &Stores, key: &Key, cluster: Arc<MurderCluster>) -> Self {
        let here = |namespace: Option<String>| namespace.as_deref() == Some(&key.namespace);
        let mut backends = stores.backends.state_filter(|backend| {
            here(backend.namespace()) && backend.spec.cluster_ref.name == key.name
        });
        backends.sort_by_key(|backend| backend.name_any());
        let mut frontends = stores.frontends.state_filter(|frontend| {
            here(frontend.namespace()) && frontend.spec.cluster_ref.name == key.name
        });
        frontends.sort_by_key(|frontend| frontend.name_any());
        let is_mine =
            |labels: &BTreeMap<String, String>| labels.get(CLUSTER_LABEL) == Some(&key.name);
        let pods = stores
            .pods
            .state_filter(|pod| here(pod.namespace()) && is_mine(pod.labels()));
        let claims = stores
            .claims
            .state_filter(|claim| here(claim.namespace()) && is_mine(claim.labels()));
        let (released, claims): (Vec<_>, Vec<_>) = claims
            .into_iter()
            .partition(|claim| claim.annotations().contains_key(RELEASED));
        let claims = by_name(claims);
        let mut claims_of = BTreeMap::new();
        for (name, claim) in &claims {
            if let Some(backend) = backend_of(claim.as_ref()) {
                claims_of.entry(backend).or_insert_with(|| name.clone());
            }
        }
        Self {
            key: key.clone(),
            cluster,
            backends,
            frontends,
            pods: by_name(pods),
            claims,
            released: by_name(released),
            claims_of,
        }
    }

    /// Pods of a Frontend that are not on their way out: those of an older revision first, then by age.
    pub(super) fn frontend_pods(&self, frontend: &str, revision: &str) -> Vec<&Arc<Pod>> {
        let mut pods: Vec<&Arc<Pod>> = self
            .pods
            .values()
            .filter(|pod| {
                pod.labels()
                    .get(FRONTEND_LABEL)
                    .is_some_and(|name| name == frontend)
            })
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .collect();
        pods.sort_by_key(|pod| {
            let is_new = pod
                .annotations()
                .get(REVISION)
                .is_some_and(|r| r == revision);
            (is_new, pod.creation_timestamp(), pod.name_any())
        });
        pods
    }

    /// The Backend of this name.
    pub(super) fn backend(&self, name: &str) -> Option<&Arc<Backend>> {
        found(&self.backends, name)
    }

    /// The claim that is labelled as a Backend's; the first by name.
    pub(super) fn claim_labelled(&self, backend: &str) -> Option<&String> {
        self.claims_of.get(backend)
    }

    /// Whether an object of the murder is paused by itself.
    pub(super) fn is_paused(&self, kind: Kind, name: &str) -> bool {
        kind == Kind::Backend && self.backend(name).is_some_and(|b| b.spec.paused)
    }

    /// The Frontend of this name.
    pub(super) fn frontend(&self, name: &str) -> Option<&Arc<Frontend>> {
        found(&self.frontends, name)
    }

    /// The claim of a Backend or of the master.
    pub(super) fn claim(&self, name: &str) -> Option<&Arc<PersistentVolumeClaim>> {
        self.claims.get(&claim_name(name))
    }
}

/// One of objects that are in the order of their names: looked for thousands of times in a pass.
fn found<'a, K: kube::ResourceExt>(objects: &'a [Arc<K>], name: &str) -> Option<&'a Arc<K>> {
    let name_of = |object: &Arc<K>| object.meta().name.as_deref().unwrap_or_default().cmp(name);
    let index = objects.binary_search_by(name_of).ok()?;
    objects.get(index)
}

fn by_name<K: kube::ResourceExt>(objects: Vec<Arc<K>>) -> BTreeMap<String, Arc<K>> {
    let named = objects
        .into_iter()
        .map(|object| (object.name_any(), object));
    named.collect()
}

/// Whether a pod serves, by its own word and the kubelet's.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    pod.metadata.deletion_timestamp.is_none() && ready.any(|condition| condition.status == "True")
}

/// A pod as decisions see it.
pub(super) fn pod_view(pod: &Pod, name: String) -> PodView {
    let ready = is_ready(pod);
    PodView {
        name,
        revision: pod.annotations().get(REVISION).cloned().unwrap_or_default(),
        ready,
        was_ready: ready || pod.annotations().contains_key(SERVED),
    }
}

/// The machine that a pod runs on or, if it runs nowhere, the only one where its volume is.
pub(super) fn machine(pod: Option<&Pod>, bound_to: Option<&str>) -> Option<String> {
    let running = pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone());
    running.or_else(|| bound_to.map(str::to_owned))
}

/// Whether a machine takes no pods.
pub(super) fn is_closed(stores: &Stores, machine: &str) -> bool {
    let node: Option<Arc<Node>> = stores
        .nodes
        .as_ref()
        .and_then(|nodes| nodes.get(&ObjectRef::new(machine)));
    node.is_some_and(|node| super::watch::is_closed(&node))
}

/// The Backend that an object is labelled with.
pub(super) fn backend_of(object: &impl kube::ResourceExt) -> Option<String> {
    object.labels().get(BACKEND_LABEL).cloned()
}
