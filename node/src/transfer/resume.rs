//! What an earlier life of this server left in the middle of a move, and copies whose time is over.
//!
//! | record | what is done |
//! |---|---|
//! | Released | SETTLE until the master answers |
//! | Staging, Prepared | the master's record and the source say what becomes of it |
//! | Moved | the copy is dropped when its grace is over; a tombstone stays |
//! | Gone | what is left of its rows is dropped |

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use murder_locations::ownership::OwnershipEvent;
use murder_locations::request::{Refusal, Request, Response, UnitRef};
use murder_model::{Epoch, RootName, Timestamp, UnitId, UnitState};
use murder_store::engine::Snapshot;
use murder_store::mail::{MailError, UnitRow, export_rows, units};

use super::apply::moved_at;
use super::message::{ToDestination, ToSource};
use super::{TransferError, Transfers, copy};
use crate::backend::UnitPlace;
use crate::backend::partition::PartitionHandle;
use crate::clock;
use crate::directory::AskError;
use crate::peer::Link;

/// How long the asker of a question may take to hang up.
const HANG_UP: Duration = Duration::from_secs(5);

/// Copies of units that have moved away.
#[derive(Debug, Default)]
pub(super) struct Grace {
    by_time: BTreeMap<(Timestamp, UnitId), (RootName, Arc<PartitionHandle>)>,
    /// When each went: one that came back and went again has its grace anew.
    times: HashMap<UnitId, Timestamp>,
}

impl Grace {
    fn keep(&mut self, at: Timestamp, unit: UnitId, copy: (RootName, Arc<PartitionHandle>)) {
        if let Some(before) = self.times.insert(unit, at) {
            self.by_time.remove(&(before, unit));
        }
        self.by_time.insert((at, unit), copy);
    }

    /// Takes the first copy out whose unit went at `before` or earlier.
    fn take(&mut self, before: i64) -> Option<(UnitId, RootName, Arc<PartitionHandle>)> {
        let first = self.by_time.first_entry()?;
        if first.key().0.as_millis() > before {
            return None;
        }
        let ((_, unit), (root, partition)) = first.remove_entry();
        self.times.remove(&unit);
        Some((unit, root, partition))
    }
}

/// A unit that needs care, and what that is.
struct Left {
    row: UnitRow,
    moved_at: Option<Timestamp>,
}

impl Transfers {
    /// Looks at every unit once; each that needs care gets a task.
    pub(super) async fn resume(self: &Arc<Self>) {
        for partition in self.backend.partitions() {
            let left = match partition.read(left).await {
                Ok(left) => left,
                Err(error) => {
                    let partition = partition.name();
                    tracing::error!(event = "transfers_not_resumed", %partition, %error);
                    continue;
                }
            };
            for left in left {
                self.take_up(partition, left).await;
            }
        }
    }

    async fn take_up(self: &Arc<Self>, partition: &Arc<PartitionHandle>, left: Left) {
        let record = left.row.ownership;
        let unit = record.unit;
        match record.state {
            UnitState::Released { .. } => {
                let Some(place) = self.backend.unit(&record.root) else {
                    return;
                };
                let transfers = Arc::clone(self);
                self.spawn(async move {
                    let settled = transfers.settle_old(&place).await;
                    if matches!(settled.state, UnitState::Moved { .. }) {
                        transfers.note_moved(&place);
                    }
                });
            }
            UnitState::Staging { .. } | UnitState::Prepared { .. } | UnitState::Gone => {
                let holding = self.hold(unit).await;
                self.see_through_later(holding, Arc::clone(partition), unit);
            }
            UnitState::Moved { .. } => {
                let at = left.moved_at.unwrap_or_else(clock::now);
                self.keep(at, unit, record.root, partition);
            }
            UnitState::Creating | UnitState::Owner => {}
        }
    }

    /// The grace of a copy begins.
    pub(super) fn note_moved(&self, place: &UnitPlace) {
        let roots = self.backend.unit_by_id(&place.unit);
        if let Some((root, _)) = roots {
            self.keep(clock::now(), place.unit, root, &place.partition);
        }
    }

    fn keep(&self, at: Timestamp, unit: UnitId, root: RootName, partition: &Arc<PartitionHandle>) {
        let mut grace = self.grace.lock().expect("no holder panics");
        grace.keep(at, unit, (root, Arc::clone(partition)));
    }

