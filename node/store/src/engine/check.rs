//! Verifies a partition that nobody has open, without changing it.
//!
//! All of the log is read and replayed into a scratch index, every checksum on the way; what comes
//! out must equal the index, row by row and count by count, and every blob that a row names must
//! be readable.

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::Durability;

use super::batch::{place_of, split_value};
use super::counts::SegmentCountsByNumber;
use super::damage::Damage;
use super::disk::{Disk, OpenMode};
use super::index::{Index, ReadOnlyRows, index_error};
use super::overlay::Overlay;
use super::partition::PartitionOptions;
use super::place::{OpenError, Place, io_error};
use super::recovery::{nothing_replayed, usable};
use super::replay::{Replayed, replay};
use super::snapshot::{Shared, Snapshots};
use super::tail::{ScanStart, torn_end};
use crate::rows::{BlobPlace, StoreError, Table};

/// Problems named one by one; more are only counted.
const PROBLEMS_MAX: usize = 1000;
const SCRATCH_FILE: &str = "index.redb.check";

/// What a check found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CheckReport {
    /// Segment files.
    pub segments: u64,
    /// Batches in the log.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Live rows.
    pub rows: u64,
    /// Live blobs, and their bytes.
    pub blobs: u64,
    /// Bytes of live blobs.
    pub blob_bytes: u64,
    /// Batches that the next start will apply to the index: the partition was not closed.
    pub unapplied_batches: u64,
    /// Parts of the log that cannot be trusted.
    pub damage: Vec<Damage>,
    /// Blobs that a row names and that cannot be read.
    pub unreadable: Vec<UnreadableBlob>,
    /// How index and log differ.
    pub differences: Vec<String>,
    /// Differences and unreadable blobs beyond those named.
    pub unnamed: u64,
}

/// A live blob that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnreadableBlob {
    /// Key of its row in the blob table.
    pub key: Vec<u8>,
    /// Where it should be.
    pub place: BlobPlace,
    /// Why it cannot be read.
    pub reason: String,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub const fn is_sound(&self) -> bool {
        self.damage.is_empty()
            && self.unreadable.is_empty()
            && self.differences.is_empty()
            && self.unnamed == 0
    }

    fn differ(&mut self, difference: impl FnOnce() -> String) {
        if self.differences.len() < PROBLEMS_MAX {
            self.differences.push(difference());
        } else {
            self.unnamed += 1;
        }
    }
}

/// Checks the partition in `options.directory`; refuses while somebody has it open.
pub fn check(disk: Arc<dyn Disk>, options: PartitionOptions) -> Result<CheckReport, OpenError> {
    let place = Place::lock(disk, options, false)?;
    let scratch = place.index_directory().join(SCRATCH_FILE);
    let report = check_with(&place, &scratch);
    match place.disk.unlink(&scratch) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error(format!("remove {}", scratch.display()))(error))
        }
        _ => report,
    }
}

fn check_with(place: &Place, scratch: &Path) -> Result<CheckReport, OpenError> {
    let identity = place.identity()?;
    let directory = &place.options.directory;
    let identity = identity.ok_or_else(|| OpenError::Unreadable(directory.clone()))?;
    let mut report = CheckReport {
        segments: place.segments.len() as u64,
        ..CheckReport::default()
    };
    let known = view_index(place).and_then(|index| {
        let replayed = usable(&index, identity)?;
        Ok((index, replayed))
    });
    let start = match &known {
        Ok((_, replayed)) => replayed.scan_start(),
        Err(_) => nothing_replayed(identity, 0).scan_start(),
    };
    let torn = torn_end(&place.files, identity, &place.segments, &start)
        .map_err(io_error("read the end of the log"))?;

    let cache_bytes = place.options.cache_bytes;
    let index = Index::open(place.disk.as_ref(), scratch, true, cache_bytes)?;
    let from = nothing_replayed(identity, 0);
    let log_start = from.scan_start();
    let log = replay_all(place, &index, &log_start, from, torn)?;
    report.batches = log.batches;
    report.records = log.records;
    report.damage.clone_from(&log.damage);
    report.damage.sort();
    report.damage.dedup();
    check_blobs(place, index.rows()?, &mut report)?;
    match known {
        Ok((known, replayed)) => {
            let seen = replay_all(place, &known, &start, replayed, torn)?;
            report.unapplied_batches = seen.batches;
            compare_rows(&known.rows()?, &index.rows()?, &mut report)?;
            compare_counts(&place.segments, &seen.counts, &log.counts, &mut report);
            for damage in seen.damage {
                if !report.damage.contains(&damage) {
                    report.damage.push(damage);
                }
            }
        }
        Err(error) => report.differ(|| format!("the index is unusable: {error}")),
    }
    Ok(report)
}

