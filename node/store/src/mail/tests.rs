//! Behaviours on rows in memory, and invariants after random operations.

use murder_model::{
    Acl, Attempt, EmailId, Epoch, Guid, InternalDate, Keyword, MailboxId, MailboxName, MoveId,
    OwnershipRecord, RootName, SystemFlags, Term, Timestamp, UidSet, UnitId, UnitState, UserName,
};
use proptest::prelude::*;

use crate::mail::{
    Effect, FlagChange, FolderSpec, Grant, MailError, NewMessage, OutboxOperation, Viewer, append,
    copy, create_mailbox, create_root, delete_mailbox, deliver, drop_unit, effective_seen,
    export_rows, expunge, import_head, import_rows, mailbox, mailbox_by_name, mailboxes, message,
    messages, move_messages, outbox_after, put_ownership, recompute_digest, rename_mailbox,
    store_flags, subscribe, subscriptions, take_recent, unit, unit_head, unsubscribe,
    vanished_since,
};
use crate::rows::{BlobSource, MemoryRows, Rows, Table};

const UNIT: UnitId = UnitId::from_bytes([1; 16]);
const NOW: Timestamp = Timestamp::from_millis(1_000_000);

struct Fixture {
    rows: MemoryRows,
    inbox: MailboxId,
    ids: u8,
}

fn name(text: &str) -> MailboxName {
    MailboxName::parse_internal(text).unwrap()
}

fn alice() -> UserName {
    UserName::parse("alice").unwrap()
}

fn bob() -> UserName {
    UserName::parse("bob").unwrap()
}

impl Fixture {
    fn new() -> Self {
        let mut rows = MemoryRows::new();
        let mut ids = 10;
        let grant = Grant {
            unit: UNIT,
            root: RootName::parse("user.alice").unwrap(),
            term: Term::new(1),
            epoch: Epoch::new(1),
            uid_validity_floor: 100,
        };
        let acl = Acl::owner_default(&alice());
        let folders = [FolderSpec {
            name: "Sent".into(),
            special_use: None,
        }];
        let (inbox, _) =
            create_root(&mut rows, &grant, &acl, &folders, &mut || next(&mut ids)).unwrap();
        Self { rows, inbox, ids }
    }

    fn create(&mut self, text: &str) -> Result<MailboxId, MailError> {
        let acl = Acl::owner_default(&alice());
        let ids = &mut self.ids;
        create_mailbox(&mut self.rows, &UNIT, &name(text), &acl, None, &mut || {
            next(ids)
        })
        .map(|(id, _)| id)
    }

    fn append(&mut self, to: MailboxId, text: &str) -> u32 {
        let message = new_message(text);
        append(&mut self.rows, &to, &message, NOW)
            .unwrap()
            .0
            .uid
            .get()
    }

    fn flag(&mut self, viewer: Viewer<'_>, uids: &str, change: FlagChange, flags: SystemFlags) {
        let all = SystemFlags::from_bits(31);
        store_flags(
            &mut self.rows,
            &self.inbox,
            viewer,
            &uids.parse().unwrap(),
            change,
            flags,
            &[],
            all,
            true,
            None,
        )
        .unwrap();
    }

    fn check(&self) {
        check_unit(&self.rows);
    }
}

fn next(ids: &mut u8) -> [u8; 16] {
    *ids += 1;
    [*ids; 16]
}

fn new_message(text: &str) -> NewMessage<'_> {
    NewMessage {
        content: BlobSource::Bytes(text.as_bytes()),
        guid: Guid::from_bytes(*blake3::hash(text.as_bytes()).as_bytes()),
        email_id: EmailId::from_bytes([9; 16]),
        flags: SystemFlags::NONE,
        keywords: &[],
        internal_date: InternalDate::new(0, 0),
        structure: b"structure",
    }
}

