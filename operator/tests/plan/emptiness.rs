//! A backend is empty only if it and the master say so, each asked and each answering.

use murder_model::ServerId;
use murder_operator::core::{Blocked, DrainState, Plan, Wish};

use super::sim::{Sim, drain_state, report, transfer, unit, xfer_id};

/// A cordoned backend with nothing in it, being drained.
fn nearly_empty() -> Sim {
    let mut sim = Sim::running(&[]);
    sim.get("be-a").wish = Wish::Drained;
    sim.status("be-a").cordoned = true;
    sim.row("be-a").cordoned = true;
    assert_eq!(
        drain_state(&sim.plan(), "be-a"),
        DrainState::Verifying,
        "what follows makes the difference"
    );
    sim
}

fn assert_waits(plan: &Plan, message: &str) {
    assert_eq!(drain_state(plan, "be-a"), DrainState::Transferring);
    assert_eq!(report(plan, "be-a").message, message);
    assert!(plan.steps.is_empty(), "{:?}", plan.steps);
}

#[test]
fn a_node_that_does_not_answer_is_not_empty() {
    let mut sim = nearly_empty();
    sim.get("be-a").status = None;
    let plan = sim.plan();
    let expected = DrainState::Blocked(Blocked::SourceDown);
    assert_eq!(drain_state(&plan, "be-a"), expected);
    assert!(plan.steps.is_empty());
}

#[test]
fn a_master_that_does_not_answer_proves_nothing() {
    let mut sim = nearly_empty();
    sim.world.mupdate.as_mut().unwrap().servers = None;
    let plan = sim.plan();
    let expected = DrainState::Blocked(Blocked::MupdateUnavailable);
    assert_eq!(drain_state(&plan, "be-a"), expected);
    assert!(plan.steps.is_empty());
}

#[test]
fn units_or_transfers_that_could_not_be_read_are_unknown() {
    let mut sim = nearly_empty();
    sim.get("be-a").units = None;
    let plan = sim.plan();
    assert_eq!(drain_state(&plan, "be-a"), DrainState::Planning);
    let expected = "the units of be-a could not be read";
    assert_eq!(report(&plan, "be-a").message, expected);
    assert!(plan.steps.is_empty());

    let mut sim = nearly_empty();
    sim.get("be-a").transfers = None;
    let plan = sim.plan();
    assert_eq!(drain_state(&plan, "be-a"), DrainState::Planning);
    let expected = "the transfers of be-a could not be read";
    assert_eq!(report(&plan, "be-a").message, expected);
    assert!(plan.steps.is_empty());
}

#[test]
fn what_the_master_still_lists_is_waited_for() {
    let mut sim = nearly_empty();
    sim.row("be-a").names = 1;
    assert_waits(&sim.plan(), "waits for 1 name by the master's list");
    sim.row("be-a").units = 2;
    let expected = "waits for 2 units by the master's list, 1 name by the master's list";
    assert_waits(&sim.plan(), expected);
}

#[test]
fn a_row_of_another_identity_is_not_this_servers() {
    let other = ServerId::from_bytes([99; 16]);
    let mut sim = nearly_empty();
    sim.row("be-a").server_id = other;
    let plan = sim.plan();
    let expected = DrainState::Blocked(Blocked::IdentityMismatch);
    assert_eq!(drain_state(&plan, "be-a"), expected);
    assert!(plan.steps.is_empty());
}

#[test]
fn an_identity_under_another_name_is_not_this_server() {
    let mut sim = nearly_empty();
    sim.row("be-a").server = "be-x".parse().unwrap();
    let expected = DrainState::Blocked(Blocked::IdentityMismatch);
    assert_eq!(drain_state(&sim.plan(), "be-a"), expected);
}

#[test]
fn a_server_that_never_registered_is_empty_by_its_own_word() {
    let mut sim = nearly_empty();
    sim.rows().retain(|row| row.server.as_str() != "be-a");
    assert_eq!(drain_state(&sim.plan(), "be-a"), DrainState::Verifying);
    // A predecessor of the same name, retired, is somebody else.
    let mut predecessor = sim.row("be-b").clone();
    predecessor.server = "be-a".parse().unwrap();
    predecessor.server_id = ServerId::from_bytes([99; 16]);
    (predecessor.retired, predecessor.names) = (true, 3);
    sim.rows().push(predecessor);
    assert_eq!(drain_state(&sim.plan(), "be-a"), DrainState::Verifying);
    sim.status("be-a").outbox = 1;
    let expected = "waits for 1 name that the master has yet to hear";
    assert_waits(&sim.plan(), expected);
}

#[test]
fn every_part_in_a_unit_but_a_grace_copy_counts() {
    let cases = [
        ("Released", "waits for 1 unit in doubt"),
        ("Creating", "waits for 1 unit being made"),
        ("Staging", "waits for 1 unit arriving"),
        ("Prepared", "waits for 1 unit arriving"),
        ("Sleeping", "waits for 1 unit in an unknown state"),
    ];
    for (state, message) in cases {
        let mut sim = nearly_empty();
        let mut unit = unit("alice", 10);
        unit.state = state.to_owned();
        sim.get("be-a").units.as_mut().unwrap().push(unit);
        assert_waits(&sim.plan(), message);
    }
    for state in ["Moved", "Gone"] {
        let mut sim = nearly_empty();
        let mut unit = unit("alice", 10);
        unit.state = state.to_owned();
        sim.get("be-a").units.as_mut().unwrap().push(unit);
        let found = drain_state(&sim.plan(), "be-a");
        assert_eq!(found, DrainState::Verifying, "{state}");
    }
}

#[test]
fn a_transfer_under_way_is_something_whoever_started_it() {
    let mut sim = nearly_empty();
    let running = transfer(xfer_id(1), "user.alice", "be-b");
    sim.transfers("be-a").push(running);
    let plan = sim.plan();
    assert_eq!(drain_state(&plan, "be-a"), DrainState::Transferring);
    assert!(plan.steps.is_empty());
}

#[test]
fn a_unit_that_arrives_between_the_proofs_is_moved_on() {
    let mut sim = nearly_empty();
    sim.run_until("RecordProof");
    sim.give("be-a", &[("alice", 10)]);
    sim.trace.clear();
    assert!(sim.run().converged);
    let expected = [
        "Backend/be-a DropProof Spec",
        "Backend/be-a StartTransfer Spec",
        "Backend/be-a RecordProof Spec",
        "Backend/be-a Deactivate Spec",
    ];
    assert_eq!(sim.trace.lines(), expected);
}

#[test]
fn one_look_is_one_proof_however_often_it_is_planned() {
    let mut sim = nearly_empty();
    let before = sim.world.now_ms;
    for step in sim.plan().steps {
        sim.apply(&step);
    }
    assert!(sim.plan().steps.is_empty());
    sim.world.now_ms = before + 999;
    assert!(sim.plan().steps.is_empty());
    sim.world.now_ms = before + 1000;
    let steps = sim.plan().steps;
    let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps, ["Backend/be-a Deactivate Spec"]);
}
