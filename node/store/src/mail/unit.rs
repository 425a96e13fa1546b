//! Units: what this server holds of a user or shared root, and its part in the ownership.

use std::ops::ControlFlow;

use murder_model::{
    Acl, Epoch, MailboxId, OwnershipRecord, RootName, Term, UnitDigest, UnitId, UnitState,
};
use serde::{Deserialize, Serialize};

use crate::mail::edit::{Edit, Effect, Effects};
use crate::mail::error::MailError;
use crate::mail::mailbox::{FolderSpec, add_mailbox, mailboxes, next_uid_validity, put_mailbox};
use crate::mail::row::{fields_of, to_fields};
use crate::mail::{keys, subscription};
use crate::rows::{Rows, RowsMut, Table};

/// A unit as this server knows it. Not part of the digest.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct UnitRow {
    /// This server's part.
    pub ownership: OwnershipRecord,
    /// The last change number used.
    pub change: u64,
    /// Sum of the hashes of its rows and marks.
    pub digest: UnitDigest,
    /// The last outbox number used.
    pub outbox: u64,
    /// New mailboxes get a UIDVALIDITY above this.
    pub uid_validity_floor: u32,
    /// Marks of changes up to this one may be forgotten.
    pub forgotten: u64,
    /// Its mailboxes.
    pub mailboxes: u64,
    /// Its messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What the master grants for a new root.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// The unit.
    pub unit: UnitId,
    /// Its root.
    pub root: RootName,
    /// Term of the grant.
    pub term: Term,
    /// Epoch of the grant.
    pub epoch: Epoch,
    /// UIDVALIDITYs of the unit are above this.
    pub uid_validity_floor: u32,
}

/// The unit, whatever this server's part in it is.
pub fn unit(rows: &dyn Rows, unit: &UnitId) -> Result<Option<UnitRow>, MailError> {
    let key = keys::unit(unit);
    match rows.read(Table::Units, &key)? {
        Some(value) => Ok(Some(fields_of(Table::Units, &key, &value)?)),
        None => Ok(None),
    }
}

/// This server's part in a unit.
pub fn ownership(rows: &dyn Rows, id: &UnitId) -> Result<Option<OwnershipRecord>, MailError> {
    Ok(unit(rows, id)?.map(|unit| unit.ownership))
}

/// The unit of a root, if this server serves it, or served it last.
pub fn unit_by_root(rows: &dyn Rows, root: &RootName) -> Result<Option<UnitRow>, MailError> {
    match rows.read(Table::Roots, &keys::root(root))? {
        Some(value) => match <[u8; 16]>::try_from(value.as_slice()) {
            Ok(id) => unit(rows, &UnitId::from_bytes(id)),
            Err(_) => Ok(None),
        },
        None => Ok(None),
    }
}

