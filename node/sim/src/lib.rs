//! The whole murder in seeded virtual time.
//!
//! Store, log, recovery, ownership, master and replica are the real ones, on disks that lose what was
//! not synced. Network, clock, clients and the driver around a partition are made here. A seed says
//! how many nodes there are, what fails and when; the same seed gives the same run.
//!
//! Checked at every answer: nothing that was acknowledged is lost or doubled, UIDs, UIDVALIDITYs and
//! modification sequences never lie, a root is served at one place, each version of a unit is granted
//! once, no replica deletes on a partial list. Then nothing fails any more, and everything must come to
//! rest within bounded time: records, names and replicas equal, digests recomputed, index equal to log.

mod backend;
mod client;
mod context;
mod frontend;
mod master;
mod message;
pub mod mutant;
mod oracle;
mod plan;
mod random;
mod storage;
mod verify;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use murder_model::ServerName;

pub use oracle::Violation;

use crate::world::World;

/// Lines of the trace that a failure shows.
const TRACE_LINES: usize = 160;

/// What a clean run did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Events that happened.
    pub events: u64,
    /// Operations that were acknowledged to clients.
    pub acknowledged: u64,
    /// Nodes that crashed or stopped.
    pub crashes: u64,
    /// Units that changed their owner.
    pub moved: u64,
}

/// A run that broke a rule.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// The rule.
    pub violation: Violation,
    /// When, in virtual milliseconds.
    pub at: u64,
    /// The last lines of what happened.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        let Violation { rule, what } = &self.violation;
        write!(f, "seed {} at {} ms: {rule}: {what}", self.seed, self.at)
    }
}

/// Runs the world of a seed to its end.
pub fn run(seed: u64) -> Result<Summary, Box<Failure>> {
    run_traced(seed, TRACE_LINES).0
}

/// The same, with at most so many lines of the trace, whether it fails or not.
pub fn run_traced(seed: u64, lines: usize) -> (Result<Summary, Box<Failure>>, Vec<String>) {
    let mut world = World::new(seed, lines);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match result {
        Ok(()) => world.context.violation.take(),
        Err(panicked) => Some(Violation::new("no assertion fails", panic_text(&*panicked))),
    };
    let trace = world.context.take_trace();
    let result = match violation {
        None => Ok(world.summary()),
        Some(violation) => Err(Box::new(Failure {
            seed,
            violation,
            at: world.context.now,
            trace: trace.clone(),
        })),
    };
    (result, trace)
}

fn panic_text(panicked: &(dyn std::any::Any + Send)) -> String {
    match panicked.downcast_ref::<String>() {
        Some(text) => text.clone(),
        None => panicked
            .downcast_ref::<&str>()
            .map_or_else(|| "unknown".to_owned(), |text| (*text).to_owned()),
    }
}

/// The backend that has a name.
fn backend_of(server: &ServerName) -> Option<usize> {
    server.as_str().strip_prefix("be-")?.parse().ok()
}
