//! The end of the log after a crash: what was torn is cut, and the last batch, whose sync nothing
//! proves, is written once more to a fresh segment and synced (FORMAT.md, "Crash cases").

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::batch::{HEADER_BYTES, Identity, Relocation, relocate};
use super::damage::Damage;
use super::log::{COPY_BYTES, NextBatch};
use super::scan::{Located, SegmentReader};
use super::segment::{FIRST_BATCH, LOG_VERSION, SegmentFiles, SegmentHeader};

/// Where the scan begins: everything before is in the index, and thus was synced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ScanStart {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
    /// Number of the batch that ends there; 0 if none does.
    pub(crate) batch: u64,
    /// Batches up to this number are known to have been synced.
    pub(crate) synced: u64,
}

/// Bytes that were removed from the end of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cut {
    /// The segment that was cut.
    pub segment: u32,
    /// Its new length.
    pub offset: u64,
    /// Bytes removed.
    pub bytes: u64,
}

/// A log whose end can be appended to.
#[derive(Debug, Default)]
pub(crate) struct SettledTail {
    /// Segment and offset to go on at; `None`: a new segment must be created.
    pub(crate) active: Option<(u32, u64)>,
    pub(crate) cuts: Vec<Cut>,
    /// Number of the batch that was written again.
    pub(crate) rewritten: Option<u64>,
    pub(crate) damage: Vec<Damage>,
}

/// A segment behind the last batch.
#[derive(Debug)]
struct Trailing {
    segment: u32,
    header: Option<SegmentHeader>,
    length: u64,
}

/// The last sound batch behind the scan's start, and what was seen on the way to it.
#[derive(Debug)]
struct Found {
    last: Option<Located>,
    /// Whether it is the first batch of its segment.
    first: bool,
    /// Whether it can be read as it was written.
    sound: bool,
    /// Every batch with a lower number was synced.
    synced_before: u64,
    /// Descending.
    trailing: Vec<Trailing>,
    /// Torn batches that a cut must take away.
    torn: Vec<(u32, u64)>,
}

/// Looks at the log's end without changing anything.
fn find(
    files: &SegmentFiles,
    identity: Identity,
    segments: &BTreeSet<u32>,
    start: &ScanStart,
) -> io::Result<Found> {
    let mut found = Found {
        last: None,
        first: false,
        sound: true,
        synced_before: start.synced + 1,
        trailing: Vec::new(),
        torn: Vec::new(),
    };
    for segment in segments.range(start.segment..).rev() {
        let header = files.header(*segment)?;
        let mut reader = SegmentReader::new(files.get(*segment)?, identity, *segment)?;
        let first_batch = header.map_or(0, |header| header.first_batch);
        found.synced_before = found.synced_before.max(first_batch);
        let mut batches = reader.locate(first_offset(*segment, start))?;
        if let Some(last) = batches.last() {
            found.sound = reader.is_sound(last)?;
            if !found.sound && last.header.number >= found.synced_before {
                // Torn. That it was begun at all proves that the ones before it were synced.
                found.synced_before = last.header.number;
                found.torn.push((*segment, last.offset));
                found.sound = true;
                batches.pop();
            }
        }
        if let Some(last) = batches.last() {
            found.last = Some(*last);
            found.first = batches.len() == 1 && *segment != start.segment;
            break;
        }
        if *segment != start.segment || start.offset <= FIRST_BATCH {
            found.trailing.push(Trailing {
                segment: *segment,
                header,
                length: reader.length(),
            });
        }
    }
    Ok(found)
}

/// Where the log ends in a torn batch, if it does. Changes nothing.
pub(crate) fn torn_end(
    files: &SegmentFiles,
    identity: Identity,
    segments: &BTreeSet<u32>,
    start: &ScanStart,
) -> io::Result<Option<(u32, u64)>> {
    let found = find(files, identity, segments, start)?;
    Ok(found.torn.iter().copied().min())
}

/// Where the scan of a segment begins.
pub(crate) const fn first_offset(segment: u32, start: &ScanStart) -> u64 {
    if segment == start.segment && start.offset > FIRST_BATCH {
        start.offset
    } else {
        FIRST_BATCH
    }
}

/// Makes the end of the log such that nothing in it is in doubt.
pub(crate) fn settle(
    files: &Arc<SegmentFiles>,
    identity: Identity,
    segments: &mut BTreeSet<u32>,
    start: &ScanStart,
) -> io::Result<SettledTail> {
    unlink_unused(files, segments, start)?;
    let found = find(files, identity, segments, start)?;
    let mut tail = SettledTail::default();
    let doubtful = found
        .last
        .filter(|last| last.header.number >= found.synced_before);
    let mut cuts = Vec::new();
    if let Some(last) = doubtful {
        let fresh = segments.last().copied().unwrap_or(0) + 1;
        let end = write_again(files, identity, &last, fresh)?;
        segments.insert(fresh);
        tail.rewritten = Some(last.header.number);
        tail.active = Some((fresh, end));
        cuts.push((last.segment, last.offset));
        if found.first {
            cuts.extend(older_copy(files, identity, segments, start, &last)?);
        }
    }
    cuts.extend(found.torn.iter().copied());
    if doubtful.is_none() {
        end_of_proven(files, segments, start, &found, &mut tail, &mut cuts)?;
        if let (true, Some(last)) = (found.first, found.last) {
            cuts.extend(older_copy(files, identity, segments, start, &last)?);
        }
    }
    settle_trailing(segments, &found, &mut tail, &mut cuts);
    cut(files, cuts, &mut tail)?;
    Ok(tail)
}

