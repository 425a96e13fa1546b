//! The plan: what to do now, in order, and when to look again.

use std::fmt;

use murder_model::{MoveId, RootName, ServerId, ServerName};

use super::drain::{self, DrainReport, DrainState, POLL_MS};
use super::observe::{BackendView, FrontendView, MupdateView, PodView, VolumeView, World};
use super::placement::is_running;
use super::settled::{backend_is_settled, is_settled};

/// Kind of the object that a step is about.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// A Backend.
    Backend,
    /// A Frontend.
    Frontend,
    /// The murder with its mupdate master.
    MurderCluster,
}

/// Why a step is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// Something is missing.
    Create,
    /// The object was deleted.
    Delete,
    /// The machine goes away.
    NodeDrain,
    /// There is more than wished.
    ScaleIn,
    /// The object says so.
    Spec,
    /// A drain was withdrawn.
    TakenBack,
    /// The settings differ.
    Update,
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Hold the object until its server is gone.
    AddFinalizer,
    /// Let the object go.
    RemoveFinalizer,
    /// Make the volume.
    CreateVolume,
    /// Start a pod that is missing.
    StartPod {
        /// Its name.
        pod: String,
    },
    /// Stop a pod for good.
    StopPod {
        /// Its name.
        pod: String,
    },
    /// Start a pod again with other settings.
    RestartPod {
        /// Its name.
        pod: String,
    },
    /// Tell the master whether the server gets new units.
    CordonServer {
        /// Whether it gets none.
        cordoned: bool,
    },
    /// Tell the node whether it takes new units.
    CordonNode {
        /// Whether it takes none.
        cordoned: bool,
    },
    /// Start moving a unit.
    StartTransfer {
        /// The transfer.
        move_id: MoveId,
        /// The unit.
        root: RootName,
        /// Where to.
        destination: ServerName,
    },
    /// Withdraw a transfer.
    CancelTransfer {
        /// The transfer.
        move_id: MoveId,
    },
    /// Keep in mind that the server was seen empty.
    RecordProof {
        /// The server.
        server_id: ServerId,
    },
    /// Forget that the server was seen empty.
    DropProof,
    /// Tell the node to serve nothing.
    Deactivate,
    /// Tell the node to serve again.
    Reactivate,
    /// End the server's identity for ever.
    Retire {
        /// The server.
        server_id: ServerId,
    },
    /// Mark the volume as that of a retired server.
    RetireVolume {
        /// When it may be deleted, if it may.
        delete_after_ms: Option<u64>,
    },
    /// Give the volume out of our hands, with its data.
    ReleaseVolume,
    /// Delete the volume with its data.
    DeleteVolume,
}

impl Action {
    /// Its name in traces, logs and events.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AddFinalizer => "AddFinalizer",
            Self::RemoveFinalizer => "RemoveFinalizer",
            Self::CreateVolume => "CreateVolume",
            Self::StartPod { .. } => "StartPod",
            Self::StopPod { .. } => "StopPod",
            Self::RestartPod { .. } => "RestartPod",
            Self::CordonServer { cordoned: true } => "CordonServer",
            Self::CordonServer { cordoned: false } => "UncordonServer",
            Self::CordonNode { cordoned: true } => "CordonNode",
            Self::CordonNode { cordoned: false } => "UncordonNode",
            Self::StartTransfer { .. } => "StartTransfer",
            Self::CancelTransfer { .. } => "CancelTransfer",
            Self::RecordProof { .. } => "RecordProof",
            Self::DropProof => "DropProof",
            Self::Deactivate => "Deactivate",
            Self::Reactivate => "Reactivate",
            Self::Retire { .. } => "Retire",
            Self::RetireVolume { .. } => "RetireVolume",
            Self::ReleaseVolume => "ReleaseVolume",
            Self::DeleteVolume => "DeleteVolume",
        }
    }
}

/// One thing to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// Kind of the object.
    pub kind: Kind,
    /// Name of the object.
    pub object: String,
    /// What to do.
    pub action: Action,
    /// Why.
    pub reason: Reason,
}

/// The line of a trace: without times and ids, so that it is equal on all platforms.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            object,
            action,
            reason,
        } = self;
        write!(f, "{kind:?}/{object} {} {reason:?}", action.name())
    }
}

/// What to do now, and when to look again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// How far each Backend's drain is, by name.
    pub drains: Vec<DrainReport>,
    /// When to look again even if nothing is heard, in the world's time.
    pub next_ms: Option<u64>,
    /// Whether the world is as wished.
    pub converged: bool,
}

