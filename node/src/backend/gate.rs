//! The gate of a unit: writes pass while the unit is active, wait while it is frozen for the last
//! step of a transfer, and learn where it went afterwards.
//!
//! A writer holds its [`Pass`] until its answer is known, so that freezing waits for all writes
//! under way and nothing is in flight while the last changes are copied. The gate is only memory:
//! what a crash leaves is decided by the ownership record in the store.

use std::sync::Arc;

use murder_model::{Epoch, ServerName, Term};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// What a unit is to this server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Served here.
    Active,
    /// Released, and the outcome of the flip is not known yet.
    InDoubt,
    /// Served elsewhere since this term and epoch.
    Moved {
        /// The new owner.
        to: ServerName,
        /// Term of the grant.
        term: Term,
        /// Epoch of the grant.
        epoch: Epoch,
    },
    /// Neither served nor ever served here: staged by a transfer, or blocked.
    Absent,
}

/// The gate itself; shared by all who use the unit.
#[derive(Clone, Debug)]
pub struct Gate(Arc<RwLock<Phase>>);

/// Leave to write, for as long as it is held.
#[derive(Debug)]
pub struct Pass(#[expect(dead_code, reason = "held, not read")] OwnedRwLockReadGuard<Phase>);

/// Exclusive hold on a unit: nothing is written while it lives.
#[derive(Debug)]
pub struct Freeze(OwnedRwLockWriteGuard<Phase>);

impl Gate {
    /// A gate in `phase`.
    pub fn new(phase: Phase) -> Self {
        Self(Arc::new(RwLock::new(phase)))
    }

    /// Waits out a freeze, then gives leave to write or tells why not.
    pub async fn enter(&self) -> Result<Pass, Phase> {
        let guard = Arc::clone(&self.0).read_owned().await;
        match &*guard {
            Phase::Active => Ok(Pass(guard)),
            other => Err(other.clone()),
        }
    }

    /// The phase now, waiting out a freeze.
    pub async fn phase(&self) -> Phase {
        self.0.read().await.clone()
    }

    /// Waits for all writes under way, then keeps others waiting until the freeze ends.
    pub async fn freeze(&self) -> Freeze {
        Freeze(Arc::clone(&self.0).write_owned().await)
    }

    /// Changes the phase once no write is under way.
    pub async fn set(&self, phase: Phase) {
        *self.0.write().await = phase;
    }
}

impl Freeze {
    /// The phase that the freeze holds.
    pub fn phase(&self) -> &Phase {
        &self.0
    }

    /// Ends the freeze in `phase`; those who waited see it.
    pub fn end(mut self, phase: Phase) {
        *self.0 = phase;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::{Gate, Phase};

    fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
        let future = pin!(future);
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn a_freeze_waits_for_writes_under_way() {
        let gate = Gate::new(Phase::Active);
        let pass = gate.enter().await.unwrap();
        assert!(poll_once(gate.freeze()).is_pending());
        drop(pass);
        assert!(poll_once(gate.freeze()).is_ready());
    }

    #[tokio::test]
    async fn writes_wait_out_a_freeze_and_learn_its_end() {
        let gate = Gate::new(Phase::Active);
        let freeze = gate.freeze().await;
        assert!(poll_once(gate.enter()).is_pending());
        freeze.end(Phase::InDoubt);
        assert_eq!(gate.enter().await.unwrap_err(), Phase::InDoubt);
    }

    #[tokio::test]
    async fn a_dropped_freeze_leaves_the_phase_as_it_was() {
        let gate = Gate::new(Phase::Active);
        drop(gate.freeze().await);
        assert!(gate.enter().await.is_ok());
    }
}
