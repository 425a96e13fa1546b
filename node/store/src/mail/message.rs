//! Messages: append, deliver, flags, expunge, copy and move.

use std::ops::ControlFlow;

use murder_model::{
    EmailId, Guid, InternalDate, Keyword, MailboxId, ModSeq, SystemFlags, Timestamp, Uid, UidSet,
    UidValidity, UserName,
};
use serde::{Deserialize, Serialize};

use crate::mail::delivered;
use crate::mail::edit::{Edit, Effect, Effects};
use crate::mail::error::MailError;
use crate::mail::keys;
use crate::mail::mailbox::{mailbox, put_mailbox};
use crate::mail::row::{
    BlobRow, KEYWORDS_MAX, MailboxRow, MessageRow, Row, decode, fields_of, live, live_message,
    to_fields,
};
use crate::mail::view::Entry;
use crate::rows::{BlobPlace, BlobSource, Rows, RowsMut, StoreError, Table};

/// A message on its way in.
#[derive(Clone, Debug)]
pub struct NewMessage<'a> {
    /// Its bytes.
    pub content: BlobSource<'a>,
    /// BLAKE3 of its bytes.
    pub guid: Guid,
    /// 128 random bits.
    pub email_id: EmailId,
    /// System flags.
    pub flags: SystemFlags,
    /// Keywords.
    pub keywords: &'a [Keyword],
    /// Internal date.
    pub internal_date: InternalDate,
    /// Its structure, encoded.
    pub structure: &'a [u8],
}

/// Where a message went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Appended {
    /// Validity of the UID.
    pub uid_validity: UidValidity,
    /// Its UID.
    pub uid: Uid,
    /// Its modification sequence.
    pub mod_seq: ModSeq,
}

/// Whose seen state counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Viewer<'a> {
    /// The user in whose unit the mailbox is: `\Seen` is in the message's row.
    Owner,
    /// Anybody else, and everybody in shared roots: `\Seen` is in rows of their own.
    Other(&'a UserName),
}

/// How flags are combined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FlagChange {
    /// These and no others.
    Replace,
    /// These too.
    Add,
    /// Not these.
    Remove,
}

/// Flags as the viewer sees them, after a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoredFlags {
    /// The message.
    pub uid: u32,
    /// System flags.
    pub flags: SystemFlags,
    /// Keyword bits.
    pub keywords: u128,
    /// Modification sequence.
    pub mod_seq: ModSeq,
}

/// What STORE did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stored {
    /// All messages that were to be changed and exist, changed or not.
    pub messages: Vec<StoredFlags>,
    /// Messages left alone because of UNCHANGEDSINCE.
    pub modified: UidSet,
    /// Keyword names by bit, after the change.
    pub keywords: Vec<Keyword>,
}

/// Which UIDs became which, in corresponding order (RFC 4315 COPYUID).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CopiedUids {
    /// Validity of the destination's UIDs.
    pub uid_validity: UidValidity,
    /// UIDs at the source, ascending.
    pub source: Vec<u32>,
    /// UIDs at the destination, ascending.
    pub destination: Vec<u32>,
}

/// One message.
pub fn message(
    rows: &dyn Rows,
    mailbox: &MailboxId,
    uid: u32,
) -> Result<Option<MessageRow>, MailError> {
    let key = keys::message(mailbox, uid);
    match rows.read(Table::Messages, &key)? {
        Some(value) => Ok(live_message(&key, &value)?),
        None => Ok(None),
    }
}

