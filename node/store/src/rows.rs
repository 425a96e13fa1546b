//! The seam between mail operations and the engine: tables of byte rows, and blobs.
//!
//! Mail operations are written against [`Rows`] and [`RowsMut`] only. The engine implements them
//! over redb and the log; [`MemoryRows`] implements them over maps, for tests and simulation.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::{Bound, ControlFlow, Range};

/// The tables of a partition. The number is part of the log's format and never changes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Table {
    /// Units: owner state, change number, digest.
    Units = 1,
    /// Root names to units.
    Roots = 2,
    /// Mailbox names to mailboxes.
    Names = 3,
    /// Mailboxes.
    Mailboxes = 4,
    /// Messages by (mailbox, uid).
    Messages = 5,
    /// What changed, by (unit, change number).
    Changes = 6,
    /// Seen state of users who do not own the mailbox.
    Seen = 7,
    /// Subscriptions.
    Subscriptions = 8,
    /// Annotations.
    Annotations = 9,
    /// Quota roots.
    Quotas = 10,
    /// Sieve scripts.
    Sieve = 11,
    /// Delivered ids, for duplicate suppression.
    Delivered = 12,
    /// Rows that the mupdate master has yet to acknowledge.
    Outbox = 13,
    /// Blobs. Each value begins with [`BlobPlace::encode`]: the engine counts live bytes by it,
    /// and rewrites it when a blob moves.
    Blobs = 14,
    /// Cached message structures.
    Structures = 15,
    /// Live rows, live blob bytes and tombstones per segment; the engine's own.
    Segments = 16,
    /// Facts about the partition.
    Meta = 17,
    /// Intents of work that crosses servers.
    Intents = 18,
    /// Who refers to a blob.
    BlobRefs = 19,
}

impl Table {
    /// Every table, in the order of their numbers.
    pub const ALL: [Self; 19] = [
        Self::Units,
        Self::Roots,
        Self::Names,
        Self::Mailboxes,
        Self::Messages,
        Self::Changes,
        Self::Seen,
        Self::Subscriptions,
        Self::Annotations,
        Self::Quotas,
        Self::Sieve,
        Self::Delivered,
        Self::Outbox,
        Self::Blobs,
        Self::Structures,
        Self::Segments,
        Self::Meta,
        Self::Intents,
        Self::BlobRefs,
    ];

    /// The table with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| *table as u8 == number)
    }

    /// Its name in dumps and error messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Units => "units",
            Self::Roots => "roots",
            Self::Names => "names",
            Self::Mailboxes => "mailboxes",
            Self::Messages => "messages",
            Self::Changes => "changes",
            Self::Seen => "seen",
            Self::Subscriptions => "subscriptions",
            Self::Annotations => "annotations",
            Self::Quotas => "quotas",
            Self::Sieve => "sieve",
            Self::Delivered => "delivered",
            Self::Outbox => "outbox",
            Self::Blobs => "blobs",
            Self::Structures => "structures",
            Self::Segments => "segments",
            Self::Meta => "meta",
            Self::Intents => "intents",
            Self::BlobRefs => "blob-references",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a blob's bytes lie in the log.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BlobPlace {
    /// Number of the segment file.
    pub segment: u32,
    /// First byte of the content in that file.
    pub offset: u64,
    /// Bytes of content.
    pub length: u64,
}

impl BlobPlace {
    /// Bytes of an encoded place.
    pub const ENCODED: usize = 20;

