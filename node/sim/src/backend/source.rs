//! A move as its source drives it: copy, catch up, freeze, let go, flip (docs/ownership.md).

use murder_locations::ownership::{self, OwnershipEvent};
use murder_model::{Attempt, MoveId, OwnershipRecord, UnitId, UnitState};
use murder_store::mail::{self, MailError};

use super::job::{Done, Job, Work};
use super::rounds::Round;
use super::{Backend, Then, refused};
use crate::context::Context;
use crate::message::{Address, Millis, Payload, Peer};
use crate::mutant::Mutant;
use crate::oracle::server_name;

/// An unanswered message is sent again after this.
const PATIENCE: Millis = 150;
/// A move that takes longer is given up.
const MOVE: Millis = 4000;
/// Where a move is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// The destination has not answered yet.
    Asking,
    Copying(Round),
    /// Frozen; writes under way are waited for.
    Draining {
        after: u64,
    },
    /// The freeze's round is sent; the destination compares.
    Preparing {
        after: u64,
    },
    /// RELEASED is being recorded.
    LettingGo,
    /// Unfrozen; the destination must hear of it before more rows come.
    Aborting {
        after: u64,
    },
}

/// A move, in memory: a crash gives it up.
pub(super) struct Move {
    pub(super) move_id: MoveId,
    to: usize,
    pub(super) attempt: Attempt,
    pub(super) frozen: bool,
    pub(super) stage: Stage,
    /// Number of the step that was sent last.
    pub(super) step: u64,
    began: Millis,
    pub(super) frozen_at: Millis,
    /// What was sent last, for when it is lost.
    last: Peer,
    sent_at: Millis,
}

impl Backend {
    /// An operator wants the unit elsewhere.
    pub(crate) fn begin_move(&mut self, context: &mut Context, unit: UnitId, to: usize) {
        let random = context.random.id();
        let Some(running) = &mut self.running else {
            return;
        };
        let Some(record) = running.units.get(&unit).cloned() else {
            return;
        };
        if record.state != UnitState::Owner
            || running.moves.contains_key(&unit)
            || to == self.index
            || !running.link.reported
        {
            return;
        }
        running.serial += 1;
        let random: [u8; 6] = random[..6].try_into().expect("six of sixteen");
        let move_id = ownership::move_id(self.incarnation, running.serial, random);
        let attempt = Attempt::new(0);
        let stage = Peer::Stage {
            root: record.root.clone(),
            attempt,
            epoch: record.epoch,
        };
        let moving = Move {
            move_id,
            to,
            attempt,
            frozen: false,
            stage: Stage::Asking,
            step: 0,
            began: context.now,
            frozen_at: 0,
            last: stage.clone(),
            sent_at: 0,
        };
        running.moves.insert(unit, moving);
        context.trace(|| {
            format!(
                "{}     begins to move {} to be-{to}",
                self.name, record.root
            )
        });
        self.say(context, unit, stage);
    }

    /// Sends to the destination, and remembers it.
    pub(super) fn say(&mut self, context: &mut Context, unit: UnitId, message: Peer) {
        let address = self.address();
        let Some(moving) = self
            .running
            .as_mut()
            .and_then(|running| running.moves.get_mut(&unit))
        else {
            return;
        };
        moving.last = message.clone();
        moving.sent_at = context.now;
        let payload = Payload::Peer {
            unit,
            move_id: moving.move_id,
            message,
        };
        context.send(address, Address::Backend(moving.to), payload);
    }

    /// The move is over without having come to RELEASED.
    fn give_up(&mut self, context: &mut Context, unit: UnitId, why: &str) {
        let Some(moving) = self
            .running
            .as_mut()
            .and_then(|running| running.moves.remove(&unit))
        else {
            return;
        };
        context.trace(|| format!("{}     gives a move up: {why}", self.name));
        let payload = Payload::Peer {
            unit,
            move_id: moving.move_id,
            message: Peer::Over,
        };
        context.send(self.address(), Address::Backend(moving.to), payload);
        self.release_held(context);
    }

