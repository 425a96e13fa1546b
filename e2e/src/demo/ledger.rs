//! What was sent, acknowledged and seen: the ledger that the mailboxes are compared with.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use blake3::Hash;
use tokio::sync::watch;

use super::experience::{Experience, Phase};
use super::mailbox::{ARCHIVE, INBOX, Mailbox, SHARED};
use super::seen::Seen;
use crate::mail::{Kind, Message, SPREAD};
use crate::random::Random;

/// A message of this size or more goes to one recipient.
const SINGLE_RECIPIENT_BYTES: usize = 1 << 20;

/// One message for one recipient.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// Index of the message.
    pub message: usize,
    /// Where it is to go.
    pub mailbox: Mailbox,
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// The server said 250.
    pub acknowledged: bool,
    /// The server said 5xx, or 4xx for too long.
    pub refused: bool,
    /// Attempts that were sent whole and got no answer, or a 4xx.
    pub uncertain: u32,
}

/// How the copies of a message in a mailbox stand.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Copied {
    /// The server said OK.
    pub acknowledged: u32,
    /// The server said neither OK nor that nothing was done.
    pub unknown: u32,
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
    seen: Mutex<HashMap<Mailbox, Seen>>,
    copies: Mutex<HashMap<(Mailbox, Hash), Copied>>,
    delivering: Mutex<Experience>,
    reading: Mutex<Experience>,
    phase: Mutex<Phase>,
    /// Messages that may be delivered.
    released: watch::Sender<usize>,
    settled: watch::Sender<usize>,
    load: watch::Sender<bool>,
}

impl Ledger {
    /// Chooses the recipients: mostly one, for small messages sometimes up to five, and with
    /// `shared` the shared folders, too.
    pub fn plan(messages: Vec<Message>, users: usize, shared: bool, seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x1ed6e5);
        // Large and small, real and generated mail are mixed.
        let mut messages = messages;
        for index in (1..messages.len()).rev() {
            messages.swap(index, random.below(index + 1));
        }
        let mut deliveries = Vec::new();
        let mut first = vec![0];
        for (index, message) in messages.iter().enumerate() {
            let is_small = message.size < SINGLE_RECIPIENT_BYTES;
            let several = is_small && random.below(5) == 0;
            let wanted = if several { random.between(2, 5) } else { 1 };
            let folder = if random.below(10) == 0 {
                ARCHIVE
            } else {
                INBOX
            };
            let start = random.below(users);
            let deliver = |user, name| Delivery {
                message: index,
                mailbox: Mailbox::of(user, name),
            };
            let is_shared = shared && is_small && random.below(12) == 0;
            if is_shared {
                deliveries.push(deliver(0, *random.choose(&SHARED)));
            }
            // Half of what is shared goes to users, too.
            if !is_shared || random.below(2) == 0 {
                let users = (0..wanted.min(users)).map(|offset| (start + offset) % users);
                deliveries.extend(users.map(|user| deliver(user, folder)));
            }
            first.push(deliveries.len());
        }
        Self {
            states: Mutex::new(vec![State::default(); deliveries.len()]),
            released: watch::Sender::new(messages.len()),
            messages,
            deliveries,
            first,
            next: AtomicUsize::new(0),
            kills: AtomicUsize::new(0),
            seen: Mutex::default(),
            copies: Mutex::default(),
            delivering: Mutex::default(),
            reading: Mutex::default(),
            phase: Mutex::default(),
            settled: watch::Sender::new(0),
            load: watch::Sender::new(true),
        }
    }

    /// The plan in a line.
    pub fn summary(&self) -> String {
        let count = |kind| self.messages.iter().filter(|m| m.kind == kind).count();
        let bytes: usize = self.messages.iter().map(|message| message.size).sum();
        let shared = |delivery: &&Delivery| delivery.mailbox.owner().is_none();
        format!(
            "{} messages ({} real, {} samples, {} generated: {}), {:.1} MiB, {} deliveries, {} of them to shared folders",
            self.messages.len(),
            count(Kind::Real),
            count(Kind::Sample),
            count(Kind::Generated),
            spread(),
            bytes as f64 / f64::from(1 << 20),
            self.deliveries.len(),
            self.deliveries.iter().filter(shared).count()
        )
    }

    /// Lets only so many of the messages be delivered for now.
    pub fn release(&self, messages: usize) {
        self.released.send_replace(messages);
    }

    /// Messages that may be delivered.
    pub fn released(&self) -> usize {
        *self.released.borrow()
    }

    /// Deliveries of the first so many messages.
    pub fn deliveries_of(&self, messages: usize) -> usize {
        self.first[messages.min(self.messages.len())]
    }

    /// The next message that nobody delivers yet, and its deliveries; waits for its release.
    pub async fn take(&self) -> Option<(usize, std::ops::Range<usize>)> {
        let message = self.next.fetch_add(1, Ordering::Relaxed);
        if message >= self.messages.len() {
            return None;
        }
        let mut released = self.released.subscribe();
        // The sender lives in this value, so the wait cannot fail.
        let _ = released.wait_for(|released| *released > message).await;
        Some((message, self.first[message]..self.first[message + 1]))
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

    /// What happens from now on.
    pub fn set_phase(&self, phase: Phase) {
        *lock(&self.phase) = phase;
    }

    /// What happens now.
    pub fn phase(&self) -> Phase {
        *lock(&self.phase)
    }

    /// How all deliveries stand.
    pub fn states(&self) -> MutexGuard<'_, Vec<State>> {
        lock(&self.states)
    }

    /// What clients saw, by mailbox.
    pub fn seen(&self) -> MutexGuard<'_, HashMap<Mailbox, Seen>> {
        lock(&self.seen)
    }

    /// Changes what is known of a mailbox.
    pub fn note<R>(&self, mailbox: &Mailbox, change: impl FnOnce(&mut Seen) -> R) -> R {
        change(lock(&self.seen).entry(mailbox.clone()).or_default())
    }

    /// What clients copied, by destination and content.
    pub fn copies(&self) -> MutexGuard<'_, HashMap<(Mailbox, Hash), Copied>> {
        lock(&self.copies)
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

