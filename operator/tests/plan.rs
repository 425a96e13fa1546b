//! Plans against a simulated platform in virtual time: what is done, in which order, and why.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use murder_api::admin::{
    BackendStatus, PartitionStatus, ServerStatus, TransferPhase, TransferStatus, UnitSummary,
};
use murder_model::{
    Epoch, Incarnation, MoveId, PartitionName, RootName, ServerId, ServerName, UnitId,
};
use murder_operator::core::{
    Action, BackendView, Blocked, ClusterView, DrainState, FrontendView, Kind, MupdateView, Plan,
    PodView, Proof, Step, VolumeView, Wish, World, plan,
};
use proptest::prelude::*;

const GIB: u64 = 1 << 30;

/// A platform on which every step succeeds at once and a transfer takes two passes.
struct Sim {
    world: World,
    trace: Vec<String>,
}

fn server_id(number: u8) -> ServerId {
    ServerId::from_bytes([number; 16])
}

fn backend(name: &str) -> BackendView {
    let revision = "r1".to_owned();
    BackendView {
        name: name.to_owned(),
        weight: 100,
        revision,
        ..BackendView::default()
    }
}

fn status(number: u8) -> BackendStatus {
    BackendStatus {
        server_id: server_id(number),
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
        partitions: vec![PartitionStatus {
            name: PartitionName::parse("default").unwrap(),
            free_bytes: 10 * GIB,
            total_bytes: 10 * GIB,
            failed: None,
        }],
    }
}

