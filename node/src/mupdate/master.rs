//! The one thread that owns the location database, and groups what queued into one durable batch.
//!
//! Order of a batch: answer each request in its turn, commit (the commit point, in
//! [`Master::batch`]), publish the new position to streams, then send the answers. So whoever got an
//! answer finds its effect in every stream that passes that position.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use murder_locations::master::{Master, MasterError, MasterReader};
use murder_locations::request::{Identity, Position, Request, Response};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, oneshot, watch};

use crate::telemetry::Metrics;
use crate::telemetry::metrics::PartitionLabel;

/// Requests in one batch; more wait for the next.
const BATCH_REQUESTS_MAX: usize = 512;
/// Requests that may queue; beyond, sessions wait.
const QUEUE_MAX: usize = 512;
/// Label of the database among the partitions of the metrics.
const LABEL: &str = "locations";

/// The master has stopped: what became of the request is unknown.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the location database has stopped")]
pub struct Stopped;

#[expect(clippy::large_enum_variant, reason = "all but the last are requests")]
enum Message {
    Request(Job),
    Stop,
}

struct Job {
    who: Arc<Identity>,
    request: Request,
    answer: oneshot::Sender<Response>,
}

/// Where requests are sent; cheap to clone.
#[derive(Clone, Debug)]
pub struct MasterHandle {
    queue: mpsc::Sender<Message>,
    reader: MasterReader,
    positions: watch::Receiver<Position>,
}

/// The running thread.
#[derive(Debug)]
pub struct MasterThread {
    queue: mpsc::Sender<Message>,
    thread: JoinHandle<()>,
}

/// Starts the thread of `master`. The receiver hears why if the master stops by itself.
pub fn start(
    master: Master,
    metrics: &Metrics,
) -> io::Result<(MasterHandle, MasterThread, oneshot::Receiver<MasterError>)> {
    let (queue, jobs) = mpsc::channel(QUEUE_MAX);
    let (publish, positions) = watch::channel(master.position());
    let (failed, failure) = oneshot::channel();
    let label = PartitionLabel {
        partition: LABEL.to_owned(),
    };
    let reader = master.reader();
    let writer = Writer {
        master,
        jobs,
        publish,
        commits: metrics.commits.get_or_create_owned(&label),
        operations: metrics.operations.get_or_create_owned(&label),
    };
    let thread = std::thread::Builder::new()
        .name(LABEL.to_owned())
        .spawn(move || {
            if let Err(error) = writer.run() {
                tracing::error!(event = "locations_stopped", %error);
                // Nobody listens any more if the node is stopping.
                let _stopping = failed.send(error);
            }
        })?;
    let handle = MasterHandle {
        queue: queue.clone(),
        reader,
        positions,
    };
    Ok((handle, MasterThread { queue, thread }, failure))
}

impl MasterHandle {
    /// Queues a request for the next batch. The answer comes once it is durable; waits while the
    /// queue is full.
    pub async fn submit(
        &self,
        who: &Arc<Identity>,
        request: Request,
    ) -> Result<oneshot::Receiver<Response>, Stopped> {
        let (answer, receiver) = oneshot::channel();
        let job = Job {
            who: Arc::clone(who),
            request,
            answer,
        };
        let sent = self.queue.send(Message::Request(job)).await;
        sent.map_err(|_| Stopped)?;
        Ok(receiver)
    }

    /// Reads what is durable.
    pub fn reader(&self) -> &MasterReader {
        &self.reader
    }

    /// Everything acknowledged lies at or before the position seen here.
    pub fn positions(&self) -> watch::Receiver<Position> {
        self.positions.clone()
    }
}

impl MasterThread {
    /// Finishes what is queued and ends the thread.
    pub fn stop(self) {
        // The thread may have stopped by itself.
        let _stopped = self.queue.blocking_send(Message::Stop);
        if self.thread.join().is_err() {
            tracing::error!(event = "locations_thread_panicked");
        }
    }
}

struct Writer {
    master: Master,
    jobs: mpsc::Receiver<Message>,
    publish: watch::Sender<Position>,
    commits: Counter,
    operations: Counter,
}

impl Writer {
    fn run(mut self) -> Result<(), MasterError> {
        while let Some(first) = self.jobs.blocking_recv() {
            if self.batch(first)? {
                break;
            }
        }
        Ok(())
    }

    /// Answers `first` and what else is queued. True: stop.
    fn batch(&mut self, first: Message) -> Result<bool, MasterError> {
        let mut requests = Vec::new();
        let mut answers = Vec::new();
        let mut stopping = false;
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Request(job) => {
                    requests.push((Identity::clone(&job.who), job.request));
                    answers.push(job.answer);
                }
                Message::Stop => {
                    stopping = true;
                    break;
                }
            }
            let full = requests.len() >= BATCH_REQUESTS_MAX;
            next = if full {
                None
            } else {
                self.jobs.try_recv().ok()
            };
        }
        if requests.is_empty() {
            return Ok(stopping);
        }
        let before = self.master.position();
        let responses = self.master.batch(requests)?;
        let position = self.master.position();
        self.operations.inc_by(answers.len() as u64);
        if position != before {
            self.commits.inc();
            self.publish.send_replace(position);
        }
        for (answer, response) in answers.into_iter().zip(responses) {
            // Nobody waits any more if the session ended; the effect stands.
            let _gone = answer.send(response);
        }
        Ok(stopping)
    }
}
