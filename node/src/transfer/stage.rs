//! The copy of a unit that is being made here: who writes to it, in which room, and how its rows
//! become durable.
//!
//! While a unit is Staging its row's change number says up to where everything is here; a move that
//! goes on after a break begins behind it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use murder_locations::ownership::{Here, OwnershipEvent, OwnershipRefusal, next};
use murder_model::{
    Attempt, Epoch, MoveId, OwnershipRecord, RootName, ServerName, UnitDigest, UnitId, UnitState,
};
use murder_store::engine::Tx;
use murder_store::mail::{
    Effects, MailError, TransferContent, TransferRow, UnitHead, drop_unit, import_head,
    import_rows, ownership, put_ownership, unit,
};
use tokio::sync::{OwnedMutexGuard, watch};

use super::apply::forget_moved;
use super::{TransferError, Transfers};
use crate::backend::partition::PartitionHandle;

/// Rows dropped in one commit.
const DROP_ROWS: usize = 500;

/// The right to write to a unit's copy here; whoever comes later turns out whoever has it.
#[derive(Debug)]
pub(super) struct Stay {
    turn: Arc<tokio::sync::Mutex<()>>,
    latest: watch::Sender<u64>,
}

/// One holder of a [`Stay`].
#[derive(Debug)]
pub(super) struct Holding {
    number: u64,
    stay: Arc<Stay>,
    _turn: OwnedMutexGuard<()>,
}

impl Holding {
    /// Waits until somebody else wants the unit.
    pub(super) async fn displaced(&self) {
        let mut latest = self.stay.latest.subscribe();
        let _open = latest.wait_for(|latest| *latest > self.number).await;
    }
}

/// Bytes of a partition that are promised to transfers under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Room(Arc<Mutex<HashMap<Arc<str>, u64>>>);

/// A share of a partition's free space.
#[derive(Debug)]
pub(super) struct Reserved {
    room: Room,
    partition: Arc<str>,
    bytes: u64,
}

impl Room {
    /// Takes `bytes` of what is free and not promised; `None`: there is not so much.
    pub(super) fn reserve(&self, partition: &PartitionHandle, bytes: u64) -> Option<Reserved> {
        let mut promised = self.0.lock().expect("no holder panics");
        let taken = promised.entry(Arc::clone(partition.name())).or_default();
        if taken.saturating_add(bytes) > partition.free_bytes() {
            return None;
        }
        *taken += bytes;
        Some(Reserved {
            room: self.clone(),
            partition: Arc::clone(partition.name()),
            bytes,
        })
    }
}

impl Reserved {
    /// So much of it is used up, and so no longer counted as free.
    pub(super) fn used(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        let mut promised = self.room.0.lock().expect("no holder panics");
        if let Some(taken) = promised.get_mut(&self.partition) {
            *taken = taken.saturating_sub(bytes);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.used(self.bytes);
    }
}

/// The move that a copy belongs to.
#[derive(Clone, Debug)]
pub(super) struct StagedMove {
    pub(super) unit: UnitId,
    pub(super) root: RootName,
    pub(super) move_id: MoveId,
    pub(super) attempt: Attempt,
    pub(super) from: ServerName,
    pub(super) epoch: Epoch,
}

/// Why a step of a move has no effect: the copy is no longer this move's.
type Judged<T> = Result<T, OwnershipRefusal>;

/// What came of PREPARE.
pub(super) enum Prepared {
    Yes(UnitDigest),
    Mismatch(UnitDigest),
}

const NOTHING: UnitHead = UnitHead {
    change: 0,
    digest: UnitDigest::from_bytes([0; 32]),
    outbox: 0,
    uid_validity_floor: 0,
    forgotten: 0,
    mailboxes: 0,
    messages: 0,
    bytes: 0,
};

impl Transfers {
    /// Waits until nobody else writes to the unit's copy, having turned them out.
    pub(super) async fn hold(&self, unit: UnitId) -> Holding {
        let stay = {
            let mut stays = self.stays.lock().expect("no holder panics");
            stays.retain(|_, stay| Arc::strong_count(stay) > 1);
            let stay = stays.entry(unit).or_insert_with(|| {
                Arc::new(Stay {
                    turn: Arc::default(),
                    latest: watch::Sender::new(0),
                })
            });
            Arc::clone(stay)
        };
        let mut number = 0;
        stay.latest.send_modify(|latest| {
            *latest += 1;
            number = *latest;
        });
        let turn = Arc::clone(&stay.turn).lock_owned().await;
        Holding {
            number,
            stay,
            _turn: turn,
        }
    }

