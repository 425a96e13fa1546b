//! The ordered steps of a whole history. `operator/tests/local.rs` expects the same of real processes.

use murder_operator::core::{DrainState, Kind, Wish};

use super::histories::{
    CREATE, DELETE, DRAIN, DRAIN_WITHOUT_END, SCALE, TAKE_BACK_EMPTY, TAKE_BACK_MOVING,
};
use super::sim::{Sim, backend, drain_state};

/// The steps until all is as wished.
fn steps(sim: &mut Sim) -> Vec<String> {
    assert!(sim.run().converged, "{:#?}", sim.trace.lines());
    let steps = sim.trace.lines();
    sim.trace.clear();
    steps
}

#[test]
fn a_history_of_creation_scaling_draining_taking_back_and_deletion() {
    let mut sim = Sim::new(&["be-a", "be-b"]);
    assert_eq!(steps(&mut sim), CREATE);
    sim.world.backends.push(backend("be-c"));
    sim.world.frontends[0].replicas = 1;
    assert_eq!(steps(&mut sim), SCALE);

    sim.give("be-a", &[("alice", 10), ("bob", 20)]);
    sim.get("be-a").wish = Wish::Drained;
    assert_eq!(steps(&mut sim), DRAIN);
    assert_eq!(drain_state(&sim.plan(), "be-a"), DrainState::Empty);
    sim.get("be-a").wish = Wish::Active;
    assert_eq!(steps(&mut sim), TAKE_BACK_EMPTY);

    sim.get("be-b").units = Some(Vec::new());
    sim.give("be-b", &[("slow", 10)]);
    sim.get("be-b").wish = Wish::Drained;
    sim.run_until("StartTransfer");
    assert_eq!(sim.trace.lines(), DRAIN_WITHOUT_END);
    sim.trace.clear();
    sim.get("be-b").wish = Wish::Active;
    assert_eq!(drain_state(&sim.plan(), "be-b"), DrainState::Aborting);
    assert_eq!(steps(&mut sim), TAKE_BACK_MOVING);
    assert_eq!(sim.status("be-b").units, 1);

    sim.get("be-c").units = Some(Vec::new());
    sim.give("be-c", &[("carol", 10)]);
    sim.get("be-c").deleting = true;
    assert_eq!(steps(&mut sim), DELETE);
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
