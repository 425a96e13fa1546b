//! Wires that break, at every message, and masters that cannot be heard.

use std::time::Duration;

use murder_api::admin::TransferPhase;
use murder_model::{Epoch, SystemFlags, UidSet, UnitState};
use murder_node::backend::gate::Phase;
use murder_store::mail::{FlagChange, Viewer, store_flags};

use crate::content::fill;
use crate::harness::{message, until};
use crate::murder::Murder;
use crate::proxy::{Cut, From, Mode};

/// Cuts the conversation after each record that one side sends in a whole transfer.
async fn cut_everywhere(from: From) {
    let murder = Murder::start().await;
    let settings = "transfer: {attemptsMax: 1}\n";
    let mut a = murder.backend("be-a", settings).await;
    let mut b = murder.backend("be-b", settings).await;
    let root = fill(&a).await;
    let record = murder.record(&root).await;
    let mut failures = 0;
    for records in 1.. {
        let before = a.content(&record).await;
        b.to_peers.arm(Cut { from, records });
        let status = a.transfer(&root, &b).await;
        if status.phase == TransferPhase::Done {
            break;
        }
        assert_eq!(status.phase, TransferPhase::Failed);
        failures += 1;
        assert_eq!(a.content(&record).await, before);
        let id = records.to_string();
        let added = a.add(&id, 1_000);
        added.await.unwrap();
        until("the copy goes", || async { b.rows(&record).await == 0 }).await;
    }
    assert!(failures >= 5, "{failures}");
    let record = murder.record(&root).await;
    assert_eq!(record.server, b.server());
    until("it is served", || async {
        b.backend().unit(&root).is_some()
    })
    .await;
    b.add("after", 10).await.unwrap();
    b.content(&record).await;
    a.stop_and_check().await;
    b.stop_and_check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_after_any_word_of_the_source_leaves_the_unit_with_one_owner() {
    cut_everywhere(From::Client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_after_any_word_of_the_destination_leaves_the_unit_with_one_owner() {
    cut_everywhere(From::Server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_broke_off_is_gone_on_with() {
    let murder = Murder::start().await;
    let a = murder.backend("be-a", "").await;
    let b = murder.backend("be-b", "").await;
    let root = fill(&a).await;
    for number in 0..1200 {
        let text = message(&format!("n{number}"), 10_000);
        let added = a.append("user.alice", &text, SystemFlags::NONE, &[]);
        added.await.unwrap();
    }
    let before = a.content(&murder.record(&root).await).await;
    // Most of 16 megabytes, in records of 16 KiB.
    b.to_peers.arm(Cut {
        from: From::Client,
        records: 800,
    });
    let status = a.transfer(&root, &b).await;
    assert_eq!((status.phase, status.attempts), (TransferPhase::Done, 2));
    assert!(!b.to_peers.is_armed());
    let total = status.bytes_total;
    assert!(
        status.bytes_sent < total * 3 / 2,
        "{} of {total}",
        status.bytes_sent
    );
    assert_eq!(b.content(&murder.record(&root).await).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_change_before_their_turn_come_with_their_bytes() {
    let murder = Murder::start().await;
    let a = murder.backend("be-a", "").await;
    let b = murder.backend("be-b", "").await;
    let root = fill(&a).await;
    for number in 0..1200 {
        a.add(&format!("n{number}"), 10_000).await.unwrap();
    }
    let record = murder.record(&root).await;
    let id = a.start_move(&root, &b);
    until("the copy begins", || async { b.rows(&record).await > 0 }).await;
    b.to_peers.set(Mode::Hold);
    // So little is under way that the last messages have not been looked at.
    let (place, row) = (a.backend().unit(&root).unwrap(), a.row("user.alice").await);
    let flagged = a.backend().write(&place, move |tx| {
        let uids = UidSet::range(row.uid_next - 10, row.uid_next - 1);
        let (flags, add) = (SystemFlags::FLAGGED, FlagChange::Add);
        store_flags(
            tx,
            &row.id,
            Viewer::Owner,
            &uids,
            add,
            flags,
            &[],
            flags,
            false,
            None,
        )
    });
    flagged.await.unwrap();
    assert_eq!(a.status(&id).phase, TransferPhase::Copying);
    let before = a.content(&record).await;
    b.to_peers.set(Mode::Pass);
    let status = a.transfers().wait(&id).await.unwrap();
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    assert_eq!(b.content(&murder.record(&root).await).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_over_budget_is_given_up_and_tried_again() {
    let murder = Murder::start().await;
    let a = murder
        .backend("be-a", "transfer: {freezeMsMax: 300}\n")
        .await;
    let b = murder.backend("be-b", "").await;
    let root = fill(&a).await;
    let place = a.backend().unit(&root).unwrap();
    let pass = place.gate.enter().await.unwrap();
    let id = a.start_move(&root, &b);
    // The write that is under way outlives the budget.
    until("a second try", || async { a.status(&id).attempts == 2 }).await;
    drop(pass);
    let added = a.add("between", 10);
    let _may_be_moved_by_then = added.await;
    // The destination is silent in the freeze.
    let status = a.transfers().wait(&id).await.unwrap();
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    assert!(status.attempts >= 2);
    b.content(&murder.record(&root).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepare_that_is_not_answered_in_time_is_aborted() {
    let murder = Murder::start().await;
    let a = murder
        .backend("be-a", "transfer: {freezeMsMax: 500}\n")
        .await;
    let b = murder.backend("be-b", "").await;
    let root = fill(&a).await;
    let record = murder.record(&root).await;
    let place = a.backend().unit(&root).unwrap();
    let pass = place.gate.enter().await.unwrap();
    let id = a.start_move(&root, &b);
    until("the freeze waits", || async {
        place.gate.phase_now().is_none()
    })
    .await;
    b.to_peers.set(Mode::LoseReplies);
    drop(pass);
    until("the source gives the freeze up", || async {
        a.status(&id)
            .error
            .is_some_and(|error| error.contains("too long"))
    })
    .await;
    // Prepared there or not: it is served here.
    let added = a.add("between", 10);
    added.await.unwrap();
    let before = a.content(&record).await;
    b.to_peers.set(Mode::Pass);
    let status = a.transfers().wait(&id).await.unwrap();
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    assert_eq!(b.content(&murder.record(&root).await).await, before);
}

/// Runs a transfer up to RELEASED while the source's way to the master is in `mode`.
async fn release_while(mode: Mode) -> (Murder, crate::harness::Node, crate::harness::Node) {
    let murder = Murder::start().await;
    let a = murder
        .backend("be-a", "transfer: {freezeMsMax: 30000}\n")
        .await;
    let b = murder.backend("be-b", "").await;
    let root = fill(&a).await;
    let place = a.backend().unit(&root).unwrap();
    let pass = place.gate.enter().await.unwrap();
    a.start_move(&root, &b);
    until("the freeze waits", || async {
        place.gate.phase_now().is_none()
    })
    .await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flip_that_is_lost_is_settled_in_favour_of_the_source() {
    let (murder, a, b) = release_while(Mode::LoseRequests).await;
    let root = crate::harness::alice();
    let place = a.backend().unit(&root).unwrap();
    let record = murder.record(&root).await;
    // Those who wait are told after a while that it is in doubt.
    assert_eq!(place.gate.enter().await.unwrap_err(), Phase::InDoubt);
    assert_eq!(record.server, a.server());
    a.to_master.set(Mode::Refuse);
    a.to_master.set(Mode::Pass);
    until("it is settled", || async {
        place.gate.phase_now() == Some(Phase::Active)
    })
    .await;
    let id = a.transfers().list()[0].move_id;
    // The unit is moved after all, by another move.
    let status = a.transfers().wait(&id).await.unwrap();
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    let record = murder.record(&root).await;
    assert_eq!(
        (record.server.clone(), record.epoch),
        (b.server(), Epoch::new(3))
    );
    b.content(&record).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flip_whose_answer_is_lost_is_found_to_be_done() {
    let (murder, a, b) = release_while(Mode::LoseReplies).await;
    let root = crate::harness::alice();
    let flipped = || async { murder.record(&root).await.server == b.server() };
    until("the flip arrives", flipped).await;
    // The destination learns it from the master itself.
    until("it is served there", || async {
        b.backend().unit(&root).is_some()
    })
    .await;
    b.add("there", 10).await.unwrap();
    a.to_master.set(Mode::Refuse);
    tokio::time::sleep(Duration::from_millis(1)).await;
    a.to_master.set(Mode::Pass);
    let id = a.transfers().list()[0].move_id;
    let status = a.transfers().wait(&id).await.unwrap();
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    let record = murder.record(&root).await;
    assert_eq!(record.epoch, Epoch::new(2));
    let own = a.ownership(&record).await.unwrap();
    let moved = UnitState::Moved {
        to: b.server(),
        term: record.term,
        epoch: record.epoch,
    };
    assert_eq!(own.state, moved);
}
