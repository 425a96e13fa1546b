//! Where a drain is and how far, for people and for conditions.

use murder_api::admin::{TransferPhase, UnitSummary};

use super::holdings::Part;
use crate::core::observe::BackendView;
use crate::core::placement::is_running;

/// Why a drain cannot go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Blocked {
    /// Some units were given up for now.
    FailedMailboxes,
    /// The master knows another server under this name.
    IdentityMismatch,
    /// The others have too little room.
    InsufficientCapacity,
    /// The master does not answer.
    MupdateUnavailable,
    /// Nobody can take its units.
    NoDestination,
    /// The backend itself does not answer.
    SourceDown,
}

/// Where a drain is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DrainState {
    /// Nobody wants it empty.
    #[default]
    NotRequested,
    /// Waits for its turn.
    Queued,
    /// Is being told to take nothing new.
    Cordoning,
    /// Its units are being listed.
    Planning,
    /// Units move.
    Transferring,
    /// Something must be solved first.
    Blocked(Blocked),
    /// Looks empty; being proven.
    Verifying,
    /// Proven; is being told to serve nothing.
    Deactivating,
    /// Empty.
    Empty,
    /// Retired; its pod stops.
    StoppingPod,
    /// Its pod is gone; its volume is released or waits for the grace period.
    ReleasingVolume,
    /// Taken back; transfers are withdrawn.
    Aborting,
    /// Taken back when already empty.
    Reactivating,
}

impl DrainState {
    /// The reason in the condition Drained.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotRequested => "NotRequested",
            Self::Queued => "Queued",
            Self::Cordoning => "Cordoning",
            Self::Planning => "Planning",
            Self::Transferring => "Transferring",
            Self::Blocked(Blocked::FailedMailboxes) => "FailedMailboxes",
            Self::Blocked(Blocked::IdentityMismatch) => "IdentityMismatch",
            Self::Blocked(Blocked::InsufficientCapacity) => "InsufficientCapacity",
            Self::Blocked(Blocked::MupdateUnavailable) => "MupdateUnavailable",
            Self::Blocked(Blocked::NoDestination) => "NoDestination",
            Self::Blocked(Blocked::SourceDown) => "SourceDown",
            Self::Verifying => "Verifying",
            Self::Deactivating => "Deactivating",
            Self::Empty => "Empty",
            Self::StoppingPod => "StopPod",
            Self::ReleasingVolume => "ReleaseVolume",
            Self::Aborting => "Aborting",
            Self::Reactivating => "Reactivating",
        }
    }
}

/// How far a drain is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DrainReport {
    /// The Backend.
    pub backend: String,
    /// Where it is.
    pub state: DrainState,
    /// What holds it up or is waited for, or empty.
    pub message: String,
    /// Units moved.
    pub moved: u64,
    /// Units still here.
    pub remaining: u64,
    /// Mailboxes moved.
    pub mailboxes_moved: u64,
    /// Bytes moved.
    pub bytes_moved: u64,
    /// Bytes still to move, as far as known.
    pub bytes_remaining: u64,
    /// Units being moved now.
    pub in_flight: u64,
    /// Units given up for now: root, tries, last error.
    pub failed: Vec<(String, u32, String)>,
    /// Whether the Backend is as wished, by its own word and the master's.
    pub settled: bool,
}

impl DrainReport {
    pub(super) fn is(mut self, state: DrainState) -> Self {
        self.state = state;
        self
    }

    pub(super) fn blocked(mut self, why: Blocked, message: String) -> Self {
        self.state = DrainState::Blocked(why);
        self.message = message;
        self
    }
}

/// The figures that the node's own journal gives.
pub(super) fn figures(backend: &BackendView) -> DrainReport {
    let mut report = DrainReport {
        backend: backend.name.clone(),
        ..DrainReport::default()
    };
    for transfer in backend.transfers.iter().flatten() {
        if transfer.phase == TransferPhase::Done {
            report.moved += 1;
            report.mailboxes_moved += transfer.mailboxes;
            report.bytes_moved += transfer.bytes_sent;
        } else if is_running(transfer.phase) {
            report.in_flight += 1;
            report.bytes_moved += transfer.bytes_sent;
        }
    }
    if let Some(status) = &backend.status {
        report.remaining = status.units + status.units_in_doubt;
        report.bytes_remaining = status.bytes;
    }
    // Read after the transfers, so that no unit counts as moved and as left.
    if let Some(units) = &backend.units {
        let left = |unit: &&UnitSummary| matches!(Part::of(unit), Part::InDoubt | Part::Owned);
        let left: Vec<u64> = units.iter().filter(left).map(|unit| unit.bytes).collect();
        report.remaining = left.len() as u64;
        report.bytes_remaining = left.iter().sum();
    }
    report
}
