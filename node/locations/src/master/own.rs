//! Grants, flips, settles and outbox rows of servers of our own (O3, O6, O7).

use murder_model::{
    Attempt, Epoch, MoveId, OutboxNumber, PartitionName, RootName, ServerId, Term, UnitId,
};

use super::tables::Tables;
use super::{Answer, Stop, answerable, backend, complete, same_term};
use crate::name::{NAME_BYTES_MAX, Name};
use crate::record::{NameRecord, Restored, ServerRecord, Standing, UnitRecord};
use crate::request::{Granted, Identity, Refusal, Response, Row, RowOp};
use crate::rules::{self, Flip, Outcome};

/// A flip as asked.
pub(super) struct FlipAsk {
    pub(super) from_epoch: Epoch,
    pub(super) destination: ServerId,
    pub(super) partition: PartitionName,
    pub(super) move_id: MoveId,
    pub(super) attempt: Attempt,
}

/// The epoch of a new root.
const FIRST_EPOCH: Epoch = Epoch::new(1);

impl Tables<'_> {
    pub(super) fn grant(
        &mut self,
        who: &Identity,
        unit: UnitId,
        root: &RootName,
        partition: PartitionName,
        term: Term,
    ) -> Answer {
        let server = reported(self, who)?;
        same_term(self, term)?;
        let root = Name::from(root);
        let uidvalidity_floor = self.meta.uidvalidity_max;
        if let Some(record) = self.unit(unit)? {
            answerable(self, &record)?;
            let again = record.server_id == server.server_id
                && record.root == root
                && record.epoch == FIRST_EPOCH;
            return if again {
                Ok(Response::Granted(Granted {
                    record,
                    uidvalidity_floor,
                }))
            } else {
                Err(Refusal::Superseded(Box::new(record)).into())
            };
        }
        if self.dropped(unit)?.is_some() {
            return Err(Refusal::UnitDropped.into());
        }
        if self.has_root(&root)? || self.has_names_under(&root)? {
            // The asker gives the id up; a repetition of its request may still be on its way.
            self.put_dropped(unit, Epoch::new(0))?;
            return Ok(Response::Refused(Refusal::RootTaken));
        }
        complete(self)?;
        if uidvalidity_floor == u32::MAX {
            return Err(Refusal::UidValidityExhausted.into());
        }
        let record = UnitRecord {
            unit,
            root,
            server: server.server,
            server_id: server.server_id,
            partition: Some(partition),
            term,
            epoch: FIRST_EPOCH,
            standing: Standing::Owned,
            last_move: None,
            confirmed: term,
        };
        self.put_unit(record.clone())?;
        Ok(Response::Granted(Granted {
            record,
            uidvalidity_floor,
        }))
    }

    pub(super) fn flip(
        &mut self,
        who: &Identity,
        unit: UnitId,
        term: Term,
        ask: FlipAsk,
    ) -> Answer {
        let server = reported(self, who)?;
        same_term(self, term)?;
        let record = self.known(unit)?;
        answerable(self, &record)?;
        let destination = self
            .server(ask.destination)?
            .ok_or(Refusal::UnknownServer)?;
        let ask = Flip {
            asker: server.server_id,
            from_epoch: ask.from_epoch,
            destination: (destination.server.clone(), destination.server_id),
            partition: ask.partition,
            move_id: ask.move_id,
            attempt: ask.attempt,
        };
        let flipped = rules::flip(&record, term, &ask)?;
        if flipped == record {
            return Ok(Response::Flipped(record));
        }
        if destination.retired {
            return Err(Refusal::Retired.into());
        }
        if !destination.ready {
            return Err(Refusal::NotReported.into());
        }
        self.put_unit(flipped.clone())?;
        Ok(Response::Flipped(flipped))
    }

    pub(super) fn settle(
        &mut self,
        who: &Identity,
        unit: UnitId,
        epoch: Epoch,
        move_id: MoveId,
        term: Term,
    ) -> Answer {
        let server = reported(self, who)?;
        same_term(self, term)?;
        let Some(record) = self.unit(unit)? else {
            return Ok(Response::Unit(None));
        };
        answerable(self, &record)?;
        match rules::settle(&record, term, server.server_id, epoch, move_id) {
            Outcome::Flipped => Ok(Response::Flipped(record)),
            Outcome::Record => Ok(Response::Unit(Some(record))),
            Outcome::Raise(raised) => {
                self.put_unit(raised.clone())?;
                Ok(Response::Raised(raised))
            }
        }
    }

    pub(super) fn row(&mut self, who: &Identity, row: Row) -> Answer {
        let record = self.owned_at(who, row.unit, row.epoch)?;
        let (epoch, last) = self.outbox(row.unit)?;
        if epoch == row.epoch && row.number <= last {
            return Ok(Response::RowsApplied { upto: last });
        }
        match row.op {
            RowOp::Put {
                name,
                mailbox,
                acl,
                special_use,
                selectable,
            } => {
                under(&name, &record)?;
                self.put_name(NameRecord {
                    name,
                    unit: row.unit,
                    epoch: row.epoch,
                    number: row.number,
                    mailbox,
                    acl,
                    special_use,
                    selectable,
                    cyrus: None,
                })?;
            }
            RowOp::Delete { name } => {
                under(&name, &record)?;
                if self
                    .name(&name)?
                    .is_some_and(|found| found.unit == row.unit)
                {
                    self.remove_name(&name)?;
                }
            }
            RowOp::RestateEnd { since, rows } => self.restate(&record, since, rows)?,
        }
        self.put_outbox(row.unit, row.epoch, row.number)?;
        Ok(Response::RowsApplied { upto: row.number })
    }

    /// Ends a restatement: what it does not name goes, if nothing of it is missing.
    fn restate(&mut self, record: &UnitRecord, since: OutboxNumber, rows: u64) -> Result<(), Stop> {
        let (stated, other): (Vec<_>, Vec<_>) = self
            .names_of(record)?
            .into_iter()
            .partition(|name| name.epoch == record.epoch && name.number >= since);
        let found = stated.len() as u64;
        if found != rows {
            return Err(Refusal::IncompleteRestatement {
                expected: rows,
                found,
            }
            .into());
        }
        for name in other {
            self.remove_name(&name.name)?;
        }
        Ok(())
    }

    pub(super) fn drop_owned(
        &mut self,
        who: &Identity,
        unit: UnitId,
        epoch: Epoch,
        uidvalidity_max: u32,
    ) -> Answer {
        backend(self, who)?;
        if self.dropped(unit)?.is_some() {
            return Ok(Response::Done);
        }
        let record = self.owned_at(who, unit, epoch)?;
        self.meta.uidvalidity_max = self.meta.uidvalidity_max.max(uidvalidity_max);
        self.drop_unit(&record)?;
        Ok(Response::Done)
    }

    fn known(&self, unit: UnitId) -> Result<UnitRecord, Stop> {
        if let Some(record) = self.unit(unit)? {
            return Ok(record);
        }
        let dropped = self.dropped(unit)?.is_some();
        Err(if dropped {
            Refusal::UnitDropped
        } else {
            Refusal::UnknownUnit
        }
        .into())
    }

    /// The record, if the asker owns the unit at this very epoch (O6).
    fn owned_at(&self, who: &Identity, unit: UnitId, epoch: Epoch) -> Result<UnitRecord, Stop> {
        let server = backend(self, who)?;
        let record = self.known(unit)?;
        let owned = record.server_id == server.server_id && record.epoch == epoch;
        #[cfg(feature = "mutants")]
        let owned = owned || crate::mutant::is(crate::mutant::Fault::AcceptOldRows);
        if !owned || record.is_cyrus() {
            return Err(Refusal::Superseded(Box::new(record)).into());
        }
        Ok(record)
    }
}

/// The asking server, if it has reported to this term and its volume is sound.
fn reported(tables: &Tables<'_>, who: &Identity) -> Result<ServerRecord, Stop> {
    let server = backend(tables, who)?;
    if server.restored != Restored::No {
        return Err(Refusal::Blocked.into());
    }
    if server.reported_term != tables.meta.term {
        return Err(Refusal::NotReported.into());
    }
    Ok(server)
}

fn under(name: &Name, record: &UnitRecord) -> Result<(), Stop> {
    if name.as_bytes().is_empty() || name.as_bytes().len() > NAME_BYTES_MAX {
        return Err(Refusal::BadName.into());
    }
    if name.is_under(&record.root) {
        Ok(())
    } else {
        Err(Refusal::ForeignName.into())
    }
}
