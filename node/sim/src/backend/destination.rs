//! A move as its destination sees it: stage, import, prepare, wait for the grant.

use murder_locations::ownership::OwnershipEvent;
use murder_model::{Attempt, Epoch, MoveId, ServerName, UnitId, UnitState};
use murder_store::mail::{self, MailError};

use super::job::{Done, Work};
use super::{Backend, Then};
use crate::backend_of;
use crate::context::Context;
use crate::message::{Address, Millis, Payload, Peer};
use crate::oracle::server_name;

/// A source that was silent for so long is asked.
const SILENCE: Millis = 800;

/// A copy under way, in memory: after a crash the source begins anew.
#[derive(Debug)]
pub(super) struct Staging {
    move_id: MoveId,
    /// The step that may come next.
    next: u64,
    /// The answer to the step before.
    last: Option<Peer>,
    heard_at: Millis,
}

/// What the source is told once a step is durable.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    Staged,
    Imported(u64),
    Prepared(Attempt),
    Aborted(Attempt),
}

impl Backend {
    pub(super) fn peer(
        &mut self,
        context: &mut Context,
        from: Address,
        (unit, move_id): (UnitId, MoveId),
        message: Peer,
    ) {
        let Some(source) = Self::peer_of(from) else {
            return;
        };
        let of = (unit, move_id);
        match message {
            Peer::Stage {
                root,
                attempt,
                epoch,
            } => {
                let event = OwnershipEvent::Stage {
                    unit,
                    root,
                    move_id,
                    attempt,
                    from: server_name(source),
                    epoch,
                };
                self.then_reply(context, from, of, Work::event(unit, event), Reply::Staged);
            }
            Peer::Rows {
                step,
                rows,
                contents,
                covered,
            } => {
                let work = Work::Import {
                    unit,
                    move_id,
                    rows,
                    contents,
                    covered,
                };
                self.rows(context, from, of, step, work);
            }
            Peer::Prepare {
                attempt,
                epoch,
                head,
            } => {
                let event = OwnershipEvent::Prepare {
                    move_id,
                    attempt,
                    epoch,
                    digest: head.digest,
                };
                let work = Work::Prepare { unit, event, head };
                self.then_reply(context, from, of, work, Reply::Prepared(attempt));
            }
            Peer::Abort { attempt } => {
                let event = OwnershipEvent::AbortAttempt { move_id, attempt };
                let work = Work::event(unit, event);
                self.then_reply(context, from, of, work, Reply::Aborted(attempt));
            }
            Peer::Over => {
                let attempt = Attempt::new(u32::MAX);
                let event = OwnershipEvent::DropStaging { move_id, attempt };
                self.enqueue(context, Work::event(unit, event), Then::Nothing);
            }
            Peer::Flipped => self.flipped(context, from, of),
            Peer::Serving { epoch } => self.taken_over(context, unit, epoch),
            message => self.answer_of_destination(context, source, of, message),
        }
        self.heard(context, unit, move_id);
    }

    /// The source says that it was told of the flip.
    fn flipped(&mut self, context: &mut Context, from: Address, (unit, move_id): (UnitId, MoveId)) {
        let record = self
            .running
            .as_ref()
            .and_then(|running| running.units.get(&unit));
        match record {
            Some(record)
                if !matches!(
                    record.state,
                    UnitState::Staging { .. } | UnitState::Prepared { .. }
                ) =>
            {
                let epoch = record.epoch;
                self.to_source(context, from, (unit, move_id), Peer::Serving { epoch });
            }
            _ => self.ask_find(context, unit),
        }
    }

    /// The destination of a flip serves: what is left here may go. Not before: if the master were lost,
    /// only this server's record would say who was given the unit.
    fn taken_over(&mut self, context: &mut Context, unit: UnitId, epoch: Epoch) {
        let record = self
            .running
            .as_ref()
            .and_then(|running| running.units.get(&unit));
        let over = record.is_some_and(|record| {
            matches!(record.state, UnitState::Moved { epoch: granted, .. } if granted <= epoch)
        });
        if over {
            let event = OwnershipEvent::GraceOver;
            self.enqueue(context, Work::event(unit, event), Then::Nothing);
        }
    }

    fn heard(&mut self, context: &Context, unit: UnitId, move_id: MoveId) {
        if let Some(staging) = self
            .running
            .as_mut()
            .and_then(|running| running.stagings.get_mut(&unit))
            && staging.move_id == move_id
        {
            staging.heard_at = context.now;
        }
    }

