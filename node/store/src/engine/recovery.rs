//! Opening a partition: new, closed well, crashed, or damaged.
//!
//! The index rolls back to its last checkpoint by itself; the log behind that is settled (see
//! [`tail`](super::tail)) and replayed. Without a usable index all of the log is replayed into a
//! new one, which takes its place by a rename.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::Durability;

use super::batch::Identity;
use super::damage::Damage;
use super::disk::Disk;
use super::index::{self, Index, Position, index_error};
use super::log::{Log, NextBatch};
use super::partition::{Partition, PartitionOptions};
use super::place::{OpenError, Place, io_error};
use super::replay::{Replayed, replay};
use super::segment::FIRST_BATCH;
use super::snapshot::Shared;
use super::tail::{Cut, ScanStart, SettledTail, settle};
use super::tx::Work;
use super::volume::Volume;
use crate::rows::StoreError;

const NEW_INDEX_FILE: &str = "index.redb.new";

/// What opening a partition found and did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RecoveryReport {
    /// There was nothing: the partition is new.
    pub created: bool,
    /// Why the index was built anew, if it was.
    pub index_rebuilt: Option<String>,
    /// Batches and records applied to the index.
    pub replayed_batches: u64,
    /// Records applied to the index.
    pub replayed_records: u64,
    /// Torn ends that were removed.
    pub cuts: Vec<Cut>,
    /// Number of the last batch, if it was written again because nothing proved its sync.
    pub rewritten: Option<u64>,
    /// Damage, whether found now or earlier.
    pub damage: Vec<Damage>,
    /// Sequence number of the last record.
    pub last_lsn: u64,
}

/// What the index says, if it belongs to this log.
pub(crate) fn usable(index: &Index, identity: Identity) -> Result<Replayed, StoreError> {
    // A read of the rows, too, so that a missing table shows at once.
    index.rows()?;
    let rows = index.engine_rows()?;
    match rows.position {
        Some(position) if position.identity == identity => Ok(Replayed {
            position,
            synced: position.batch,
            counts: rows.counts,
            batches: 0,
            records: 0,
            damage: rows.damage,
        }),
        Some(_) => Err(StoreError::Index("it belongs to another partition".into())),
        None => Err(StoreError::Index("it names no position in the log".into())),
    }
}

/// Where an index begins that knows nothing yet, of a log synced up to batch `synced` at least.
pub(crate) fn nothing_replayed(identity: Identity, synced: u64) -> Replayed {
    Replayed {
        position: Position {
            identity,
            batch: 0,
            next_lsn: 1,
            segment: 0,
            end: 0,
        },
        synced,
        counts: BTreeMap::new(),
        batches: 0,
        records: 0,
        damage: Vec::new(),
    }
}

impl Replayed {
    /// Where the log goes on behind this.
    pub(crate) fn scan_start(&self) -> ScanStart {
        ScanStart {
            segment: self.position.segment,
            offset: self.position.end,
            batch: self.position.batch,
            synced: self.position.batch.max(self.synced),
        }
    }
}

impl Partition {
    /// Opens the partition in `options.directory`, or creates it if there is nothing. Whatever
    /// was committed is there when this returns, and nothing in the log is in doubt any more.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: PartitionOptions,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let mut place = Place::lock(disk, options, true)?;
        let mut report = RecoveryReport::default();
        let identity = match place.identity()? {
            Some(identity) => identity,
            None if place.is_new()? => {
                if place.index_exists()? {
                    return Err(OpenError::LogMissing(place.options.directory));
                }
                report.created = true;
                create_log(&mut place)?
            }
            None => return Err(OpenError::Unreadable(place.options.directory)),
        };
        if !place.index_exists()? {
            if !report.created {
                report.index_rebuilt = Some("it does not exist".into());
            }
            return rebuild_and_recover(place, identity, 0, report);
        }
        let (disk, options) = (Arc::clone(&place.disk), place.options.clone());
        match recover_with_index(place, identity, report.clone()) {
            Err(OpenError::Store(StoreError::Index(reason))) => {
                report.index_rebuilt = Some(reason);
                rebuild_and_recover(Place::lock(disk, options, false)?, identity, 0, report)
            }
            opened => opened,
        }
    }

    /// Builds the index anew from the log, whatever the present one holds.
    pub fn rebuild(
        disk: Arc<dyn Disk>,
        options: PartitionOptions,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let place = Place::lock(disk, options, false)?;
        let identity = place.identity()?;
        let directory = &place.options.directory;
        let identity = identity.ok_or_else(|| OpenError::Unreadable(directory.clone()))?;
        let report = RecoveryReport {
            index_rebuilt: Some("on request".into()),
            ..RecoveryReport::default()
        };
        // If the present index can say so, the last batch is not in doubt.
        let synced = place
            .open_index(identity)
            .map_or(0, |(_, known)| known.position.batch);
        rebuild_and_recover(place, identity, synced, report)
    }
}

