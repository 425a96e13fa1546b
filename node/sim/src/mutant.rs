//! Faults on purpose, by which the simulation proves that it would notice.
//!
//! One of them is chosen at run time, in a build that has the feature `mutants`; in every other
//! build none exists and [`Mutant::is_on`] is constant.

/// A fault on purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mutant {
    /// The log is not synced before a batch is applied.
    SkipSync,
    /// Clients are answered before their batch is durable and visible.
    AnswerBeforeApply,
    /// The index learns its place in the log only at a checkpoint.
    LsnOnlyAtCheckpoint,
    /// The master flips a unit whatever its epoch is.
    SkipEpochCheck,
    /// A source whose flip is not answered takes the unit back by itself.
    UnfreezeAfterReleased,
    /// Marks of removals go before their time, unsaid.
    DropMarkEarly,
    /// A replica shows a snapshot before it is whole.
    DeleteOnPartialList,
    /// A backend makes a root without asking the master.
    AutocreateWithoutGrant,
    /// Rows for the master are forgotten when they are sent, not when they are acknowledged.
    ForgetOutboxEarly,
    /// A destination becomes owner of what it prepared without looking for its grant.
    ServeWhenPrepared,
    /// A source lets go on the word of a destination that prepared an earlier freeze.
    AcceptOldPrepared,
    /// The master answers before its database is durable.
    MasterSkipsSync,
    /// A replica applies a change that does not follow the last one.
    ReplicaIgnoresGaps,
    /// A frontend refuses unknown names for good without proof that it is fresh.
    RefuseWhenStale,
    /// A rebuilt master proves names unknown before all servers have reported.
    ProofBeforeReports,
    /// A server serves from a restored volume without asking anybody.
    ServeWhenRestored,
    /// UIDVALIDITYs stay as they are after a restore.
    KeepUidValidities,
    /// The master applies rows whoever wrote them, under whatever epoch.
    AcceptOldRows,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::SkipSync,
        Self::AnswerBeforeApply,
        Self::LsnOnlyAtCheckpoint,
        Self::SkipEpochCheck,
        Self::UnfreezeAfterReleased,
        Self::DropMarkEarly,
        Self::DeleteOnPartialList,
        Self::AutocreateWithoutGrant,
        Self::ForgetOutboxEarly,
        Self::ServeWhenPrepared,
        Self::AcceptOldPrepared,
        Self::MasterSkipsSync,
        Self::ReplicaIgnoresGaps,
        Self::RefuseWhenStale,
        Self::ProofBeforeReports,
        Self::ServeWhenRestored,
        Self::KeepUidValidities,
        Self::AcceptOldRows,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SkipSync => "skip-sync",
            Self::AnswerBeforeApply => "answer-before-apply",
            Self::LsnOnlyAtCheckpoint => "lsn-only-at-checkpoint",
            Self::SkipEpochCheck => "skip-epoch-check",
            Self::UnfreezeAfterReleased => "unfreeze-after-released",
            Self::DropMarkEarly => "drop-mark-early",
            Self::DeleteOnPartialList => "delete-on-partial-list",
            Self::AutocreateWithoutGrant => "autocreate-without-grant",
            Self::ForgetOutboxEarly => "forget-outbox-early",
            Self::ServeWhenPrepared => "serve-when-prepared",
            Self::AcceptOldPrepared => "accept-old-prepared",
            Self::MasterSkipsSync => "master-skips-sync",
            Self::ReplicaIgnoresGaps => "replica-ignores-gaps",
            Self::RefuseWhenStale => "refuse-when-stale",
            Self::ProofBeforeReports => "proof-before-reports",
            Self::ServeWhenRestored => "serve-when-restored",
            Self::KeepUidValidities => "keep-uid-validities",
            Self::AcceptOldRows => "accept-old-rows",
        }
    }

    /// Whether this fault is chosen.
    #[cfg(not(feature = "mutants"))]
    pub const fn is_on(self) -> bool {
        false
    }
}

#[cfg(feature = "mutants")]
mod chosen {
    use std::sync::atomic::{AtomicU8, Ordering};

    use murder_locations::mutant as locations;
    use murder_store::mutant as store;

    use super::Mutant;

    static CHOSEN: AtomicU8 = AtomicU8::new(u8::MAX);

    impl Mutant {
        /// Whether this fault is chosen.
        pub fn is_on(self) -> bool {
            CHOSEN.load(Ordering::Relaxed) == self as u8
        }

        /// Makes the process faulty, here and in the crates below; `None`: sound.
        pub fn choose(mutant: Option<Self>) {
            CHOSEN.store(
                mutant.map_or(u8::MAX, |mutant| mutant as u8),
                Ordering::Relaxed,
            );
            store::choose(match mutant {
                Some(Self::SkipSync) => store::Fault::SkipSync,
                Some(Self::LsnOnlyAtCheckpoint) => store::Fault::LsnOnlyAtCheckpoint,
                Some(Self::DropMarkEarly) => store::Fault::DropMarkEarly,
                _ => store::Fault::None,
            });
            locations::choose(match mutant {
                Some(Self::SkipEpochCheck) => locations::Fault::SkipEpochCheck,
                Some(Self::DeleteOnPartialList) => locations::Fault::DeleteOnPartialList,
                Some(Self::MasterSkipsSync) => locations::Fault::MasterSkipsSync,
                Some(Self::ReplicaIgnoresGaps) => locations::Fault::ReplicaIgnoresGaps,
                Some(Self::ProofBeforeReports) => locations::Fault::ProofBeforeReports,
                Some(Self::AcceptOldRows) => locations::Fault::AcceptOldRows,
                _ => locations::Fault::None,
            });
        }
    }
}
