//! Seen state of those who do not own the mailbox: rows by (mailbox, user, UID). They go with their
//! message, without marks of their own: whoever learns that the message is gone drops them too.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use murder_model::{MailboxId, ModSeq, UidSet, UserName};
use serde::{Deserialize, Serialize};

use crate::mail::edit::Edit;
use crate::mail::error::MailError;
use crate::mail::keys;
use crate::mail::row::{Row, decode, fields_of, live};
use crate::rows::{Rows, StoreError, Table};

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct SeenRow {
    pub(super) seen: bool,
}

/// A viewer's seen state of one message: the part of the key between mailbox and UID, and the row.
pub(super) type SeenBy = (Vec<u8>, SeenRow);

/// Takes the seen rows of messages that leave the mailbox out, by UID. No marks stay for them: those
/// of the messages stand for both.
pub(super) fn take_seen(
    edit: &mut Edit<'_>,
    mailbox: &MailboxId,
    uids: &UidSet,
) -> Result<BTreeMap<u32, Vec<SeenBy>>, MailError> {
    let mut found = Vec::new();
    for prefix in viewers(edit.rows, mailbox)? {
        for (first, last) in uids.ranges() {
            let mut low = prefix.clone();
            low.extend_from_slice(&first.to_be_bytes());
            let mut high = prefix.clone();
            high.extend_from_slice(&last.to_be_bytes());
            high.push(0);
            edit.rows
                .scan(Table::Seen, &low, &high, &mut |key, value| {
                    found.push((key.to_vec(), value.to_vec()));
                    ControlFlow::Continue(())
                })?;
        }
    }
    let mut taken: BTreeMap<u32, Vec<SeenBy>> = BTreeMap::new();
    for (key, value) in found {
        let row = live::<SeenRow>(Table::Seen, &key, &value)?;
        if let (Some(uid), Some(row)) = (seen_uid(&key), row) {
            let viewer = key[16..key.len() - 4].to_vec();
            taken.entry(uid).or_default().push((viewer, row));
        }
        edit.forget(Table::Seen, &key)?;
    }
    Ok(taken)
}

/// Gives a message that has moved the seen rows that it had before.
pub(super) fn put_seen(
    edit: &mut Edit<'_>,
    mailbox: &MailboxId,
    uid: u32,
    seen: &[SeenBy],
) -> Result<(), MailError> {
    for (viewer, row) in seen {
        let mut key = mailbox.as_bytes().to_vec();
        key.extend_from_slice(viewer);
        key.extend_from_slice(&uid.to_be_bytes());
        edit.put(Table::Seen, &key, row, &[])?;
    }
    Ok(())
}

/// Key prefixes of all who have seen state in the mailbox, at the cost of one step for each.
fn viewers(rows: &dyn Rows, mailbox: &MailboxId) -> Result<Vec<Vec<u8>>, MailError> {
    let mut low = keys::mailbox(mailbox);
    let high = keys::after_prefix(&low);
    let mut prefixes = Vec::new();
    loop {
        let mut next = None;
        rows.scan(Table::Seen, &low, &high, &mut |key, _| {
            next = Some(key[..key.len().saturating_sub(4)].to_vec());
            ControlFlow::Break(())
        })?;
        let Some(prefix) = next else {
            return Ok(prefixes);
        };
        low = keys::after_prefix(&prefix);
        prefixes.push(prefix);
    }
}

fn seen_uid(key: &[u8]) -> Option<u32> {
    key.last_chunk::<4>().map(|uid| u32::from_be_bytes(*uid))
}

pub(super) fn seen_row(
    rows: &dyn Rows,
    mailbox: &MailboxId,
    user: &UserName,
    uid: u32,
) -> Result<(bool, ModSeq), MailError> {
    let key = keys::seen(mailbox, user, uid);
    match rows.read(Table::Seen, &key)? {
        Some(value) => match decode(Table::Seen, &key, &value)? {
            Row::Live { change, fields, .. } => {
                let row: SeenRow = fields_of(Table::Seen, &key, fields)?;
                Ok((row.seen, ModSeq::new(change)))
            }
            Row::Mark { .. } => Ok((false, ModSeq::default())),
        },
        None => Ok((false, ModSeq::default())),
    }
}

/// Seen state of a viewer who is not the owner, by UID.
pub(super) fn seen_rows(
    rows: &dyn Rows,
    mailbox: &MailboxId,
    user: &UserName,
) -> Result<Vec<(u32, bool, ModSeq)>, MailError> {
    let low = keys::seen_prefix(mailbox, user);
    let high = keys::after_prefix(&low);
    let mut found = Vec::new();
    let mut failed: Option<StoreError> = None;
    rows.scan(Table::Seen, &low, &high, &mut |key, value| {
        match (seen_uid(key), decode(Table::Seen, key, value)) {
            (Some(uid), Ok(Row::Live { change, fields, .. })) => {
                match fields_of::<SeenRow>(Table::Seen, key, fields) {
                    Ok(row) => found.push((uid, row.seen, ModSeq::new(change))),
                    Err(error) => failed = Some(error),
                }
            }
            (_, Ok(_)) => {}
            (_, Err(error)) => failed = Some(error),
        }
        if failed.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    failed.map_or(Ok(found), |error| Err(error.into()))
}

/// UIDs that a viewer who is not the owner has seen, and the changes of that, by UID.
pub fn effective_seen(
    rows: &dyn Rows,
    mailbox: &MailboxId,
    user: &UserName,
) -> Result<(UidSet, Vec<(u32, ModSeq)>), MailError> {
    let mut seen = UidSet::new();
    let mut changes = Vec::new();
    for (uid, is_seen, changed) in seen_rows(rows, mailbox, user)? {
        if is_seen {
            seen.insert(uid);
        }
        changes.push((uid, changed));
    }
    Ok((seen, changes))
}
