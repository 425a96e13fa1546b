//! Nodes are killed while clients deliver, read, flag and copy; the ledger of all that they were told
//! must hold at the end.

use std::time::{Duration, Instant};

use murder_api::admin::TransferPhase;
use murder_e2e::console::Console;
use murder_e2e::demo::{Party, Trial};
use murder_e2e::mail::Sources;
use murder_e2e::murder::{Murder, Plan};

use crate::NODE;

/// Messages of a trial.
const MESSAGES: usize = 240;

/// Users of a trial.
const USERS: usize = 8;

/// Longest time until a backend is empty.
const EMPTY_LIMIT: Duration = Duration::from_secs(90);

/// Time between two looks at it.
const LOOK: Duration = Duration::from_millis(20);

/// Two backends, two frontends, and the clients.
async fn start(seed: u64) -> (Murder, Trial) {
    start_as(Plan::discrete(NODE, 2, 2), seed).await
}

async fn start_as(plan: Plan, seed: u64) -> (Murder, Trial) {
    let users: Vec<_> = (1..=USERS).map(|number| format!("user{number}")).collect();
    let murder = plan.users(users.iter().cloned()).start().await.unwrap();
    let party = Party::of(&murder, &users, true).unwrap();
    let sources = Sources {
        mail: None,
        messages: MESSAGES,
        seed,
    };
    let trial = Trial::prepare(party, &sources, Console::default()).await;
    let mut trial = trial.unwrap();
    trial.start();
    (murder, trial)
}

async fn finish(trial: Trial) {
    let report = trial.finish(None).await.unwrap();
    assert!(report.is_good(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_backend_loses_nothing_that_it_acknowledged() {
    let (mut murder, trial) = start(1).await;
    for (percent, backend) in [(20, "be-a"), (45, "be-b"), (70, "be-a")] {
        trial.reached(percent).await;
        murder.kill(backend).unwrap();
        murder.start(backend).await.unwrap();
    }
    finish(trial).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_unified_nodes_lose_nothing_and_their_clients_go_to_others() {
    let (mut murder, trial) = start_as(Plan::unified(NODE, 2), 6).await;
    for (percent, node) in [(25, "un-a"), (50, "un-b")] {
        trial.reached(percent).await;
        murder.kill(node).unwrap();
        murder.start(node).await.unwrap();
    }
    finish(trial).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_frontend_costs_its_clients_a_reconnect_and_nothing_else() {
    let (mut murder, trial) = start(2).await;
    trial.reached(30).await;
    murder.kill("fe-0").unwrap();
    trial.reached(60).await;
    murder.start("fe-0").await.unwrap();
    trial.reached(80).await;
    murder.kill("fe-1").unwrap();
    finish(trial).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_master_mail_is_delivered_and_read() {
    let (mut murder, trial) = start(3).await;
    trial.reached(25).await;
    murder.kill("mupdate").unwrap();
    trial.reached(75).await;
    let (delivering, reading) = trial.experiences();
    // A copy to another server's mailbox needs the master's word where that is.
    let mut errors = delivering
        .errors
        .into_keys()
        .chain(reading.errors.into_keys());
    let noticed = errors.find(|error| !error.starts_with("UID COPY was refused: NO [UNAVAILABLE]"));
    assert_eq!(noticed, None);
    murder.start("mupdate").await.unwrap();
    finish(trial).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_move_back_and_forth_while_they_get_and_read_mail() {
    let (mut murder, trial) = start(4).await;
    let mut moves = Moves::default();
    for percent in [15, 35, 55, 75] {
        trial.reached(percent).await;
        moves.turn(&mut murder, None).await;
    }
    assert!(moves.moved >= USERS, "{} moves", moves.moved);
    finish(trial).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_outlives_source_destination_and_master() {
    let (mut murder, trial) = start(5).await;
    let mut moves = Moves::default();
    for (percent, victim) in [(15, "be-a"), (30, "be-b"), (45, "mupdate"), (60, "be-b")] {
        trial.reached(percent).await;
        moves.turn(&mut murder, Some(victim)).await;
    }
    finish(trial).await;
}

/// Moves all that is on one backend to the other, by turns: from be-a first.
#[derive(Default)]
struct Moves {
    turns: usize,
    /// Number of the next transfer.
    number: u64,
    moved: usize,
}

impl Moves {
    /// Once a transfer runs, the victim is killed and started again.
    async fn turn(&mut self, murder: &mut Murder, mut victim: Option<&str>) {
        let (from, to) = if self.turns.is_multiple_of(2) {
            ("be-a", "be-b")
        } else {
            ("be-b", "be-a")
        };
        self.turns += 1;
        let deadline = Instant::now() + EMPTY_LIMIT;
        while let Some(left) = self.ask(murder, from, to).await {
            assert!(Instant::now() < deadline, "{left} units stay at {from}");
            if let Some(victim) = victim.take() {
                murder.kill(victim).unwrap();
                murder.start(victim).await.unwrap();
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Starts the transfers that do not run; how many units are left.
    async fn ask(&mut self, murder: &Murder, from: &str, to: &str) -> Option<usize> {
        let units = murder.units(from).await.unwrap();
        let transfers = murder.transfers(from).await.unwrap();
        let is_left = |state: &str| ["Owner", "Released"].contains(&state);
        let left: Vec<_> = units.iter().filter(|unit| is_left(&unit.state)).collect();
        for unit in &left {
            let runs = transfers.iter().any(|transfer| {
                use TransferPhase as P;
                let over = matches!(transfer.phase, P::Done | P::Failed | P::Cancelled);
                transfer.root == unit.root && !over
            });
            if !runs && unit.state == "Owner" {
                self.number += 1;
                let started = murder.start_transfer(from, unit.root.as_str(), to, self.number);
                // It may be over since the look, or its try before is not yet forgotten.
                self.moved += usize::from(started.await.is_ok());
            }
        }
        (!left.is_empty()).then_some(left.len())
    }
}
