//! Finds batches in a segment, and tells sound from damaged.
//!
//! A batch follows the one before it without a gap. Where no sound header stands, the scan looks
//! for the next one: its checksum covers the partition's secret identity and its segment's number,
//! so content of messages is never taken for a batch.

use std::io;
use std::sync::Arc;

use memchr::memmem;

use super::batch::{
    BatchHeader, BlobFrame, FRAME_BYTES, HEADER_BYTES, Identity, MAGIC, Records, place_of,
    split_value,
};
use super::damage::Damage;
use super::disk::DiskFile;

/// Bytes read ahead.
const WINDOW_BYTES: usize = 1 << 20;

/// A sound header and where it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Located {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
    pub(crate) header: BatchHeader,
}

impl Located {
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.header.size()
    }

    /// Where its records begin.
    fn records_offset(&self) -> u64 {
        self.end() - u64::from(self.header.record_bytes)
    }

    /// It cannot be read as it was written.
    pub(crate) fn damage(&self, start: u64, end: u64, reason: String) -> Damage {
        Damage {
            segment: self.segment,
            start,
            end,
            reason,
        }
    }
}

/// Reads one segment through a window.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    file: Arc<dyn DiskFile>,
    identity: Identity,
    segment: u32,
    length: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl SegmentReader {
    pub(crate) fn new(
        file: Arc<dyn DiskFile>,
        identity: Identity,
        segment: u32,
    ) -> io::Result<Self> {
        let length = file.length()?;
        Ok(Self {
            file,
            identity,
            segment,
            length,
            window: Vec::new(),
            window_start: 0,
        })
    }

    /// Bytes in the file.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// `count` bytes from `offset` on; `None` if the file ends before.
    pub(crate) fn bytes(&mut self, offset: u64, count: usize) -> io::Result<Option<&[u8]>> {
        let Some(end) = offset
            .checked_add(count as u64)
            .filter(|end| *end <= self.length)
        else {
            return Ok(None);
        };
        let window_end = self.window_start + self.window.len() as u64;
        if offset < self.window_start || end > window_end {
            let ahead = (self.length - offset).min(count.max(WINDOW_BYTES) as u64);
            self.window.resize(to_index(ahead), 0);
            self.window_start = offset;
            if let Err(error) = self.file.read_exact_at(&mut self.window, offset) {
                self.window.clear();
                return Err(error);
            }
        }
        let start = to_index(offset - self.window_start);
        Ok(Some(&self.window[start..start + count]))
    }

    /// The batches whose header is sound and which do not reach beyond the file's end, from
    /// `start` on. Their numbers ascend.
    pub(crate) fn locate(&mut self, start: u64) -> io::Result<Vec<Located>> {
        let mut found: Vec<Located> = Vec::new();
        let mut offset = start;
        while offset < self.length {
            let after = found.last().map_or(0, |located| located.header.number);
            let located = match self.header_at(offset, after)? {
                Some(located) => Some(located),
                None => self.search(offset, after)?,
            };
            let Some(located) = located else {
                break;
            };
            offset = located.end();
            found.push(located);
        }
        Ok(found)
    }

    /// A sound header at `offset` of a batch later than `after`.
    fn header_at(&mut self, offset: u64, after: u64) -> io::Result<Option<Located>> {
        let (identity, segment, length) = (self.identity, self.segment, self.length);
        let bytes = self.bytes(offset, HEADER_BYTES)?;
        let header = bytes.and_then(|bytes| BatchHeader::decode(bytes, &identity, segment));
        let located = header.map(|header| Located {
            segment,
            offset,
            header,
        });
        Ok(located.filter(|located| located.header.number > after && located.end() <= length))
    }

    /// The first sound header behind `offset`.
    fn search(&mut self, mut offset: u64, after: u64) -> io::Result<Option<Located>> {
        while offset + (HEADER_BYTES as u64) < self.length {
            offset += 1;
            let count = to_index(self.length - offset).min(WINDOW_BYTES);
            let Some(bytes) = self.bytes(offset, count)? else {
                break;
            };
            match memmem::find(bytes, &MAGIC) {
                Some(at) => offset += at as u64,
                None => {
                    offset += (count + 1).saturating_sub(MAGIC.len()).max(1) as u64 - 1;
                    continue;
                }
            }
            if let Some(located) = self.header_at(offset, after)? {
                return Ok(Some(located));
            }
        }
        Ok(None)
    }

    /// The records of a batch; `None` if they are damaged.
    pub(crate) fn records(&mut self, located: &Located) -> io::Result<Option<Vec<u8>>> {
        let header = &located.header;
        let count = usize::try_from(header.record_bytes).unwrap_or(usize::MAX);
        let Some(block) = self.bytes(located.records_offset(), count)? else {
            return Ok(None);
        };
        if crc32c::crc32c(block) != header.record_checksum {
            return Ok(None);
        }
        let mut records = Records::new(block);
        let count = records.by_ref().count();
        let sound = records.sound() && u32::try_from(count) == Ok(header.records);
        Ok(sound.then(|| block.to_vec()))
    }

    /// Damaged blobs of a batch. Its sound records help to find the next blob after a bad frame.
    pub(crate) fn blob_damage(
        &mut self,
        located: &Located,
        records: Option<&[u8]>,
    ) -> io::Result<Vec<Damage>> {
        let mut damage = Vec::new();
        let end = located.records_offset();
        let mut at = located.offset + HEADER_BYTES as u64;
        while at < end {
            let frame = self.bytes(at, FRAME_BYTES)?.and_then(BlobFrame::decode);
            let content = at + FRAME_BYTES as u64;
            let next = frame.and_then(|frame| content.checked_add(frame.length));
            match (frame, next.filter(|next| *next <= end)) {
                (Some(frame), Some(next)) => {
                    if self.checksum(content, frame.length)? != frame.checksum {
                        let reason = "the blob's checksum does not match";
                        damage.push(located.damage(at, next, reason.into()));
                    }
                    at = next;
                }
                _ => {
                    let next = next_frame(located, records, at).unwrap_or(end).min(end);
                    let reason = "no sound blob frame";
                    damage.push(located.damage(at, next, reason.into()));
                    at = next;
                }
            }
        }
        Ok(damage)
    }

    fn checksum(&mut self, mut offset: u64, length: u64) -> io::Result<u32> {
        let end = offset + length;
        let mut checksum = 0;
        while offset < end {
            let count = to_index(end - offset).min(WINDOW_BYTES);
            let Some(bytes) = self.bytes(offset, count)? else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            checksum = crc32c::crc32c_append(checksum, bytes);
            offset += count as u64;
        }
        Ok(checksum)
    }

    /// Whether all of a batch can be read as it was written.
    pub(crate) fn is_sound(&mut self, located: &Located) -> io::Result<bool> {
        let Some(records) = self.records(located)? else {
            return Ok(false);
        };
        Ok(self.blob_damage(located, Some(&records))?.is_empty())
    }
}

/// The next frame behind `at` that a record of the batch names.
fn next_frame(located: &Located, records: Option<&[u8]>, at: u64) -> Option<u64> {
    let places = Records::new(records?).filter_map(|record| {
        let (_, value) = split_value(record.value?)?;
        place_of(record.table()?, value)
    });
    let here = places.filter(|place| place.segment == located.segment);
    here.filter_map(|place| place.offset.checked_sub(FRAME_BYTES as u64))
        .filter(|frame| *frame > at)
        .min()
}

fn to_index(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
