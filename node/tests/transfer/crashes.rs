//! Processes that end in the middle of a move, and what their next life makes of it.

use murder_api::admin::TransferPhase;
use murder_model::{Epoch, RootName, UnitState};
use murder_store::mail::{Effects, drop_unit};

use crate::content::fill;
use crate::harness::{Node, alice, until};
use crate::murder::Murder;
use crate::proxy::Mode;

/// Two backends and alice on the first, whose transfer waits for a write before the freeze; then
/// `mode` is what becomes of what the source says to the master.
async fn released(mode: Mode) -> (Murder, Node, Node) {
    let (murder, a, b, pass) = before_freeze("").await;
    let root = alice();
    a.to_master.set(mode);
    drop(pass);
    let record = murder.record(&root).await;
    until("it is released", || async {
        let own = a.ownership(&record).await.unwrap();
        matches!(own.state, UnitState::Released { .. })
    })
    .await;
    (murder, a, b)
}

async fn before_freeze(extra: &str) -> (Murder, Node, Node, murder_node::backend::gate::Pass) {
    let murder = Murder::start().await;
    let settings = format!("transfer: {{freezeMsMax: 30000{extra}}}\n");
    let a = murder.backend("be-a", &settings).await;
    let b = murder.backend("be-b", &settings).await;
    let root = fill(&a).await;
    let place = a.backend().unit(&root).unwrap();
    let pass = place.gate.enter().await.unwrap();
    a.start_move(&root, &b);
    until("the freeze waits", || async {
        place.gate.phase_now().is_none()
    })
    .await;
    (murder, a, b, pass)
}

