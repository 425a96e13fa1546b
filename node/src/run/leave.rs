//! The end of a node: not ready at once, then closed to new clients, then without sessions.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use murder_api::settings::Stop;

use crate::stop::{Phase, Sessions};

/// How long sessions may finish what they are doing once they have to end.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// SIGTERM and SIGINT, none of which is missed.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one. Cancel-safe.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Takes leave of clients: returns when no session is left, or none may go on. Another signal
/// shortens it to now; so does `at_once`.
pub(super) async fn leave(
    stop: Stop,
    phase: &watch::Sender<Phase>,
    sessions: &Sessions,
    signals: &mut Signals,
    at_once: bool,
) {
    let deadline = Instant::now() + Duration::from_secs(stop.session_seconds_max);
    let gone = async {
        sleep(Duration::from_secs(stop.accept_seconds)).await;
        phase.send_replace(Phase::Closing);
        sessions.none().await;
    };
    tokio::select! {
        biased;
        () = std::future::ready(()), if at_once => {}
        () = gone => {}
        () = sleep_until(deadline) => tracing::info!(event = "sessions_ended_by_deadline"),
        () = signals.next() => tracing::info!(event = "stopping_now"),
    }
    phase.send_replace(Phase::Ending);
    if timeout(END_PATIENCE, sessions.none()).await.is_err() {
        tracing::warn!(event = "sessions_cut_off");
    }
}
