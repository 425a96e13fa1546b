//! The gate of a unit: writes pass while the unit is active, wait while it is frozen for the last
//! step of a transfer, and learn where it went afterwards.
//!
//! A writer holds its [`Pass`] until its answer is known, so that freezing waits for all writes
//! under way and nothing is in flight while the last changes are copied. The gate is only memory:
//! what a crash leaves is decided by the ownership record in the store.

use std::sync::Arc;

use murder_model::{Epoch, ServerName, Term};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, watch};

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
pub struct Gate {
    phase: Arc<RwLock<Phase>>,
    moved: Arc<watch::Sender<bool>>,
}

/// Leave to write, for as long as it is held.
#[derive(Debug)]
pub struct Pass(#[expect(dead_code, reason = "held, not read")] OwnedRwLockReadGuard<Phase>);

/// Exclusive hold on a unit: nothing is written while it lives.
#[derive(Debug)]
pub struct Freeze {
    phase: OwnedRwLockWriteGuard<Phase>,
    moved: Arc<watch::Sender<bool>>,
}

impl Gate {
    /// A gate in `phase`.
    pub fn new(phase: Phase) -> Self {
        let moved = watch::Sender::new(phase.is_moved());
        Self {
            phase: Arc::new(RwLock::new(phase)),
            moved: Arc::new(moved),
        }
    }

    /// Waits out a freeze, then gives leave to write or tells why not.
    pub async fn enter(&self) -> Result<Pass, Phase> {
        let guard = Arc::clone(&self.phase).read_owned().await;
        match &*guard {
            Phase::Active => Ok(Pass(guard)),
            other => Err(other.clone()),
        }
    }

    /// The phase now, waiting out a freeze.
    pub async fn phase(&self) -> Phase {
        self.phase.read().await.clone()
    }

    /// The phase now, unless the unit is frozen.
    pub fn phase_now(&self) -> Option<Phase> {
        self.phase.try_read().ok().map(|phase| phase.clone())
    }

    /// Waits for all writes under way, then keeps others waiting until the freeze ends.
    pub async fn freeze(&self) -> Freeze {
        Freeze {
            phase: Arc::clone(&self.phase).write_owned().await,
            moved: Arc::clone(&self.moved),
        }
    }

    /// Changes the phase once no write is under way.
    pub async fn set(&self, phase: Phase) {
        self.freeze().await.end(phase);
    }

    /// Whether the unit is served elsewhere.
    pub fn has_moved(&self) -> bool {
        *self.moved.borrow()
    }

    /// Waits until the unit is served elsewhere.
    pub async fn moved(&self) {
        let mut moved = self.moved.subscribe();
        // The sender lives as long as the gate.
        let _open = moved.wait_for(|moved| *moved).await;
    }
}

impl Freeze {
    /// The phase that the freeze holds.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// From now on the freeze leaves `phase` behind however it ends.
    pub fn leave(&mut self, phase: Phase) {
        self.moved.send_replace(phase.is_moved());
        *self.phase = phase;
    }

    /// Ends the freeze in `phase`; those who waited see it.
    pub fn end(mut self, phase: Phase) {
        self.leave(phase);
    }
}

impl Phase {
    /// Whether the unit is served elsewhere.
    pub fn is_moved(&self) -> bool {
        matches!(self, Self::Moved { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use murder_model::{Epoch, ServerName, Term};

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

    #[tokio::test]
    async fn who_waits_for_the_move_hears_of_it_and_of_nothing_else() {
        let gate = Gate::new(Phase::Active);
        let mut moved = pin!(gate.moved());
        let mut context = Context::from_waker(Waker::noop());
        gate.set(Phase::InDoubt).await;
        assert!(moved.as_mut().poll(&mut context).is_pending());
        gate.set(Phase::Moved {
            to: ServerName::parse("be-b").unwrap(),
            term: Term::new(1),
            epoch: Epoch::new(2),
        })
        .await;
        assert!(moved.as_mut().poll(&mut context).is_ready());
        assert!(gate.has_moved());
    }

    #[tokio::test]
    async fn a_freeze_leaves_behind_what_it_was_told_to() {
        let gate = Gate::new(Phase::Active);
        let mut freeze = gate.freeze().await;
        freeze.leave(Phase::InDoubt);
        drop(freeze);
        assert_eq!(gate.phase().await, Phase::InDoubt);
    }
}