fn create_log(place: &mut Place) -> Result<Identity, OpenError> {
    let mut identity: Identity = [0; 16];
    match place.options.identity {
        Some(given) => identity = given,
        None => getrandom::fill(&mut identity)
            .map_err(|error| io_error("draw an identity")(io::Error::other(error)))?,
    }
    let next = NextBatch {
        number: 1,
        first_lsn: 1,
    };
    // A first segment without a header, left by a crash, is overwritten.
    place.segments.clear();
    Log::create(Arc::clone(&place.files), identity, 1, next)
        .map_err(io_error("create the first segment"))?;
    place.segments.insert(1);
    Ok(identity)
}

/// Recovers with the index there is. redb panics at some damage; that, too, is an unusable index.
fn recover_with_index(
    place: Place,
    identity: Identity,
    report: RecoveryReport,
) -> Result<(Partition, RecoveryReport), OpenError> {
    let recovered = catch_unwind(AssertUnwindSafe(|| {
        let (index, replayed) = place.open_index(identity)?;
        recover(place, index, replayed, report)
    }));
    recovered.unwrap_or_else(|_| {
        let reason = "it is damaged beyond what redb can tell".into();
        Err(OpenError::Store(StoreError::Index(reason)))
    })
}

fn rebuild_and_recover(
    place: Place,
    identity: Identity,
    synced: u64,
    report: RecoveryReport,
) -> Result<(Partition, RecoveryReport), OpenError> {
    let directory = place.index_directory().to_path_buf();
    let path = directory.join(NEW_INDEX_FILE);
    let usual_path = place.index_path();
    let index = Index::open(place.disk.as_ref(), &path, true, place.options.cache_bytes)?;
    let (partition, report) = recover(place, index, nothing_replayed(identity, synced), report)?;
    // The new index is durable; whichever of the two a crash leaves, the log fills the rest in.
    let disk = partition.shared.files.disk();
    disk.rename(&path, &usual_path)
        .and_then(|()| disk.sync_directory(&directory))
        .map_err(io_error("put the new index in its place"))?;
    Ok((partition, report))
}

/// Settles the log behind the index, replays it, and makes the result durable.
fn recover(
    mut place: Place,
    index: Index,
    mut replayed: Replayed,
    mut report: RecoveryReport,
) -> Result<(Partition, RecoveryReport), OpenError> {
    let identity = replayed.position.identity;
    let start = replayed.scan_start();
    let before = (replayed.position, replayed.damage.len());
    let tail = settle(&place.files, identity, &mut place.segments, &start)
        .map_err(io_error("settle the end of the log"))?;
    replayed.damage.extend(tail.damage.iter().cloned());
    replayed.damage.extend(missing_log(&place, &replayed)?);
    let files = &place.files;
    let mut replayed = replay(
        &index,
        Durability::Immediate,
        files,
        &place.segments,
        &start,
        replayed,
        None,
    )?;
    replayed.damage.sort();
    replayed.damage.dedup();
    let log = resume(&mut place, &tail, &replayed)?;
    replayed.position.segment = log.segment();
    replayed.position.end = log.end();
    let gone: Vec<u32> = replayed.counts.keys().copied().collect();
    let gone: Vec<u32> = gone
        .into_iter()
        .filter(|number| !place.segments.contains(number) && replayed.counts[number].is_dead())
        .collect();
    for number in &gone {
        replayed.counts.remove(number);
    }
    if before != (replayed.position, replayed.damage.len()) || !gone.is_empty() {
        finish(&index, &replayed, &gone)?;
    }
    report.replayed_batches = replayed.batches;
    report.replayed_records = replayed.records;
    report.cuts = tail.cuts;
    report.rewritten = tail.rewritten;
    report.damage.clone_from(&replayed.damage);
    report.last_lsn = replayed.position.next_lsn - 1;
    Ok((assemble(place, index, replayed, log), report))
}

