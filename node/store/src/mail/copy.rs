//! COPY and MOVE within a partition: rows are new, blobs are shared.

use murder_model::{MailboxId, ModSeq, SystemFlags, Timestamp, UidSet, UidValidity};
use serde::{Deserialize, Serialize};

use crate::mail::blob::share_blob;
use crate::mail::edit::{Edit, Effect, Effects, check_served};
use crate::mail::error::MailError;
use crate::mail::flags::{Viewer, effective, translate};
use crate::mail::keys;
use crate::mail::mailbox::{mailbox, put_mailbox};
use crate::mail::message::{insert, messages, take_out};
use crate::mail::row::MailboxRow;
use crate::mail::seen::{SeenRow, put_seen, seen_row, take_seen};
use crate::rows::{RowsMut, Table};

/// Which UIDs became which, in corresponding order (RFC 4315 COPYUID).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CopiedUids {
    /// Validity of the destination's UIDs.
    pub uid_validity: UidValidity,
    /// UIDs at the source, ascending.
    pub source: Vec<u32>,
    /// UIDs at the destination, ascending.
    pub destination: Vec<u32>,
}

/// Copies messages to another mailbox of this partition; blobs are shared. Messages that are gone
/// are left out. The viewer's seen state goes along.
pub fn copy(
    rows: &mut dyn RowsMut,
    from: &MailboxId,
    uids: &UidSet,
    to: &MailboxId,
    viewer: (Viewer<'_>, Viewer<'_>),
    now: Timestamp,
) -> Result<(CopiedUids, Effects), MailError> {
    let source = mailbox(rows, from)?.ok_or(MailError::NoSuchMailbox)?;
    let mut row = mailbox(rows, to)?.ok_or(MailError::NoSuchMailbox)?;
    check_served(rows, &source.unit)?;
    let mut edit = Edit::begin(rows, &row.unit)?;
    let mut copied = CopiedUids::new(row.uid_validity);
    let mut entries = Vec::new();
    for (first, last) in present(uids, &source) {
        for (uid, mut message) in messages(edit.rows, from, first, last)? {
            let seen = match viewer.0 {
                Viewer::Owner => None,
                Viewer::Other(user) => Some(seen_row(edit.rows, from, user, uid)?),
            };
            let is_seen = effective(&message, seen).flags.contains(SystemFlags::SEEN);
            message.keywords = translate(&source, &mut row, message.keywords)?;
            message.flags = message.flags.without(SystemFlags::SEEN);
            if is_seen && viewer.1 == Viewer::Owner {
                message.flags = message.flags.with(SystemFlags::SEEN);
            }
            share_blob(edit.rows, message.blob)?;
            let new = insert(&mut edit, &mut row, message, now)?;
            if let (true, Viewer::Other(user)) = (is_seen, viewer.1) {
                edit.put(
                    Table::Seen,
                    &keys::seen(to, user, new.uid),
                    &SeenRow { seen: true },
                    &[],
                )?;
            }
            copied.push(uid, new.uid);
            entries.push(new);
        }
    }
    if entries.is_empty() {
        return Ok((copied, Effects::default()));
    }
    put_mailbox(&mut edit, &row)?;
    edit.tell(*to, Effect::Appended(entries));
    Ok((copied, edit.finish()?))
}

/// Moves messages to another mailbox of the same unit, in one change.
pub fn move_messages(
    rows: &mut dyn RowsMut,
    from: &MailboxId,
    uids: &UidSet,
    to: &MailboxId,
    now: Timestamp,
) -> Result<(CopiedUids, Effects), MailError> {
    let source = mailbox(rows, from)?.ok_or(MailError::NoSuchMailbox)?;
    let destination = mailbox(rows, to)?.ok_or(MailError::NoSuchMailbox)?;
    if source.unit != destination.unit {
        return Err(MailError::OtherUnit);
    }
    let mut edit = Edit::begin(rows, &source.unit)?;
    let copied = move_rows(&mut edit, from, uids, to, now)?;
    Ok((copied, edit.finish()?))
}

pub(super) fn move_rows(
    edit: &mut Edit<'_>,
    from: &MailboxId,
    uids: &UidSet,
    to: &MailboxId,
    now: Timestamp,
) -> Result<CopiedUids, MailError> {
    let mut source = mailbox(edit.rows, from)?.ok_or(MailError::NoSuchMailbox)?;
    let mut destination = mailbox(edit.rows, to)?.ok_or(MailError::NoSuchMailbox)?;
    let mut copied = CopiedUids::new(destination.uid_validity);
    let (mut entries, mut gone) = (Vec::new(), UidSet::new());
    let ranges = present(uids, &source);
    let seen = take_seen(edit, from, &set_of(&ranges))?;
    for (first, last) in ranges {
        for (uid, message) in messages(edit.rows, from, first, last)? {
            take_out(edit, &mut source, uid, &message, now)?;
            gone.insert(uid);
            if from == to {
                destination = source.clone();
            }
            let mut arriving = message;
            arriving.keywords = translate(&source, &mut destination, message.keywords)?;
            let new = insert(edit, &mut destination, arriving, now)?;
            if from == to {
                source = destination.clone();
            }
            if let Some(seen) = seen.get(&uid) {
                put_seen(edit, to, new.uid, seen)?;
            }
            copied.push(uid, new.uid);
            entries.push(new);
        }
    }
    if entries.is_empty() {
        return Ok(copied);
    }
    let change = edit.change;
    source.highest_mod_seq = ModSeq::new(change);
    put_mailbox(edit, &source)?;
    if from != to {
        put_mailbox(edit, &destination)?;
    }
    edit.tell(*from, Effect::Expunged(gone, change));
    edit.tell(*to, Effect::Appended(entries));
    Ok(copied)
}

/// The parts of `uids` that messages can have by now, so that a copy into the same mailbox does not
/// meet itself.
fn present(uids: &UidSet, row: &MailboxRow) -> Vec<(u32, u32)> {
    let end = row.uid_next - 1;
    let ranges = uids.ranges().iter();
    ranges
        .map(|(first, last)| (*first, (*last).min(end)))
        .filter(|(first, last)| first <= last)
        .collect()
}

fn set_of(ranges: &[(u32, u32)]) -> UidSet {
    let mut set = UidSet::new();
    for (first, last) in ranges {
        set.insert_range(*first, *last);
    }
    set
}

impl CopiedUids {
    pub(super) fn new(uid_validity: UidValidity) -> Self {
        Self {
            uid_validity,
            source: Vec::new(),
            destination: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, source: u32, destination: u32) {
        self.source.push(source);
        self.destination.push(destination);
    }
}