async fn served_by(murder: &Murder, node: &Node, root: &RootName, epoch: u64) {
    until("it is served", || async {
        node.backend().place(root).await.is_ok()
    })
    .await;
    let record = murder.record(root).await;
    assert_eq!(
        (record.server.clone(), record.epoch),
        (node.server(), Epoch::new(epoch))
    );
    let added = node.add("new", 10);
    added.await.unwrap();
    node.content(&record).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_dies_after_released_takes_the_unit_back_if_the_flip_was_lost() {
    let (murder, mut a, b) = released(Mode::LoseRequests).await;
    let record = murder.record(&alice()).await;
    let prepared = b.ownership(&record).await.unwrap();
    assert!(matches!(prepared.state, UnitState::Prepared { .. }));
    a.stop().await;
    a.to_master.set(Mode::Pass);
    a.run().await;
    served_by(&murder, &a, &alice(), 2).await;
    until("the copy goes", || async { b.rows(&record).await == 0 }).await;
    assert_eq!(b.ownership(&record).await.unwrap().state, UnitState::Gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_dies_after_the_flip_finds_the_unit_moved() {
    let (murder, mut a, b) = released(Mode::LoseReplies).await;
    let flipped = || async { murder.record(&alice()).await.server == b.server() };
    until("the flip arrives", flipped).await;
    a.stop().await;
    a.to_master.set(Mode::Pass);
    a.run().await;
    served_by(&murder, &b, &alice(), 2).await;
    let gate = a.backend().unit(&alice()).unwrap().gate;
    until("it is settled", || async { gate.has_moved() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_destination_that_dies_serves_in_its_next_life_if_it_was_granted() {
    let (murder, a, mut b) = released(Mode::Refuse).await;
    b.stop().await;
    a.to_master.set(Mode::Pass);
    // The source's FLIP may have been lost: then its SETTLE raises, and it moves the unit again.
    b.run().await;
    let id = a.transfers().list()[0].move_id;
    let status = a.transfers().wait(&id).await.unwrap();
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    let epoch = murder.record(&alice()).await.epoch.get();
    served_by(&murder, &b, &alice(), epoch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_granted_destination_that_was_dead_serves_in_its_next_life() {
    let (murder, a, mut b, pass) = before_freeze("").await;
    // It prepares, and then neither hears nor says anything more.
    b.to_master.set(Mode::LoseReplies);
    drop(pass);
    let flipped = || async { murder.record(&alice()).await.server == b.server() };
    until("the flip arrives", flipped).await;
    b.stop().await;
    b.to_master.set(Mode::Refuse);
    b.to_master.set(Mode::Pass);
    let record = murder.record(&alice()).await;
    b.run().await;
    served_by(&murder, &b, &alice(), 2).await;
    until("the source is done", || async {
        a.transfers().list()[0].phase == TransferPhase::Done
    })
    .await;
    let own = a.ownership(&record).await.unwrap();
    assert!(matches!(own.state, UnitState::Moved { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_dies_while_it_stages_is_gone_on_with() {
    let (murder, a, mut b, pass) = before_freeze("").await;
    let record = murder.record(&alice()).await;
    assert!(b.rows(&record).await > 0);
    b.restart().await;
    drop(pass);
    let id = a.transfers().list()[0].move_id;
    let status = a.transfers().wait(&id).await.unwrap();
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    assert!(status.bytes_sent <= status.bytes_total, "{status:?}");
    served_by(&murder, &b, &alice(), 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_dies_before_released_serves_on_and_the_copy_goes() {
    let (murder, mut a, b, pass) = before_freeze("").await;
    let record = murder.record(&alice()).await;
    assert!(b.rows(&record).await > 0);
    drop(pass);
    a.stop().await;
    a.run().await;
    let there = murder.record(&alice()).await;
    if there.server == a.server() {
        served_by(&murder, &a, &alice(), 1).await;
        until("the copy goes", || async { b.rows(&record).await == 0 }).await;
    } else {
        served_by(&murder, &b, &alice(), 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_die_and_the_master_decides() {
    for mode in [Mode::LoseRequests, Mode::LoseReplies] {
        let (murder, mut a, mut b) = released(mode).await;
        if mode == Mode::LoseReplies {
            let flipped = || async { murder.record(&alice()).await.server == b.server() };
            until("the flip arrives", flipped).await;
        }
        a.stop().await;
        b.stop().await;
        a.to_master.set(Mode::Pass);
        b.run().await;
        a.run().await;
        let owner = match mode {
            Mode::LoseRequests => &a,
            _ => &b,
        };
        served_by(&murder, owner, &alice(), 2).await;
        a.stop_and_check().await;
        b.stop_and_check().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_differs_never_becomes_the_original() {
    let (murder, a, b, pass) = before_freeze(", attemptsMax: 2").await;
    let record = murder.record(&alice()).await;
    b.to_peers.set(Mode::Refuse);
    drop(pass);
    until("the first try fails", || async {
        a.transfers().list()[0].error.is_some()
    })
    .await;
    let unit = record.unit;
    let partition = &b.backend().partitions()[0];
    let damaged = partition.write(move |tx| {
        drop_unit(tx, &unit, 1)?;
        Ok(((), Effects::default()))
    });
    damaged.await.unwrap();
    b.to_peers.set(Mode::Pass);
    let id = a.transfers().list()[0].move_id;
    let status = a.transfers().wait(&id).await.unwrap();
    assert_eq!(status.phase, TransferPhase::Failed, "{status:?}");
    assert_eq!(status.error.unwrap(), "the copy differs from the original");
    served_by(&murder, &a, &alice(), 1).await;
    // The next one begins with nothing.
    let status = a.transfer(&alice(), &b).await;
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    served_by(&murder, &b, &alice(), 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_copy_goes_when_its_grace_is_over_and_leaves_a_tombstone() {
    let murder = Murder::start().await;
    let mut a = murder.backend("be-a", "transfer: {graceHours: 0}\n").await;
    let b = murder.backend("be-b", "").await;
    let root = fill(&a).await;
    let status = a.transfer(&root, &b).await;
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    let record = murder.record(&root).await;
    // The next start looks at once.
    a.restart().await;
    until("the copy goes", || async { a.rows(&record).await == 0 }).await;
    let own = a.ownership(&record).await.unwrap();
    assert_eq!((own.state, own.epoch), (UnitState::Gone, Epoch::new(2)));
    a.stop_and_check().await;
    a.run().await;
    a.reported().await;
    // It may come back.
    let status = b.transfer(&root, &a).await;
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    served_by(&murder, &a, &root, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_copy_outlives_its_grace_until_the_destination_says_that_it_has_the_unit() {
    let murder = Murder::start().await;
    let mut a = murder.backend("be-a", "transfer: {graceHours: 0}\n").await;
    let mut b = murder.backend("be-b", "").await;
    let root = fill(&a).await;
    let status = a.transfer(&root, &b).await;
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    let record = murder.record(&root).await;
    b.stop().await;
    // The look at the start finds nobody to ask.
    a.restart().await;
    a.reported().await;
    let own = a.ownership(&record).await.unwrap();
    assert!(matches!(own.state, UnitState::Moved { .. }), "{own:?}");
    assert!(a.rows(&record).await > 0);
    b.run().await;
    b.reported().await;
    a.restart().await;
    until("the copy goes", || async { a.rows(&record).await == 0 }).await;
    served_by(&murder, &b, &root, 2).await;
}
