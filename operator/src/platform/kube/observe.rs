//! The world as seen on Kubernetes: objects from the watches, facts from the nodes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::{Api, Client, ResourceExt as _};
use murder_model::ServerId;

use super::call;
use super::calls::ApiError;
use super::desired::{Desired, Rendered};
use super::memory::Memory;
use super::nodes::{Asked, Need, Report};
use super::objects::{
    self, DELETE_AFTER, FINALIZER, Objects, RETIRED, SERVER_ID, is_closed, machine, pod_view,
};
use super::watch::Stores;
use crate::core::{BackendView, ClusterView, FrontendView, MupdateView, VolumeView, Wish, World};
use crate::crd::{
    Backend, BackendDeletion, DesiredState, MurderCluster, NodeDrain, RebalanceMode,
    VolumeRetention,
};
use crate::node_client::NodeAddress;
use crate::resources::settings::duration_ms;

/// Port of the admin interface in pods.
const ADMIN_PORT: u16 = 8443;
/// Share of a destination's volume that a drain leaves free.
const HEADROOM_PERCENT: u64 = 15;

/// Volumes read at a time.
const VOLUMES_READ_MAX: usize = 16;

/// What is to be known of a Backend's place.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// The machine that it runs on or is bound to.
    pub(super) machine: Option<String>,
    /// Whether that takes no pods: it is being drained.
    pub(super) closed: bool,
    /// Whether the volume can follow to another machine; none if not known.
    pub(super) movable: Option<bool>,
    /// What is done about a drain.
    pub(super) policy: NodeDrain,
}

impl Place {
    /// Whether the mailboxes must leave before the machine goes.
    pub(super) fn evacuate(&self) -> bool {
        self.closed && self.holds_until_empty()
    }

    /// Whether the pod may go only once it is empty.
    pub(super) fn holds_until_empty(&self) -> bool {
        match self.policy {
            NodeDrain::Transfer => true,
            NodeDrain::Auto | NodeDrain::Inherit => self.movable == Some(false),
            NodeDrain::Hold | NodeDrain::Restart => false,
        }
    }
}

/// The policy for a Backend when its machine is drained.
fn policy(cluster: &MurderCluster, backend: &Backend) -> NodeDrain {
    match (backend.spec.node_drain, cluster.spec.disruption.node_drain) {
        (NodeDrain::Inherit, NodeDrain::Inherit) => NodeDrain::Auto,
        (NodeDrain::Inherit, of_cluster) => of_cluster,
        (own, _) => own,
    }
}

/// Where each Backend is.
pub(super) async fn places(
    client: &Client,
    stores: &Stores,
    objects: &Objects,
    memory: &mut Memory,
) -> BTreeMap<String, Place> {
    find_volumes(client, objects, memory).await;
    let mut places = BTreeMap::new();
    for backend in &objects.backends {
        let name = backend.name_any();
        let claim = objects.claims.get(&objects.claim_of(&name));
        let uid = claim.and_then(|claim| claim.uid());
        let bound = uid.and_then(|uid| memory.volumes.get(&uid).cloned());
        let pod = objects.pods.get(&format!("{name}-0"));
        let only = bound.as_ref().and_then(|bound| bound.only_at.as_deref());
        let machine = machine(pod.map(AsRef::as_ref), only);
        let place = Place {
            closed: machine.as_deref().is_some_and(|m| is_closed(stores, m)),
            machine,
            movable: bound.map(|bound| bound.movable),
            policy: policy(&objects.cluster, backend),
        };
        places.insert(name, place);
    }
    places
}

/// How long the right to read volumes is not tried again.
const REFUSED_FRESH: Duration = Duration::from_secs(600);

/// What matters of a volume.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    /// Whether it can be used on more than one machine.
    movable: bool,
    /// The one machine where it is.
    only_at: Option<String>,
}

