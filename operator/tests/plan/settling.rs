//! All is as wished only if it was seen to be so.

use murder_model::ServerId;
use murder_operator::core::{Action, PodView, Wish};

use super::sim::Sim;

fn is_settled_after(change: impl FnOnce(&mut Sim)) -> bool {
    let mut sim = Sim::running(&[]);
    assert!(sim.plan().converged);
    change(&mut sim);
    sim.plan().converged
}

#[test]
fn an_active_backend_must_have_been_seen_and_be_open_on_both_sides() {
    assert!(!is_settled_after(|sim| sim.get("be-a").status = None));
    assert!(!is_settled_after(|sim| sim.status("be-a").cordoned = true));
    assert!(!is_settled_after(
        |sim| sim.status("be-a").deactivated = true
    ));
    assert!(!is_settled_after(|sim| sim.row("be-a").cordoned = true));
    assert!(!is_settled_after(|sim| sim.row("be-a").retired = true));
    assert!(!is_settled_after(|sim| {
        sim.rows().retain(|row| row.server.as_str() != "be-a");
    }));
    assert!(!is_settled_after(|sim| {
        sim.row("be-a").server_id = ServerId::from_bytes([99; 16]);
    }));
    assert!(!is_settled_after(|sim| {
        sim.world.mupdate.as_mut().unwrap().servers = None;
    }));
}

#[test]
fn a_cordoned_backend_must_be_cordoned_on_both_sides() {
    let cordoned = |node: bool, master: bool| {
        is_settled_after(|sim| {
            sim.get("be-a").wish = Wish::Cordoned;
            sim.status("be-a").cordoned = node;
            sim.row("be-a").cordoned = master;
        })
    };
    assert!(cordoned(true, true));
    assert!(!cordoned(true, false));
    assert!(!cordoned(false, true));
}

#[test]
fn a_single_server_without_a_master_is_believed() {
    let mut sim = Sim::alone();
    assert!(sim.plan().converged);
    sim.get("be-a").status = None;
    assert!(!sim.plan().converged);
}

#[test]
fn an_emptied_backend_need_not_be_ready() {
    let mut sim = Sim::running(&[("alice", 10)]);
    sim.get("be-a").wish = Wish::Drained;
    assert!(sim.run().converged);
    sim.get("be-a").pod.as_mut().unwrap().ready = false;
    assert!(sim.plan().converged);
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

#[test]
fn new_settings_wait_while_a_pod_is_missing() {
    let mut sim = Sim::running(&[]);
    sim.get("be-a").revision = "r2".to_owned();
    sim.get("be-b").pod = None;
    let steps = sim.plan().steps;
    let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps, ["Backend/be-b StartPod Create"]);
}

/// The pods that are started again with new settings.
fn restarts(sim: &Sim) -> Vec<String> {
    let steps = sim.plan().steps.into_iter();
    let restarted = steps.filter_map(|step| match step.action {
        Action::RestartPod { pod } => Some(pod),
        _ => None,
    });
    restarted.collect()
}

/// A murder of which everything runs, and is to get other settings.
fn with_new_settings() -> Sim {
    let mut sim = Sim::running(&[]);
    for backend in &mut sim.world.backends {
        backend.revision = "r2".to_owned();
    }
    sim.world.mupdate.as_mut().unwrap().revision = "r2".to_owned();
    sim.world.frontends[0].revision = "r2".to_owned();
    sim
}

fn master(sim: &mut Sim) -> &mut PodView {
    sim.world.mupdate.as_mut().unwrap().pod.as_mut().unwrap()
}

fn of_frontend(sim: &mut Sim, index: usize) -> &mut PodView {
    &mut sim.world.frontends[0].pods[index]
}

fn update_servers(sim: &mut Sim) {
    for backend in &mut sim.world.backends {
        backend.pod.as_mut().unwrap().revision = "r2".to_owned();
    }
    master(sim).revision = "r2".to_owned();
}

#[test]
fn pods_that_are_down_get_their_new_settings_at_once_and_those_that_serve_wait_for_them() {
    let mut sim = with_new_settings();
    sim.get("be-b").pod.as_mut().unwrap().ready = false;
    assert_eq!(restarts(&sim), ["be-b-0"]);
    // They may be the cure of each, and of one that never comes back the others know nothing.
    sim.get("be-c").pod.as_mut().unwrap().ready = false;
    assert_eq!(restarts(&sim), ["be-b-0", "be-c-0"]);
    master(&mut sim).ready = false;
    assert_eq!(restarts(&sim), ["be-b-0", "be-c-0", "mc-mupdate-0"]);
    // What is down with the settings that it should have has no cure in them.
    sim.get("be-b").pod.as_mut().unwrap().revision = "r2".to_owned();
    assert_eq!(restarts(&sim), ["be-c-0", "mc-mupdate-0"]);
}

#[test]
fn a_frontend_with_a_new_pod_that_is_not_ready_keeps_its_turn_after_the_servers() {
    let mut sim = with_new_settings();
    let started = of_frontend(&mut sim, 1);
    (started.ready, started.was_ready) = (false, false);
    assert_eq!(restarts(&sim), ["be-a-0"]);
    update_servers(&mut sim);
    master(&mut sim).revision = "r1".to_owned();
    assert_eq!(restarts(&sim), ["mc-mupdate-0"]);
    update_servers(&mut sim);
    assert_eq!(restarts(&sim), ["fe-1"]);
}

#[test]
fn pods_of_one_frontend_that_are_down_do_not_wait_for_each_other() {
    let mut sim = Sim::running(&[]);
    sim.world.frontends[0].replicas = 3;
    assert!(sim.run().converged);
    sim.world.frontends[0].revision = "r2".to_owned();
    of_frontend(&mut sim, 1).ready = false;
    of_frontend(&mut sim, 2).ready = false;
    assert_eq!(restarts(&sim), ["fe-1"]);
}

#[test]
fn a_frontend_of_which_nothing_serves_gets_its_new_settings_at_once() {
    let mut sim = with_new_settings();
    of_frontend(&mut sim, 0).ready = false;
    of_frontend(&mut sim, 1).ready = false;
    assert_eq!(restarts(&sim), ["fe-0", "fe-1"]);
}

#[test]
fn a_pod_that_goes_gets_no_new_settings() {
    let mut sim = Sim::running(&[]);
    sim.world.frontends[0].replicas = 1;
    sim.world.frontends[0].pods[1].revision = "old".to_owned();
    assert!(sim.run().converged);
    assert_eq!(sim.trace.lines(), ["Frontend/fe StopPod ScaleIn"]);
}