/// Visits all units in the order of their ids.
pub fn units(
    rows: &dyn Rows,
    visit: &mut dyn FnMut(UnitRow) -> ControlFlow<()>,
) -> Result<(), MailError> {
    let mut failed = None;
    rows.scan(
        Table::Units,
        &[],
        &[0xff; 17],
        &mut |key, value| match fields_of(Table::Units, key, value) {
            Ok(row) => visit(row),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        },
    )?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// At most `limit` units after one, in the order of their ids: a bounded step through all of them.
pub fn units_after(
    rows: &dyn Rows,
    after: Option<&UnitId>,
    limit: usize,
) -> Result<Vec<UnitRow>, MailError> {
    let mut low = after.map(keys::unit).unwrap_or_default();
    if after.is_some() {
        // The least key above it.
        low.push(0);
    }
    let mut found = Vec::new();
    let mut failed = None;
    rows.scan(Table::Units, &low, &[0xff; 17], &mut |key, value| {
        if found.len() == limit {
            return ControlFlow::Break(());
        }
        match fields_of(Table::Units, key, value) {
            Ok(row) => found.push(row),
            Err(error) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    failed.map_or(Ok(found), |error| Err(error.into()))
}

pub(super) fn put_unit(rows: &mut dyn RowsMut, unit: &UnitRow) -> Result<(), MailError> {
    Ok(rows.put(
        Table::Units,
        &keys::unit(&unit.ownership.unit),
        &to_fields(unit),
    )?)
}

/// Records this server's part. The record's term and epoch may never go down; the rules of who may
/// record what are not here but with ownership.
pub fn put_ownership(rows: &mut dyn RowsMut, record: &OwnershipRecord) -> Result<(), MailError> {
    let row = match unit(rows, &record.unit)? {
        Some(mut row) => {
            debug_assert!(record.epoch >= row.ownership.epoch, "epochs only rise");
            row.ownership = record.clone();
            row
        }
        None => UnitRow {
            ownership: record.clone(),
            change: 0,
            digest: UnitDigest::default(),
            outbox: 0,
            uid_validity_floor: 0,
            forgotten: 0,
            mailboxes: 0,
            messages: 0,
            bytes: 0,
        },
    };
    put_unit(rows, &row)?;
    if matches!(record.state, UnitState::Owner) {
        rows.put(
            Table::Roots,
            &keys::root(&record.root),
            record.unit.as_bytes(),
        )?;
    }
    if matches!(record.state, UnitState::Gone) {
        let current = unit_by_root(rows, &record.root)?;
        if current.is_some_and(|current| current.ownership.unit == record.unit) {
            rows.delete(Table::Roots, &keys::root(&record.root))?;
        }
    }
    Ok(())
}

/// Makes a new root with its folders, which are subscribed to, and records the ownership: from this
/// commit on the server serves the unit.
pub fn create_root(
    rows: &mut dyn RowsMut,
    grant: &Grant,
    acl: &Acl,
    folders: &[FolderSpec],
    new_id: &mut dyn FnMut() -> [u8; 16],
) -> Result<(MailboxId, Effects), MailError> {
    if let Some(old) = unit_by_root(rows, &grant.root)?
        && matches!(
            old.ownership.state,
            UnitState::Owner | UnitState::Released { .. }
        )
    {
        return Err(MailError::RootExists(grant.root.clone()));
    }
    put_ownership(
        rows,
        &OwnershipRecord {
            unit: grant.unit,
            root: grant.root.clone(),
            state: UnitState::Owner,
            term: grant.term,
            epoch: grant.epoch,
        },
    )?;
    let mut edit = Edit::begin(rows, &grant.unit)?;
    edit.unit.uid_validity_floor = edit.unit.uid_validity_floor.max(grant.uid_validity_floor);
    let root = grant.root.mailbox();
    let id = MailboxId::from_bytes(new_id());
    add_mailbox(&mut edit, id, &root, acl, None)?;
    if root.owner().is_some() {
        subscription::put(&mut edit, &root)?;
    }
    for folder in folders {
        let name = root.child(&folder.name)?;
        let folder_id = MailboxId::from_bytes(new_id());
        add_mailbox(&mut edit, folder_id, &name, acl, folder.special_use)?;
        subscription::put(&mut edit, &name)?;
    }
    Ok((id, edit.finish()?))
}

/// Gives every mailbox a new UIDVALIDITY above `floor`: clients must forget what they know of a unit
/// whose volume was set back in time.
pub fn raise_uid_validities(
    rows: &mut dyn RowsMut,
    id: &UnitId,
    floor: u32,
) -> Result<Effects, MailError> {
    let list = mailboxes(rows, id)?;
    let mut edit = Edit::begin(rows, id)?;
    edit.unit.uid_validity_floor = edit.unit.uid_validity_floor.max(floor);
    for mut row in list.into_iter().filter_map(|(_, row)| row) {
        row.uid_validity = next_uid_validity(&mut edit);
        put_mailbox(&mut edit, &row)?;
        edit.tell(row.id, Effect::Renamed);
    }
    edit.finish()
}
