//! A transfer at its source: copy, catch up, freeze, prepare, release, flip.

use std::time::{Duration, Instant};

use murder_api::admin::TransferPhase;
use murder_locations::ownership::{Here, OwnershipEvent, next};
use murder_locations::request::{Request, ServerRecord};
use murder_model::{Attempt, MoveId, OwnershipRecord, PartitionName, UnitState};
use murder_store::mail::{Effects, UnitHead, put_ownership, unit, unit_head};
use tokio::time::{sleep, timeout, timeout_at};

use super::copy::{Copier, answer, unfit};
use super::job::Job;
use super::message::{Begin, Outcome, Reason, ToDestination, ToSource};
use super::settle::phase_of;
use super::{TransferError, Transfers};
use crate::backend::gate::{Freeze, Phase};
use crate::backend::{EventError, UnitPlace};

/// A round of so few rows is small: the next one can be the last.
const SMALL_ROUND_ROWS: u64 = 64;
/// Rounds of catching up before the freeze is tried all the same.
const ROUNDS_MAX: u32 = 16;
/// How long those who wait for a released unit wait for the master's answer.
const DOUBT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a moved unit's writers wait for the new owner to serve.
const SERVING_PATIENCE: Duration = Duration::from_secs(2);
/// Wait before a new try: the first, and the longest.
const AGAIN_FIRST: Duration = Duration::from_millis(200);
const AGAIN_LAST: Duration = Duration::from_secs(10);

/// What a job keeps over its tries.
#[derive(Debug, Default)]
struct Course {
    /// Under which id the destination may still hold what was copied.
    move_id: Option<MoveId>,
    /// Freezes of that move.
    attempt: u32,
}

/// A copy that is complete and prepared, with the unit frozen.
struct Ready<'a> {
    copier: Copier<'a>,
    freeze: Freeze,
    frozen: Instant,
    record: OwnershipRecord,
    head: UnitHead,
    partition: PartitionName,
}

impl Transfers {
    /// Runs a job to its end.
    pub(super) async fn run_job(&self, job: &Job) {
        let begun = Instant::now();
        let mut course = Course::default();
        let attempts_max = self.backend.settings.transfer.attempts_max.max(1);
        let mut pause = AGAIN_FIRST;
        loop {
            let tried = if job.is_cancelled() {
                Err(TransferError::Cancelled)
            } else {
                job.change(|status| status.attempts += 1);
                // Boxed: it is large, and lives as long as the transfer.
                Box::pin(self.try_once(job, &mut course)).await
            };
            let error = match tried {
                Ok(()) => {
                    job.set_move(None);
                    tracing::info!(event = "transfer_done", root = %job.root, to = %job.destination);
                    self.count(job, "done");
                    let seconds = &self.backend.metrics.node.transfer_seconds;
                    seconds.observe(begun.elapsed());
                    return job.end(TransferPhase::Done, None);
                }
                Err(error) => error,
            };
            let (root, to) = (&job.root, &job.destination);
            tracing::warn!(event = "transfer_try_failed", %root, %to, %error);
            let cancelled = matches!(error, TransferError::Cancelled);
            let last = cancelled || is_final(&error) || job.status().attempts >= attempts_max;
            if last || starts_anew(&error) {
                // The destination asks whether its copy is worth something, and hears that it is not.
                job.set_move(None);
                course = Course::default();
            }
            if last {
                let (phase, outcome) = if cancelled {
                    (TransferPhase::Cancelled, "cancelled")
                } else {
                    (TransferPhase::Failed, "failed")
                };
                self.count(job, outcome);
                return job.end(phase, Some(error.to_string()));
            }
            job.change(|status| {
                status.phase = TransferPhase::Queued;
                status.error = Some(error.to_string());
            });
            tokio::select! {
                () = sleep(pause) => {}
                () = job.cancelled() => {}
            }
            pause = (pause * 2).min(AGAIN_LAST);
        }
    }

    async fn try_once(&self, job: &Job, course: &mut Course) -> Result<(), TransferError> {
        let place = self
            .backend
            .unit(&job.root)
            .ok_or(TransferError::NotOwner)?;
        let record = self.record(&place.partition, place.unit).await?;
        let record = record.ok_or(TransferError::NotOwner)?;
        match &record.state {
            UnitState::Owner => {}
            UnitState::Released { .. } => {
                // An earlier life of this server gave it away.
                job.set_phase(TransferPhase::Released);
                let settled = self.settle_old(&place).await;
                return match settled.state {
                    UnitState::Moved { to, .. } if to == job.destination => Ok(()),
                    UnitState::Moved { .. } => Err(TransferError::NotOwner),
                    _ => Err(TransferError::Raised),
                };
            }
            UnitState::Moved { to, .. } if *to == job.destination => return Ok(()),
            _ => return Err(TransferError::NotOwner),
        }
        if self.backend.membership.is_blocked() {
            return Err(TransferError::Blocked);
        }
        let server = self.directory()?.server(&job.destination).await?;
        let server = server.ok_or_else(|| TransferError::UnknownServer(job.destination.clone()))?;
        if server.flags.cordoned {
            return Err(TransferError::Cordoned(job.destination.clone()));
        }
        let ready = tokio::select! {
            ready = self.make_ready(job, course, place, &server) => ready?,
            () = job.cancelled() => return Err(TransferError::Cancelled),
        };
        self.hand_over(job, course, ready, &server).await
    }

