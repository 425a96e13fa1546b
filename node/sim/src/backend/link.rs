//! A backend and the master: report, grants, flips, settles, the outbox. Everything is asked again
//! until it is answered.

use std::collections::BTreeMap;

use murder_locations::ownership::{OwnershipEvent, SettleAnswer};
use murder_locations::record::UnitRecord;
use murder_locations::request::{Identity, Refusal, Request, Response, Role, UnitRef};
use murder_model::{Attempt, OwnershipRecord, PartitionName, Term, UnitId, UnitState};
use murder_store::mail::Grant;

use super::job::Work;
use super::{Backend, Then};
use crate::backend_of;
use crate::context::Context;
use crate::message::{Address, Millis, Payload, Peer};
use crate::mutant::Mutant;

/// An answer that takes longer is asked for again.
const PATIENCE: Millis = 700;

/// What an answer of the master is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    Report,
    Unit(UnitId),
    ReportDone,
    Grant(UnitId),
    /// A flip or settle; the term that it carried.
    Settle(UnitId, Term),
    Find(UnitId),
    /// A row of the outbox; its place.
    Row(UnitId, u64),
    Heartbeat,
    /// The log's last sequence number.
    Space(u64),
    /// That all UIDVALIDITYs have risen.
    Raised,
}

/// The state of the connection to the master.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// The master has the whole report.
    pub(super) reported: bool,
    /// After a restore: the floor of all UIDVALIDITYs.
    pub(super) raise_above: Option<u32>,
    /// Units that are still to be reported.
    pub(super) report: Vec<UnitId>,
    pub(super) pending: BTreeMap<u64, (Purpose, Millis)>,
    /// Place of the last outbox row that the master acknowledged.
    pub(super) acknowledged: u64,
}

impl Link {
    fn waits_for(&self, unit: UnitId) -> bool {
        self.pending.values().any(|(purpose, _)| {
            matches!(purpose,
                Purpose::Grant(of) | Purpose::Settle(of, _) | Purpose::Find(of) if *of == unit)
        })
    }

    fn is_reporting(&self) -> bool {
        self.pending.values().any(|(purpose, _)| {
            matches!(
                purpose,
                Purpose::Report | Purpose::Unit(_) | Purpose::ReportDone | Purpose::Raised
            )
        })
    }

    pub(super) fn is_publishing(&self) -> bool {
        self.pending
            .values()
            .any(|(purpose, _)| matches!(purpose, Purpose::Row(..)))
    }
}

pub(super) fn partition() -> PartitionName {
    PartitionName::parse("default").expect("letters")
}

impl Backend {
    pub(super) fn ask(&mut self, context: &mut Context, purpose: Purpose, request: Request) {
        let address = self.address();
        let Some(running) = &mut self.running else {
            return;
        };
        let id = context.unique();
        running.link.pending.insert(id, (purpose, context.now));
        let who = Identity {
            name: self.name.to_string(),
            role: Role::Backend,
        };
        context.send(address, Address::Master, Payload::Ask { id, who, request });
    }

    pub(super) fn tick_link(&mut self, context: &mut Context) {
        let Some(running) = &mut self.running else {
            return;
        };
        let link = &mut running.link;
        let now = context.now;
        let reporting = link.is_reporting();
        link.pending.retain(|_, (_, since)| *since + PATIENCE > now);
        if !link.reported {
            if !link.is_reporting() || !reporting {
                self.report(context);
            }
            return;
        }
        let waiting: Vec<_> = running
            .units
            .values()
            .filter(|record| !running.link.waits_for(record.unit))
            .cloned()
            .collect();
        for record in waiting {
            self.ask_about(context, &record);
        }
        self.publish(context);
        if context.random.chance(80) {
            self.ask(context, Purpose::Heartbeat, Request::Barrier);
        }
        if context.random.chance(150) {
            self.tell_space(context);
        }
    }

    /// What a unit in doubt needs of the master.
    fn ask_about(&mut self, context: &mut Context, record: &OwnershipRecord) {
        let unit = record.unit;
        match &record.state {
            UnitState::Creating => {
                let request = Request::Grant {
                    unit,
                    root: record.root.clone(),
                    partition: partition(),
                    term: self.promised,
                };
                self.ask(context, Purpose::Grant(unit), request);
            }
            UnitState::Released { .. } => self.ask_settle(context, record),
            UnitState::Prepared { .. } => {
                let request = Request::FindUnit(UnitRef::Id(unit));
                self.ask(context, Purpose::Find(unit), request);
            }
            _ => {}
        }
    }

