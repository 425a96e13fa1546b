//! The thread that owns a node's replica: applies what the link feeds it, and tells how far it is.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use murder_locations::replica::{Need, Replica, ReplicaError, ReplicaOptions, ReplicaReader};
use murder_locations::request::{Position, StreamItem};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// Items that may queue; beyond, the link stops reading.
const QUEUE_MAX: usize = 1024;
/// Items applied in one commit.
const BATCH_ITEMS_MAX: usize = 512;

#[expect(clippy::large_enum_variant, reason = "most messages are items")]
enum Message {
    Item(StreamItem),
    Settled(oneshot::Sender<Position>),
    Stop,
}

/// The replica does not take what it is fed: something is missing, or it has stopped.
#[derive(Clone, Copy, Debug)]
pub struct Lacking;

/// Where the stream is fed, and where names are looked up; cheap to clone.
#[derive(Clone, Debug)]
pub struct ReplicaHandle {
    queue: mpsc::Sender<Message>,
    reader: ReplicaReader,
    positions: watch::Receiver<Position>,
    lacking: Arc<AtomicBool>,
}

/// The running thread.
#[derive(Debug)]
pub struct ReplicaThread {
    queue: mpsc::Sender<Message>,
    thread: JoinHandle<()>,
}

/// Opens the replica in a directory and starts its thread. One that cannot be opened is thrown
/// away: all it has is the master's.
pub fn start(data_dir: &Path) -> io::Result<(ReplicaHandle, ReplicaThread)> {
    let path = data_dir.join("replica.redb");
    let options = ReplicaOptions::default();
    let replica = match Replica::open(&path, &options) {
        Ok(replica) => replica,
        Err(error) => {
            tracing::warn!(event = "replica_thrown_away", %error);
            std::fs::remove_file(&path)?;
            Replica::open(&path, &options).map_err(io::Error::other)?
        }
    };
    let (queue, messages) = mpsc::channel(QUEUE_MAX);
    let (publish, positions) = watch::channel(replica.position());
    let lacking = Arc::new(AtomicBool::new(false));
    let handle = ReplicaHandle {
        queue: queue.clone(),
        reader: replica.reader(),
        positions,
        lacking: Arc::clone(&lacking),
    };
    let follower = Follower {
        replica,
        messages,
        publish,
        lacking,
    };
    let thread = std::thread::Builder::new()
        .name("replica".to_owned())
        .spawn(move || {
            if let Err(error) = follower.run() {
                tracing::error!(event = "replica_stopped", %error);
            }
        })?;
    Ok((handle, ReplicaThread { queue, thread }))
}

impl ReplicaHandle {
    /// Looks things up.
    pub fn reader(&self) -> &ReplicaReader {
        &self.reader
    }

    /// How far it is.
    pub fn positions(&self) -> watch::Receiver<Position> {
        self.positions.clone()
    }

    /// Whether it ever had all that the master had.
    pub fn is_complete(&self) -> bool {
        self.positions.borrow().term.get() > 0
    }

    /// Waits until everything up to `barrier` is shown, at most `limit` long. False: it is not, or
    /// another reign began.
    pub async fn reached(&self, barrier: Position, limit: Duration) -> bool {
        let mut positions = self.positions.clone();
        let there = |here: &Position| here.term > barrier.term || *here >= barrier;
        let waited = timeout(limit, positions.wait_for(there)).await;
        matches!(waited, Ok(Ok(here)) if here.term == barrier.term)
    }

    /// Queues an item of the stream; waits while the queue is full.
    pub(super) async fn feed(&self, item: StreamItem) -> Result<(), Lacking> {
        if self.lacking.load(Ordering::Acquire) {
            return Err(Lacking);
        }
        let sent = self.queue.send(Message::Item(item)).await;
        sent.map_err(|_| Lacking)
    }

    /// Where it is once all that was fed is applied, for a stream that begins anew from there.
    pub(super) async fn settled(&self) -> Result<Position, Lacking> {
        let (answer, receiver) = oneshot::channel();
        let sent = self.queue.send(Message::Settled(answer)).await;
        sent.map_err(|_| Lacking)?;
        receiver.await.map_err(|_| Lacking)
    }
}

impl ReplicaThread {
    /// Ends the thread.
    pub fn stop(self) {
        // The thread may have stopped by itself.
        let _stopped = self.queue.blocking_send(Message::Stop);
        if self.thread.join().is_err() {
            tracing::error!(event = "replica_thread_panicked");
        }
    }
}

struct Follower {
    replica: Replica,
    messages: mpsc::Receiver<Message>,
    publish: watch::Sender<Position>,
    lacking: Arc<AtomicBool>,
}

impl Follower {
    fn run(mut self) -> Result<(), ReplicaError> {
        while let Some(first) = self.messages.blocking_recv() {
            let mut items = Vec::new();
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    Message::Item(item) => items.push(item),
                    Message::Settled(answer) => {
                        self.apply(std::mem::take(&mut items))?;
                        self.lacking.store(false, Ordering::Release);
                        // The link may have given up meanwhile.
                        let _gone = answer.send(self.replica.position());
                    }
                    Message::Stop => return self.apply(items),
                }
                if items.len() < BATCH_ITEMS_MAX {
                    next = self.messages.try_recv().ok();
                }
            }
            self.apply(items)?;
        }
        Ok(())
    }

    fn apply(&mut self, items: Vec<StreamItem>) -> Result<(), ReplicaError> {
        if items.is_empty() {
            return Ok(());
        }
        if let Need::CatchUp { after } = self.replica.apply(items)? {
            tracing::info!(
                event = "replica_lacks_changes",
                term = after.term.get(),
                seq = after.seq
            );
            self.lacking.store(true, Ordering::Release);
        }
        self.publish.send_replace(self.replica.position());
        Ok(())
    }
}
