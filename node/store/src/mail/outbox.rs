//! What the mupdate master has yet to learn of a unit's names. A row is written in the same commit
//! as the change that it tells of, and stays until the master has acknowledged it.

use std::ops::ControlFlow;

use murder_model::{Acl, Epoch, MailboxId, MailboxName, OutboxNumber, SpecialUse, UnitId};
use serde::{Deserialize, Serialize};

use crate::mail::edit::Edit;
use crate::mail::error::MailError;
use crate::mail::keys;
use crate::mail::row::{fields_of, to_fields};
use crate::rows::{Rows, RowsMut, StoreError, Table};

/// A change of one name.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum OutboxOperation {
    /// The name has this mailbox now.
    Put {
        /// The name.
        name: MailboxName,
        /// Its mailbox.
        mailbox: MailboxId,
        /// Who may do what.
        acl: Acl,
        /// What it is for.
        special_use: Option<SpecialUse>,
    },
    /// The name is gone.
    Delete {
        /// The name.
        name: MailboxName,
    },
    /// All names were told anew, from the row `since` on: what the master has beside them is old.
    Restated {
        /// Number of the first row of the restatement.
        since: OutboxNumber,
        /// Names that were put.
        names: u64,
    },
}

/// A row of the outbox.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct OutboxRow {
    /// The unit.
    pub unit: UnitId,
    /// Its epoch when the change was made.
    pub epoch: Epoch,
    /// Number within the unit.
    pub number: OutboxNumber,
    /// The change.
    pub operation: OutboxOperation,
}

const NEXT: &[u8] = b"mail.next-outbox";

pub(super) fn push(edit: &mut Edit<'_>, operation: OutboxOperation) -> Result<(), MailError> {
    edit.unit.outbox += 1;
    let row = OutboxRow {
        unit: edit.id,
        epoch: edit.unit.ownership.epoch,
        number: OutboxNumber::new(edit.unit.outbox),
        operation,
    };
    let next = match edit.rows.read(Table::Meta, NEXT)? {
        Some(value) => fields_of(Table::Meta, NEXT, &value)?,
        None => 1_u64,
    };
    edit.rows.put(Table::Meta, NEXT, &to_fields(&(next + 1)))?;
    edit.rows
        .put(Table::Outbox, &keys::number(next), &to_fields(&row))?;
    edit.effects.outbox = true;
    Ok(())
}

/// At most `limit` rows of this partition after position `after`, in order, with their positions.
pub fn outbox_after(
    rows: &dyn Rows,
    after: u64,
    limit: usize,
) -> Result<Vec<(u64, OutboxRow)>, MailError> {
    let mut found = Vec::new();
    let mut failed: Option<StoreError> = None;
    let low = keys::number(after.saturating_add(1));
    rows.scan(Table::Outbox, &low, &[0xff; 9], &mut |key, value| {
        if found.len() == limit {
            return ControlFlow::Break(());
        }
        let position = key.first_chunk::<8>().map(|key| u64::from_be_bytes(*key));
        match (position, fields_of(Table::Outbox, key, value)) {
            (Some(position), Ok(row)) => found.push((position, row)),
            (None, Ok(_)) => {}
            (_, Err(error)) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    failed.map_or(Ok(found), |error| Err(error.into()))
}

/// Rows that wait, counted up to `limit`.
pub fn outbox_length(rows: &dyn Rows, limit: u64) -> Result<u64, MailError> {
    let mut length = 0;
    rows.scan(Table::Outbox, &[], &[0xff; 9], &mut |_, _| {
        length += 1;
        if length == limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(length)
}

/// The master has all rows up to this position.
pub fn acknowledge_outbox(rows: &mut dyn RowsMut, upto: u64) -> Result<(), MailError> {
    let mut done = Vec::new();
    let high = keys::number(upto.saturating_add(1));
    rows.scan(Table::Outbox, &[], &high, &mut |key, _| {
        done.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    for key in done {
        rows.delete(Table::Outbox, &key)?;
    }
    Ok(())
}