    /// Drops the copies whose grace is over, one after the other.
    pub(super) fn drop_expired(self: &Arc<Self>) {
        let hours = i64::try_from(self.backend.settings.transfer.grace_hours).unwrap_or(i64::MAX);
        let now = clock::now().as_millis();
        let before = now.saturating_sub(hours.saturating_mul(3_600_000));
        let mut expired = Vec::new();
        {
            let mut grace = self.grace.lock().expect("no holder panics");
            while let Some(copy) = grace.take(before) {
                expired.push(copy);
            }
        }
        if expired.is_empty() {
            return;
        }
        let transfers = Arc::clone(self);
        self.spawn(async move {
            for (unit, root, partition) in expired {
                match transfers.was_taken(unit, &partition).await {
                    Ok(true) => transfers.drop_moved(unit, &root, &partition).await,
                    Ok(false) => transfers.keep_on(unit, root, &partition, None),
                    Err(error) => transfers.keep_on(unit, root, &partition, Some(&error)),
                }
            }
        });
    }

    /// The copy stays until the next look.
    fn keep_on(
        &self,
        unit: UnitId,
        root: RootName,
        partition: &Arc<PartitionHandle>,
        error: Option<&TransferError>,
    ) {
        let why = error.map(ToString::to_string);
        tracing::info!(event = "moved_copy_not_taken_yet", %root, why);
        self.keep(Timestamp::from_millis(0), unit, root, partition);
    }

    /// Whether somebody has durably taken what was given away here. Until then this copy is the only
    /// witness of the move, should the master lose its memory.
    async fn was_taken(
        &self,
        unit: UnitId,
        partition: &PartitionHandle,
    ) -> Result<bool, TransferError> {
        let record = self.record(partition, unit).await?;
        let Some(UnitState::Moved { to, epoch, .. }) = record.map(|record| record.state) else {
            // Not a copy any more: the rules say what may be done with it.
            return Ok(true);
        };
        let directory = self.directory()?;
        match directory.demand(Request::FindUnit(UnitRef::Id(unit))).await {
            Ok(Response::Unit(Some(found))) if found.epoch > epoch => return Ok(true),
            Err(AskError::Refused(Refusal::UnitDropped)) => return Ok(true),
            _ => {}
        }
        let Some(server) = directory.server(&to).await? else {
            return Ok(false);
        };
        let mut link = self.connect(&to, &server.addresses.transfer).await?;
        link.send(&ToDestination::HasTaken { unit, epoch }).await?;
        link.flush().await?;
        match copy::answer(&mut link).await? {
            ToSource::Taken(taken) => Ok(taken),
            other => Err(copy::unfit(other)),
        }
    }

    /// Answers a source whose copy's grace is over. A record in doubt has taken nothing yet; a
    /// tombstone proves it only if the unit has gone on since.
    pub(super) async fn answer_has_taken(
        &self,
        mut link: Link,
        unit: UnitId,
        epoch: Epoch,
    ) -> Result<(), TransferError> {
        let mut taken = false;
        for partition in self.backend.partitions() {
            let Some(record) = self.record(partition, unit).await? else {
                continue;
            };
            taken |= match record.state {
                UnitState::Owner | UnitState::Released { .. } => record.epoch >= epoch,
                UnitState::Moved { .. } | UnitState::Gone => record.epoch > epoch,
                UnitState::Creating | UnitState::Staging { .. } | UnitState::Prepared { .. } => {
                    false
                }
            };
        }
        link.send(&ToSource::Taken(taken)).await?;
        link.flush().await?;
        // The asker hangs up; waiting for it keeps the answer from being cut off.
        let _gone = tokio::time::timeout(HANG_UP, link.receive_content()).await;
        Ok(())
    }

    async fn drop_moved(&self, unit: UnitId, root: &RootName, partition: &Arc<PartitionHandle>) {
        let event = OwnershipEvent::GraceOver;
        let over = self.backend.apply_event(partition, unit, event);
        if let Err(error) = over.await {
            // It has come back meanwhile, or is being copied here again.
            tracing::info!(event = "moved_copy_kept", %root, %error);
            return;
        }
        self.backend.remove_unit(root, &unit);
        loop {
            match self.clear_gone(partition, unit).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    // The rest is dropped after the next start.
                    tracing::error!(event = "moved_copy_not_dropped", %root, %error);
                    return;
                }
            }
        }
        tracing::info!(event = "moved_copy_dropped", %root);
    }
}

fn left(rows: &Snapshot) -> Result<Vec<Left>, MailError> {
    let mut found = Vec::new();
    units(rows, &mut |row| {
        if !matches!(row.ownership.state, UnitState::Creating | UnitState::Owner) {
            found.push(row);
        }
        ControlFlow::Continue(())
    })?;
    let mut left = Vec::new();
    for row in found {
        let unit = row.ownership.unit;
        // A tombstone without rows needs no care.
        let is_empty = row.ownership.state == UnitState::Gone
            && export_rows(rows, &unit, 0, u64::MAX, None, 1, 1)?
                .rows
                .is_empty();
        if !is_empty {
            let moved_at = moved_at(rows, &unit)?;
            left.push(Left { row, moved_at });
        }
    }
    Ok(left)
}