fn unit(name: &str, bytes: u64) -> UnitSummary {
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

impl Sim {
    fn new(backends: &[&str]) -> Self {
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
            trace: Vec::new(),
        }
    }

    /// Three backends that serve, the first with users.
    fn running(users: &[(&str, u64)]) -> Self {
        let mut sim = Self::new(&["be-a", "be-b", "be-c"]);
        sim.run();
        for (name, bytes) in users {
            sim.get("be-a")
                .units
                .get_or_insert_default()
                .push(unit(name, *bytes));
        }
        sim.recount();
        sim.trace.clear();
        sim
    }

    fn get(&mut self, name: &str) -> &mut BackendView {
        self.world
            .backends
            .iter_mut()
            .find(|backend| backend.name == name)
            .unwrap()
    }

    fn row(&mut self, name: &str) -> &mut ServerStatus {
        let servers = self
            .world
            .mupdate
            .as_mut()
            .unwrap()
            .servers
            .as_mut()
            .unwrap();
        servers
            .iter_mut()
            .find(|row| row.server.as_str() == name)
            .unwrap()
    }

    /// Passes until converged or nothing changes any more.
    fn run(&mut self) -> Plan {
        for _ in 0..200 {
            let (plan, stuck) = self.pass();
            if plan.converged || stuck {
                return plan;
            }
        }
        panic!("never settles: {:?}", self.trace);
    }

    fn pass(&mut self) -> (Plan, bool) {
        let plan = plan(&self.world);
        for step in &plan.steps {
            self.trace.push(step.to_string());
            self.apply(step);
        }
        let running = self.tick();
        let waits = plan.next_ms.is_some_and(|at| at > self.world.now_ms);
        self.world.now_ms = plan.next_ms.unwrap_or(self.world.now_ms + 500);
        let blocked = plan.blocked().is_some() || !waits;
        let stuck = plan.steps.is_empty() && !running && blocked;
        (plan, stuck)
    }

    fn apply(&mut self, step: &Step) {
        if step.kind != Kind::Backend {
            return self.apply_to_others(step);
        }
        let now_ms = self.world.now_ms;
        let number = step.object.as_bytes()[3];
        let backend = self.get(&step.object);
        match &step.action {
            Action::AddFinalizer => backend.finalizer = true,
            Action::CreateVolume => backend.volume = VolumeView::Present,
            Action::StartPod { pod } => {
                backend.pod = Some(pod_view(pod));
                backend.status = Some(status(number));
                backend.server_id = Some(server_id(number));
                let row = ServerStatus {
                    server: ServerName::parse(&step.object).unwrap(),
                    server_id: server_id(number),
                    incarnation: Incarnation::new(1),
                    cordoned: false,
                    retired: false,
                    units: 0,
                    names: 0,
                };
                let mupdate = self.world.mupdate.as_mut().unwrap();
                mupdate.servers.as_mut().unwrap().push(row);
            }
            Action::CordonNode { cordoned } => {
                backend.status.as_mut().unwrap().cordoned = *cordoned;
            }
            Action::CordonServer { cordoned } => self.row(&step.object).cordoned = *cordoned,
            Action::StartTransfer {
                move_id,
                root,
                destination,
            } => {
                backend
                    .transfers
                    .push(transfer(*move_id, root, destination));
            }
            Action::CancelTransfer { move_id } => {
                let mut transfers = backend.transfers.iter_mut();
                let found = transfers
                    .find(|transfer| transfer.move_id == *move_id)
                    .unwrap();
                found.phase = TransferPhase::Cancelled;
            }
            Action::RecordProof { server_id } => {
                backend.proof = Some(Proof {
                    at_ms: now_ms,
                    server_id: *server_id,
                });
            }
            Action::Deactivate => backend.status.as_mut().unwrap().deactivated = true,
            Action::Reactivate => {
                let status = backend.status.as_mut().unwrap();
                (status.deactivated, status.cordoned) = (false, false);
            }
            Action::Retire { .. } => self.row(&step.object).retired = true,
            Action::RetireVolume { delete_after_ms } => {
                backend.volume = VolumeView::Retired {
                    delete_after_ms: *delete_after_ms,
                };
            }
            Action::StopPod { .. } => (backend.pod, backend.status) = (None, None),
            Action::RestartPod { .. } => backend.pod.as_mut().unwrap().revision = "r2".to_owned(),
            Action::ReleaseVolume | Action::DeleteVolume => backend.volume = VolumeView::Absent,
            Action::RemoveFinalizer => self.world.backends.retain(|b| b.name != step.object),
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
                self.world.frontends[0]
                    .pods
                    .retain(|found| found.name != *pod);
            }
            (Action::StartPod { pod }, _) => mupdate.pod = Some(pod_view(pod)),
            (Action::RestartPod { .. }, _) => {
                mupdate.pod.as_mut().unwrap().revision = "r2".to_owned();
            }
            (other, _) => panic!("not expected: {other:?}"),
        }
    }

    /// Transfers go on; says whether any runs.
    fn tick(&mut self) -> bool {
        let mut flips = Vec::new();
        let mut running = false;
        for backend in &mut self.world.backends {
            for transfer in &mut backend.transfers {
                match transfer.phase {
                    TransferPhase::Queued => {
                        transfer.phase = TransferPhase::Copying;
                        running = true;
                    }
                    TransferPhase::Copying => {
                        transfer.phase = TransferPhase::Done;
                        running = true;
                        let to = transfer.destination.as_str().to_owned();
                        flips.push((backend.name.clone(), to, transfer.root.clone()));
                    }
                    _ => {}
                }
            }
        }
        for (from, to, root) in flips {
            let units = self.get(&from).units.as_mut().unwrap();
            let at = units.iter().position(|unit| unit.root == root).unwrap();
            let moved = units.remove(at);
            self.get(&to).units.get_or_insert_default().push(moved);
        }
        self.recount();
        running
    }

    fn recount(&mut self) {
        for index in 0..self.world.backends.len() {
            let backend = &mut self.world.backends[index];
            let units = backend.units.clone().unwrap_or_default();
            let Some(status) = &mut backend.status else {
                continue;
            };
            status.units = units.len() as u64;
            status.bytes = units.iter().map(|unit| unit.bytes).sum();
            let name = backend.name.clone();
            self.row(&name).units = units.len() as u64;
        }
    }
}

fn pod_view(name: &str) -> PodView {
    let (name, revision) = (name.to_owned(), "r1".to_owned());
    PodView {
        name,
        revision,
        ready: true,
        was_ready: true,
    }
}

fn transfer(move_id: MoveId, root: &RootName, destination: &ServerName) -> TransferStatus {
    TransferStatus {
        move_id,
        root: root.clone(),
        destination: destination.clone(),
        phase: TransferPhase::Queued,
        attempts: 1,
        mailboxes: 3,
        bytes_sent: 0,
        bytes_total: 0,
        freeze_ms: 0,
        error: None,
    }
}

fn drain_state(plan: &Plan, name: &str) -> DrainState {
    plan.drains
        .iter()
        .find(|drain| drain.backend == name)
        .unwrap()
        .state
}

#[test]
fn creation_makes_the_master_then_backends_then_frontends() {
    let mut sim = Sim::new(&["be-a"]);
    assert!(sim.run().converged);
    let expected = [
        "MurderCluster/mc CreateVolume Create",
        "MurderCluster/mc StartPod Create",
        "Backend/be-a AddFinalizer Create",
        "Backend/be-a CreateVolume Create",
        "Backend/be-a StartPod Create",
        "Frontend/fe StartPod Create",
        "Frontend/fe StartPod Create",
    ];
    assert_eq!(sim.trace, expected);
}

