//! Reading: consistent rows, and blobs by one positional read each.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::batch::{BlobFrame, FRAME_BYTES};
use super::damage::{Damage, damaged, refuse_damaged};
use super::disk::DiskFile;
use super::index::{self, Index, ReadOnlyRows};
use super::log::COPY_BYTES;
use super::segment::SegmentFiles;
use crate::rows::{BlobPlace, Row, Rows, StoreError, Table, Visit};

/// What readers and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) index: Index,
    pub(crate) files: Arc<SegmentFiles>,
    pub(crate) damage: Vec<Damage>,
}

/// Where readers get what is durable; cheap to clone, independent of the writer.
#[derive(Clone, Debug)]
pub struct Snapshots {
    shared: Arc<Shared>,
}

/// The rows at one moment. Pages it sees are not reused while it lives: drop it soon.
pub struct Snapshot {
    rows: ReadOnlyRows,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot")
    }
}

/// One blob, readable piece by piece even after its segment was dropped.
#[derive(Clone, Debug)]
pub struct Blob {
    file: Arc<dyn DiskFile>,
    place: BlobPlace,
}

impl Snapshots {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The rows as the last applied batch left them.
    pub fn read(&self) -> Result<Snapshot, StoreError> {
        let rows = self.shared.index.rows()?;
        Ok(Snapshot { rows })
    }

    /// The blob at `place`; an error if it lies in a damaged part of the log.
    pub fn blob(&self, place: BlobPlace) -> Result<Blob, StoreError> {
        refuse_damaged(&self.shared.damage, &place)?;
        match self.shared.files.get(place.segment) {
            Ok(file) => Ok(Blob { file, place }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(damaged(&place, "the segment's file does not exist"))
            }
            Err(source) => Err(read_error(&place, source)),
        }
    }

    /// Part of the blob at `place`. Its checksum is verified if the part is the whole.
    pub fn read_blob(&self, place: BlobPlace, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.blob(place)?.read(range)
    }

    /// Damage known since the partition was opened.
    pub fn damage(&self) -> &[Damage] {
        &self.shared.damage
    }
}

impl Blob {
    /// Bytes of content.
    pub const fn length(&self) -> u64 {
        self.place.length
    }

    /// The bytes in `range`, cut to what there is. The checksum is verified if that is all.
    pub fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let end = range.end.min(self.place.length);
        let start = range.start.min(end);
        if start == 0 && end == self.place.length {
            return self.read_whole();
        }
        let mut content = vec![0; to_index(end - start)];
        self.fill(&mut content, self.place.offset + start)?;
        Ok(Bytes::from(content))
    }

    fn read_whole(&self) -> Result<Bytes, StoreError> {
        let mut bytes = vec![0; FRAME_BYTES + to_index(self.place.length)];
        self.fill(&mut bytes, self.frame_offset()?)?;
        let frame = self.frame(&bytes)?;
        self.check(crc32c::crc32c(&bytes[FRAME_BYTES..]), &frame)?;
        Ok(Bytes::from(bytes).slice(FRAME_BYTES..))
    }

    /// Reads all of it in pieces and verifies its checksum.
    pub fn verify(&self) -> Result<(), StoreError> {
        let mut frame = [0; FRAME_BYTES];
        self.fill(&mut frame, self.frame_offset()?)?;
        let frame = self.frame(&frame)?;
        let mut chunk = vec![0; COPY_BYTES.min(to_index(self.place.length))];
        let mut checksum = 0;
        let mut done = 0;
        while done < self.place.length {
            let wanted = COPY_BYTES.min(to_index(self.place.length - done));
            self.fill(&mut chunk[..wanted], self.place.offset + done)?;
            checksum = crc32c::crc32c_append(checksum, &chunk[..wanted]);
            done += wanted as u64;
        }
        self.check(checksum, &frame)
    }

    fn frame_offset(&self) -> Result<u64, StoreError> {
        let offset = self.place.offset.checked_sub(FRAME_BYTES as u64);
        offset.ok_or_else(|| damaged(&self.place, "no blob can begin there"))
    }

    fn frame(&self, bytes: &[u8]) -> Result<BlobFrame, StoreError> {
        match BlobFrame::decode(bytes) {
            Some(frame) if frame.length == self.place.length => Ok(frame),
            _ => Err(damaged(&self.place, "no blob of that length begins there")),
        }
    }

    fn check(&self, checksum: u32, frame: &BlobFrame) -> Result<(), StoreError> {
        if checksum == frame.checksum {
            Ok(())
        } else {
            Err(damaged(&self.place, "the blob's checksum does not match"))
        }
    }

    fn fill(&self, into: &mut [u8], offset: u64) -> Result<(), StoreError> {
        match self.file.read_exact_at(into, offset) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(damaged(&self.place, "the segment's file ends before"))
            }
            Err(source) => Err(read_error(&self.place, source)),
        }
    }
}

impl Rows for Snapshot {
    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        index::read(&self.rows, table, key)
    }

    fn scan(
        &self,
        table: Table,
        low: &[u8],
        high: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        index::scan(&self.rows, table, low, high, visit)
    }

    fn last(&self, table: Table, low: &[u8], high: &[u8]) -> Result<Option<Row>, StoreError> {
        index::last(&self.rows, table, low, high)
    }
}

fn read_error(place: &BlobPlace, source: io::Error) -> StoreError {
    StoreError::Io {
        what: format!("read segment {:08x} at {}", place.segment, place.offset),
        source,
    }
}

fn to_index(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
