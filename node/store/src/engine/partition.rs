//! A partition's single writer: batches, checkpoints, and dropping dead segments.
//!
//! A batch is one redb write transaction. Operations run against it and see each other's rows;
//! their records gather on the side. Committing appends them to the log, syncs it (the commit
//! point), and only then commits the transaction, without durability, so that nobody reads what a
//! power loss could take back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redb::{Durability, WriteTransaction};

use super::batch::Identity;
use super::counts::SegmentCountsByNumber;
use super::disk::{DiskLock, Space};
use super::index::{self, Position, ROWS, index_error};
use super::log::{Log, NextBatch};
use super::snapshot::{Shared, Snapshots};
use super::tx::{Tx, Work};
use super::volume::Volume;
use crate::rows::StoreError;

/// Where a partition lies and how it behaves.
#[derive(Clone, Debug)]
pub struct PartitionOptions {
    /// Directory of the log; created if it does not exist.
    pub directory: PathBuf,
    /// Directory of the index; `None`: the same.
    pub index_directory: Option<PathBuf>,
    /// A segment is followed by a new one once it has this many bytes. Default 64 MiB.
    pub segment_bytes: u64,
    /// How often the owner should make a checkpoint. Default 1 s.
    pub checkpoint_interval: Duration,
    /// Bytes of log after which a checkpoint is due earlier. Default 32 MiB.
    pub checkpoint_bytes: u64,
    /// Memory for the index's pages. Default 64 MiB.
    pub cache_bytes: usize,
    /// Share of the volume that new data must leave free, in percent. Default 1.
    pub reserve_percent: u8,
    /// Bytes that new data must leave free in any case. Default 256 MiB.
    pub reserve_bytes: u64,
    /// Segments kept open for reading. Default 128.
    pub open_segments_max: usize,
    /// Checkpoints for which a segment must have been dead before it is dropped, so that readers
    /// who just looked a blob up still find it. Default 10.
    pub drop_after_checkpoints: u64,
    /// The new partition's identity if one is created; `None`: random.
    pub identity: Option<Identity>,
}

impl PartitionOptions {
    /// The defaults, in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            index_directory: None,
            segment_bytes: 64 << 20,
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_bytes: 32 << 20,
            cache_bytes: 64 << 20,
            reserve_percent: 1,
            reserve_bytes: 256 << 20,
            open_segments_max: 128,
            drop_after_checkpoints: 10,
            identity: None,
        }
    }
}

/// The partition has stopped: nothing more is written until it is opened anew.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("partition has stopped: {reason}")]
pub struct PartitionFailed {
    /// What failed first.
    pub reason: Arc<str>,
}

impl From<PartitionFailed> for StoreError {
    fn from(failed: PartitionFailed) -> Self {
        Self::Stopped(failed.reason.to_string())
    }
}

/// What a commit made durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Committed {
    /// Sequence number of the last record so far.
    pub lsn: u64,
    /// Bytes that were appended to the log.
    pub bytes: u64,
}

/// One log, one index, one writer.
#[derive(Debug)]
pub struct Partition {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: PartitionOptions,
    pub(crate) volume: Volume,
    pub(crate) log: Log,
    pub(crate) position: Position,
    pub(crate) counts: SegmentCountsByNumber,
    pub(crate) segments: BTreeSet<u32>,
    pub(crate) work: Work,
    pub(crate) failed: Option<Arc<str>>,
    pub(crate) dirty: bool,
    pub(crate) bytes_since_checkpoint: u64,
    pub(crate) checkpoints: u64,
    /// Dead segments and the checkpoint that first found them so.
    pub(crate) dead_since: BTreeMap<u32, u64>,
    /// Segments whose counts the next checkpoint forgets.
    pub(crate) dropped: Vec<u32>,
    pub(crate) _locks: Vec<DiskLock>,
}

/// Operations that become durable together.
pub struct Batch<'p> {
    partition: &'p mut Partition,
    transaction: WriteTransaction,
}

impl std::fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

