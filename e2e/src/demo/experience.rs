//! What clients went through: pauses, errors, reconnects.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Kinds of errors that are told apart; more are counted as others.
const ERROR_KINDS_MAX: usize = 50;

/// What happens meanwhile.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// Mail is delivered and read.
    #[default]
    Serving,
    /// A backend is drained, stopped and let go.
    Draining,
    /// A node is killed, and started again.
    Killing,
}

impl Phase {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serving => "before",
            Self::Draining => "during the drain",
            Self::Killing => "around kill -9",
        }
    }
}

/// Pauses and errors of one kind of client.
#[derive(Clone, Debug, Default)]
pub struct Experience {
    /// Longest time from a wish to its fulfilment, and what was wished.
    pub longest_pauses: BTreeMap<Phase, (Duration, &'static str)>,
    /// Errors and how often they were seen.
    pub errors: BTreeMap<String, usize>,
    /// Connections that ended because the selected mailbox moved.
    pub moved: usize,
    /// Things done.
    pub done: usize,
}

impl Experience {
    /// Something was done.
    pub fn succeed(&mut self, phase: Phase, what: &'static str, took: Duration) {
        self.done += 1;
        let longest = self.longest_pauses.entry(phase).or_default();
        *longest = (took, what).max(*longest);
    }

    /// An error was seen.
    pub fn fail(&mut self, error: &str) {
        let is_known = self.errors.contains_key(error) || self.errors.len() < ERROR_KINDS_MAX;
        let kind = if is_known { error } else { "others" };
        *self.errors.entry(kind.to_owned()).or_default() += 1;
    }
}

/// Time since a client last had what it wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting(Instant);

impl Waiting {
    /// From now on.
    #[must_use]
    pub(super) fn begin() -> Self {
        Self(Instant::now())
    }

    /// It has what it wanted, and wants the next thing; returns how long that took.
    pub(super) fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let took = now - self.0;
        self.0 = now;
        took
    }
}
