//! The redb index: all rows in one tree, and the engine's own few rows in another.
//!
//! Only this module and its neighbours know redb. A batch is one write transaction without
//! durability; a checkpoint is an empty durable one, so redb rolls back to a checkpoint on its own
//! after a crash and the log is replayed from the position that the same checkpoint holds.

use std::io;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::Arc;

use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageBackend,
    Table as RedbTable, TableDefinition, WriteTransaction,
};

use super::batch::{Identity, Record, split_value, u32_at, u64_at};
use super::counts::{SegmentCounts, SegmentCountsByNumber, Tally};
use super::damage::Damage;
use super::disk::{Disk, DiskFile, OpenMode, directory_of};
use crate::rows::{Row, StoreError, Table, Visit};

type Bytes = &'static [u8];
/// The rows of all tables; a key begins with its table's number, a value with its segment.
pub(crate) type RowsTable<'t> = RedbTable<'t, Bytes, Bytes>;
/// The same within a snapshot.
pub(crate) type ReadOnlyRows = ReadOnlyTable<Bytes, Bytes>;

pub(crate) const ROWS: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("rows");
const ENGINE: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("engine");
const POSITION_KEY: &[u8] = &[Table::Meta as u8, b'p'];
const DAMAGE_PREFIX: &[u8] = &[Table::Meta as u8, b'd'];
const SEGMENT_PREFIX: &[u8] = &[Table::Segments as u8];

/// Up to where the log is in the index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Position {
    pub(crate) identity: Identity,
    /// Number of the last batch; 0 before the first.
    pub(crate) batch: u64,
    pub(crate) next_lsn: u64,
    /// Where that batch ends.
    pub(crate) segment: u32,
    pub(crate) end: u64,
}

impl Position {
    fn encode(&self) -> [u8; 44] {
        let mut bytes = [0; 44];
        bytes[..16].copy_from_slice(&self.identity);
        bytes[16..24].copy_from_slice(&self.batch.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.next_lsn.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.segment.to_be_bytes());
        bytes[36..].copy_from_slice(&self.end.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 44] = bytes.try_into().ok()?;
        Some(Self {
            identity: bytes[..16].try_into().expect("sixteen bytes"),
            batch: u64_at(bytes, 16),
            next_lsn: u64_at(bytes, 24),
            segment: u32_at(bytes, 32),
            end: u64_at(bytes, 36),
        })
    }
}

/// What the engine's own rows say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct EngineRows {
    pub(crate) position: Option<Position>,
    pub(crate) counts: SegmentCountsByNumber,
    pub(crate) damage: Vec<Damage>,
}

/// An open index.
#[derive(Debug)]
pub(crate) struct Index {
    database: Database,
}

