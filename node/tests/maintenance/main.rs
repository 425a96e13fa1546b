//! What a server forgets, and when, on real partitions with disks in memory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "other targets need more of it")]
#[path = "../admin/harness.rs"]
mod harness;
#[expect(dead_code, reason = "other targets need more of it")]
#[path = "../admin/mailboxes.rs"]
mod mailboxes;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use murder_model::{DeliveryId, MailboxId, ModSeq, Timestamp, UidSet, UnitId};
use murder_node::maintenance::{Horizons, IsMoving, Maintenance};
use murder_store::mail::{
    Effects, Viewer, append_once, appended_under, deliver, expunge, mailboxes as list,
    recompute_digest, unit, vanished_since, was_delivered,
};

use crate::harness::Authority;
use crate::mailboxes::{As, Mailboxes, new_message, unit_id};

const OLD: Timestamp = Timestamp::from_millis(1_000);
const HORIZON: Timestamp = Timestamp::from_millis(2_000);
const YOUNG: Timestamp = Timestamp::from_millis(3_000);
const HORIZONS: Horizons = Horizons {
    marks: HORIZON,
    deliveries: HORIZON,
    results: HORIZON,
};
const ALICE: UnitId = UnitId::from_bytes([1; 16]);

/// What a unit still remembers: removed UIDs, whether those are all, deliveries, results.
type Memory = (String, bool, Vec<u8>, Vec<u8>);

fn never() -> Arc<IsMoving> {
    Arc::new(|_| false)
}

async fn inbox(mailboxes: &Mailboxes, id: UnitId) -> MailboxId {
    let partition = mailboxes.partition("default");
    let listed = partition.read(move |rows| list(rows, &id)).await.unwrap();
    listed.into_iter().find_map(|(_, row)| row).unwrap().id
}

/// A delivery and an APPEND under an id, numbered, and the removal of one message, at `time`.
async fn live(mailboxes: &Mailboxes, id: UnitId, number: u8, time: Timestamp) {
    let inbox = inbox(mailboxes, id).await;
    let partition = mailboxes.partition("default");
    let written = partition.write(move |tx| {
        let message = new_message(number);
        let (appended, _) = deliver(tx, &[(inbox, Some([number; 32]))], &message, time)?;
        let source = DeliveryId::from_bytes([number; 16]);
        append_once(tx, &inbox, &source, Viewer::Owner, &[message], &[1], time)?;
        let uid: UidSet = [appended[0].unwrap().uid.get()].into_iter().collect();
        murder_store::mail::store_flags(
            tx,
            &inbox,
            Viewer::Owner,
            &uid,
            murder_store::mail::FlagChange::Add,
            murder_model::SystemFlags::DELETED,
            &[],
            murder_model::SystemFlags::from_bits(31),
            true,
            None,
        )?;
        expunge(tx, &inbox, Some(&uid), time)?;
        Ok(((), Effects::default()))
    });
    written.await.unwrap();
}

async fn memory(mailboxes: &Mailboxes, id: UnitId) -> Memory {
    let inbox = inbox(mailboxes, id).await;
    let partition = mailboxes.partition("default");
    let memory = partition.read(move |rows| {
        let row = unit(rows, &id)?.unwrap();
        assert_eq!(row.digest, recompute_digest(rows, &id)?);
        let vanished = vanished_since(rows, &id, &inbox, ModSeq::new(0))?;
        let (mut deliveries, mut results) = (Vec::new(), Vec::new());
        for number in 1..10 {
            if was_delivered(rows, &id, &[number; 32])? {
                deliveries.push(number);
            }
            let source = DeliveryId::from_bytes([number; 16]);
            if appended_under(rows, &id, &source)?.is_some() {
                results.push(number);
            }
        }
        let uids = vanished.uids.to_string();
        Ok((uids, vanished.complete, deliveries, results))
    });
    memory.await.unwrap()
}

fn all() -> Memory {
    ("1,3".to_owned(), true, vec![1, 2], vec![1, 2])
}

fn young() -> Memory {
    ("3".to_owned(), false, vec![2], vec![2])
}

/// A unit that remembers something old and something young.
async fn with_memory(authority: &Authority) -> Mailboxes {
    let mailboxes = Mailboxes::open(authority);
    mailboxes.own("default", 1, "user.alice", 0).await;
    live(&mailboxes, ALICE, 1, OLD).await;
    live(&mailboxes, ALICE, 2, YOUNG).await;
    assert_eq!(memory(&mailboxes, ALICE).await, all());
    mailboxes
}

