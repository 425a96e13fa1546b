//! All is as wished only if it was seen to be so.

use murder_model::ServerId;
use murder_operator::core::Wish;

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

#[test]
fn a_pod_that_is_down_gets_its_new_settings_unless_another_is_down() {
    let mut sim = Sim::running(&[]);
    for backend in &mut sim.world.backends {
        backend.revision = "r2".to_owned();
    }
    sim.get("be-b").pod.as_mut().unwrap().ready = false;
    let restarts = |sim: &Sim| {
        let steps = sim.plan().steps;
        let steps = steps.iter().map(ToString::to_string);
        steps
            .filter(|step| step.contains("RestartPod"))
            .collect::<Vec<String>>()
    };
    assert_eq!(restarts(&sim), ["Backend/be-b RestartPod Update"]);
    sim.world
        .mupdate
        .as_mut()
        .unwrap()
        .pod
        .as_mut()
        .unwrap()
        .ready = false;
    assert_eq!(restarts(&sim), Vec::<String>::new());
}

#[test]
fn a_pod_that_goes_gets_no_new_settings() {
    let mut sim = Sim::running(&[]);
    sim.world.frontends[0].replicas = 1;
    sim.world.frontends[0].pods[1].revision = "old".to_owned();
    assert!(sim.run().converged);
    assert_eq!(sim.trace.lines(), ["Frontend/fe StopPod ScaleIn"]);
}
