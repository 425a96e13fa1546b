//! Operations on the store, as the node runs them in a batch: nothing here remembers anything.

use murder_locations::ownership::{self, Here, OwnershipEvent, OwnershipRefusal};
use murder_model::{
    Acl, EmailId, Guid, InternalDate, MailboxName, ModSeq, MoveId, OwnershipRecord, RootName,
    ServerName, SystemFlags, Term, Timestamp, UidSet, UnitDigest, UnitId, UnitState, UserName,
};
use murder_store::engine::Tx;
use murder_store::mail::{
    self, FlagChange, Grant, MailError, MailboxRow, NewMessage, TransferRow, UnitHead, Viewer,
};
use murder_store::rows::{BlobSource, Rows};

use crate::client::content;
use crate::message::{Folder, Listing, Millis, Op, Outcome, Seen};
use crate::random::Random;

/// Rows that are dropped in one operation.
const DROP_ROWS: usize = 10_000;
const NOTHING: UnitHead = UnitHead {
    change: 0,
    digest: UnitDigest::from_bytes([0; 32]),
    outbox: 0,
    uid_validity_floor: 0,
    forgotten: 0,
    mailboxes: 0,
    messages: 0,
    bytes: 0,
};
const STRUCTURE: &[u8] = b"structure";

/// What is done in a batch.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// A client's operation.
    Call {
        unit: UnitId,
        root: RootName,
        user: UserName,
        op: Op,
    },
    /// The unit's record changes as the rules say, and what must change with it.
    Event { unit: UnitId, event: OwnershipEvent },
    /// A granted root is made.
    CreateRoot { grant: Grant },
    /// Rows of a move.
    Import {
        unit: UnitId,
        move_id: MoveId,
        rows: Vec<TransferRow>,
        contents: Vec<Option<Vec<u8>>>,
        covered: Option<u64>,
    },
    /// The end of a move's last round: digests are compared.
    Prepare {
        unit: UnitId,
        event: OwnershipEvent,
        head: UnitHead,
    },
    /// The master has rows up to here.
    Acknowledge { upto: u64 },
    /// All names are queued for the master again.
    Publish { unit: UnitId },
    /// Old marks and deliveries go.
    Prune { unit: UnitId, before: Millis },
    /// A root and all that is under it go.
    DropRoot { unit: UnitId },
    /// Every UIDVALIDITY of the unit rises above a floor.
    Raise { unit: UnitId, floor: u32 },
    /// What was queued before is durable.
    Nothing,
    /// A record that the rules did not allow (a fault).
    Force { record: OwnershipRecord },
}

impl Work {
    pub(super) const fn event(unit: UnitId, event: OwnershipEvent) -> Self {
        Self::Event { unit, event }
    }
}

/// An operation with what it may know of the world.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) now: Millis,
    /// Seed of the ids that it makes.
    pub(super) ids: u64,
    pub(super) server: ServerName,
    pub(super) promised: Term,
}

/// What an operation did.
#[derive(Debug)]
pub(super) enum Done {
    Outcome(Outcome),
    Recorded(Result<OwnershipRecord, OwnershipRefusal>),
    /// Indices of rows that need their bytes.
    Imported(Vec<usize>),
    /// The rows are not those of the source.
    OtherDigest,
    Nothing,
}

