//! Clients' calls: who may pass the gate of a unit, who waits, who is sent elsewhere.

use murder_locations::ownership::{OwnershipEvent, serves};
use murder_model::{OwnershipRecord, RootName, UnitId, UnitState};

use super::job::Work;
use super::ops::look;
use super::{Backend, Held, Running, Then};
use crate::context::Context;
use crate::message::{Address, Millis, Op, Outcome, Payload};
use crate::mutant::Mutant;

/// Calls that wait, at most.
const HELD_MAX: usize = 40;
/// How long one waits.
const HELD: Millis = 900;

impl Running {
    /// The unit that has a root here: the one that is served, else the one that was last.
    fn unit_of(&self, root: &RootName) -> Option<&OwnershipRecord> {
        let rank = |record: &OwnershipRecord| match record.state {
            UnitState::Owner => 3,
            UnitState::Released { .. } | UnitState::Creating => 2,
            UnitState::Moved { .. } => 1,
            _ => 0,
        };
        self.units
            .values()
            .filter(|record| record.root == *root)
            .max_by_key(|record| (rank(record), record.epoch))
    }

    fn is_frozen(&self, unit: UnitId) -> bool {
        self.moves.get(&unit).is_some_and(|moving| moving.frozen)
    }
}

impl Backend {
    pub(super) fn call(&mut self, context: &mut Context, call: Held) {
        let Some(running) = &mut self.running else {
            return;
        };
        if self.suspended && !Mutant::ServeWhenRestored.is_on() {
            return self.answer(context, &call, Outcome::Unavailable);
        }
        let record = running.unit_of(&call.root).cloned();
        match (&call.op, record) {
            (Op::Create, record) => self.create(context, &call, record),
            (_, None) => self.answer(context, &call, Outcome::NotHere),
            (_, Some(record)) => match &record.state {
                UnitState::Owner => self.served(context, call, &record),
                UnitState::Released { .. } => self.hold(context, call),
                UnitState::Moved { to, term, epoch } => {
                    let outcome = Outcome::MovedTo {
                        server: to.clone(),
                        term: *term,
                        epoch: *epoch,
                    };
                    self.answer(context, &call, outcome);
                }
                UnitState::Creating => self.answer(context, &call, Outcome::Unavailable),
                _ => self.answer(context, &call, Outcome::NotHere),
            },
        }
    }

    fn served(&mut self, context: &mut Context, call: Held, record: &OwnershipRecord) {
        debug_assert!(serves(record), "only owners come here");
        let unit = record.unit;
        if let Op::Look { folder, since } = &call.op {
            let Some(rows) = self.snapshot(context) else {
                return;
            };
            let who = (&call.root, &call.user);
            let outcome = match look(&rows, &unit, who, folder, *since) {
                Ok(listing) => Outcome::Listing(Box::new(listing)),
                Err(murder_store::mail::MailError::Store(error)) => {
                    return context.violate("4 a backend answers", error.to_string());
                }
                Err(error) => Outcome::Refused(error.to_string()),
            };
            return self.answer(context, &call, outcome);
        }
        let Some(running) = &mut self.running else {
            return;
        };
        if running.is_frozen(unit) {
            return self.hold(context, call);
        }
        if matches!(call.op, Op::DropRoot) && running.moves.contains_key(&unit) {
            return self.answer(context, &call, Outcome::Unavailable);
        }
        *running.passes.entry(unit).or_default() += 1;
        let work = match call.op {
            Op::DropRoot => Work::DropRoot { unit },
            op => Work::Call {
                unit,
                root: call.root,
                user: call.user,
                op,
            },
        };
        let then = Then::Answer {
            to: call.from,
            id: call.id,
            unit,
        };
        self.enqueue(context, work, then);
    }

    /// A write was answered; a freeze may wait for it.
    pub(super) fn give_back(&mut self, context: &mut Context, unit: UnitId) {
        if let Some(running) = &mut self.running
            && let Some(passes) = running.passes.get_mut(&unit)
        {
            *passes = passes.saturating_sub(1);
        }
        self.drained(context, unit);
    }

