//! Mailboxes: creation, deletion, renaming, rights, and what sessions take from them.

use std::ops::ControlFlow;

use murder_model::{
    Acl, MailboxId, MailboxName, ModSeq, OutboxNumber, SpecialUse, Timestamp, UidSet, UidValidity,
    UnitId,
};
use serde::{Deserialize, Serialize};

use crate::mail::blob::release_blob;
use crate::mail::copy::move_rows;
use crate::mail::edit::{Edit, Effect, Effects};
use crate::mail::error::MailError;
use crate::mail::keys;
use crate::mail::outbox::{OutboxOperation, push};
use crate::mail::row::{MailboxRow, live, live_message};
use crate::rows::{Rows, RowsMut, StoreError, Table};

/// A folder that a new root gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FolderSpec {
    /// Component below the root, as a client writes it.
    pub name: String,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
}

/// A name; without a mailbox it only holds the place of one that was deleted while it had children.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct NameRow {
    pub(super) mailbox: Option<MailboxId>,
}

/// The mailbox of that id.
pub fn mailbox(rows: &dyn Rows, id: &MailboxId) -> Result<Option<MailboxRow>, MailError> {
    let key = keys::mailbox(id);
    match rows.read(Table::Mailboxes, &key)? {
        Some(value) => Ok(live(Table::Mailboxes, &key, &value)?),
        None => Ok(None),
    }
}

/// The mailbox of that name.
pub fn mailbox_by_name(
    rows: &dyn Rows,
    unit: &UnitId,
    name: &MailboxName,
) -> Result<Option<MailboxRow>, MailError> {
    match name_row(rows, unit, name)? {
        Some(NameRow { mailbox: Some(id) }) => mailbox(rows, &id),
        _ => Ok(None),
    }
}

/// Whether the name only holds the place of a deleted mailbox with children.
pub fn placeholder_exists(
    rows: &dyn Rows,
    unit: &UnitId,
    name: &MailboxName,
) -> Result<bool, MailError> {
    Ok(matches!(
        name_row(rows, unit, name)?,
        Some(NameRow { mailbox: None })
    ))
}

fn name_row(
    rows: &dyn Rows,
    unit: &UnitId,
    name: &MailboxName,
) -> Result<Option<NameRow>, MailError> {
    let key = keys::name(unit, name);
    match rows.read(Table::Names, &key)? {
        Some(value) => Ok(live(Table::Names, &key, &value)?),
        None => Ok(None),
    }
}

