//! The ordered steps of whole histories. `operator/tests/local.rs` expects the same of real processes.

use murder_operator::core::{DrainState, Kind, Wish};

use super::sim::{Sim, backend, drain_state};

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
    assert_eq!(sim.trace.lines(), expected);
}

#[test]
fn more_backends_and_fewer_frontends_touch_nothing_else() {
    let mut sim = Sim::running(&[("alice", 10)]);
    sim.world.backends.push(backend("be-d"));
    sim.world.frontends[0].replicas = 1;
    assert!(sim.run().converged);
    let expected = [
        "Backend/be-d AddFinalizer Create",
        "Backend/be-d CreateVolume Create",
        "Backend/be-d StartPod Create",
        "Frontend/fe StopPod ScaleIn",
    ];
    assert_eq!(sim.trace.lines(), expected);
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
    assert_eq!(sim.trace.lines(), expected);
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
        "Backend/be-a DropProof TakenBack",
        "Backend/be-a Reactivate TakenBack",
        "Backend/be-a UncordonServer TakenBack",
    ];
    assert_eq!(sim.trace.lines(), expected);
}

#[test]
fn a_drain_taken_back_withdraws_its_transfers_before_it_uncordons() {
    let mut sim = Sim::running(&[("alice", 10)]);
    sim.get("be-a").wish = Wish::Drained;
    sim.run_until("StartTransfer");
    sim.trace.clear();
    sim.get("be-a").wish = Wish::Active;
    assert_eq!(drain_state(&sim.plan(), "be-a"), DrainState::Aborting);
    assert!(sim.run().converged);
    let expected = [
        "Backend/be-a CancelTransfer TakenBack",
        "Backend/be-a UncordonNode TakenBack",
        "Backend/be-a UncordonServer TakenBack",
    ];
    assert_eq!(sim.trace.lines(), expected);
    assert_eq!(sim.status("be-a").units, 1);
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
    assert_eq!(sim.trace.lines(), expected);
    assert_eq!(sim.world.backends.len(), 2);
}

#[test]
fn a_step_that_is_repeated_until_it_works_is_one_line() {
    let mut sim = Sim::running(&[("alice", 10), ("bob", 20)]);
    sim.get("be-a").wish = Wish::Drained;
    sim.pass();
    // Nobody heard: the same two steps are taken twice.
    let plan = sim.plan();
    assert_eq!(plan.steps.len(), 2);
    for step in plan.steps.iter().chain(&plan.steps) {
        sim.trace.record(step);
    }
    let expected = [
        "Backend/be-a CordonServer Spec",
        "Backend/be-a CordonNode Spec",
        "Backend/be-a StartTransfer Spec",
        "Backend/be-a StartTransfer Spec",
    ];
    assert_eq!(sim.trace.lines(), expected);
    assert_eq!(sim.trace.of(Kind::Backend, "be-b"), Vec::<String>::new());
}