/// Digest, change index and counters are what a recount gives.
fn check_unit(rows: &MemoryRows) {
    let row = unit(rows, &UNIT).unwrap().unwrap();
    assert_eq!(recompute_digest(rows, &UNIT).unwrap(), row.digest, "digest");
    let (mut mailbox_count, mut message_count, mut byte_count) = (0, 0, 0);
    for (_, mailbox) in mailboxes(rows, &UNIT).unwrap() {
        let Some(mailbox) = mailbox else { continue };
        mailbox_count += 1;
        let messages = messages(rows, &mailbox.id, 1, u32::MAX).unwrap();
        let count = |flag| {
            messages
                .iter()
                .filter(|(_, m)| m.flags.contains(flag))
                .count() as u32
        };
        let bytes: u64 = messages.iter().map(|(_, m)| u64::from(m.size)).sum();
        assert_eq!(mailbox.exists as usize, messages.len());
        assert_eq!(mailbox.unseen, mailbox.exists - count(SystemFlags::SEEN));
        assert_eq!(mailbox.deleted, count(SystemFlags::DELETED));
        assert_eq!(mailbox.bytes, bytes);
        assert!(messages.iter().all(|(uid, _)| *uid < mailbox.uid_next));
        message_count += messages.len() as u64;
        byte_count += bytes;
    }
    assert_eq!(
        (row.mailboxes, row.messages, row.bytes),
        (mailbox_count, message_count, byte_count)
    );
}

#[test]
fn a_new_root_has_inbox_and_folders_with_distinct_uid_validities() {
    let fixture = Fixture::new();
    let list = mailboxes(&fixture.rows, &UNIT).unwrap();
    let shown: Vec<_> = list
        .iter()
        .map(|(name, mailbox)| (name.as_str(), mailbox.as_ref().unwrap().uid_validity.get()))
        .collect();
    assert_eq!(shown, [("user.alice", 101), ("user.alice.Sent", 102)]);
    assert_eq!(subscriptions(&fixture.rows, &UNIT).unwrap().len(), 2);
    fixture.check();
}

#[test]
fn an_appended_message_is_counted_and_published_to_views() {
    let mut fixture = Fixture::new();
    let (appended, effects) =
        append(&mut fixture.rows, &fixture.inbox, &new_message("one"), NOW).unwrap();
    assert_eq!((appended.uid.get(), appended.uid_validity.get()), (1, 101));
    let [(id, Effect::Appended(entries))] = effects.mailboxes.as_slice() else {
        panic!("{effects:?}");
    };
    assert_eq!(
        (*id, entries[0].uid, entries[0].size),
        (fixture.inbox, 1, 3)
    );
    let row = mailbox(&fixture.rows, &fixture.inbox).unwrap().unwrap();
    assert_eq!((row.exists, row.unseen, row.uid_next), (1, 1, 2));
    fixture.check();
}

#[test]
fn expunge_removes_what_is_deleted_and_remembers_it() {
    let mut fixture = Fixture::new();
    for text in ["one", "two", "three"] {
        fixture.append(fixture.inbox, text);
    }
    let before = mailbox(&fixture.rows, &fixture.inbox)
        .unwrap()
        .unwrap()
        .highest_mod_seq;
    fixture.flag(Viewer::Owner, "1:2", FlagChange::Add, SystemFlags::DELETED);
    let only: UidSet = "2:3".parse().unwrap();
    let (gone, _) = expunge(&mut fixture.rows, &fixture.inbox, Some(&only), NOW).unwrap();
    assert_eq!(gone.to_string(), "2");
    let vanished = vanished_since(&fixture.rows, &UNIT, &fixture.inbox, before).unwrap();
    assert_eq!(vanished.uids.to_string(), "2");
    assert_eq!(fixture.append(fixture.inbox, "four"), 4);
    assert_eq!(fixture.rows.blob_count(), 3);
    fixture.check();
}

