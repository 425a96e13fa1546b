//! How much transfers may send together.
//!
//! A bucket of tokens that may go into debt: whoever sends waits until there is none, then takes what
//! the piece costs. A piece is never held back for what it costs itself, so that small rates move,
//! too. The senders of a node take turns; a new rate counts at once, also for those who wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};
use tokio::time::sleep;

/// Unused tokens are kept for so long.
const BURST: Duration = Duration::from_millis(100);

/// The rate of a node, and what it has sent lately.
#[derive(Debug)]
pub(super) struct Rate {
    bytes_per_second: watch::Sender<u64>,
    /// For each sender: below this its destination would take it for dead, while it is not its turn.
    lowest_each: u64,
    senders: AtomicU64,
    bucket: Mutex<Bucket>,
}

impl Rate {
    /// None, until one is set. Rates below `lowest_each` for each sender that there is count as that.
    pub(super) fn new(lowest_each: u64) -> Self {
        Self {
            bytes_per_second: watch::Sender::new(0),
            lowest_each,
            senders: AtomicU64::new(0),
            bucket: Mutex::new(Bucket::new(Instant::now())),
        }
    }

    /// Bytes a second from now on; 0: as many as there are.
    pub(super) fn set(&self, bytes_per_second: u64) {
        self.bytes_per_second.send_replace(bytes_per_second);
    }

    /// What was set.
    pub(super) fn get(&self) -> u64 {
        *self.bytes_per_second.borrow()
    }

    /// One more that sends, until it is dropped.
    pub(super) fn sender(&self) -> Sender<'_> {
        self.senders.fetch_add(1, Ordering::Relaxed);
        Sender(self)
    }

    /// What counts now.
    fn in_force(&self, set: u64) -> u64 {
        match set {
            0 => 0,
            set => set.max(self.lowest_each * self.senders.load(Ordering::Relaxed)),
        }
    }
}

/// One that sends under the rate of its node.
#[derive(Debug)]
pub(super) struct Sender<'a>(&'a Rate);

impl Drop for Sender<'_> {
    fn drop(&mut self) {
        self.0.senders.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sender<'_> {
    /// Waits until a piece of so many bytes may be sent. Cancel-safe: whoever gives up has taken
    /// nothing.
    pub(super) async fn take(&self, bytes: u64) {
        let mut rate = self.0.bytes_per_second.subscribe();
        let mut bucket = self.0.bucket.lock().await;
        loop {
            let set = *rate.borrow_and_update();
            let now = self.0.in_force(set);
            match bucket.take(bytes, now, Instant::now()) {
                None => return,
                Some(wait) => tokio::select! {
                    () = sleep(wait) => {}
                    // The sender lives as long as `self`.
                    _ = rate.changed() => {}
                },
            }
        }
    }

    /// Takes what is sent without waiting, because others wait for it; those who come next wait
    /// for longer.
    pub(super) async fn owe(&self, bytes: u64) {
        self.0.bucket.lock().await.owe(bytes);
    }
}

#[derive(Debug)]
struct Bucket {
    /// Below zero: debt.
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self {
            tokens: 0.0,
            filled: now,
        }
    }

    /// Takes the tokens for a piece, or tells how long to wait before asking again.
    fn take(&mut self, bytes: u64, rate: u64, now: Instant) -> Option<Duration> {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        if rate == 0 {
            self.tokens = 0.0;
            return None;
        }
        let rate = rate as f64;
        self.tokens = (self.tokens + elapsed * rate).min(BURST.as_secs_f64() * rate);
        if self.tokens < 0.0 {
            let wait = Duration::from_secs_f64(-self.tokens / rate);
            // Not shorter than a timer can tell, or it would be asked again in vain.
            return Some(wait.max(Duration::from_millis(1)));
        }
        self.owe(bytes);
        None
    }

    fn owe(&mut self, bytes: u64) {
        self.tokens -= bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Bucket, Rate};

    /// Bytes that senders in turn get through in a stretch of a clock that they wind themselves.
    fn sent(bucket: &mut Bucket, now: &mut Instant, stretch: Duration, rate: u64) -> u64 {
        let end = *now + stretch;
        let mut sent = 0;
        while *now < end {
            match bucket.take(PIECE, rate, *now) {
                None => sent += PIECE,
                Some(wait) => *now += wait,
            }
        }
        sent
    }

    const PIECE: u64 = 64 << 10;
    const MIB: u64 = 1 << 20;

    #[test]
    fn senders_follow_the_rate_and_every_change_of_it() {
        let mut now = Instant::now();
        let mut bucket = Bucket::new(now);
        for rate in [MIB, 10 * MIB, 100 * MIB, PIECE / 4, 3 * MIB] {
            let seconds = 60;
            let sent = sent(&mut bucket, &mut now, Duration::from_secs(seconds), rate);
            let wanted = rate * seconds;
            // A piece of debt at either end, and the tokens of a pause.
            let slack = 2 * PIECE + rate / 10;
            assert!(
                sent.abs_diff(wanted) <= slack,
                "{rate}: {sent}, not {wanted}"
            );
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let mut now = Instant::now();
        let mut bucket = Bucket::new(now);
        assert_eq!(bucket.take(PIECE, MIB, now), None);
        now += Duration::from_secs(3600);
        let sent = sent(&mut bucket, &mut now, Duration::from_secs(1), MIB);
        assert!(sent <= MIB + MIB / 10 + PIECE, "{sent}");
    }

    #[test]
    fn what_could_not_wait_is_waited_for_afterwards() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now);
        bucket.owe(2 * MIB);
        assert_eq!(bucket.take(1, MIB, now), Some(Duration::from_secs(2)));
        // Without a limit nobody waits, and nothing is owed later.
        assert_eq!(bucket.take(1, 0, now), None);
        assert_eq!(bucket.take(1, MIB, now), None);
    }

    /// Not those that could send count, but those that do.
    #[test]
    fn no_rate_is_so_low_that_a_sender_seems_dead() {
        let rate = Rate::new(PIECE);
        let first = rate.sender();
        assert_eq!(rate.in_force(1), PIECE);
        let second = rate.sender();
        assert_eq!(rate.in_force(1), 2 * PIECE);
        assert_eq!(rate.in_force(3 * PIECE), 3 * PIECE);
        assert_eq!(rate.in_force(0), 0);
        drop((first, second));
        assert_eq!(rate.in_force(1), 1);
    }

    /// One who would wait for hours goes on at once.
    #[tokio::test]
    async fn a_new_rate_counts_for_those_who_wait() {
        let rate = std::sync::Arc::new(Rate::new(1));
        rate.set(1);
        rate.sender().take(1_000_000).await;
        let waiting = tokio::spawn({
            let rate = std::sync::Arc::clone(&rate);
            async move { rate.sender().take(1).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        rate.set(0);
        waiting.await.unwrap();
        assert_eq!(rate.get(), 0);
    }
}