    fn ask_settle(&mut self, context: &mut Context, record: &OwnershipRecord) {
        let UnitState::Released { move_id, .. } = record.state else {
            return;
        };
        if Mutant::UnfreezeAfterReleased.is_on() {
            let state = UnitState::Owner;
            let record = OwnershipRecord {
                state,
                ..record.clone()
            };
            return self.enqueue(context, Work::Force { record }, Then::Nothing);
        }
        let request = Request::Settle {
            unit: record.unit,
            epoch: record.epoch,
            move_id,
            term: self.promised,
        };
        self.ask(
            context,
            Purpose::Settle(record.unit, self.promised),
            request,
        );
    }

    /// RELEASED is durable: the flip.
    pub(super) fn ask_flip(&mut self, context: &mut Context, record: &OwnershipRecord) {
        let UnitState::Released {
            to,
            move_id,
            attempt,
        } = &record.state
        else {
            return;
        };
        let Some(destination) = backend_of(to).and_then(|to| context.plan.servers.get(to).copied())
        else {
            return;
        };
        let request = Request::Flip {
            unit: record.unit,
            from_epoch: record.epoch,
            destination,
            partition: partition(),
            move_id: *move_id,
            attempt: *attempt,
            term: self.promised,
        };
        self.ask(
            context,
            Purpose::Settle(record.unit, self.promised),
            request,
        );
    }

    /// Looks at the master's record of a unit.
    pub(super) fn ask_find(&mut self, context: &mut Context, unit: UnitId) {
        let request = Request::FindUnit(UnitRef::Id(unit));
        self.ask(context, Purpose::Find(unit), request);
    }

    pub(super) fn told(&mut self, context: &mut Context, id: u64, response: Response) {
        let Some(running) = &mut self.running else {
            return;
        };
        let Some((purpose, _)) = running.link.pending.remove(&id) else {
            return;
        };
        if self.reports_again(context, &response) {
            return;
        }
        let Some(running) = &mut self.running else {
            return;
        };
        match (&purpose, response) {
            (
                Purpose::Report,
                Response::Welcome {
                    raise_uidvalidity_above,
                    ..
                },
            ) => {
                running.link.raise_above = raise_uidvalidity_above;
                running.link.report = running.units.keys().copied().collect();
                self.report_next(context);
            }
            (Purpose::Unit(unit), Response::Verdict(verdict)) => {
                self.verdict(context, *unit, verdict);
                self.report_next(context);
            }
            (Purpose::ReportDone, Response::Reported { .. }) if self.suspended => {
                self.enqueue(context, Work::Nothing, Then::Raised);
            }
            (Purpose::ReportDone, Response::Reported { .. }) => running.link.reported = true,
            (Purpose::Space(lsn), Response::Done) => self.told_lsn = self.told_lsn.max(*lsn),
            (Purpose::Raised, Response::Done) => self.resume(context),
            (Purpose::Grant(unit), Response::Granted(granted)) => {
                if let Some(record) = running.units.get(unit) {
                    let grant = Grant {
                        unit: *unit,
                        root: record.root.clone(),
                        term: granted.record.term,
                        epoch: granted.record.epoch,
                        uid_validity_floor: granted.uidvalidity_floor,
                    };
                    self.enqueue(context, Work::CreateRoot { grant }, Then::Nothing);
                }
            }
            (
                Purpose::Grant(unit),
                Response::Refused(Refusal::RootTaken | Refusal::UnitDropped),
            ) => {
                let refused = Work::event(*unit, OwnershipEvent::GrantRefused);
                self.enqueue(context, refused, Then::Nothing);
            }
            (Purpose::Settle(unit, spoken), response) => {
                self.settled(context, *unit, *spoken, response);
            }
            // What is left of it here is worth nothing.
            (Purpose::Find(unit), Response::Refused(Refusal::UnitDropped)) => {
                self.unit_dropped(context, *unit);
            }
            (Purpose::Find(unit), Response::Unit(Some(record))) => {
                self.master_says(context, *unit, &record);
            }
            (Purpose::Row(unit, place), response) => {
                self.row_told(context, *unit, *place, &response);
            }
            (Purpose::Heartbeat, Response::At(position)) if position.term != self.promised => {
                self.report(context);
            }
            _ => {}
        }
    }

