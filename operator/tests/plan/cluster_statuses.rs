//! What MurderClusters and Frontends say of themselves.

use murder_operator::core::{Wish, plan};
use murder_operator::crd::{Frontend, MurderCluster};
use murder_operator::status::{ClusterInput, FrontendInput, cluster_status, frontend_status};

use super::sim::Sim;
use super::statuses::{at, lines, object};

fn cluster_said(sim: &Sim, input: &ClusterInput) -> Vec<String> {
    let cluster: MurderCluster = object("MurderCluster", "mc", serde_json::json!({}));
    let status = cluster_status(&cluster, &sim.world, &plan(&sim.world), input, at(0));
    assert_eq!(status.observed_generation, Some(7));
    lines(status.conditions.as_ref())
}

/// Rows 04, 05 and 06.
#[test]
fn a_murder_that_serves_has_every_condition() {
    let mut sim = Sim::running(&[]);
    let mut input = ClusterInput {
        up_to_date: true,
        ..ClusterInput::default()
    };
    let serves = [
        "Ready True Serving: everything serves",
        "MupdateAvailable True Available: mc-mupdate-0 answers",
        "Progressing False Converged: everything is as wished",
        "Degraded False Healthy",
        "Rebalanced Unknown Disabled: spec.rebalance.mode is Disabled",
        "UpdatePending False UpToDate",
        "DeletionBlocked False NotDeleted",
        "Paused False NotPaused",
    ];
    assert_eq!(cluster_said(&sim, &input), serves);
    sim.get("be-b").pod.as_mut().unwrap().ready = false;
    sim.world.mupdate.as_mut().unwrap().servers = None;
    input.troubled = vec!["Backend be-b: no".to_owned()];
    let found = cluster_said(&sim, &input);
    let changed: Vec<&String> = found
        .iter()
        .filter(|line| !serves.contains(&line.as_str()))
        .collect();
    let expected = [
        "Ready False BackendsDown: not serving: be-b",
        "MupdateAvailable False NotReached: mc-mupdate-0 does not answer: mail is read and delivered, but users are neither made nor moved",
        "Degraded True ObjectsInTrouble: Backend be-b: no",
    ];
    let changed: Vec<&String> = changed
        .into_iter()
        .filter(|line| !line.starts_with("Progressing"))
        .collect();
    assert_eq!(changed, expected);
}

#[test]
fn the_version_of_a_murder_is_the_one_that_most_nodes_run() {
    let cluster: MurderCluster = object("MurderCluster", "mc", serde_json::json!({}));
    let sim = Sim::running(&[]);
    let said = |versions: &[&str]| {
        let versions = versions.iter().map(|version| (*version).to_owned());
        let input = ClusterInput {
            versions: versions.collect(),
            ..ClusterInput::default()
        };
        cluster_status(&cluster, &sim.world, &plan(&sim.world), &input, at(0)).version
    };
    assert_eq!(said(&[]), "");
    assert_eq!(said(&["0.9.0", "0.10.0", "0.10.0"]), "0.10.0");
    assert_eq!(said(&["0.10.0", "0.9.0", "0.10.0", "0.9.0"]), "0.9.0");
    assert_eq!(said(&["1.0.0", "1.0.0-rc2", "0.9.9"]), "0.9.9");
}

/// Row 16.
#[test]
fn a_scale_in_that_min_active_holds_says_so() {
    let mut sim = Sim::running(&[]);
    let input = ClusterInput {
        kept: 2,
        up_to_date: true,
        ..ClusterInput::default()
    };
    let held = "2 of the pool's Backends should leave but stay, as spec.minActive is 1: lower it, or make a Backend \
                outside of the pool";
    let said = format!("Progressing False ScaleInHeld: {held}");
    assert_eq!(cluster_said(&sim, &input)[2], said);
    sim.get("be-a").wish = Wish::Cordoned;
    let said = format!(
        "Progressing True Converging: Backend/be-a CordonServer Spec, Backend/be-a CordonNode Spec, {held}"
    );
    assert_eq!(cluster_said(&sim, &input)[2], said);
}

/// Rows 04 and 05.
#[test]
fn a_frontend_has_every_condition() {
    let spec = serde_json::json!({"clusterRef": {"name": "mc"}, "replicas": 2});
    let frontend: Frontend = object("Frontend", "fe", spec);
    let said = |replicas, ready, updated| {
        let input = FrontendInput {
            replicas,
            ready,
            updated,
            ..FrontendInput::default()
        };
        let status = frontend_status(&frontend, &input, at(0));
        assert_eq!((status.replicas, status.ready_replicas), (replicas, ready));
        lines(status.conditions.as_ref())
    };
    let rolling =
        |count| format!("Progressing True RollingOut: {count} of 2 pods have the newest settings");
    let quiet = "UpdatePending False UpToDate";
    assert_eq!(
        said(0, 0, 0),
        [
            "Ready False NoneReady: none of 2 pods serves yet",
            &rolling(0),
            quiet
        ]
    );
    assert_eq!(
        said(2, 1, 1),
        [
            "Ready False SomeNotReady: 1 of 2 pods serve",
            &rolling(1),
            quiet
        ]
    );
    assert_eq!(
        said(2, 2, 2),
        [
            "Ready True AllReady: 2 of 2 pods serve",
            "Progressing False Done",
            quiet
        ]
    );
}
