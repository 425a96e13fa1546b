//! A unit's rows on their way to another server, bit for bit.
//!
//! A round is what changed in (after, upto], read in bounded steps in the order of change numbers. A
//! row that changes while a round runs has a higher number then and comes in the next one. At the
//! destination the unit is `Staging`, so that nobody sees its rows; importing is idempotent.

use std::ops::ControlFlow;

use murder_model::{MailboxId, UidSet, UnitDigest, UnitId, UnitState};
use serde::{Deserialize, Serialize};

use crate::mail::blob::{add_content, release_blob};
use crate::mail::edit::Edit;
use crate::mail::error::MailError;
use crate::mail::keys;
use crate::mail::mailbox::forget_content;
use crate::mail::row::{MailboxRow, Row, decode, encode_live, live, live_message, malformed};
use crate::mail::seen::take_seen;
use crate::mail::unit::{put_unit, unit};
use crate::rows::{BlobPlace, BlobSource, Rows, RowsMut, Table};

/// What a unit has beside its rows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct UnitHead {
    /// The last change number used.
    pub change: u64,
    /// Sum of the hashes of its rows and marks.
    pub digest: UnitDigest,
    /// The last outbox number used.
    pub outbox: u64,
    /// New mailboxes get a UIDVALIDITY above this.
    pub uid_validity_floor: u32,
    /// Marks of changes up to this one may be forgotten.
    pub forgotten: u64,
    /// Its mailboxes.
    pub mailboxes: u64,
    /// Its messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A row or mark without what is local to a partition.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TransferRow {
    /// Number of its table.
    pub table: u8,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value less the local part.
    pub value: Vec<u8>,
    /// Whether it is a message, whose bytes follow.
    pub has_content: bool,
}

/// Bytes that belong to a [`TransferRow`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TransferBlob {
    /// Where they are in the source's log.
    pub place: BlobPlace,
    /// Change number of the message's creation. If an earlier round went beyond it, the destination
    /// has the bytes already, unless the message changed while that round ran.
    pub created: u64,
}

/// A step of a round.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Exported {
    /// Rows in the order of their change numbers, each with its bytes if it has some.
    pub rows: Vec<(TransferRow, Option<TransferBlob>)>,
    /// Key of the change index up to which the step went; the next one begins behind it.
    pub position: Option<Vec<u8>>,
}

/// What the unit has beside its rows.
pub fn unit_head(rows: &dyn Rows, id: &UnitId) -> Result<UnitHead, MailError> {
    let row = unit(rows, id)?.ok_or(MailError::NotOwner(None))?;
    Ok(UnitHead {
        change: row.change,
        digest: row.digest,
        outbox: row.outbox,
        uid_validity_floor: row.uid_validity_floor,
        forgotten: row.forgotten,
        mailboxes: row.mailboxes,
        messages: row.messages,
        bytes: row.bytes,
    })
}