fn replay_all(
    place: &Place,
    index: &Index,
    start: &ScanStart,
    from: Replayed,
    torn: Option<(u32, u64)>,
) -> Result<Replayed, StoreError> {
    replay(
        index,
        Durability::None,
        &place.files,
        &place.segments,
        start,
        from,
        torn,
    )
}

/// The index, readable, with its file left alone.
pub(crate) fn view_index(place: &Place) -> Result<Index, StoreError> {
    let path: PathBuf = place.index_path();
    let opened = place
        .disk
        .open(&path, OpenMode::Read)
        .and_then(Overlay::new);
    let overlay = opened.map_err(|source| StoreError::Io {
        what: format!("open index {}", path.display()),
        source,
    })?;
    // redb panics at some damage.
    let verified = || Index::verified(overlay, place.options.cache_bytes);
    catch_unwind(AssertUnwindSafe(verified)).unwrap_or_else(|_| {
        let reason = "it is damaged beyond what redb can tell";
        Err(StoreError::Index(reason.into()))
    })
}

/// Counts live rows and reads every live blob.
fn check_blobs(
    place: &Place,
    rows: ReadOnlyRows,
    report: &mut CheckReport,
) -> Result<(), StoreError> {
    let empty = Index::over(redb::backends::InMemoryBackend::new(), 1 << 20)?;
    let snapshots = Snapshots::new(Arc::new(Shared {
        index: empty,
        files: Arc::clone(&place.files),
        damage: Vec::new(),
    }));
    for entry in rows.range::<&[u8]>(..).map_err(index_error)? {
        let (key, stored) = entry.map_err(index_error)?;
        report.rows += 1;
        let value = split_value(stored.value()).map_or(&[][..], |(_, value)| value);
        let table = Table::from_number(key.value()[0]);
        let Some(blob) = table.and_then(|table| place_of(table, value)) else {
            continue;
        };
        report.blobs += 1;
        report.blob_bytes += blob.length;
        let Err(error) = snapshots.blob(blob).and_then(|blob| blob.verify()) else {
            continue;
        };
        if report.unreadable.len() < PROBLEMS_MAX {
            report.unreadable.push(UnreadableBlob {
                key: key.value()[1..].to_vec(),
                place: blob,
                reason: error.to_string(),
            });
        } else {
            report.unnamed += 1;
        }
    }
    Ok(())
}

/// Walks both indexes side by side.
fn compare_rows(
    index: &ReadOnlyRows,
    log: &ReadOnlyRows,
    report: &mut CheckReport,
) -> Result<(), StoreError> {
    let mut index = index.range::<&[u8]>(..).map_err(index_error)?;
    let mut log = log.range::<&[u8]>(..).map_err(index_error)?;
    let mut in_index = index.next().transpose().map_err(index_error)?;
    let mut in_log = log.next().transpose().map_err(index_error)?;
    loop {
        let order = match (&in_index, &in_log) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((left, _)), Some((right, _))) => left.value().cmp(right.value()),
        };
        if let (Some((key, left)), Some((_, right))) = (&in_index, &in_log)
            && order.is_eq()
            && left.value() != right.value()
        {
            report.differ(|| format!("{} differs between index and log", row_name(key.value())));
        }
        if order.is_lt()
            && let Some((key, _)) = &in_index
        {
            report.differ(|| format!("{} is in the index only", row_name(key.value())));
        }
        if order.is_gt()
            && let Some((key, _)) = &in_log
        {
            report.differ(|| format!("{} is in the log only", row_name(key.value())));
        }
        if order.is_le() {
            in_index = index.next().transpose().map_err(index_error)?;
        }
        if order.is_ge() {
            in_log = log.next().transpose().map_err(index_error)?;
        }
    }
}

fn compare_counts(
    segments: &BTreeSet<u32>,
    index: &SegmentCountsByNumber,
    log: &SegmentCountsByNumber,
    report: &mut CheckReport,
) {
    let numbers: BTreeSet<_> = index.keys().chain(log.keys()).collect();
    for number in numbers {
        let left = index.get(number).copied().unwrap_or_default();
        let right = log.get(number).copied().unwrap_or_default();
        // The counts of a segment that was just dropped go with the next checkpoint.
        let dropped = !segments.contains(number) && left.is_dead();
        if left != right && !dropped {
            report.differ(|| {
                format!("segment {number:08x}: the index counts {left:?}, the log {right:?}")
            });
        }
    }
}

fn row_name(key: &[u8]) -> String {
    let table = key.first().and_then(|number| Table::from_number(*number));
    let name = table.map_or("unknown", Table::name);
    format!(
        "row {} of table {name}",
        hex(key.get(1..).unwrap_or_default())
    )
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
