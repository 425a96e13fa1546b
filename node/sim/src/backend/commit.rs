//! One batch after the other: evaluate, sync, apply, answer.

use murder_model::{OwnershipRecord, UnitState};
use murder_store::engine::PowerLoss;
use murder_store::mail;

use super::job::{Done, Job, Work};
use super::{Backend, Then};
use crate::context::{Context, Event, Timer};
use crate::message::{Outcome, Payload};
use crate::mutant::Mutant;

impl Backend {
    /// Queues a job for the next batch.
    pub(super) fn enqueue(&mut self, context: &mut Context, work: Work, then: Then) {
        let address = self.address();
        let Some(running) = &mut self.running else {
            return;
        };
        let job = Job {
            work,
            now: context.now,
            ids: context.random.bits(),
            server: self.name.clone(),
            promised: self.promised,
        };
        running.queue.push((job, then));
        if !std::mem::replace(&mut running.commit_is_due, true) {
            let wait = context.random.between(1, 3);
            context.timer(address, running.start, wait, Timer::Commit);
        }
    }

    /// One batch: evaluate, sync, apply, answer.
    pub(super) fn commit(&mut self, context: &mut Context) {
        let address = self.address();
        let Some(running) = &mut self.running else {
            return;
        };
        let queue = std::mem::take(&mut running.queue);
        let mut done = Vec::with_capacity(queue.len());
        let committed = match running.partition.batch() {
            Ok(mut batch) => {
                for (job, _) in &queue {
                    done.push(batch.run(|tx| job.run(tx)));
                }
                let answers = |then: &Then| matches!(then, Then::Answer { .. });
                if Mutant::AnswerBeforeApply.is_on() && queue.iter().any(|(_, then)| answers(then))
                {
                    drop(batch);
                    return self.answer_early(context, queue, done);
                }
                batch.commit().map(|_| ())
            }
            Err(error) => Err(error),
        };
        if let Some(captured) = self.disk.captured() {
            // The power failed within this batch, or before: nobody hears of it.
            self.disk = captured;
            let loss = PowerLoss::Torn(context.random.bits());
            self.crash(context, loss);
            let back = context.now + context.random.between(50, 800);
            context.at(back, Event::Restart(address));
            return;
        }
        if let Err(error) = committed {
            return self.write_failed(context, &error);
        }
        for ((job, then), done) in queue.into_iter().zip(done) {
            self.finish(context, &job, then, done);
        }
    }

    /// The fault: answers go out, the batch follows some time later.
    fn answer_early(
        &mut self,
        context: &mut Context,
        queue: Vec<(Job, Then)>,
        done: Vec<Result<Done, mail::MailError>>,
    ) {
        let address = self.address();
        let Some(running) = &mut self.running else {
            return;
        };
        for ((job, then), done) in queue.into_iter().zip(done) {
            let then = match (then, done) {
                (Then::Answer { to, id, unit }, Ok(Done::Outcome(outcome))) => {
                    context.send(address, to, Payload::Answer { id, outcome });
                    Then::Quiet { unit }
                }
                (then, _) => then,
            };
            running.queue.push((job, then));
        }
        running.commit_is_due = true;
        let wait = context.random.between(5, 150);
        context.timer(address, running.start, wait, Timer::Commit);
    }

    /// What a durable job leads to.
    fn finish(
        &mut self,
        context: &mut Context,
        job: &Job,
        then: Then,
        done: Result<Done, mail::MailError>,
    ) {
        if let Ok(Done::Recorded(Ok(record))) = &done {
            self.recorded(context, record);
        }
        match then {
            Then::Nothing => {
                if let Err(error) = &done {
                    context.trace(|| format!("{}     refused: {error}", self.name));
                }
            }
            Then::Answer { to, id, unit } => {
                self.give_back(context, unit);
                let outcome = match done {
                    Ok(Done::Outcome(outcome)) => outcome,
                    Ok(Done::Recorded(Err(refusal))) => Outcome::Refused(refusal.to_string()),
                    Ok(_) => Outcome::Done,
                    Err(mail::MailError::NotOwner(_)) => Outcome::Unavailable,
                    Err(mail::MailError::Store(error)) => {
                        context.violate("4 a backend answers", error.to_string());
                        return;
                    }
                    Err(error) => Outcome::Refused(error.to_string()),
                };
                context.send(self.address(), to, Payload::Answer { id, outcome });
            }
            Then::Quiet { unit } => self.give_back(context, unit),
            Then::Peer {
                to,
                unit,
                move_id,
                reply,
            } => self.staged(context, to, (unit, move_id), reply, done),
            Then::Released => self.released(context, job, done),
            Then::Raised => self.raised(context),
        }
    }

    /// A unit's record is durable: what was waiting for that goes on.
    pub(super) fn recorded(&mut self, context: &mut Context, record: &OwnershipRecord) {
        let Some(running) = &mut self.running else {
            return;
        };
        let before = running.units.insert(record.unit, record.clone());
        if before.as_ref() == Some(record) {
            return;
        }
        running.since.insert(record.unit, context.now);
        context.trace(|| {
            format!(
                "{}     {} is {:?} at {}/{}",
                self.name,
                record.root,
                record.state,
                record.term.get(),
                record.epoch.get()
            )
        });
        let checked = context.oracle.recorded(self.index, record);
        context.check(checked);
        if matches!(record.state, UnitState::Owner | UnitState::Gone) {
            self.created(context, record);
        }
        if !matches!(record.state, UnitState::Released { .. }) {
            self.release_held(context);
        }
    }
}