    /// Whether the answer, to whatever question, says that the master needs a report first.
    fn reports_again(&mut self, context: &mut Context, response: &Response) -> bool {
        let reported = self
            .running
            .as_ref()
            .is_some_and(|running| running.link.reported);
        match response {
            Response::Promise { term } => {
                // A promise is durable before it is given.
                self.promised = self.promised.max(*term);
                self.report(context);
            }
            Response::Refused(
                Refusal::NotReported | Refusal::UnknownServer | Refusal::WrongTerm { .. },
            ) => self.report(context),
            // Another master than the one that was reported to.
            Response::Refused(Refusal::AwaitingReports(servers))
                if servers.contains(&self.name) && reported =>
            {
                self.report(context);
            }
            Response::Refused(Refusal::Blocked) if self.suspended => self.blocked(context),
            Response::Refused(Refusal::Blocked) => {
                context.violate("O8 only a restored volume goes back", self.name.to_string());
            }
            _ => return false,
        }
        true
    }

    /// The master's record of a unit.
    pub(super) fn master_says(&mut self, context: &mut Context, unit: UnitId, said: &UnitRecord) {
        let Some(record) = self
            .running
            .as_ref()
            .and_then(|running| running.units.get(&unit))
            .cloned()
        else {
            return;
        };
        let (term, epoch) = (said.term, said.epoch);
        let here = said.server == self.name;
        let event = match (&record.state, said.last_move) {
            (UnitState::Released { .. }, _) => OwnershipEvent::Settled {
                spoken: self.promised,
                answer: SettleAnswer::Record {
                    owner: said.server.clone(),
                    term,
                    epoch,
                },
            },
            (UnitState::Prepared { .. }, Some(last)) if here && last.flipped => {
                OwnershipEvent::GrantArrived {
                    term,
                    epoch,
                    move_id: last.move_id,
                    attempt: last.attempt,
                }
            }
            (UnitState::Prepared { .. }, _)
                if Mutant::ServeWhenPrepared.is_on() && epoch == record.epoch =>
            {
                let state = UnitState::Owner;
                let record = OwnershipRecord {
                    state,
                    epoch: record.epoch.next(),
                    term,
                    ..record
                };
                return self.enqueue(context, Work::Force { record }, Then::Nothing);
            }
            _ if !here && epoch > record.epoch => OwnershipEvent::SeenElsewhere {
                owner: said.server.clone(),
                term,
                epoch,
            },
            _ => return,
        };
        self.enqueue(context, Work::event(unit, event), Then::Nothing);
    }

    /// The master dropped a unit of which there is a copy here.
    pub(super) fn unit_dropped(&mut self, context: &mut Context, unit: UnitId) {
        let record = self
            .running
            .as_ref()
            .and_then(|running| running.units.get(&unit));
        if let Some(UnitState::Staging { move_id, .. } | UnitState::Prepared { move_id, .. }) =
            record.map(|record| record.state.clone())
        {
            let attempt = Attempt::new(u32::MAX);
            let event = OwnershipEvent::DropStaging { move_id, attempt };
            self.enqueue(context, Work::event(unit, event), Then::Nothing);
        }
    }

    /// The answer to a flip or settle.
    fn settled(&mut self, context: &mut Context, unit: UnitId, spoken: Term, told: Response) {
        let answer = match told {
            Response::Flipped(record) => SettleAnswer::Flipped {
                to: record.server,
                term: record.term,
                epoch: record.epoch,
            },
            Response::Raised(record) | Response::Unit(Some(record)) => SettleAnswer::Record {
                owner: record.server,
                term: record.term,
                epoch: record.epoch,
            },
            Response::Refused(Refusal::Superseded(record)) => SettleAnswer::Record {
                owner: record.server.clone(),
                term: record.term,
                epoch: record.epoch,
            },
            _ => return,
        };
        if let SettleAnswer::Flipped { to, .. } = &answer
            && let Some(to) = backend_of(to)
            && let Some(UnitState::Released { move_id, .. }) = self
                .running
                .as_ref()
                .and_then(|running| running.units.get(&unit))
                .map(|record| record.state.clone())
        {
            let message = Peer::Flipped;
            let payload = Payload::Peer {
                unit,
                move_id,
                message,
            };
            context.send(self.address(), Address::Backend(to), payload);
        }
        let event = OwnershipEvent::Settled { spoken, answer };
        self.enqueue(context, Work::event(unit, event), Then::Nothing);
    }
}
