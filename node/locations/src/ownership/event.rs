//! The events of ownership, and why one may be refused.

use murder_model::{
    Attempt, Epoch, MoveId, RootName, ServerName, Term, UnitDigest, UnitId, UnitState,
};

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OwnershipEvent {
    /// A new unit is wanted here; its id was just made.
    Create {
        /// The unit.
        unit: UnitId,
        /// Its root.
        root: RootName,
    },
    /// The master granted the root that was asked for.
    Granted {
        /// Term of the grant.
        term: Term,
        /// Epoch of the grant.
        epoch: Epoch,
    },
    /// The master refused it for good.
    GrantRefused,
    /// Frozen, prepared at the destination with an equal digest: let go of it.
    Release {
        /// The destination.
        to: ServerName,
        /// The move.
        move_id: MoveId,
        /// The freeze.
        attempt: Attempt,
    },
    /// The master's answer to our FLIP or SETTLE.
    Settled {
        /// Term of the master that answered: the one that the question carried. What a deposed
        /// master says decides nothing.
        spoken: Term,
        /// What it said.
        answer: SettleAnswer,
    },
    /// A source starts, or goes on, to copy the unit here.
    Stage {
        /// The unit.
        unit: UnitId,
        /// Its root.
        root: RootName,
        /// The move.
        move_id: MoveId,
        /// Freezes so far.
        attempt: Attempt,
        /// The source.
        from: ServerName,
        /// The source's epoch.
        epoch: Epoch,
    },
    /// Everything up to the freeze is here, and both digests are equal.
    Prepare {
        /// The move.
        move_id: MoveId,
        /// The freeze.
        attempt: Attempt,
        /// The source's epoch.
        epoch: Epoch,
        /// The digest.
        digest: UnitDigest,
    },
    /// The source unfroze; more changes will follow.
    AbortAttempt {
        /// The move.
        move_id: MoveId,
        /// The freeze that was given up.
        attempt: Attempt,
    },
    /// The source gave the move up.
    DropStaging {
        /// The move.
        move_id: MoveId,
        /// Highest freeze it ever began.
        attempt: Attempt,
    },
    /// The master's record of the unit, read or streamed, names this server.
    GrantArrived {
        /// Term of the grant.
        term: Term,
        /// Epoch of the grant.
        epoch: Epoch,
        /// The move that it answers.
        move_id: MoveId,
        /// The freeze that it answers.
        attempt: Attempt,
    },
    /// After a confirmed restore the master gave the unit to this server again (O8).
    Regranted {
        /// Term of the grant.
        term: Term,
        /// Epoch of the grant.
        epoch: Epoch,
    },
    /// A record of the master, or a "moved to", names another owner.
    SeenElsewhere {
        /// The owner.
        owner: ServerName,
        /// Term of its grant.
        term: Term,
        /// Epoch of its grant.
        epoch: Epoch,
    },
    /// The grace period of a moved unit's copy ended: its data may go.
    GraceOver,
    /// The unit was deleted here, with all that was under it.
    Deleted,
}

/// What the master answered to a FLIP or SETTLE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SettleAnswer {
    /// The destination owns it.
    Flipped {
        /// The destination.
        to: ServerName,
        /// Term of its grant.
        term: Term,
        /// Epoch of its grant.
        epoch: Epoch,
    },
    /// The record (or the raise) says who owns it now.
    Record {
        /// Owner of record.
        owner: ServerName,
        /// Term of the grant.
        term: Term,
        /// Epoch of the grant.
        epoch: Epoch,
    },
}

/// Why an event changes nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OwnershipRefusal {
    /// Nothing is known of the unit.
    #[error("no record of the unit")]
    NoRecord,
    /// The record's state has no such event.
    #[error("unit is {state}: {event} does not apply")]
    WrongState {
        /// State of the record.
        state: &'static str,
        /// The event.
        event: &'static str,
    },
    /// Of a lower term than promised or recorded.
    #[error("term {} is below {}", .got.get(), .known.get())]
    LowerTerm {
        /// Highest known.
        known: Term,
        /// What came.
        got: Term,
    },
    /// Of an epoch that is not above (or, for a copy, is below) what is recorded.
    #[error("epoch {} is behind {}", .got.get(), .known.get())]
    StaleEpoch {
        /// Highest known.
        known: Epoch,
        /// What came.
        got: Epoch,
    },
    /// Of another move, or of a freeze that a later one has replaced.
    #[error("not the move or freeze at hand")]
    StaleMove,
    /// The same freeze was prepared with another digest.
    #[error("another digest was prepared for this freeze")]
    OtherDigest,
    /// A record of the master decides nothing yet: ask again.
    #[error("outcome is not known yet")]
    Unsettled,
    /// A server cannot move a unit to itself.
    #[error("destination is this server")]
    ToItself,
}

pub(super) fn state_name(state: &UnitState) -> &'static str {
    match state {
        UnitState::Creating => "creating",
        UnitState::Owner => "owned",
        UnitState::Released { .. } => "released",
        UnitState::Staging { .. } => "staging",
        UnitState::Prepared { .. } => "prepared",
        UnitState::Moved { .. } => "moved",
        UnitState::Gone => "gone",
    }
}

pub(super) fn event_name(event: &OwnershipEvent) -> &'static str {
    use OwnershipEvent as Event;
    match event {
        Event::Create { .. } => "create",
        Event::Granted { .. } => "grant of the root",
        Event::GrantRefused => "refusal of the root",
        Event::Release { .. } => "release",
        Event::Settled { .. } => "settlement",
        Event::Stage { .. } => "copy",
        Event::Prepare { .. } => "prepare",
        Event::AbortAttempt { .. } => "abort of a freeze",
        Event::DropStaging { .. } => "end of a move",
        Event::GrantArrived { .. } => "grant of a move",
        Event::Regranted { .. } => "grant after a restore",
        Event::SeenElsewhere { .. } => "news of another owner",
        Event::GraceOver => "end of grace",
        Event::Deleted => "deletion",
    }
}
