//! The transfers of a source: which are wanted, which run, and how they went.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use murder_api::admin::{TransferPhase, TransferStatus};
use murder_model::{MoveId, PartitionName, RootName, ServerName};
use tokio::sync::watch;

use super::TransferError;

/// Transfers that may wait for their turn.
const QUEUE_MAX: usize = 10_000;
/// Ended transfers that are still shown.
const ENDED_MAX: usize = 10_000;

/// Why a command on a transfer was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TransferRefusal {
    /// No such transfer, or no such unit.
    #[error("no such transfer or unit")]
    NotFound,
    /// The unit is not this server's to give.
    #[error("the unit is not served here")]
    NotOwner,
    /// A server cannot move a unit to itself.
    #[error("destination is this server")]
    ToItself,
    /// The unit was given away already, or the transfer has ended.
    #[error("too late")]
    TooLate,
    /// The unit is being moved under another id, or the id stands for another transfer.
    #[error("the unit is being moved as {0}")]
    OtherMove(MoveId),
    /// Too many transfers wait.
    #[error("too many transfers wait")]
    Full,
}

/// One transfer that somebody asked for.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: MoveId,
    pub(super) root: RootName,
    pub(super) destination: ServerName,
    pub(super) partition: Option<PartitionName>,
    state: Mutex<State>,
    cancelled: watch::Sender<bool>,
    ended: watch::Sender<bool>,
    counted: AtomicBool,
}

#[derive(Debug)]
struct State {
    status: TransferStatus,
    /// The source's own id of the move under way.
    move_id: Option<MoveId>,
}

impl Job {
    pub(super) fn new(
        id: MoveId,
        root: RootName,
        destination: ServerName,
        partition: Option<PartitionName>,
    ) -> Arc<Self> {
        let status = TransferStatus {
            move_id: id,
            root: root.clone(),
            destination: destination.clone(),
            phase: TransferPhase::Queued,
            attempts: 0,
            mailboxes: 0,
            bytes_sent: 0,
            bytes_total: 0,
            freeze_ms: 0,
            error: None,
        };
        Arc::new(Self {
            id,
            root,
            destination,
            partition,
            state: Mutex::new(State {
                status,
                move_id: None,
            }),
            cancelled: watch::Sender::new(false),
            ended: watch::Sender::new(false),
            counted: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    pub(super) fn status(&self) -> TransferStatus {
        self.lock().status.clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut TransferStatus)) {
        change(&mut self.lock().status);
    }

    pub(super) fn set_phase(&self, phase: TransferPhase) {
        self.change(|status| status.phase = phase);
    }

    /// The move that is under way from now on; `None`: none, and the last one never again.
    pub(super) fn set_move(&self, move_id: Option<MoveId>) {
        self.lock().move_id = move_id;
    }

    /// The same transfer, asked for again.
    pub(super) fn matches(
        &self,
        root: &RootName,
        destination: &ServerName,
    ) -> Result<TransferStatus, TransferRefusal> {
        if (root, destination) == (&self.root, &self.destination) {
            Ok(self.status())
        } else {
            Err(TransferRefusal::OtherMove(self.id))
        }
    }

    pub(super) fn cancel(&self) -> Result<(), TransferRefusal> {
        let mut state = self.lock();
        match state.status.phase {
            TransferPhase::Released | TransferPhase::Done | TransferPhase::Failed => {
                Err(TransferRefusal::TooLate)
            }
            TransferPhase::Queued => {
                state.status.phase = TransferPhase::Cancelled;
                self.cancelled.send_replace(true);
                self.ended.send_replace(true);
                Ok(())
            }
            _ => {
                self.cancelled.send_replace(true);
                Ok(())
            }
        }
    }

    /// From now on it cannot be withdrawn; refused if it was.
    pub(super) fn release(&self) -> Result<(), TransferError> {
        let mut state = self.lock();
        if self.is_cancelled() {
            return Err(TransferError::Cancelled);
        }
        state.status.phase = TransferPhase::Released;
        Ok(())
    }

    pub(super) fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    /// Waits until it is withdrawn.
    pub(super) async fn cancelled(&self) {
        let mut cancelled = self.cancelled.subscribe();
        // The sender lives as long as the job.
        let _open = cancelled.wait_for(|cancelled| *cancelled).await;
    }

    pub(super) fn end(&self, phase: TransferPhase, error: Option<String>) {
        self.change(|status| {
            status.phase = phase;
            status.error = error;
        });
        self.ended.send_replace(true);
    }

    pub(super) async fn ended(&self) {
        let mut ended = self.ended.subscribe();
        let _open = ended.wait_for(|ended| *ended).await;
    }

    /// True once: whoever hears it counts the transfer's end.
    pub(super) fn count(&self) -> bool {
        !self.counted.swap(true, Ordering::AcqRel)
    }

    fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }
}

/// All jobs of a server.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    known: HashMap<MoveId, Arc<Job>>,
    order: VecDeque<MoveId>,
    waiting: VecDeque<Arc<Job>>,
    running: HashSet<MoveId>,
    /// Which job has a root, waiting or running.
    active: HashMap<RootName, MoveId>,
}