#[test]
fn a_drain_cordons_moves_proves_twice_and_deactivates() {
    let mut sim = Sim::running(&[("alice", 10), ("bob", 20)]);
    sim.get("be-a").wish = Wish::Drained;
    let plan = sim.run();
    assert!(plan.converged);
    assert_eq!(drain_state(&plan, "be-a"), DrainState::Empty);
    let expected = [
        "Backend/be-a CordonServer Spec",
        "Backend/be-a CordonNode Spec",
        "Backend/be-a StartTransfer Spec",
        "Backend/be-a StartTransfer Spec",
        "Backend/be-a RecordProof Spec",
        "Backend/be-a Deactivate Spec",
    ];
    assert_eq!(sim.trace, expected);
}

#[test]
fn an_emptied_backend_is_taken_back() {
    let mut sim = Sim::running(&[("alice", 10)]);
    sim.get("be-a").wish = Wish::Drained;
    sim.run();
    sim.trace.clear();
    sim.get("be-a").wish = Wish::Active;
    assert!(sim.run().converged);
    let expected = [
        "Backend/be-a Reactivate TakenBack",
        "Backend/be-a UncordonServer TakenBack",
    ];
    assert_eq!(sim.trace, expected);
}

#[test]
fn a_drain_taken_back_withdraws_its_transfers_before_it_uncordons() {
    let mut sim = Sim::running(&[("alice", 10)]);
    sim.get("be-a").wish = Wish::Drained;
    sim.pass();
    sim.pass();
    sim.trace.clear();
    sim.get("be-a").wish = Wish::Active;
    assert_eq!(drain_state(&plan(&sim.world), "be-a"), DrainState::Aborting);
    assert!(sim.run().converged);
    let expected = [
        "Backend/be-a CancelTransfer TakenBack",
        "Backend/be-a UncordonNode TakenBack",
        "Backend/be-a UncordonServer TakenBack",
    ];
    assert_eq!(sim.trace, expected);
    assert_eq!(sim.get("be-a").status.as_ref().unwrap().units, 1);
}

#[test]
fn deletion_drains_retires_stops_releases_and_lets_go() {
    let mut sim = Sim::running(&[("alice", 10)]);
    sim.get("be-a").deleting = true;
    assert!(sim.run().converged);
    let expected = [
        "Backend/be-a CordonServer Delete",
        "Backend/be-a CordonNode Delete",
        "Backend/be-a StartTransfer Delete",
        "Backend/be-a RecordProof Delete",
        "Backend/be-a Deactivate Delete",
        "Backend/be-a Retire Delete",
        "Backend/be-a RetireVolume Delete",
        "Backend/be-a StopPod Delete",
        "Backend/be-a ReleaseVolume Delete",
        "Backend/be-a RemoveFinalizer Delete",
    ];
    assert_eq!(sim.trace, expected);
    assert_eq!(sim.world.backends.len(), 2);
}

#[test]
fn a_volume_is_deleted_only_after_the_grace_period() {
    let mut sim = Sim::running(&[]);
    let flipped = sim.world.now_ms;
    sim.world.cluster.grace_ms = 60_000;
    sim.get("be-a").last_flip_ms = Some(flipped);
    sim.get("be-a").delete_volume = true;
    sim.get("be-a").deleting = true;
    sim.run();
    assert!(
        sim.trace
            .contains(&"Backend/be-a DeleteVolume Delete".to_owned())
    );
    assert!(sim.world.now_ms >= flipped + sim.world.cluster.grace_ms);
}

#[test]
fn the_last_backend_stays_until_another_can_take_its_users() {
    let mut sim = Sim::new(&["be-a"]);
    sim.run();
    sim.get("be-a").units = Some(vec![unit("alice", 10)]);
    sim.recount();
    sim.trace.clear();
    sim.get("be-a").deleting = true;
    let plan = sim.run();
    assert_eq!(
        drain_state(&plan, "be-a"),
        DrainState::Blocked(Blocked::NoDestination)
    );
    assert!(sim.trace.is_empty(), "{:?}", sim.trace);
    sim.world.backends.push(backend("be-b"));
    assert!(sim.run().converged);
    assert_eq!(sim.world.backends.len(), 1);
}