/// The messages with UIDs `first..=last`, ascending.
pub fn messages(
    rows: &dyn Rows,
    mailbox: &MailboxId,
    first: u32,
    last: u32,
) -> Result<Vec<(u32, MessageRow)>, MailError> {
    let low = keys::message(mailbox, first);
    let high = match last.checked_add(1) {
        Some(after) => keys::message(mailbox, after),
        None => keys::after_prefix(&keys::mailbox(mailbox)),
    };
    let mut found = Vec::new();
    let mut failed: Option<StoreError> = None;
    rows.scan(Table::Messages, &low, &high, &mut |key, value| {
        match (keys::message_uid(key), live_message(key, value)) {
            (Some(uid), Ok(Some(row))) => found.push((uid, row)),
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

/// Where the message's bytes are, and its encoded structure.
pub fn structure(
    rows: &dyn Rows,
    message: &MessageRow,
) -> Result<Option<(BlobPlace, Vec<u8>)>, MailError> {
    let Some(blob) = blob(rows, message.blob)? else {
        return Ok(None);
    };
    let place = blob.place;
    let structure = rows.read(Table::Structures, &keys::number(message.blob))?;
    Ok(Some((place, structure.unwrap_or_default())))
}

/// Appends a message.
pub fn append(
    rows: &mut dyn RowsMut,
    id: &MailboxId,
    message: &NewMessage<'_>,
    now: Timestamp,
) -> Result<(Appended, Effects), MailError> {
    let mut row = mailbox(rows, id)?.ok_or(MailError::NoSuchMailbox)?;
    let mut edit = Edit::begin(rows, &row.unit)?;
    let keywords = keyword_bits(&mut row, message.keywords)?;
    let blob = add_blob(edit.rows, message)?;
    let appended = place_message(&mut edit, &mut row, message, keywords, blob, now)?;
    put_mailbox(&mut edit, &row)?;
    Ok((appended, edit.finish()?))
}

/// Delivers one message into several mailboxes of this partition, one blob for all. A mailbox whose
/// unit has already seen its key within the time that is kept gets nothing and `None`.
pub fn deliver(
    rows: &mut dyn RowsMut,
    mailboxes: &[(MailboxId, Option<[u8; 32]>)],
    message: &NewMessage<'_>,
    now: Timestamp,
) -> Result<(Vec<Option<Appended>>, Effects), MailError> {
    let mut blob = None;
    let mut results = Vec::with_capacity(mailboxes.len());
    let mut effects = Effects::default();
    for (id, key) in mailboxes {
        let mut row = mailbox(rows, id)?.ok_or(MailError::NoSuchMailbox)?;
        if let Some(key) = key
            && delivered::was_delivered(rows, &row.unit, key)?
        {
            results.push(None);
            continue;
        }
        let mut edit = Edit::begin(rows, &row.unit)?;
        let keywords = keyword_bits(&mut row, message.keywords)?;
        let number = match blob {
            Some(number) => {
                share_blob(edit.rows, number)?;
                number
            }
            None => *blob.insert(add_blob(edit.rows, message)?),
        };
        let appended = place_message(&mut edit, &mut row, message, keywords, number, now)?;
        if let Some(key) = key {
            delivered::put(&mut edit, key, now)?;
        }
        put_mailbox(&mut edit, &row)?;
        results.push(Some(appended));
        effects.extend(edit.finish()?);
    }
    Ok((results, effects))
}

/// Changes flags. `mask` and `keywords_too` say which the viewer may change; others stay.
#[expect(clippy::too_many_arguments, reason = "the arguments of STORE")]
pub fn store_flags(
    rows: &mut dyn RowsMut,
    id: &MailboxId,
    viewer: Viewer<'_>,
    uids: &UidSet,
    change: FlagChange,
    flags: SystemFlags,
    keywords: &[Keyword],
    mask: SystemFlags,
    keywords_too: bool,
    unchanged_since: Option<ModSeq>,
) -> Result<(Stored, Effects), MailError> {
    let mut row = mailbox(rows, id)?.ok_or(MailError::NoSuchMailbox)?;
    let mut edit = Edit::begin(rows, &row.unit)?;
    let flags = SystemFlags::from_bits(flags.bits() & mask.bits());
    let known = row.keywords.len();
    let bits = match (keywords_too, change) {
        (false, _) => 0,
        (true, FlagChange::Remove) => known_bits(&row, keywords),
        (true, _) => keyword_bits(&mut row, keywords)?,
    };
    let mut stored = Stored::default();
    let (mut changed, mut seen_changed) = (Vec::new(), false);
    for (first, last) in uids.ranges() {
        for (uid, mut message) in messages(edit.rows, id, *first, *last)? {
            let seen = match viewer {
                Viewer::Owner => None,
                Viewer::Other(user) => Some(seen_row(edit.rows, id, user, uid)?),
            };
            let current = effective(&message, seen);
            if unchanged_since.is_some_and(|since| current.mod_seq > since) {
                stored.modified.insert(uid);
                continue;
            }
            let new_flags = combine(change, current.flags.bits(), flags.bits(), mask.bits());
            let new_flags = SystemFlags::from_bits(new_flags);
            let mask_keywords = if keywords_too { u128::MAX } else { 0 };
            let new_keywords = combine(change, message.keywords, bits, mask_keywords);
            let mut result = StoredFlags {
                uid,
                flags: new_flags,
                keywords: new_keywords,
                ..current
            };
            let own = match viewer {
                Viewer::Owner => new_flags,
                Viewer::Other(_) => {
                    new_flags
                        .without(SystemFlags::SEEN)
                        .with(SystemFlags::from_bits(
                            message.flags.bits() & SystemFlags::SEEN.bits(),
                        ))
                }
            };
            if own != message.flags || new_keywords != message.keywords {
                count_flags(&mut row, message.flags, own);
                message.flags = own;
                message.keywords = new_keywords;
                put_message(&mut edit, id, uid, &mut message)?;
                changed.push(Entry::new(uid, &message));
                result.mod_seq = ModSeq::new(edit.change);
            }
            if let Viewer::Other(user) = viewer
                && current.flags.contains(SystemFlags::SEEN)
                    != new_flags.contains(SystemFlags::SEEN)
            {
                let is_seen = new_flags.contains(SystemFlags::SEEN);
                edit.put(
                    Table::Seen,
                    &keys::seen(id, user, uid),
                    &SeenRow { seen: is_seen },
                    &[],
                )?;
                seen_changed = true;
                result.mod_seq = ModSeq::new(edit.change);
            }
            stored.messages.push(result);
        }
    }
    stored.keywords.clone_from(&row.keywords);
    if changed.is_empty() && !seen_changed && row.keywords.len() == known {
        return Ok((stored, Effects::default()));
    }
    row.highest_mod_seq = ModSeq::new(edit.change);
    put_mailbox(&mut edit, &row)?;
    if !changed.is_empty() {
        edit.tell(*id, Effect::Flags(changed));
    }
    if seen_changed {
        edit.tell(*id, Effect::Seen);
    }
    Ok((stored, edit.finish()?))
}

/// Removes the messages that have `\Deleted`, of these UIDs only if given. Marks stay.
pub fn expunge(
    rows: &mut dyn RowsMut,
    id: &MailboxId,
    only: Option<&UidSet>,
    now: Timestamp,
) -> Result<(UidSet, Effects), MailError> {
    let mut row = mailbox(rows, id)?.ok_or(MailError::NoSuchMailbox)?;
    let mut edit = Edit::begin(rows, &row.unit)?;
    if row.deleted == 0 {
        return Ok((UidSet::new(), Effects::default()));
    }
    let all = UidSet::range(1, u32::MAX);
    let mut gone = UidSet::new();
    for (first, last) in only.unwrap_or(&all).ranges() {
        for (uid, message) in messages(edit.rows, id, *first, *last)? {
            if message.flags.contains(SystemFlags::DELETED) {
                release_blob(edit.rows, message.blob)?;
                take_out(&mut edit, &mut row, uid, &message, now)?;
                gone.insert(uid);
            }
        }
    }
    if gone.is_empty() {
        return Ok((gone, Effects::default()));
    }
    row.highest_mod_seq = ModSeq::new(edit.change);
    put_mailbox(&mut edit, &row)?;
    let change = edit.change;
    edit.tell(*id, Effect::Expunged(gone.clone(), change));
    Ok((gone, edit.finish()?))
}

/// Copies messages to another mailbox of this partition; blobs are shared. Messages that are gone
/// are left out. The viewer's seen state goes along.
pub fn copy(
    rows: &mut dyn RowsMut,
    from: &MailboxId,
    uids: &UidSet,
    to: &MailboxId,
    viewer: (Viewer<'_>, Viewer<'_>),
    now: Timestamp,
) -> Result<(CopiedUids, Effects), MailError> {
    let source = mailbox(rows, from)?.ok_or(MailError::NoSuchMailbox)?;
    let mut row = mailbox(rows, to)?.ok_or(MailError::NoSuchMailbox)?;
    let mut edit = Edit::begin(rows, &row.unit)?;
    let mut copied = CopiedUids::new(row.uid_validity);
    let mut entries = Vec::new();
    for (first, last) in uids.ranges() {
        for (uid, mut message) in messages(edit.rows, from, *first, *last)? {
            let seen = match viewer.0 {
                Viewer::Owner => None,
                Viewer::Other(user) => Some(seen_row(edit.rows, from, user, uid)?),
            };
            let is_seen = effective(&message, seen).flags.contains(SystemFlags::SEEN);
            message.keywords = translate(&source, &mut row, message.keywords)?;
            message.flags = message.flags.without(SystemFlags::SEEN);
            if is_seen && viewer.1 == Viewer::Owner {
                message.flags = message.flags.with(SystemFlags::SEEN);
            }
            share_blob(edit.rows, message.blob)?;
            let new = insert(&mut edit, &mut row, message, now)?;
            if let (true, Viewer::Other(user)) = (is_seen, viewer.1) {
                edit.put(
                    Table::Seen,
                    &keys::seen(to, user, new.uid),
                    &SeenRow { seen: true },
                    &[],
                )?;
            }
            copied.push(uid, new.uid);
            entries.push(new);
        }
    }
    if entries.is_empty() {
        return Ok((copied, Effects::default()));
    }
    put_mailbox(&mut edit, &row)?;
    edit.tell(*to, Effect::Appended(entries));
    Ok((copied, edit.finish()?))
}

/// Moves messages to another mailbox of the same unit, in one change.
pub fn move_messages(
    rows: &mut dyn RowsMut,
    from: &MailboxId,
    uids: &UidSet,
    to: &MailboxId,
    now: Timestamp,
) -> Result<(CopiedUids, Effects), MailError> {
    let source = mailbox(rows, from)?.ok_or(MailError::NoSuchMailbox)?;
    let destination = mailbox(rows, to)?.ok_or(MailError::NoSuchMailbox)?;
    if source.unit != destination.unit {
        return Err(MailError::OtherUnit);
    }
    let mut edit = Edit::begin(rows, &source.unit)?;
    let copied = move_rows(&mut edit, from, uids, to, now)?;
    Ok((copied, edit.finish()?))
}

pub(super) fn move_rows(
    edit: &mut Edit<'_>,
    from: &MailboxId,
    uids: &UidSet,
    to: &MailboxId,
    now: Timestamp,
) -> Result<CopiedUids, MailError> {
    let mut source = mailbox(edit.rows, from)?.ok_or(MailError::NoSuchMailbox)?;
    let mut destination = mailbox(edit.rows, to)?.ok_or(MailError::NoSuchMailbox)?;
    let mut copied = CopiedUids::new(destination.uid_validity);
    let (mut entries, mut gone) = (Vec::new(), UidSet::new());
    for (first, last) in uids.ranges() {
        for (uid, message) in messages(edit.rows, from, *first, *last)? {
            take_out(edit, &mut source, uid, &message, now)?;
            gone.insert(uid);
            if from == to {
                destination = source.clone();
            }
            let mut arriving = message;
            arriving.keywords = translate(&source, &mut destination, message.keywords)?;
            let new = insert(edit, &mut destination, arriving, now)?;
            if from == to {
                source = destination.clone();
            }
            move_seen(edit, from, uid, to, new.uid, now)?;
            copied.push(uid, new.uid);
            entries.push(new);
        }
    }
    if entries.is_empty() {
        return Ok(copied);
    }
    let change = edit.change;
    source.highest_mod_seq = ModSeq::new(change);
    put_mailbox(edit, &source)?;
    if from != to {
        put_mailbox(edit, &destination)?;
    }
    edit.tell(*from, Effect::Expunged(gone, change));
    edit.tell(*to, Effect::Appended(entries));
    Ok(copied)
}

impl CopiedUids {
    fn new(uid_validity: UidValidity) -> Self {
        Self {
            uid_validity,
            source: Vec::new(),
            destination: Vec::new(),
        }
    }

    fn push(&mut self, source: u32, destination: u32) {
        self.source.push(source);
        self.destination.push(destination);
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct SeenRow {
    pub(super) seen: bool,
}

/// Every viewer's seen state follows a message that is moved.
fn move_seen(
    edit: &mut Edit<'_>,
    from: &MailboxId,
    uid: u32,
    to: &MailboxId,
    new_uid: u32,
    now: Timestamp,
) -> Result<(), MailError> {
    let low = keys::mailbox(from);
    let high = keys::after_prefix(&low);
    let suffix = uid.to_be_bytes();
    let mut found = Vec::new();
    edit.rows
        .scan(Table::Seen, &low, &high, &mut |key, value| {
            if key.ends_with(&suffix)
                && let Ok(Some(row)) = live::<SeenRow>(Table::Seen, key, value)
            {
                found.push((key.to_vec(), row));
            }
            ControlFlow::Continue(())
        })?;
    for (key, row) in found {
        let mut moved = to.as_bytes().to_vec();
        moved.extend_from_slice(&key[16..key.len() - 4]);
        moved.extend_from_slice(&new_uid.to_be_bytes());
        edit.put(Table::Seen, &moved, &row, &[])?;
        edit.remove(Table::Seen, &key, now)?;
    }
    Ok(())
}

fn seen_row(
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

/// The flags as a viewer sees them; `seen` is the viewer's own row, `None` for the owner.
fn effective(message: &MessageRow, seen: Option<(bool, ModSeq)>) -> StoredFlags {
    let (flags, mod_seq) = match seen {
        None => (message.flags, message.mod_seq),
        Some((seen, changed)) => {
            let flags = message.flags.without(SystemFlags::SEEN);
            let flags = if seen {
                flags.with(SystemFlags::SEEN)
            } else {
                flags
            };
            (flags, message.mod_seq.max(changed))
        }
    };
    StoredFlags {
        uid: 0,
        flags,
        keywords: message.keywords,
        mod_seq,
    }
}

fn combine<T>(change: FlagChange, old: T, new: T, mask: T) -> T
where
    T: Copy
        + std::ops::BitAnd<Output = T>
        + std::ops::BitOr<Output = T>
        + std::ops::Not<Output = T>,
{
    match change {
        FlagChange::Replace => (old & !mask) | (new & mask),
        FlagChange::Add => old | (new & mask),
        FlagChange::Remove => old & !(new & mask),
    }
}

fn count_flags(row: &mut MailboxRow, old: SystemFlags, new: SystemFlags) {
    let has = |flags: SystemFlags, flag| u32::from(flags.contains(flag));
    row.unseen = row.unseen + has(old, SystemFlags::SEEN) - has(new, SystemFlags::SEEN);
    row.deleted = row.deleted + has(new, SystemFlags::DELETED) - has(old, SystemFlags::DELETED);
}

fn put_message(
    edit: &mut Edit<'_>,
    mailbox: &MailboxId,
    uid: u32,
    message: &mut MessageRow,
) -> Result<(), MailError> {
    message.mod_seq = ModSeq::new(edit.change);
    let key = keys::message(mailbox, uid);
    edit.put(Table::Messages, &key, message, &message.blob.to_be_bytes())
}

fn place_message(
    edit: &mut Edit<'_>,
    row: &mut MailboxRow,
    message: &NewMessage<'_>,
    keywords: u128,
    blob: u64,
    now: Timestamp,
) -> Result<Appended, MailError> {
    let new = MessageRow {
        guid: message.guid,
        email_id: message.email_id,
        size: u32::try_from(message.content.len()).unwrap_or(u32::MAX),
        flags: message.flags,
        keywords,
        internal_date: message.internal_date,
        saved: now,
        created: edit.change,
        mod_seq: ModSeq::new(edit.change),
        blob,
    };
    let entry = insert(edit, row, new, now)?;
    edit.tell(row.id, Effect::Appended(vec![entry]));
    Ok(Appended {
        uid_validity: row.uid_validity,
        uid: Uid::new(entry.uid).expect("UIDs begin at 1"),
        mod_seq: entry.mod_seq,
    })
}

/// Gives a message the next UID of `row`, which the caller writes afterwards.
fn insert(
    edit: &mut Edit<'_>,
    row: &mut MailboxRow,
    mut message: MessageRow,
    now: Timestamp,
) -> Result<Entry, MailError> {
    let uid = row.uid_next;
    row.uid_next = uid.checked_add(1).ok_or(MailError::NoUidsLeft)?;
    row.exists += 1;
    row.bytes += u64::from(message.size);
    row.unseen += u32::from(!message.flags.contains(SystemFlags::SEEN));
    row.deleted += u32::from(message.flags.contains(SystemFlags::DELETED));
    row.highest_mod_seq = ModSeq::new(edit.change);
    edit.unit.messages += 1;
    edit.unit.bytes += u64::from(message.size);
    message.created = edit.change;
    message.saved = now;
    put_message(edit, &row.id, uid, &mut message)?;
    Ok(Entry::new(uid, &message))
}

/// Leaves a mark in the place of a message; `row` is written by the caller, the blob is untouched.
fn take_out(
    edit: &mut Edit<'_>,
    row: &mut MailboxRow,
    uid: u32,
    message: &MessageRow,
    now: Timestamp,
) -> Result<(), MailError> {
    row.exists -= 1;
    row.bytes -= u64::from(message.size);
    row.unseen -= u32::from(!message.flags.contains(SystemFlags::SEEN));
    row.deleted -= u32::from(message.flags.contains(SystemFlags::DELETED));
    edit.unit.messages -= 1;
    edit.unit.bytes -= u64::from(message.size);
    edit.remove(Table::Messages, &keys::message(&row.id, uid), now)
}

fn known_bits(row: &MailboxRow, keywords: &[Keyword]) -> u128 {
    let position = |keyword: &Keyword| row.keywords.iter().position(|known| known == keyword);
    keywords
        .iter()
        .filter_map(position)
        .fold(0, |bits, bit| bits | 1 << bit)
}

/// Bits of the keywords in this mailbox; new ones are given bits.
fn keyword_bits(row: &mut MailboxRow, keywords: &[Keyword]) -> Result<u128, MailError> {
    for keyword in keywords {
        if !row.keywords.contains(keyword) {
            if row.keywords.len() == KEYWORDS_MAX {
                return Err(MailError::TooManyKeywords);
            }
            row.keywords.push(keyword.clone());
        }
    }
    Ok(known_bits(row, keywords))
}

/// The same keywords in another mailbox.
fn translate(from: &MailboxRow, to: &mut MailboxRow, bits: u128) -> Result<u128, MailError> {
    if bits == 0 {
        return Ok(0);
    }
    let set = from
        .keywords
        .iter()
        .enumerate()
        .filter(|(bit, _)| bits >> bit & 1 == 1);
    let names: Vec<Keyword> = set.map(|(_, keyword)| keyword.clone()).collect();
    keyword_bits(to, &names)
}

fn blob(rows: &dyn Rows, number: u64) -> Result<Option<BlobRow>, MailError> {
    let key = keys::number(number);
    match rows.read(Table::Blobs, &key)? {
        Some(value) => Ok(Some(BlobRow::decode(&key, &value)?)),
        None => Ok(None),
    }
}

const NEXT_BLOB: &[u8] = b"mail.next-blob";

fn add_blob(rows: &mut dyn RowsMut, message: &NewMessage<'_>) -> Result<u64, MailError> {
    add_content(rows, message.content, message.structure)
}

pub(super) fn add_content(
    rows: &mut dyn RowsMut,
    content: BlobSource<'_>,
    structure: &[u8],
) -> Result<u64, MailError> {
    let place = rows.put_blob(content)?;
    let number = match rows.read(Table::Meta, NEXT_BLOB)? {
        Some(value) => fields_of(Table::Meta, NEXT_BLOB, &value)?,
        None => 1_u64,
    };
    rows.put(Table::Meta, NEXT_BLOB, &to_fields(&(number + 1)))?;
    let row = BlobRow {
        place,
        references: 1,
    };
    rows.put(Table::Blobs, &keys::number(number), &row.encode())?;
    rows.put(Table::Structures, &keys::number(number), structure)?;
    Ok(number)
}

/// One more message has the blob.
pub(super) fn share_blob(rows: &mut dyn RowsMut, number: u64) -> Result<(), MailError> {
    if let Some(mut row) = blob(rows, number)? {
        row.references += 1;
        rows.put(Table::Blobs, &keys::number(number), &row.encode())?;
    }
    Ok(())
}

pub(super) fn release_blob(rows: &mut dyn RowsMut, number: u64) -> Result<(), MailError> {
    let Some(mut row) = blob(rows, number)? else {
        return Ok(());
    };
    row.references -= 1;
    if row.references > 0 {
        rows.put(Table::Blobs, &keys::number(number), &row.encode())?;
        return Ok(());
    }
    rows.delete(Table::Blobs, &keys::number(number))?;
    rows.delete(Table::Structures, &keys::number(number))?;
    Ok(rows.release_blob(row.place)?)
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
        let uid = key.last_chunk::<4>().map(|uid| u32::from_be_bytes(*uid));
        match (uid, decode(Table::Seen, key, value)) {
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
