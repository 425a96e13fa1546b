//! What an IMAP client can ask for, as types (RFC 3501 section 6 and the extensions named at each
//! variant).
//!
//! Parsing decides syntax only. Mailbox names, flags, rights and capability names are kept as the
//! client's bytes: whether they mean something is for the server to decide, with the answer that
//! fits (`NO [NONEXISTENT]`, `NO [CANNOT]`, …) rather than `BAD`. Sequence sets, numbers and dates
//! are parsed. Byte strings are slices of the received command, so building a command copies
//! nothing but escaped quoted strings.
//!
//! `APPEND` is not here: its message is streamed, see [`super::server::Event::Append`].

mod message;

use std::fmt;

use bytes::Bytes;
use murder_model::{InternalDate, SequenceSet};

pub use message::{
    Copy, Fetch, FetchItem, Partial, SEARCH_DEPTH_MAX, SECTION_DEPTH_MAX, Search, SearchKey,
    Section, SectionText, Store, StoreMode,
};

/// One command, without its tag.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// `CAPABILITY`.
    Capability,
    /// `NOOP`.
    Noop,
    /// `LOGOUT`.
    Logout,
    /// `ID` (RFC 2971): the client's fields as sent; empty for `NIL`.
    Id(Vec<(Bytes, Option<Bytes>)>),
    /// `STARTTLS`. The driver must discard what was buffered before it starts TLS.
    StartTls,
    /// `AUTHENTICATE`, with the initial response of RFC 4959 where one was sent.
    Authenticate {
        /// SASL mechanism as sent.
        mechanism: Bytes,
        /// Decoded initial response; `Some` and empty for `=`.
        initial: Option<Secret>,
    },
    /// `LOGIN`.
    Login {
        /// User name as sent.
        user: Bytes,
        /// Password.
        password: Secret,
    },
    /// `ENABLE` (RFC 5161): capability names as sent.
    Enable(Vec<Bytes>),
    /// `NAMESPACE` (RFC 2342).
    Namespace,
    /// `SELECT`.
    Select(Select),
    /// `EXAMINE`.
    Examine(Select),
    /// `CREATE`, with `USE` of RFC 6154 and the partition that Cyrus' administrators may name.
    Create(Create),
    /// `DELETE`.
    Delete {
        /// Mailbox to delete.
        mailbox: Bytes,
    },
    /// `RENAME`, also in Cyrus' form with a location.
    Rename(Rename),
    /// `SUBSCRIBE`.
    Subscribe {
        /// Mailbox to add to the subscriptions.
        mailbox: Bytes,
    },
    /// `UNSUBSCRIBE`.
    Unsubscribe {
        /// Mailbox to take from the subscriptions.
        mailbox: Bytes,
    },
    /// `LIST`, plain or extended (RFC 5258, RFC 5819, RFC 6154).
    List(List),
    /// `LSUB`.
    Lsub {
        /// Reference name.
        reference: Bytes,
        /// Pattern with `%` and `*`.
        pattern: Bytes,
    },
    /// `STATUS`.
    Status {
        /// Mailbox asked about.
        mailbox: Bytes,
        /// What was asked, in the client's order.
        items: Vec<StatusItem>,
    },
    /// `CHECK`.
    Check,
    /// `CLOSE`.
    Close,
    /// `UNSELECT` (RFC 3691).
    Unselect,
    /// `EXPUNGE`, or `UID EXPUNGE` (RFC 4315) with its UIDs.
    Expunge {
        /// Only these UIDs; all deleted messages when absent.
        uids: Option<SequenceSet>,
    },
    /// `SEARCH` or `UID SEARCH`.
    Search(Search),
    /// `FETCH` or `UID FETCH`.
    Fetch(Fetch),
    /// `STORE` or `UID STORE`.
    Store(Store),
    /// `COPY` or `UID COPY`.
    Copy(Copy),
    /// `MOVE` or `UID MOVE` (RFC 6851).
    Move(Copy),
    /// `IDLE` (RFC 2177). The driver answers `+` and calls `Reader::expect_done`.
    Idle,
    /// `SETACL` (RFC 4314).
    SetAcl(SetAcl),
    /// `DELETEACL`.
    DeleteAcl {
        /// Mailbox whose list changes.
        mailbox: Bytes,
        /// Identifier to remove.
        identifier: Bytes,
    },
    /// `GETACL`.
    GetAcl {
        /// Mailbox asked about.
        mailbox: Bytes,
    },
    /// `LISTRIGHTS`.
    ListRights {
        /// Mailbox asked about.
        mailbox: Bytes,
        /// Identifier asked about.
        identifier: Bytes,
    },
    /// `MYRIGHTS`.
    MyRights {
        /// Mailbox asked about.
        mailbox: Bytes,
    },
    /// `XFER` of Cyrus: move a user or a mailbox to another server.
    Xfer {
        /// Mailbox to move.
        mailbox: Bytes,
        /// Destination server.
        server: Bytes,
        /// Destination partition.
        partition: Option<Bytes>,
    },
    /// A verb that this parser does not know. Whether that is an error is the server's choice.
    Other {
        /// The verb in upper case; for `UID X` it is `UID X`.
        verb: Bytes,
        /// Everything after the verb and its space, without the final line end.
        arguments: Bytes,
    },
}