impl Plan {
    /// Whether some drain needs help.
    pub fn blocked(&self) -> Option<&DrainReport> {
        self.drains
            .iter()
            .find(|drain| matches!(drain.state, DrainState::Blocked(_)))
    }
}

/// A plan in the making.
pub(super) struct Pass<'a> {
    pub(super) world: &'a World,
    pub(super) transfers_left: usize,
    steps: Vec<Step>,
    next_ms: Option<u64>,
}

impl Pass<'_> {
    pub(super) fn reason(backend: &BackendView) -> Reason {
        if backend.deleting {
            Reason::Delete
        } else if backend.scale_in {
            Reason::ScaleIn
        } else if backend.evacuate {
            Reason::NodeDrain
        } else {
            Reason::Spec
        }
    }

    pub(super) fn backend(&mut self, backend: &BackendView, action: Action) {
        self.step(backend, action, Self::reason(backend));
    }

    pub(super) fn step(&mut self, backend: &BackendView, action: Action, reason: Reason) {
        self.push(Kind::Backend, &backend.name, action, reason);
    }

    fn push(&mut self, kind: Kind, object: &str, action: Action, reason: Reason) {
        let object = object.to_owned();
        self.steps.push(Step {
            kind,
            object,
            action,
            reason,
        });
    }

    pub(super) fn wake_in(&mut self, ms: u64) {
        let at = self.world.now_ms + ms;
        self.next_ms = Some(self.next_ms.map_or(at, |next| next.min(at)));
    }
}

/// Decides what to do. The order of the world's lists does not matter.
pub fn plan(world: &World) -> Plan {
    let world = world.sorted();
    if world.cluster.paused {
        return Plan {
            converged: true,
            ..Plan::default()
        };
    }
    let running = world
        .backends
        .iter()
        .flat_map(|backend| backend.transfers.iter().flatten())
        .filter(|transfer| is_running(transfer.phase))
        .count();
    let mut pass = Pass {
        world: &world,
        transfers_left: world.cluster.parallel_total.saturating_sub(running),
        steps: Vec::new(),
        next_ms: None,
    };
    if let Some(mupdate) = &world.mupdate {
        ensure_mupdate(&mut pass, mupdate);
    }
    for backend in &world.backends {
        ensure_backend(&mut pass, backend);
    }
    for frontend in &world.frontends {
        ensure_frontend(&mut pass, frontend);
    }
    update_one(&mut pass);
    let turns = drain::turns(&world);
    let drains: Vec<DrainReport> = world
        .backends
        .iter()
        .map(|backend| {
            let mut report = drain::steps(&mut pass, backend, turns.contains(&backend.name));
            report.settled = backend_is_settled(&world, backend, &report);
            report
        })
        .collect();
    let converged = pass.steps.is_empty() && is_settled(&world, &drains);
    if !converged {
        pass.wake_in(POLL_MS);
    }
    Plan {
        steps: pass.steps,
        drains,
        next_ms: pass.next_ms,
        converged,
    }
}

fn ensure_mupdate(pass: &mut Pass<'_>, mupdate: &MupdateView) {
    let cluster = pass.world.cluster.name.clone();
    if !mupdate.volume {
        pass.push(
            Kind::MurderCluster,
            &cluster,
            Action::CreateVolume,
            Reason::Create,
        );
    }
    if mupdate.pod.is_none() {
        let pod = mupdate.pod_name.clone();
        pass.push(
            Kind::MurderCluster,
            &cluster,
            Action::StartPod { pod },
            Reason::Create,
        );
    }
}

fn ensure_backend(pass: &mut Pass<'_>, backend: &BackendView) {
    let is_new = backend.volume == VolumeView::Absent;
    if drain::is_retired(pass.world, backend) || (backend.is_going() && is_new) {
        return;
    }
    if !backend.finalizer && !backend.is_going() {
        pass.step(backend, Action::AddFinalizer, Reason::Create);
    }
    if is_new {
        pass.step(backend, Action::CreateVolume, Reason::Create);
    }
    if backend.pod.is_none() {
        let pod = backend.pod_name();
        pass.step(backend, Action::StartPod { pod }, Reason::Create);
    }
}

/// Names of the pods that a Frontend should have.
fn wanted_pods(frontend: &FrontendView) -> Vec<String> {
    let count = if frontend.deleting {
        0
    } else {
        frontend.replicas
    };
    (0..count)
        .map(|index| format!("{}-{index}", frontend.name))
        .collect()
}

