//! What source and destination of a transfer say to each other.
//!
//! One conversation carries one unit. The source begins with [`ToDestination::Begin`], then sends
//! steps of rows, each followed by its contents in pieces of at most
//! [`CONTENT_BYTES_MAX`](crate::peer::CONTENT_BYTES_MAX) octets, in the order of the rows. Steps are
//! acknowledged in order once they are durable. At most [`STEPS_UNACKNOWLEDGED_MAX`] are under way.
//! Every other message of the source is answered before it sends the next one.

use murder_model::{
    Attempt, Epoch, MoveId, PartitionName, RootName, ServerName, Term, UnitDigest, UnitId,
};
use murder_store::mail::{TransferRow, UnitHead};
use serde::{Deserialize, Serialize};

/// Steps that wait for their acknowledgement.
pub const STEPS_UNACKNOWLEDGED_MAX: usize = 4;
/// Rows in one step.
pub const STEP_ROWS_MAX: usize = 256;
/// Bytes of rows and contents in one step; its last message may go beyond.
pub const STEP_BYTES_MAX: u64 = 1 << 20;
/// Longest content of one message.
pub const MESSAGE_BYTES_MAX: u64 = 1 << 30;

/// From the source, or from whoever asks a source.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ToDestination {
    /// The first words of a transfer, also after the conversation broke off.
    Begin(Begin),
    /// Rows; contents follow.
    Rows(Step),
    /// All changes up to this number have been sent.
    RoundEnd {
        /// The change number.
        upto: u64,
    },
    /// Writes wait at the source: this is all. Become ready to own the unit.
    Prepare {
        /// The freeze.
        attempt: Attempt,
        /// The source's epoch.
        epoch: Epoch,
        /// What the unit has beside its rows.
        head: UnitHead,
    },
    /// The freeze was given up; more changes will follow.
    Abort {
        /// The freeze.
        attempt: Attempt,
    },
    /// The move was given up; drop the copy.
    GiveUp,
    /// The master has decided: ask it.
    Decided,
    /// To a source: is this move over without having come to its end?
    IsOver {
        /// The unit.
        unit: UnitId,
        /// The move.
        move_id: MoveId,
    },
    /// To a destination: has it durably taken what it was given?
    HasTaken {
        /// The unit.
        unit: UnitId,
        /// Epoch of the grant.
        epoch: Epoch,
    },
}

/// What is to be moved.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Begin {
    /// The unit.
    pub unit: UnitId,
    /// Its root.
    pub root: RootName,
    /// The move.
    pub move_id: MoveId,
    /// The last freeze that was begun, and given up; 0 before the first.
    pub attempt: Attempt,
    /// The source's epoch.
    pub epoch: Epoch,
    /// Partition that is wished for.
    pub partition: Option<PartitionName>,
    /// The source's last change number.
    pub change: u64,
    /// Messages of the unit.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Some rows, in the order of their change numbers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Step {
    /// Counts the steps of a conversation from 1.
    pub number: u64,
    /// The rows.
    pub rows: Vec<TransferRow>,
    /// For each row the length of its content, if it follows.
    pub contents: Vec<Option<u64>>,
    /// With these rows, all changes up to here have been sent; 0 if that says nothing new.
    pub covered: u64,
    /// These rows were sent before, without the contents that they need.
    pub again: bool,
}

/// From the destination, or from a source that was asked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ToSource {
    /// Wait on: the answer takes its time.
    Working,
    /// To [`ToDestination::Begin`].
    Begun {
        /// Where the unit will lie.
        partition: PartitionName,
        /// All changes up to here are durable already; 0: none.
        after: u64,
    },
    /// No.
    Refused {
        /// For programs.
        reason: Reason,
        /// For people.
        text: String,
    },
    /// A step is durable.
    Acknowledged {
        /// Its number.
        step: u64,
        /// Indices of messages that were left out, as their contents are not here.
        missing: Vec<u32>,
    },
    /// To [`ToDestination::RoundEnd`].
    RoundDone,
    /// To [`ToDestination::Prepare`]: durably recorded.
    Prepared {
        /// The freeze.
        attempt: Attempt,
        /// Digest of the rows here.
        digest: UnitDigest,
    },
    /// To [`ToDestination::Prepare`]: the rows here are others.
    Mismatch {
        /// Their digest.
        digest: UnitDigest,
    },
    /// To [`ToDestination::Abort`] and [`ToDestination::GiveUp`].
    Done,
    /// To [`ToDestination::Decided`].
    Outcome(Outcome),
    /// To [`ToDestination::IsOver`].
    Over(bool),
    /// To [`ToDestination::HasTaken`].
    Taken(bool),
}

/// Why a destination refuses.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Reason {
    /// It has not enough room.
    NoRoom,
    /// It takes no units.
    Cordoned,
    /// No such partition.
    NoSuchPartition,
    /// The asker is not the unit's owner of record, or the copy here belongs to a later move.
    Stale,
    /// Not now.
    Unavailable,
    /// What was sent makes no sense.
    Malformed,
}

/// What a destination makes of the master's record.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Outcome {
    /// It owns the unit, and serves it.
    Serving {
        /// Term of the grant.
        term: Term,
        /// Epoch of the grant.
        epoch: Epoch,
    },
    /// Another server owns it; the copy is dropped.
    Elsewhere {
        /// The owner.
        owner: ServerName,
    },
    /// Not decided, as far as it can see.
    Undecided,
}
