//! What changed since: removals for clients that were away, and the end of marks.

use std::ops::ControlFlow;

use murder_model::{MailboxId, ModSeq, Timestamp, UidSet, UnitId};

use crate::mail::edit::Edit;
use crate::mail::error::MailError;
use crate::mail::keys;
use crate::mail::row::{Row, decode};
use crate::rows::{Rows, RowsMut, StoreError, Table};

/// Messages removed from a mailbox.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Vanished {
    /// Their UIDs, as far as marks are kept.
    pub uids: UidSet,
    /// Whether all marks since then are kept.
    pub complete: bool,
}

/// UIDs removed from `mailbox` after `since`, as far as marks are kept.
pub fn vanished_since(
    rows: &dyn Rows,
    unit: &UnitId,
    mailbox: &MailboxId,
    since: ModSeq,
) -> Result<Vanished, MailError> {
    let low = keys::change_after(unit, since.get());
    let high = keys::after_prefix(&keys::unit(unit));
    let mut uids: Vec<u32> = Vec::new();
    rows.scan(Table::Changes, &low, &high, &mut |index, mark| {
        if mark == [1]
            && let Some((_, Table::Messages, key)) = keys::split_change(index)
            && key.starts_with(mailbox.as_bytes())
        {
            uids.extend(keys::message_uid(key));
        }
        ControlFlow::Continue(())
    })?;
    uids.sort_unstable();
    let complete = crate::mail::unit(rows, unit)?.is_some_and(|row| row.forgotten <= since.get());
    Ok(Vanished {
        uids: uids.into_iter().collect(),
        complete,
    })
}

/// The first mark of a unit among the changes from `from` on: its change, and when it was made. Where it
/// is young, all behind it are.
pub fn first_mark(
    rows: &dyn Rows,
    unit: &UnitId,
    from: u64,
) -> Result<Option<(u64, Timestamp)>, MailError> {
    let mut first = None;
    let (low, high) = from_change(unit, from);
    rows.scan(Table::Changes, &low, &high, &mut |index, mark| {
        if mark != [1] {
            return ControlFlow::Continue(());
        }
        first = Some(index.to_vec());
        ControlFlow::Break(())
    })?;
    let Some((change, table, key)) = first.as_deref().and_then(keys::split_change) else {
        return Ok(None);
    };
    match rows.read(table, key)? {
        Some(value) => match decode(table, key, &value)? {
            Row::Mark { time, .. } => Ok(Some((change, time))),
            Row::Live { .. } => Ok(None),
        },
        None => Ok(None),
    }
}

fn from_change(unit: &UnitId, from: u64) -> (Vec<u8>, Vec<u8>) {
    let low = match from.checked_sub(1) {
        Some(before) => keys::change_after(unit, before),
        None => keys::unit(unit),
    };
    (low, keys::after_prefix(&keys::unit(unit)))
}

/// Forgets at most `limit` marks from before `before`, looked for from the change `from` on; true if there
/// may be more. Not to be called for a unit that is being transferred: both sides must hold the same
/// marks.
pub fn prune_marks(
    rows: &mut dyn RowsMut,
    unit: &UnitId,
    from: u64,
    before: Timestamp,
    limit: usize,
) -> Result<bool, MailError> {
    let forgotten = crate::mail::unit(rows, unit)?.map_or(0, |row| row.forgotten);
    // The last change of which marks are forgotten may have more.
    let (low, high) = from_change(unit, from.max(forgotten));
    let mut candidates = Vec::new();
    rows.scan(Table::Changes, &low, &high, &mut |index, mark| {
        if mark == [1] {
            candidates.push(index.to_vec());
        }
        if candidates.len() == limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    let full = candidates.len() == limit;
    let mut old = Vec::new();
    for index in &candidates {
        let Some((change, table, key)) = keys::split_change(index) else {
            continue;
        };
        if !is_mark_before(rows, table, key, before)? {
            // All below what is forgotten have to be gone.
            break;
        }
        old.push((change, table, key.to_vec()));
    }
    // Marks come in the order of their changes: where one is young, all behind it are.
    let more = full && old.len() == candidates.len();
    if old.is_empty() {
        return Ok(false);
    }
    let mut edit = Edit::begin(rows, unit)?;
    for (change, table, key) in old {
        edit.unit.forgotten = edit.unit.forgotten.max(change);
        edit.forget(table, &key)?;
    }
    edit.finish_unchanged()?;
    Ok(more)
}

fn is_mark_before(
    rows: &dyn Rows,
    table: Table,
    key: &[u8],
    before: Timestamp,
) -> Result<bool, StoreError> {
    #[cfg(feature = "mutants")]
    let before = match crate::mutant::is(crate::mutant::Fault::DropMarkEarly) {
        true => Timestamp::from_millis(i64::MAX),
        false => before,
    };
    match rows.read(table, key)? {
        Some(value) => Ok(matches!(
            decode(table, key, &value)?,
            Row::Mark { time, .. } if time < before
        )),
        None => Ok(false),
    }
}