/// Segments that the index needs and that are not there, or are too short.
fn missing_log(place: &Place, replayed: &Replayed) -> Result<Vec<Damage>, OpenError> {
    let mut damage = Vec::new();
    let gone = |number: &u32| !place.segments.contains(number);
    let live = replayed
        .counts
        .iter()
        .filter(|(_, counts)| !counts.is_dead());
    for (number, _) in live.filter(|(number, _)| gone(number)) {
        damage.push(Damage {
            segment: *number,
            start: 0,
            end: u64::MAX,
            reason: "the segment's file does not exist".into(),
        });
    }
    let Position { segment, end, .. } = replayed.position;
    if place.segments.contains(&segment) {
        let length = place.files.get(segment).and_then(|file| file.length());
        let length = length.map_err(io_error(format!("read segment {segment:08x}")))?;
        if length < end {
            damage.push(Damage {
                segment,
                start: length,
                end,
                reason: "the segment's file is shorter than the index says".into(),
            });
        }
    }
    for number in &place.segments {
        let header = place.files.header(*number);
        if header
            .map_err(io_error(format!("read segment {number:08x}")))?
            .is_none()
        {
            damage.push(Damage {
                segment: *number,
                start: 0,
                end: FIRST_BATCH,
                reason: "the segment's header is damaged".into(),
            });
        }
    }
    Ok(damage)
}

/// The log, ready to be appended to.
fn resume(place: &mut Place, tail: &SettledTail, replayed: &Replayed) -> Result<Log, OpenError> {
    let files = Arc::clone(&place.files);
    let identity = replayed.position.identity;
    if let Some((segment, end)) = tail.active {
        return Log::resume(files, identity, segment, end)
            .map_err(io_error(format!("open segment {segment:08x}")));
    }
    let newest = place.segments.last().copied().unwrap_or(0);
    let segment = newest.max(replayed.position.segment) + 1;
    let next = NextBatch {
        number: replayed.position.batch + 1,
        first_lsn: replayed.position.next_lsn,
    };
    place.segments.insert(segment);
    Log::create(files, identity, segment, next)
        .map_err(io_error(format!("create segment {segment:08x}")))
}

/// Writes position and damage and forgets segments that are gone, durably.
fn finish(index: &Index, replayed: &Replayed, gone: &[u32]) -> Result<(), StoreError> {
    let transaction = index.begin(Durability::Immediate)?;
    let unchanged = super::counts::Tally::default();
    let Replayed {
        position, counts, ..
    } = replayed;
    index::write_engine_rows(&transaction, position, &unchanged, counts)?;
    index::write_damage(&transaction, &replayed.damage)?;
    index::remove_counts(&transaction, gone)?;
    transaction.commit().map_err(index_error)
}

fn assemble(place: Place, index: Index, replayed: Replayed, log: Log) -> Partition {
    let Place {
        disk,
        options,
        files,
        segments,
        locks,
    } = place;
    Partition {
        shared: Arc::new(Shared {
            index,
            files,
            damage: replayed.damage,
        }),
        volume: Volume {
            disk,
            directory: options.directory.clone(),
            reserve_percent: options.reserve_percent,
            reserve_bytes: options.reserve_bytes,
        },
        options,
        log,
        position: replayed.position,
        counts: replayed.counts,
        segments,
        work: Work::default(),
        failed: None,
        dirty: false,
        bytes_since_checkpoint: 0,
        checkpoints: 0,
        dead_since: BTreeMap::new(),
        dropped: Vec::new(),
        _locks: locks,
    }
}
