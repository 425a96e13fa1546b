//! What is alive in each segment, and how a batch changes that.

use std::collections::BTreeMap;

use super::batch::{Record, place_of, split_value};
use crate::rows::BlobPlace;

/// What one segment holds that still matters.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SegmentCounts {
    /// Rows whose present value lies there.
    pub rows: u64,
    /// Bytes of blobs there that a row of the blob table names.
    pub blob_bytes: u64,
    /// Removals there; they guard against older segments when the index is rebuilt.
    pub tombstones: u64,
}

impl SegmentCounts {
    /// Bytes of an encoded count.
    pub(crate) const ENCODED: usize = 24;

    pub(crate) fn encode(&self) -> [u8; Self::ENCODED] {
        let mut bytes = [0; Self::ENCODED];
        bytes[..8].copy_from_slice(&self.rows.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.blob_bytes.to_be_bytes());
        bytes[16..].copy_from_slice(&self.tombstones.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::ENCODED] = bytes.try_into().ok()?;
        Some(Self {
            rows: super::batch::u64_at(bytes, 0),
            blob_bytes: super::batch::u64_at(bytes, 8),
            tombstones: super::batch::u64_at(bytes, 16),
        })
    }

    /// No row and no blob is alive there.
    pub const fn is_dead(&self) -> bool {
        self.rows == 0 && self.blob_bytes == 0
    }

    fn plus(&self, change: &Change) -> Self {
        Self {
            rows: self.rows.saturating_add_signed(change.rows),
            blob_bytes: self.blob_bytes.saturating_add_signed(change.blob_bytes),
            tombstones: self.tombstones.saturating_add_signed(change.tombstones),
        }
    }
}

/// Counts of all segments by number.
pub type SegmentCountsByNumber = BTreeMap<u32, SegmentCounts>;

#[derive(Clone, Copy, Debug, Default)]
struct Change {
    rows: i64,
    blob_bytes: i64,
    tombstones: i64,
}

/// Changes to counts that are not yet committed.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    changes: BTreeMap<u32, Change>,
}

impl Tally {
    /// Counts what `record`, written to `segment`, does to a row that had the stored value `old`.
    pub(crate) fn apply(&mut self, record: &Record<'_>, segment: u32, old: Option<&[u8]>) {
        self.count(record, segment, old, 1);
    }

    /// Takes [`Tally::apply`] with the same arguments back.
    pub(crate) fn undo(&mut self, record: &Record<'_>, segment: u32, old: Option<&[u8]>) {
        self.count(record, segment, old, -1);
    }

    fn count(&mut self, record: &Record<'_>, segment: u32, old: Option<&[u8]>, sign: i64) {
        match record.value {
            Some(new) => self.count_value(record, new, sign),
            None => self.changes.entry(segment).or_default().tombstones += sign,
        }
        if let Some(old) = old {
            self.count_value(record, old, -sign);
        }
    }

    fn count_value(&mut self, record: &Record<'_>, stored: &[u8], sign: i64) {
        let Some((segment, value)) = split_value(stored) else {
            return;
        };
        self.changes.entry(segment).or_default().rows += sign;
        let place = record.table().and_then(|table| place_of(table, value));
        if let Some(BlobPlace {
            segment, length, ..
        }) = place
        {
            let bytes = i64::try_from(length).unwrap_or(i64::MAX);
            self.changes.entry(segment).or_default().blob_bytes += sign * bytes;
        }
    }

    /// The new counts of all segments that change.
    pub(crate) fn applied_to<'a>(
        &'a self,
        counts: &'a SegmentCountsByNumber,
    ) -> impl Iterator<Item = (u32, SegmentCounts)> + 'a {
        self.changes.iter().map(|(segment, change)| {
            let old = counts.get(segment).copied().unwrap_or_default();
            (*segment, old.plus(change))
        })
    }

    pub(crate) fn clear(&mut self) {
        self.changes.clear();
    }

    #[cfg(feature = "mutants")]
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