    /// Everything up to PREPARED. May be dropped at any point: nothing was given away.
    async fn make_ready<'a>(
        &'a self,
        job: &'a Job,
        course: &mut Course,
        place: UnitPlace,
        server: &ServerRecord,
    ) -> Result<Ready<'a>, TransferError> {
        let mut link = self
            .connect(&job.destination, &server.addresses.transfer)
            .await?;
        job.set_phase(TransferPhase::Copying);
        let move_id = match course.move_id {
            Some(move_id) => move_id,
            None => {
                let move_id = self.backend.state.next_move_id();
                *course = Course {
                    move_id: Some(move_id),
                    attempt: 0,
                };
                job.set_move(Some(move_id));
                move_id
            }
        };
        let id = place.unit;
        let row = place.partition.read(move |rows| unit(rows, &id)).await?;
        let row = row.ok_or(TransferError::NotOwner)?;
        job.change(|status| {
            status.mailboxes = row.mailboxes;
            status.bytes_total = row.bytes;
        });
        let begin = ToDestination::Begin(Begin {
            unit: id,
            root: job.root.clone(),
            move_id,
            attempt: Attempt::new(course.attempt),
            epoch: row.ownership.epoch,
            partition: job.partition.clone(),
            change: row.change,
            messages: row.messages,
            bytes: row.bytes,
        });
        link.send(&begin).await?;
        link.flush().await?;
        let (partition, reached) = match answer(&mut link).await? {
            ToSource::Begun { partition, after } if after <= row.change => (partition, after),
            other => return Err(unfit(other)),
        };
        if reached == 0 {
            job.change(|status| status.bytes_sent = 0);
        }
        let mut copier = Copier::new(
            link,
            job,
            place,
            reached,
            (&self.rate, &self.backend.metrics),
        );
        let mut rows = copier.round().await?;
        job.set_phase(TransferPhase::CatchingUp);
        for _ in 0..ROUNDS_MAX {
            if rows <= SMALL_ROUND_ROWS {
                break;
            }
            rows = copier.round().await?;
        }
        self.freeze(copier, course, move_id, partition).await
    }

    /// Writes wait while the last changes follow.
    async fn freeze<'a>(
        &self,
        mut copier: Copier<'a>,
        course: &mut Course,
        move_id: MoveId,
        partition: PartitionName,
    ) -> Result<Ready<'a>, TransferError> {
        let budget = Duration::from_millis(self.backend.settings.transfer.freeze_ms_max);
        // A master that does not answer now would leave everybody in doubt.
        self.directory()?.unit(&copier.job.root).await?;
        course.attempt += 1;
        let attempt = Attempt::new(course.attempt);
        // While writes under way end, new ones wait already.
        let frozen = timeout(budget, copier.place.gate.freeze()).await;
        let freeze = frozen.map_err(|_| TransferError::OverBudget)?;
        if *freeze.phase() != Phase::Active {
            return Err(TransferError::NotOwner);
        }
        let frozen = Instant::now();
        copier.job.set_phase(TransferPhase::Frozen);
        copier.is_urgent = true;
        let deadline = tokio::time::Instant::from_std(frozen) + budget;
        let prepared = timeout_at(deadline, prepare(&mut copier, attempt)).await;
        let waited = frozen.elapsed();
        copier.job.change(|status| {
            status.freeze_ms = millis(waited);
        });
        match prepared {
            Ok(Ok((record, head))) => {
                tracing::debug!(event = "transfer_prepared", %move_id, ?waited);
                Ok(Ready {
                    copier,
                    freeze,
                    frozen,
                    record,
                    head,
                    partition,
                })
            }
            Ok(Err(error)) => Err(error),
            // The conversation is dropped with whatever was being said; the next one begins with the
            // number of this freeze, which aborts it.
            Err(_) => Err(TransferError::OverBudget),
        }
    }

    /// RELEASED, and what follows from it. Never dropped but with the process: the caller does not
    /// select over it.
    async fn hand_over(
        &self,
        job: &Job,
        course: &Course,
        ready: Ready<'_>,
        server: &ServerRecord,
    ) -> Result<(), TransferError> {
        let Ready {
            mut copier,
            mut freeze,
            frozen,
            record,
            head,
            partition,
        } = ready;
        let place = copier.place.clone();
        let attempt = Attempt::new(course.attempt);
        let move_id = course.move_id.ok_or(TransferError::NotOwner)?;
        job.release()?;
        // If this task dies from here on, nobody may write before the record is read again.
        freeze.leave(Phase::InDoubt);
        let event = OwnershipEvent::Release {
            to: job.destination.clone(),
            move_id,
            attempt,
        };
        if let Err(error) = self.release(&place, event, head).await {
            if let TransferError::Event(EventError::Refused(_)) | TransferError::Mismatch = error {
                freeze.end(Phase::Active);
                let abort = copier.ask(ToDestination::Abort { attempt });
                // It is aborted by the next conversation at the latest.
                let _told = timeout(SERVING_PATIENCE, abort).await;
            }
            return Err(error);
        }
        let flip = Request::Flip {
            unit: place.unit,
            from_epoch: record.epoch,
            destination: server.server_id,
            partition,
            move_id,
            attempt,
            term: self.backend.state.promised(),
        };
        let mut freeze = Some(freeze);
        let settled = self.settle_frozen(&place, flip, &mut freeze).await;
        let phase = phase_of(&settled).unwrap_or(Phase::InDoubt);
        let moved = phase.is_moved();
        if moved {
            self.leave_views(&place, &phase).await;
            self.note_moved(&place);
            await_service(&mut copier).await;
        }
        match freeze {
            Some(freeze) => freeze.end(phase),
            None => place.gate.set(phase).await,
        }
        let waited = frozen.elapsed();
        job.change(|status| status.freeze_ms = millis(waited));
        let metrics = &self.backend.metrics.node;
        metrics.transfer_freeze_seconds.observe(waited);
        if moved {
            return Ok(());
        }
        // It would find out by itself.
        let _told = timeout(SERVING_PATIENCE, copier.ask(ToDestination::GiveUp)).await;
        Err(TransferError::Raised)
    }

    /// Asks the master until it has decided. Those who wait for the unit are told after a while that
    /// it is in doubt.
    async fn settle_frozen(
        &self,
        place: &UnitPlace,
        flip: Request,
        freeze: &mut Option<Freeze>,
    ) -> OwnershipRecord {
        let mut settling = Box::pin(self.settle(place, Some(flip)));
        if let Ok(settled) = timeout(DOUBT_PATIENCE, &mut settling).await {
            return settled;
        }
        if let Some(freeze) = freeze.take() {
            freeze.end(Phase::InDoubt);
        }
        settling.await
    }

    /// RELEASED, durably, if nothing was written since the head was read.
    async fn release(
        &self,
        place: &UnitPlace,
        event: OwnershipEvent,
        head: UnitHead,
    ) -> Result<(), TransferError> {
        let server = self.backend.settings.server.clone();
        let promised = self.backend.state.promised();
        let id = place.unit;
        let released = place.partition.write(move |tx| {
            let here = Here {
                server: &server,
                promised,
            };
            let Some(row) = unit(tx, &id)? else {
                return Ok((Err(TransferError::NotOwner), Effects::default()));
            };
            if row.digest != head.digest {
                return Ok((Err(TransferError::Mismatch), Effects::default()));
            }
            match next(here, Some(&row.ownership), event) {
                Ok(after) => {
                    put_ownership(tx, &after)?;
                    Ok((Ok(()), Effects::default()))
                }
                Err(refusal) => {
                    let refused = TransferError::Event(EventError::Refused(refusal));
                    Ok((Err(refused), Effects::default()))
                }
            }
        });
        released.await?
    }
}