impl Index {
    /// Opens the index at `path`, or creates an empty one.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        create: bool,
        cache_bytes: usize,
    ) -> Result<Self, StoreError> {
        let mode = if create {
            OpenMode::Create
        } else {
            OpenMode::Write
        };
        let file = disk.open(path, mode).map_err(|source| StoreError::Io {
            what: format!("open index {}", path.display()),
            source,
        })?;
        let index = Self::over(Backend { file }, cache_bytes)?;
        if create {
            index.create_tables()?;
            disk.sync_directory(directory_of(path))
                .map_err(|source| StoreError::Io {
                    what: format!("sync directory of {}", path.display()),
                    source,
                })?;
        }
        Ok(index)
    }

    pub(crate) fn over(
        backend: impl StorageBackend,
        cache_bytes: usize,
    ) -> Result<Self, StoreError> {
        let opened = Builder::new()
            .set_cache_size(cache_bytes)
            .create_with_backend(backend);
        let database = opened.map_err(index_error)?;
        Ok(Self { database })
    }

    /// Opens an index and verifies every checksum in it.
    pub(crate) fn verified(
        backend: impl StorageBackend,
        cache_bytes: usize,
    ) -> Result<Self, StoreError> {
        let mut builder = Builder::new();
        builder
            .set_cache_size(cache_bytes)
            .set_check_integrity_on_open(true);
        let opened = builder.create_with_backend(backend);
        let database = opened.map_err(index_error)?;
        Ok(Self { database })
    }

    pub(crate) fn create_tables(&self) -> Result<(), StoreError> {
        let transaction = self.begin(Durability::Immediate)?;
        drop(transaction.open_table(ROWS).map_err(index_error)?);
        drop(transaction.open_table(ENGINE).map_err(index_error)?);
        transaction.commit().map_err(index_error)
    }

    /// Begins the one write transaction there can be.
    pub(crate) fn begin(&self, durability: Durability) -> Result<WriteTransaction, StoreError> {
        let mut transaction = self.database.begin_write().map_err(index_error)?;
        transaction
            .set_durability(durability)
            .map_err(index_error)?;
        if matches!(durability, Durability::Immediate) {
            transaction.set_quick_repair(true);
        }
        Ok(transaction)
    }

    /// The rows as they are now.
    pub(crate) fn rows(&self) -> Result<ReadOnlyRows, StoreError> {
        let transaction = self.database.begin_read().map_err(index_error)?;
        // The table keeps the transaction alive.
        transaction.open_table(ROWS).map_err(index_error)
    }

    /// Reads the engine's own rows.
    pub(crate) fn engine_rows(&self) -> Result<EngineRows, StoreError> {
        let transaction = self.database.begin_read().map_err(index_error)?;
        let table = transaction.open_table(ENGINE).map_err(index_error)?;
        let mut rows = EngineRows::default();
        for entry in table.range::<&[u8]>(..).map_err(index_error)? {
            let (key, value) = entry.map_err(index_error)?;
            let (key, value) = (key.value(), value.value());
            let understood = if key == POSITION_KEY {
                rows.position = Position::decode(value);
                rows.position.is_some()
            } else if let Some(key) = key.strip_prefix(DAMAGE_PREFIX) {
                Damage::decode(key, value)
                    .map(|damage| rows.damage.push(damage))
                    .is_some()
            } else {
                segment_row(key, value)
                    .map(|(at, row)| rows.counts.insert(at, row))
                    .is_some()
            };
            if !understood {
                return Err(StoreError::Index(format!("unknown engine row {key:02x?}")));
            }
        }
        Ok(rows)
    }
}

fn segment_row(key: &[u8], value: &[u8]) -> Option<(u32, SegmentCounts)> {
    let number = key.strip_prefix(SEGMENT_PREFIX)?.try_into().ok()?;
    Some((u32::from_be_bytes(number), SegmentCounts::decode(value)?))
}