#[test]
fn seen_is_per_user_and_the_owners_own_flag_stays() {
    let mut fixture = Fixture::new();
    fixture.append(fixture.inbox, "one");
    let other = bob();
    fixture.flag(
        Viewer::Other(&other),
        "1",
        FlagChange::Add,
        SystemFlags::SEEN,
    );
    assert!(
        message(&fixture.rows, &fixture.inbox, 1)
            .unwrap()
            .unwrap()
            .flags
            .is_empty()
    );
    let (seen, _) = effective_seen(&fixture.rows, &fixture.inbox, &other).unwrap();
    assert_eq!(seen.to_string(), "1");
    fixture.flag(Viewer::Owner, "1", FlagChange::Add, SystemFlags::SEEN);
    fixture.flag(
        Viewer::Other(&other),
        "1",
        FlagChange::Remove,
        SystemFlags::SEEN,
    );
    let (seen, _) = effective_seen(&fixture.rows, &fixture.inbox, &other).unwrap();
    assert!(seen.is_empty());
    assert!(
        message(&fixture.rows, &fixture.inbox, 1)
            .unwrap()
            .unwrap()
            .flags
            .contains(SystemFlags::SEEN)
    );
    fixture.check();
}

#[test]
fn unchanged_since_leaves_younger_messages_alone() {
    let mut fixture = Fixture::new();
    fixture.append(fixture.inbox, "one");
    let since = message(&fixture.rows, &fixture.inbox, 1)
        .unwrap()
        .unwrap()
        .mod_seq;
    fixture.append(fixture.inbox, "two");
    let (stored, _) = store_flags(
        &mut fixture.rows,
        &fixture.inbox,
        Viewer::Owner,
        &"1:2".parse().unwrap(),
        FlagChange::Add,
        SystemFlags::FLAGGED,
        &[],
        SystemFlags::FLAGGED,
        true,
        Some(since),
    )
    .unwrap();
    assert_eq!(stored.modified.to_string(), "2");
    assert_eq!(stored.messages.len(), 1);
    assert!(stored.messages[0].mod_seq > since);
}

#[test]
fn a_repeated_delivery_is_recognised() {
    let mut fixture = Fixture::new();
    let key = Some([7; 32]);
    let to = [(fixture.inbox, key)];
    let (first, _) = deliver(&mut fixture.rows, &to, &new_message("one"), NOW).unwrap();
    let (again, effects) = deliver(&mut fixture.rows, &to, &new_message("one"), NOW).unwrap();
    assert!(first[0].is_some());
    assert_eq!(again, [None]);
    assert!(effects.mailboxes.is_empty());
    fixture.check();
}

#[test]
fn one_blob_serves_all_recipients_and_copies() {
    let mut fixture = Fixture::new();
    let work = fixture.create("user.alice.Work").unwrap();
    let to = [(fixture.inbox, None), (work, None)];
    deliver(&mut fixture.rows, &to, &new_message("one"), NOW).unwrap();
    let viewer = (Viewer::Owner, Viewer::Owner);
    let all = UidSet::range(1, 9);
    copy(&mut fixture.rows, &work, &all, &fixture.inbox, viewer, NOW).unwrap();
    assert_eq!(fixture.rows.blob_count(), 1);
    delete_mailbox(&mut fixture.rows, &work, NOW).unwrap();
    assert_eq!(fixture.rows.blob_count(), 1);
    fixture.flag(Viewer::Owner, "1:2", FlagChange::Add, SystemFlags::DELETED);
    expunge(&mut fixture.rows, &fixture.inbox, None, NOW).unwrap();
    assert_eq!(fixture.rows.blob_count(), 0);
    fixture.check();
}

#[test]
fn move_keeps_keywords_by_name_and_seen_state_of_others() {
    let mut fixture = Fixture::new();
    let work = fixture.create("user.alice.Work").unwrap();
    let keyword = [Keyword::parse("$Later").unwrap()];
    let with_keyword = NewMessage {
        keywords: &keyword,
        ..new_message("one")
    };
    let filler = [Keyword::parse("other").unwrap()];
    let filler = NewMessage {
        keywords: &filler,
        ..new_message("two")
    };
    append(&mut fixture.rows, &work, &filler, NOW).unwrap();
    append(&mut fixture.rows, &fixture.inbox, &with_keyword, NOW).unwrap();
    let other = bob();
    fixture.flag(
        Viewer::Other(&other),
        "1",
        FlagChange::Add,
        SystemFlags::SEEN,
    );
    let moved = move_messages(
        &mut fixture.rows,
        &fixture.inbox,
        &UidSet::range(1, 1),
        &work,
        NOW,
    );
    let (copied, _) = moved.unwrap();
    assert_eq!((copied.source, copied.destination), (vec![1], vec![2]));
    let row = mailbox(&fixture.rows, &work).unwrap().unwrap();
    let bits = message(&fixture.rows, &work, 2).unwrap().unwrap().keywords;
    assert_eq!(
        row.keywords[bits.trailing_zeros() as usize].as_str(),
        "$Later"
    );
    assert_eq!(
        effective_seen(&fixture.rows, &work, &other)
            .unwrap()
            .0
            .to_string(),
        "2"
    );
    fixture.check();
}

