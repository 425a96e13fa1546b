//! COPY and MOVE to another server, exact through crashes.
//!
//! The source writes an *intent* under an id, durably, then asks the destination. The destination
//! appends all messages in one commit and remembers the *result* under the same id, so that it answers
//! a repetition with the same UIDs. The source then removes what was moved and clears the intent in
//! one commit; after a restart it repeats what intents it finds. Both kinds of rows are the unit's and
//! move with it. Held deliveries and APPENDs are passed on under an id in the same way.

use std::ops::ControlFlow;

use murder_model::{DeliveryId, MailboxId, MailboxName, Timestamp, UidSet, UnitId, UserName};
use serde::{Deserialize, Serialize};

use crate::mail::copy::CopiedUids;
use crate::mail::edit::{Edit, Effects};
use crate::mail::error::MailError;
use crate::mail::flags::Viewer;
use crate::mail::keys::{self, IntentKind};
use crate::mail::mailbox::{mailbox, put_mailbox};
use crate::mail::message::{NewMessage, append_one, remove_messages};
use crate::mail::row::live;
use crate::rows::{Rows, RowsMut, StoreError, Table};

/// A COPY or MOVE to another server that is under way.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Intent {
    /// For whom.
    pub user: UserName,
    /// From which mailbox.
    pub source: MailboxId,
    /// Which messages.
    pub uids: UidSet,
    /// To which mailbox.
    pub destination: MailboxName,
    /// Whether the messages leave the source.
    pub moving: bool,
    /// Since when.
    pub since: Timestamp,
}

/// What was appended under an id.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct AppendedRow {
    uids: CopiedUids,
    time: Timestamp,
}

/// Writes an intent down, before the destination hears of it.
pub fn put_intent(
    rows: &mut dyn RowsMut,
    id: &DeliveryId,
    intent: &Intent,
) -> Result<Effects, MailError> {
    let row = mailbox(rows, &intent.source)?.ok_or(MailError::NoSuchMailbox)?;
    let mut edit = Edit::begin(rows, &row.unit)?;
    let key = keys::intent(&row.unit, IntentKind::Intent, id);
    edit.put(Table::Intents, &key, intent, &[])?;
    edit.finish()
}

/// The unit's intents, by id.
pub fn intents(rows: &dyn Rows, unit: &UnitId) -> Result<Vec<(DeliveryId, Intent)>, MailError> {
    let low = keys::intents(unit, IntentKind::Intent);
    let high = keys::after_prefix(&low);
    let mut found = Vec::new();
    let mut failed: Option<StoreError> = None;
    rows.scan(Table::Intents, &low, &high, &mut |key, value| {
        match (keys::intent_id(key), live(Table::Intents, key, value)) {
            (Some(id), Ok(Some(intent))) => found.push((id, intent)),
            (_, Ok(_)) => {}
            (_, Err(error)) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    failed.map_or(Ok(found), |error| Err(error.into()))
}

/// The destination has answered: clears the intent and, for a MOVE, removes the messages `taken` that
/// it has, in one change. A second time changes nothing.
pub fn complete_intent(
    rows: &mut dyn RowsMut,
    unit: &UnitId,
    id: &DeliveryId,
    taken: &UidSet,
    now: Timestamp,
) -> Result<(UidSet, Effects), MailError> {
    let mut edit = Edit::begin(rows, unit)?;
    let key = keys::intent(unit, IntentKind::Intent, id);
    let intent = match edit.rows.read(Table::Intents, &key)? {
        Some(value) => live::<Intent>(Table::Intents, &key, &value)?,
        None => None,
    };
    let Some(intent) = intent else {
        return Ok((UidSet::new(), Effects::default()));
    };
    edit.remove(Table::Intents, &key, now)?;
    let gone = match mailbox(edit.rows, &intent.source)? {
        Some(row) if intent.moving => remove_messages(&mut edit, row, taken, &|_| true, now)?,
        _ => UidSet::new(),
    };
    Ok((gone, edit.finish()?))
}

/// Appends messages under an id, in one commit; `source` has their UIDs at the source. A repetition
/// gets the UIDs of the first time.
pub fn append_once(
    rows: &mut dyn RowsMut,
    to: &MailboxId,
    id: &DeliveryId,
    viewer: Viewer<'_>,
    messages: &[NewMessage<'_>],
    source: &[u32],
    now: Timestamp,
) -> Result<(CopiedUids, Effects), MailError> {
    let mut row = mailbox(rows, to)?.ok_or(MailError::NoSuchMailbox)?;
    if let Some(uids) = appended_under(rows, &row.unit, id)? {
        return Ok((uids, Effects::default()));
    }
    let mut edit = Edit::begin(rows, &row.unit)?;
    let mut uids = CopiedUids::new(row.uid_validity);
    for (message, source) in messages.iter().zip(source) {
        let appended = append_one(&mut edit, &mut row, viewer, message, now)?;
        uids.push(*source, appended.uid.get());
    }
    put_mailbox(&mut edit, &row)?;
    let key = keys::intent(&row.unit, IntentKind::Result, id);
    let remembered = AppendedRow { uids, time: now };
    edit.put(Table::Intents, &key, &remembered, &[])?;
    Ok((remembered.uids, edit.finish()?))
}

/// What was appended under this id, if it is remembered.
pub fn appended_under(
    rows: &dyn Rows,
    unit: &UnitId,
    id: &DeliveryId,
) -> Result<Option<CopiedUids>, MailError> {
    let key = keys::intent(unit, IntentKind::Result, id);
    match rows.read(Table::Intents, &key)? {
        Some(value) => {
            let row = live::<AppendedRow>(Table::Intents, &key, &value)?;
            Ok(row.map(|row| row.uids))
        }
        None => Ok(None),
    }
}

/// Whether the unit has a result from before `before`.
pub fn has_old_results(
    rows: &dyn Rows,
    unit: &UnitId,
    before: Timestamp,
) -> Result<bool, MailError> {
    Ok(!old_results(rows, unit, before, 1)?.is_empty())
}

fn old_results(
    rows: &dyn Rows,
    unit: &UnitId,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<Vec<u8>>, MailError> {
    let low = keys::intents(unit, IntentKind::Result);
    let high = keys::after_prefix(&low);
    let mut old = Vec::new();
    rows.scan(Table::Intents, &low, &high, &mut |key, value| {
        let row = live::<AppendedRow>(Table::Intents, key, value);
        if row.is_ok_and(|row| row.is_some_and(|row| row.time < before)) {
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

/// Forgets at most `limit` results from before `before`; true if there may be more. Not to be called
/// for a unit that is being transferred: both sides must hold the same rows.
pub fn prune_results(
    rows: &mut dyn RowsMut,
    unit: &UnitId,
    before: Timestamp,
    limit: usize,
) -> Result<bool, MailError> {
    let old = old_results(rows, unit, before, limit)?;
    if old.is_empty() {
        return Ok(false);
    }
    let more = old.len() == limit;
    let mut edit = Edit::begin(rows, unit)?;
    for key in old {
        edit.forget(Table::Intents, &key)?;
    }
    edit.finish_unchanged()?;
    Ok(more)
}
