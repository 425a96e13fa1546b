//! A fault on purpose, chosen at run time, by which the simulation (`node/sim`) proves that it would
//! notice. In builds without the feature `mutants` neither this module nor any fault exists.

use std::sync::atomic::{AtomicU8, Ordering};

/// A fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Sound.
    None,
    /// The log is not synced before its batch is applied.
    SkipSync,
    /// A batch does not write its place in the log with its rows; only a checkpoint does.
    LsnOnlyAtCheckpoint,
    /// Marks go whatever their age is.
    DropMarkEarly,
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
