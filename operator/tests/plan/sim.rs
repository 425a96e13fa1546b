//! A platform in virtual time on which every step succeeds at once and a transfer takes two passes.

use std::collections::BTreeMap;

use murder_api::admin::{
    BackendStatus, PartitionStatus, ServerStatus, TransferPhase, TransferStatus, UnitSummary,
};
use murder_model::{
    Epoch, Incarnation, MoveId, PartitionName, RootName, ServerId, ServerName, UnitId,
};
use murder_operator::core::{
    Action, BackendView, ClusterView, DrainReport, DrainState, FrontendView, Kind, MupdateView,
    Plan, PodView, Proof, Step, Trace, VolumeView, World, plan,
};

pub(crate) const GIB: u64 = 1 << 30;
/// More passes than anything here takes.
const PASSES_MAX: usize = 200;

pub(crate) struct Sim {
    pub(crate) world: World,
    pub(crate) trace: Trace,
    /// Identities on volumes, by Backend.
    pub(crate) volumes: BTreeMap<String, ServerId>,
    volumes_made: u8,
}

pub(crate) fn backend(name: &str) -> BackendView {
    BackendView {
        name: name.to_owned(),
        weight: 100,
        revision: "r1".to_owned(),
        ..BackendView::default()
    }
}

fn status(server_id: ServerId) -> BackendStatus {
    BackendStatus {
        server_id,
        incarnation: Incarnation::new(1),
        cordoned: false,
        deactivated: false,
        units: 0,
        units_in_doubt: 0,
        units_staged: 0,
        units_grace: 0,
        mailboxes: 0,
        messages: 0,
        bytes: 0,
        outbox: 0,
        held: 0,
        transfer_bytes_per_second: 0,
        partitions: vec![PartitionStatus {
            name: PartitionName::parse("default").unwrap(),
            free_bytes: 10 * GIB,
            total_bytes: 10 * GIB,
            failed: None,
        }],
    }
}

fn row(name: &str, server_id: ServerId) -> ServerStatus {
    ServerStatus {
        server: ServerName::parse(name).unwrap(),
        server_id,
        incarnation: Incarnation::new(1),
        cordoned: false,
        retired: false,
        blocked: false,
        units: 0,
        names: 0,
    }
}

pub(crate) fn unit(name: &str, bytes: u64) -> UnitSummary {
    UnitSummary {
        unit: UnitId::from_bytes([1; 16]),
        root: RootName::parse(&format!("user.{name}")).unwrap(),
        partition: PartitionName::parse("default").unwrap(),
        state: "Owner".to_owned(),
        epoch: Epoch::new(1),
        mailboxes: 3,
        messages: 10,
        bytes,
    }
}

pub(crate) fn transfer(move_id: MoveId, root: &str, to: &str) -> TransferStatus {
    TransferStatus {
        move_id,
        root: RootName::parse(root).unwrap(),
        destination: ServerName::parse(to).unwrap(),
        phase: TransferPhase::Queued,
        attempts: 1,
        mailboxes: 3,
        bytes_sent: 0,
        bytes_total: 0,
        freeze_ms: 0,
        error: None,
    }
}

/// The id of a transfer that an operator started.
pub(crate) fn our_id(number: u8) -> MoveId {
    let mut bytes = [number; 16];
    bytes[..4].copy_from_slice(b"oper");
    MoveId::from_bytes(bytes)
}

/// The id of a transfer that a node began for an administrator's XFER.
pub(crate) fn xfer_id(number: u8) -> MoveId {
    let mut bytes = [number; 16];
    bytes[..6].copy_from_slice(&[0, 0, 0, 0, 0, 1]);
    MoveId::from_bytes(bytes)
}

fn pod_view(name: &str) -> PodView {
    PodView {
        name: name.to_owned(),
        revision: "r1".to_owned(),
        ready: true,
        was_ready: true,
    }
}

pub(crate) fn report<'a>(plan: &'a Plan, name: &str) -> &'a DrainReport {
    let mut drains = plan.drains.iter();
    drains.find(|drain| drain.backend == name).unwrap()
}

