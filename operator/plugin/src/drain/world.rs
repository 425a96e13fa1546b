//! The world as the operator's decisions see it, from the objects and from what nodes answered just now.

use kube::ResourceExt as _;
use murder_operator::core::{
    BackendView, ClusterView, MupdateView, PodView, VolumeView, Wish, World,
};
use murder_operator::crd::{Backend, DesiredState, MurderCluster};

use crate::murder::{self, Murder};
use crate::nodes::Answers;

/// The world as it would be once a Backend was told to be drained and had been cordoned.
pub(super) fn of_drain(murder: &Murder, answers: &Answers, name: &str) -> World {
    let mut world = of(murder, answers);
    for backend in world
        .backends
        .iter_mut()
        .filter(|backend| backend.name == name)
    {
        backend.wish = Wish::Drained;
        if let Some(status) = &mut backend.status {
            status.cordoned = true;
        }
    }
    let servers = world
        .mupdate
        .iter_mut()
        .flat_map(|mupdate| &mut mupdate.servers);
    for server in servers
        .flatten()
        .filter(|server| server.server.as_str() == name)
    {
        server.cordoned = true;
    }
    world
}

/// The world as it is.
fn of(murder: &Murder, answers: &Answers) -> World {
    let mupdate = murder.master_pod().map(|pod_name| MupdateView {
        volume: true,
        pod: pod(murder, &pod_name),
        servers: answers
            .get(&pod_name)
            .and_then(|heard| heard.servers.clone()),
        pod_name,
        revision: String::new(),
    });
    World {
        now_ms: 0,
        cluster: cluster(&murder.cluster),
        mupdate,
        backends: murder
            .backends
            .iter()
            .map(|found| backend(murder, answers, found))
            .collect(),
        frontends: Vec::new(),
    }
}

fn cluster(cluster: &MurderCluster) -> ClusterView {
    let spec = &cluster.spec;
    let size = |number: i32| usize::try_from(number).unwrap_or(0);
    ClusterView {
        name: cluster.name_any(),
        // A plan for when the pause is over.
        paused: false,
        max_concurrent_drains: size(spec.max_concurrent_drains),
        min_active: size(spec.min_active),
        parallel_per_backend: size(spec.transfer.parallel_per_backend),
        parallel_total: size(spec.transfer.parallel_total),
        attempts_max: size(spec.transfer.max_attempts),
        ..ClusterView::default()
    }
}

fn backend(murder: &Murder, answers: &Answers, backend: &Backend) -> BackendView {
    let name = backend.name_any();
    let heard = answers.get(&murder::pod_of(&name));
    let spec = &backend.spec;
    let destinations = spec.destinations.clone().unwrap_or_default();
    let status = heard.and_then(|heard| heard.status.as_ref());
    let status = status.and_then(|status| status.backend.clone());
    BackendView {
        wish: match spec.desired_state {
            DesiredState::Active => Wish::Active,
            DesiredState::Cordoned => Wish::Cordoned,
            DesiredState::Drained => Wish::Drained,
        },
        deleting: backend.metadata.deletion_timestamp.is_some(),
        finalizer: true,
        weight: spec.weight.unsigned_abs(),
        allow: destinations.allow,
        deny: destinations.deny,
        pod: pod(murder, &murder::pod_of(&name)),
        volume: VolumeView::Present,
        server_id: status.as_ref().map(|status| status.server_id),
        status,
        units: heard.and_then(|heard| heard.units.clone()),
        transfers: heard.and_then(|heard| heard.transfers.clone()),
        name,
        ..BackendView::default()
    }
}

fn pod(murder: &Murder, name: &str) -> Option<PodView> {
    let pod = murder.pod(name)?;
    let ready = murder::is_ready(pod);
    Some(PodView {
        name: name.to_owned(),
        revision: String::new(),
        ready,
        was_ready: ready,
    })
}
