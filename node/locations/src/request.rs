//! What nodes, operators and Cyrus servers ask of the master, and what it answers.
//!
//! The node carries these opaque over MUPDATE (RFC 3656) in commands of our own: one version
//! octet, then postcard. A request changes something only if its answer says so, and the answer is
//! given after the batch that it came in is durable.

use murder_model::{
    Attempt, Epoch, Fence, Incarnation, MailboxId, MoveId, OutboxNumber, PartitionName, RootName,
    ServerId, ServerName, SpecialUse, Term, UnitId, UnitState,
};
use serde::{Deserialize, Serialize};

pub use crate::name::{NAME_BYTES_MAX, Name};
pub use crate::record::*;
pub use crate::refusal::Refusal;
pub use crate::wire::{DecodeError, ENCODED_BYTES_MAX, WIRE_VERSION, decode, encode};

/// Who asks, as its certificate or account says; authority follows from it.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Identity {
    /// Server name for nodes, account for others.
    pub name: String,
    /// What it is.
    pub role: Role,
}

/// What an identity is. A unified node or single server is a [`Role::Backend`] here.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Role {
    /// Reads only.
    Frontend,
    /// Writes the rows of the units it owns; nothing else.
    Backend,
    /// Another mupdate server; reads only.
    Mupdate,
    /// Flags, retires and confirms servers, with a fence.
    Operator,
    /// A Cyrus administrator: writes rows of Cyrus servers, never those of our own units.
    Cyrus,
}

/// A request to the master.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Request {
    /// A server (re)connects: identity, numbers, addresses, and its promise to this term.
    Report(Report),
    /// One unit that the reporting server holds in any state.
    ReportUnit(ReportedUnit),
    /// The report is complete.
    ReportDone {
        /// The reporting server.
        server_id: ServerId,
        /// Its start.
        incarnation: Incarnation,
    },
    /// Free space and log sequence numbers, now and then.
    Space {
        /// The server.
        server_id: ServerId,
        /// Its partitions.
        partitions: Vec<PartitionSpace>,
    },
    /// After a confirmed restore: all UIDVALIDITYs are above the floor that the master named.
    UidValidityRaised {
        /// The server.
        server_id: ServerId,
    },
    /// A new root for the asking server. The server has recorded CREATING under this unit id. An id
    /// whose root was taken is never granted afterwards.
    Grant {
        /// Id that the asker made for the unit.
        unit: UnitId,
        /// The root.
        root: RootName,
        /// The partition that it will lie in.
        partition: PartitionName,
        /// The asker's promised term.
        term: Term,
    },
    /// The owner, having recorded RELEASED, gives the unit to a destination: the commit point.
    Flip {
        /// The unit.
        unit: UnitId,
        /// Epoch under which the asker released it.
        from_epoch: Epoch,
        /// Who gets it.
        destination: ServerId,
        /// Partition at the destination.
        partition: PartitionName,
        /// The move.
        move_id: MoveId,
        /// The freeze.
        attempt: Attempt,
        /// The asker's promised term.
        term: Term,
    },
    /// The owner of record asks what became of its RELEASED(epoch, move).
    Settle {
        /// The unit.
        unit: UnitId,
        /// Epoch under which the asker released it.
        epoch: Epoch,
        /// The move.
        move_id: MoveId,
        /// The asker's promised term.
        term: Term,
    },
    /// One outbox row of a unit.
    Row(Row),
    /// The owner deleted the unit with all that was under it.
    DropUnit {
        /// The unit.
        unit: UnitId,
        /// Its epoch.
        epoch: Epoch,
        /// Its outbox number.
        number: OutboxNumber,
        /// Highest UIDVALIDITY that any of its mailboxes had (O7).
        uidvalidity_max: u32,
    },
    /// Reads a unit and its owner of record. A unit that was dropped is refused as such; that there is
    /// none is said only once every server has reported (O5).
    FindUnit(UnitRef),
    /// RFC 3656 FIND.
    Find(Name),
    /// RFC 3656 LIST, a page of it, byte-sorted by name.
    List {
        /// Prefix of `server!partition`, octet by octet; empty for all.
        prefix: Vec<u8>,
        /// Continue after this name.
        after: Option<Name>,
        /// Rows at most, capped by the master.
        limit: u32,
    },
    /// RFC 3656 RESERVE.
    Reserve {
        /// Mailbox name.
        name: Name,
        /// `server!partition`.
        location: Vec<u8>,
    },
    /// RFC 3656 ACTIVATE.
    Activate {
        /// Mailbox name.
        name: Name,
        /// `server!partition`.
        location: Vec<u8>,
        /// Access control list.
        acl: Vec<u8>,
    },
    /// DEACTIVATE: the row becomes a RESERVE at the location.
    Deactivate {
        /// Mailbox name.
        name: Name,
        /// `server!partition`.
        location: Vec<u8>,
    },
    /// RFC 3656 DELETE.
    Delete(Name),
    /// An operator cordons, uncordons or drains a server.
    SetFlags {
        /// The server.
        server: ServerName,
        /// What is wanted of it.
        flags: ServerFlags,
        /// The operator's leadership.
        fence: Fence,
    },
    /// An operator retires a server's identity for ever; refused while it owns a unit.
    Retire {
        /// The identity.
        server_id: ServerId,
        /// The operator's leadership.
        fence: Fence,
    },
    /// An administrator confirms that a restored volume is to be used (O8).
    Confirm {
        /// The identity.
        server_id: ServerId,
        /// The operator's leadership.
        fence: Fence,
    },
    /// An operator announces its leadership; lower fences are refused from now on.
    Raise {
        /// The operator's leadership.
        fence: Fence,
    },
    /// An operator says which servers must report before a rebuilt master grants new roots (O5).
    Await {
        /// All servers that may hold mail.
        servers: Vec<ServerName>,
        /// The operator's leadership.
        fence: Fence,
    },
    /// Reads the servers.
    Servers,
    /// Reads the position up to which everything acknowledged lies: the barrier of RFC 3656 NOOP.
    /// Refused until every server has reported (O5): what is missing then proves nothing.
    Barrier,
}