pub(crate) fn drain_state(plan: &Plan, name: &str) -> DrainState {
    report(plan, name).state
}

impl Sim {
    pub(crate) fn new(backends: &[&str]) -> Self {
        let mupdate = MupdateView {
            pod_name: "mc-mupdate-0".to_owned(),
            revision: "r1".to_owned(),
            servers: Some(Vec::new()),
            ..MupdateView::default()
        };
        let frontend = FrontendView {
            name: "fe".to_owned(),
            replicas: 2,
            ..FrontendView::default()
        };
        let world = World {
            now_ms: 1_000_000,
            cluster: ClusterView {
                name: "mc".to_owned(),
                ..ClusterView::default()
            },
            mupdate: Some(mupdate),
            backends: backends.iter().map(|name| backend(name)).collect(),
            frontends: vec![frontend],
        };
        Self {
            world,
            trace: Trace::default(),
            volumes: BTreeMap::new(),
            volumes_made: 0,
        }
    }

    /// Three backends that serve, the first with users.
    pub(crate) fn running(users: &[(&str, u64)]) -> Self {
        let mut sim = Self::new(&["be-a", "be-b", "be-c"]);
        assert!(sim.run().converged);
        sim.give("be-a", users);
        sim.trace.clear();
        sim
    }

    /// A single unified server, which has no master.
    pub(crate) fn alone() -> Self {
        let mut sim = Self::new(&["be-a"]);
        sim.world.mupdate = None;
        sim.world.frontends.clear();
        assert!(sim.run().converged);
        sim
    }

    pub(crate) fn give(&mut self, name: &str, users: &[(&str, u64)]) {
        let units = self.get(name).units.get_or_insert_default();
        units.extend(users.iter().map(|(name, bytes)| unit(name, *bytes)));
        self.recount();
    }

    pub(crate) fn get(&mut self, name: &str) -> &mut BackendView {
        let mut backends = self.world.backends.iter_mut();
        backends.find(|backend| backend.name == name).unwrap()
    }

    pub(crate) fn status(&mut self, name: &str) -> &mut BackendStatus {
        self.get(name).status.as_mut().unwrap()
    }

    pub(crate) fn transfers(&mut self, name: &str) -> &mut Vec<TransferStatus> {
        self.get(name).transfers.as_mut().unwrap()
    }

    pub(crate) fn rows(&mut self) -> &mut Vec<ServerStatus> {
        let mupdate = self.world.mupdate.as_mut().unwrap();
        mupdate.servers.as_mut().unwrap()
    }

    /// The row of the server that lives on a Backend's volume.
    pub(crate) fn row(&mut self, name: &str) -> &mut ServerStatus {
        let id = self.volumes[name];
        let mut rows = self.rows().iter_mut();
        rows.find(|row| row.server_id == id).unwrap()
    }

    /// Passes until converged or nothing changes any more.
    pub(crate) fn run(&mut self) -> Plan {
        for _ in 0..PASSES_MAX {
            let (plan, stuck) = self.pass();
            if plan.converged || stuck {
                return plan;
            }
        }
        panic!("never settles: {:#?}", self.trace.lines());
    }

    /// Passes until a step of this name was taken.
    pub(crate) fn run_until(&mut self, action: &str) {
        for _ in 0..PASSES_MAX {
            let (plan, _) = self.pass();
            if plan.steps.iter().any(|step| step.action.name() == action) {
                return;
            }
        }
        panic!("never takes {action}: {:#?}", self.trace.lines());
    }

    pub(crate) fn plan(&self) -> Plan {
        plan(&self.world)
    }

    pub(crate) fn pass(&mut self) -> (Plan, bool) {
        let plan = plan(&self.world);
        for step in &plan.steps {
            self.trace.record(step);
            self.apply(step);
        }
        let running = self.tick();
        let waits = plan.next_ms.is_some_and(|at| at > self.world.now_ms);
        self.world.now_ms = plan.next_ms.unwrap_or(self.world.now_ms + 500);
        let blocked = plan.blocked().is_some() || !waits;
        let stuck = plan.steps.is_empty() && !running && blocked;
        (plan, stuck)
    }

