//! Appends batches to the log: small content is gathered and written at once, large content goes
//! from the caller's slice straight to its place.
//!
//! Nothing counts until [`Log::commit`] has synced it. Bytes of a batch that was given up are
//! overwritten or cut by the next one, so that nothing stale ever follows a batch.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::batch::{BatchHeader, BlobFrame, FRAME_BYTES, HEADER_BYTES, Identity};
use super::disk::DiskFile;
use super::segment::{FIRST_BATCH, LOG_VERSION, SegmentFiles, SegmentHeader};
use crate::rows::{BlobPlace, BlobSource};

/// Content of at least this size is not gathered.
const DIRECT_BYTES: usize = 64 << 10;
/// Most bytes gathered before they are written.
const GATHER_BYTES_MAX: usize = 256 << 10;
/// Bytes read from a spool file, or copied within the log, at a time.
pub(crate) const COPY_BYTES: usize = 256 << 10;

/// The end of the log.
#[derive(Debug)]
pub(crate) struct Log {
    files: Arc<SegmentFiles>,
    identity: Identity,
    segment: u32,
    file: Arc<dyn DiskFile>,
    /// End of the last committed batch.
    end: u64,
    /// End of all bytes ever written to the segment.
    high: u64,
    /// Bytes of the current batch before this place are in the file.
    written: u64,
    /// Bytes of the current batch from there on.
    gathered: Vec<u8>,
    blobs: u32,
}

/// A place in the current batch to go back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    position: u64,
    blobs: u32,
}

/// Numbers of the batch to be written next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NextBatch {
    pub(crate) number: u64,
    pub(crate) first_lsn: u64,
}

impl Log {
    /// Goes on after `end` in a segment with nothing behind it.
    pub(crate) fn resume(
        files: Arc<SegmentFiles>,
        identity: Identity,
        segment: u32,
        end: u64,
    ) -> io::Result<Self> {
        let file = files.writable(segment)?;
        if end == FIRST_BATCH
            && let Some(header) = files.header(segment)?
        {
            // No batch proves that header and name were ever synced.
            file.write_all_at(&header.encode(), 0)?;
            file.sync()?;
            files.sync_directory()?;
        }
        Ok(Self::at(files, identity, segment, file, end))
    }

    /// Begins a new segment, durable when this returns.
    pub(crate) fn create(
        files: Arc<SegmentFiles>,
        identity: Identity,
        segment: u32,
        next: NextBatch,
    ) -> io::Result<Self> {
        let file = files.create(&SegmentHeader {
            version: LOG_VERSION,
            number: segment,
            identity,
            first_batch: next.number,
            first_lsn: next.first_lsn,
        })?;
        Ok(Self::at(files, identity, segment, file, FIRST_BATCH))
    }

    fn at(
        files: Arc<SegmentFiles>,
        identity: Identity,
        segment: u32,
        file: Arc<dyn DiskFile>,
        end: u64,
    ) -> Self {
        Self {
            files,
            identity,
            segment,
            file,
            end,
            high: end,
            written: end,
            gathered: Vec::with_capacity(DIRECT_BYTES),
            blobs: 0,
        }
    }

    /// The segment that the current batch goes to.
    pub(crate) const fn segment(&self) -> u32 {
        self.segment
    }

