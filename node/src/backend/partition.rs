//! One thread a partition: it alone writes, and groups what queued into one durable batch.
//!
//! Order of a batch: evaluate each operation in its turn, append and sync the log (the commit
//! point), apply to the index, then tell views and watchers, then answer. So nobody sees what a
//! power loss could take back, and whoever got an answer finds the effect in every view.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use murder_store::engine::{Batch, Partition, PartitionFailed, Snapshots, Tx};
use murder_store::mail::{Effects, MailError};
use tokio::sync::{Notify, Semaphore, oneshot, watch};

use crate::backend::views::Views;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::PartitionLabel;

/// Operations in one batch; more wait for the next.
const BATCH_OPERATIONS_MAX: usize = 512;
/// Bytes of new messages in one batch.
const BATCH_BYTES_MAX: u64 = 8 << 20;
/// Operations that may queue; beyond, writers wait.
const QUEUE_MAX: usize = 1024;

/// Why an operation has no effect, or an unknown one.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Refused before anything was written.
    #[error(transparent)]
    Refused(#[from] MailError),
    /// The log could not be synced: the outcome is unknown and the partition has stopped.
    #[error("partition {0} has stopped after a failed write; the outcome is unknown")]
    Unknown(Arc<str>),
    /// The partition stopped earlier; nothing was tried.
    #[error("partition {0} has stopped and takes no writes")]
    Stopped(Arc<str>),
}

type Answer = Box<dyn FnOnce(Result<(), WriteError>) + Send>;
type Job = Box<dyn FnOnce(&mut Batch<'_>) -> Evaluated + Send>;

/// An evaluated operation: what watchers must hear, and how to answer once it is durable.
struct Evaluated {
    effects: Option<Effects>,
    answer: Answer,
}

enum Message {
    Write(Job),
    Stop,
}

/// Where operations on one partition are sent. Cheap to clone behind an `Arc`.
pub struct PartitionHandle {
    name: Arc<str>,
    queue: SyncSender<Message>,
    slots: Arc<Semaphore>,
    snapshots: Snapshots,
    views: Arc<Views>,
    free_bytes: Arc<AtomicU64>,
    total_bytes: u64,
    last_lsn: Arc<AtomicU64>,
    outbox: Arc<Notify>,
    acknowledged: watch::Sender<u64>,
    failed: Arc<OnceLock<String>>,
}

impl fmt::Debug for PartitionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PartitionHandle").field(&self.name).finish()
    }
}

/// The running thread; joining it leaves the index durable.
#[derive(Debug)]
pub struct PartitionThread {
    queue: SyncSender<Message>,
    thread: JoinHandle<()>,
}

/// Starts the thread of `partition`.
pub fn start(
    name: &str,
    partition: Partition,
    metrics: &Metrics,
) -> std::io::Result<(Arc<PartitionHandle>, PartitionThread)> {
    let name: Arc<str> = Arc::from(name);
    let (queue, jobs) = sync_channel(QUEUE_MAX + 1);
    let snapshots = partition.snapshots();
    let views = Arc::new(Views::default());
    let label = PartitionLabel {
        partition: name.to_string(),
    };
    let counters = Counters {
        commits: metrics.commits.get_or_create_owned(&label),
        operations: metrics.operations.get_or_create_owned(&label),
        bytes: metrics.log_bytes.get_or_create_owned(&label),
    };
    let free_bytes = Arc::new(AtomicU64::new(partition.available().unwrap_or(0)));
    let failed = Arc::new(OnceLock::new());
    let total_bytes = partition
        .space()
        .ok()
        .flatten()
        .map_or(0, |space| space.total);
    let last_lsn = Arc::new(AtomicU64::new(partition.last_lsn()));
    let outbox = Arc::new(Notify::new());
    let writer = Writer {
        name: Arc::clone(&name),
        free_bytes: Arc::clone(&free_bytes),
        last_lsn: Arc::clone(&last_lsn),
        outbox: Arc::clone(&outbox),
        partition,
        views: Arc::clone(&views),
        counters,
        failed: Arc::clone(&failed),
    };
    let thread = std::thread::Builder::new()
        .name(format!("partition-{name}"))
        .spawn(move || writer.run(&jobs))?;
    let handle = PartitionHandle {
        name,
        queue: queue.clone(),
        slots: Arc::new(Semaphore::new(QUEUE_MAX)),
        snapshots,
        views,
        free_bytes,
        total_bytes,
        last_lsn,
        outbox,
        acknowledged: watch::channel(0).0,
        failed,
    };
    Ok((Arc::new(handle), PartitionThread { queue, thread }))
}

