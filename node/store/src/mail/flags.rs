//! Flags and keywords: STORE, and what of them belongs to whom.

use murder_model::{Keyword, MailboxId, ModSeq, SystemFlags, UidSet, UserName};

use crate::mail::edit::{Edit, Effect, Effects};
use crate::mail::error::MailError;
use crate::mail::keys;
use crate::mail::mailbox::{mailbox, put_mailbox};
use crate::mail::message::{messages, put_message};
use crate::mail::row::{KEYWORDS_MAX, MailboxRow, MessageRow};
use crate::mail::seen::{SeenRow, seen_row};
use crate::mail::view::Entry;
use crate::rows::{RowsMut, Table};

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

/// The flags as a viewer sees them; `seen` is the viewer's own row, `None` for the owner.
pub(super) fn effective(message: &MessageRow, seen: Option<(bool, ModSeq)>) -> StoredFlags {
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

fn known_bits(row: &MailboxRow, keywords: &[Keyword]) -> u128 {
    let position = |keyword: &Keyword| row.keywords.iter().position(|known| known == keyword);
    keywords
        .iter()
        .filter_map(position)
        .fold(0, |bits, bit| bits | 1 << bit)
}

/// Bits of the keywords in this mailbox; new ones are given bits.
pub(super) fn keyword_bits(row: &mut MailboxRow, keywords: &[Keyword]) -> Result<u128, MailError> {
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
pub(super) fn translate(
    from: &MailboxRow,
    to: &mut MailboxRow,
    bits: u128,
) -> Result<u128, MailError> {
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
