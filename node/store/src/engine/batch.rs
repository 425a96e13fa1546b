//! The bytes of a batch: header, blob frames, row records (FORMAT.md, "Batch").
//!
//! Integers are big endian. The header's checksum also covers the partition's identity, which no
//! sender of mail knows, so that no message can pass for a batch.

use crate::rows::{BlobPlace, StoreError, Table};

/// Names a partition in each of its files; random.
pub type Identity = [u8; 16];

/// Bytes of a batch's header.
pub(crate) const HEADER_BYTES: usize = 64;
/// Bytes before a blob's content.
pub(crate) const FRAME_BYTES: usize = 16;
/// Begins each batch.
pub(crate) const MAGIC: [u8; 8] = *b"\x89MBATCH\n";
/// Longest key of a row.
pub const KEY_BYTES_MAX: usize = 4096;
/// Longest value of a row.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// Most bytes of row records in a batch.
pub const RECORD_BYTES_MAX: usize = 512 << 20;

/// Set in every batch: its writer had synced all batches before it.
const FLAG_EARLIER_SYNCED: u32 = 1;
const OP_PUT: u8 = 1;
const OP_DELETE: u8 = 2;
/// Operation, key length, value length.
const RECORD_HEADER_BYTES: usize = 7;
/// The segment number before each stored value.
pub(crate) const SEGMENT_PREFIX: usize = 4;

/// What a batch's header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BatchHeader {
    pub(crate) number: u64,
    pub(crate) first_lsn: u64,
    /// Bytes after the header: frames, then records.
    pub(crate) payload_bytes: u64,
    pub(crate) segment: u32,
    pub(crate) records: u32,
    pub(crate) record_bytes: u32,
    pub(crate) record_checksum: u32,
    pub(crate) blobs: u32,
}

impl BatchHeader {
    pub(crate) fn encode(&self, identity: &Identity) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.number.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.first_lsn.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.payload_bytes.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.segment.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.records.to_be_bytes());
        bytes[40..44].copy_from_slice(&self.record_bytes.to_be_bytes());
        bytes[44..48].copy_from_slice(&self.record_checksum.to_be_bytes());
        bytes[48..52].copy_from_slice(&self.blobs.to_be_bytes());
        bytes[52..56].copy_from_slice(&FLAG_EARLIER_SYNCED.to_be_bytes());
        let checksum = header_checksum(identity, &bytes);
        bytes[60..].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// `None` unless `bytes` are a sound header of this partition and segment.
    pub(crate) fn decode(bytes: &[u8], identity: &Identity, segment: u32) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        if bytes[..8] != MAGIC || u32_at(bytes, 60) != header_checksum(identity, bytes) {
            return None;
        }
        let header = Self {
            number: u64_at(bytes, 8),
            first_lsn: u64_at(bytes, 16),
            payload_bytes: u64_at(bytes, 24),
            segment: u32_at(bytes, 32),
            records: u32_at(bytes, 36),
            record_bytes: u32_at(bytes, 40),
            record_checksum: u32_at(bytes, 44),
            blobs: u32_at(bytes, 48),
        };
        let sound = header.segment == segment
            && u64::from(header.record_bytes) <= header.payload_bytes
            && header.payload_bytes < u64::MAX / 2
            && u32_at(bytes, 52) == FLAG_EARLIER_SYNCED;
        sound.then_some(header)
    }

    /// Bytes of the whole batch.
    pub(crate) const fn size(&self) -> u64 {
        HEADER_BYTES as u64 + self.payload_bytes
    }

    /// The sequence number of its last record.
    pub(crate) fn last_lsn(&self) -> u64 {
        (self.first_lsn + u64::from(self.records)).saturating_sub(1)
    }

    /// Bytes of its blob frames.
    pub(crate) fn blob_bytes(&self) -> u64 {
        self.payload_bytes - u64::from(self.record_bytes)
    }
}

fn header_checksum(identity: &Identity, bytes: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(identity), &bytes[..60])
}

/// What stands before a blob's content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BlobFrame {
    pub(crate) length: u64,
    pub(crate) checksum: u32,
}

impl BlobFrame {
    pub(crate) fn encode(&self) -> [u8; FRAME_BYTES] {
        let mut bytes = [0; FRAME_BYTES];
        bytes[..8].copy_from_slice(&self.length.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.checksum.to_be_bytes());
        let own = crc32c::crc32c(&bytes[..12]);
        bytes[12..].copy_from_slice(&own.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; FRAME_BYTES] = bytes.first_chunk()?;
        let sound = u32_at(bytes, 12) == crc32c::crc32c(&bytes[..12]);
        sound.then(|| Self {
            length: u64_at(bytes, 0),
            checksum: u32_at(bytes, 8),
        })
    }
}

/// One row operation. The key begins with the table's number, the value with its segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Record<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
}

