//! How much of the murder each server has, as the master knows it.

use std::collections::BTreeMap;
use std::ops::Bound;

use murder_model::{Fence, ServerId, UnitId};
use redb::{ReadableDatabase as _, ReadableTable as _};

use super::reader::MasterReader;
use super::tables::{NAMES, OWNED, UNITS, read};
use super::{CHANGES_PAGE_MAX, MasterError};
use crate::record::{NameRecord, UnitRecord};
use crate::request::decode;

impl MasterReader {
    /// Highest fence of an operator seen.
    pub fn fence(&self) -> Result<Fence, MasterError> {
        Ok(Self::meta(&self.database.begin_read()?)?.fence)
    }

    /// Native units by their owner of record, all as of one moment; a server that has none is
    /// absent. Takes time in proportion to the units: keys only, no row is decoded.
    pub fn owned_counts(&self) -> Result<BTreeMap<ServerId, u64>, MasterError> {
        let owned = self.database.begin_read()?.open_table(OWNED)?;
        let mut counts = BTreeMap::new();
        let mut run: Option<(ServerId, u64)> = None;
        for row in owned.iter()? {
            let key = row?.0;
            let Some(server) = key.value().first_chunk().copied() else {
                continue;
            };
            let server = ServerId::from_bytes(server);
            match &mut run {
                Some((same, count)) if *same == server => *count += 1,
                _ => counts.extend(run.replace((server, 1))),
            }
        }
        counts.extend(run);
        Ok(counts)
    }

    /// Begins to count names.
    pub fn count_names(&self) -> NameCount {
        NameCount {
            reader: self.clone(),
            after: None,
            owner: None,
            counts: BTreeMap::new(),
        }
    }
}

/// Names by the owner of their unit, being counted in bounded steps and so at many moments: what
/// changes meanwhile may be counted or not.
#[derive(Debug)]
pub struct NameCount {
    reader: MasterReader,
    after: Option<Vec<u8>>,
    /// Names of a unit mostly follow each other: its owner is looked up once for all.
    owner: Option<(UnitId, Option<ServerId>)>,
    counts: BTreeMap<ServerId, u64>,
}

impl NameCount {
    /// Counts at most `limit` more; true if there may be more.
    pub fn step(&mut self, limit: usize) -> Result<bool, MasterError> {
        let limit = limit.clamp(1, CHANGES_PAGE_MAX);
        let tx = self.reader.database.begin_read()?;
        let (names, units) = (tx.open_table(NAMES)?, tx.open_table(UNITS)?);
        let after = self.after.take();
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.owner = None;
        for (row, looked_at) in names.range::<&[u8]>((from, Bound::Unbounded))?.zip(1..) {
            let (key, value) = row?;
            let unit = decode::<NameRecord>(value.value())?.unit;
            let owner = match self.owner {
                Some((same, owner)) if same == unit => owner,
                _ => read::<UnitRecord>(&units, unit.as_bytes())?.map(|unit| unit.server_id),
            };
            self.owner = Some((unit, owner));
            if let Some(server) = owner {
                *self.counts.entry(server).or_default() += 1;
            }
            if looked_at == limit {
                self.after = Some(key.value().to_vec());
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What was counted so far; names of Cyrus servers stand under the id of zeros.
    pub fn counts(self) -> BTreeMap<ServerId, u64> {
        self.counts
    }
}