/// Reads the volumes behind claims, once for each claim.
async fn find_volumes(client: &Client, objects: &Objects, memory: &mut Memory) {
    let refused = memory.volumes_refused;
    if refused.is_some_and(|at| at.elapsed() < REFUSED_FRESH) {
        return;
    }
    let api: Api<PersistentVolume> = Api::all(client.clone());
    let mut unknown = Vec::new();
    for backend in &objects.backends {
        let claim = objects.claims.get(&objects.claim_of(&backend.name_any()));
        let known = claim.and_then(|claim| {
            let volume = claim.spec.as_ref()?.volume_name.clone()?;
            Some((claim.uid()?, volume))
        });
        unknown.extend(known.filter(|(uid, _)| !memory.volumes.contains_key(uid)));
    }
    let calls = unknown.into_iter().map(|(uid, name)| {
        let api = api.clone();
        async move {
            // Without the right to read volumes none is known to be bound to a machine.
            let volume = call("get PersistentVolume", &name, api.get_opt(&name)).await;
            let bound = volume?.map(|volume| {
                let only_at = only_machine(&volume);
                let movable = only_at.is_none();
                (uid, Bound { movable, only_at })
            });
            Ok::<_, ApiError>(bound)
        }
    });
    let mut found = futures::stream::iter(calls).buffer_unordered(VOLUMES_READ_MAX);
    while let Some(found) = found.next().await {
        match found {
            Ok(found) => memory.volumes.extend(found),
            Err(error) if error.is_forbidden() => memory.volumes_refused = Some(Instant::now()),
            Err(_) => {}
        }
    }
}

/// The one machine to which a volume is bound, by its node affinity.
fn only_machine(volume: &PersistentVolume) -> Option<String> {
    let affinity = volume.spec.as_ref()?.node_affinity.as_ref()?;
    let mut terms = affinity.required.as_ref()?.node_selector_terms.iter();
    let expressions = terms.next()?.match_expressions.as_ref()?;
    let by_host = expressions
        .iter()
        .find(|e| e.key == "kubernetes.io/hostname" && e.operator == "In")?;
    match by_host.values.as_deref() {
        Some([only]) if terms.next().is_none() => Some(only.clone()),
        _ => None,
    }
}

/// The pods to ask, and how urgently. `going`: the murder was deleted, and whether it holds mail is never judged by
/// what was heard earlier.
pub(super) fn asked(objects: &Objects, going: bool, memory: &Memory) -> Vec<Asked> {
    let propose = objects.cluster.spec.rebalance.mode == RebalanceMode::Propose;
    let mut asked = Vec::new();
    for (name, pod) in &objects.pods {
        let Some(NodeAddress { address, tls_name }) = admin_address(pod) else {
            continue;
        };
        let backend = objects::backend_of(pod.as_ref());
        let told = backend.as_deref().is_some_and(|name| {
            let object = objects.backend(name);
            object.is_none_or(|b| b.spec.desired_state != DesiredState::Active || is_deleting(b))
        });
        let leaving = |name: &String| memory.leaving.contains(name);
        let is_frontend = pod.labels().contains_key(super::watch::FRONTEND_LABEL);
        asked.push(Asked {
            pod: name.clone(),
            address,
            tls_name,
            need: match &backend {
                _ if going => Need::Now,
                Some(name) if told || memory.unsettled.contains(name) => Need::Each,
                // Every decision rests on the master's list.
                None if !is_frontend => Need::Each,
                Some(_) | None => Need::Seldom,
            },
            units: backend
                .as_ref()
                .is_some_and(|name| propose || told || leaving(name)),
        });
    }
    asked
}

/// The admin interface of a pod; none while it has no address. Pods of a Frontend share one certificate.
pub(super) fn admin_address(pod: &Pod) -> Option<NodeAddress> {
    let ip = pod.status.as_ref()?.pod_ip.as_deref()?;
    let frontend = pod.labels().get(super::watch::FRONTEND_LABEL);
    Some(NodeAddress {
        address: SocketAddr::new(ip.parse::<IpAddr>().ok()?, ADMIN_PORT),
        tls_name: frontend.cloned().unwrap_or_else(|| pod.name_any()),
    })
}

