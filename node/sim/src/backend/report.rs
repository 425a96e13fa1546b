//! A backend's report to the master: who it is, what it holds, and what the master makes of that (O5).

use murder_locations::ownership::OwnershipEvent;
use murder_locations::record::{Addresses, HostPort, PartitionSpace};
use murder_locations::request::{Report, ReportedUnit, Request, Verdict};
use murder_model::{OutboxNumber, UnitId, UnitState};
use murder_store::mail;

use super::job::Work;
use super::link::{Purpose, partition};
use super::{Backend, Then};
use crate::context::Context;

impl Backend {
    pub(super) fn report(&mut self, context: &mut Context) {
        let Some(running) = &mut self.running else {
            return;
        };
        running.link.pending.clear();
        running.link.reported = false;
        let at = |port| HostPort {
            host: "sim.example".to_owned(),
            port,
        };
        let mut start_id = [0; 16];
        start_id[..8].copy_from_slice(&self.incarnation.get().to_be_bytes());
        let report = Report {
            server_id: self.id,
            incarnation: self.incarnation,
            start_id,
            addresses: Addresses {
                imap: at(143),
                imaps: None,
                lmtp: at(24),
                transfer: at(2006),
                admin: at(8443),
            },
            partitions: vec![PartitionSpace {
                name: partition(),
                free_bytes: 1 << 30,
                total_bytes: 1 << 31,
                last_lsn: running.partition.last_lsn(),
            }],
            promised_term: self.promised,
        };
        self.ask(context, Purpose::Report, Request::Report(report));
    }

    pub(super) fn report_next(&mut self, context: &mut Context) {
        let Some(running) = &mut self.running else {
            return;
        };
        let Some(unit) = running.link.report.pop() else {
            let request = Request::ReportDone {
                server_id: self.id,
                incarnation: self.incarnation,
            };
            return self.ask(context, Purpose::ReportDone, request);
        };
        let Some(record) = running.units.get(&unit).cloned() else {
            return self.report_next(context);
        };
        // All that the unit ever used, also if nothing of it is left (O7).
        let validity = self.snapshot(context).and_then(|rows| {
            let row = mail::unit(&rows, &unit).ok()??;
            Some(row.uid_validity_floor)
        });
        let request = Request::ReportUnit(ReportedUnit {
            server_id: self.id,
            incarnation: self.incarnation,
            unit,
            root: record.root,
            partition: partition(),
            term: record.term,
            epoch: record.epoch,
            state: record.state,
            uidvalidity_max: validity.unwrap_or(0),
        });
        self.ask(context, Purpose::Unit(unit), request);
    }

    pub(super) fn verdict(&mut self, context: &mut Context, unit: UnitId, verdict: Verdict) {
        match verdict {
            Verdict::Agreed { applied } => self.agreed(context, unit, applied),
            Verdict::Record(record) => self.master_says(context, unit, &record),
            Verdict::Regranted(record) => {
                let event = OwnershipEvent::Regranted {
                    term: record.term,
                    epoch: record.epoch,
                };
                self.enqueue(context, Work::event(unit, event), Then::Nothing);
                self.raise(context, unit);
            }
            Verdict::Dropped if self.suspended => {
                let event = OwnershipEvent::Deleted;
                self.enqueue(context, Work::event(unit, event), Then::Nothing);
                self.unit_dropped(context, unit);
            }
            Verdict::Dropped => self.unit_dropped(context, unit),
            Verdict::RootTaken(_) => {
                let Some(record) = self
                    .running
                    .as_ref()
                    .and_then(|running| running.units.get(&unit))
                else {
                    return;
                };
                if record.state == UnitState::Owner {
                    let root = record.root.clone();
                    context.violate(
                        "O1 leaving is the owner's act",
                        format!("{root}: {verdict:?}"),
                    );
                }
            }
        }
    }

    /// The master has rows of the unit up to a number; if it lost some, all names are told again.
    fn agreed(&mut self, context: &mut Context, unit: UnitId, applied: OutboxNumber) {
        let owner = self.running.as_ref().is_some_and(|running| {
            let record = running.units.get(&unit);
            record.is_some_and(|record| record.state == UnitState::Owner)
        });
        let Some(rows) = self.snapshot(context).filter(|_| owner) else {
            return;
        };
        let read = mail::outbox_after(&rows, 0, 10_000).and_then(|waiting| {
            let first = waiting.iter().find(|(_, row)| row.unit == unit);
            let last = mail::unit(&rows, &unit)?.map_or(0, |row| row.outbox);
            Ok(first.map_or(last, |(_, row)| row.number.get() - 1))
        });
        let Some(acknowledged) = context.expect("4 a backend answers", "read outbox", read) else {
            return;
        };
        if applied.get() < acknowledged {
            self.enqueue(context, Work::Publish { unit }, Then::Nothing);
        }
    }
}