    /// Segment, offset, length: big endian.
    pub fn encode(&self) -> [u8; Self::ENCODED] {
        let mut bytes = [0; Self::ENCODED];
        bytes[..4].copy_from_slice(&self.segment.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.offset.to_be_bytes());
        bytes[12..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    /// The reverse of [`BlobPlace::encode`]; `None` if `bytes` has another length.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (segment, rest) = bytes.split_first_chunk::<4>()?;
        let (offset, rest) = rest.split_first_chunk::<8>()?;
        Some(Self {
            segment: u32::from_be_bytes(*segment),
            offset: u64::from_be_bytes(*offset),
            length: u64::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

/// Content of a new blob.
#[derive(Clone, Copy, Debug)]
pub enum BlobSource<'a> {
    /// All of it in memory.
    Bytes(&'a [u8]),
    /// Part of a spool file, which must not change until the batch is committed.
    File {
        /// The file.
        file: &'a File,
        /// Where the content begins.
        start: u64,
        /// Bytes to take.
        length: u64,
    },
}

impl BlobSource<'_> {
    /// Bytes of content.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    /// Whether there is no content.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why rows or blobs could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The index could not be read or written.
    #[error("index: {0}")]
    Index(String),
    /// A row does not have the form that its table prescribes.
    #[error("table {table}: row of key {key} is malformed: {reason}")]
    Malformed {
        /// The table.
        table: Table,
        /// The key, in hexadecimal.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The content lies in a damaged part of the log.
    #[error("segment {segment:08x}, bytes {offset} to {end}: damaged: {reason}")]
    Damaged {
        /// The segment.
        segment: u32,
        /// First byte asked for.
        offset: u64,
        /// The byte after the last one asked for.
        end: u64,
        /// What is wrong there.
        reason: String,
    },
    /// New data is refused: the volume is down to its reserve.
    #[error("volume is full: {need} bytes needed, {free} free above the reserve")]
    Full {
        /// Bytes that were needed.
        need: u64,
        /// Bytes free above the reserve.
        free: u64,
    },
    /// A row or a batch exceeds a limit of the format.
    #[error("{what} of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The partition has stopped after a failed write.
    #[error("partition has stopped: {0}")]
    Stopped(String),
}

/// Refuses a row of [`Table::Blobs`] that does not begin with a place: its blob would count as
/// dead.
pub(crate) fn require_place(table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    if table != Table::Blobs || value.len() >= BlobPlace::ENCODED {
        return Ok(());
    }
    Err(StoreError::Malformed {
        table,
        key: key.iter().map(|byte| format!("{byte:02x}")).collect(),
        reason: "it does not begin with the place of a blob".into(),
    })
}

/// What [`Rows::scan`] hands each row to.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Rows that can be read.
pub trait Rows {
    /// The value under `key`.
    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits rows with keys in `[low, high)` in ascending order until `visit` breaks off.
    fn scan(
        &self,
        table: Table,
        low: &[u8],
        high: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError>;

    /// The row with the greatest key in `[low, high)`.
    fn last(&self, table: Table, low: &[u8], high: &[u8]) -> Result<Option<Row>, StoreError>;
}

/// Rows that can be written. Writes are visible to the reads that follow.
pub trait RowsMut: Rows {
    /// Sets the value under `key`.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Removes `key`; it need not exist.
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError>;

    /// Adds a blob to the log. It lives while a row of [`Table::Blobs`], written in the same
    /// operation, names its place.
    fn put_blob(&mut self, content: BlobSource<'_>) -> Result<BlobPlace, StoreError>;

    /// Tells that the row which named `place` is gone. Memory is freed at once; the engine needs
    /// no telling, as it counts by the rows.
    fn release_blob(&mut self, _place: BlobPlace) -> Result<(), StoreError> {
        Ok(())
    }

    /// Refuses with [`StoreError::Full`] if `bytes` of new data would eat into the reserve.
    /// Blobs ask by themselves; an operation that adds rows only (a copy) asks first.
    fn require_space(&mut self, _bytes: u64) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Rows and blobs in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryRows {
    rows: BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>>,
    blobs: BTreeMap<u64, Vec<u8>>,
    next_offset: u64,
}

impl MemoryRows {
    /// No rows, no blobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Part of the blob at `place`; `None` if there is no such blob or range.
    pub fn read_blob(&self, place: BlobPlace, range: Range<u64>) -> Option<Vec<u8>> {
        let content = self.blobs.get(&place.offset)?;
        let start = usize::try_from(range.start).ok()?;
        let end = usize::try_from(range.end).ok()?;
        content.get(start..end).map(<[u8]>::to_vec)
    }

    /// Blobs that were added and not released.
    pub fn blob_count(&self) -> usize {
        self.blobs.len()
    }

    fn range<'a>(
        &'a self,
        table: Table,
        low: &[u8],
        high: &[u8],
    ) -> impl DoubleEndedIterator<Item = (&'a Vec<u8>, &'a Vec<u8>)> {
        let bounds = (
            Bound::Included(low.to_vec()),
            Bound::Excluded(high.to_vec()),
        );
        let rows = if low < high {
            self.rows.get(&table)
        } else {
            None
        };
        rows.into_iter()
            .flat_map(move |rows| rows.range(bounds.clone()))
    }
}

impl Rows for MemoryRows {
    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self
            .rows
            .get(&table)
            .and_then(|rows| rows.get(key))
            .cloned())
    }

    fn scan(
        &self,
        table: Table,
        low: &[u8],
        high: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        for (key, value) in self.range(table, low, high) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, table: Table, low: &[u8], high: &[u8]) -> Result<Option<Row>, StoreError> {
        let last = self.range(table, low, high).next_back();
        Ok(last.map(|(key, value)| (key.clone(), value.clone())))
    }
}

impl RowsMut for MemoryRows {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        require_place(table, key, value)?;
        self.rows
            .entry(table)
            .or_default()
            .insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        if let Some(rows) = self.rows.get_mut(&table) {
            rows.remove(key);
        }
        Ok(())
    }

    fn put_blob(&mut self, content: BlobSource<'_>) -> Result<BlobPlace, StoreError> {
        let content = content.to_vec()?;
        let place = BlobPlace {
            segment: 0,
            offset: self.next_offset,
            length: content.len() as u64,
        };
        // One byte apart even if empty, so that places stay distinct.
        self.next_offset += place.length + 1;
        self.blobs.insert(place.offset, content);
        Ok(place)
    }

    fn release_blob(&mut self, place: BlobPlace) -> Result<(), StoreError> {
        self.blobs.remove(&place.offset);
        Ok(())
    }
}

impl BlobSource<'_> {
    fn to_vec(self) -> Result<Vec<u8>, StoreError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.to_vec()),
            Self::File {
                file,
                start,
                length,
            } => {
                let mut content = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
                std::os::unix::fs::FileExt::read_exact_at(file, &mut content, start).map_err(
                    |source| StoreError::Io {
                        what: "read spool file".into(),
                        source,
                    },
                )?;
                Ok(content)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_keep_their_numbers() {
        for (index, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table as usize, index + 1);
            assert_eq!(Table::from_number(table as u8), Some(table));
        }
        assert_eq!(Table::from_number(0), None);
        assert_eq!(Table::from_number(20), None);
    }

    #[test]
    fn memory_rows_scan_in_order_and_break_off() {
        let mut rows = MemoryRows::new();
        for key in [b"c", b"a", b"b", b"d"] {
            rows.put(Table::Names, key, b"v").unwrap();
        }
        let mut seen = Vec::new();
        rows.scan(Table::Names, b"a", b"d", &mut |key, _| {
            seen.push(key.to_vec());
            if key == b"b" {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
        assert_eq!(seen, [b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(
            rows.last(Table::Names, b"a", b"d").unwrap().unwrap().0,
            b"c"
        );
        assert_eq!(rows.last(Table::Names, b"d", b"a").unwrap(), None);
    }

    #[test]
    fn memory_blobs_are_read_by_range_until_released() {
        let mut rows = MemoryRows::new();
        let place = rows.put_blob(BlobSource::Bytes(b"hello")).unwrap();
        assert_eq!(rows.read_blob(place, 1..3).unwrap(), b"el");
        assert_eq!(BlobPlace::decode(&place.encode()), Some(place));
        rows.release_blob(place).unwrap();
        assert_eq!(rows.read_blob(place, 1..3), None);
    }
}