/// All names of a unit in their order, each with its mailbox; placeholders without.
pub fn mailboxes(
    rows: &dyn Rows,
    unit: &UnitId,
) -> Result<Vec<(MailboxName, Option<MailboxRow>)>, MailError> {
    let low = keys::unit(unit);
    let high = keys::after_prefix(&low);
    let mut found = Vec::new();
    let mut failed: Option<StoreError> = None;
    rows.scan(Table::Names, &low, &high, &mut |key, value| {
        match live::<NameRow>(Table::Names, key, value) {
            Ok(Some(row)) => found.push((key[16..].to_vec(), row)),
            Ok(None) => {}
            Err(error) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let mut list = Vec::with_capacity(found.len());
    for (name, row) in found {
        let name = MailboxName::parse_internal(&String::from_utf8_lossy(&name))?;
        let mailbox = match row.mailbox {
            Some(id) => mailbox(rows, &id)?,
            None => None,
        };
        list.push((name, mailbox));
    }
    Ok(list)
}

/// Whether any live name lies below `name`.
pub fn children_exist(
    rows: &dyn Rows,
    unit: &UnitId,
    name: &MailboxName,
) -> Result<bool, MailError> {
    let mut low = keys::name(unit, name);
    low.push(b'.');
    let high = keys::after_prefix(&low);
    let mut any = false;
    rows.scan(Table::Names, &low, &high, &mut |key, value| {
        any = matches!(live::<NameRow>(Table::Names, key, value), Ok(Some(_)));
        if any {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(any)
}

/// Makes a mailbox, and those above it that are missing, all with `acl`.
pub fn create_mailbox(
    rows: &mut dyn RowsMut,
    unit: &UnitId,
    name: &MailboxName,
    acl: &Acl,
    special_use: Option<SpecialUse>,
    new_id: &mut dyn FnMut() -> [u8; 16],
) -> Result<(MailboxId, Effects), MailError> {
    let mut edit = Edit::begin(rows, unit)?;
    check_unit(&edit, name)?;
    if mailbox_by_name(edit.rows, unit, name)?.is_some() {
        return Err(MailError::MailboxExists(name.clone()));
    }
    add_parents(&mut edit, name, acl, new_id)?;
    let id = MailboxId::from_bytes(new_id());
    add_mailbox(&mut edit, id, name, acl, special_use)?;
    Ok((id, edit.finish()?))
}

/// Removes a mailbox with its messages. A name with children stays as a placeholder.
pub fn delete_mailbox(
    rows: &mut dyn RowsMut,
    id: &MailboxId,
    now: Timestamp,
) -> Result<Effects, MailError> {
    let row = mailbox(rows, id)?.ok_or(MailError::NoSuchMailbox)?;
    let mut edit = Edit::begin(rows, &row.unit)?;
    edit.unit.messages -= u64::from(row.exists);
    edit.unit.bytes -= row.bytes;
    forget_content(&mut edit, &keys::mailbox(id))?;
    edit.remove(Table::Mailboxes, &keys::mailbox(id), now)?;
    edit.unit.mailboxes -= 1;
    drop_name(&mut edit, &row.name, now)?;
    edit.tell(*id, Effect::Deleted);
    edit.finish()
}

/// Renames a mailbox and all below it. Renaming a user's INBOX moves its messages to a new mailbox
/// and leaves INBOX empty, its children untouched (RFC 3501 section 6.3.5).
pub fn rename_mailbox(
    rows: &mut dyn RowsMut,
    unit: &UnitId,
    from: &MailboxName,
    to: &MailboxName,
    new_id: &mut dyn FnMut() -> [u8; 16],
    now: Timestamp,
) -> Result<Effects, MailError> {
    let mut edit = Edit::begin(rows, unit)?;
    check_unit(&edit, to)?;
    if mailbox_by_name(edit.rows, unit, to)?.is_some() || to.is_under(from) && !from.is_root() {
        return Err(MailError::MailboxExists(to.clone()));
    }
    let row = mailbox_by_name(edit.rows, unit, from)?;
    if from.is_root() {
        let row = row.ok_or(MailError::NoSuchMailbox)?;
        if from.owner().is_none() {
            return Err(MailError::Root);
        }
        add_parents(&mut edit, to, &row.acl, new_id)?;
        let id = MailboxId::from_bytes(new_id());
        add_mailbox(&mut edit, id, to, &row.acl, None)?;
        move_rows(&mut edit, &row.id, &UidSet::range(1, u32::MAX), &id, now)?;
        return edit.finish();
    }
    let renamed = renames(&edit, unit, from, to)?;
    if renamed.is_empty() {
        return Err(MailError::NoSuchMailbox);
    }
    for (_, new, _) in &renamed {
        if mailbox_by_name(edit.rows, unit, new)?.is_some() {
            return Err(MailError::MailboxExists(new.clone()));
        }
    }
    let acl = renamed
        .iter()
        .find_map(|(_, _, mailbox)| mailbox.as_ref())
        .map(|row| row.acl.clone());
    add_parents(&mut edit, to, &acl.unwrap_or_default(), new_id)?;
    for (old, new, mailbox) in renamed {
        edit.remove(Table::Names, &keys::name(unit, &old), now)?;
        push(&mut edit, OutboxOperation::Delete { name: old })?;
        put_name(&mut edit, &new, mailbox.as_ref().map(|row| row.id))?;
        if let Some(mut row) = mailbox {
            row.name = new;
            put_mailbox(&mut edit, &row)?;
            publish(&mut edit, &row)?;
            edit.tell(row.id, Effect::Renamed);
        }
    }
    drop_placeholders(&mut edit, from, now)?;
    edit.finish()
}

type Renamed = (MailboxName, MailboxName, Option<MailboxRow>);

fn renames(
    edit: &Edit<'_>,
    unit: &UnitId,
    from: &MailboxName,
    to: &MailboxName,
) -> Result<Vec<Renamed>, MailError> {
    let mut renamed = Vec::new();
    for (old, mailbox) in mailboxes(edit.rows, unit)? {
        if let Some(new) = old.renamed(from, to) {
            renamed.push((old, new?, mailbox));
        }
    }
    Ok(renamed)
}

/// Queues all that the master must know of the unit's names again: after a change of owner, when rows
/// that the old owner queued are refused, and for a server that joins a murder. Names that are gone
/// are repeated as far as their marks are kept.
pub fn publish_names(rows: &mut dyn RowsMut, unit: &UnitId) -> Result<Effects, MailError> {
    let low = keys::unit(unit);
    let high = keys::after_prefix(&low);
    let mut gone = Vec::new();
    rows.scan(Table::Names, &low, &high, &mut |key, value| {
        if !matches!(
            live::<NameRow>(Table::Names, key, value),
            Ok(Some(NameRow { mailbox: Some(_) }))
        ) {
            gone.push(key[16..].to_vec());
        }
        ControlFlow::Continue(())
    })?;
    let list = mailboxes(rows, unit)?;
    let mut edit = Edit::begin(rows, unit)?;
    let since = OutboxNumber::new(edit.unit.outbox + 1);
    for name in gone {
        let name = MailboxName::parse_internal(&String::from_utf8_lossy(&name))?;
        push(&mut edit, OutboxOperation::Delete { name })?;
    }
    let mut names = 0;
    for row in list.into_iter().filter_map(|(_, row)| row) {
        publish(&mut edit, &row)?;
        names += 1;
    }
    push(&mut edit, OutboxOperation::Restated { since, names })?;
    edit.finish()
}

/// Replaces the access control list.
pub fn set_acl(rows: &mut dyn RowsMut, id: &MailboxId, acl: &Acl) -> Result<Effects, MailError> {
    let mut row = mailbox(rows, id)?.ok_or(MailError::NoSuchMailbox)?;
    let mut edit = Edit::begin(rows, &row.unit)?;
    row.acl = acl.clone();
    put_mailbox(&mut edit, &row)?;
    publish(&mut edit, &row)?;
    edit.tell(*id, Effect::Renamed);
    edit.finish()
}

/// What a session that opens the mailbox for writing is told as recent: the UIDs from the returned
/// one up to UIDNEXT. No later session is told them.
pub fn take_recent(rows: &mut dyn RowsMut, id: &MailboxId) -> Result<(u32, Effects), MailError> {
    let mut row = mailbox(rows, id)?.ok_or(MailError::NoSuchMailbox)?;
    let first = row.recent_uid;
    if first == row.uid_next {
        return Ok((first, Effects::default()));
    }
    let mut edit = Edit::begin(rows, &row.unit)?;
    row.recent_uid = row.uid_next;
    put_mailbox(&mut edit, &row)?;
    Ok((first, edit.finish()?))
}

pub(super) fn put_mailbox(edit: &mut Edit<'_>, row: &MailboxRow) -> Result<(), MailError> {
    edit.put(Table::Mailboxes, &keys::mailbox(&row.id), row, &[])
}

/// One above all that the unit, and by the floor of its grant anything else, has ever used.
pub(super) fn next_uid_validity(edit: &mut Edit<'_>) -> UidValidity {
    let validity = edit.unit.uid_validity_floor.saturating_add(1);
    edit.unit.uid_validity_floor = validity;
    UidValidity::new(validity).expect("one more than another number")
}

pub(super) fn add_mailbox(
    edit: &mut Edit<'_>,
    id: MailboxId,
    name: &MailboxName,
    acl: &Acl,
    special_use: Option<SpecialUse>,
) -> Result<(), MailError> {
    let row = MailboxRow {
        id,
        unit: edit.id,
        name: name.clone(),
        uid_validity: next_uid_validity(edit),
        uid_next: 1,
        highest_mod_seq: ModSeq::new(edit.change),
        exists: 0,
        unseen: 0,
        deleted: 0,
        bytes: 0,
        recent_uid: 1,
        keywords: Vec::new(),
        acl: acl.clone(),
        special_use,
    };
    put_mailbox(edit, &row)?;
    put_name(edit, name, Some(id))?;
    edit.unit.mailboxes += 1;
    publish(edit, &row)
}

fn add_parents(
    edit: &mut Edit<'_>,
    name: &MailboxName,
    acl: &Acl,
    new_id: &mut dyn FnMut() -> [u8; 16],
) -> Result<(), MailError> {
    let mut missing = Vec::new();
    let mut above = name.parent();
    while let Some(parent) = above {
        if mailbox_by_name(edit.rows, &edit.id, &parent)?.is_some() {
            break;
        }
        above = parent.parent();
        missing.push(parent);
    }
    for parent in missing.into_iter().rev() {
        let id = MailboxId::from_bytes(new_id());
        add_mailbox(edit, id, &parent, acl, None)?;
    }
    Ok(())
}

fn check_unit(edit: &Edit<'_>, name: &MailboxName) -> Result<(), MailError> {
    if name.root() == edit.unit.ownership.root {
        Ok(())
    } else {
        Err(MailError::OtherUnit)
    }
}

fn put_name(
    edit: &mut Edit<'_>,
    name: &MailboxName,
    mailbox: Option<MailboxId>,
) -> Result<(), MailError> {
    let key = keys::name(&edit.id, name);
    edit.put(Table::Names, &key, &NameRow { mailbox }, &[])
}

/// Takes a name away, and the placeholders above it that have no other child.
fn drop_name(edit: &mut Edit<'_>, name: &MailboxName, now: Timestamp) -> Result<(), MailError> {
    push(edit, OutboxOperation::Delete { name: name.clone() })?;
    if children_exist(edit.rows, &edit.id, name)? {
        return put_name(edit, name, None);
    }
    edit.remove(Table::Names, &keys::name(&edit.id, name), now)?;
    drop_placeholders(edit, name, now)
}

/// Takes placeholders above `name` away that have no child any more.
fn drop_placeholders(
    edit: &mut Edit<'_>,
    name: &MailboxName,
    now: Timestamp,
) -> Result<(), MailError> {
    let mut above = name.parent();
    while let Some(parent) = above {
        let unit = edit.id;
        if !placeholder_exists(edit.rows, &unit, &parent)?
            || children_exist(edit.rows, &unit, &parent)?
        {
            break;
        }
        edit.remove(Table::Names, &keys::name(&unit, &parent), now)?;
        above = parent.parent();
    }
    Ok(())
}

fn publish(edit: &mut Edit<'_>, row: &MailboxRow) -> Result<(), MailError> {
    push(
        edit,
        OutboxOperation::Put {
            name: row.name.clone(),
            mailbox: row.id,
            acl: row.acl.clone(),
            special_use: row.special_use,
        },
    )
}

/// Forgets messages, their marks and all seen state of the mailbox with this key.
pub(super) fn forget_content(edit: &mut Edit<'_>, mailbox: &[u8]) -> Result<(), MailError> {
    for table in [Table::Messages, Table::Seen] {
        let high = keys::after_prefix(mailbox);
        let mut found = Vec::new();
        edit.rows.scan(table, mailbox, &high, &mut |key, value| {
            let message = match table {
                Table::Messages => live_message(key, value).ok().flatten(),
                _ => None,
            };
            found.push((key.to_vec(), message));
            ControlFlow::Continue(())
        })?;
        for (key, message) in found {
            if let Some(message) = message {
                release_blob(edit.rows, message.blob)?;
            }
            edit.forget(table, &key)?;
        }
    }
    Ok(())
}
