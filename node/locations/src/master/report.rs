//! Reports of servers: promises to a term (O5), restored volumes (O8), and what each holds.

use murder_model::{Epoch, Incarnation, OutboxNumber, ServerId, UnitState};

use super::tables::{Heard, Tables};
use super::{Answer, Stop, backend, server_name};
use crate::name::Name;
use crate::record::{
    LastMove, PartitionSpace, Restored, ServerFlags, ServerRecord, Standing, UnitRecord,
};
use crate::request::{Identity, Refusal, Report, ReportedUnit, Response, Verdict};

/// Agreed, and no name of the unit is known under its epoch.
const NOTHING_APPLIED: Verdict = Verdict::Agreed {
    applied: OutboxNumber::new(0),
};

impl Tables<'_> {
    pub(super) fn report(&mut self, who: &Identity, report: Report) -> Answer {
        let name = server_name(who)?;
        let known = self.server(report.server_id)?;
        if let Some(known) = &known {
            if known.retired {
                return Err(Refusal::Retired.into());
            }
            if known.server != name {
                return Err(Refusal::NotAllowed(who.name.clone()).into());
            }
        }
        if let Some(other) = self.server_by_name(&name)?
            && other.server_id != report.server_id
            && !other.retired
        {
            return Err(Refusal::NameTaken(other.server_id).into());
        }
        if let Some(known) = &known
            && went_back(known, &report)
        {
            if known.restored != Restored::Blocked {
                self.put_server(ServerRecord {
                    restored: Restored::Blocked,
                    ..known.clone()
                })?;
            }
            return Ok(Response::Refused(Refusal::Blocked));
        }
        // A promise that this master never asked for was made to one before it, whose term must be
        // left behind even if it was the same number.
        let asked = self.asked(report.server_id)? == Some(self.meta.term);
        if report.promised_term > self.meta.term
            || (report.promised_term == self.meta.term && !asked)
        {
            self.begin_term(report.promised_term)?;
        }
        if report.promised_term < self.meta.term {
            self.put_asked(report.server_id)?;
            return Ok(Response::Promise {
                term: self.meta.term,
            });
        }
        let record = welcome(name, known, report);
        let restored = record.restored;
        self.put_server(record)?;
        let raise_uidvalidity_above = match restored {
            Restored::Raising(floor) => Some(floor),
            Restored::No | Restored::Blocked => None,
        };
        Ok(Response::Welcome {
            term: self.meta.term,
            raise_uidvalidity_above,
        })
    }

    pub(super) fn report_unit(&mut self, who: &Identity, held: ReportedUnit) -> Answer {
        let server = self.reporter(who, held.server_id, held.incarnation)?;
        self.meta.uidvalidity_max = self.meta.uidvalidity_max.max(held.uidvalidity_max);
        if self.dropped(held.unit)?.is_some() {
            let gone = held.state == UnitState::Gone;
            let verdict = if gone {
                NOTHING_APPLIED
            } else {
                Verdict::Dropped
            };
            return Ok(Response::Verdict(verdict));
        }
        let record = self.unit(held.unit)?;
        if !matches!(held.state, UnitState::Owner | UnitState::Released { .. }) {
            self.hear(&server, &held, record.as_ref())?;
        }
        match (&held.state, record) {
            (UnitState::Owner | UnitState::Released { .. }, None) => self.adopt(&server, &held),
            (UnitState::Owner | UnitState::Released { .. }, Some(record)) => {
                self.compare(&server, &held, record)
            }
            (
                UnitState::Prepared {
                    move_id,
                    attempt,
                    epoch,
                    ..
                },
                record,
            ) => {
                let last = LastMove {
                    move_id: *move_id,
                    attempt: *attempt,
                    flipped: true,
                };
                self.prepared(&server, &held, record, last, *epoch)
            }
            (_, Some(record)) if record.epoch > held.epoch => self.ahead(&server, record),
            _ => Ok(Response::Verdict(NOTHING_APPLIED)),
        }
    }

    /// Notes a later epoch than the record's that the reporter knows of.
    fn hear(
        &mut self,
        server: &ServerRecord,
        held: &ReportedUnit,
        record: Option<&UnitRecord>,
    ) -> Result<(), Stop> {
        let heard = Heard {
            epoch: held.epoch,
            by: server.server.clone(),
            gone: held.state == UnitState::Gone,
            moved_to: match &held.state {
                UnitState::Moved { to, .. } => Some(to.clone()),
                _ => None,
            },
        };
        let granted_once = held.epoch > Epoch::new(0);
        let news = granted_once && record.is_none_or(|record| record.epoch < held.epoch);
        let rank = |heard: &Heard| (heard.epoch, heard.moved_to.is_some(), heard.gone);
        if news
            && self
                .heard(held.unit)?
                .is_none_or(|known| rank(&known) < rank(&heard))
        {
            self.put_heard(held.unit, &heard)?;
        }
        Ok(())
    }

    /// A server that waits for its grant. It has it if the record says so, or if the source reports
    /// that it gave the unit away at this very epoch: then the lost master had flipped it.
    fn prepared(
        &mut self,
        server: &ServerRecord,
        held: &ReportedUnit,
        record: Option<UnitRecord>,
        last: LastMove,
        granted: Epoch,
    ) -> Answer {
        if let Some(record) = &record
            && record.epoch > held.epoch
        {
            let mine = record.epoch == granted && record.last_move == Some(last);
            return if mine {
                self.ahead(server, record.clone())
            } else {
                Ok(Response::Verdict(Verdict::Record(record.clone())))
            };
        }
        let given = self.heard(held.unit)?.is_some_and(|heard| {
            heard.epoch == granted && heard.moved_to.as_ref() == Some(&server.server)
        });
        if !given {
            return Ok(Response::Verdict(NOTHING_APPLIED));
        }
        if let Some(other) = self.unit_by_root(&Name::from(&held.root))?
            && other.unit != held.unit
        {
            return Ok(Response::Verdict(Verdict::RootTaken(other)));
        }
        let record = UnitRecord {
            term: self.meta.term,
            epoch: granted,
            last_move: Some(last),
            ..self.as_reported(server, held)
        };
        self.put_unit(record.clone())?;
        Ok(Response::Verdict(Verdict::Record(record)))
    }

    /// The record is ahead of what the server holds. If it owns the unit, and was granted it by a reign
    /// that it has since promised to refuse, it is granted it by this one.
    fn ahead(&mut self, server: &ServerRecord, record: UnitRecord) -> Answer {
        let own = record.server_id == server.server_id;
        if !own || record.confirmed == self.meta.term {
            return Ok(Response::Verdict(Verdict::Record(record)));
        }
        let term = self.meta.term;
        let record = UnitRecord {
            term,
            confirmed: term,
            standing: Standing::Owned,
            ..record
        };
        self.put_unit(record.clone())?;
        Ok(Response::Verdict(Verdict::Record(record)))
    }

    /// A unit that the master does not know.
    fn adopt(&mut self, server: &ServerRecord, held: &ReportedUnit) -> Answer {
        let root = Name::from(&held.root);
        if let Some(other) = self.unit_by_root(&root)? {
            return Ok(Response::Verdict(Verdict::RootTaken(other)));
        }
        if self.has_names_under(&root)? {
            return Err(Refusal::RootTaken.into());
        }
        // Units that were granted without a master have term 0: the server joins the murder.
        if server.reported_term == self.meta.term && held.term.get() > 0 {
            let term = self.begin_term(held.term)?;
            self.put_asked(server.server_id)?;
            return Ok(Response::Promise { term });
        }
        self.put_unit(self.as_reported(server, held))?;
        Ok(Response::Verdict(NOTHING_APPLIED))
    }

    /// A unit that the server holds and the master has a record of.
    fn compare(
        &mut self,
        server: &ServerRecord,
        held: &ReportedUnit,
        record: UnitRecord,
    ) -> Answer {
        let own = record.server_id == server.server_id;
        if own && matches!(server.restored, Restored::Raising(_)) {
            let epoch = record.epoch.max(held.epoch).next();
            let term = self.meta.term;
            let record = UnitRecord {
                partition: Some(held.partition.clone()),
                term,
                epoch,
                standing: Standing::Owned,
                last_move: None,
                confirmed: term,
                ..record
            };
            self.put_unit(record.clone())?;
            return Ok(Response::Verdict(Verdict::Regranted(record)));
        }
        if held.epoch > record.epoch {
            let settled = record.standing == Standing::Owned;
            if record.confirmed == self.meta.term && settled {
                // Something that was acknowledged is not here any more.
                let term = self.begin_term(held.term)?;
                self.put_asked(server.server_id)?;
                return Ok(Response::Promise { term });
            }
            self.put_unit(self.as_reported(server, held))?;
            return Ok(Response::Verdict(NOTHING_APPLIED));
        }
        if held.epoch == record.epoch && !own && record.confirmed != self.meta.term {
            self.put_unit(self.as_reported(server, held))?;
            return Ok(Response::Verdict(NOTHING_APPLIED));
        }
        if held.epoch == record.epoch && own {
            let confirmed = UnitRecord {
                last_move: record.last_move,
                term: record.term,
                ..self.as_reported(server, held)
            };
            let settled = record.confirmed == self.meta.term
                && record.partition.as_ref() == Some(&held.partition);
            if !settled {
                self.put_unit(confirmed)?;
            }
            let (epoch, number) = self.outbox(held.unit)?;
            let applied = if epoch == held.epoch {
                number
            } else {
                OutboxNumber::new(0)
            };
            return Ok(Response::Verdict(Verdict::Agreed { applied }));
        }
        if own && held.state == UnitState::Owner {
            // It serves an epoch that it had given up: its volume is older than its numbers say.
            self.put_server(ServerRecord {
                restored: Restored::Blocked,
                ..server.clone()
            })?;
            return Ok(Response::Refused(Refusal::Blocked));
        }
        self.ahead(server, record)
    }

    fn as_reported(&self, server: &ServerRecord, held: &ReportedUnit) -> UnitRecord {
        let standing = match &held.state {
            UnitState::Released { to, .. } => Standing::Released { to: to.clone() },
            _ => Standing::Owned,
        };
        UnitRecord {
            unit: held.unit,
            root: Name::from(&held.root),
            server: server.server.clone(),
            server_id: server.server_id,
            partition: Some(held.partition.clone()),
            term: held.term,
            epoch: held.epoch,
            standing,
            last_move: None,
            confirmed: self.meta.term,
        }
    }

    pub(super) fn report_done(
        &mut self,
        who: &Identity,
        server_id: ServerId,
        incarnation: Incarnation,
    ) -> Answer {
        let server = self.reporter(who, server_id, incarnation)?;
        self.meta.awaited.retain(|name| *name != server.server);
        if server.reported_term != self.meta.term {
            self.put_server(ServerRecord {
                reported_term: self.meta.term,
                ..server
            })?;
        }
        Ok(Response::Reported {
            units_of_record: self.owned_count(server_id)?,
        })
    }

    /// The server of a report that is under way.
    fn reporter(
        &self,
        who: &Identity,
        server_id: ServerId,
        incarnation: Incarnation,
    ) -> Result<ServerRecord, Stop> {
        let server = backend(self, who)?;
        if server.server_id != server_id
            || server.incarnation != incarnation
            || server.promised_term != self.meta.term
        {
            return Err(Refusal::NotReported.into());
        }
        Ok(server)
    }

    pub(super) fn space(
        &mut self,
        who: &Identity,
        server_id: ServerId,
        partitions: Vec<PartitionSpace>,
    ) -> Answer {
        let server = backend(self, who)?;
        if server.server_id != server_id {
            return Err(Refusal::NotAllowed(who.name.clone()).into());
        }
        if lsn_went_back(&server.partitions, &partitions) {
            self.put_server(ServerRecord {
                restored: Restored::Blocked,
                ..server
            })?;
            return Ok(Response::Refused(Refusal::Blocked));
        }
        if server.partitions != partitions {
            self.put_server(ServerRecord {
                partitions,
                ..server
            })?;
        }
        Ok(Response::Done)
    }

    pub(super) fn uidvalidity_raised(&mut self, who: &Identity, server_id: ServerId) -> Answer {
        let server = backend(self, who)?;
        if server.server_id != server_id {
            return Err(Refusal::NotAllowed(who.name.clone()).into());
        }
        if matches!(server.restored, Restored::Raising(_)) {
            self.put_server(ServerRecord {
                restored: Restored::No,
                ..server
            })?;
        }
        Ok(Response::Done)
    }
}

