//! When a drain waits, and for what.

use murder_operator::core::{Blocked, DrainState, Wish};

use super::sim::{GIB, Sim, backend, drain_state};

#[test]
fn the_last_backend_stays_until_another_can_take_its_users() {
    let mut sim = Sim::new(&["be-a"]);
    sim.run();
    sim.give("be-a", &[("alice", 10)]);
    sim.trace.clear();
    sim.get("be-a").deleting = true;
    let plan = sim.run();
    assert_eq!(
        drain_state(&plan, "be-a"),
        DrainState::Blocked(Blocked::NoDestination)
    );
    assert!(sim.trace.lines().is_empty(), "{:?}", sim.trace.lines());
    sim.world.backends.push(backend("be-b"));
    assert!(sim.run().converged);
    assert_eq!(sim.world.backends.len(), 1);
}

#[test]
fn one_drain_at_a_time() {
    let mut sim = Sim::running(&[("alice", 10)]);
    sim.give("be-b", &[("bob", 10)]);
    sim.get("be-a").wish = Wish::Drained;
    sim.get("be-b").wish = Wish::Drained;
    let plan = sim.plan();
    assert_eq!(drain_state(&plan, "be-a"), DrainState::Cordoning);
    assert_eq!(drain_state(&plan, "be-b"), DrainState::Queued);
    assert!(sim.run().converged);
    assert_eq!(sim.status("be-c").units, 2);
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
    let expected = "needs 42949672960 bytes";
    assert!(report.message.contains(expected), "{}", report.message);
    let steps = sim.trace.lines();
    assert!(!steps.iter().any(|step| step.contains("StartTransfer")));
}

#[test]
fn a_backend_that_the_master_does_not_know_gets_no_users() {
    let mut sim = Sim::running(&[("alice", 10)]);
    sim.get("be-a").wish = Wish::Drained;
    sim.rows().retain(|row| row.server.as_str() != "be-b");
    for _ in 0..2 {
        for step in sim.plan().steps {
            sim.trace.record(&step);
            sim.apply(&step);
        }
    }
    let transfers = sim.transfers("be-a").clone();
    assert_eq!(transfers.len(), 1);
    assert_eq!(transfers[0].destination.as_str(), "be-c");
}

#[test]
fn a_destination_keeps_its_headroom() {
    let mut sim = Sim::running(&[("alice", GIB)]);
    sim.get("be-a").wish = Wish::Drained;
    for name in ["be-b", "be-c"] {
        // A tenth is free.
        sim.status(name).partitions[0].free_bytes = GIB;
    }
    let plan = sim.run();
    let report = plan.blocked().unwrap();
    assert!(
        report.message.contains("the others have 0"),
        "{}",
        report.message
    );
    sim.world.cluster.headroom_percent = 0;
    assert!(sim.run().converged);
}

/// Two backends on one filesystem report its free space a moment apart; whoever was read later got all users.
#[test]
fn small_users_spread_however_little_the_room_differs() {
    let users: Vec<String> = (0..10).map(|number| format!("user{number}")).collect();
    let users: Vec<(&str, u64)> = users.iter().map(|user| (user.as_str(), 1000)).collect();
    let mut sim = Sim::running(&users);
    sim.status("be-b").partitions[0].free_bytes = 5 * GIB + (10 << 20);
    sim.status("be-c").partitions[0].free_bytes = 5 * GIB + (9 << 20);
    sim.get("be-a").wish = Wish::Drained;
    assert!(sim.run().converged);
    let here = ["be-b", "be-c"].map(|name| sim.status(name).units);
    assert_eq!(here, [5, 5]);
}
