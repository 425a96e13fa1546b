//! Messages: append, deliver, read, expunge.

use std::ops::ControlFlow;

use murder_model::{
    EmailId, Guid, InternalDate, Keyword, MailboxId, ModSeq, SystemFlags, Timestamp, Uid, UidSet,
    UidValidity,
};

use crate::mail::blob::{add_content, blob, release_blob, share_blob};
use crate::mail::delivered;
use crate::mail::edit::{Edit, Effect, Effects};
use crate::mail::error::MailError;
use crate::mail::flags::{Viewer, keyword_bits};
use crate::mail::keys;
use crate::mail::mailbox::{mailbox, put_mailbox};
use crate::mail::row::{MailboxRow, MessageRow, live_message};
use crate::mail::seen::{SeenRow, take_seen};
use crate::mail::view::Entry;
use crate::rows::{BlobPlace, BlobSource, Rows, RowsMut, StoreError, Table};

/// A message on its way in.
#[derive(Clone, Debug)]
pub struct NewMessage<'a> {
    /// Its bytes.
    pub content: BlobSource<'a>,
    /// BLAKE3 of its bytes.
    pub guid: Guid,
    /// 128 random bits.
    pub email_id: EmailId,
    /// System flags.
    pub flags: SystemFlags,
    /// Keywords.
    pub keywords: &'a [Keyword],
    /// Internal date.
    pub internal_date: InternalDate,
    /// Its structure, encoded.
    pub structure: &'a [u8],
}

/// Where a message went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Appended {
    /// Validity of the UID.
    pub uid_validity: UidValidity,
    /// Its UID.
    pub uid: Uid,
    /// Its modification sequence.
    pub mod_seq: ModSeq,
}

/// One message.
pub fn message(
    rows: &dyn Rows,
    mailbox: &MailboxId,
    uid: u32,
) -> Result<Option<MessageRow>, MailError> {
    let key = keys::message(mailbox, uid);
    match rows.read(Table::Messages, &key)? {
        Some(value) => Ok(live_message(&key, &value)?),
        None => Ok(None),
    }
}

