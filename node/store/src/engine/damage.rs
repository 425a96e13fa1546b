//! Damaged parts of the log.

use std::fmt;

use super::batch::{u32_at, u64_at};
use crate::rows::{BlobPlace, StoreError};

/// A part of the log that cannot be trusted.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Damage {
    /// Number of the segment.
    pub segment: u32,
    /// First damaged byte.
    pub start: u64,
    /// The byte after the last damaged one.
    pub end: u64,
    /// What is wrong and what was lost.
    pub reason: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            segment,
            start,
            end,
            reason,
        } = self;
        write!(f, "segment {segment:08x}, bytes {start} to {end}: {reason}")
    }
}

impl Damage {
    /// Key (segment, start) and value (end, reason) of its row.
    pub(crate) fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        let key = [&self.segment.to_be_bytes()[..], &self.start.to_be_bytes()].concat();
        let value = [&self.end.to_be_bytes()[..], self.reason.as_bytes()].concat();
        (key, value)
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        if key.len() != 12 {
            return None;
        }
        let (end, reason) = value.split_first_chunk::<8>()?;
        Some(Self {
            segment: u32_at(key, 0),
            start: u64_at(key, 4),
            end: u64::from_be_bytes(*end),
            reason: String::from_utf8(reason.to_vec()).ok()?,
        })
    }

    fn covers(&self, place: &BlobPlace) -> bool {
        self.segment == place.segment
            && self.start < place.offset + place.length
            && place.offset < self.end
    }
}

/// Refuses a blob that lies in a damaged part.
pub(crate) fn refuse_damaged(damage: &[Damage], place: &BlobPlace) -> Result<(), StoreError> {
    match damage.iter().find(|damage| damage.covers(place)) {
        Some(damage) => Err(damaged(place, &damage.reason)),
        None => Ok(()),
    }
}

/// The error of a blob that cannot be read as it was written.
pub(crate) fn damaged(place: &BlobPlace, reason: &str) -> StoreError {
    StoreError::Damaged {
        segment: place.segment,
        offset: place.offset,
        end: place.offset + place.length,
        reason: reason.to_owned(),
    }
}
