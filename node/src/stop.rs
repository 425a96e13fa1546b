//! Being told to stop: what a node tells its parts, and the sessions that it waits for.

use std::sync::Arc;

use tokio::sync::watch;

/// Waits until the node is told to stop, or whoever tells it is gone. Cancel-safe.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody is left to tell.
    let _told = stop.wait_for(|stop| *stop).await;
}

/// How far a node that serves mail has come with stopping.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// Not at all, as far as clients see.
    #[default]
    Serving,
    /// New connections are refused; the sessions that are open go on.
    Closing,
    /// Sessions end as soon as they have finished what they are doing.
    Ending,
}

/// What a session asks whether it has to end.
#[derive(Clone, Debug)]
pub struct Leave(watch::Receiver<Phase>);

impl Leave {
    /// Follows what is told through the other end.
    pub fn new(phase: watch::Receiver<Phase>) -> Self {
        Self(phase)
    }

    /// Waits until the node has come so far; for ever if nobody is left to tell. Cancel-safe.
    pub async fn reached(&mut self, wanted: Phase) {
        if self.0.wait_for(|phase| *phase >= wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The sessions that are open.
#[derive(Clone, Debug)]
pub struct Sessions(Arc<watch::Sender<usize>>);

impl Default for Sessions {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Sessions {
    /// Counts a session until the guard is dropped.
    pub fn open(&self) -> Open {
        self.0.send_modify(|count| *count += 1);
        Open(Self(Arc::clone(&self.0)))
    }

    /// Waits until none is open. Cancel-safe.
    pub async fn none(&self) {
        let mut count = self.0.subscribe();
        // The sender lives as long as `self`.
        let _none = count.wait_for(|count| *count == 0).await;
    }
}

/// One session; see [`Sessions::open`].
#[derive(Debug)]
pub struct Open(Sessions);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::{Leave, Phase, Sessions};

    #[tokio::test]
    async fn sessions_are_waited_for() {
        let sessions = Sessions::default();
        sessions.none().await;
        let one = sessions.open();
        let waiting = tokio::spawn({
            let sessions = sessions.clone();
            async move { sessions.none().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(one);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_later_phase_contains_the_earlier_ones() {
        let (phase, seen) = watch::channel(Phase::Serving);
        let mut leave = Leave::new(seen);
        phase.send_replace(Phase::Ending);
        leave.reached(Phase::Closing).await;
        leave.reached(Phase::Ending).await;
    }
}