fn is_deleting(backend: &Backend) -> bool {
    backend.metadata.deletion_timestamp.is_some()
}

fn cluster_view(cluster: &MurderCluster) -> anyhow::Result<ClusterView> {
    let spec = &cluster.spec;
    let count = |number: i32| number.unsigned_abs() as usize;
    Ok(ClusterView {
        name: cluster.name_any(),
        paused: spec.paused,
        max_concurrent_drains: count(spec.max_concurrent_drains),
        min_active: count(spec.min_active),
        parallel_per_backend: count(spec.transfer.parallel_per_backend),
        parallel_total: count(spec.transfer.parallel_total),
        attempts_max: count(spec.transfer.max_attempts),
        grace_ms: duration_ms(&spec.transfer.grace_period).context("spec.transfer.gracePeriod")?,
        headroom_percent: HEADROOM_PERCENT,
    })
}

/// Everything that decisions need.
pub(super) struct Sight<'a> {
    pub(super) objects: &'a Objects,
    pub(super) desired: &'a Desired,
    pub(super) places: &'a BTreeMap<String, Place>,
    pub(super) stores: &'a Stores,
    /// Backends by which the pool shrinks.
    pub(super) surplus: &'a [String],
    pub(super) now_ms: u64,
}

impl Sight<'_> {
    /// The world of this pass.
    pub(super) fn world(&self, memory: &mut Memory) -> anyhow::Result<World> {
        let objects = self.objects;
        let mupdate = self.desired.mupdate.as_ref().map(|rendered| {
            let name = format!("{}-mupdate", objects.key.name);
            let pod_name = format!("{name}-0");
            let servers = memory.reports.of(&pod_name).and_then(|r| r.servers.clone());
            MupdateView {
                revision: revision_of(rendered, objects.pods.get(&pod_name)),
                volume: objects.claim(&name).is_some(),
                pod: self.pod(&pod_name),
                servers,
                pod_name,
            }
        });
        let backends = objects.backends.iter();
        let backends = backends
            .map(|backend| self.backend(backend, memory))
            .collect();
        let frontends = objects.frontends.iter();
        let frontends = frontends.map(|frontend| self.frontend(&frontend.name_any()));
        Ok(World {
            now_ms: self.now_ms,
            cluster: cluster_view(&objects.cluster)?,
            mupdate,
            backends,
            frontends: frontends.collect(),
        })
    }

    fn pod(&self, name: &str) -> Option<crate::core::PodView> {
        let pod = self.objects.pods.get(name)?;
        Some(pod_view(pod, name.to_owned()))
    }

    fn backend(&self, backend: &Backend, memory: &mut Memory) -> BackendView {
        let name = backend.name_any();
        let spec = &backend.spec;
        let pod_name = format!("{name}-0");
        let claim = self.objects.claims.get(&self.objects.claim_of(&name));
        let known_id = known_server_id(backend, claim.map(AsRef::as_ref));
        let report = memory.reports.of(&pod_name).cloned().unwrap_or_default();
        let Report {
            status,
            transfers,
            units,
            ..
        } = report;
        // Another identity than the one ever seen is another server: nothing that it says is about this Backend.
        let status = status
            .and_then(|status| status.backend)
            .filter(|status| known_id.is_none_or(|id| id == status.server_id));
        let drain = memory.drains.entry(name.clone()).or_default();
        if let (Some(status), Some(transfers)) = (&status, &transfers) {
            drain.note(self.now_ms, transfers, status.units);
        }
        let generation = backend.metadata.generation;
        let forgiven = drain.forgiven(generation, transfers.as_deref().unwrap_or_default());
        let destinations = spec.destinations.clone().unwrap_or_default();
        let place = self.places.get(&name).cloned().unwrap_or_default();
        let deleting = is_deleting(backend);
        BackendView {
            wish: match spec.desired_state {
                DesiredState::Active => Wish::Active,
                DesiredState::Cordoned => Wish::Cordoned,
                DesiredState::Drained => Wish::Drained,
            },
            deleting,
            finalizer: backend.finalizers().iter().any(|f| f == FINALIZER),
            scale_in: self.surplus.contains(&name),
            evacuate: place.evacuate(),
            abandon: deleting
                && spec.deletion_policy == BackendDeletion::Abandon
                && known_id.is_some_and(|id| id.to_string() == spec.confirmation),
            delete_volume: spec.volume_retention == VolumeRetention::DeleteWhenEmpty,
            weight: spec.weight.unsigned_abs(),
            allow: destinations.allow,
            deny: destinations.deny,
            revision: self
                .desired
                .backends
                .get(&name)
                .map_or_else(String::new, |rendered| {
                    let pod = self.objects.pods.get(&pod_name);
                    // One that is left alone is not behind: it would hold up the turn of others.
                    match spec.paused {
                        true => own_revision(pod),
                        false => revision_of(rendered, pod),
                    }
                }),
            pod: self.pod(&pod_name),
            volume: volume_view(claim.map(AsRef::as_ref)),
            server_id: known_id,
            status,
            units,
            transfers,
            forgiven,
            proof: drain.proof,
            last_flip_ms: drain.last_flip_ms,
            name,
        }
    }

    /// The pods of a Deployment by their count: which one is which does not matter, an older one counts first.
    fn frontend(&self, name: &str) -> FrontendView {
        let object = self.objects.frontend(name);
        let rendered = self
            .desired
            .frontends
            .get(name)
            .and_then(|r| r.as_ref().ok());
        let revision = rendered.map(|r| r.revision.clone()).unwrap_or_default();
        let set = self
            .stores
            .whole("Deployment", &self.objects.key.namespace, name);
        let told = set.and_then(|set| set.data.pointer("/spec/replicas")?.as_u64());
        let told = usize::try_from(told.unwrap_or(0)).unwrap_or(usize::MAX);
        let pods = self
            .objects
            .frontend_pods(name, &revision)
            .into_iter()
            .take(told);
        let pods = pods
            .enumerate()
            .map(|(index, pod)| pod_view(pod, format!("{name}-{index}")))
            .collect();
        FrontendView {
            name: name.to_owned(),
            replicas: object.map_or(0, |f| f.spec.replicas.unsigned_abs() as usize),
            deleting: object.is_none_or(|f| f.metadata.deletion_timestamp.is_some()),
            revision,
            pods,
        }
    }
}

