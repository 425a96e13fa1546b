//! Units of record, page by page.

use std::ops::Bound;

use murder_model::UnitId;
use redb::ReadableDatabase as _;

use super::MasterError;
use super::reader::{CHANGES_PAGE_MAX, MasterReader};
use super::tables::UNITS;
use crate::record::UnitRecord;
use crate::request::decode;

impl MasterReader {
    /// At most `limit` units of record after one, in order of their ids.
    pub fn units_after(
        &self,
        after: Option<UnitId>,
        limit: usize,
    ) -> Result<Vec<UnitRecord>, MasterError> {
        let units = self.database.begin_read()?.open_table(UNITS)?;
        let from = after.as_ref().map(|unit| unit.as_bytes().as_slice());
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        units
            .range::<&[u8]>((from, Bound::Unbounded))?
            .take(limit.min(CHANGES_PAGE_MAX))
            .map(|row| Ok(decode(row?.1.value())?))
            .collect()
    }
}