    pub(super) fn tick_moves(&mut self, context: &mut Context) {
        let Some(running) = &self.running else { return };
        let now = context.now;
        let mut late = Vec::new();
        for (unit, moving) in &running.moves {
            if matches!(moving.stage, Stage::LettingGo) {
                continue;
            }
            if moving.began + MOVE < now {
                late.push((*unit, None));
            } else if moving.frozen && moving.frozen_at + context.plan.freeze < now {
                late.push((*unit, Some(true)));
            } else if moving.sent_at + PATIENCE < now {
                late.push((*unit, Some(false)));
            }
        }
        for (unit, what) in late {
            match what {
                None => self.give_up(context, unit, "it took too long"),
                Some(true) => self.unfreeze(context, unit),
                Some(false) => self.repeat(context, unit),
            }
        }
    }

    fn repeat(&mut self, context: &mut Context, unit: UnitId) {
        let last = self
            .running
            .as_ref()
            .and_then(|running| running.moves.get(&unit))
            .filter(|moving| !matches!(moving.stage, Stage::Draining { .. }))
            .map(|moving| moving.last.clone());
        if let Some(last) = last {
            self.say(context, unit, last);
        }
    }

    /// The freeze is over its budget: writes go on, another freeze comes later.
    fn unfreeze(&mut self, context: &mut Context, unit: UnitId) {
        let Some(moving) = self
            .running
            .as_mut()
            .and_then(|running| running.moves.get_mut(&unit))
        else {
            return;
        };
        let after = match &moving.stage {
            Stage::Draining { after } | Stage::Preparing { after } => *after,
            Stage::Copying(round) => round.after,
            _ => return,
        };
        moving.frozen = false;
        moving.stage = Stage::Aborting { after };
        let attempt = moving.attempt;
        context.trace(|| format!("{}     unfreezes: freeze over budget", self.name));
        self.say(context, unit, Peer::Abort { attempt });
        self.release_held(context);
    }

    /// A message from the destination of a move of ours.
    pub(super) fn answer_of_destination(
        &mut self,
        context: &mut Context,
        from: usize,
        (unit, move_id): (UnitId, MoveId),
        message: Peer,
    ) {
        let current = self.running.as_ref().and_then(|running| {
            let moving = running.moves.get(&unit)?;
            (moving.move_id == move_id && moving.to == from).then(|| moving.stage.clone())
        });
        let Some(stage) = current else {
            return self.asked(context, from, (unit, move_id), &message);
        };
        match (stage, message) {
            (Stage::Asking, Peer::Staged { reached }) => {
                if let Some(moving) = self
                    .running
                    .as_mut()
                    .and_then(|running| running.moves.get_mut(&unit))
                {
                    moving.step = 0;
                }
                self.begin_round(context, unit, reached);
            }
            (Stage::Copying(round), Peer::Imported { step, missing }) => {
                self.imported(context, unit, round, step, &missing);
            }
            (Stage::Aborting { after }, Peer::Aborted { attempt })
                if self.attempt_of(unit) == Some(attempt) =>
            {
                self.begin_round(context, unit, after);
            }
            (Stage::Preparing { .. }, Peer::Prepared { attempt, digest }) => {
                self.prepared(context, unit, attempt, digest);
            }
            (Stage::LettingGo, _) => {}
            (Stage::Copying(_), Peer::Lost) => self.take_up_again(context, unit),
            (_, Peer::Prepared { attempt, digest }) if Mutant::AcceptOldPrepared.is_on() => {
                self.prepared(context, unit, attempt, digest);
            }
            (_, Peer::Refused) => self.give_up(context, unit, "the destination refused"),
            _ => {}
        }
    }