fn segment_key(number: u32) -> [u8; 5] {
    let mut key = [Table::Segments as u8; 5];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Writes the position and changed counts into a batch's transaction; returns the new counts.
pub(crate) fn write_engine_rows(
    transaction: &WriteTransaction,
    position: &Position,
    tally: &Tally,
    counts: &SegmentCountsByNumber,
) -> Result<Vec<(u32, SegmentCounts)>, StoreError> {
    let mut table = transaction.open_table(ENGINE).map_err(index_error)?;
    if !leaves_position_out(tally) {
        table
            .insert(POSITION_KEY, position.encode().as_slice())
            .map_err(index_error)?;
    }
    let changed: Vec<_> = tally.applied_to(counts).collect();
    for (number, counts) in &changed {
        table
            .insert(segment_key(*number).as_slice(), counts.encode().as_slice())
            .map_err(index_error)?;
    }
    Ok(changed)
}

/// Never, but for a fault on purpose.
#[cfg(not(feature = "mutants"))]
const fn leaves_position_out(_: &Tally) -> bool {
    false
}

/// A batch's rows go without their place in the log, if that is the fault chosen.
#[cfg(feature = "mutants")]
fn leaves_position_out(tally: &Tally) -> bool {
    !tally.is_empty() && crate::mutant::is(crate::mutant::Fault::LsnOnlyAtCheckpoint)
}

/// Forgets the counts of segments that are gone.
pub(crate) fn remove_counts(
    transaction: &WriteTransaction,
    numbers: &[u32],
) -> Result<(), StoreError> {
    let mut table = transaction.open_table(ENGINE).map_err(index_error)?;
    for number in numbers {
        table
            .remove(segment_key(*number).as_slice())
            .map_err(index_error)?;
    }
    Ok(())
}

/// Records damage.
pub(crate) fn write_damage(
    transaction: &WriteTransaction,
    damage: &[Damage],
) -> Result<(), StoreError> {
    let mut table = transaction.open_table(ENGINE).map_err(index_error)?;
    for damage in damage {
        let (key, value) = damage.encode();
        let key = [DAMAGE_PREFIX, key.as_slice()].concat();
        table
            .insert(key.as_slice(), value.as_slice())
            .map_err(index_error)?;
    }
    Ok(())
}

/// Does what `record` says; `old` is handed the stored value that was there.
pub(crate) fn apply(
    rows: &mut RowsTable<'_>,
    record: &Record<'_>,
    old: impl FnOnce(Option<&[u8]>),
) -> Result<(), StoreError> {
    let was = match record.value {
        Some(value) => rows.insert(record.key, value),
        None => rows.remove(record.key),
    };
    let was = was.map_err(index_error)?;
    old(was.as_ref().map(redb::AccessGuard::value));
    Ok(())
}

/// Longest key that is built without an allocation.
const SHORT_KEY_BYTES: usize = 192;

/// Calls `work` with the key under which redb holds a row.
pub(crate) fn with_key<T>(table: Table, key: &[u8], work: impl FnOnce(&[u8]) -> T) -> T {
    if key.len() < SHORT_KEY_BYTES {
        let mut short = [0; SHORT_KEY_BYTES];
        short[0] = table as u8;
        short[1..=key.len()].copy_from_slice(key);
        work(&short[..=key.len()])
    } else {
        let mut long = Vec::with_capacity(key.len() + 1);
        long.push(table as u8);
        long.extend_from_slice(key);
        work(&long)
    }
}

/// The value of a row.
pub(crate) fn read(
    rows: &impl ReadableTable<Bytes, Bytes>,
    table: Table,
    key: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let stored = with_key(table, key, |key| rows.get(key)).map_err(index_error)?;
    stored
        .map(|stored| value_of(stored.value()).map(<[u8]>::to_vec))
        .transpose()
}

/// Visits rows in `[low, high)`.
pub(crate) fn scan(
    rows: &impl ReadableTable<Bytes, Bytes>,
    table: Table,
    low: &[u8],
    high: &[u8],
    visit: &mut Visit<'_>,
) -> Result<(), StoreError> {
    if low >= high {
        return Ok(());
    }
    for entry in range(rows, table, low, high)? {
        let (key, stored) = entry.map_err(index_error)?;
        let flow = visit(&key.value()[1..], value_of(stored.value())?);
        if flow == ControlFlow::Break(()) {
            break;
        }
    }
    Ok(())
}

/// The last row in `[low, high)`.
pub(crate) fn last(
    rows: &impl ReadableTable<Bytes, Bytes>,
    table: Table,
    low: &[u8],
    high: &[u8],
) -> Result<Option<Row>, StoreError> {
    if low >= high {
        return Ok(None);
    }
    let Some(entry) = range(rows, table, low, high)?.next_back() else {
        return Ok(None);
    };
    let (key, stored) = entry.map_err(index_error)?;
    let value = value_of(stored.value())?.to_vec();
    Ok(Some((key.value()[1..].to_vec(), value)))
}

fn range<'r>(
    rows: &'r impl ReadableTable<Bytes, Bytes>,
    table: Table,
    low: &[u8],
    high: &[u8],
) -> Result<redb::Range<'r, Bytes, Bytes>, StoreError> {
    with_key(table, low, |low| {
        with_key(table, high, |high| {
            let bounds = (Bound::Included(low), Bound::Excluded(high));
            rows.range::<&[u8]>(bounds).map_err(index_error)
        })
    })
}

fn value_of(stored: &[u8]) -> Result<&[u8], StoreError> {
    let split = split_value(stored).map(|(_, value)| value);
    split.ok_or_else(|| StoreError::Index("row without a segment number".into()))
}

/// redb's errors as ours.
pub(crate) fn index_error(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Index(error.into().to_string())
}

/// redb's file on a [`Disk`].
#[derive(Debug)]
struct Backend {
    file: Arc<dyn DiskFile>,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_length(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }
}
