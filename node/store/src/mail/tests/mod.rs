//! Behaviours on rows in memory, and invariants after random operations.

mod behaviours;
mod format;
mod intents;
mod names;
mod properties;
mod transfers;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use murder_model::{
    Acl, Attempt, EmailId, Epoch, Guid, InternalDate, MailboxId, MailboxName, MoveId,
    OwnershipRecord, RootName, ServerName, SystemFlags, Term, Timestamp, UnitId, UnitState,
    UserName,
};

use crate::mail::keys::split_change;
use crate::mail::{
    FlagChange, FolderSpec, Grant, MailError, NewMessage, Viewer, append, create_mailbox,
    create_root, mailboxes, messages, put_ownership, recompute_digest, store_flags, unit,
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

/// Tables whose rows belong to units, change numbers included.
const TRAVELLING: [Table; 7] = [
    Table::Names,
    Table::Mailboxes,
    Table::Messages,
    Table::Seen,
    Table::Subscriptions,
    Table::Delivered,
    Table::Intents,
];

fn all_rows(rows: &MemoryRows, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    rows.scan(table, &[], &[0xff; 300], &mut |key, value| {
        all.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })
    .unwrap();
    all
}

/// The change index names each row and mark once, at its change number, and nothing else.
fn check_change_index(rows: &MemoryRows) {
    let indexed: BTreeSet<_> = all_rows(rows, Table::Changes)
        .into_iter()
        .map(|(index, mark)| {
            let (change, table, key) = split_change(&index).unwrap();
            (table, key.to_vec(), change, mark[0])
        })
        .collect();
    let mut present = BTreeSet::new();
    for table in TRAVELLING {
        for (key, value) in all_rows(rows, table) {
            let change = u64::from_be_bytes(value[1..9].try_into().unwrap());
            present.insert((table, key, change, value[0]));
        }
    }
    assert_eq!(indexed, present);
}

/// Digest, change index and counters are what a recount gives.
fn check_unit(rows: &MemoryRows) {
    check_change_index(rows);
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

/// A partition that is ready to take the unit.
fn staged() -> MemoryRows {
    let mut rows = MemoryRows::new();
    let state = UnitState::Staging {
        move_id: MoveId::from_bytes([3; 16]),
        attempt: Attempt::new(1),
        from: ServerName::parse("be-a").unwrap(),
    };
    put_state(&mut rows, state);
    rows
}

fn put_state(rows: &mut MemoryRows, state: UnitState) {
    let record = OwnershipRecord {
        unit: UNIT,
        root: RootName::parse("user.alice").unwrap(),
        state,
        term: Term::new(1),
        epoch: Epoch::new(1),
    };
    put_ownership(rows, &record).unwrap();
}