    /// The destination has lost the thread: it says how far it is.
    fn take_up_again(&mut self, context: &mut Context, unit: UnitId) {
        let Some(running) = &mut self.running else {
            return;
        };
        let record = running.units.get(&unit).cloned();
        let (Some(record), Some(moving)) = (record, running.moves.get_mut(&unit)) else {
            return;
        };
        moving.frozen = false;
        moving.stage = Stage::Asking;
        let message = Peer::Stage {
            root: record.root,
            attempt: moving.attempt,
            epoch: record.epoch,
        };
        context.trace(|| format!("{}     takes a move up again", self.name));
        self.say(context, unit, message);
        self.release_held(context);
    }

    fn attempt_of(&self, unit: UnitId) -> Option<Attempt> {
        let moving = self.running.as_ref()?.moves.get(&unit)?;
        Some(moving.attempt)
    }

    /// A destination asks whether a move still is that is not under way here.
    fn asked(
        &self,
        context: &mut Context,
        from: usize,
        (unit, move_id): (UnitId, MoveId),
        message: &Peer,
    ) {
        let Some(running) = &self.running else { return };
        let over = running
            .units
            .get(&unit)
            .is_none_or(|record| match record.state {
                UnitState::Released { move_id: of, .. } => of != move_id,
                _ => true,
            });
        // Only an owner knows: if the unit was flipped, the master's record says so.
        let owner = running
            .units
            .get(&unit)
            .is_some_and(|record| record.state == UnitState::Owner);
        if matches!(message, Peer::Question) && over && owner {
            let payload = Payload::Peer {
                unit,
                move_id,
                message: Peer::Over,
            };
            context.send(self.address(), Address::Backend(from), payload);
        }
    }

    pub(super) fn prepare(&mut self, context: &mut Context, unit: UnitId, after: u64) {
        let Some(rows) = self.snapshot(context) else {
            return;
        };
        let head = mail::unit_head(&rows, &unit);
        let Some(head) = context.expect("4 a backend answers", "read head", head) else {
            return;
        };
        let Some(running) = &mut self.running else {
            return;
        };
        let epoch = running.units.get(&unit).map(|record| record.epoch);
        let (Some(epoch), Some(moving)) = (epoch, running.moves.get_mut(&unit)) else {
            return;
        };
        moving.stage = Stage::Preparing { after };
        let message = Peer::Prepare {
            attempt: moving.attempt,
            epoch,
            head,
        };
        self.say(context, unit, message);
    }

    /// The destination has everything, if it speaks of this freeze and of these rows.
    fn prepared(
        &mut self,
        context: &mut Context,
        unit: UnitId,
        attempt: Attempt,
        digest: murder_model::UnitDigest,
    ) {
        let ours = self
            .snapshot(context)
            .and_then(|rows| mail::unit_head(&rows, &unit).ok())
            .map(|head| head.digest);
        let Some(moving) = self
            .running
            .as_mut()
            .and_then(|running| running.moves.get_mut(&unit))
        else {
            return;
        };
        let current = moving.attempt == attempt && moving.frozen && ours == Some(digest);
        if !current && !Mutant::AcceptOldPrepared.is_on() {
            return;
        }
        moving.stage = Stage::LettingGo;
        let event = OwnershipEvent::Release {
            to: server_name(moving.to),
            move_id: moving.move_id,
            attempt,
        };
        self.enqueue(context, Work::event(unit, event), Then::Released);
    }

    /// RELEASED is durable: from here on only the master's answer decides.
    pub(super) fn released(
        &mut self,
        context: &mut Context,
        job: &Job,
        done: Result<Done, MailError>,
    ) {
        let Work::Event { unit, .. } = &job.work else {
            return;
        };
        match done {
            Ok(Done::Recorded(Ok(record))) => {
                if let Some(running) = &mut self.running {
                    running.moves.remove(unit);
                }
                self.flip(context, &record);
            }
            Ok(Done::Recorded(Err(refusal))) => self.give_up(context, *unit, &refused(&refusal)),
            _ => self.give_up(context, *unit, "cannot let go"),
        }
    }

    fn flip(&mut self, context: &mut Context, record: &OwnershipRecord) {
        if matches!(record.state, UnitState::Released { .. }) {
            self.ask_flip(context, record);
        }
    }
}
