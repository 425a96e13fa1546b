//! What Backends say of themselves: all conditions, from the first sight on.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use murder_operator::core::{Wish, World, plan};
use murder_operator::crd::{Backend, BackendStatus, NodeDrain, VolumeStatus};
use murder_operator::status::{BackendInput, DrainProgress, Resize, backend_status, find};

use super::sim::{GIB, Sim};

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub(crate) fn object<T: serde::de::DeserializeOwned>(
    kind: &str,
    name: &str,
    spec: serde_json::Value,
) -> T {
    let object = serde_json::json!({
        "apiVersion": "murder.rs/v1alpha1", "kind": kind,
        "metadata": {"name": name, "generation": 7}, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

fn backend_object() -> Backend {
    object(
        "Backend",
        "be-a",
        serde_json::json!({"clusterRef": {"name": "mc"}}),
    )
}

fn input() -> BackendInput {
    BackendInput {
        machine: Some("node-1".to_owned()),
        policy: NodeDrain::Auto,
        claim: "be-a-data".to_owned(),
        volume: Some(VolumeStatus {
            phase: Some("Bound".to_owned()),
            ..VolumeStatus::default()
        }),
        ..BackendInput::default()
    }
}

fn status_of(
    world: &World,
    object: &Backend,
    input: &BackendInput,
    progress: &mut DrainProgress,
    now: Timestamp,
) -> BackendStatus {
    let plan = plan(world);
    let view = world
        .backends
        .iter()
        .find(|view| view.name == "be-a")
        .unwrap();
    let nothing = murder_operator::core::DrainReport::default();
    let mut drains = plan.drains.iter();
    let report = drains
        .find(|drain| drain.backend == "be-a")
        .unwrap_or(&nothing);
    progress.observe(now, report);
    backend_status(object, world, view, report, progress, input, now)
}

pub(crate) fn lines(conditions: Option<&Vec<Condition>>) -> Vec<String> {
    let line = |c: &Condition| {
        assert_eq!(c.observed_generation, Some(7), "{}", c.type_);
        let text = format!("{} {} {}: {}", c.type_, c.status, c.reason, c.message);
        text.trim_end_matches([':', ' ']).to_owned()
    };
    conditions.into_iter().flatten().map(line).collect()
}

/// The conditions of be-a.
fn said(sim: &Sim, input: &BackendInput) -> Vec<String> {
    let mut progress = DrainProgress::default();
    let status = status_of(&sim.world, &backend_object(), input, &mut progress, at(0));
    assert_eq!(status.observed_generation, Some(7));
    lines(status.conditions.as_ref())
}

/// What differs from a Backend that serves.
fn differs(sim: &Sim, input: &BackendInput) -> Vec<String> {
    let found = said(sim, input);
    assert_eq!(found.len(), SERVES.len());
    found
        .into_iter()
        .filter(|line| !SERVES.contains(&line.as_str()))
        .collect()
}

const SERVES: [&str; 9] = [
    "Ready True Serving: be-a-0 serves",
    "Serving True Accepting: it serves its mailboxes",
    "Schedulable True Active: it gets new users",
    "Drained False NotRequested",
    "DrainStalled False Progressing",
    "VolumeHealthy True Bound",
    "NodeDraining False NodeOpen: node-1 takes pods; if it is drained, its pod may be evicted",
    "UpdatePending False UpToDate",
    "DeletionBlocked False NotDeleted",
];

/// Rows 04 and 05.
#[test]
fn a_backend_that_serves_has_every_condition_of_its_generation() {
    assert_eq!(said(&Sim::running(&[]), &input()), SERVES);
}

/// A restored volume serves nothing until an administrator has confirmed it.
#[test]
fn a_server_that_the_master_blocks_says_what_to_do() {
    let mut sim = Sim::running(&[]);
    let rows = sim
        .world
        .mupdate
        .as_mut()
        .unwrap()
        .servers
        .as_mut()
        .unwrap();
    let row = rows
        .iter_mut()
        .find(|row| row.server.as_str() == "be-a")
        .unwrap();
    row.blocked = true;
    let id = row.server_id;
    sim.get("be-a").pod.as_mut().unwrap().ready = false;
    let todo = format!(
        "its volume went back in time, as one restored from an old copy: it serves nothing. Put the newest volume back, \
         or, if there is none, confirm server {id} at the mupdate master: see \"A volume was restored\" in \
         docs/kubernetes.md"
    );
    let expected = [
        format!("Ready False VolumeRestored: {todo}"),
        "Serving False VolumeRestored: its volume is to be confirmed first".to_owned(),
        format!("VolumeHealthy False VolumeRestored: {todo}"),
    ];
    assert_eq!(differs(&sim, &input()), expected);
}

/// Row 05.
#[test]
fn a_backend_just_made_has_every_condition() {
    let sim = Sim::new(&["be-a"]);
    let new = BackendInput {
        claim: "be-a-data".to_owned(),
        ..BackendInput::default()
    };
    let expected = [
        "Ready False PodMissing: its pod is being made",
        "Serving Unknown NotReached: it does not answer the operator",
        "Schedulable Unknown NotReached: it does not answer the operator",
        "Drained False NotRequested",
        "DrainStalled False Progressing",
        "VolumeHealthy Unknown ClaimMissing: claim be-a-data is not there yet",
        "NodeDraining Unknown NotScheduled: it runs on no machine yet",
        "UpdatePending False UpToDate",
        "DeletionBlocked False NotDeleted",
    ];
    assert_eq!(said(&sim, &new), expected);
}

/// Row 07.
#[test]
fn drained_is_true_once_empty_and_stays_so_in_a_pause() {
    let mut sim = Sim::running(&[]);
    sim.get("be-a").wish = Wish::Drained;
    sim.run();
    let hint = "set spec.desiredState to Active to use it again";
    let empty = [
        format!("Ready False Empty: it is empty and serves nothing; {hint}"),
        "Serving False Deactivated: it was emptied and serves nothing".to_owned(),
        "Schedulable False Draining: it gets no new users while it is emptied".to_owned(),
        "Drained True Empty: nothing is left on it, by its own word and the master's".to_owned(),
    ];
    assert_eq!(differs(&sim, &input()), empty);
    sim.world.cluster.paused = true;
    let mut paused = empty;
    paused[3] = "Drained True Empty: nothing was left on it; spec.paused is set".to_owned();
    assert_eq!(differs(&sim, &input()), paused);
}

#[test]
fn a_drain_that_a_pause_holds_says_so() {
    let mut sim = Sim::running(&[("ann", GIB)]);
    sim.get("be-a").wish = Wish::Drained;
    sim.world.cluster.paused = true;
    let expected = ["Drained False Queued: spec.paused is set: nothing moves"];
    assert_eq!(differs(&sim, &input()), expected);
}

/// Row 10.
#[test]
fn the_last_backend_is_not_drained_and_its_deletion_is_held() {
    let mut sim = Sim::new(&["be-a"]);
    assert!(sim.run().converged);
    sim.give("be-a", &[("ann", GIB)]);
    sim.get("be-a").wish = Wish::Drained;
    let why = "0 other backends are ready to take its users, 1 must be; add a Backend";
    let drained = format!("Drained False NoDestination: {why}");
    assert_eq!(differs(&sim, &input()), [drained.as_str()]);
    sim.get("be-a").deleting = true;
    let blocked = format!("DeletionBlocked True NoDestination: {why}");
    assert_eq!(differs(&sim, &input()), [drained, blocked]);
}

/// Row 34.
#[test]
fn a_machine_drained_below_the_last_backend_says_what_is_missing() {
    let mut sim = Sim::new(&["be-a"]);
    assert!(sim.run().converged);
    sim.give("be-a", &[("ann", GIB)]);
    sim.get("be-a").evacuate = true;
    let closed = BackendInput {
        machine_closed: true,
        holds_until_empty: true,
        ..input()
    };
    let why = "0 other backends are ready to take its users, 1 must be; add a Backend";
    let expected = [
        format!("Drained False NoDestination: {why}"),
        format!("NodeDraining True Blocked: node-1 is being drained and waits: {why}"),
    ];
    assert_eq!(differs(&sim, &closed), expected);
    sim.get("be-a").evacuate = false;
    let held = BackendInput {
        policy: NodeDrain::Hold,
        ..closed.clone()
    };
    let expected = [
        "NodeDraining True Held: node-1 is being drained, and nodeDrain is Hold: set it to Transfer or Restart to let the pod go",
    ];
    assert_eq!(differs(&sim, &held), expected);
    let movable = BackendInput {
        holds_until_empty: false,
        ..closed
    };
    let expected = ["NodeDraining True Restart: node-1 is being drained; the pod may be evicted"];
    assert_eq!(differs(&sim, &movable), expected);
}

fn resize(stuck: bool, reason: &'static str, message: &str) -> Resize {
    let message = message.to_owned();
    Resize {
        stuck,
        reason,
        message,
    }
}

type Change = fn(&mut Sim, &mut BackendInput);

#[test]
fn trouble_has_a_reason_and_says_what_it_is() {
    let table: [(&str, Change, &[&str]); 10] = [
        (
            "several",
            |_, input| {
                let problems = [
                    "NameTaken: Service be-a",
                    "ImageNotAvailable: no",
                    "NameTaken: x",
                    "no",
                ];
                input.problems = problems.map(str::to_owned).to_vec();
            },
            &["Ready False NameTaken: Service be-a; ImageNotAvailable: no; x; no"],
        ),
        (
            "image",
            |_, input| input.problems = vec!["ImageNotAvailable: be-a-0: image x: no".to_owned()],
            &["Ready False ImageNotAvailable: be-a-0: image x: no"],
        ),
        (
            "claim deleted",
            |_, input| input.claim_deleted = true,
            &[
                "VolumeHealthy False ClaimDeleted: claim be-a-data was deleted: it and its mail are kept until this \
                 Backend is drained, but no other pod can use it. Drain it while its pod runs; if that is gone, see \
                 \"A volume claim was deleted\" in docs/kubernetes.md",
            ],
        ),
        (
            "no growth",
            |_, input| input.resize = Some(resize(true, "ExpansionNotSupported", "cannot grow")),
            &["VolumeHealthy False ExpansionNotSupported: cannot grow"],
        ),
        (
            "growth",
            |_, input| input.resize = Some(resize(false, "Resizing", "grows to 20Gi")),
            &["VolumeHealthy True Resizing: grows to 20Gi"],
        ),
        (
            "partition",
            |sim, _| sim.status("be-a").partitions[0].failed = Some("sync failed".to_owned()),
            &[
                "VolumeHealthy False PartitionFailed: partition default takes no writes: sync failed",
            ],
        ),
        (
            "update",
            |_, input| input.update_pending = Some("waits for a word".to_owned()),
            &["UpdatePending True Waiting: waits for a word"],
        ),
        (
            "silent",
            |sim, _| sim.get("be-a").status = None,
            &[
                "Ready Unknown NotReached: be-a-0 is ready but its admin interface does not answer",
                "Serving Unknown NotReached: it does not answer the operator",
                "Schedulable Unknown NotReached: it does not answer the operator",
                "Drained False NotRequested: be-a-0 is ready but its admin interface does not answer",
            ],
        ),
        (
            "to be cordoned, but nobody has told it",
            |sim, _| sim.get("be-a").wish = Wish::Cordoned,
            &[
                "Schedulable True CordonPending: spec.desiredState is Cordoned, but it still gets new users",
            ],
        ),
        (
            "cordoned",
            |sim, _| {
                sim.get("be-a").wish = Wish::Cordoned;
                sim.run();
            },
            &["Schedulable False Cordoned: spec.desiredState is Cordoned: it gets no new users"],
        ),
    ];
    for (name, change, expected) in table {
        let (mut sim, mut input) = (Sim::running(&[]), input());
        change(&mut sim, &mut input);
        assert_eq!(differs(&sim, &input), expected, "{name}");
    }
}

#[test]
fn mail_that_was_given_up_is_not_said_to_be_drained() {
    let mut sim = Sim::running(&[("ann", GIB)]);
    let backend = sim.get("be-a");
    backend.deleting = true;
    backend.abandon = true;
    let expected = [
        "Drained False Abandoned: its mail was given up with confirmation; nothing is moved or proven",
        "DeletionBlocked False Draining: it goes once it is empty",
    ];
    assert_eq!(differs(&sim, &input()), expected);
}

/// Row 04: times change only with the status, and an equal look is an equal status.
#[test]
fn a_second_look_changes_nothing_and_a_turn_changes_one_time() {
    let mut sim = Sim::running(&[]);
    let mut object = backend_object();
    let mut progress = DrainProgress::default();
    let first = status_of(&sim.world, &object, &input(), &mut progress, at(0));
    object.status = Some(first.clone());
    let second = status_of(&sim.world, &object, &input(), &mut progress, at(60));
    assert_eq!(second, first);
    sim.get("be-a").wish = Wish::Cordoned;
    sim.run();
    let third = status_of(&sim.world, &object, &input(), &mut progress, at(120));
    for condition in third.conditions.as_ref().unwrap() {
        let since = if condition.type_ == "Schedulable" {
            at(120)
        } else {
            at(0)
        };
        assert_eq!(
            condition.last_transition_time.0, since,
            "{}",
            condition.type_
        );
    }
}

/// Row 60: the journal with the figures is the node's, and goes with its pod.
#[test]
fn a_silent_node_takes_no_figures_of_its_drain_away() {
    let mut sim = Sim::running(&[("ann", GIB), ("ben", GIB)]);
    sim.get("be-a").wish = Wish::Drained;
    sim.run_until("StartTransfer");
    let mut object = backend_object();
    let mut progress = DrainProgress::default();
    sim.transfers("be-a")[0].bytes_sent = GIB / 2;
    let status = status_of(&sim.world, &object, &input(), &mut progress, at(0));
    let figures = |status: &BackendStatus| {
        let drain = status.drain.clone().unwrap();
        (
            drain.total,
            drain.remaining,
            drain.bytes_total,
            drain.bytes_moved,
        )
    };
    let known = figures(&status);
    assert_eq!(known.0, 2);
    assert_eq!(known.3, (GIB / 2) as i64);
    object.status = Some(status);
    let backend = sim.get("be-a");
    (backend.status, backend.transfers, backend.units) = (None, None, None);
    let status = status_of(&sim.world, &object, &input(), &mut progress, at(1));
    assert_eq!(figures(&status), known);
}

/// Row 60.
#[test]
fn a_drain_shows_its_pace_and_its_stall() {
    let mut sim = Sim::running(&[("ann", GIB), ("ben", GIB)]);
    sim.get("be-a").wish = Wish::Drained;
    sim.run_until("StartTransfer");
    let object = backend_object();
    let mut progress = DrainProgress::default();
    status_of(&sim.world, &object, &input(), &mut progress, at(0));
    sim.transfers("be-a")[0].bytes_sent = GIB / 2;
    let status = status_of(&sim.world, &object, &input(), &mut progress, at(16));
    let drain = status.drain.unwrap();
    assert_eq!(drain.reason, "Spec");
    assert_eq!((drain.total, drain.moved, drain.remaining), (2, 0, 2));
    assert_eq!(drain.started_at, Some(at(0).to_string()));
    assert_eq!(drain.last_progress_at, Some(at(16).to_string()));
    assert_eq!(drain.rate_bps, Some((GIB / 32) as i64));
    assert_eq!(drain.eta, Some(at(16 + 64).to_string()));
    let stalled = |status: BackendStatus| {
        let conditions = status.conditions.unwrap();
        let found = find(&conditions, "DrainStalled").unwrap();
        (found.status.clone(), found.reason.clone())
    };
    let later = status_of(&sim.world, &object, &input(), &mut progress, at(615));
    assert_eq!(
        stalled(later),
        ("False".to_owned(), "Progressing".to_owned())
    );
    let later = status_of(&sim.world, &object, &input(), &mut progress, at(616));
    assert_eq!(stalled(later), ("True".to_owned(), "NoProgress".to_owned()));
}
