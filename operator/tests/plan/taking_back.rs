//! A drain is taken back: whatever it did is undone, at the node and at the master, and nothing else.

use murder_api::admin::TransferPhase;
use murder_operator::core::{DrainState, Wish};

use super::sim::{Sim, drain_state, our_id, transfer, xfer_id};

#[test]
fn taking_back_reactivates_whatever_else_was_undone_already() {
    let mut sim = Sim::running(&[]);
    sim.status("be-a").deactivated = true;
    let plan = sim.plan();
    assert!(!plan.converged);
    assert_eq!(drain_state(&plan, "be-a"), DrainState::Reactivating);
    assert!(sim.run().converged);
    assert_eq!(sim.trace.lines(), ["Backend/be-a Reactivate TakenBack"]);
    assert!(!sim.status("be-a").deactivated);
}

#[test]
fn an_emptied_backend_may_stay_cordoned() {
    let mut sim = Sim::running(&[("alice", 10)]);
    sim.get("be-a").wish = Wish::Drained;
    sim.run();
    sim.trace.clear();
    sim.get("be-a").wish = Wish::Cordoned;
    assert!(sim.run().converged);
    let expected = [
        "Backend/be-a DropProof TakenBack",
        "Backend/be-a Reactivate TakenBack",
        "Backend/be-a CordonNode Spec",
    ];
    assert_eq!(sim.trace.lines(), expected);
    assert!(sim.row("be-a").cordoned);
}

#[test]
fn an_administrators_transfer_is_left_alone() {
    let mut sim = Sim::running(&[("alice", 10), ("bob", 10)]);
    let theirs = transfer(xfer_id(1), "user.alice", "be-b");
    let ours = transfer(our_id(1), "user.bob", "be-b");
    sim.transfers("be-a").extend([theirs, ours]);
    sim.status("be-a").cordoned = true;
    sim.row("be-a").cordoned = true;
    assert!(sim.run().converged);
    let expected = [
        "Backend/be-a CancelTransfer TakenBack",
        "Backend/be-a UncordonNode TakenBack",
        "Backend/be-a UncordonServer TakenBack",
    ];
    assert_eq!(sim.trace.lines(), expected);
    let phases: Vec<_> = sim.transfers("be-a").iter().map(|t| t.phase).collect();
    assert_eq!(phases, [TransferPhase::Done, TransferPhase::Cancelled]);
}

#[test]
fn what_is_released_is_waited_for() {
    let mut sim = Sim::running(&[("alice", 10)]);
    let mut released = transfer(our_id(1), "user.alice", "be-b");
    released.phase = TransferPhase::Released;
    sim.transfers("be-a").push(released);
    sim.status("be-a").cordoned = true;
    let plan = sim.plan();
    assert!(plan.steps.is_empty());
    assert_eq!(drain_state(&plan, "be-a"), DrainState::Aborting);
}

#[test]
fn unread_transfers_are_waited_for_before_uncordoning() {
    let mut sim = Sim::running(&[]);
    sim.status("be-a").cordoned = true;
    sim.get("be-a").transfers = None;
    let plan = sim.plan();
    assert!(plan.steps.is_empty());
    assert_eq!(drain_state(&plan, "be-a"), DrainState::Aborting);
}
