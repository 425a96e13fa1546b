//! One operation on one unit: it reads the unit's row once, writes rows with one new change number,
//! and writes the unit's row once at its end.

use murder_model::{MailboxId, Timestamp, UidSet, UnitId, UnitState};
use serde::Serialize;

use crate::mail::digest::row_hash;
use crate::mail::error::MailError;
use crate::mail::row::{Row, decode, encode_live, encode_mark, local_length, to_fields};
use crate::mail::unit::{UnitRow, put_unit, unit};
use crate::mail::{Entry, keys};
use crate::rows::{Rows, RowsMut, Table};

/// What those who look at a mailbox must be told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Messages came, in ascending order of their UIDs.
    Appended(Vec<Entry>),
    /// Messages have other flags than before, in ascending order of their UIDs.
    Flags(Vec<Entry>),
    /// Messages are gone since this change.
    Expunged(UidSet, u64),
    /// Somebody's own seen state changed.
    Seen,
    /// The mailbox is gone.
    Deleted,
    /// Its name or rights changed.
    Renamed,
}

/// Effects of an operation by mailbox.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Effects {
    /// In the order in which they happened.
    pub mailboxes: Vec<(MailboxId, Effect)>,
    /// Rows for the mupdate master were queued.
    pub outbox: bool,
}

impl Effects {
    /// Puts those of another operation behind.
    pub fn extend(&mut self, other: Self) {
        self.mailboxes.extend(other.mailboxes);
        self.outbox |= other.outbox;
    }
}

pub(super) struct Edit<'a> {
    pub(super) rows: &'a mut dyn RowsMut,
    pub(super) id: UnitId,
    pub(super) unit: UnitRow,
    /// The change number of this operation.
    pub(super) change: u64,
    pub(super) effects: Effects,
}

impl<'a> Edit<'a> {
    /// Begins an operation on a unit that is served here.
    pub(super) fn begin(rows: &'a mut dyn RowsMut, id: &UnitId) -> Result<Self, MailError> {
        let edit = Self::begin_any(rows, id)?;
        check_owner(&edit.unit)?;
        Ok(edit)
    }

    /// Begins an operation whatever the unit's state is.
    pub(super) fn begin_any(rows: &'a mut dyn RowsMut, id: &UnitId) -> Result<Self, MailError> {
        let unit = unit(rows, id)?.ok_or(MailError::NotOwner(None))?;
        let change = unit.change + 1;
        Ok(Self {
            rows,
            id: *id,
            unit,
            change,
            effects: Effects::default(),
        })
    }

    /// Writes a live row.
    pub(super) fn put<T: Serialize>(
        &mut self,
        table: Table,
        key: &[u8],
        fields: &T,
        local: &[u8],
    ) -> Result<(), MailError> {
        debug_assert_eq!(local.len(), local_length(table), "as the table prescribes");
        self.replace(
            table,
            key,
            Some(&encode_live(self.change, &to_fields(fields), local)),
        )
    }

    /// Leaves a mark in the place of a row.
    pub(super) fn remove(
        &mut self,
        table: Table,
        key: &[u8],
        now: Timestamp,
    ) -> Result<(), MailError> {
        self.replace(table, key, Some(&encode_mark(self.change, now)))
    }

    /// Takes a row or mark out without a trace.
    pub(super) fn forget(&mut self, table: Table, key: &[u8]) -> Result<(), MailError> {
        self.replace(table, key, None)
    }

    /// Invariant kept here and nowhere else: the change index has exactly one entry for each row or
    /// mark, at its change number, and the digest is the sum of their hashes.
    fn replace(&mut self, table: Table, key: &[u8], new: Option<&[u8]>) -> Result<(), MailError> {
        if let Some(old) = self.rows.read(table, key)? {
            let row = decode(table, key, &old)?;
            self.unit.digest.sub(&row_hash(table, key, &row));
            let index = keys::change(&self.id, row.change(), table, key);
            self.rows.delete(Table::Changes, &index)?;
        }
        match new {
            Some(value) => {
                let row = decode(table, key, value)?;
                self.unit.digest.add(&row_hash(table, key, &row));
                let index = keys::change(&self.id, row.change(), table, key);
                let mark = [u8::from(matches!(row, Row::Mark { .. }))];
                self.rows.put(Table::Changes, &index, &mark)?;
                self.rows.put(table, key, value)?;
            }
            None => self.rows.delete(table, key)?,
        }
        Ok(())
    }

    /// Writes a row with the change number that it had elsewhere (transfers).
    pub(super) fn put_encoded(
        &mut self,
        table: Table,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), MailError> {
        self.replace(table, key, Some(value))
    }

    pub(super) fn tell(&mut self, mailbox: MailboxId, effect: Effect) {
        self.effects.mailboxes.push((mailbox, effect));
    }

    /// Ends the operation; its change number is used up.
    pub(super) fn finish(mut self) -> Result<Effects, MailError> {
        self.unit.change = self.change;
        put_unit(self.rows, &self.unit)?;
        Ok(self.effects)
    }

    /// Ends an operation that used no change number of its own.
    pub(super) fn finish_unchanged(self) -> Result<(), MailError> {
        put_unit(self.rows, &self.unit)
    }
}

/// Refuses to read from a unit that is not served here: elsewhere it may be ahead already.
pub(super) fn check_served(rows: &dyn Rows, id: &UnitId) -> Result<(), MailError> {
    check_owner(&unit(rows, id)?.ok_or(MailError::NotOwner(None))?)
}

fn check_owner(unit: &UnitRow) -> Result<(), MailError> {
    if unit.ownership.state == UnitState::Owner {
        Ok(())
    } else {
        Err(MailError::NotOwner(Some(Box::new(unit.ownership.clone()))))
    }
}