impl Job {
    const fn timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.now as i64)
    }

    pub(super) fn run(&self, tx: &mut Tx<'_>) -> Result<Done, MailError> {
        let mut ids = Random::new(self.ids);
        match &self.work {
            Work::Call {
                unit,
                root,
                user,
                op,
            } => self.call(tx, unit, (root, user), op, &mut ids),
            Work::Event { unit, event } => self.event(tx, unit, event.clone()),
            Work::CreateRoot { grant } => self.create_root(tx, grant, &mut ids),
            Work::Import {
                unit,
                move_id,
                rows,
                contents,
                covered,
            } => {
                let staging = mail::ownership(tx, unit)?.is_some_and(|record| {
                    matches!(record.state, UnitState::Staging { move_id: of, .. } if of == *move_id)
                });
                if !staging {
                    return Err(MailError::NotOwner(None));
                }
                let contents: Vec<_> = contents
                    .iter()
                    .map(|bytes| {
                        let bytes = bytes.as_deref().map(BlobSource::Bytes);
                        bytes.map(|bytes| (bytes, STRUCTURE))
                    })
                    .collect();
                let missing = mail::import_rows(tx, unit, rows, &contents)?;
                if let Some(change) = covered.filter(|_| missing.is_empty()) {
                    reach(tx, unit, change)?;
                }
                Ok(Done::Imported(missing))
            }
            Work::Prepare { unit, event, head } => {
                let prepared = mail::ownership(tx, unit)?
                    .is_some_and(|record| matches!(record.state, UnitState::Prepared { .. }));
                if !prepared && !mail::import_head(tx, unit, head)? {
                    return Ok(Done::OtherDigest);
                }
                self.event(tx, unit, event.clone())
            }
            Work::Acknowledge { upto } => {
                mail::acknowledge_outbox(tx, *upto)?;
                Ok(Done::Nothing)
            }
            Work::Publish { unit } => {
                mail::publish_names(tx, unit)?;
                Ok(Done::Nothing)
            }
            Work::Prune { unit, before } => {
                let before = Timestamp::from_millis(*before as i64);
                mail::prune_marks(tx, unit, 0, before, 100)?;
                Ok(Done::Nothing)
            }
            Work::DropRoot { unit } => {
                for (_, row) in mail::mailboxes(tx, unit)?.into_iter().rev() {
                    if let Some(row) = row {
                        mail::delete_mailbox(tx, &row.id, self.timestamp())?;
                    }
                }
                self.event(tx, unit, OwnershipEvent::Deleted)
            }
            Work::Raise { unit, floor } => {
                mail::raise_uid_validities(tx, unit, *floor)?;
                Ok(Done::Nothing)
            }
            Work::Nothing => Ok(Done::Nothing),
            Work::Force { record } => {
                mail::put_ownership(tx, record)?;
                Ok(Done::Recorded(Ok(record.clone())))
            }
        }
    }

    /// The record changes by the rules; what they refuse changes nothing.
    fn event(
        &self,
        tx: &mut Tx<'_>,
        unit: &UnitId,
        event: OwnershipEvent,
    ) -> Result<Done, MailError> {
        let before = mail::ownership(tx, unit)?;
        let here = Here {
            server: &self.server,
            promised: self.promised,
        };
        let taken_up = match &event {
            OwnershipEvent::Stage {
                move_id, attempt, ..
            } => Some((*move_id, *attempt)),
            _ => None,
        };
        let mut after = match ownership::next(here, before.as_ref(), event) {
            Ok(after) => after,
            Err(refusal) => return Ok(Done::Recorded(Err(refusal))),
        };
        if let (Some((move_id, attempt)), UnitState::Prepared { .. }) = (taken_up, &after.state) {
            // Whatever freeze it was prepared for, the source has given that one up.
            let event = OwnershipEvent::AbortAttempt { move_id, attempt };
            after = match ownership::next(here, Some(&after), event) {
                Ok(after) => after,
                Err(refusal) => return Ok(Done::Recorded(Err(refusal))),
            };
        }
        if before.as_ref() == Some(&after) {
            return Ok(Done::Recorded(Ok(after)));
        }
        mail::put_ownership(tx, &after)?;
        let copies = |state: &UnitState| {
            matches!(
                state,
                UnitState::Staging { .. } | UnitState::Prepared { .. }
            )
        };
        match (&before.as_ref().map(|before| &before.state), &after.state) {
            // What an earlier stay, or an earlier move, left here is worth nothing.
            (Some(was), UnitState::Staging { move_id, .. })
                if !copies(was) || move_of(was) != Some(*move_id) =>
            {
                mail::drop_unit(tx, unit, DROP_ROWS)?;
                mail::import_head(tx, unit, &NOTHING)?;
            }
            (Some(_), UnitState::Gone) => {
                mail::drop_unit(tx, unit, DROP_ROWS)?;
            }
            // What was queued under an earlier epoch will be refused.
            (_, UnitState::Owner) => {
                mail::publish_names(tx, unit)?;
            }
            _ => {}
        }
        Ok(Done::Recorded(Ok(after)))
    }

    fn create_root(
        &self,
        tx: &mut Tx<'_>,
        grant: &Grant,
        ids: &mut Random,
    ) -> Result<Done, MailError> {
        let before = mail::ownership(tx, &grant.unit)?;
        let event = OwnershipEvent::Granted {
            term: grant.term,
            epoch: grant.epoch,
        };
        let here = Here {
            server: &self.server,
            promised: self.promised,
        };
        let after = match ownership::next(here, before.as_ref(), event) {
            Ok(after) => after,
            Err(refusal) => return Ok(Done::Recorded(Err(refusal))),
        };
        if before.as_ref() != Some(&after) {
            mail::create_root(tx, grant, &acl(&grant.root), &[], &mut || ids.id())?;
        }
        Ok(Done::Recorded(Ok(after)))
    }

    fn call(
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

/// Notes that everything up to a change is here, as a resumed copy asks for it.
fn reach(tx: &mut Tx<'_>, id: &UnitId, change: u64) -> Result<(), MailError> {
    if mail::unit(tx, id)?.is_some_and(|unit| unit.change < change) {
        mail::import_head(tx, id, &UnitHead { change, ..NOTHING })?;
    }
    Ok(())
}

/// The move that a copy belongs to.
fn move_of(state: &UnitState) -> Option<MoveId> {
    match state {
        UnitState::Staging { move_id, .. } | UnitState::Prepared { move_id, .. } => Some(*move_id),
        _ => None,
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

fn acl(root: &RootName) -> Acl {
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