impl Record<'_> {
    /// The table that its key begins with.
    pub(crate) fn table(&self) -> Option<Table> {
        self.key
            .first()
            .and_then(|number| Table::from_number(*number))
    }
}

/// Appends a put to `records`.
pub(crate) fn push_put(
    records: &mut Vec<u8>,
    table: Table,
    key: &[u8],
    segment: u32,
    value: &[u8],
) -> Result<(), StoreError> {
    check("value", value.len(), VALUE_BYTES_MAX)?;
    let added = value.len() + SEGMENT_PREFIX;
    push_head(records, OP_PUT, table, key, added)?;
    records.extend_from_slice(&segment.to_be_bytes());
    records.extend_from_slice(value);
    Ok(())
}

/// Appends a delete to `records`.
pub(crate) fn push_delete(
    records: &mut Vec<u8>,
    table: Table,
    key: &[u8],
) -> Result<(), StoreError> {
    push_head(records, OP_DELETE, table, key, 0)
}

fn push_head(
    records: &mut Vec<u8>,
    operation: u8,
    table: Table,
    key: &[u8],
    value_bytes: usize,
) -> Result<(), StoreError> {
    check("key", key.len(), KEY_BYTES_MAX)?;
    let total = records.len() + RECORD_HEADER_BYTES + 1 + key.len() + value_bytes;
    check("batch", total, RECORD_BYTES_MAX)?;
    let key_bytes = u16::try_from(key.len() + 1).expect("a key is at most 4096 bytes");
    let value_bytes = u32::try_from(value_bytes).expect("a value is at most 16 MiB");
    records.push(operation);
    records.extend_from_slice(&key_bytes.to_be_bytes());
    records.extend_from_slice(&value_bytes.to_be_bytes());
    records.push(table as u8);
    records.extend_from_slice(key);
    Ok(())
}

fn check(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size <= limit {
        return Ok(());
    }
    let (size, limit) = (size as u64, limit as u64);
    Err(StoreError::TooLarge { what, size, limit })
}

/// The record at the start of `bytes` and how many bytes it takes.
pub(crate) fn first_record(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let operation = *bytes.first()?;
    let key_bytes = usize::from(u16::from_be_bytes(bytes.get(1..3)?.try_into().ok()?));
    let value_bytes = u32::from_be_bytes(bytes.get(3..7)?.try_into().ok()?);
    let value_bytes = usize::try_from(value_bytes).ok()?;
    let key_end = RECORD_HEADER_BYTES + key_bytes;
    let end = key_end + value_bytes;
    let key = bytes.get(RECORD_HEADER_BYTES..key_end)?;
    let value = bytes.get(key_end..end)?;
    let value = match operation {
        OP_PUT if value_bytes >= SEGMENT_PREFIX => Some(value),
        OP_DELETE if value_bytes == 0 => None,
        _ => return None,
    };
    let record = Record { key, value };
    record.table()?;
    Some((record, end))
}

/// The records of a block; ends early, with `None` from [`Records::sound`], at a malformed one.
pub(crate) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    pub(crate) const fn new(block: &'a [u8]) -> Self {
        Self { rest: block }
    }

    /// Whether everything up to the block's end was a record.
    pub(crate) const fn sound(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (record, end) = first_record(self.rest)?;
        self.rest = &self.rest[end..];
        Some(record)
    }
}

/// The segment in front of a stored value, and the value itself.
pub(crate) fn split_value(stored: &[u8]) -> Option<(u32, &[u8])> {
    let (segment, value) = stored.split_first_chunk::<SEGMENT_PREFIX>()?;
    Some((u32::from_be_bytes(*segment), value))
}

/// The place that a stored value of [`Table::Blobs`] begins with.
pub(crate) fn place_of(table: Table, value: &[u8]) -> Option<BlobPlace> {
    match table {
        Table::Blobs => BlobPlace::decode(value.get(..BlobPlace::ENCODED)?),
        _ => None,
    }
}

/// Where a batch lay and where its copy will lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relocation {
    pub(crate) from_segment: u32,
    pub(crate) from_offset: u64,
    pub(crate) bytes: u64,
    pub(crate) to_segment: u32,
    pub(crate) to_offset: u64,
}

/// Rewrites segment numbers and blob places in a block of records for a copy of its batch.
pub(crate) fn relocate(records: &mut [u8], relocation: &Relocation) {
    let mut start = 0;
    while let Some((record, size)) = first_record(&records[start..]) {
        let table = record.table();
        let value_start = start + RECORD_HEADER_BYTES + record.key.len();
        let is_put = record.value.is_some();
        start += size;
        if !is_put {
            continue;
        }
        let value = &mut records[value_start..start];
        value[..SEGMENT_PREFIX].copy_from_slice(&relocation.to_segment.to_be_bytes());
        let place = table.and_then(|table| place_of(table, &value[SEGMENT_PREFIX..]));
        if let Some(moved) = place.and_then(|place| relocation.moved(place)) {
            let place = &mut value[SEGMENT_PREFIX..SEGMENT_PREFIX + BlobPlace::ENCODED];
            place.copy_from_slice(&moved.encode());
        }
    }
}

