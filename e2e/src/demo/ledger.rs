//! What was sent, acknowledged and seen: the ledger that the mailboxes are compared with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use blake3::Hash;
use tokio::sync::watch;

use super::millis;
use crate::mail::{Kind, Message};
use crate::random::Random;

/// A message of this size or more goes to one recipient.
const SINGLE_RECIPIENT_BYTES: usize = 1 << 20;

/// Kinds of errors that are told apart; more are counted as others.
const ERROR_KINDS_MAX: usize = 50;

/// One message for one recipient.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// Index of the message.
    pub message: usize,
    /// Index of the user.
    pub user: usize,
    /// Folder that it is addressed to.
    pub folder: &'static str,
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// The server said 250.
    pub acknowledged: bool,
    /// The server said 5xx.
    pub refused: bool,
    /// Attempts that were sent whole and got no answer.
    pub unanswered: u32,
}

/// What a client saw in a mailbox: it must be so forever.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// UIDVALIDITY.
    pub uid_validity: Option<u32>,
    /// Content by UID.
    pub contents: BTreeMap<u32, Hash>,
    /// Acknowledged flags by UID.
    pub flags: BTreeMap<u32, BTreeSet<&'static str>>,
}

/// Pauses and errors of one kind of client.
#[derive(Clone, Debug, Default)]
pub struct Experience {
    /// Longest time from the wish to its fulfilment, in milliseconds.
    pub longest_pause_ms: u64,
    /// Errors and how often they were seen.
    pub errors: BTreeMap<String, usize>,
    /// Things done.
    pub done: usize,
}

impl Experience {
    /// Something was done.
    pub fn succeed(&mut self, took: Duration) {
        self.done += 1;
        self.longest_pause_ms = self.longest_pause_ms.max(millis(took));
    }

    /// An error was seen.
    pub fn fail(&mut self, error: &str) {
        let is_known = self.errors.contains_key(error) || self.errors.len() < ERROR_KINDS_MAX;
        let kind = if is_known { error } else { "others" };
        *self.errors.entry(kind.to_owned()).or_default() += 1;
    }
}

/// Everything that is known.
#[derive(Debug)]
pub struct Ledger {
    /// The mail.
    pub messages: Vec<Message>,
    /// What is to be delivered, a message's recipients one after the other.
    pub deliveries: Vec<Delivery>,
    /// First delivery of each message, and their end.
    first: Vec<usize>,
    next: AtomicUsize,
    kills: AtomicUsize,
    states: Mutex<Vec<State>>,
    seen: Mutex<HashMap<(usize, &'static str), Seen>>,
    delivering: Mutex<Experience>,
    reading: Mutex<Experience>,
    settled: watch::Sender<usize>,
    load: watch::Sender<bool>,
}

impl Ledger {
    /// Chooses the recipients: mostly one, for small messages sometimes up to five.
    pub fn plan(messages: Vec<Message>, users: &[String], seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x1ed6e5);
        // Large and small, real and generated mail are mixed.
        let mut messages = messages;
        for index in (1..messages.len()).rev() {
            messages.swap(index, random.below(index + 1));
        }
        let mut deliveries = Vec::new();
        let mut first = vec![0];
        for (index, message) in messages.iter().enumerate() {
            let several = message.size < SINGLE_RECIPIENT_BYTES && random.below(5) == 0;
            let wanted = if several { random.between(2, 5) } else { 1 };
            let folder = if random.below(10) == 0 {
                "Archive"
            } else {
                "INBOX"
            };
            let start = random.below(users.len());
            deliveries.extend((0..wanted.min(users.len())).map(|offset| Delivery {
                message: index,
                user: (start + offset) % users.len(),
                folder,
            }));
            first.push(deliveries.len());
        }
        Self {
            states: Mutex::new(vec![State::default(); deliveries.len()]),
            messages,
            deliveries,
            first,
            next: AtomicUsize::new(0),
            kills: AtomicUsize::new(0),
            seen: Mutex::default(),
            delivering: Mutex::default(),
            reading: Mutex::default(),
            settled: watch::Sender::new(0),
            load: watch::Sender::new(true),
        }
    }