impl Partition {
    /// Reads of what is committed, for any number of threads.
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::new(Arc::clone(&self.shared))
    }

    /// Names the partition for ever.
    pub const fn identity(&self) -> Identity {
        self.position.identity
    }

    /// Sequence number of the last committed record; 0 before the first.
    pub const fn last_lsn(&self) -> u64 {
        self.position.next_lsn - 1
    }

    /// What is alive in each segment.
    pub const fn segment_counts(&self) -> &SegmentCountsByNumber {
        &self.counts
    }

    /// Space of the volume; `None` if nobody can tell.
    pub fn space(&self) -> Result<Option<Space>, StoreError> {
        self.volume.space()
    }

    /// Bytes that new data may take before the reserve begins.
    pub fn available(&self) -> Result<u64, StoreError> {
        self.volume.available()
    }

    /// Begins a batch; one that is dropped leaves nothing behind.
    pub fn batch(&mut self) -> Result<Batch<'_>, PartitionFailed> {
        self.refuse_if_failed()?;
        let next = self.next_batch();
        if let Err(error) = self.log.begin(next, self.options.segment_bytes) {
            return Err(self.fail(format!("begin a batch in the log: {error}")));
        }
        self.segments.insert(self.log.segment());
        self.work.clear();
        match self.shared.index.begin(Durability::None) {
            Ok(transaction) => Ok(Batch {
                partition: self,
                transaction,
            }),
            Err(error) => Err(self.fail(format!("begin a batch in the index: {error}"))),
        }
    }

    const fn next_batch(&self) -> NextBatch {
        NextBatch {
            number: self.position.batch + 1,
            first_lsn: self.position.next_lsn,
        }
    }

    /// How often [`Partition::checkpoint`] should be called.
    pub const fn checkpoint_interval(&self) -> Duration {
        self.options.checkpoint_interval
    }

    /// Whether so much was written that a checkpoint should not wait for the interval.
    pub const fn checkpoint_due(&self) -> bool {
        self.bytes_since_checkpoint >= self.options.checkpoint_bytes
    }

    /// Makes the index durable, so that the log before it need not be replayed, then drops
    /// segments that are dead.
    pub fn checkpoint(&mut self) -> Result<(), PartitionFailed> {
        self.refuse_if_failed()?;
        let written = if self.dirty || !self.dropped.is_empty() {
            self.write_checkpoint()
        } else {
            Ok(())
        };
        if let Err(error) = written {
            return Err(self.fail(format!("checkpoint: {error}")));
        }
        self.dirty = false;
        self.bytes_since_checkpoint = 0;
        self.checkpoints += 1;
        match self.drop_dead_segments() {
            Ok(()) => Ok(()),
            Err(error) => Err(self.fail(format!("drop dead segments: {error}"))),
        }
    }

    fn write_checkpoint(&mut self) -> Result<(), StoreError> {
        let transaction = self.shared.index.begin(Durability::Immediate)?;
        index::remove_counts(&transaction, &self.dropped)?;
        #[cfg(feature = "mutants")]
        if crate::mutant::is(crate::mutant::Fault::LsnOnlyAtCheckpoint) {
            let nothing = super::counts::Tally::default();
            index::write_engine_rows(&transaction, &self.position, &nothing, &self.counts)?;
        }
        transaction.commit().map_err(index_error)?;
        self.dropped.clear();
        Ok(())
    }

    /// Ends the partition; opening it again replays nothing.
    pub fn close(mut self) -> Result<(), PartitionFailed> {
        self.checkpoint()
    }

    /// Unlinks what [`Partition::droppable`] names, oldest first. A removal that guards against
    /// an older segment goes only after that segment is durably gone.
    fn drop_dead_segments(&mut self) -> std::io::Result<()> {
        let mut unsynced = false;
        for number in self.droppable() {
            let counts = self.counts.get(&number).copied().unwrap_or_default();
            if unsynced && counts.tombstones > 0 {
                self.shared.files.sync_directory()?;
            }
            self.shared.files.unlink(number)?;
            unsynced = true;
            self.segments.remove(&number);
            self.counts.remove(&number);
            self.dead_since.remove(&number);
            self.dropped.push(number);
        }
        if unsynced {
            self.shared.files.sync_directory()?;
        }
        Ok(())
    }

    /// Segments that nothing needs any more, ascending.
    fn droppable(&mut self) -> Vec<u32> {
        let mut droppable = Vec::new();
        let mut older_stays = false;
        for number in &self.segments {
            let counts = self.counts.get(number).copied().unwrap_or_default();
            let damaged = self
                .shared
                .damage
                .iter()
                .any(|damage| damage.segment == *number);
            if *number == self.log.segment() || !counts.is_dead() || damaged {
                self.dead_since.remove(number);
                older_stays = true;
                continue;
            }
            let since = *self.dead_since.entry(*number).or_insert(self.checkpoints);
            let rested = self.checkpoints - since >= self.options.drop_after_checkpoints;
            if rested && (counts.tombstones == 0 || !older_stays) {
                droppable.push(*number);
            } else {
                older_stays = true;
            }
        }
        droppable
    }

    fn refuse_if_failed(&self) -> Result<(), PartitionFailed> {
        match &self.failed {
            Some(reason) => Err(PartitionFailed {
                reason: Arc::clone(reason),
            }),
            None => Ok(()),
        }
    }

    fn fail(&mut self, reason: String) -> PartitionFailed {
        let reason: Arc<str> = Arc::from(reason);
        self.failed = Some(Arc::clone(&reason));
        PartitionFailed { reason }
    }
}

