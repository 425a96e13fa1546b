//! Moves units between backends: a copy while the unit is served, a short freeze, and one durable
//! decision of the master.
//!
//! The source copies rows and messages, then the changes since, until little is left; then writes of
//! the unit wait, the last changes follow, and the destination durably records PREPARED with a digest
//! that is equal to the source's. The source durably records RELEASED, and from then on only the master
//! says who owns the unit (`docs/ownership.md`): its FLIP is the commit point. A source that does not
//! hear the answer asks with SETTLE until it does; a destination asks the master itself.
//!
//! Whatever breaks before RELEASED leaves the unit where it is. What the two sides hold of an interrupted
//! move is settled by [`resume`].

mod admit;
mod apply;
mod arrive;
mod commands;
mod copy;
mod destination;
mod grant;
mod job;
pub mod message;
mod rate;
mod resume;
mod settle;
mod source;
mod stage;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use murder_api::admin::{TransferPhase, TransferStatus};
use murder_model::{MoveId, PartitionName, RootName, ServerName, UnitId};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::backend::{Backend, EventError};
use crate::directory::{AskError, Directory};
use crate::net::{PeerIdentity, Tls};
use crate::peer::{CONTENT_BYTES_MAX, Link, LinkError};
use crate::stop::stopped;
use crate::telemetry::metrics::OutcomeLabel;
use job::{Job, Jobs};
use message::{Reason, ToDestination};
use rate::Rate;

pub use job::TransferRefusal;

/// How often copies whose time has come are looked for.
const TICK: Duration = Duration::from_secs(30);

/// However low the rate, each transfer sends something within this time, so that its destination knows
/// it alive.
const TURNS_LIMIT: Duration = Duration::from_secs(15);