    /// Records that the move's copy is made, or goes on, here. Returns up to which change it is here
    /// already; a copy of another move counts as nothing.
    pub(super) async fn stage(
        &self,
        partition: &PartitionHandle,
        staged: StagedMove,
    ) -> Result<Judged<u64>, TransferError> {
        let server = self.backend.settings.server.clone();
        let promised = self.backend.state.promised();
        let recorded = partition.write(move |tx| {
            let here = Here {
                server: &server,
                promised,
            };
            let before = ownership(tx, &staged.unit)?;
            let kept = before.as_ref().and_then(move_of) == Some(staged.move_id);
            let outcome = staged_record(here, before.as_ref(), &staged);
            let after = match outcome {
                Ok(after) => after,
                Err(refusal) => return Ok((Err(refusal), Effects::default())),
            };
            put_ownership(tx, &after)?;
            if !kept {
                forget_moved(tx, &staged.unit)?;
                import_head(tx, &staged.unit, &NOTHING)?;
            }
            let reached = unit(tx, &staged.unit)?.map_or(0, |row| row.change);
            Ok((Ok(reached), Effects::default()))
        });
        Ok(recorded.await?)
    }

    /// Drops one step of what an earlier stay left. True: there is more.
    pub(super) async fn clear(
        &self,
        partition: &PartitionHandle,
        unit: UnitId,
        move_id: MoveId,
    ) -> Result<Judged<bool>, TransferError> {
        let cleared = partition.write(move |tx| {
            if let Err(refusal) = is_staged(tx, &unit, move_id)? {
                return Ok((Err(refusal), Effects::default()));
            }
            let more = drop_unit(tx, &unit, DROP_ROWS)?;
            Ok((Ok(more), Effects::default()))
        });
        Ok(cleared.await?)
    }

