//! A fault on purpose, chosen at run time, by which the simulation (`node/sim`) proves that it would
//! notice. In builds without the feature `mutants` neither this module nor any fault exists.

use std::sync::atomic::{AtomicU8, Ordering};

/// A fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Sound.
    None,
    /// A flip is done whatever epoch it names.
    SkipEpochCheck,
    /// A replica shows a snapshot part by part.
    DeleteOnPartialList,
    /// A batch is answered before it is durable.
    MasterSkipsSync,
    /// A replica applies a change that does not follow the last one.
    ReplicaIgnoresGaps,
    /// A rebuilt master proves names unknown before all servers have reported.
    ProofBeforeReports,
    /// Rows are applied whoever wrote them, under whatever epoch.
    AcceptOldRows,
}

static CHOSEN: AtomicU8 = AtomicU8::new(Fault::None as u8);

/// Makes this process faulty.
pub fn choose(fault: Fault) {
    CHOSEN.store(fault as u8, Ordering::Relaxed);
}

/// Whether this fault was chosen.
pub(crate) fn is(fault: Fault) -> bool {
    CHOSEN.load(Ordering::Relaxed) == fault as u8
}