/// Why one try of a transfer ended. Nothing was given away.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The conversation broke off.
    #[error("conversation with the destination: {0}")]
    Link(#[from] LinkError),
    /// The destination refuses.
    #[error("the destination refused: {1}")]
    Refused(Reason, String),
    /// The peer said something that does not fit.
    #[error("the peer said something that does not fit")]
    Unfit,
    /// Rows could not be read.
    #[error(transparent)]
    Read(#[from] murder_store::mail::MailError),
    /// A record could not be written.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The master did not answer, or refused.
    #[error(transparent)]
    Master(#[from] AskError),
    /// Source and destination hold different rows.
    #[error("the copy differs from the original")]
    Mismatch,
    /// The last changes took longer than writes may wait.
    #[error("writes would have waited too long")]
    OverBudget,
    /// Somebody withdrew it.
    #[error("withdrawn")]
    Cancelled,
    /// The unit is not this server's to give.
    #[error("the unit is not served here")]
    NotOwner,
    /// The volume was restored, and nobody has confirmed it yet.
    #[error("this server's volume must be confirmed first")]
    Blocked,
    /// There is no such server.
    #[error("no server is named {0}")]
    UnknownServer(ServerName),
    /// The destination takes no units.
    #[error("server {0} is cordoned")]
    Cordoned(ServerName),
    /// The master decided that the unit stays.
    #[error("the master left the unit here")]
    Raised,
    /// The store failed.
    #[error(transparent)]
    Write(#[from] crate::backend::partition::WriteError),
    /// A spool file failed.
    #[error("spool: {0}")]
    Spool(#[from] std::io::Error),
}

impl From<murder_store::rows::StoreError> for TransferError {
    fn from(error: murder_store::rows::StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// All transfers from and to this server.
#[derive(Debug)]
pub struct Transfers {
    backend: Arc<Backend>,
    tls: Tls,
    jobs: Mutex<Jobs>,
    wake: Notify,
    rate: Rate,
    /// Who writes to the copy of a unit here.
    stays: Mutex<HashMap<UnitId, Arc<stage::Stay>>>,
    room: stage::Room,
    grace: Mutex<resume::Grace>,
    tasks: Mutex<JoinSet<()>>,
    stopping: watch::Sender<bool>,
}

impl Transfers {
    /// Nothing is done before [`Self::run`].
    pub fn new(backend: Arc<Backend>, tls: Tls) -> Arc<Self> {
        // Each sends one piece in a turn.
        let lowest = CONTENT_BYTES_MAX as u64 / TURNS_LIMIT.as_secs();
        Arc::new(Self {
            backend,
            tls,
            jobs: Mutex::default(),
            wake: Notify::new(),
            rate: Rate::new(lowest),
            stays: Mutex::default(),
            room: stage::Room::default(),
            grace: Mutex::default(),
            tasks: Mutex::default(),
            stopping: watch::Sender::new(false),
        })
    }

    /// Takes up what an earlier life left, then runs transfers, until `stop`.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        self.resume().await;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.start_queued();
            tokio::select! {
                () = self.wake.notified() => {}
                _ = tick.tick() => self.drop_expired(),
                () = stopped(&mut stop) => break,
            }
        }
        self.stopping.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.lock_tasks());
        while tasks.join_next().await.is_some() {}
    }

    /// Serves a conversation that a backend began.
    pub async fn serve(self: &Arc<Self>, mut link: Link, peer: PeerIdentity) {
        let mut stop = self.stopping.subscribe();
        let _counted = self.backend.metrics.session("transfer");
        let conversation = async {
            match link.receive().await? {
                ToDestination::Begin(begin) => self.receive_unit(link, &peer, begin).await,
                ToDestination::IsOver { unit, move_id } => {
                    self.answer_is_over(link, unit, move_id).await
                }
                ToDestination::HasTaken { unit, epoch } => {
                    self.answer_has_taken(link, unit, epoch).await
                }
                _ => Err(TransferError::Unfit),
            }
        };
        let ended = tokio::select! {
            ended = conversation => ended,
            () = stopped(&mut stop) => return,
        };
        match ended {
            Ok(()) | Err(TransferError::Link(LinkError::Closed)) => {}
            Err(TransferError::Link(error)) => {
                tracing::info!(event = "transfer_conversation_broke_off", peer = %peer, %error);
            }
            Err(error) => {
                tracing::warn!(event = "transfer_conversation_ended", peer = %peer, %error);
            }
        }
    }

    /// Queues a transfer under the caller's id; the same id again is the same transfer.
    pub fn start(
        &self,
        id: MoveId,
        root: RootName,
        destination: ServerName,
        partition: Option<PartitionName>,
    ) -> Result<TransferStatus, TransferRefusal> {
        let mut jobs = self.lock_jobs();
        if let Some(known) = jobs.get(&id) {
            return known.matches(&root, &destination);
        }
        let place = self.backend.unit(&root).ok_or(TransferRefusal::NotFound)?;
        if self.backend.directory.is_none() || place.gate.has_moved() {
            return Err(TransferRefusal::NotOwner);
        }
        if destination == self.backend.settings.server {
            return Err(TransferRefusal::ToItself);
        }
        let job = jobs.queue(Job::new(id, root, destination, partition))?;
        drop(jobs);
        self.wake.notify_one();
        Ok(job.status())
    }

    /// All transfers from here, running or lately ended, in order of their start.
    pub fn list(&self) -> Vec<TransferStatus> {
        self.lock_jobs().list()
    }

    /// Bounds what all transfers from here send together, in bytes a second; 0: not at all.
    pub fn set_rate(&self, bytes_per_second: u64) {
        self.rate.set(bytes_per_second);
    }

    /// The bound that was set.
    pub fn rate(&self) -> u64 {
        self.rate.get()
    }

    /// Withdraws a transfer that has not given the unit away; what has ended stays as it is.
    pub fn cancel(&self, id: &MoveId) -> Result<TransferStatus, TransferRefusal> {
        let job = self.lock_jobs().get(id).ok_or(TransferRefusal::NotFound)?;
        job.cancel()?;
        if job.status().phase == TransferPhase::Cancelled {
            self.count(&job, "cancelled");
        }
        self.wake.notify_one();
        Ok(job.status())
    }

    fn count(&self, job: &Job, outcome: &'static str) {
        if job.count() {
            let transfers = &self.backend.metrics.node.transfers;
            transfers
                .get_or_create_owned(&OutcomeLabel { outcome })
                .inc();
        }
    }

    /// Waits until a transfer has ended. `None`: there is none of that id.
    pub async fn wait(&self, id: &MoveId) -> Option<TransferStatus> {
        let job = self.lock_jobs().get(id)?;
        job.ended().await;
        Some(job.status())
    }

    /// Whether a unit is being moved away: its marks must not be forgotten meanwhile.
    pub fn is_moving(&self, root: &RootName) -> bool {
        self.lock_jobs().is_active(root)
    }

    fn start_queued(self: &Arc<Self>) {
        let parallel = self.backend.settings.transfer.parallel.max(1);
        while let Some(job) = self.lock_jobs().next(parallel) {
            let transfers = Arc::clone(self);
            self.spawn(async move {
                transfers.run_job(&job).await;
                transfers.lock_jobs().ended(&job);
                transfers.wake.notify_one();
            });
        }
    }

    /// Runs a task until the node stops.
    fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let mut stop = self.stopping.subscribe();
        let mut tasks = self.lock_tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stopped(&mut stop) => {}
            }
        });
    }

    /// The master. Without one nothing is ever moved.
    fn directory(&self) -> Result<&Directory, TransferError> {
        let directory = self.backend.directory.as_ref();
        directory.ok_or(TransferError::NotOwner)
    }

    /// Waits, less long if a connection to the master comes up meanwhile.
    async fn pause(&self, at_most: Duration) {
        let connected = async {
            match &self.backend.directory {
                Some(directory) => {
                    let mut connections = directory.connections();
                    connections.mark_unchanged();
                    // The sender goes away with the node only.
                    if connections.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(at_most) => {}
            () = connected => {}
        }
    }

    fn lock_jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().expect("no holder panics")
    }

    fn lock_tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().expect("no holder panics")
    }
}
