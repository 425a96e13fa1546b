//! What moves, and that it moves whole.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use murder_api::admin::TransferPhase;
use murder_model::{Epoch, RootName, SystemFlags, UidSet, UserName};
use murder_node::backend::{Backend, BackendError};
use murder_store::mail::{
    FlagChange, Viewer, delivery_key, effective_seen, expunge, messages, store_flags, subscriptions,
};

use crate::content::fill;
use crate::harness::{alice, append_to, message, until};
use crate::murder::Murder;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_unit_moves_bit_for_bit_and_back_again() {
    let murder = Murder::start().await;
    let mut a = murder.backend("be-a", "").await;
    let mut b = murder.backend("be-b", "").await;
    let root = fill(&a).await;
    let count = a.mailboxes(&root).await;
    a.names_told().await;
    let names = names_of(&murder, "be-a", count).await;
    let there = a.content(&murder.record(&root).await).await;
    let status = a.transfer(&root, &b).await;
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    assert_eq!((status.attempts, status.error), (1, None));
    assert!(status.bytes_sent >= 3_300_000, "{}", status.bytes_sent);
    let record = murder.record(&root).await;
    assert_eq!(
        (record.server.clone(), record.epoch),
        (b.server(), Epoch::new(2))
    );
    assert_eq!(b.content(&record).await, there);
    assert_eq!(names_of(&murder, "be-b", count).await, names);
    // A delivery from before is still known.
    let key = delivery_key("alice", b"<once@example.org>", &[7; 32]);
    assert!(!b.deliver("user.alice", &message("once", 500), key).await);
    let more = b.add("later", 100);
    assert_eq!(more.await.unwrap().uid.get(), 8);
    let there = b.content(&record).await;
    let status = b.transfer(&root, &a).await;
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    let record = murder.record(&root).await;
    assert_eq!(
        (record.server.clone(), record.epoch),
        (a.server(), Epoch::new(3))
    );
    assert_eq!(a.content(&record).await, there);
    assert_eq!(names_of(&murder, "be-a", count).await, names);
    a.stop_and_check().await;
    b.stop_and_check().await;
    // And everything is there after a restart.
    a.run().await;
    assert_eq!(a.content(&record).await, there);
    let place = a.backend().unit(&root).unwrap();
    let subscribed = place
        .partition
        .read(move |rows| subscriptions(rows, &place.unit));
    assert!(!subscribed.await.unwrap().is_empty());
}

/// Names and rights that the master has at a server, once there are so many.
async fn names_of(murder: &Murder, server: &str, count: usize) -> Vec<(String, Vec<u8>)> {
    let location = format!("{server}!default").into_bytes();
    let at = || async {
        let lines = murder.names().await.into_iter();
        let here = lines.filter(|line| line.location == location);
        let named = |line: murder_locations::request::Line| (format!("{:?}", line.name), line.acl);
        here.map(named).collect::<Vec<_>>()
    };
    until("names are told", || async { at().await.len() == count }).await;
    at().await
}