/// Bytes that must not reach a log: passwords and SASL responses.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Keeps `bytes` out of sight of `Debug`.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Arguments of `SELECT` and `EXAMINE`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Select {
    /// Mailbox to open.
    pub mailbox: Bytes,
    /// `(CONDSTORE)` was given (RFC 7162 3.1.8).
    pub condstore: bool,
    /// `(QRESYNC (…))` (RFC 7162 3.2.5).
    pub qresync: Option<Qresync>,
}

/// What a returning client knows of a mailbox (RFC 7162 3.2.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Qresync {
    /// UIDVALIDITY that the client has seen.
    pub uid_validity: u32,
    /// Highest modification sequence that the client has seen.
    pub mod_seq: u64,
    /// UIDs that the client knows.
    pub known_uids: Option<SequenceSet>,
    /// Message numbers and the UIDs that they had, as pairs to compare.
    pub sequence_match: Option<(SequenceSet, SequenceSet)>,
}

/// Arguments of `CREATE`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Create {
    /// Mailbox to create.
    pub mailbox: Bytes,
    /// `USE` attributes as sent, `\Sent` and so on (RFC 6154 section 3).
    pub special_use: Vec<Bytes>,
    /// Cyrus' `CREATE mailbox partition`.
    pub partition: Option<Bytes>,
}

/// Arguments of `RENAME`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rename {
    /// Present name.
    pub from: Bytes,
    /// New name; equal to `from` when only the location changes.
    pub to: Bytes,
    /// `partition` or `server!partition` of Cyrus' three-argument form.
    pub location: Option<Bytes>,
}

/// Arguments of `LIST`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct List {
    /// Selection options; all off for a plain `LIST`.
    pub selection: ListSelection,
    /// Reference name.
    pub reference: Bytes,
    /// Patterns; exactly one unless the list form was used.
    pub patterns: Vec<Bytes>,
    /// Return options; `None` when no `RETURN` was given.
    pub returns: Option<ListReturn>,
    /// The command had selection options, several patterns or `RETURN`: `LIST "" ""` is then not
    /// the question for the delimiter (RFC 5258 section 3).
    pub extended: bool,
}

/// Selection options of `LIST` (RFC 5258 3.1, RFC 6154 section 4).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ListSelection {
    /// `SUBSCRIBED`: list subscribed names.
    pub subscribed: bool,
    /// `REMOTE`: list remote mailboxes too.
    pub remote: bool,
    /// `RECURSIVEMATCH`: tell of parents whose children match.
    pub recursive_match: bool,
    /// `SPECIAL-USE`: list special-use mailboxes only.
    pub special_use: bool,
}

/// Return options of `LIST` (RFC 5258 3.2, RFC 5819, RFC 6154 section 4).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListReturn {
    /// `SUBSCRIBED`.
    pub subscribed: bool,
    /// `CHILDREN`.
    pub children: bool,
    /// `SPECIAL-USE`.
    pub special_use: bool,
    /// `STATUS (…)`: an untagged STATUS for each mailbox listed.
    pub status: Option<Vec<StatusItem>>,
}

/// A number that `STATUS` can tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatusItem {
    /// `MESSAGES`.
    Messages,
    /// `RECENT`.
    Recent,
    /// `UIDNEXT`.
    UidNext,
    /// `UIDVALIDITY`.
    UidValidity,
    /// `UNSEEN`.
    Unseen,
    /// `HIGHESTMODSEQ` (RFC 7162 3.1.7).
    HighestModSeq,
    /// `SIZE` (RFC 8438).
    Size,
}

impl StatusItem {
    /// The item as it stands in commands and responses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "MESSAGES",
            Self::Recent => "RECENT",
            Self::UidNext => "UIDNEXT",
            Self::UidValidity => "UIDVALIDITY",
            Self::Unseen => "UNSEEN",
            Self::HighestModSeq => "HIGHESTMODSEQ",
            Self::Size => "SIZE",
        }
    }
}

/// Arguments of `APPEND` before its message (RFC 3501 6.3.11).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Append {
    /// Mailbox to append to.
    pub mailbox: Bytes,
    /// Flags as sent.
    pub flags: Vec<Bytes>,
    /// Internal date, if given.
    pub date: Option<InternalDate>,
    /// Length of the message, at most the reader's `append_bytes_max`.
    pub size: u64,
    /// The client waits for `+` before it sends the message.
    pub synchronizing: bool,
}

/// Arguments of `SETACL` (RFC 4314 3.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SetAcl {
    /// Mailbox whose list changes.
    pub mailbox: Bytes,
    /// Identifier, with a leading `-` where rights are denied.
    pub identifier: Bytes,
    /// What to do with the rights.
    pub mode: AclMode,
    /// Rights as sent, without `+` or `-`.
    pub rights: Bytes,
}

/// What `SETACL` does with its rights.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AclMode {
    /// Exactly these.
    Replace,
    /// `+`: add them.
    Add,
    /// `-`: take them away.
    Remove,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out_of_debug_output() {
        let login = Command::Login {
            user: "u".into(),
            password: Secret::new("hunter2"),
        };
        assert!(!format!("{login:?}").contains("hunter2"));
    }
}