#[test]
fn deleting_a_parent_keeps_its_name_until_the_last_child_goes() {
    let mut fixture = Fixture::new();
    let child = fixture.create("user.alice.a.b.c").unwrap();
    let parent = mailbox_by_name(&fixture.rows, &UNIT, &name("user.alice.a.b"))
        .unwrap()
        .unwrap();
    delete_mailbox(&mut fixture.rows, &parent.id, NOW).unwrap();
    let shown = |rows: &MemoryRows| -> Vec<(String, bool)> {
        let list = mailboxes(rows, &UNIT).unwrap();
        list.iter()
            .map(|(name, mailbox)| (name.to_string(), mailbox.is_some()))
            .collect()
    };
    assert!(shown(&fixture.rows).contains(&("user.alice.a.b".into(), false)));
    delete_mailbox(&mut fixture.rows, &child, NOW).unwrap();
    assert!(
        !shown(&fixture.rows)
            .iter()
            .any(|(name, _)| name == "user.alice.a.b")
    );
    fixture.check();
    let again = fixture.create("user.alice.a.b").unwrap();
    let again = mailbox(&fixture.rows, &again).unwrap().unwrap();
    assert!(again.uid_validity > parent.uid_validity);
}

#[test]
fn renaming_takes_children_along_and_tells_the_master() {
    let mut fixture = Fixture::new();
    fixture.create("user.alice.a.b").unwrap();
    let ids = &mut fixture.ids;
    rename_mailbox(
        &mut fixture.rows,
        &UNIT,
        &name("user.alice.a"),
        &name("user.alice.z"),
        &mut || next(ids),
        NOW,
    )
    .unwrap();
    assert!(
        mailbox_by_name(&fixture.rows, &UNIT, &name("user.alice.z.b"))
            .unwrap()
            .is_some()
    );
    assert!(
        mailbox_by_name(&fixture.rows, &UNIT, &name("user.alice.a"))
            .unwrap()
            .is_none()
    );
    let operations: Vec<_> = outbox_after(&fixture.rows, 4, 100)
        .unwrap()
        .into_iter()
        .map(|(_, row)| match row.operation {
            OutboxOperation::Put { name, .. } => format!("+{name}"),
            OutboxOperation::Delete { name } => format!("-{name}"),
        })
        .collect();
    assert_eq!(
        operations,
        [
            "-user.alice.a",
            "+user.alice.z",
            "-user.alice.a.b",
            "+user.alice.z.b"
        ]
    );
    fixture.check();
}

#[test]
fn renaming_inbox_moves_its_messages_and_leaves_it() {
    let mut fixture = Fixture::new();
    fixture.append(fixture.inbox, "one");
    let ids = &mut fixture.ids;
    rename_mailbox(
        &mut fixture.rows,
        &UNIT,
        &name("user.alice"),
        &name("user.alice.old"),
        &mut || next(ids),
        NOW,
    )
    .unwrap();
    let old = mailbox_by_name(&fixture.rows, &UNIT, &name("user.alice.old"))
        .unwrap()
        .unwrap();
    let inbox = mailbox(&fixture.rows, &fixture.inbox).unwrap().unwrap();
    assert_eq!((old.exists, inbox.exists, inbox.uid_next), (1, 0, 2));
    fixture.check();
}

#[test]
fn recent_is_told_to_one_session_only() {
    let mut fixture = Fixture::new();
    fixture.append(fixture.inbox, "one");
    assert_eq!(take_recent(&mut fixture.rows, &fixture.inbox).unwrap().0, 1);
    assert_eq!(take_recent(&mut fixture.rows, &fixture.inbox).unwrap().0, 2);
    fixture.append(fixture.inbox, "two");
    assert_eq!(take_recent(&mut fixture.rows, &fixture.inbox).unwrap().0, 2);
    fixture.check();
}

