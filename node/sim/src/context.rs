//! Virtual time, the network and the trace: what every node of the world is handed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::message::{Address, Millis, Payload};
use crate::oracle::{Oracle, Violation};
use crate::plan::Plan;
use crate::random::Random;

/// What wakes a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    /// Queued operations become durable.
    Commit,
    /// Whatever waits is looked at again.
    Tick,
}

/// What happens next.
#[expect(clippy::large_enum_variant, reason = "most events are arrivals")]
#[derive(Debug)]
pub(crate) enum Event {
    Arrive {
        from: Address,
        to: Address,
        payload: Payload,
    },
    Timer {
        at: Address,
        /// Which start of the node set it.
        start: u64,
        timer: Timer,
    },
    /// Something fails, or a unit is moved.
    Chaos,
    /// A node that crashed comes back.
    Restart(Address),
    /// Cut links work again.
    Mend,
}

/// Time, network, randomness, truth.
pub(crate) struct Context {
    pub(crate) now: Millis,
    pub(crate) random: Random,
    pub(crate) plan: Plan,
    pub(crate) oracle: Oracle,
    /// Nothing fails any more; the world comes to rest.
    pub(crate) healing: bool,
    queue: BTreeMap<(Millis, u64), Event>,
    serial: u64,
    cut: BTreeSet<(Address, Address)>,
    trace: VecDeque<String>,
    /// Lines of the trace that are kept.
    lines: usize,
    pub(crate) violation: Option<Violation>,
    pub(crate) events: u64,
}

impl Context {
    pub(crate) fn new(plan: Plan, random: Random, lines: usize) -> Self {
        Self {
            now: 0,
            random,
            plan,
            oracle: Oracle::default(),
            healing: false,
            queue: BTreeMap::new(),
            serial: 0,
            cut: BTreeSet::new(),
            trace: VecDeque::new(),
            lines,
            violation: None,
            events: 0,
        }
    }

    /// A number that no other call gets.
    pub(crate) const fn unique(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(crate) fn at(&mut self, when: Millis, event: Event) {
        let serial = self.unique();
        self.queue.insert((when, serial), event);
    }

    pub(crate) fn timer(&mut self, at: Address, start: u64, after: Millis, timer: Timer) {
        self.at(self.now + after, Event::Timer { at, start, timer });
    }

    /// The next event; time jumps to it.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let ((when, _), event) = self.queue.pop_first()?;
        self.now = when;
        self.events += 1;
        Some(event)
    }

    /// Sends, over a network that loses, delays, reorders and doubles.
    pub(crate) fn send(&mut self, from: Address, to: Address, payload: Payload) {
        let plan = &self.plan;
        let (loss, doubling, slow) = if self.healing {
            (0, 0, 0)
        } else {
            (plan.loss, plan.doubling, plan.slow)
        };
        if self.cut.contains(&(from, to)) || self.random.chance(loss) {
            self.trace(|| format!("lost     {from:?} -> {to:?} {}", shown(&payload)));
            return;
        }
        if payload.may_double() && self.random.chance(doubling) {
            let when = self.now + self.random.between(1, 3000);
            let payload = payload.clone();
            self.at(when, Event::Arrive { from, to, payload });
        }
        let delay = if self.random.chance(slow) {
            self.random.between(20, 2500)
        } else {
            self.random.between(1, 5)
        };
        self.at(self.now + delay, Event::Arrive { from, to, payload });
    }

    /// No message passes between the two until [`Self::mend`].
    pub(crate) fn cut(&mut self, one: Address, other: Address) {
        self.cut.insert((one, other));
        self.cut.insert((other, one));
        self.trace(|| format!("cut      {one:?} - {other:?}"));
    }

    pub(crate) fn mend(&mut self) {
        self.cut.clear();
    }

    pub(crate) fn trace(&mut self, line: impl FnOnce() -> String) {
        if self.trace.len() >= self.lines {
            self.trace.pop_front();
        }
        let line = format!("{:>6} {}", self.now, line());
        self.trace.push_back(line);
    }

    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace).into()
    }

    /// Notes the first rule that was broken; the world stops at it.
    pub(crate) fn check(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.violation.get_or_insert(violation);
        }
    }

    pub(crate) fn violate(&mut self, rule: &'static str, what: impl Into<String>) {
        self.check(Err(Violation::new(rule, what)));
    }

    /// What a library must not answer in this world.
    pub(crate) fn expect<T, E: std::fmt::Display>(
        &mut self,
        rule: &'static str,
        doing: &str,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.violate(rule, format!("{doing}: {error}"));
                None
            }
        }
    }
}

/// A payload in a line of the trace.
pub(crate) fn shown(payload: &Payload) -> String {
    let mut text = match payload {
        Payload::Peer {
            unit,
            move_id,
            message,
        } => format!(
            "{} move {} {message:?}",
            short(unit.as_bytes()),
            short(&move_id.as_bytes()[4..])
        ),
        Payload::Stream {
            connection,
            number,
            items,
        } => {
            format!("Stream {connection}/{number}: {} items", items.len())
        }
        other => format!("{other:?}"),
    };
    if text.len() > 260 {
        let mut end = 260;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

/// The first bytes of an id.
pub(crate) fn short(id: &[u8]) -> String {
    id.iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