/// One step of the round (after, upto]: at most `rows_max` rows and about `bytes_max` bytes. Begin
/// with `position` as `None`; the round ends with a step whose position is `None`.
pub fn export_rows(
    rows: &dyn Rows,
    id: &UnitId,
    after: u64,
    upto: u64,
    position: Option<&[u8]>,
    rows_max: usize,
    bytes_max: u64,
) -> Result<Exported, MailError> {
    let low = match position {
        Some(position) => {
            let mut low = position.to_vec();
            low.push(0);
            low
        }
        None => keys::change_after(id, after),
    };
    let high = keys::change_after(id, upto);
    let mut named = Vec::new();
    rows.scan(Table::Changes, &low, &high, &mut |index, _| {
        named.push(index.to_vec());
        if named.len() == rows_max {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    let mut exported = Exported::default();
    let full = named.len() == rows_max;
    let mut bytes = 0;
    for index in named {
        let (_, table, key) = keys::split_change(&index)
            .ok_or_else(|| malformed(Table::Changes, &index, "not a change"))?;
        let value = rows
            .read(table, key)?
            .ok_or_else(|| malformed(table, key, "in the change index but absent"))?;
        let (row, blob) = take_apart(rows, table, key, &value)?;
        bytes += row.value.len() as u64 + blob.map_or(0, |blob| blob.place.length);
        exported.rows.push((row, blob));
        if full || bytes >= bytes_max {
            exported.position = Some(index.clone());
        }
        if bytes >= bytes_max {
            break;
        }
    }
    Ok(exported)
}

fn take_apart(
    rows: &dyn Rows,
    table: Table,
    key: &[u8],
    value: &[u8],
) -> Result<(TransferRow, Option<TransferBlob>), MailError> {
    let row = |value: Vec<u8>, has_content| TransferRow {
        table: table as u8,
        key: key.to_vec(),
        value,
        has_content,
    };
    match decode(table, key, value)? {
        Row::Live { change, fields, .. } if table == Table::Messages => {
            let message = live_message(key, value)?.expect("it is a live row");
            let (place, _) = super::message::structure(rows, &message)?
                .ok_or_else(|| malformed(table, key, "its blob is missing"))?;
            let value = encode_live(change, fields, &[]);
            let blob = TransferBlob {
                place,
                created: message.created,
            };
            Ok((row(value, true), Some(blob)))
        }
        _ => Ok((row(value.to_vec(), false), None)),
    }
}

/// Bytes and encoded structure of a message on its way in.
pub type TransferContent<'a> = (BlobSource<'a>, &'a [u8]);

/// Puts rows of a unit that is being staged here; what an earlier stay left must have been dropped.
/// `contents` has one entry a row: for a message its content, or `None` if it is thought to be here
/// already. Returns the indices of messages that were left out because their content is not here: the
/// source sends them again with it.
pub fn import_rows(
    rows: &mut dyn RowsMut,
    id: &UnitId,
    imported: &[TransferRow],
    contents: &[Option<TransferContent<'_>>],
) -> Result<Vec<usize>, MailError> {
    debug_assert_eq!(imported.len(), contents.len(), "one entry a row");
    let mut edit = staging(rows, id)?;
    let mut missing = Vec::new();
    for (index, (row, content)) in imported.iter().zip(contents).enumerate() {
        let table = Table::from_number(row.table)
            .filter(|table| travels(*table))
            .ok_or_else(|| malformed(Table::Changes, &row.key, "no such table travels"))?;
        if !belongs(edit.rows, id, table, row)? {
            return Err(malformed(table, &row.key, "not a row of the unit").into());
        }
        let is_here = match table {
            Table::Messages => import_message(&mut edit, row, *content)?,
            _ => import_row(&mut edit, table, row)?,
        };
        if !is_here {
            missing.push(index);
        }
    }
    edit.finish_unchanged()?;
    Ok(missing)
}

fn import_row(edit: &mut Edit<'_>, table: Table, row: &TransferRow) -> Result<bool, MailError> {
    let is_mark = matches!(decode(table, &row.key, &row.value)?, Row::Mark { .. });
    if is_mark && table == Table::Mailboxes {
        // The source forgot what was in it without a mark for each message.
        forget_content(edit, &row.key)?;
    }
    edit.put_encoded(table, &row.key, &row.value)?;
    Ok(true)
}

/// False if the message's content is needed and neither given nor here.
fn import_message(
    edit: &mut Edit<'_>,
    row: &TransferRow,
    content: Option<TransferContent<'_>>,
) -> Result<bool, MailError> {
    let old = match edit.rows.read(Table::Messages, &row.key)? {
        Some(value) => live_message(&row.key, &value)?,
        None => None,
    };
    let mut value = row.value.clone();
    value.extend_from_slice(&[0; 8]);
    let new = match value[0] {
        0 => live_message(&row.key, &value)?,
        _ => None,
    };
    let Some(new) = new else {
        decode(Table::Messages, &row.key, &row.value)?;
        if let (Some(mailbox), Some(uid)) = (row.key.first_chunk(), keys::message_uid(&row.key)) {
            let mailbox = MailboxId::from_bytes(*mailbox);
            take_seen(edit, &mailbox, &UidSet::range(uid, uid))?;
        }
        if let Some(old) = old {
            release_blob(edit.rows, old.blob)?;
        }
        edit.put_encoded(Table::Messages, &row.key, &row.value)?;
        return Ok(true);
    };
    let blob = match (old, content) {
        (Some(old), _) if old.guid == new.guid => old.blob,
        (old, Some((content, structure))) => {
            if let Some(old) = old {
                release_blob(edit.rows, old.blob)?;
            }
            add_content(edit.rows, content, structure)?
        }
        (_, None) => return Ok(false),
    };
    value.truncate(row.value.len());
    value.extend_from_slice(&blob.to_be_bytes());
    edit.put_encoded(Table::Messages, &row.key, &value)?;
    Ok(true)
}

/// Takes the source's head over; true if the digest of the rows here is the source's.
pub fn import_head(
    rows: &mut dyn RowsMut,
    id: &UnitId,
    head: &UnitHead,
) -> Result<bool, MailError> {
    let mut row = staging(rows, id)?.unit;
    let equal = row.digest == head.digest;
    row.change = head.change;
    row.outbox = head.outbox;
    row.uid_validity_floor = row.uid_validity_floor.max(head.uid_validity_floor);
    row.forgotten = head.forgotten;
    row.mailboxes = head.mailboxes;
    row.messages = head.messages;
    row.bytes = head.bytes;
    put_unit(rows, &row)?;
    Ok(equal)
}

/// Drops at most `limit` rows of a unit that is not served here; true if there are more. The unit's
/// own row stays, as the tombstone that remembers its epoch. Refused unless the unit's state says that
/// its data here is worth nothing: staging, moved, gone.
pub fn drop_unit(rows: &mut dyn RowsMut, id: &UnitId, limit: usize) -> Result<bool, MailError> {
    let low = keys::unit(id);
    let high = keys::after_prefix(&low);
    let mut named = Vec::new();
    rows.scan(Table::Changes, &low, &high, &mut |index, _| {
        named.push(index.to_vec());
        if named.len() == limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    let mut edit = Edit::begin_any(rows, id)?;
    // A released unit may still be given back, a prepared one may be all that there is.
    if !matches!(
        edit.unit.ownership.state,
        UnitState::Staging { .. } | UnitState::Moved { .. } | UnitState::Gone
    ) {
        return Err(MailError::NotOwner(Some(Box::new(edit.unit.ownership))));
    }
    for index in &named {
        let Some((_, table, key)) = keys::split_change(index) else {
            continue;
        };
        if table == Table::Messages
            && let Some(value) = edit.rows.read(table, key)?
            && let Some(message) = live_message(key, &value)?
        {
            release_blob(edit.rows, message.blob)?;
        }
        edit.forget(table, key)?;
    }
    edit.unit.mailboxes = 0;
    edit.unit.messages = 0;
    edit.unit.bytes = 0;
    edit.finish_unchanged()?;
    Ok(named.len() == limit)
}

fn staging<'a>(rows: &'a mut dyn RowsMut, id: &UnitId) -> Result<Edit<'a>, MailError> {
    let edit = Edit::begin_any(rows, id)?;
    if matches!(edit.unit.ownership.state, UnitState::Staging { .. }) {
        Ok(edit)
    } else {
        Err(MailError::NotOwner(Some(Box::new(edit.unit.ownership))))
    }
}

/// Tables whose rows belong to units.
fn travels(table: Table) -> bool {
    matches!(
        table,
        Table::Names
            | Table::Mailboxes
            | Table::Messages
            | Table::Seen
            | Table::Subscriptions
            | Table::Annotations
            | Table::Quotas
            | Table::Sieve
            | Table::Delivered
            | Table::Intents
    )
}

/// A peer may write rows of the unit that it sends, and no others. Rows of mailboxes are checked
/// against the mailbox' own unit, as far as it is known here already.
fn belongs(
    rows: &dyn Rows,
    id: &UnitId,
    table: Table,
    row: &TransferRow,
) -> Result<bool, MailError> {
    if !matches!(table, Table::Mailboxes | Table::Messages | Table::Seen) {
        return Ok(row.key.starts_with(id.as_bytes()));
    }
    let Some(mailbox) = row.key.first_chunk::<16>() else {
        return Ok(false);
    };
    let mailbox = MailboxId::from_bytes(*mailbox);
    let length_fits = match table {
        Table::Mailboxes => row.key.len() == 16,
        Table::Messages => row.key.len() == 20,
        _ => row.key.len() > 21,
    };
    if !length_fits || super::mailbox(rows, &mailbox)?.is_some_and(|row| row.unit != *id) {
        return Ok(false);
    }
    if table != Table::Mailboxes {
        return Ok(true);
    }
    let new: Option<MailboxRow> = live(table, &row.key, &row.value)?;
    Ok(new.is_none_or(|new| new.unit == *id && new.id == mailbox))
}