/// What a server says of itself when it connects.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Report {
    /// Its identity.
    pub server_id: ServerId,
    /// Number of its start.
    pub incarnation: Incarnation,
    /// Random id of its start.
    pub start_id: [u8; 16],
    /// Where it listens.
    pub addresses: Addresses,
    /// Its partitions.
    pub partitions: Vec<PartitionSpace>,
    /// Highest term that it has promised to, durably. A master that finds its own term here, and
    /// only then, counts the report; else it answers with its term, the server records the promise
    /// and reports again.
    pub promised_term: Term,
}

/// One unit of a report.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReportedUnit {
    /// The reporting server.
    pub server_id: ServerId,
    /// Its start.
    pub incarnation: Incarnation,
    /// The unit.
    pub unit: UnitId,
    /// Its root.
    pub root: RootName,
    /// The partition it lies in.
    pub partition: PartitionName,
    /// Term recorded for it.
    pub term: Term,
    /// Highest epoch recorded for it.
    pub epoch: Epoch,
    /// State recorded for it.
    pub state: UnitState,
    /// Highest UIDVALIDITY in it (O7).
    pub uidvalidity_max: u32,
}

/// One outbox row: what its owner publishes of a unit (O6).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Row {
    /// The unit.
    pub unit: UnitId,
    /// Epoch under which it was written.
    pub epoch: Epoch,
    /// Rising within an epoch; gaps are allowed.
    pub number: OutboxNumber,
    /// What it says.
    pub op: RowOp,
}

/// What an outbox row says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum RowOp {
    /// A name is, with all that is published of it.
    Put {
        /// The name.
        name: Name,
        /// Its MAILBOXID.
        mailbox: MailboxId,
        /// Access control list, wire form.
        acl: Vec<u8>,
        /// Special use, if any.
        special_use: Option<SpecialUse>,
        /// It can be selected.
        selectable: bool,
    },
    /// A name is no more.
    Delete {
        /// The name.
        name: Name,
    },
    /// Ends a restatement of all names, written by a new owner after a move: names of the unit
    /// published before `since` go, if and only if exactly `rows` names were published from it on.
    RestateEnd {
        /// Number of the first row of the restatement.
        since: OutboxNumber,
        /// Names that were put.
        rows: u64,
    },
}

