//! The outbox on its way to the master, row by row (O6).

use murder_locations::request::{Name, Refusal, Request, Response, Row, RowOp};
use murder_model::{UnitId, UnitState};
use murder_store::mail::{self, OutboxOperation};

use super::job::Work;
use super::link::Purpose;
use super::{Backend, Then, refused};
use crate::context::Context;
use crate::mutant::Mutant;

impl Backend {
    /// The next row of the outbox goes to the master.
    pub(super) fn publish(&mut self, context: &mut Context) {
        let busy = |running: &super::Running| running.link.is_publishing();
        if self.running.as_ref().is_none_or(busy) {
            return;
        }
        let after = self
            .running
            .as_ref()
            .map_or(0, |running| running.link.acknowledged);
        let Some(rows) = self.snapshot(context) else {
            return;
        };
        let read = mail::outbox_after(&rows, after, 1);
        let Some(waiting) = context.expect("4 a backend answers", "read outbox", read) else {
            return;
        };
        let Some((place, row)) = waiting.into_iter().next() else {
            return;
        };
        let op = match row.operation {
            OutboxOperation::Put {
                name,
                mailbox,
                acl,
                special_use,
            } => RowOp::Put {
                name: Name::from(&name),
                mailbox,
                acl: acl.to_wire().into_bytes(),
                special_use,
                selectable: true,
            },
            // The root goes last, and the unit with it.
            OutboxOperation::Delete { name } if name.is_root() => {
                let validity = mail::unit(&rows, &row.unit)
                    .ok()
                    .flatten()
                    .map_or(u32::MAX - 1, |unit| unit.uid_validity_floor);
                let request = Request::DropUnit {
                    unit: row.unit,
                    epoch: row.epoch,
                    number: row.number,
                    uidvalidity_max: validity,
                };
                return self.ask(context, Purpose::Row(row.unit, place), request);
            }
            OutboxOperation::Delete { name } => RowOp::Delete {
                name: Name::from(&name),
            },
            OutboxOperation::Restated { since, names } => RowOp::RestateEnd { since, rows: names },
        };
        let request = Request::Row(Row {
            unit: row.unit,
            epoch: row.epoch,
            number: row.number,
            op,
        });
        self.ask(context, Purpose::Row(row.unit, place), request);
        if Mutant::ForgetOutboxEarly.is_on() {
            self.row_done(context, place);
        }
    }

    pub(super) fn row_told(
        &mut self,
        context: &mut Context,
        unit: UnitId,
        place: u64,
        told: &Response,
    ) {
        match told {
            Response::RowsApplied { .. }
            | Response::Done
            | Response::Refused(Refusal::UnitDropped) => self.row_done(context, place),
            Response::Refused(Refusal::IncompleteRestatement { .. }) => {
                self.row_done(context, place);
                self.enqueue(context, Work::Publish { unit }, Then::Nothing);
            }
            Response::Refused(refusal) => {
                context.trace(|| format!("{}     row {place} {}", self.name, refused(refusal)));
                let epoch = self
                    .running
                    .as_ref()
                    .and_then(|running| running.units.get(&unit))
                    .filter(|record| record.state == UnitState::Owner)
                    .map(|record| record.epoch);
                let Some(rows) = self.snapshot(context) else {
                    return;
                };
                // Rows of an epoch that is over were stated again under the one that followed.
                let old = mail::outbox_after(&rows, place - 1, 1).is_ok_and(|rows| {
                    let row = rows.first();
                    row.is_some_and(|(_, row)| epoch.is_none_or(|epoch| row.epoch < epoch))
                });
                let decided = !matches!(refusal, Refusal::AwaitingReports(_));
                let in_doubt = self.running.as_ref().is_some_and(|running| {
                    let record = running.units.get(&unit);
                    record.is_some_and(|record| matches!(record.state, UnitState::Released { .. }))
                });
                if old && decided && !in_doubt {
                    self.row_done(context, place);
                }
            }
            _ => {}
        }
    }

    fn row_done(&mut self, context: &mut Context, place: u64) {
        if let Some(running) = &mut self.running {
            running.link.acknowledged = running.link.acknowledged.max(place);
            self.enqueue(context, Work::Acknowledge { upto: place }, Then::Nothing);
        }
    }
}