/// The revision that a pod should have: its own, as long as none can be rendered.
fn revision_of(rendered: &Result<Rendered, String>, pod: Option<&std::sync::Arc<Pod>>) -> String {
    match rendered {
        Ok(rendered) => rendered.revision.clone(),
        Err(_) => own_revision(pod),
    }
}

/// The revision that a pod has.
fn own_revision(pod: Option<&std::sync::Arc<Pod>>) -> String {
    pod.and_then(|pod| pod.annotations().get(objects::REVISION).cloned())
        .unwrap_or_default()
}

/// The identity ever seen on a Backend's volume: noted on the claim, and in the status.
pub(super) fn known_server_id(
    backend: &Backend,
    claim: Option<&PersistentVolumeClaim>,
) -> Option<ServerId> {
    let on_claim = claim.and_then(|claim| claim.annotations().get(SERVER_ID)?.parse().ok());
    let adopted = backend.spec.adopt_volume.as_ref();
    let adopted = || adopted.and_then(|volume| volume.server_id.parse().ok());
    let in_status = || backend.status.as_ref()?.server_id.as_ref()?.parse().ok();
    // Without a claim the identity in the status is that of a volume that is gone.
    on_claim
        .or_else(adopted)
        .or_else(|| claim.and_then(|_| in_status()))
}

fn volume_view(claim: Option<&PersistentVolumeClaim>) -> VolumeView {
    let Some(claim) = claim else {
        return VolumeView::Absent;
    };
    if !claim.annotations().contains_key(RETIRED) {
        return VolumeView::Present;
    }
    let after = claim.annotations().get(DELETE_AFTER);
    VolumeView::Retired {
        delete_after_ms: after.and_then(|text| text.parse().ok()),
    }
}
