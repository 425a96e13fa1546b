//! The digest of a unit: the sum modulo 2^256 of BLAKE3 over (table, key, portable value) of each of
//! its rows and marks.

use std::ops::ControlFlow;

use murder_model::{UnitDigest, UnitId};

use crate::mail::error::MailError;
use crate::mail::keys;
use crate::mail::row::{Row, decode, malformed};
use crate::rows::{Rows, Table};

pub(super) fn row_hash(table: Table, key: &[u8], row: &Row<'_>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[table as u8]);
    hasher.update(&(key.len() as u32).to_be_bytes());
    hasher.update(key);
    match row {
        Row::Live { change, fields, .. } => {
            hasher.update(&[0]);
            hasher.update(&change.to_be_bytes());
            hasher.update(fields);
        }
        Row::Mark { change, time } => {
            hasher.update(&[1]);
            hasher.update(&change.to_be_bytes());
            hasher.update(&time.as_millis().to_be_bytes());
        }
    }
    *hasher.finalize().as_bytes()
}

/// Computes a unit's digest from its rows, to compare with the one that was kept.
pub fn recompute_digest(rows: &dyn Rows, unit: &UnitId) -> Result<UnitDigest, MailError> {
    let low = keys::unit(unit);
    let high = keys::after_prefix(&low);
    let mut named = Vec::new();
    rows.scan(Table::Changes, &low, &high, &mut |key, _| {
        named.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    let mut digest = UnitDigest::default();
    for index in named {
        let (_, table, key) = keys::split_change(&index)
            .ok_or_else(|| malformed(Table::Changes, &index, "not a change"))?;
        let value = rows
            .read(table, key)?
            .ok_or_else(|| malformed(table, key, "in the change index but absent"))?;
        digest.add(&row_hash(table, key, &decode(table, key, &value)?));
    }
    Ok(digest)
}