/// The sizes of generated mail, for people.
fn spread() -> String {
    let rows = SPREAD.map(|(share, low, high)| {
        let percent = share as f64 / 10.0;
        if low == high {
            format!("{percent} % {} KiB", high >> 10)
        } else {
            format!("{percent} % {} to {} KiB", low >> 10, high >> 10)
        }
    });
    rows.join(", ")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[tokio::test]
    async fn every_message_has_recipients_and_none_twice() {
        let generator = crate::mail::Generator::new(3);
        let messages = (0..200).map(|number| Message::generated(generator, number));
        let ledger = Ledger::plan(messages.collect(), 3, true, 3);
        let (mut taken, mut shared) = (0, 0);
        while let Some((message, range)) = ledger.take().await {
            let deliveries = &ledger.deliveries[range];
            let mailboxes: BTreeSet<_> = deliveries.iter().map(|d| &d.mailbox).collect();
            assert!(!mailboxes.is_empty() && mailboxes.len() == deliveries.len());
            assert!(
                deliveries
                    .iter()
                    .all(|delivery| delivery.message == message)
            );
            taken += deliveries.len();
            shared += deliveries
                .iter()
                .filter(|d| d.mailbox.owner().is_none())
                .count();
        }
        assert_eq!(taken, ledger.deliveries.len());
        assert!(taken > 200 && shared > 5, "{taken} {shared}");
    }

    #[test]
    fn a_delivery_settles_once() {
        let message = Message::held(Kind::Real, b"a: b\r\n".to_vec());
        let ledger = Ledger::plan(vec![message], 1, false, 0);
        assert_eq!(ledger.update(0, |state| state.uncertain += 1), 0);
        assert_eq!(ledger.update(0, |state| state.acknowledged = true), 1);
        assert_eq!(ledger.update(0, |state| state.acknowledged = true), 1);
    }
}
