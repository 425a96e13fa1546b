//! Subscriptions: names of any mailbox, kept in the subscriber's own unit.

use std::ops::ControlFlow;

use murder_model::{MailboxName, Timestamp, UnitId};

use crate::mail::edit::{Edit, Effects};
use crate::mail::error::MailError;
use crate::mail::keys;
use crate::mail::row::{live, malformed};
use crate::rows::{Rows, RowsMut, StoreError, Table};

/// Names that a user has subscribed to, in their order.
pub fn subscriptions(rows: &dyn Rows, unit: &UnitId) -> Result<Vec<MailboxName>, MailError> {
    let low = keys::unit(unit);
    let high = keys::after_prefix(&low);
    let mut names = Vec::new();
    let mut failed: Option<StoreError> = None;
    rows.scan(Table::Subscriptions, &low, &high, &mut |key, value| {
        let name = std::str::from_utf8(&key[16..]).ok();
        let name = name.and_then(|name| MailboxName::parse_internal(name).ok());
        match (live::<()>(Table::Subscriptions, key, value), name) {
            (Ok(Some(())), Some(name)) => names.push(name),
            (Ok(None), _) => {}
            (Ok(Some(())), None) => {
                failed = Some(malformed(Table::Subscriptions, key, "not a mailbox name"));
            }
            (Err(error), _) => failed = Some(error),
        }
        if failed.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    failed.map_or(Ok(names), |error| Err(error.into()))
}

/// Whether the user has subscribed to `name`.
pub fn is_subscribed(
    rows: &dyn Rows,
    unit: &UnitId,
    name: &MailboxName,
) -> Result<bool, MailError> {
    let key = keys::subscription(unit, name);
    match rows.read(Table::Subscriptions, &key)? {
        Some(value) => Ok(live::<()>(Table::Subscriptions, &key, &value)?.is_some()),
        None => Ok(false),
    }
}

/// Subscribes; a second time changes nothing.
pub fn subscribe(
    rows: &mut dyn RowsMut,
    unit: &UnitId,
    name: &MailboxName,
) -> Result<Effects, MailError> {
    let mut edit = Edit::begin(rows, unit)?;
    if is_subscribed(edit.rows, unit, name)? {
        return Ok(Effects::default());
    }
    put(&mut edit, name)?;
    edit.finish()
}

/// Ends a subscription; false if there was none.
pub fn unsubscribe(
    rows: &mut dyn RowsMut,
    unit: &UnitId,
    name: &MailboxName,
    now: Timestamp,
) -> Result<(bool, Effects), MailError> {
    let mut edit = Edit::begin(rows, unit)?;
    if !is_subscribed(edit.rows, unit, name)? {
        return Ok((false, Effects::default()));
    }
    edit.remove(Table::Subscriptions, &keys::subscription(unit, name), now)?;
    Ok((true, edit.finish()?))
}

pub(super) fn put(edit: &mut Edit<'_>, name: &MailboxName) -> Result<(), MailError> {
    let key = keys::subscription(&edit.id, name);
    edit.put(Table::Subscriptions, &key, &(), &[])
}
