//! The destination's side of a transfer: a copy that nobody sees, durable before it is
//! acknowledged, and PREPARED before that is said.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use murder_locations::ownership::{OwnershipEvent, OwnershipRefusal};
use murder_model::{Attempt, Epoch, PartitionName, ServerName, UnitId};
use murder_store::mail::UnitHead;
use tokio::task::spawn_blocking;
use tokio::time::interval;

use super::admit::Refused;
use super::arrive::{check, receive};
use super::message::{Begin, MESSAGE_BYTES_MAX, Outcome, Reason, Step, ToDestination, ToSource};
use super::stage::{Arrived, Prepared, Reserved, StagedMove, import, round_done};
use super::{TransferError, Transfers};
use crate::backend::partition::PartitionHandle;
use crate::backend::{Backend, EventError};
use crate::net::PeerIdentity;
use crate::peer::Link;

/// How often a source that waits hears that something is being done.
const WORKING_INTERVAL: Duration = Duration::from_secs(10);
/// How often the master is asked while a source with a prepared copy says nothing.
const POLL: Duration = Duration::from_secs(1);

type Imported = Result<Result<Vec<u32>, OwnershipRefusal>, TransferError>;

/// A step on its way into the store.
struct Importing {
    number: u64,
    rows: usize,
    again: bool,
    import: Pin<Box<dyn Future<Output = Imported> + Send>>,
}

/// One conversation with a source.
struct Session<'a> {
    transfers: &'a Arc<Transfers>,
    link: Link,
    partition: Arc<PartitionHandle>,
    staged: StagedMove,
    room: Reserved,
    importing: Option<Importing>,
    /// Messages that the source has yet to send again with their contents.
    missing: usize,
    prepared: bool,
}

impl Transfers {
    /// Takes a unit in, or as much of it as comes over this conversation.
    pub(super) async fn receive_unit(
        self: &Arc<Self>,
        mut link: Link,
        peer: &PeerIdentity,
        begin: Begin,
    ) -> Result<(), TransferError> {
        let from = ServerName::parse(&peer.server).map_err(|_| TransferError::Unfit)?;
        let admitted = self.admit(&from, &begin).await?;
        let (partition, room) = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => return refuse(&mut link, refused).await,
        };
        let unit = begin.unit;
        let holding = self.hold(unit).await;
        let session = Session {
            transfers: self,
            link,
            partition: Arc::clone(&partition),
            staged: StagedMove {
                unit,
                root: begin.root,
                move_id: begin.move_id,
                attempt: begin.attempt,
                from,
                epoch: begin.epoch,
            },
            room,
            importing: None,
            missing: 0,
            prepared: false,
        };
        // Boxed: it is large, and lives as long as the transfer.
        let session = Box::pin(session.run());
        let ended = tokio::select! {
            ended = session => ended,
            () = holding.displaced() => return Ok(()),
        };
        self.see_through_later(holding, partition, unit);
        ended
    }
}

async fn refuse(link: &mut Link, (reason, text): Refused) -> Result<(), TransferError> {
    link.send(&ToSource::Refused { reason, text }).await?;
    Ok(link.flush().await?)
}

fn stale(refusal: &OwnershipRefusal) -> Refused {
    (Reason::Stale, refusal.to_string())
}