#[tokio::test]
async fn what_is_old_goes_and_what_is_young_stays() {
    let mailboxes = with_memory(&Authority::new()).await;
    let mut maintenance = Maintenance::new(Arc::clone(&mailboxes.backend), never());
    for _ in 0..2 {
        maintenance.pass(HORIZONS).await;
        assert_eq!(memory(&mailboxes, ALICE).await, young());
    }
}

#[tokio::test]
async fn later_passes_find_what_was_removed_meanwhile() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    mailboxes.own("default", 1, "user.alice", 5).await;
    let mut maintenance = Maintenance::new(Arc::clone(&mailboxes.backend), never());
    maintenance.pass(HORIZONS).await;
    live(&mailboxes, ALICE, 1, YOUNG).await;
    maintenance.pass(HORIZONS).await;
    let kept = ("6".to_owned(), true, vec![1], vec![1]);
    assert_eq!(memory(&mailboxes, ALICE).await, kept);
    let later = Timestamp::from_millis(4_000);
    let horizons = Horizons {
        marks: later,
        deliveries: later,
        results: later,
    };
    maintenance.pass(horizons).await;
    let nothing = (String::new(), false, vec![], vec![]);
    assert_eq!(memory(&mailboxes, ALICE).await, nothing);
}

#[tokio::test]
async fn a_unit_that_is_being_transferred_is_left_alone() {
    let mailboxes = with_memory(&Authority::new()).await;
    mailboxes.own("default", 2, "user.bob", 0).await;
    let bob = unit_id(2);
    live(&mailboxes, bob, 1, OLD).await;
    live(&mailboxes, bob, 2, YOUNG).await;
    let is_moving: Arc<IsMoving> = Arc::new(|root| root.as_str() == "user.alice");
    let mut maintenance = Maintenance::new(Arc::clone(&mailboxes.backend), is_moving);
    maintenance.pass(HORIZONS).await;
    assert_eq!(memory(&mailboxes, ALICE).await, all());
    assert_eq!(memory(&mailboxes, bob).await, young());
}

#[tokio::test]
async fn a_unit_that_is_not_owned_is_left_alone() {
    let mailboxes = with_memory(&Authority::new()).await;
    let backend = Arc::clone(&mailboxes.backend);
    let mut maintenance = Maintenance::new(backend, never());
    for state in [As::Released, As::Prepared, As::Moved] {
        mailboxes.put("default", 1, "user.alice", state).await;
        maintenance.pass(HORIZONS).await;
        assert_eq!(memory(&mailboxes, ALICE).await, all(), "{state:?}");
    }
}

#[tokio::test]
async fn much_goes_in_small_steps_until_a_transfer_begins() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    mailboxes.own("default", 1, "user.alice", 0).await;
    let inbox = inbox(&mailboxes, ALICE).await;
    let partition = mailboxes.partition("default");
    let written = partition.write(move |tx| {
        for number in 0..500_u16 {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&number.to_be_bytes());
            deliver(tx, &[(inbox, Some(key))], &new_message(0), OLD)?;
        }
        Ok(((), Effects::default()))
    });
    written.await.unwrap();
    let left = async || {
        let counted = partition.read(|rows| {
            let mut left = 0;
            for number in 0..500_u16 {
                let mut key = [0; 32];
                key[..2].copy_from_slice(&number.to_be_bytes());
                left += usize::from(was_delivered(rows, &ALICE, &key)?);
            }
            Ok(left)
        });
        counted.await.unwrap()
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let is_moving: Arc<IsMoving> = {
        let asked = Arc::clone(&asked);
        Arc::new(move |_| asked.fetch_add(1, Ordering::Relaxed) == 2)
    };
    let mut maintenance = Maintenance::new(Arc::clone(&mailboxes.backend), is_moving);
    maintenance.pass(HORIZONS).await;
    assert_eq!((asked.load(Ordering::Relaxed), left().await), (3, 100));
    maintenance.pass(HORIZONS).await;
    assert_eq!(left().await, 0);
}

#[test]
fn horizons_follow_from_the_settings() {
    let authority = Authority::new();
    let settings = harness::settings(authority.path(), "backend", "be-a");
    let hour = 3_600_000;
    let now = Timestamp::from_millis(1_000 * hour);
    let expected = Horizons {
        marks: Timestamp::from_millis(976 * hour),
        deliveries: Timestamp::from_millis(928 * hour),
        results: Timestamp::from_millis(832 * hour),
    };
    assert_eq!(Horizons::new(&settings, now), expected);
}