/// The messages with UIDs `first..=last`, ascending.
pub fn messages(
    rows: &dyn Rows,
    mailbox: &MailboxId,
    first: u32,
    last: u32,
) -> Result<Vec<(u32, MessageRow)>, MailError> {
    let low = keys::message(mailbox, first);
    let high = match last.checked_add(1) {
        Some(after) => keys::message(mailbox, after),
        None => keys::after_prefix(&keys::mailbox(mailbox)),
    };
    let mut found = Vec::new();
    let mut failed: Option<StoreError> = None;
    rows.scan(Table::Messages, &low, &high, &mut |key, value| {
        match (keys::message_uid(key), live_message(key, value)) {
            (Some(uid), Ok(Some(row))) => found.push((uid, row)),
            (_, Ok(_)) => {}
            (_, Err(error)) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    failed.map_or(Ok(found), |error| Err(error.into()))
}

/// Where the message's bytes are, and its encoded structure.
pub fn structure(
    rows: &dyn Rows,
    message: &MessageRow,
) -> Result<Option<(BlobPlace, Vec<u8>)>, MailError> {
    let Some(blob) = blob(rows, message.blob)? else {
        return Ok(None);
    };
    let place = blob.place;
    let structure = rows.read(Table::Structures, &keys::number(message.blob))?;
    Ok(Some((place, structure.unwrap_or_default())))
}

/// Appends a message; `\Seen` among its flags is the owner's.
pub fn append(
    rows: &mut dyn RowsMut,
    id: &MailboxId,
    message: &NewMessage<'_>,
    now: Timestamp,
) -> Result<(Appended, Effects), MailError> {
    append_as(rows, id, Viewer::Owner, message, now)
}

/// Appends a message; `\Seen` among its flags is the viewer's.
pub fn append_as(
    rows: &mut dyn RowsMut,
    id: &MailboxId,
    viewer: Viewer<'_>,
    message: &NewMessage<'_>,
    now: Timestamp,
) -> Result<(Appended, Effects), MailError> {
    let mut row = mailbox(rows, id)?.ok_or(MailError::NoSuchMailbox)?;
    let mut edit = Edit::begin(rows, &row.unit)?;
    let appended = append_one(&mut edit, &mut row, viewer, message, now)?;
    put_mailbox(&mut edit, &row)?;
    Ok((appended, edit.finish()?))
}

/// Appends a message to `row`, which the caller writes afterwards.
pub(super) fn append_one(
    edit: &mut Edit<'_>,
    row: &mut MailboxRow,
    viewer: Viewer<'_>,
    message: &NewMessage<'_>,
    now: Timestamp,
) -> Result<Appended, MailError> {
    let keywords = keyword_bits(row, message.keywords)?;
    let blob = add_blob(edit.rows, message)?;
    let Viewer::Other(user) = viewer else {
        return place_message(edit, row, message, keywords, blob, now);
    };
    let unseen = NewMessage {
        flags: message.flags.without(SystemFlags::SEEN),
        ..message.clone()
    };
    let appended = place_message(edit, row, &unseen, keywords, blob, now)?;
    if message.flags.contains(SystemFlags::SEEN) {
        let key = keys::seen(&row.id, user, appended.uid.get());
        edit.put(Table::Seen, &key, &SeenRow { seen: true }, &[])?;
        edit.tell(row.id, Effect::Seen);
    }
    Ok(appended)
}

/// Delivers one message into several mailboxes of this partition, one blob for all. A mailbox whose
/// unit has already seen its key within the time that is kept gets nothing and `None`.
pub fn deliver(
    rows: &mut dyn RowsMut,
    mailboxes: &[(MailboxId, Option<[u8; 32]>)],
    message: &NewMessage<'_>,
    now: Timestamp,
) -> Result<(Vec<Option<Appended>>, Effects), MailError> {
    let mut blob = None;
    let mut results = Vec::with_capacity(mailboxes.len());
    let mut effects = Effects::default();
    for (id, key) in mailboxes {
        let mut row = mailbox(rows, id)?.ok_or(MailError::NoSuchMailbox)?;
        if let Some(key) = key
            && delivered::was_delivered(rows, &row.unit, key)?
        {
            results.push(None);
            continue;
        }
        let mut edit = Edit::begin(rows, &row.unit)?;
        let keywords = keyword_bits(&mut row, message.keywords)?;
        let number = match blob {
            Some(number) => {
                share_blob(edit.rows, number)?;
                number
            }
            None => *blob.insert(add_blob(edit.rows, message)?),
        };
        let appended = place_message(&mut edit, &mut row, message, keywords, number, now)?;
        if let Some(key) = key {
            delivered::put(&mut edit, key, now)?;
        }
        put_mailbox(&mut edit, &row)?;
        results.push(Some(appended));
        effects.extend(edit.finish()?);
    }
    Ok((results, effects))
}

/// Removes the messages that have `\Deleted`, of these UIDs only if given. Marks stay.
pub fn expunge(
    rows: &mut dyn RowsMut,
    id: &MailboxId,
    only: Option<&UidSet>,
    now: Timestamp,
) -> Result<(UidSet, Effects), MailError> {
    let row = mailbox(rows, id)?.ok_or(MailError::NoSuchMailbox)?;
    let mut edit = Edit::begin(rows, &row.unit)?;
    if row.deleted == 0 {
        return Ok((UidSet::new(), Effects::default()));
    }
    let all = UidSet::range(1, u32::MAX);
    let deleted = |message: &MessageRow| message.flags.contains(SystemFlags::DELETED);
    let gone = remove_messages(&mut edit, row, only.unwrap_or(&all), &deleted, now)?;
    if gone.is_empty() {
        return Ok((gone, Effects::default()));
    }
    Ok((gone, edit.finish()?))
}

/// Removes those of `uids` that match, with their seen state; nothing is written if none does.
pub(super) fn remove_messages(
    edit: &mut Edit<'_>,
    mut row: MailboxRow,
    uids: &UidSet,
    matches: &dyn Fn(&MessageRow) -> bool,
    now: Timestamp,
) -> Result<UidSet, MailError> {
    let mut gone = UidSet::new();
    for (first, last) in uids.ranges() {
        for (uid, message) in messages(edit.rows, &row.id, *first, *last)? {
            if matches(&message) {
                release_blob(edit.rows, message.blob)?;
                take_out(edit, &mut row, uid, &message, now)?;
                gone.insert(uid);
            }
        }
    }
    if !gone.is_empty() {
        take_seen(edit, &row.id, &gone)?;
        row.highest_mod_seq = ModSeq::new(edit.change);
        put_mailbox(edit, &row)?;
        edit.tell(row.id, Effect::Expunged(gone.clone(), edit.change));
    }
    Ok(gone)
}

pub(super) fn put_message(
    edit: &mut Edit<'_>,
    mailbox: &MailboxId,
    uid: u32,
    message: &mut MessageRow,
) -> Result<(), MailError> {
    message.mod_seq = ModSeq::new(edit.change);
    let key = keys::message(mailbox, uid);
    edit.put(Table::Messages, &key, message, &message.blob.to_be_bytes())
}

pub(super) fn place_message(
    edit: &mut Edit<'_>,
    row: &mut MailboxRow,
    message: &NewMessage<'_>,
    keywords: u128,
    blob: u64,
    now: Timestamp,
) -> Result<Appended, MailError> {
    let new = MessageRow {
        guid: message.guid,
        email_id: message.email_id,
        size: u32::try_from(message.content.len()).unwrap_or(u32::MAX),
        flags: message.flags,
        keywords,
        internal_date: message.internal_date,
        saved: now,
        created: edit.change,
        mod_seq: ModSeq::new(edit.change),
        blob,
    };
    let entry = insert(edit, row, new, now)?;
    edit.tell(row.id, Effect::Appended(vec![entry]));
    Ok(Appended {
        uid_validity: row.uid_validity,
        uid: Uid::new(entry.uid).expect("UIDs begin at 1"),
        mod_seq: entry.mod_seq,
    })
}

/// Gives a message the next UID of `row`, which the caller writes afterwards.
pub(super) fn insert(
    edit: &mut Edit<'_>,
    row: &mut MailboxRow,
    mut message: MessageRow,
    now: Timestamp,
) -> Result<Entry, MailError> {
    let uid = row.uid_next;
    row.uid_next = uid.checked_add(1).ok_or(MailError::NoUidsLeft)?;
    row.exists += 1;
    row.bytes += u64::from(message.size);
    row.unseen += u32::from(!message.flags.contains(SystemFlags::SEEN));
    row.deleted += u32::from(message.flags.contains(SystemFlags::DELETED));
    row.highest_mod_seq = ModSeq::new(edit.change);
    edit.unit.messages += 1;
    edit.unit.bytes += u64::from(message.size);
    message.created = edit.change;
    message.saved = now;
    put_message(edit, &row.id, uid, &mut message)?;
    Ok(Entry::new(uid, &message))
}

/// Leaves a mark in the place of a message; `row` is written by the caller, the blob is untouched.
pub(super) fn take_out(
    edit: &mut Edit<'_>,
    row: &mut MailboxRow,
    uid: u32,
    message: &MessageRow,
    now: Timestamp,
) -> Result<(), MailError> {
    row.exists -= 1;
    row.bytes -= u64::from(message.size);
    row.unseen -= u32::from(!message.flags.contains(SystemFlags::SEEN));
    row.deleted -= u32::from(message.flags.contains(SystemFlags::DELETED));
    edit.unit.messages -= 1;
    edit.unit.bytes -= u64::from(message.size);
    edit.remove(Table::Messages, &keys::message(&row.id, uid), now)
}

fn add_blob(rows: &mut dyn RowsMut, message: &NewMessage<'_>) -> Result<u64, MailError> {
    add_content(rows, message.content, message.structure)
}
