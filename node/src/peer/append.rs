//! Messages for mailboxes of the server that is spoken to: copies, APPENDs and deliveries.
//!
//! A conversation carries any number of requests, one after the other. Each has an id, under which
//! the owner remembers what it did, so that a request that is made again changes nothing and is
//! answered as it was the first time.
//!
//! ```text
//! Append    -> Ready, contents ->  Done | Delivered | Refused | Moved | Elsewhere | Unavailable
//!           -> any of these at once, without contents
//! Withdraw  -> Done (too late) | Withdrawn | Moved | Elsewhere | Unavailable
//! ```
//!
//! All messages of a request are appended in one commit, or none is. *Withdraw* makes sure that a
//! request that may still be on its way will never be done: the owner remembers, under its id, that
//! nothing was appended. So whoever lost an answer learns for certain what became of it.

mod contents;
mod serve;

use murder_model::{
    DeliveryId, EmailId, Epoch, Guid, InternalDate, Keyword, MailboxName, RootName, ServerName,
    SystemFlags, Term, UserName,
};
use murder_store::mail::CopiedUids;
use serde::{Deserialize, Serialize};

pub(crate) use serve::converse;
pub use serve::serve;

/// Most messages in one request.
pub const MESSAGES_MAX: usize = 10_000;
/// Most bytes of contents in one request, unless it has a single message. They are spooled by the
/// owner, and hold up other writes of its partition while they are appended.
pub const BYTES_MAX: u64 = 256 << 20;
/// Longest message.
pub const MESSAGE_BYTES_MAX: u64 = 1 << 30;

/// From whoever has messages for a mailbox.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum ToOwner {
    /// Append these, all or none; contents follow once the owner is ready.
    Append(Append),
    /// Never do what was asked for under this id, unless it is done already.
    Withdraw {
        /// The request's.
        id: DeliveryId,
        /// Below which its mailbox was.
        root: RootName,
    },
}

/// Messages on their way to a mailbox.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Append {
    /// Under which it is remembered.
    pub id: DeliveryId,
    /// Where to.
    pub mailbox: MailboxName,
    /// On whose behalf.
    pub author: Author,
    /// Keywords by bit, as messages have them.
    pub keywords: Vec<Keyword>,
    /// The messages, in the order of their UIDs at the source.
    pub messages: Vec<Item>,
}

/// On whose behalf messages are appended, which says what right is needed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum Author {
    /// A user, who needs the right to insert. `\Seen` is this user's.
    User {
        /// The user.
        name: UserName,
        /// May do everything that administrators may.
        is_admin: bool,
    },
    /// A delivery of one message. Owners need no right, shared folders must be open to everybody.
    Delivery {
        /// By which a repeated delivery is recognised.
        key: Option<[u8; 32]>,
    },
}

/// A message without its bytes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Item {
    /// UID at the source.
    pub uid: u32,
    /// Bytes.
    pub length: u64,
    /// BLAKE3 of its bytes.
    pub guid: Guid,
    /// Identifies the content for clients.
    pub email_id: EmailId,
    /// System flags; `\Seen` as the author sees it.
    pub flags: SystemFlags,
    /// Bits of keywords.
    pub keywords: u128,
    /// Internal date.
    pub internal_date: InternalDate,
}

/// From the owner.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum FromOwner {
    /// Go on with the contents.
    Ready,
    /// Appended, durably, now or earlier.
    Done(CopiedUids),
    /// The delivery is durable.
    Delivered {
        /// `false`: it was recognised as repeated.
        stored: bool,
    },
    /// Nothing was appended under this id, and nothing ever will be.
    Withdrawn,
    /// Not done, and not because of where it was asked.
    Refused(Refusal),
    /// Another server has the unit.
    Moved {
        /// Which.
        to: ServerName,
        /// Term of its grant.
        term: Term,
        /// Epoch of its grant.
        epoch: Epoch,
    },
    /// The unit is not here; ask the master.
    Elsewhere,
    /// Not now.
    Unavailable,
}

/// Why messages are not appended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Refusal {
    /// No such mailbox, or not for this user.
    NoSuchMailbox,
    /// The author lacks the right.
    NotAllowed,
    /// No room.
    Full,
    /// The mailbox cannot hold more of something.
    Limit(String),
    /// The request makes no sense.
    Malformed,
}

impl Append {
    /// Bytes of all contents.
    pub fn bytes(&self) -> u64 {
        let lengths = self.messages.iter().map(|item| item.length);
        lengths.fold(0, u64::saturating_add)
    }

    fn is_within_limits(&self) -> bool {
        let single = self.messages.len() == 1;
        self.messages.len() <= MESSAGES_MAX
            && self.bytes() <= if single { MESSAGE_BYTES_MAX } else { BYTES_MAX }
            && (single || !matches!(self.author, Author::Delivery { .. }))
    }
}