#[test]
fn a_unit_that_is_not_owned_takes_no_writes() {
    let mut fixture = Fixture::new();
    let mut record = unit(&fixture.rows, &UNIT).unwrap().unwrap().ownership;
    record.state = UnitState::Gone;
    put_ownership(&mut fixture.rows, &record).unwrap();
    let result = append(&mut fixture.rows, &fixture.inbox, &new_message("one"), NOW);
    assert!(matches!(result, Err(MailError::NotOwner(Some(_)))));
}

fn staged() -> MemoryRows {
    let mut rows = MemoryRows::new();
    let record = OwnershipRecord {
        unit: UNIT,
        root: RootName::parse("user.alice").unwrap(),
        state: UnitState::Staging {
            move_id: MoveId::from_bytes([3; 16]),
            attempt: Attempt::new(1),
            from: murder_model::ServerName::parse("be-a").unwrap(),
        },
        term: Term::new(1),
        epoch: Epoch::new(1),
    };
    put_ownership(&mut rows, &record).unwrap();
    rows
}

/// One round of a transfer, in steps of few rows.
fn round(source: &MemoryRows, destination: &mut MemoryRows, after: u64) -> u64 {
    let upto = unit_head(source, &UNIT).unwrap().change;
    let mut position: Option<Vec<u8>> = None;
    loop {
        let step =
            export_rows(source, &UNIT, after, upto, position.as_deref(), 3, 1 << 20).unwrap();
        let bodies: Vec<Option<Vec<u8>>> = step
            .rows
            .iter()
            .map(|(_, blob)| blob.map(|b| source.read_blob(b.place, 0..b.place.length).unwrap()))
            .collect();
        let rows: Vec<_> = step.rows.iter().map(|(row, _)| row.clone()).collect();
        let contents: Vec<_> = bodies
            .iter()
            .map(|body| {
                let content = body.as_deref().map(BlobSource::Bytes);
                content.map(|content| (content, b"structure".as_slice()))
            })
            .collect();
        import_rows(destination, &UNIT, &rows, &contents).unwrap();
        // A repetition after a lost acknowledgement changes nothing.
        import_rows(destination, &UNIT, &rows, &contents).unwrap();
        match step.position {
            Some(next) => position = Some(next),
            None => return upto,
        }
    }
}

fn portable(rows: &MemoryRows) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    for table in [
        Table::Names,
        Table::Mailboxes,
        Table::Messages,
        Table::Seen,
        Table::Subscriptions,
    ] {
        rows.scan(table, &[], &[0xff; 64], &mut |key, value| {
            let local = if table == Table::Messages && value[0] == 0 {
                8
            } else {
                0
            };
            all.push((table, key.to_vec(), value[..value.len() - local].to_vec()));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    }
    all
}

#[derive(Clone, Debug)]
enum Op {
    Append(usize),
    Flag(usize, u32, u8, bool),
    Expunge(usize),
    Copy(usize, usize),
    Move(usize, usize),
    Create(u8),
    Delete(usize),
    Rename(usize, u8),
    Subscribe(u8, bool),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0_usize..6).prop_map(Op::Append),
        3 => (0_usize..6, 1_u32..8, 0_u8..32, any::<bool>())
            .prop_map(|(m, uid, flags, other)| Op::Flag(m, uid, flags, other)),
        2 => (0_usize..6).prop_map(Op::Expunge),
        1 => (0_usize..6, 0_usize..6).prop_map(|(from, to)| Op::Copy(from, to)),
        1 => (0_usize..6, 0_usize..6).prop_map(|(from, to)| Op::Move(from, to)),
        1 => (0_u8..6).prop_map(Op::Create),
        1 => (1_usize..6).prop_map(Op::Delete),
        1 => (1_usize..6, 0_u8..6).prop_map(|(from, to)| Op::Rename(from, to)),
        1 => (0_u8..6, any::<bool>()).prop_map(|(n, on)| Op::Subscribe(n, on)),
    ];
    prop::collection::vec(op, 0..40)
}