    /// The plan in a line.
    pub fn summary(&self) -> String {
        let count = |kind| self.messages.iter().filter(|m| m.kind == kind).count();
        let bytes: usize = self.messages.iter().map(|message| message.size).sum();
        format!(
            "{} messages ({} real, {} samples, {} generated), {:.1} MiB, {} deliveries",
            self.messages.len(),
            count(Kind::Real),
            count(Kind::Sample),
            count(Kind::Generated),
            bytes as f64 / f64::from(1 << 20),
            self.deliveries.len()
        )
    }

    /// The next message that nobody delivers yet, and its deliveries.
    pub fn take(&self) -> Option<(usize, std::ops::Range<usize>)> {
        let message = self.next.fetch_add(1, Ordering::Relaxed);
        (message < self.messages.len())
            .then(|| (message, self.first[message]..self.first[message + 1]))
    }

    /// Changes how a delivery stands; returns how many are settled.
    pub fn update(&self, delivery: usize, change: impl FnOnce(&mut State)) -> usize {
        let mut states = lock(&self.states);
        let is_settled = |state: &State| state.acknowledged || state.refused;
        let before = is_settled(&states[delivery]);
        change(&mut states[delivery]);
        let newly = !before && is_settled(&states[delivery]);
        drop(states);
        if newly {
            self.settled.send_modify(|settled| *settled += 1);
        }
        *self.settled.borrow()
    }

    /// Waits until so many deliveries are settled.
    pub async fn reached(&self, count: usize) {
        let mut settled = self.settled.subscribe();
        // The sender lives in this value, so the wait cannot fail.
        let _ = settled.wait_for(|settled| *settled >= count).await;
    }

    /// Tells the reading clients to end.
    pub fn finish_load(&self) {
        self.load.send_replace(false);
    }

    /// Whether deliveries go on.
    pub fn is_loaded(&self) -> bool {
        *self.load.borrow()
    }

    /// One more `kill -9`.
    pub fn count_kill(&self) {
        self.kills.fetch_add(1, Ordering::Relaxed);
    }

    /// Kills so far.
    pub fn kills(&self) -> usize {
        self.kills.load(Ordering::Relaxed)
    }

    /// How all deliveries stand.
    pub fn states(&self) -> MutexGuard<'_, Vec<State>> {
        lock(&self.states)
    }

    /// What clients saw, by user and folder.
    pub fn seen(&self) -> MutexGuard<'_, HashMap<(usize, &'static str), Seen>> {
        lock(&self.seen)
    }

    /// Of the clients that deliver.
    pub fn delivering(&self) -> MutexGuard<'_, Experience> {
        lock(&self.delivering)
    }

    /// Of the clients that read.
    pub fn reading(&self) -> MutexGuard<'_, Experience> {
        lock(&self.reading)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_has_recipients_and_none_twice() {
        let generator = crate::mail::Generator::new(3);
        let messages = (0..200).map(|number| Message::generated(generator, number));
        let users = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let ledger = Ledger::plan(messages.collect(), &users, 3);
        let mut taken = 0;
        while let Some((message, range)) = ledger.take() {
            let deliveries = &ledger.deliveries[range];
            let users: BTreeSet<_> = deliveries.iter().map(|delivery| delivery.user).collect();
            assert!(!users.is_empty() && users.len() == deliveries.len());
            assert!(
                deliveries
                    .iter()
                    .all(|delivery| delivery.message == message)
            );
            taken += deliveries.len();
        }
        assert_eq!(taken, ledger.deliveries.len());
        assert!(taken > 200, "{taken}");
    }

    #[test]
    fn a_delivery_settles_once() {
        let message = Message::held(Kind::Real, b"a: b\r\n".to_vec());
        let ledger = Ledger::plan(vec![message], &["a".to_owned()], 0);
        assert_eq!(ledger.update(0, |state| state.unanswered += 1), 0);
        assert_eq!(ledger.update(0, |state| state.acknowledged = true), 1);
        assert_eq!(ledger.update(0, |state| state.acknowledged = true), 1);
    }
}