/// Appends, changes flags and expunges until told to stop or the unit is elsewhere; what was
/// acknowledged is returned.
async fn work(backend: Arc<Backend>, writer: usize, stop: Arc<AtomicBool>) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{writer}-{number}");
        let text = message(&id, 1_000 + 97 * number % 5_000);
        match append_to(&backend, "user.alice", &text, SystemFlags::NONE, &[]).await {
            Ok(appended) => {
                acknowledged.insert(text);
                if number % 5 == 0 {
                    let uid = appended.uid.get();
                    let removed = change(&backend, uid, number % 10 == 0).await;
                    let text = message(&id, 1_000 + 97 * number % 5_000);
                    if removed {
                        acknowledged.remove(&text);
                    }
                }
            }
            Err(BackendError::Unavailable(phase)) => {
                assert!(phase.is_moved(), "{phase:?}");
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    acknowledged
}

/// Flags a message and perhaps expunges it. True: it is gone.
async fn change(backend: &Backend, uid: u32, remove: bool) -> bool {
    let Ok(place) = backend.place(&alice()).await else {
        return false;
    };
    let name = murder_model::MailboxName::parse_internal("user.alice").unwrap();
    let Ok((_, row)) = backend.mailbox(&name).await else {
        return false;
    };
    let changed = backend.write(&place, move |tx| {
        let uids = UidSet::range(uid, uid);
        let flags = if remove {
            SystemFlags::DELETED
        } else {
            SystemFlags::FLAGGED
        };
        let add = FlagChange::Add;
        let (_, mut effects) = store_flags(
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
        )?;
        if remove {
            effects.extend(expunge(tx, &row.id, Some(&uids), murder_node::clock::now())?.1);
        }
        Ok(((), effects))
    });
    changed.await.is_ok() && remove
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_clients_write() {
    let murder = Murder::start().await;
    let mut a = murder.backend("be-a", "").await;
    let mut b = murder.backend("be-b", "").await;
    let root = fill(&a).await;
    let start = a.row("user.alice").await.uid_next;
    let mut expected = BTreeSet::new();
    for round in 0..4 {
        let (from, to) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let writer = round * 10 + writer;
                tokio::spawn(work(Arc::clone(from.backend()), writer, Arc::clone(&stop)))
            })
            .collect();
        let status = from.transfer(&root, to).await;
        assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            expected.extend(writer.await.unwrap());
        }
    }
    assert!(expected.len() > 20, "{}", expected.len());
    let inbox = a.row("user.alice").await;
    let place = a.backend().unit(&root).unwrap();
    let snapshots = place.partition.snapshots().clone();
    let read = place.partition.read(move |rows| {
        let mut found = Vec::new();
        for (_, message) in messages(rows, &inbox.id, start, u32::MAX)? {
            let (blob, _) = murder_store::mail::structure(rows, &message)?.unwrap();
            let bytes = snapshots.blob(blob)?.read(0..u64::MAX)?;
            found.push(String::from_utf8(bytes.to_vec()).unwrap());
        }
        Ok(found)
    });
    let found = read.await.unwrap();
    assert_eq!(found.len(), expected.len());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    a.stop_and_check().await;
    b.stop_and_check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_write_waits_and_then_learns_where_to() {
    let murder = Murder::start().await;
    let a = murder
        .backend("be-a", "transfer: {freezeMsMax: 30000}\n")
        .await;
    let b = murder.backend("be-b", "").await;
    let root = fill(&a).await;
    let place = a.backend().unit(&root).unwrap();
    // A write that is under way keeps the freeze waiting, and with it all that come later.
    let pass = place.gate.enter().await.unwrap();
    let id = a.start_move(&root, &b);
    until("the freeze waits", || async {
        place.gate.phase_now().is_none()
    })
    .await;
    let backend = Arc::clone(a.backend());
    let (gate, held) = (
        place.gate.clone(),
        tokio::spawn(async move {
            append_to(
                &backend,
                "user.alice",
                &message("held", 10),
                SystemFlags::NONE,
                &[],
            )
            .await
        }),
    );
    assert!(!held.is_finished());
    drop(pass);
    let status = a.transfers().wait(&id).await.unwrap();
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    let Err(BackendError::Unavailable(phase)) = held.await.unwrap() else {
        panic!("the write must not succeed");
    };
    let expected = murder_node::backend::gate::Phase::Moved {
        to: b.server(),
        term: murder.record(&root).await.term,
        epoch: Epoch::new(2),
    };
    assert_eq!(phase, expected);
    assert_eq!(gate.phase().await, expected);
    // The new owner serves by then.
    let added = b.add("held", 10);
    added.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_units_move_a_few_at_a_time() {
    let murder = Murder::start().await;
    let a = murder.backend("be-a", "transfer: {parallel: 2}\n").await;
    let b = murder.backend("be-b", "").await;
    let roots: Vec<RootName> = (0..8)
        .map(|number| RootName::user(&UserName::parse(&format!("user{number}")).unwrap()))
        .collect();
    for root in &roots {
        a.create(root).await;
        let mailbox = root.mailbox();
        let text = message("1", 5_000);
        let added = a.append(mailbox.as_str(), &text, SystemFlags::NONE, &[]);
        added.await.unwrap();
    }
    let ids: Vec<_> = roots.iter().map(|root| a.start_move(root, &b)).collect();
    for id in &ids {
        let status = a.transfers().wait(id).await.unwrap();
        assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    }
    let listed: Vec<_> = a
        .transfers()
        .list()
        .iter()
        .map(|status| status.move_id)
        .collect();
    assert_eq!(listed, ids);
    for root in &roots {
        assert_eq!(murder.record(root).await.server, b.server());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_tree_moves_with_what_each_reader_has_seen() {
    let murder = Murder::start().await;
    let a = murder.backend("be-a", "").await;
    let b = murder.backend("be-b", "").await;
    let root = RootName::parse("board").unwrap();
    a.create(&root).await;
    for number in 0..5 {
        let text = message(&number.to_string(), 1_000);
        let added = a.append("board", &text, SystemFlags::NONE, &[]);
        added.await.unwrap();
    }
    let bob = UserName::parse("bob").unwrap();
    let (place, row) = (a.backend().unit(&root).unwrap(), a.row("board").await);
    let reader = bob.clone();
    let seen = a.backend().write(&place, move |tx| {
        let (uids, seen) = (UidSet::range(2, 4), SystemFlags::SEEN);
        let (viewer, add) = (Viewer::Other(&reader), FlagChange::Add);
        store_flags(
            tx,
            &row.id,
            viewer,
            &uids,
            add,
            seen,
            &[],
            seen,
            false,
            None,
        )
    });
    seen.await.unwrap();
    let before = a.content(&murder.record(&root).await).await;
    let status = a.transfer(&root, &b).await;
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    assert_eq!(b.content(&murder.record(&root).await).await, before);
    let place = b.backend().unit(&root).unwrap();
    let read = place
        .partition
        .read(move |rows| effective_seen(rows, &row.id, &bob));
    assert_eq!(read.await.unwrap().0, UidSet::range(2, 4));
}

/// The rate is that of the whole node and counts for what is under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_would_take_minutes_is_done_once_its_rate_is_lifted() {
    let murder = Murder::start().await;
    let a = murder.backend("be-a", "").await;
    let b = murder.backend("be-b", "").await;
    let root = alice();
    a.create(&root).await;
    for number in 0..20 {
        a.add(&format!("large-{number}"), 1 << 20).await.unwrap();
    }
    a.transfers().set_rate(1);
    assert_eq!((a.transfers().rate(), b.transfers().rate()), (1, 0));
    let id = a.start_move(&root, &b);
    until("something is sent", || async {
        a.status(&id).bytes_sent > 0
    })
    .await;
    let status = a.status(&id);
    assert_eq!(status.phase, TransferPhase::Copying);
    assert!(status.bytes_sent < status.bytes_total / 4, "{status:?}");
    a.transfers().set_rate(0);
    let ended = a.transfers().wait(&id).await.unwrap();
    assert_eq!(ended.phase, TransferPhase::Done, "{ended:?}");
    assert!(ended.bytes_sent >= ended.bytes_total);
}