impl PartitionHandle {
    /// The partition's name in the settings.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Consistent reads of what is durable.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Bytes that new mail may take, as of the last checkpoint.
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// Size of the volume in bytes; 0 if it cannot be told.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Why it stopped taking writes, if it did.
    pub fn failed(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// Last durable log sequence number.
    pub fn last_lsn(&self) -> u64 {
        self.last_lsn.load(Ordering::Acquire)
    }

    /// Told when rows for the master were made durable.
    pub fn outbox(&self) -> &Notify {
        &self.outbox
    }

    /// Position in the outbox up to which the master has been told.
    pub fn acknowledged(&self) -> &watch::Sender<u64> {
        &self.acknowledged
    }

    /// Shared views of this partition's mailboxes.
    pub fn views(&self) -> &Arc<Views> {
        &self.views
    }

    /// Runs `operation` in the next batch and returns its result once that batch is durable.
    /// An operation that returns an error leaves nothing behind.
    pub async fn write<T, F>(&self, operation: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<(T, Effects), MailError> + Send + 'static,
    {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.expect("the semaphore is never closed");
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |batch| {
            let (effects, result) = match batch.run(operation) {
                Ok((value, effects)) => (Some(effects), Ok(value)),
                Err(error) => (None, Err(error)),
            };
            Evaluated {
                effects,
                answer: Box::new(move |outcome| {
                    drop(slot);
                    // Nobody waits any more if the session ended; the effect stands.
                    let _gone = sender.send(match outcome {
                        Ok(()) => result.map_err(WriteError::Refused),
                        Err(error) => Err(error),
                    });
                }),
            }
        });
        match self.queue.try_send(Message::Write(job)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                return Err(WriteError::Stopped(Arc::clone(&self.name)));
            }
        }
        receiver
            .await
            .unwrap_or_else(|_| Err(WriteError::Unknown(Arc::clone(&self.name))))
    }
}

impl PartitionThread {
    /// Finishes what is queued, makes the index durable and ends the thread.
    pub fn stop(self) {
        if self.queue.send(Message::Stop).is_ok() && self.thread.join().is_err() {
            tracing::error!(event = "partition_thread_panicked");
        }
    }
}

struct Counters {
    commits: prometheus_client::metrics::counter::Counter,
    operations: prometheus_client::metrics::counter::Counter,
    bytes: prometheus_client::metrics::counter::Counter,
}

struct Writer {
    name: Arc<str>,
    partition: Partition,
    views: Arc<Views>,
    free_bytes: Arc<AtomicU64>,
    last_lsn: Arc<AtomicU64>,
    outbox: Arc<Notify>,
    counters: Counters,
    failed: Arc<OnceLock<String>>,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Message>) {
        let interval = self.partition.checkpoint_interval();
        let mut next_checkpoint = Instant::now() + interval;
        loop {
            let wait = next_checkpoint.saturating_duration_since(Instant::now());
            let first = match jobs.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let stopping = first.is_some_and(|first| self.batch(first, jobs));
            if stopping {
                break;
            }
            if Instant::now() >= next_checkpoint || self.partition.checkpoint_due() {
                self.checkpoint();
                next_checkpoint = Instant::now() + interval;
            }
        }
        if self.failed.get().is_none()
            && let Err(error) = self.partition.close()
        {
            tracing::error!(event = "partition_close_failed", partition = %self.name, %error);
        }
    }

    /// Evaluates `first` and what else is queued, commits, publishes, answers. True: stop.
    fn batch(&mut self, first: Message, jobs: &Receiver<Message>) -> bool {
        let mut stopping = false;
        let mut evaluated = Vec::new();
        let committed = if self.failed.get().is_some() {
            refuse(&self.name, first, jobs, &mut stopping);
            return stopping;
        } else {
            match self.partition.batch() {
                Ok(mut batch) => {
                    let mut next = Some(first);
                    while let Some(message) = next {
                        match message {
                            Message::Write(job) => evaluated.push(job(&mut batch)),
                            Message::Stop => {
                                stopping = true;
                                break;
                            }
                        }
                        let full = evaluated.len() >= BATCH_OPERATIONS_MAX
                            || batch.bytes() >= BATCH_BYTES_MAX;
                        next = if full { None } else { jobs.try_recv().ok() };
                    }
                    batch.commit()
                }
                Err(error) => {
                    self.fail(&error);
                    refuse(&self.name, first, jobs, &mut stopping);
                    return stopping;
                }
            }
        };
        match committed {
            Ok(committed) => {
                self.counters.commits.inc();
                self.counters.operations.inc_by(evaluated.len() as u64);
                self.counters.bytes.inc_by(committed.bytes);
                self.last_lsn.store(committed.lsn, Ordering::Release);
                for operation in &mut evaluated {
                    if let Some(effects) = operation.effects.take() {
                        if effects.outbox {
                            self.outbox.notify_one();
                        }
                        self.views.publish(effects);
                    }
                }
                for operation in evaluated {
                    (operation.answer)(Ok(()));
                }
            }
            Err(error) => {
                self.fail(&error);
                for operation in evaluated {
                    (operation.answer)(Err(WriteError::Unknown(Arc::clone(&self.name))));
                }
            }
        }
        stopping
    }

    fn checkpoint(&mut self) {
        if self.failed.get().is_some() {
            return;
        }
        if let Err(error) = self.partition.checkpoint() {
            self.fail(&error);
            return;
        }
        if let Ok(free) = self.partition.available() {
            self.free_bytes.store(free, Ordering::Relaxed);
        }
    }

    fn fail(&self, error: &PartitionFailed) {
        // The first reason stays.
        let _known = self.failed.set(error.to_string());
        tracing::error!(event = "partition_stopped", partition = %self.name, %error);
    }
}

fn refuse(name: &Arc<str>, first: Message, jobs: &Receiver<Message>, stopping: &mut bool) {
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            // Dropping the job drops its sender: the writer hears that the partition stopped.
            Message::Write(job) => drop(job),
            Message::Stop => *stopping = true,
        }
        next = jobs.recv_timeout(Duration::ZERO).ok();
    }
    if !*stopping {
        tracing::debug!(event = "write_refused", partition = %name);
    }
}