fn ensure_frontend(pass: &mut Pass<'_>, frontend: &FrontendView) {
    let wanted = wanted_pods(frontend);
    for pod in &wanted {
        if !frontend.pods.iter().any(|found| found.name == *pod) {
            let action = Action::StartPod { pod: pod.clone() };
            pass.push(Kind::Frontend, &frontend.name, action, Reason::Create);
        }
    }
    let reason = if frontend.deleting {
        Reason::Delete
    } else {
        Reason::ScaleIn
    };
    for pod in frontend
        .pods
        .iter()
        .filter(|pod| !wanted.contains(&pod.name))
    {
        let action = Action::StopPod {
            pod: pod.name.clone(),
        };
        pass.push(Kind::Frontend, &frontend.name, action, reason);
    }
    if frontend.deleting && frontend.pods.is_empty() {
        pass.push(
            Kind::Frontend,
            &frontend.name,
            Action::RemoveFinalizer,
            reason,
        );
    }
}

/// A pod and what its settings should be.
struct Staying<'a> {
    kind: Kind,
    object: &'a str,
    pod: &'a PodView,
    revision: &'a str,
    /// Whether something is lost if it is started again. That of a Frontend is with all its pods.
    serves: bool,
}

/// The pods that stay: those of backends, then mupdate's, then those of Frontends.
fn staying<'a>(world: &'a World) -> Vec<Staying<'a>> {
    let pod_of = |kind, object: &'a str, pod: &'a PodView, revision: &'a str, serves| Staying {
        kind,
        object,
        pod,
        revision,
        serves,
    };
    let mut pods = Vec::new();
    for backend in &world.backends {
        if let Some(pod) = &backend.pod
            && !drain::is_retired(world, backend)
        {
            let (name, revision) = (&backend.name, &backend.revision);
            pods.push(pod_of(Kind::Backend, name, pod, revision, pod.ready));
        }
    }
    if let Some(mupdate) = &world.mupdate
        && let Some(pod) = &mupdate.pod
    {
        let (name, revision) = (&world.cluster.name, &mupdate.revision);
        pods.push(pod_of(Kind::MurderCluster, name, pod, revision, pod.ready));
    }
    for frontend in &world.frontends {
        let (name, revision) = (&frontend.name, &frontend.revision);
        let wanted = wanted_pods(frontend);
        let serves = frontend.pods.iter().any(|pod| pod.ready);
        let kept = frontend.pods.iter();
        let kept = kept.filter(|pod| wanted.contains(&pod.name));
        pods.extend(kept.map(|pod| pod_of(Kind::Frontend, name, pod, revision, serves)));
    }
    pods
}

/// New settings: what does not serve gets them at once, since they may be the cure, however much is down. What serves
/// gets them one pod at a time, backends before mupdate before frontends, and only while all others serve.
fn update_one(pass: &mut Pass<'_>) {
    let world = pass.world;
    let mut restarting = false;
    let mut servers_behind = false;
    for Staying {
        kind,
        object,
        pod,
        revision,
        serves,
    } in staying(world)
    {
        if pod.revision == revision {
            continue;
        }
        let early = kind == Kind::Frontend && servers_behind;
        servers_behind |= kind != Kind::Frontend;
        if serves && (early || restarting || !others_serve(world, pod)) {
            continue;
        }
        restarting |= serves;
        let action = Action::RestartPod {
            pod: pod.name.clone(),
        };
        pass.push(kind, object, action, Reason::Update);
    }
}

/// Whether every pod but one serves that should, none missing. One that is down until the turn of its Frontend, of which
/// others serve, holds up only those.
fn others_serve(world: &World, but: &PodView) -> bool {
    let serves = |pod: &PodView| pod.ready || pod.name == but.name;
    let ready = |pod: &Option<PodView>| pod.as_ref().is_some_and(serves);
    let silenced = |backend: &BackendView| {
        let status = backend.status.as_ref();
        status.is_some_and(|status| status.deactivated)
    };
    let gone = |backend: &BackendView| {
        let without_volume = backend.is_going() && backend.volume == VolumeView::Absent;
        drain::is_retired(world, backend) || without_volume
    };
    let backend_serves =
        |backend: &BackendView| ready(&backend.pod) || silenced(backend) || gone(backend);
    let frontend_serves = |frontend: &FrontendView| {
        let some = frontend.pods.iter().any(|pod| pod.ready);
        let spared = some && !(but.ready && frontend.pods.contains(but));
        let waits = |pod: &PodView| spared && pod.revision != frontend.revision;
        let mut pods = frontend.pods.iter();
        frontend.pods.len() >= frontend.replicas && pods.all(|pod| serves(pod) || waits(pod))
    };
    world.mupdate.iter().all(|mupdate| ready(&mupdate.pod))
        && world.backends.iter().all(backend_serves)
        && world.frontends.iter().all(frontend_serves)
}