/// Names a unit by id or by root.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum UnitRef {
    /// By id.
    Id(UnitId),
    /// By its root.
    Root(Name),
}

/// A line of RFC 3656: `MAILBOX` or `RESERVE`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Line {
    /// Mailbox name.
    pub name: Name,
    /// `server!partition`.
    pub location: Vec<u8>,
    /// Access control list; unused for a reserved row.
    pub acl: Vec<u8>,
    /// It is a `RESERVE` line.
    pub reserved: bool,
}

/// What a granted root is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Granted {
    /// The record as granted.
    pub record: UnitRecord,
    /// Every UIDVALIDITY in the unit must be above it (O7).
    pub uidvalidity_floor: u32,
}

/// What the master makes of one reported unit.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Verdict {
    /// The record says the same, or now does.
    Agreed {
        /// Rows of this epoch that the master has, up to this number. If it is below what the server
        /// saw acknowledged, the master lost them: restate all names.
        applied: OutboxNumber,
    },
    /// The record is ahead of the report or names another owner; the server yields to it.
    Record(UnitRecord),
    /// The unit was dropped; what is left of it may go.
    Dropped,
    /// After a confirmed restore: the reporting server owns the unit, at this new epoch.
    Regranted(UnitRecord),
    /// Another unit has the root; this one must not be served until an administrator decides.
    RootTaken(UnitRecord),
}

/// Answer of the master.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Response {
    /// Done and durable.
    Done,
    /// Nothing was changed.
    Refused(Refusal),
    /// To a report: it counts for this term; its units follow.
    Welcome {
        /// The master's term.
        term: Term,
        /// After a confirmed restore: raise all UIDVALIDITYs above this, then say so.
        raise_uidvalidity_above: Option<u32>,
    },
    /// To a report that promised another term: promise this one durably and report again.
    Promise {
        /// The master's term.
        term: Term,
    },
    /// To a unit of a report.
    Verdict(Verdict),
    /// To the end of a report.
    Reported {
        /// Units of record at this server; more than it reported means that it lost some.
        units_of_record: u64,
    },
    /// To a grant.
    Granted(Granted),
    /// To a flip or settle: the destination has it.
    Flipped(UnitRecord),
    /// To a settle: the asker keeps it at a raised epoch; a late flip fails.
    Raised(UnitRecord),
    /// The record as it is; `None` if there is none. Changes nothing.
    Unit(Option<UnitRecord>),
    /// To an outbox row: everything of this unit and epoch up to here is applied.
    RowsApplied {
        /// Highest number applied.
        upto: OutboxNumber,
    },
    /// To FIND and LIST.
    Lines {
        /// The rows, byte-sorted.
        lines: Vec<Line>,
        /// Where to go on, if the listing did not come to its end.
        next: Option<Name>,
    },
    /// To `Servers`.
    Servers(Vec<ServerRecord>),
    /// To `Barrier`.
    At(Position),
}

/// One element of the stream from the master to a replica.
#[expect(clippy::large_enum_variant, reason = "most elements are changes")]
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum StreamItem {
    /// The change that leads to `position`; it follows the change before it without a gap.
    Change {
        /// Where the stream is after it.
        position: Position,
        /// What changed.
        change: Change,
    },
    /// A snapshot begins: what follows is staged, not shown.
    SnapshotBegin {
        /// Reign of the master.
        term: Term,
    },
    /// A part of the snapshot. Later parts win over earlier ones.
    SnapshotPart(Vec<Change>),
    /// The snapshot is complete as of `position`; it replaces everything at once.
    SnapshotEnd {
        /// Where the stream goes on.
        position: Position,
    },
}

/// One change of the database, as the state that is now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Change {
    /// A server is.
    Server(ServerRecord),
    /// A unit is.
    Unit(UnitRecord),
    /// A unit is no more.
    UnitGone(UnitId),
    /// A name is.
    Name(NameRecord),
    /// A name is no more.
    NameGone(Name),
}