    /// End of the last committed batch.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// Bytes of the current batch so far, without its records.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.position() - self.end
    }

    /// Begins a batch, in a new segment if this one has reached `segment_bytes`.
    pub(crate) fn begin(&mut self, next: NextBatch, segment_bytes: u64) -> io::Result<()> {
        if self.end > FIRST_BATCH && self.end >= segment_bytes {
            // The old segment keeps nothing of a batch that was given up.
            if self.high > self.end {
                self.file.set_length(self.end)?;
            }
            let number = self.segment + 1;
            let files = Arc::clone(&self.files);
            *self = Self::create(files, self.identity, number, next)?;
        }
        self.blobs = 0;
        self.written = self.end;
        self.gathered.clear();
        self.gathered.resize(HEADER_BYTES, 0);
        Ok(())
    }

    fn position(&self) -> u64 {
        self.written + self.gathered.len() as u64
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            position: self.position(),
            blobs: self.blobs,
        }
    }

    /// Forgets what was added since `mark`.
    pub(crate) fn rewind(&mut self, mark: Mark) {
        self.blobs = mark.blobs;
        match mark.position.checked_sub(self.written) {
            Some(kept) => self
                .gathered
                .truncate(usize::try_from(kept).unwrap_or(usize::MAX)),
            None => {
                self.written = mark.position;
                self.gathered.clear();
            }
        }
    }

    /// Adds a blob to the current batch.
    pub(crate) fn put_blob(&mut self, content: BlobSource<'_>) -> io::Result<BlobPlace> {
        let start = self.mark();
        let place = BlobPlace {
            segment: self.segment,
            offset: start.position + FRAME_BYTES as u64,
            length: content.len(),
        };
        let added = match content {
            BlobSource::Bytes(bytes) => self.add_bytes(bytes),
            BlobSource::File {
                file,
                start,
                length,
            } => self.add_file(file, start, length),
        };
        if let Err(error) = added {
            self.rewind(start);
            return Err(error);
        }
        self.blobs += 1;
        Ok(place)
    }

    fn add_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let frame = BlobFrame {
            length: bytes.len() as u64,
            checksum: crc32c::crc32c(bytes),
        };
        self.gathered.extend_from_slice(&frame.encode());
        self.append(bytes)
    }

    fn add_file(&mut self, file: &File, start: u64, length: u64) -> io::Result<()> {
        self.flush()?;
        let frame_at = self.written;
        self.written += FRAME_BYTES as u64;
        let mut chunk = vec![0; COPY_BYTES.min(usize::try_from(length).unwrap_or(COPY_BYTES))];
        let mut checksum = 0;
        let mut done = 0;
        while done < length {
            let wanted = usize::try_from(length - done)
                .unwrap_or(COPY_BYTES)
                .min(COPY_BYTES);
            file.read_exact_at(&mut chunk[..wanted], start + done)?;
            checksum = crc32c::crc32c_append(checksum, &chunk[..wanted]);
            self.write(&chunk[..wanted], self.written)?;
            self.written += wanted as u64;
            done += wanted as u64;
        }
        let frame = BlobFrame { length, checksum };
        self.write(&frame.encode(), frame_at)
    }

    /// Appends to the current batch, by way of the gathered bytes if that saves a call.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let direct = bytes.len() >= DIRECT_BYTES;
        if direct || self.gathered.len() + bytes.len() > GATHER_BYTES_MAX {
            self.flush()?;
        }
        if direct {
            self.write(bytes, self.written)?;
            self.written += bytes.len() as u64;
        } else {
            self.gathered.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        let written = self.write(&gathered, self.written);
        self.written += gathered.len() as u64;
        self.gathered = gathered;
        self.gathered.clear();
        written
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.high = self.high.max(offset + bytes.len() as u64);
        self.file.write_all_at(bytes, offset)
    }

    /// What the header of the current batch will say once `records` are added.
    pub(crate) fn header(&self, next: NextBatch, count: u32, records: &[u8]) -> BatchHeader {
        let record_bytes = u32::try_from(records.len()).expect("a batch's records are bounded");
        BatchHeader {
            number: next.number,
            first_lsn: next.first_lsn,
            payload_bytes: self.pending_bytes() - HEADER_BYTES as u64 + u64::from(record_bytes),
            segment: self.segment,
            records: count,
            record_bytes,
            record_checksum: crc32c::crc32c(records),
            blobs: self.blobs,
        }
    }

    /// Appends records and header and syncs. After an error nobody knows what is on the disk: the
    /// log must not be written any more.
    pub(crate) fn commit(&mut self, header: &BatchHeader, records: &[u8]) -> io::Result<()> {
        let encoded = header.encode(&self.identity);
        let whole = self.written == self.end;
        if whole {
            self.gathered[..HEADER_BYTES].copy_from_slice(&encoded);
        }
        self.append(records)?;
        self.flush()?;
        if !whole {
            self.write(&encoded, self.end)?;
        }
        let end = self.end + header.size();
        if self.high > end {
            self.file.set_length(end)?;
            self.high = end;
        }
        #[cfg(feature = "mutants")]
        if crate::mutant::is(crate::mutant::Fault::SkipSync) {
            self.end = end;
            return Ok(());
        }
        // COMMIT POINT: once this sync returns, the batch happened, whatever comes next.
        self.file.sync()?;
        self.end = end;
        Ok(())
    }

    /// Cuts the current batch off, as far as the disk still obeys.
    pub(crate) fn give_up(&self) -> io::Result<()> {
        self.file.write_all_at(&[0; HEADER_BYTES], self.end)?;
        self.file.set_length(self.end)?;
        self.file.sync()
    }
}