impl Relocation {
    fn moved(&self, place: BlobPlace) -> Option<BlobPlace> {
        let end = self.from_offset + self.bytes;
        let inside =
            place.segment == self.from_segment && (self.from_offset..end).contains(&place.offset);
        inside.then(|| BlobPlace {
            segment: self.to_segment,
            offset: place.offset - self.from_offset + self.to_offset,
            length: place.length,
        })
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_these_64_bytes() {
        let header = BatchHeader {
            number: 7,
            first_lsn: 0x0102,
            payload_bytes: 0x30,
            segment: 2,
            records: 3,
            record_bytes: 0x20,
            record_checksum: 0xaabb_ccdd,
            blobs: 1,
        };
        let bytes = header.encode(&[9; 16]);
        let mut expected = b"\x89MBATCH\n\
            \0\0\0\0\0\0\0\x07\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x30\
            \0\0\0\x02\0\0\0\x03\0\0\0\x20\xaa\xbb\xcc\xdd\0\0\0\x01\0\0\0\x01\0\0\0\0"
            .to_vec();
        let checksum = crc32c::crc32c(&[&[9; 16], expected.as_slice()].concat());
        expected.extend_from_slice(&checksum.to_be_bytes());
        assert_eq!(bytes.as_slice(), expected);
        assert_eq!(BatchHeader::decode(&bytes, &[9; 16], 2), Some(header));
        assert_eq!(
            BatchHeader::decode(&bytes, &[8; 16], 2),
            None,
            "other partition"
        );
        assert_eq!(
            BatchHeader::decode(&bytes, &[9; 16], 3),
            None,
            "other segment"
        );
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                BatchHeader::decode(&flipped, &[9; 16], 2),
                None,
                "bit {bit}"
            );
        }
    }

    #[test]
    fn records_are_these_bytes() {
        let mut records = Vec::new();
        push_put(&mut records, Table::Names, b"ab", 5, b"xyz").unwrap();
        push_delete(&mut records, Table::Units, b"q").unwrap();
        let expected = b"\x01\0\x03\0\0\0\x07\x03ab\0\0\0\x05xyz\x02\0\x02\0\0\0\0\x01q";
        assert_eq!(records, expected);
        let mut read = Records::new(&records);
        let put = read.next().unwrap();
        assert_eq!(
            (put.key, put.value),
            (&b"\x03ab"[..], Some(&b"\0\0\0\x05xyz"[..]))
        );
        let delete = read.next().unwrap();
        assert_eq!((delete.key, delete.value), (&b"\x01q"[..], None));
        assert!(read.next().is_none() && read.sound());
        for end in 1..records.len() {
            let mut cut = Records::new(&records[..end]);
            while cut.next().is_some() {}
            assert_eq!(cut.sound(), end == 17, "cut at {end}");
        }
    }

    #[test]
    fn keys_and_values_beyond_the_limit_are_refused() {
        let mut records = Vec::new();
        let long = vec![0; KEY_BYTES_MAX + 1];
        assert!(push_delete(&mut records, Table::Names, &long).is_err());
        push_delete(&mut records, Table::Names, &long[1..]).unwrap();
        let size = records.len();
        let long = vec![0; VALUE_BYTES_MAX + 1];
        assert!(push_put(&mut records, Table::Names, b"k", 1, &long).is_err());
        assert_eq!(records.len(), size, "a refused row leaves nothing behind");
    }

    #[test]
    fn relocation_moves_places_inside_the_batch_only() {
        let place = |segment, offset| BlobPlace {
            segment,
            offset,
            length: 10,
        };
        let relocation = Relocation {
            from_segment: 1,
            from_offset: 1000,
            bytes: 500,
            to_segment: 4,
            to_offset: 64,
        };
        let mut records = Vec::new();
        for (segment, offset) in [(1, 1080), (1, 80), (2, 1080)] {
            let value = place(segment, offset).encode();
            push_put(&mut records, Table::Blobs, b"k", 1, &value).unwrap();
        }
        relocate(&mut records, &relocation);
        let moved: Vec<_> = Records::new(&records)
            .map(|record| split_value(record.value.unwrap()).unwrap())
            .map(|(segment, value)| (segment, BlobPlace::decode(value).unwrap()))
            .collect();
        assert_eq!(
            moved,
            [(4, place(4, 144)), (4, place(1, 80)), (4, place(2, 1080))]
        );
    }
}
