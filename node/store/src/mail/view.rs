//! What sessions need of each message all the time, in little memory.

use murder_model::{MailboxId, ModSeq, SystemFlags};

use crate::mail::error::MailError;
use crate::mail::message::messages;
use crate::mail::row::MessageRow;
use crate::rows::Rows;

/// A message as a view holds it: 48 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Keyword bits.
    pub keywords: u128,
    /// Change number of its last change.
    pub mod_seq: ModSeq,
    /// Change number of its creation.
    pub created: u64,
    /// UID.
    pub uid: u32,
    /// Bytes.
    pub size: u32,
    /// System flags; `\Seen` is the owner's.
    pub flags: SystemFlags,
}

impl Entry {
    pub(super) fn new(uid: u32, message: &MessageRow) -> Self {
        Self {
            keywords: message.keywords,
            mod_seq: message.mod_seq,
            created: message.created,
            uid,
            size: message.size,
            flags: message.flags,
        }
    }
}

const _: () = assert!(
    size_of::<Entry>() <= 64,
    "memory of a view is bounded by this"
);

/// All messages of a mailbox, ascending.
pub fn view_entries(rows: &dyn Rows, mailbox: &MailboxId) -> Result<Vec<Entry>, MailError> {
    let messages = messages(rows, mailbox, 1, u32::MAX)?;
    Ok(messages
        .iter()
        .map(|(uid, message)| Entry::new(*uid, message))
        .collect())
}
