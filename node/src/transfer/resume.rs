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

use murder_locations::ownership::OwnershipEvent;
use murder_model::{RootName, Timestamp, UnitId, UnitState};
use murder_store::engine::Snapshot;
use murder_store::mail::{MailError, UnitRow, export_rows, units};

use super::Transfers;
use super::apply::moved_at;
use crate::backend::UnitPlace;
use crate::backend::partition::PartitionHandle;
use crate::clock;

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
                transfers.drop_moved(unit, &root, &partition).await;
            }
        });
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
