//! Transfers that fail: tried again elsewhere, given up, named; never taken for emptiness.

use murder_api::admin::TransferPhase;
use murder_operator::core::{Blocked, DrainState, Wish};

use super::sim::{Sim, drain_state, our_id, report, transfer, xfer_id};

fn ended(
    number: u8,
    phase: TransferPhase,
    error: Option<&str>,
) -> murder_api::admin::TransferStatus {
    let mut ended = transfer(our_id(number), "user.alice", "be-b");
    (ended.phase, ended.error) = (phase, error.map(str::to_owned));
    ended
}

/// A drain of alice's backend, cordoned, with two tries a user.
fn draining() -> Sim {
    let mut sim = Sim::running(&[("alice", 10)]);
    sim.world.cluster.attempts_max = 2;
    sim.get("be-a").wish = Wish::Drained;
    sim.pass();
    sim
}

#[test]
fn a_user_that_cannot_be_moved_is_given_up_and_named() {
    let mut sim = draining();
    for number in 0..2 {
        let failed = ended(number, TransferPhase::Failed, Some("digests differ"));
        sim.transfers("be-a").push(failed);
    }
    let plan = sim.plan();
    let report = plan.blocked().unwrap();
    assert_eq!(report.state, DrainState::Blocked(Blocked::FailedMailboxes));
    let expected = "user.alice could not be moved: digests differ";
    assert_eq!(report.message, expected);
    let expected = [("user.alice".to_owned(), 2, "digests differ".to_owned())];
    assert_eq!(report.failed, expected);
    assert!(plan.steps.is_empty());
}

/// Row 29.
#[test]
fn a_user_that_cannot_be_moved_holds_up_no_other() {
    let mut sim = Sim::running(&[("alice", 10), ("bob", 10), ("carol", 10)]);
    sim.world.cluster.attempts_max = 2;
    sim.get("be-a").wish = Wish::Drained;
    sim.pass();
    for number in 200..202 {
        let failed = ended(number, TransferPhase::Failed, Some("digests differ"));
        sim.transfers("be-a").push(failed);
    }
    let plan = sim.run();
    assert_eq!(sim.status("be-a").units, 1);
    let report = report(&plan, "be-a");
    assert_eq!(report.state, DrainState::Blocked(Blocked::FailedMailboxes));
    let expected = [("user.alice".to_owned(), 2, "digests differ".to_owned())];
    assert_eq!(report.failed, expected);
    assert_eq!((report.moved, report.remaining), (2, 1));
}

#[test]
fn a_withdrawn_transfer_is_a_failure_too() {
    let mut sim = draining();
    let failed = ended(0, TransferPhase::Failed, Some("digests differ"));
    let withdrawn = ended(1, TransferPhase::Cancelled, None);
    sim.transfers("be-a").extend([failed, withdrawn]);
    let plan = sim.plan();
    let report = plan.blocked().unwrap();
    let expected = "user.alice could not be moved: the transfer was withdrawn";
    assert_eq!(report.message, expected);
}

#[test]
fn the_next_try_goes_elsewhere_and_says_why() {
    let mut sim = draining();
    let failed = ended(0, TransferPhase::Failed, Some("no room"));
    sim.transfers("be-a").push(failed);
    let plan = sim.plan();
    assert_eq!(
        report(&plan, "be-a").message,
        "user.alice: no room; try 2 follows"
    );
    assert!(sim.run().converged);
    let last = sim.transfers("be-a").last().unwrap().clone();
    assert_eq!(last.destination.as_str(), "be-c");
    assert_eq!(last.phase, TransferPhase::Done);
}

/// A source tries by itself before it gives a transfer up.
#[test]
fn long_tries_with_every_destination_are_enough() {
    let mut sim = draining();
    sim.world.cluster.attempts_max = 8;
    let mut failed = ended(0, TransferPhase::Failed, Some("digests differ"));
    failed.attempts = 8;
    sim.transfers("be-a").push(failed.clone());
    let steps = sim.plan().steps;
    assert_eq!(steps.len(), 1, "be-c was not tried");
    failed.move_id = our_id(1);
    failed.destination = "be-c".parse().unwrap();
    sim.transfers("be-a").push(failed);
    let plan = sim.plan();
    let report = plan.blocked().unwrap();
    assert_eq!(report.state, DrainState::Blocked(Blocked::FailedMailboxes));
    assert_eq!(report.failed[0].1, 16);
}

#[test]
fn failures_before_the_last_request_are_forgiven() {
    let mut sim = draining();
    for number in 0..2 {
        let failed = ended(number, TransferPhase::Failed, Some("digests differ"));
        sim.transfers("be-a").push(failed);
    }
    sim.get("be-a").forgiven = vec![our_id(0), our_id(1)];
    assert!(sim.run().converged);
    assert_eq!(sim.status("be-a").units, 0);
}

#[test]
fn an_administrators_failed_transfer_is_not_ours() {
    let mut sim = draining();
    for number in 0..2 {
        let mut failed = ended(number, TransferPhase::Failed, Some("no such server"));
        failed.move_id = xfer_id(number);
        sim.transfers("be-a").push(failed);
    }
    assert!(sim.run().converged);
}

/// A drain asked for again after it was taken back named its transfers as before, and the node, which knew those
/// names, started nothing.
#[test]
fn a_drain_that_was_taken_back_can_be_asked_for_again() {
    let mut sim = Sim::running(&[("alice", 10)]);
    for _ in 0..3 {
        sim.get("be-a").wish = Wish::Drained;
        sim.run_until("StartTransfer");
        sim.get("be-a").wish = Wish::Active;
        assert!(sim.run().converged);
    }
    sim.get("be-a").wish = Wish::Drained;
    let plan = sim.run();
    assert!(plan.converged);
    assert_eq!(drain_state(&plan, "be-a"), DrainState::Empty);
    assert_eq!(sim.transfers("be-a").len(), 4);
}

#[test]
fn what_hinders_a_transfer_is_told_while_it_is_tried() {
    let mut sim = draining();
    let mut hindered = ended(0, TransferPhase::Queued, Some("be-b does not answer"));
    hindered.attempts = 3;
    sim.transfers("be-a").push(hindered);
    let plan = sim.plan();
    let expected = "user.alice to be-b: be-b does not answer; 3 tries";
    assert_eq!(report(&plan, "be-a").message, expected);
    assert_eq!(drain_state(&plan, "be-a"), DrainState::Transferring);
    assert!(plan.steps.is_empty());
}
