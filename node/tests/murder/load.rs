//! Nodes are killed while clients deliver, read, flag and copy; the ledger of all that they were told
//! must hold at the end.

use murder_e2e::console::Console;
use murder_e2e::demo::{Party, Trial};
use murder_e2e::mail::Sources;
use murder_e2e::murder::{Murder, Plan};

use crate::NODE;

/// Messages of a trial.
const MESSAGES: usize = 240;

/// Users of a trial.
const USERS: usize = 8;

/// Two backends, two frontends, and the clients.
async fn start(seed: u64) -> (Murder, Trial) {
    let users: Vec<_> = (1..=USERS).map(|number| format!("user{number}")).collect();
    let plan = Plan::discrete(NODE, 2, 2).users(users.iter().cloned());
    let murder = plan.start().await.unwrap();
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
