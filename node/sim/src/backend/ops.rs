//! Clients' operations on the store; `call` reads as one table.

use murder_model::{
    Acl, EmailId, Guid, InternalDate, MailboxName, ModSeq, RootName, SystemFlags, UidSet, UnitId,
    UserName,
};
use murder_store::engine::Tx;
use murder_store::mail::{self, FlagChange, MailError, MailboxRow, NewMessage, Viewer};
use murder_store::rows::{BlobSource, Rows};

use super::job::{Done, Job, STRUCTURE};
use crate::client::content;
use crate::message::{Folder, Listing, Op, Outcome, Seen};
use crate::random::Random;

impl Job {
    pub(super) fn call(
        &self,
        tx: &mut Tx<'_>,
        unit: &UnitId,
        (root, user): (&RootName, &UserName),
        op: &Op,
        ids: &mut Random,
    ) -> Result<Done, MailError> {
        let now = self.timestamp();
        let viewer = viewer(root, user);
        let outcome = match op {
            Op::Deliver { token } => {
                let row = find(tx, unit, root, "")?;
                let bytes = content(*token);
                let message = new_message(&bytes, ids);
                let key =
                    mail::delivery_key(root.as_str(), &token.to_be_bytes(), &message.guid_bytes());
                let to = [(row.id, Some(key))];
                let (stored, _) = mail::deliver(tx, &to, &message.0, now)?;
                match stored.first() {
                    Some(Some(appended)) => stored_at(appended),
                    _ => Outcome::Duplicate,
                }
            }
            Op::Append { folder, token } => {
                let row = find(tx, unit, root, folder)?;
                let bytes = content(*token);
                let message = new_message(&bytes, ids);
                let (appended, _) = mail::append_as(tx, &row.id, viewer, &message.0, now)?;
                stored_at(&appended)
            }
            Op::Flag {
                folder,
                validity,
                uid,
                flags,
            } => {
                let row = find_valid(tx, unit, root, folder, *validity)?;
                let stored = flag(tx, &row, viewer, *uid, *flags)?;
                if stored {
                    Outcome::Done
                } else {
                    Outcome::Refused("no such message".into())
                }
            }
            Op::Expunge {
                folder,
                validity,
                uid,
            } => {
                let row = find_valid(tx, unit, root, folder, *validity)?;
                flag(tx, &row, viewer, *uid, SystemFlags::DELETED)?;
                mail::expunge(tx, &row.id, Some(&UidSet::range(*uid, *uid)), now)?;
                Outcome::Done
            }
            Op::Shift { validity, uid, to } => {
                let from = find_valid(tx, unit, root, "", *validity)?;
                let to = find(tx, unit, root, to)?;
                let uids = UidSet::range(*uid, *uid);
                mail::move_messages(tx, &from.id, &uids, &to.id, now)?;
                Outcome::Done
            }
            Op::MakeFolder { folder } => {
                let name = name(root, folder)?;
                let make = &mut || ids.id();
                let (id, _) = mail::create_mailbox(tx, unit, &name, &acl(root), None, make)?;
                let row = mail::mailbox(tx, &id)?.ok_or(MailError::NoSuchMailbox)?;
                Outcome::FolderMade {
                    validity: row.uid_validity.get(),
                }
            }
            Op::DropFolder { folder } => {
                let row = find(tx, unit, root, folder)?;
                mail::delete_mailbox(tx, &row.id, now)?;
                Outcome::Done
            }
            Op::Create => Outcome::Created,
            Op::DropRoot | Op::Look { .. } => Outcome::Unavailable,
        };
        Ok(Done::Outcome(outcome))
    }
}

fn stored_at(appended: &mail::Appended) -> Outcome {
    Outcome::Stored {
        validity: appended.uid_validity.get(),
        uid: appended.uid.get(),
        mod_seq: appended.mod_seq,
    }
}

/// A message with the ids that only it has.
struct Message<'a>(NewMessage<'a>);