/// The last round, and PREPARE with what the unit has beside its rows.
async fn prepare(
    copier: &mut Copier<'_>,
    attempt: Attempt,
) -> Result<(OwnershipRecord, UnitHead), TransferError> {
    copier.round().await?;
    let id = copier.place.unit;
    let read = copier
        .place
        .partition
        .read(move |rows| Ok((unit_head(rows, &id)?, unit(rows, &id)?)));
    let (head, row) = read.await?;
    let record = row.ok_or(TransferError::NotOwner)?.ownership;
    if record.state != UnitState::Owner {
        return Err(TransferError::NotOwner);
    }
    let prepare = ToDestination::Prepare {
        attempt,
        epoch: record.epoch,
        head,
    };
    match copier.ask(prepare).await? {
        ToSource::Prepared {
            attempt: of,
            digest,
        } if of == attempt => {
            if digest == head.digest {
                Ok((record, head))
            } else {
                Err(TransferError::Mismatch)
            }
        }
        other => Err(unfit(other)),
    }
}

/// Tells the destination that the master has decided, and waits, not long, until it serves: so those
/// who waited for the unit find it where they are sent.
async fn await_service(copier: &mut Copier<'_>) {
    let decided = timeout(SERVING_PATIENCE, copier.ask(ToDestination::Decided)).await;
    let serves = matches!(decided, Ok(Ok(ToSource::Outcome(Outcome::Serving { .. }))));
    tracing::debug!(event = "transfer_decided", root = %copier.job.root, serves);
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whether another try would end the same way.
fn is_final(error: &TransferError) -> bool {
    matches!(
        error,
        TransferError::NotOwner
            | TransferError::Blocked
            | TransferError::UnknownServer(_)
            | TransferError::Cordoned(_)
            | TransferError::Refused(
                Reason::NoRoom | Reason::Cordoned | Reason::NoSuchPartition,
                _
            )
    )
}

/// Whether the copy at the destination must not be gone on with.
fn starts_anew(error: &TransferError) -> bool {
    matches!(
        error,
        TransferError::Mismatch
            | TransferError::Raised
            | TransferError::Refused(Reason::Stale | Reason::Malformed, _)
    )
}