fn run(fixture: &mut Fixture, op: &Op) {
    let list: Vec<_> = mailboxes(&fixture.rows, &UNIT).unwrap();
    let pick = |index: usize| list[index % list.len()].1.as_ref().map(|row| row.id);
    let folder = |n: u8| format!("user.alice.f{}.g{}", n % 2, n / 2);
    match op {
        Op::Append(to) => {
            if let Some(to) = pick(*to) {
                fixture.append(to, "text");
            }
        }
        Op::Flag(of, uid, flags, other) => {
            let user = bob();
            let viewer = if *other {
                Viewer::Other(&user)
            } else {
                Viewer::Owner
            };
            if let Some(id) = pick(*of) {
                let uids = UidSet::range(*uid, *uid + 2);
                let flags = SystemFlags::from_bits(*flags);
                let all = SystemFlags::from_bits(31);
                let change = FlagChange::Replace;
                store_flags(
                    &mut fixture.rows,
                    &id,
                    viewer,
                    &uids,
                    change,
                    flags,
                    &[],
                    all,
                    true,
                    None,
                )
                .unwrap();
            }
        }
        Op::Expunge(of) => {
            if let Some(id) = pick(*of) {
                expunge(&mut fixture.rows, &id, None, NOW).unwrap();
            }
        }
        Op::Copy(from, to) => {
            if let (Some(from), Some(to)) = (pick(*from), pick(*to)) {
                let viewer = (Viewer::Owner, Viewer::Owner);
                copy(
                    &mut fixture.rows,
                    &from,
                    &UidSet::range(1, 3),
                    &to,
                    viewer,
                    NOW,
                )
                .unwrap();
            }
        }
        Op::Move(from, to) => {
            if let (Some(from), Some(to)) = (pick(*from), pick(*to)) {
                move_messages(&mut fixture.rows, &from, &UidSet::range(1, 3), &to, NOW).unwrap();
            }
        }
        Op::Create(n) => {
            let _taken = fixture.create(&folder(*n));
        }
        Op::Delete(of) => {
            let index = of % list.len();
            if let (true, Some(row)) = (index > 0, &list[index].1) {
                delete_mailbox(&mut fixture.rows, &row.id, NOW).unwrap();
            }
        }
        Op::Rename(from, to) => {
            let from = list[from % list.len()].0.clone();
            let ids = &mut fixture.ids;
            let to = name(&folder(*to));
            let _taken =
                rename_mailbox(&mut fixture.rows, &UNIT, &from, &to, &mut || next(ids), NOW);
        }
        Op::Subscribe(n, on) => {
            let folder = name(&folder(*n));
            if *on {
                subscribe(&mut fixture.rows, &UNIT, &folder).unwrap();
            } else {
                unsubscribe(&mut fixture.rows, &UNIT, &folder, NOW).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn counters_digest_and_change_index_survive_random_operations(ops in ops()) {
        let mut fixture = Fixture::new();
        for op in &ops {
            run(&mut fixture, op);
        }
        fixture.check();
    }

    #[test]
    fn a_transferred_unit_is_equal_bit_for_bit(first in ops(), second in ops()) {
        let mut fixture = Fixture::new();
        let mut destination = staged();
        for op in &first {
            run(&mut fixture, op);
        }
        let reached = round(&fixture.rows, &mut destination, 0);
        for op in &second {
            run(&mut fixture, op);
        }
        round(&fixture.rows, &mut destination, reached);
        let head = unit_head(&fixture.rows, &UNIT).unwrap();
        prop_assert!(import_head(&mut destination, &UNIT, &head).unwrap());
        prop_assert_eq!(recompute_digest(&destination, &UNIT).unwrap(), head.digest);
        prop_assert_eq!(portable(&destination), portable(&fixture.rows));
        while drop_unit(&mut destination, &UNIT, 5).unwrap() {}
        prop_assert_eq!(destination.blob_count(), 0);
        prop_assert_eq!(portable(&destination), vec![]);
    }
}