    fn answer(&self, context: &mut Context, call: &Held, outcome: Outcome) {
        let payload = Payload::Answer {
            id: call.id,
            outcome,
        };
        context.send(self.address(), call.from, payload);
    }

    fn hold(&mut self, context: &mut Context, call: Held) {
        let Some(running) = &mut self.running else {
            return;
        };
        if running.held.len() == HELD_MAX {
            return self.answer(context, &call, Outcome::Unavailable);
        }
        running.held.push(call);
    }

    /// Held calls are looked at again; those of a unit that is still frozen or in doubt wait on.
    pub(super) fn release_held(&mut self, context: &mut Context) {
        let Some(running) = &mut self.running else {
            return;
        };
        for call in std::mem::take(&mut running.held) {
            self.call(context, call);
        }
    }

    pub(super) fn tick_held(&mut self, context: &mut Context) {
        let Some(running) = &mut self.running else {
            return;
        };
        let now = context.now;
        let (late, held): (Vec<_>, Vec<_>) = std::mem::take(&mut running.held)
            .into_iter()
            .partition(|call| call.since + HELD < now);
        running.held = held;
        for call in late {
            self.answer(context, &call, Outcome::Unavailable);
        }
    }

    /// A root is wanted here.
    fn create(&mut self, context: &mut Context, call: &Held, record: Option<OwnershipRecord>) {
        let Some(running) = &mut self.running else {
            return;
        };
        match record {
            Some(record) if record.state == UnitState::Owner => {
                self.answer(context, call, Outcome::Created);
            }
            Some(record) if record.state == UnitState::Creating => {
                let waiting = running.creating.entry(record.unit).or_default();
                waiting.push((call.from, call.id));
            }
            Some(record) if matches!(record.state, UnitState::Released { .. }) => {
                self.answer(context, call, Outcome::Unavailable);
            }
            Some(OwnershipRecord {
                state: UnitState::Moved { to, term, epoch },
                ..
            }) => {
                let server = to;
                let outcome = Outcome::MovedTo {
                    server,
                    term,
                    epoch,
                };
                self.answer(context, call, outcome);
            }
            _ => self.create_anew(context, call),
        }
    }

    fn create_anew(&mut self, context: &mut Context, call: &Held) {
        let unit = UnitId::from_bytes(context.random.id());
        let Some(running) = &mut self.running else {
            return;
        };
        let waiting = running.creating.entry(unit).or_default();
        waiting.push((call.from, call.id));
        let event = OwnershipEvent::Create {
            unit,
            root: call.root.clone(),
        };
        self.enqueue(context, Work::event(unit, event), Then::Nothing);
        if Mutant::AutocreateWithoutGrant.is_on() {
            let grant = murder_store::mail::Grant {
                unit,
                root: call.root.clone(),
                term: self.promised,
                epoch: murder_model::Epoch::new(1),
                uid_validity_floor: 0,
            };
            self.enqueue(context, Work::CreateRoot { grant }, Then::Nothing);
        }
    }

    /// A root was granted, or refused: those who wait hear of it.
    pub(super) fn created(&mut self, context: &mut Context, record: &OwnershipRecord) {
        let Some(running) = &mut self.running else {
            return;
        };
        let waiting = running.creating.remove(&record.unit).unwrap_or_default();
        for (to, id) in waiting {
            let outcome = match record.state {
                UnitState::Owner => Outcome::Created,
                _ => Outcome::Unavailable,
            };
            context.send(self.address(), to, Payload::Answer { id, outcome });
        }
    }

    /// Where calls come from is not looked at: in this world only frontends call.
    pub(super) fn peer_of(from: Address) -> Option<usize> {
        match from {
            Address::Backend(index) => Some(index),
            _ => None,
        }
    }
}
