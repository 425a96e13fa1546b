//! Applies the log to the index, in order, once.

use std::collections::BTreeSet;
use std::io;

use redb::Durability;

use super::batch::{Identity, Records};
use super::counts::{SegmentCountsByNumber, Tally};
use super::damage::Damage;
use super::index::{self, Index, Position, ROWS, index_error};
use super::scan::{Located, SegmentReader};
use super::segment::SegmentFiles;
use super::tail::{ScanStart, first_offset};
use crate::rows::StoreError;

/// Bytes of records that are applied in one durable transaction.
const GROUP_BYTES: usize = 32 << 20;

/// What a replay did and found.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) position: Position,
    /// A batch up to which the log is known to have been synced, beyond the position.
    pub(crate) synced: u64,
    pub(crate) counts: SegmentCountsByNumber,
    pub(crate) batches: u64,
    pub(crate) records: u64,
    pub(crate) damage: Vec<Damage>,
}

/// A sound batch that waits for its transaction.
#[derive(Debug)]
struct Ready {
    located: Located,
    records: Vec<u8>,
}

/// Reads sound batches in order, and names what is missing between them.
#[derive(Debug)]
struct Replay<'a> {
    index: &'a Index,
    durability: Durability,
    /// Where a torn end begins.
    until: Option<(u32, u64)>,
    result: Replayed,
    /// Number that the next batch must have; `None` before the first one known.
    expected: Option<u64>,
    /// Bytes in which no batch was found since the last one.
    gap: Option<(u32, u64, u64)>,
    group: Vec<Ready>,
    group_bytes: usize,
    written_damage: usize,
}

/// Replays all batches behind `start`, and before `until`, into `index`.
pub(crate) fn replay(
    index: &Index,
    durability: Durability,
    files: &SegmentFiles,
    segments: &BTreeSet<u32>,
    start: &ScanStart,
    from: Replayed,
    until: Option<(u32, u64)>,
) -> Result<Replayed, StoreError> {
    let identity = from.position.identity;
    let mut replay = Replay {
        index,
        durability,
        until,
        expected: (start.batch > 0).then_some(start.batch + 1),
        gap: None,
        group: Vec::new(),
        group_bytes: 0,
        written_damage: 0,
        result: from,
    };
    let mut previous = None;
    for segment in segments.range(start.segment..) {
        let adjacent = previous.is_none_or(|previous| previous + 1 == *segment);
        replay.segment(files, identity, *segment, start, adjacent)?;
        previous = Some(*segment);
    }
    replay.flush()?;
    Ok(replay.result)
}

fn read_error(segment: u32, source: io::Error) -> StoreError {
    StoreError::Io {
        what: format!("read segment {segment:08x}"),
        source,
    }
}

impl Replay<'_> {
    fn segment(
        &mut self,
        files: &SegmentFiles,
        identity: Identity,
        segment: u32,
        start: &ScanStart,
        adjacent: bool,
    ) -> Result<(), StoreError> {
        let fail = |source| read_error(segment, source);
        let from = first_offset(segment, start);
        match files.header(segment).map_err(fail)? {
            Some(header) if segment != start.segment => {
                self.arrive(header.first_batch, segment, from, adjacent);
                let next_lsn = &mut self.result.position.next_lsn;
                *next_lsn = header.first_lsn.max(*next_lsn);
            }
            _ => {}
        }
        let file = files.get(segment).map_err(fail)?;
        let mut reader = SegmentReader::new(file, identity, segment).map_err(fail)?;
        let mut end = from;
        let batches = reader.locate(from).map_err(fail)?;
        for located in batches {
            if self
                .until
                .is_some_and(|until| (segment, located.offset) >= until)
            {
                return Ok(());
            }
            if located.offset > end {
                self.gap = Some((segment, end, located.offset));
            }
            end = located.end();
            let first_seen = self
                .expected
                .is_none_or(|number| located.header.number >= number);
            if !first_seen {
                continue;
            }
            self.arrive(located.header.number, segment, located.offset, true);
            self.expected = Some(located.header.number + 1);
            self.batch(&mut reader, located)?;
        }
        if reader.length() > end {
            self.gap = Some((segment, end, reader.length()));
        }
        Ok(())
    }

    /// The next batch has this number; if others should have come before it, they are lost.
    /// Between segments that are not neighbours numbers may be missing: what lay there was dead.
    fn arrive(&mut self, number: u64, segment: u32, offset: u64, adjacent: bool) {
        let gap = self.gap.take();
        let expected = self.expected.unwrap_or(number);
        if number <= expected {
            return;
        }
        self.expected = Some(number);
        let Some((segment, start, end)) =
            gap.or_else(|| adjacent.then_some((segment, offset, offset)))
        else {
            return;
        };
        self.result.damage.push(Damage {
            segment,
            start,
            end,
            reason: format!("batches {expected} to {} are lost", number - 1),
        });
    }

    fn batch(&mut self, reader: &mut SegmentReader, located: Located) -> Result<(), StoreError> {
        let fail = |source| read_error(located.segment, source);
        let records = reader.records(&located).map_err(fail)?;
        let blobs = reader
            .blob_damage(&located, records.as_deref())
            .map_err(fail)?;
        self.result.damage.extend(blobs);
        let records = records.unwrap_or_else(|| {
            let start = located.end() - u64::from(located.header.record_bytes);
            let reason = format!("the records of batch {} are lost", located.header.number);
            let damage = located.damage(start, located.end(), reason);
            self.result.damage.push(damage);
            Vec::new()
        });
        self.group_bytes += records.len();
        self.group.push(Ready { located, records });
        if self.group_bytes >= GROUP_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Applies what waits, with the position behind it, in one transaction.
    fn flush(&mut self) -> Result<(), StoreError> {
        let Some(last) = self.group.last().map(|ready| ready.located) else {
            return Ok(());
        };
        let transaction = self.index.begin(self.durability)?;
        let mut tally = Tally::default();
        let mut rows = transaction.open_table(ROWS).map_err(index_error)?;
        for ready in self.group.drain(..) {
            for record in Records::new(&ready.records) {
                let segment = ready.located.segment;
                index::apply(&mut rows, &record, |old| tally.apply(&record, segment, old))?;
                self.result.records += 1;
            }
            self.result.batches += 1;
        }
        drop(rows);
        let result = &mut self.result;
        result.position = Position {
            identity: result.position.identity,
            batch: last.header.number,
            next_lsn: last.header.last_lsn() + 1,
            segment: last.segment,
            end: last.end(),
        };
        let counts = &result.counts;
        let changed = index::write_engine_rows(&transaction, &result.position, &tally, counts)?;
        index::write_damage(&transaction, &result.damage[self.written_damage..])?;
        transaction.commit().map_err(index_error)?;
        self.written_damage = result.damage.len();
        result.counts.extend(changed);
        self.group_bytes = 0;
        Ok(())
    }
}
