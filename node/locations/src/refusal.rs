//! Why the master refuses.

use murder_model::{Fence, ServerId, ServerName, Term};
use serde::{Deserialize, Serialize};

use crate::name::NAME_BYTES_MAX;
use crate::record::UnitRecord;

/// Why nothing was changed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
pub enum Refusal {
    /// The identity may not do this.
    #[error("{0} may not do this")]
    NotAllowed(String),
    /// The sender's promised term is not the master's.
    #[error("term {} is not the master's term {}", .theirs.get(), .ours.get())]
    WrongTerm {
        /// What the sender promised.
        theirs: Term,
        /// What the master reigns under.
        ours: Term,
    },
    /// The fence is below one that was seen.
    #[error("fence {} is below {}", .theirs.get(), .highest.get())]
    Fenced {
        /// What the operator sent.
        theirs: Fence,
        /// Highest seen.
        highest: Fence,
    },
    /// Servers must report first (O5).
    #[error("waiting for the report of {}", .0.iter().map(ServerName::as_str).collect::<Vec<_>>().join(", "))]
    AwaitingReports(Vec<ServerName>),
    /// The server has not reported to this term.
    #[error("server has not reported")]
    NotReported,
    /// No such server.
    #[error("no such server")]
    UnknownServer,
    /// The identity is retired for ever.
    #[error("server is retired")]
    Retired,
    /// Its numbers went back; an administrator must confirm (O8).
    #[error("server's incarnation or log went back: confirm the restored volume first")]
    Blocked,
    /// Nothing to confirm.
    #[error("server is not blocked")]
    NotBlocked,
    /// Another identity has this server name.
    #[error("server name belongs to {0}")]
    NameTaken(ServerId),
    /// It still owns, or is being given, units.
    #[error("server still has {0} units")]
    OwnsUnits(u64),
    /// Another unit or Cyrus row has the root.
    #[error("root is taken")]
    RootTaken,
    /// No such unit.
    #[error("no such unit")]
    UnknownUnit,
    /// The unit was dropped, or its id used before.
    #[error("unit was dropped")]
    UnitDropped,
    /// The record is another than the request assumes (O3, O6).
    #[error("unit is at another epoch or owner")]
    Superseded(Box<UnitRecord>),
    /// Name does not lie under the unit's root.
    #[error("name is not under the unit's root")]
    ForeignName,
    /// The restatement does not add up; nothing was deleted.
    #[error("restatement has {found} names, not {expected}")]
    IncompleteRestatement {
        /// What it claimed.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// UIDVALIDITYs are used up.
    #[error("no UIDVALIDITY is left")]
    UidValidityExhausted,
    /// RFC 3656: a row exists at another location.
    #[error("mailbox already exists")]
    MailboxExists,
    /// RFC 3656: no such row.
    #[error("mailbox doesn't exist")]
    NoMailbox,
    /// RFC 3656: the row is reserved only.
    #[error("mailbox not currently active")]
    NotActive,
    /// Not `server!partition`.
    #[error("location is not server!partition")]
    BadLocation,
    /// Too long.
    #[error("name is empty or longer than {NAME_BYTES_MAX} octets")]
    BadName,
}