impl Message<'_> {
    const fn guid_bytes(&self) -> [u8; 32] {
        *self.0.guid.as_bytes()
    }
}

fn new_message<'a>(bytes: &'a [u8], ids: &mut Random) -> Message<'a> {
    Message(NewMessage {
        content: BlobSource::Bytes(bytes),
        guid: Guid::from_bytes(*blake3::hash(bytes).as_bytes()),
        email_id: EmailId::from_bytes(ids.id()),
        flags: SystemFlags::NONE,
        keywords: &[],
        internal_date: InternalDate::new(0, 0),
        structure: STRUCTURE,
    })
}

fn flag(
    tx: &mut Tx<'_>,
    row: &MailboxRow,
    viewer: Viewer<'_>,
    uid: u32,
    flags: SystemFlags,
) -> Result<bool, MailError> {
    let (stored, _) = mail::store_flags(
        tx,
        &row.id,
        viewer,
        &UidSet::range(uid, uid),
        FlagChange::Add,
        flags,
        &[],
        SystemFlags::from_bits(31),
        true,
        None,
    )?;
    Ok(!stored.messages.is_empty())
}

/// Who looks: in shared roots everybody's `\Seen` is their own.
fn viewer<'a>(root: &RootName, user: &'a UserName) -> Viewer<'a> {
    match root.mailbox().owner() {
        Some(owner) if owner == *user => Viewer::Owner,
        _ => Viewer::Other(user),
    }
}

pub(super) fn acl(root: &RootName) -> Acl {
    match root.mailbox().owner() {
        Some(owner) => Acl::owner_default(&owner),
        None => Acl::default(),
    }
}

pub(crate) fn name(root: &RootName, folder: Folder) -> Result<MailboxName, MailError> {
    match folder {
        "" => Ok(root.mailbox()),
        folder => Ok(root.mailbox().child(folder)?),
    }
}

fn find(
    rows: &dyn Rows,
    unit: &UnitId,
    root: &RootName,
    folder: Folder,
) -> Result<MailboxRow, MailError> {
    mail::mailbox_by_name(rows, unit, &name(root, folder)?)?.ok_or(MailError::NoSuchMailbox)
}

fn find_valid(
    rows: &dyn Rows,
    unit: &UnitId,
    root: &RootName,
    folder: Folder,
    validity: u32,
) -> Result<MailboxRow, MailError> {
    let row = find(rows, unit, root, folder)?;
    if row.uid_validity.get() == validity {
        Ok(row)
    } else {
        Err(MailError::NoSuchMailbox)
    }
}

/// SELECT with QRESYNC, from what is committed.
pub(crate) fn look(
    rows: &dyn Rows,
    unit: &UnitId,
    (root, user): (&RootName, &UserName),
    folder: Folder,
    since: ModSeq,
) -> Result<Listing, MailError> {
    let row = find(rows, unit, root, folder)?;
    let vanished = mail::vanished_since(rows, unit, &row.id, since)?;
    let mut messages: Vec<_> = mail::messages(rows, &row.id, 1, u32::MAX)?
        .into_iter()
        .map(|(uid, message)| Seen {
            uid,
            guid: message.guid,
            flags: message.flags,
            mod_seq: message.mod_seq,
        })
        .collect();
    let mut highest = row.highest_mod_seq;
    if let Viewer::Other(user) = viewer(root, user) {
        let (seen, changes) = mail::effective_seen(rows, &row.id, user)?;
        for message in &mut messages {
            message.flags = message.flags.without(SystemFlags::SEEN);
            if seen.contains(message.uid) {
                message.flags = message.flags.with(SystemFlags::SEEN);
            }
            for (uid, changed) in &changes {
                if *uid == message.uid {
                    message.mod_seq = message.mod_seq.max(*changed);
                }
            }
            highest = highest.max(message.mod_seq);
        }
    }
    Ok(Listing {
        validity: row.uid_validity.get(),
        uid_next: row.uid_next,
        highest,
        messages,
        vanished,
    })
}