#[test]
fn one_drain_at_a_time() {
    let mut sim = Sim::running(&[("alice", 10)]);
    sim.get("be-b").units = Some(vec![unit("bob", 10)]);
    sim.recount();
    sim.get("be-a").wish = Wish::Drained;
    sim.get("be-b").wish = Wish::Drained;
    let plan = plan(&sim.world);
    assert_eq!(drain_state(&plan, "be-a"), DrainState::Cordoning);
    assert_eq!(drain_state(&plan, "be-b"), DrainState::Queued);
    assert!(sim.run().converged);
    assert_eq!(sim.get("be-c").status.as_ref().unwrap().units, 2);
}

#[test]
fn too_little_room_is_told_with_numbers_before_the_first_byte() {
    let mut sim = Sim::running(&[("alice", 40 * GIB)]);
    sim.get("be-a").wish = Wish::Drained;
    let plan = sim.run();
    let report = plan.blocked().unwrap();
    assert_eq!(
        report.state,
        DrainState::Blocked(Blocked::InsufficientCapacity)
    );
    assert!(
        report.message.contains("needs 42949672960 bytes"),
        "{}",
        report.message
    );
    assert!(!sim.trace.iter().any(|step| step.contains("StartTransfer")));
}

#[test]
fn silence_is_never_emptiness() {
    let mut sim = Sim::running(&[]);
    sim.get("be-a").deleting = true;
    sim.get("be-a").status = None;
    let silent_node = plan(&sim.world);
    assert_eq!(
        drain_state(&silent_node, "be-a"),
        DrainState::Blocked(Blocked::SourceDown)
    );
    assert!(silent_node.steps.is_empty());
    let mut sim = Sim::running(&[]);
    sim.get("be-a").deleting = true;
    sim.world.mupdate.as_mut().unwrap().servers = None;
    let silent_master = plan(&sim.world);
    let state = drain_state(&silent_master, "be-a");
    assert_eq!(state, DrainState::Blocked(Blocked::MupdateUnavailable));
    assert!(silent_master.steps.is_empty());
}

#[test]
fn the_master_and_the_node_must_both_call_it_empty() {
    let mut sim = Sim::running(&[]);
    sim.get("be-a").deleting = true;
    sim.row("be-a").names = 1;
    for _ in 0..2 {
        let plan = plan(&sim.world);
        for step in &plan.steps {
            assert!(step.action.name().starts_with("Cordon"), "{step}");
            sim.apply(step);
        }
    }
}

#[test]
fn a_user_that_cannot_be_moved_is_given_up_and_named() {
    let mut sim = Sim::running(&[("alice", 10)]);
    sim.world.cluster.attempts_max = 2;
    sim.get("be-a").wish = Wish::Drained;
    sim.pass();
    for number in 0..2 {
        let root = RootName::parse("user.alice").unwrap();
        let to = ServerName::parse("be-b").unwrap();
        let mut failed = transfer(MoveId::from_bytes([number; 16]), &root, &to);
        failed.phase = TransferPhase::Failed;
        failed.error = Some("digests differ".to_owned());
        sim.get("be-a").transfers.push(failed);
    }
    let plan = plan(&sim.world);
    let report = plan.blocked().unwrap();
    assert_eq!(report.state, DrainState::Blocked(Blocked::FailedMailboxes));
    assert_eq!(
        report.failed,
        [("user.alice".to_owned(), 2, "digests differ".to_owned())]
    );
}

#[test]
fn new_settings_reach_one_serving_pod_at_a_time() {
    let mut sim = Sim::running(&[]);
    for backend in &mut sim.world.backends {
        backend.revision = "r2".to_owned();
    }
    let (plan, _) = sim.pass();
    let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps, ["Backend/be-a RestartPod Update"]);
    assert!(sim.run().converged);
}

proptest! {
    #[test]
    fn the_order_of_lists_changes_nothing(
        sizes in prop::collection::vec(0..GIB, 0..8),
        order in Just((0..3).collect::<Vec<usize>>()).prop_shuffle(),
        reversed: bool,
    ) {
        let names = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];
        let users: Vec<(&str, u64)> = names.into_iter().zip(sizes).collect();
        let mut sim = Sim::running(&users);
        sim.get("be-a").wish = Wish::Drained;
        sim.pass();
        let expected = plan(&sim.world);
        let mut other = sim.world.clone();
        other.backends = order.into_iter().map(|at| sim.world.backends[at].clone()).collect();
        other.frontends[0].pods.reverse();
        if reversed {
            let units = other.backends.iter_mut().filter_map(|backend| backend.units.as_mut());
            units.for_each(|units| units.reverse());
            other.mupdate.as_mut().unwrap().servers.as_mut().unwrap().reverse();
        }
        prop_assert_eq!(plan(&other), expected);
    }
}