    /// Drops one step of a unit that is gone from here. True: there is more.
    pub(super) async fn clear_gone(
        &self,
        partition: &PartitionHandle,
        unit: UnitId,
    ) -> Result<bool, TransferError> {
        let cleared = partition.write(move |tx| {
            let record = ownership(tx, &unit)?;
            let gone = record.is_some_and(|record| record.state == UnitState::Gone);
            let more = gone && drop_unit(tx, &unit, DROP_ROWS)?;
            if gone && !more {
                forget_moved(tx, &unit)?;
            }
            Ok((more, Effects::default()))
        });
        Ok(cleared.await?)
    }
}

/// Rows and contents that have arrived.
pub(super) struct Arrived {
    pub(super) rows: Vec<TransferRow>,
    pub(super) contents: Vec<Option<super::arrive::Content>>,
    pub(super) covered: u64,
}

/// Puts rows durably into the copy; returns the indices of those whose contents are missing.
pub(super) async fn import(
    partition: &PartitionHandle,
    unit_id: UnitId,
    move_id: MoveId,
    arrived: Arrived,
) -> Result<Judged<Vec<u32>>, TransferError> {
    let imported = partition.write(move |tx| {
        if let Err(refusal) = is_staged(tx, &unit_id, move_id)? {
            return Ok((Err(refusal), Effects::default()));
        }
        let contents: Vec<Option<TransferContent<'_>>> = arrived
            .contents
            .iter()
            .map(|content| content.as_ref().map(|content| content.source()))
            .collect();
        let missing = import_rows(tx, &unit_id, &arrived.rows, &contents)?;
        if missing.is_empty() {
            reach(tx, &unit_id, arrived.covered)?;
        }
        let missing = missing.into_iter();
        let missing = missing.map(|index| u32::try_from(index).expect("a step has few rows"));
        Ok((Ok(missing.collect()), Effects::default()))
    });
    Ok(imported.await?)
}

/// Notes that everything up to a change is here.
pub(super) async fn round_done(
    partition: &PartitionHandle,
    unit_id: UnitId,
    move_id: MoveId,
    upto: u64,
) -> Result<Judged<()>, TransferError> {
    let noted = partition.write(move |tx| {
        let staged = is_staged(tx, &unit_id, move_id)?;
        if staged.is_ok() {
            reach(tx, &unit_id, upto)?;
        }
        Ok((staged, Effects::default()))
    });
    Ok(noted.await?)
}

impl Transfers {
    /// Records PREPARED if the rows here are the source's.
    pub(super) async fn prepare(
        &self,
        partition: &PartitionHandle,
        unit_id: UnitId,
        event: (MoveId, Attempt, Epoch),
        head: UnitHead,
    ) -> Result<Judged<Prepared>, TransferError> {
        let server = self.backend.settings.server.clone();
        let promised = self.backend.state.promised();
        let (move_id, attempt, epoch) = event;
        let prepared = partition.write(move |tx| {
            let here = Here {
                server: &server,
                promised,
            };
            let Some(row) = unit(tx, &unit_id)? else {
                return Ok((Err(OwnershipRefusal::NoRecord), Effects::default()));
            };
            if row.digest != head.digest {
                return Ok((Ok(Prepared::Mismatch(row.digest)), Effects::default()));
            }
            let event = OwnershipEvent::Prepare {
                move_id,
                attempt,
                epoch,
                digest: row.digest,
            };
            let after = match next(here, Some(&row.ownership), event) {
                Ok(after) => after,
                Err(refusal) => return Ok((Err(refusal), Effects::default())),
            };
            if matches!(row.ownership.state, UnitState::Staging { .. }) {
                import_head(tx, &unit_id, &head)?;
            }
            put_ownership(tx, &after)?;
            Ok((Ok(Prepared::Yes(row.digest)), Effects::default()))
        });
        Ok(prepared.await?)
    }
}

/// The record of a copy that is begun or taken up again: whatever freeze it was prepared for, the
/// source has given that one up.
fn staged_record(
    here: Here<'_>,
    before: Option<&OwnershipRecord>,
    staged: &StagedMove,
) -> Judged<OwnershipRecord> {
    let (move_id, attempt) = (staged.move_id, staged.attempt);
    let event = OwnershipEvent::Stage {
        unit: staged.unit,
        root: staged.root.clone(),
        move_id,
        attempt,
        from: staged.from.clone(),
        epoch: staged.epoch,
    };
    let after = next(here, before, event)?;
    if matches!(after.state, UnitState::Prepared { .. }) {
        let event = OwnershipEvent::AbortAttempt { move_id, attempt };
        return next(here, Some(&after), event);
    }
    Ok(after)
}

/// The move that a record's copy belongs to.
pub(super) fn move_of(record: &OwnershipRecord) -> Option<MoveId> {
    match &record.state {
        UnitState::Staging { move_id, .. } | UnitState::Prepared { move_id, .. } => Some(*move_id),
        _ => None,
    }
}

fn is_staged(tx: &Tx<'_>, unit: &UnitId, move_id: MoveId) -> Result<Judged<()>, MailError> {
    let record = ownership(tx, unit)?;
    let staged = matches!(
        record.map(|record| record.state),
        Some(UnitState::Staging { move_id: of, .. }) if of == move_id
    );
    Ok(if staged {
        Ok(())
    } else {
        Err(OwnershipRefusal::StaleMove)
    })
}

fn reach(tx: &mut Tx<'_>, id: &UnitId, change: u64) -> Result<(), MailError> {
    if unit(tx, id)?.is_some_and(|row| row.change < change) {
        import_head(tx, id, &UnitHead { change, ..NOTHING })?;
    }
    Ok(())
}