impl Batch<'_> {
    /// Runs one operation. If it returns an error, all that it did is undone.
    pub fn run<T, E, F>(&mut self, operation: F) -> Result<T, E>
    where
        E: From<StoreError>,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E>,
    {
        let rows = self.transaction.open_table(ROWS).map_err(index_error)?;
        let mut tx = Tx {
            rows,
            log: &mut self.partition.log,
            work: &mut self.partition.work,
            volume: &self.partition.volume,
        };
        let start = tx.start();
        let result = operation(&mut tx);
        if result.is_err()
            && let Err(error) = tx.undo(start)
        {
            tx.work.broken = Some(error.to_string());
        }
        result
    }

    /// Bytes gathered so far.
    pub fn bytes(&self) -> u64 {
        self.partition.log.pending_bytes() + self.partition.work.records.len() as u64
    }

    /// Makes the batch durable and visible, in this order. After an error the outcome is unknown
    /// and the partition has stopped.
    pub fn commit(self) -> Result<Committed, PartitionFailed> {
        let Self {
            partition,
            transaction,
        } = self;
        if let Some(reason) = partition.work.broken.take() {
            return Err(partition.fail(format!("undo a refused operation: {reason}")));
        }
        if partition.work.count == 0 {
            let lsn = partition.last_lsn();
            return match transaction.abort() {
                Ok(()) => Ok(Committed { lsn, bytes: 0 }),
                Err(error) => Err(partition.fail(format!("end an empty batch: {error}"))),
            };
        }
        partition.commit(transaction)
    }
}

impl Partition {
    fn commit(&mut self, transaction: WriteTransaction) -> Result<Committed, PartitionFailed> {
        let work = &self.work;
        let header = self
            .log
            .header(self.next_batch(), work.count, &work.records);
        let position = Position {
            identity: self.position.identity,
            batch: header.number,
            next_lsn: header.last_lsn() + 1,
            segment: header.segment,
            end: self.log.end() + header.size(),
        };
        let changed =
            match index::write_engine_rows(&transaction, &position, &work.tally, &self.counts) {
                Ok(changed) => changed,
                Err(error) => return Err(self.fail(format!("prepare the index: {error}"))),
            };
        if let Err(error) = self.log.commit(&header, &work.records) {
            // What cannot be cut now is cut by the next start if it is still torn then.
            let _still_failing = self.log.give_up();
            return Err(self.fail(format!(
                "write or sync segment {:08x}: {error}",
                header.segment
            )));
        }
        // Durable. What fails from here on is found again by the next start.
        if let Err(error) = transaction.commit() {
            return Err(self.fail(format!("apply a durable batch to the index: {error}")));
        }
        self.counts.extend(changed);
        self.position = position;
        self.dirty = true;
        self.bytes_since_checkpoint += header.size();
        Ok(Committed {
            lsn: self.last_lsn(),
            bytes: header.size(),
        })
    }
}