/// The end of the last batch, if it was synced and nothing but a torn tail can follow.
fn end_of_proven(
    files: &SegmentFiles,
    segments: &BTreeSet<u32>,
    start: &ScanStart,
    found: &Found,
    tail: &mut SettledTail,
    cuts: &mut Vec<(u32, u64)>,
) -> io::Result<()> {
    let (segment, end, batch) = match &found.last {
        Some(last) => (last.segment, last.end(), last.header.number),
        None => (start.segment, start.offset, start.batch),
    };
    if !segments.contains(&segment) || end < FIRST_BATCH {
        return Ok(());
    }
    let length = files.get(segment)?.length()?;
    // Batches that are proven to have followed are damage: what is left of them stays.
    if batch + 1 >= found.synced_before && found.sound && length >= end {
        tail.active = Some((segment, end));
        cuts.push((segment, end));
    }
    Ok(())
}

/// Removes segments whose creation a crash cut short. Nothing was ever written to them: header
/// and name are synced before the first batch.
fn unlink_unused(
    files: &SegmentFiles,
    segments: &mut BTreeSet<u32>,
    start: &ScanStart,
) -> io::Result<()> {
    let mut unused = Vec::new();
    for segment in segments.range(start.segment..) {
        let in_index = *segment == start.segment && start.offset > FIRST_BATCH;
        let length = files.get(*segment)?.length()?;
        if !in_index && length <= FIRST_BATCH && files.header(*segment)?.is_none() {
            unused.push(*segment);
        }
    }
    for segment in &unused {
        files.unlink(*segment)?;
        segments.remove(segment);
    }
    if unused.is_empty() {
        return Ok(());
    }
    files.sync_directory()
}

/// Empty segments behind the last batch: the newest sound one is gone on with, unless the last
/// batch was written again behind it.
fn settle_trailing(
    segments: &BTreeSet<u32>,
    found: &Found,
    tail: &mut SettledTail,
    cuts: &mut Vec<(u32, u64)>,
) {
    for trailing in &found.trailing {
        let segment = trailing.segment;
        if trailing.header.is_some() {
            cuts.push((segment, FIRST_BATCH));
            let newest = tail.active.is_none_or(|(active, _)| active < segment);
            if newest && tail.rewritten.is_none() {
                tail.active = Some((segment, FIRST_BATCH));
            }
        } else {
            tail.damage.push(Damage {
                segment,
                start: 0,
                end: trailing.length,
                reason: "the header is damaged and no batch can be read".into(),
            });
        }
    }
    // A damaged segment is left as it is; what follows goes behind it.
    let newest = segments.last().copied();
    if tail.active.map(|(segment, _)| segment) != newest {
        tail.active = None;
    }
}

/// Where an earlier segment ends with a copy of `last`, which was written again after an earlier
/// crash.
fn older_copy(
    files: &SegmentFiles,
    identity: Identity,
    segments: &BTreeSet<u32>,
    start: &ScanStart,
    last: &Located,
) -> io::Result<Option<(u32, u64)>> {
    for segment in segments.range(start.segment..last.segment).rev() {
        let mut reader = SegmentReader::new(files.get(*segment)?, identity, *segment)?;
        let batches = reader.locate(first_offset(*segment, start))?;
        if let Some(older) = batches.last() {
            let copied = older.header.number >= last.header.number;
            return Ok(copied.then_some((*segment, older.offset)));
        }
    }
    Ok(None)
}

/// Copies a batch to a fresh segment. Returns its end there, once it is synced.
fn write_again(
    files: &Arc<SegmentFiles>,
    identity: Identity,
    last: &Located,
    fresh: u32,
) -> io::Result<u64> {
    let next = NextBatch {
        number: last.header.number,
        first_lsn: last.header.first_lsn,
    };
    let file = files.create(&SegmentHeader {
        version: LOG_VERSION,
        number: fresh,
        identity,
        first_batch: next.number,
        first_lsn: next.first_lsn,
    })?;
    let mut reader = SegmentReader::new(files.get(last.segment)?, identity, last.segment)?;
    let mut from = last.offset + HEADER_BYTES as u64;
    let mut to = FIRST_BATCH + HEADER_BYTES as u64;
    let blobs_end = from + last.header.blob_bytes();
    while from < blobs_end {
        let count = usize::try_from(blobs_end - from)
            .unwrap_or(COPY_BYTES)
            .min(COPY_BYTES);
        let bytes = reader
            .bytes(from, count)?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        file.write_all_at(bytes, to)?;
        from += count as u64;
        to += count as u64;
    }
    let mut records = reader.records(last)?.ok_or(io::ErrorKind::InvalidData)?;
    relocate(
        &mut records,
        &Relocation {
            from_segment: last.segment,
            from_offset: last.offset,
            bytes: last.header.size(),
            to_segment: fresh,
            to_offset: FIRST_BATCH,
        },
    );
    let mut header = last.header;
    header.segment = fresh;
    header.record_checksum = crc32c::crc32c(&records);
    file.write_all_at(&records, to)?;
    file.write_all_at(&header.encode(&identity), FIRST_BATCH)?;
    file.sync()?;
    Ok(FIRST_BATCH + header.size())
}

/// Cuts segments durably.
fn cut(files: &SegmentFiles, mut cuts: Vec<(u32, u64)>, tail: &mut SettledTail) -> io::Result<()> {
    cuts.sort_unstable();
    // Of several cuts of a segment the lowest holds.
    cuts.dedup_by_key(|(segment, _)| *segment);
    for (segment, offset) in cuts {
        let file = files.writable(segment)?;
        let length = file.length()?;
        if length > offset {
            file.set_length(offset)?;
            file.sync()?;
            let bytes = length - offset;
            tail.cuts.push(Cut {
                segment,
                offset,
                bytes,
            });
        }
    }
    Ok(())
}