impl Jobs {
    pub(super) fn get(&self, id: &MoveId) -> Option<Arc<Job>> {
        self.known.get(id).cloned()
    }

    pub(super) fn queue(&mut self, job: Arc<Job>) -> Result<Arc<Job>, TransferRefusal> {
        self.drop_cancelled();
        if let Some(other) = self.active(&job.root) {
            return Err(TransferRefusal::OtherMove(other));
        }
        if self.waiting.len() >= QUEUE_MAX {
            return Err(TransferRefusal::Full);
        }
        self.forget_oldest();
        self.known.insert(job.id, Arc::clone(&job));
        self.order.push_back(job.id);
        self.active.insert(job.root.clone(), job.id);
        self.waiting.push_back(Arc::clone(&job));
        Ok(job)
    }

    /// The next one to run, if fewer than `parallel` do.
    pub(super) fn next(&mut self, parallel: usize) -> Option<Arc<Job>> {
        self.drop_cancelled();
        if self.running.len() >= parallel {
            return None;
        }
        let job = self.waiting.pop_front()?;
        self.running.insert(job.id);
        Some(job)
    }

    pub(super) fn ended(&mut self, job: &Job) {
        self.running.remove(&job.id);
        // Whoever heard of the end may have begun another one.
        if self.active.get(&job.root) == Some(&job.id) {
            self.active.remove(&job.root);
        }
    }

    pub(super) fn list(&self) -> Vec<TransferStatus> {
        let known = self.order.iter().filter_map(|id| self.known.get(id));
        known.map(|job| job.status()).collect()
    }

    pub(super) fn is_active(&self, root: &RootName) -> bool {
        self.active(root).is_some()
    }

    fn active(&self, root: &RootName) -> Option<MoveId> {
        let job = self.known.get(self.active.get(root)?)?;
        (!job.has_ended()).then_some(job.id)
    }

    /// Whether a job is at this move of its own.
    pub(super) fn is_moving(&self, move_id: &MoveId) -> bool {
        let running = self.running.iter().filter_map(|id| self.known.get(id));
        let mut moves = running.filter_map(|job| job.lock().move_id);
        moves.any(|running| running == *move_id)
    }

    fn drop_cancelled(&mut self) {
        let active = &mut self.active;
        self.waiting.retain(|job| {
            if job.is_cancelled() {
                active.remove(&job.root);
            }
            !job.is_cancelled()
        });
    }

    fn forget_oldest(&mut self) {
        let ended = self.known.len() - self.waiting.len() - self.running.len();
        if ended < ENDED_MAX {
            return;
        }
        let known = &self.known;
        let oldest = self
            .order
            .iter()
            .position(|id| known.get(id).is_none_or(|job| job.has_ended()));
        if let Some(id) = oldest.and_then(|index| self.order.remove(index)) {
            self.known.remove(&id);
        }
    }
}
