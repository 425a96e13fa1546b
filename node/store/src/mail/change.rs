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

/// Forgets at most `limit` marks from before `before`; true if there may be more. Not to be called
/// for a unit that is being transferred: both sides must hold the same marks.
pub fn prune_marks(
    rows: &mut dyn RowsMut,
    unit: &UnitId,
    before: Timestamp,
    limit: usize,
) -> Result<bool, MailError> {
    let low = keys::unit(unit);
    let high = keys::after_prefix(&low);
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
        if is_mark_before(rows, table, key, before)? {
            old.push((change, table, key.to_vec()));
        }
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
    match rows.read(table, key)? {
        Some(value) => Ok(matches!(
            decode(table, key, &value)?,
            Row::Mark { time, .. } if time < before
        )),
        None => Ok(false),
    }
}