    fn then_reply(
        &mut self,
        context: &mut Context,
        to: Address,
        (unit, move_id): (UnitId, MoveId),
        work: Work,
        reply: Reply,
    ) {
        let then = Then::Peer {
            to,
            unit,
            move_id,
            reply,
        };
        self.enqueue(context, work, then);
    }

    fn rows(
        &mut self,
        context: &mut Context,
        from: Address,
        (unit, move_id): (UnitId, MoveId),
        step: u64,
        work: Work,
    ) {
        let staging = self
            .running
            .as_mut()
            .and_then(|running| running.stagings.get_mut(&unit))
            .filter(|staging| staging.move_id == move_id);
        let message = match staging {
            None => Peer::Lost,
            Some(staging) if staging.next == step => {
                staging.next += 1;
                staging.last = None;
                let reply = Reply::Imported(step);
                return self.then_reply(context, from, (unit, move_id), work, reply);
            }
            Some(staging) if staging.next == step + 1 => match &staging.last {
                Some(last) => last.clone(),
                None => return,
            },
            Some(_) => return,
        };
        self.to_source(context, from, (unit, move_id), message);
    }

    fn to_source(
        &self,
        context: &mut Context,
        to: Address,
        (unit, move_id): (UnitId, MoveId),
        message: Peer,
    ) {
        let payload = Payload::Peer {
            unit,
            move_id,
            message,
        };
        context.send(self.address(), to, payload);
    }

    /// A step is durable, or was refused: the source is told.
    pub(super) fn staged(
        &mut self,
        context: &mut Context,
        to: Address,
        (unit, move_id): (UnitId, MoveId),
        reply: Reply,
        done: Result<Done, MailError>,
    ) {
        let Some(running) = &mut self.running else {
            return;
        };
        let message = match (reply, done) {
            (Reply::Staged, Ok(Done::Recorded(Ok(_)))) => {
                let known = running.stagings.get(&unit);
                if known.is_none_or(|known| known.move_id != move_id || known.next > 0) {
                    let staging = Staging {
                        move_id,
                        next: 0,
                        last: None,
                        heard_at: context.now,
                    };
                    running.stagings.insert(unit, staging);
                }
                let rows = running.snapshots.read().map_err(MailError::from);
                let read = rows.and_then(|rows| mail::unit(&rows, &unit));
                let Some(row) = context.expect("4 a backend answers", "read unit", read) else {
                    return;
                };
                let reached = row.map_or(0, |row| row.change);
                Peer::Staged { reached }
            }
            (Reply::Imported(step), Ok(Done::Imported(missing))) => {
                let message = Peer::Imported { step, missing };
                if let Some(staging) = running.stagings.get_mut(&unit)
                    && staging.move_id == move_id
                    && staging.next == step + 1
                {
                    staging.last = Some(message.clone());
                }
                message
            }
            (Reply::Prepared(attempt), Ok(Done::Recorded(Ok(record)))) => match record.state {
                UnitState::Prepared { digest, .. } => Peer::Prepared { attempt, digest },
                _ => return,
            },
            (Reply::Aborted(attempt), Ok(Done::Recorded(Ok(_)))) => Peer::Aborted { attempt },
            // Old news are no reason to give a later freeze up.
            (Reply::Prepared(_) | Reply::Aborted(_), Ok(Done::Recorded(Err(_)))) => return,
            (_, Err(MailError::Store(error))) => {
                return context.violate("4 a backend answers", error.to_string());
            }
            (_, Ok(Done::OtherDigest)) => {
                context.trace(|| format!("{}     has another digest", self.name));
                Peer::Refused
            }
            _ => Peer::Refused,
        };
        self.to_source(context, to, (unit, move_id), message);
    }

    /// Copies whose source is silent: it is asked whether the move still is.
    pub(super) fn tick_stagings(&mut self, context: &mut Context) {
        let Some(running) = &self.running else { return };
        let mut silent = Vec::new();
        for (unit, record) in &running.units {
            let (UnitState::Staging { move_id, from, .. }
            | UnitState::Prepared { move_id, from, .. }) = &record.state
            else {
                continue;
            };
            let heard = running
                .stagings
                .get(unit)
                .map_or(0, |staging| staging.heard_at);
            if heard + SILENCE < context.now {
                silent.push((*unit, *move_id, from.clone()));
            }
        }
        for (unit, move_id, from) in silent {
            self.question(context, unit, move_id, &from);
        }
    }

    fn question(
        &mut self,
        context: &mut Context,
        unit: UnitId,
        move_id: MoveId,
        from: &ServerName,
    ) {
        if let Some(source) = backend_of(from) {
            let to = Address::Backend(source);
            self.to_source(context, to, (unit, move_id), Peer::Question);
        }
        self.ask_find(context, unit);
    }
}