    pub(crate) fn apply(&mut self, step: &Step) {
        if step.kind != Kind::Backend {
            return self.apply_to_others(step);
        }
        let now_ms = self.world.now_ms;
        let name = step.object.clone();
        match &step.action {
            Action::AddFinalizer => self.get(&name).finalizer = true,
            Action::CreateVolume => {
                self.volumes_made += 1;
                let id = ServerId::from_bytes([self.volumes_made; 16]);
                self.volumes.insert(name.clone(), id);
                self.get(&name).volume = VolumeView::Present;
            }
            Action::StartPod { pod } => self.start(&name, pod),
            Action::CordonNode { cordoned } => {
                let status = self.status(&name);
                status.cordoned = *cordoned;
                status.deactivated &= *cordoned;
            }
            Action::CordonServer { cordoned } => self.row(&name).cordoned = *cordoned,
            Action::StartTransfer {
                move_id,
                root,
                destination,
            } => {
                let started = transfer(*move_id, root.as_str(), destination.as_str());
                let transfers = self.transfers(&name);
                // The same call twice is one transfer, also when it has ended.
                if !transfers.iter().any(|known| known.move_id == *move_id) {
                    transfers.push(started);
                }
            }
            Action::CancelTransfer { move_id } => self.cancel(&name, *move_id),
            Action::RecordProof { server_id } => {
                let (at_ms, server_id) = (now_ms, *server_id);
                self.get(&name).proof = Some(Proof { at_ms, server_id });
            }
            Action::DropProof => self.get(&name).proof = None,
            Action::Deactivate => {
                let status = self.status(&name);
                (status.cordoned, status.deactivated) = (true, true);
            }
            Action::Reactivate => {
                let status = self.status(&name);
                (status.cordoned, status.deactivated) = (false, false);
            }
            Action::Retire { server_id } => {
                let row = self.row(&name);
                assert_eq!((row.server_id, row.units), (*server_id, 0));
                row.retired = true;
            }
            Action::RetireVolume { delete_after_ms } => {
                let delete_after_ms = *delete_after_ms;
                self.get(&name).volume = VolumeView::Retired { delete_after_ms };
            }
            Action::StopPod { .. } => {
                let backend = self.get(&name);
                (backend.pod, backend.status) = (None, None);
                (backend.units, backend.transfers) = (None, None);
            }
            Action::RestartPod { .. } => {
                self.get(&name).pod.as_mut().unwrap().revision = "r2".to_owned();
            }
            Action::ReleaseVolume | Action::DeleteVolume => {
                let backend = self.get(&name);
                backend.volume = VolumeView::Absent;
                (backend.server_id, backend.proof) = (None, None);
            }
            Action::RemoveFinalizer => self.world.backends.retain(|b| b.name != name),
        }
    }

    /// A node starts and, if there is a master, registers.
    fn start(&mut self, name: &str, pod: &str) {
        let id = self.volumes[name];
        let backend = self.get(name);
        backend.pod = Some(pod_view(pod));
        backend.status = Some(status(id));
        backend.server_id = Some(id);
        (backend.units, backend.transfers) = (Some(Vec::new()), Some(Vec::new()));
        if self.world.mupdate.is_some() {
            self.rows().push(row(name, id));
        }
    }

    fn apply_to_others(&mut self, step: &Step) {
        let mupdate = self.world.mupdate.as_mut().unwrap();
        match (&step.action, step.kind) {
            (Action::CreateVolume, _) => mupdate.volume = true,
            (Action::StartPod { pod }, Kind::Frontend) => {
                self.world.frontends[0].pods.push(PodView {
                    revision: String::new(),
                    ..pod_view(pod)
                });
            }
            (Action::StopPod { pod }, Kind::Frontend) => {
                let pods = &mut self.world.frontends[0].pods;
                pods.retain(|found| found.name != *pod);
            }
            (Action::StartPod { pod }, _) => mupdate.pod = Some(pod_view(pod)),
            (Action::RestartPod { .. }, _) => {
                mupdate.pod.as_mut().unwrap().revision = "r2".to_owned();
            }
            (other, _) => panic!("not expected: {other:?}"),
        }
    }
}
