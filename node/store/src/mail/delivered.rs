//! Deliveries of the last days, so that a repeated one is recognised. Kept in the recipient's unit
//! and moved with it.

use std::ops::ControlFlow;

use murder_model::{Timestamp, UnitId};

use crate::mail::edit::Edit;
use crate::mail::error::MailError;
use crate::mail::keys;
use crate::mail::row::live;
use crate::rows::{Rows, RowsMut, Table};

/// The key of a delivery: hash of recipient, Message-ID and the hash of the message's bytes.
pub fn delivery_key(recipient: &str, message_id: &[u8], content: &[u8; 32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(recipient.len() as u32).to_be_bytes());
    hasher.update(recipient.as_bytes());
    hasher.update(&(message_id.len() as u32).to_be_bytes());
    hasher.update(message_id);
    hasher.update(content);
    *hasher.finalize().as_bytes()
}

/// Whether the unit has had this delivery.
pub fn was_delivered(rows: &dyn Rows, unit: &UnitId, key: &[u8; 32]) -> Result<bool, MailError> {
    Ok(rows
        .read(Table::Delivered, &keys::delivered(unit, key))?
        .is_some())
}

pub(super) fn put(edit: &mut Edit<'_>, key: &[u8; 32], now: Timestamp) -> Result<(), MailError> {
    let row_key = keys::delivered(&edit.id, key);
    edit.put(Table::Delivered, &row_key, &now, &[])
}

/// Whether the unit has a delivery from before `before`.
pub fn has_old_deliveries(
    rows: &dyn Rows,
    unit: &UnitId,
    before: Timestamp,
) -> Result<bool, MailError> {
    Ok(!old_deliveries(rows, unit, before, 1)?.is_empty())
}

fn old_deliveries(
    rows: &dyn Rows,
    unit: &UnitId,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<Vec<u8>>, MailError> {
    let low = keys::unit(unit);
    let high = keys::after_prefix(&low);
    let mut old = Vec::new();
    rows.scan(Table::Delivered, &low, &high, &mut |key, value| {
        if let Ok(Some(time)) = live::<Timestamp>(Table::Delivered, key, value)
            && time < before
        {
            old.push(key.to_vec());
        }
        if old.len() == limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(old)
}

/// Forgets at most `limit` deliveries from before `before`; true if there may be more.
pub fn prune_delivered(
    rows: &mut dyn RowsMut,
    unit: &UnitId,
    before: Timestamp,
    limit: usize,
) -> Result<bool, MailError> {
    let old = old_deliveries(rows, unit, before, limit)?;
    if old.is_empty() {
        return Ok(false);
    }
    let more = old.len() == limit;
    let mut edit = Edit::begin(rows, unit)?;
    for key in old {
        edit.forget(Table::Delivered, &key)?;
    }
    edit.finish_unchanged()?;
    Ok(more)
}