/// The server's record after an accepted report.
fn welcome(
    name: murder_model::ServerName,
    known: Option<ServerRecord>,
    report: Report,
) -> ServerRecord {
    let (reported_term, flags, restored) = match known {
        Some(known) => (known.reported_term, known.flags, known.restored),
        None => (
            murder_model::Term::new(0),
            ServerFlags::default(),
            Restored::No,
        ),
    };
    ServerRecord {
        server: name,
        server_id: report.server_id,
        incarnation: report.incarnation,
        start_id: report.start_id,
        promised_term: report.promised_term,
        reported_term,
        addresses: report.addresses,
        partitions: report.partitions,
        flags,
        restored,
        retired: false,
        ready: false,
    }
}

/// O8: whether the report shows an older volume than an earlier one did.
fn went_back(known: &ServerRecord, report: &Report) -> bool {
    match known.restored {
        Restored::Blocked => true,
        Restored::Raising(_) => false,
        Restored::No => {
            report.incarnation < known.incarnation
                || (report.incarnation == known.incarnation && report.start_id != known.start_id)
                || lsn_went_back(&known.partitions, &report.partitions)
        }
    }
}

fn lsn_went_back(known: &[PartitionSpace], reported: &[PartitionSpace]) -> bool {
    known.iter().any(|old| {
        !reported
            .iter()
            .any(|new| new.name == old.name && new.last_lsn >= old.last_lsn)
    })
}
