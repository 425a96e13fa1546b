//! Retirement is the point of no return; only then, and only by policy, does a volume go.

use murder_operator::core::{DrainState, VolumeView, Wish};

use super::sim::{Sim, drain_state};

#[test]
fn a_pools_victim_can_be_taken_back_until_it_is_retired() {
    let mut sim = Sim::running(&[("alice", 10)]);
    sim.get("be-a").scale_in = true;
    sim.run_until("Deactivate");
    sim.get("be-a").scale_in = false;
    sim.trace.clear();
    assert!(sim.run().converged);
    let expected = [
        "Backend/be-a DropProof TakenBack",
        "Backend/be-a Reactivate TakenBack",
        "Backend/be-a UncordonServer TakenBack",
    ];
    assert_eq!(sim.trace.lines(), expected);
}

#[test]
fn a_retired_server_goes_on_and_a_new_one_takes_its_place() {
    let mut sim = Sim::running(&[("alice", 10)]);
    let before = sim.row("be-a").server_id;
    sim.get("be-a").scale_in = true;
    sim.get("be-a").delete_volume = true;
    sim.run_until("Retire");
    sim.get("be-a").scale_in = false;
    sim.trace.clear();
    assert!(sim.run().converged);
    let expected = [
        "Backend/be-a RetireVolume Spec",
        "Backend/be-a StopPod Spec",
        "Backend/be-a ReleaseVolume Spec",
        "Backend/be-a CreateVolume Create",
        "Backend/be-a StartPod Create",
    ];
    assert_eq!(sim.trace.lines(), expected);
    assert_ne!(sim.row("be-a").server_id, before);
}

/// Row 31.
#[test]
fn a_volume_is_deleted_only_after_the_grace_period() {
    let mut sim = Sim::running(&[]);
    let flipped = sim.world.now_ms;
    sim.world.cluster.grace_ms = 60_000;
    sim.get("be-a").last_flip_ms = Some(flipped);
    sim.get("be-a").delete_volume = true;
    sim.get("be-a").deleting = true;
    let plan = sim.run();
    // All that is missing is time.
    assert!(plan.converged);
    assert_eq!(drain_state(&plan, "be-a"), DrainState::ReleasingVolume);
    assert_eq!(plan.next_ms, Some(flipped + 60_000));
    sim.run_until("DeleteVolume");
    assert!(sim.world.now_ms >= flipped + 60_000);
}

/// Row 31.
#[test]
fn a_volume_that_nobody_proved_empty_is_kept_whatever_the_policy() {
    let mut sim = Sim::running(&[("alice", 10)]);
    sim.get("be-a").delete_volume = true;
    sim.get("be-a").deleting = true;
    // Somebody retired it by hand, with mail on it.
    sim.row("be-a").retired = true;
    sim.pass();
    let kept = VolumeView::Retired {
        delete_after_ms: None,
    };
    assert_eq!(sim.get("be-a").volume, kept);
}

#[test]
fn a_server_that_registers_late_is_retired_before_its_volume_goes() {
    let mut sim = Sim::running(&[]);
    sim.get("be-a").deleting = true;
    let late = sim.row("be-a").clone();
    sim.rows().retain(|row| row.server.as_str() != "be-a");
    sim.run_until("RetireVolume");
    sim.rows().push(late);
    sim.trace.clear();
    assert!(sim.run().converged);
    let expected = [
        "Backend/be-a Retire Delete",
        "Backend/be-a StopPod Delete",
        "Backend/be-a ReleaseVolume Delete",
        "Backend/be-a RemoveFinalizer Delete",
    ];
    assert_eq!(sim.trace.lines(), expected);
}

#[test]
fn a_single_server_without_a_master_is_emptied_by_its_own_word() {
    let mut sim = Sim::alone();
    sim.get("be-a").deleting = true;
    sim.trace.clear();
    assert!(sim.run().converged);
    let expected = [
        "Backend/be-a CordonNode Delete",
        "Backend/be-a RecordProof Delete",
        "Backend/be-a Deactivate Delete",
        "Backend/be-a RetireVolume Delete",
        "Backend/be-a StopPod Delete",
        "Backend/be-a ReleaseVolume Delete",
        "Backend/be-a RemoveFinalizer Delete",
    ];
    assert_eq!(sim.trace.lines(), expected);
}

#[test]
fn a_drained_backend_that_stays_is_never_retired() {
    let mut sim = Sim::running(&[]);
    sim.get("be-a").wish = Wish::Drained;
    sim.get("be-a").delete_volume = true;
    assert!(sim.run().converged);
    assert!(!sim.row("be-a").retired);
    assert_eq!(sim.get("be-a").volume, VolumeView::Present);
}