impl Session<'_> {
    async fn run(mut self) -> Result<(), TransferError> {
        match self.converse().await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => refuse(&mut self.link, refused).await,
            Err(error) => {
                // The source may not be listening any more.
                let told = (Reason::Unavailable, error.to_string());
                let _gone = refuse(&mut self.link, told).await;
                Err(error)
            }
        }
    }

    /// Until the move is decided, the source hangs up, or is refused.
    async fn converse(&mut self) -> Result<Result<(), Refused>, TransferError> {
        if let Err(refused) = self.begin().await? {
            return Ok(Err(refused));
        }
        let mut poll = interval(POLL);
        loop {
            let message = tokio::select! {
                message = self.link.receive() => message?,
                imported = imported(&mut self.importing) => {
                    if let Err(refused) = self.acknowledge(imported).await? {
                        return Ok(Err(refused));
                    }
                    continue;
                }
                _ = poll.tick(), if self.prepared => {
                    let (transfers, unit) = (self.transfers, self.staged.unit);
                    match transfers.decide(&self.partition, unit).await? {
                        Outcome::Undecided => continue,
                        // The source may say so, too, and is answered then.
                        Outcome::Serving { .. } | Outcome::Elsewhere { .. } => {
                            self.prepared = false;
                            continue;
                        }
                    }
                }
            };
            if let ToDestination::Rows(step) = message {
                let arrived = self.arrive(step).await?;
                match arrived {
                    Ok(importing) => {
                        if let Err(refused) = self.finish_import().await? {
                            return Ok(Err(refused));
                        }
                        self.start_import(importing);
                    }
                    Err(refused) => return Ok(Err(refused)),
                }
                continue;
            }
            if let Err(refused) = self.finish_import().await? {
                return Ok(Err(refused));
            }
            let given_up = message == ToDestination::GiveUp;
            let answer = match self.answer(message).await? {
                Ok(answer) => answer,
                Err(refused) => return Ok(Err(refused)),
            };
            self.link.send(&answer).await?;
            self.link.flush().await?;
            let decided = matches!(
                answer,
                ToSource::Outcome(Outcome::Serving { .. } | Outcome::Elsewhere { .. })
            );
            if decided || given_up {
                return Ok(Ok(()));
            }
        }
    }

    /// Records the move, drops what an earlier stay of the unit left, and says where to go on.
    async fn begin(&mut self) -> Result<Result<(), Refused>, TransferError> {
        let staged = self.staged.clone();
        let after = match self.transfers.stage(&self.partition, staged).await? {
            Ok(after) => after,
            Err(refusal) => return Ok(Err(stale(&refusal))),
        };
        if after == 0
            && let Err(refused) = self.clear().await?
        {
            return Ok(Err(refused));
        }
        let partition =
            PartitionName::parse(self.partition.name()).expect("settings name partitions well");
        self.link
            .send(&ToSource::Begun { partition, after })
            .await?;
        self.link.flush().await?;
        tracing::info!(event = "transfer_arriving", root = %self.staged.root, after);
        Ok(Ok(()))
    }

    /// Drops all that is here of the unit; the source hears now and then that this takes its time.
    async fn clear(&mut self) -> Result<Result<(), Refused>, TransferError> {
        let (unit, move_id) = (self.staged.unit, self.staged.move_id);
        let mut working = interval(WORKING_INTERVAL);
        working.tick().await;
        loop {
            let cleared = self.transfers.clear(&self.partition, unit, move_id);
            tokio::pin!(cleared);
            let cleared = loop {
                tokio::select! {
                    cleared = &mut cleared => break cleared,
                    _ = working.tick() => {
                        self.link.send(&ToSource::Working).await?;
                        self.link.flush().await?;
                    }
                }
            };
            match cleared? {
                Ok(true) => {}
                Ok(false) => return Ok(Ok(())),
                Err(refusal) => return Ok(Err(stale(&refusal))),
            }
        }
    }

    /// Reads the contents of a step from the wire and checks them against their rows.
    async fn arrive(
        &mut self,
        step: Step,
    ) -> Result<Result<(Step, Arrived), Refused>, TransferError> {
        let malformed = |text: &str| Ok(Err((Reason::Malformed, text.to_owned())));
        let fits = step.contents.len() == step.rows.len()
            && step
                .contents
                .iter()
                .flatten()
                .all(|length| *length <= MESSAGE_BYTES_MAX);
        if !fits {
            return malformed("contents do not fit the rows");
        }
        let directory = self.transfers.backend.settings.data_dir.join("spool");
        let mut received = Vec::with_capacity(step.rows.len());
        for length in &step.contents {
            received.push(match length {
                Some(length) => Some(receive(&mut self.link, &directory, *length).await?),
                None => None,
            });
        }
        let bytes = step.contents.iter().flatten().sum();
        self.room.used(bytes);
        let (rows, covered) = (step.rows.clone(), step.covered);
        let checked = spawn_blocking(move || check(rows, received, covered)).await;
        match checked.expect("hashing does not panic") {
            Ok(arrived) => Ok(Ok((step, arrived))),
            Err(text) => malformed(text),
        }
    }

    fn start_import(&mut self, (step, mut arrived): (Step, Arrived)) {
        if self.missing > 0 {
            // Up to here not everything is here.
            arrived.covered = 0;
        }
        let partition = Arc::clone(&self.partition);
        let (unit, move_id) = (self.staged.unit, self.staged.move_id);
        self.importing = Some(Importing {
            number: step.number,
            rows: step.rows.len(),
            again: step.again,
            import: Box::pin(async move { import(&partition, unit, move_id, arrived).await }),
        });
    }

    async fn finish_import(&mut self) -> Result<Result<(), Refused>, TransferError> {
        if self.importing.is_none() {
            return Ok(Ok(()));
        }
        let imported = imported(&mut self.importing).await;
        self.acknowledge(imported).await
    }

    async fn acknowledge(
        &mut self,
        imported: Imported,
    ) -> Result<Result<(), Refused>, TransferError> {
        let Some(importing) = self.importing.take() else {
            return Err(TransferError::Unfit);
        };
        let missing = match imported? {
            Ok(missing) => missing,
            Err(refusal) => return Ok(Err(stale(&refusal))),
        };
        if importing.again {
            self.missing = self.missing.saturating_sub(importing.rows);
        }
        self.missing += missing.len();
        let step = importing.number;
        self.link
            .send(&ToSource::Acknowledged { step, missing })
            .await?;
        self.link.flush().await?;
        Ok(Ok(()))
    }

    async fn answer(
        &mut self,
        message: ToDestination,
    ) -> Result<Result<ToSource, Refused>, TransferError> {
        let (unit, move_id) = (self.staged.unit, self.staged.move_id);
        let backend = &self.transfers.backend;
        match message {
            ToDestination::RoundEnd { upto } if self.missing == 0 => {
                let done = round_done(&self.partition, unit, move_id, upto).await?;
                Ok(done
                    .map(|()| ToSource::RoundDone)
                    .map_err(|error| stale(&error)))
            }
            ToDestination::Prepare {
                attempt,
                epoch,
                head,
            } => self.prepare(attempt, epoch, head).await,
            ToDestination::Abort { attempt } => {
                self.prepared = false;
                let event = OwnershipEvent::AbortAttempt { move_id, attempt };
                record(backend, &self.partition, unit, event).await
            }
            ToDestination::GiveUp => {
                self.prepared = false;
                // Whatever freeze the source began, it is over.
                let attempt = Attempt::new(u32::MAX);
                let event = OwnershipEvent::DropStaging { move_id, attempt };
                record(backend, &self.partition, unit, event).await
            }
            ToDestination::Decided => {
                let outcome = self.transfers.decide(&self.partition, unit).await?;
                self.prepared &= outcome == Outcome::Undecided;
                Ok(Ok(ToSource::Outcome(outcome)))
            }
            ToDestination::RoundEnd { .. }
            | ToDestination::Begin(_)
            | ToDestination::Rows(_)
            | ToDestination::IsOver { .. }
            | ToDestination::HasTaken { .. } => {
                Ok(Err((Reason::Malformed, "not expected here".to_owned())))
            }
        }
    }

    async fn prepare(
        &mut self,
        attempt: Attempt,
        epoch: Epoch,
        head: UnitHead,
    ) -> Result<Result<ToSource, Refused>, TransferError> {
        let event = (self.staged.move_id, attempt, epoch);
        let unit = self.staged.unit;
        let prepared = self.transfers.prepare(&self.partition, unit, event, head);
        Ok(match prepared.await? {
            Ok(Prepared::Yes(digest)) => {
                self.prepared = true;
                Ok(ToSource::Prepared { attempt, digest })
            }
            Ok(Prepared::Mismatch(digest)) => Ok(ToSource::Mismatch { digest }),
            Err(refusal) => Err(stale(&refusal)),
        })
    }
}

async fn record(
    backend: &Backend,
    partition: &PartitionHandle,
    unit: UnitId,
    event: OwnershipEvent,
) -> Result<Result<ToSource, Refused>, TransferError> {
    match backend.apply_event(partition, unit, event).await {
        Ok(_) => Ok(Ok(ToSource::Done)),
        Err(EventError::Refused(refusal)) => Ok(Err(stale(&refusal))),
        Err(error) => Err(error.into()),
    }
}

/// What came of the import under way; for ever if there is none.
async fn imported(importing: &mut Option<Importing>) -> Imported {
    match importing {
        Some(importing) => importing.import.as_mut().await,
        None => std::future::pending().await,
    }
}
