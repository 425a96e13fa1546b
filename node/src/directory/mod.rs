//! The master as other nodes see it: questions, answers, and the stream into a replica.
//!
//! One connection a node, which comes back by itself. A question that was under way when the
//! connection broke has an unknown outcome; whoever asked asks again, or reads the record.

mod connection;
mod link;
pub mod replica;

use std::sync::Arc;
use std::time::Duration;

use murder_api::Settings;
use murder_locations::name::Name;
use murder_locations::request::{
    Position, Refusal, Request, Response, ServerRecord, UnitRecord, UnitRef,
};
use murder_model::{RootName, ServerName};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::net::Tls;
use link::Question;
use replica::ReplicaHandle;

/// How long one question may take, waiting for a connection included.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// How long a question waits for a connection that has been lost.
const DOWN_LIMIT: Duration = Duration::from_millis(700);
/// Questions that may queue; beyond, those who ask wait.
const QUEUE_MAX: usize = 1024;

/// The master did not answer: it may or may not have done what was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the mupdate master does not answer")]
pub struct Unreachable;

/// Why a question has no useful answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AskError {
    /// No answer came.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The master refused, and changed nothing.
    #[error("the mupdate master refused: {0}")]
    Refused(Refusal),
    /// An answer of another kind than the question has.
    #[error("the mupdate master gave an answer that does not fit")]
    Unfit,
}

/// Where the master is asked; cheap to clone.
#[derive(Clone, Debug)]
pub struct Directory {
    questions: mpsc::Sender<Question>,
    connected: watch::Receiver<u64>,
    up: watch::Receiver<bool>,
}

impl Directory {
    /// Starts to keep a connection to the master that the settings name, until `stop`. With a
    /// replica its changes are followed too. `None` if the settings name no master.
    pub fn start(
        settings: &Arc<Settings>,
        tls: &Tls,
        replica: Option<ReplicaHandle>,
        stop: watch::Receiver<bool>,
    ) -> Option<Self> {
        let master = settings.mupdate.clone()?;
        let (questions, queue) = mpsc::channel(QUEUE_MAX);
        let (generation, connected) = watch::channel(0);
        let (up_sender, up) = watch::channel(false);
        let link = link::Link {
            settings: Arc::clone(settings),
            master,
            tls: tls.clone(),
            replica,
            questions: queue,
            generation,
            up: up_sender,
        };
        tokio::spawn(link.run(stop));
        Some(Self {
            questions,
            connected,
            up,
        })
    }

    /// Waits a little for a connection if there is none.
    async fn is_up(&self) -> Result<(), Unreachable> {
        let mut up = self.up.clone();
        let waited = timeout(DOWN_LIMIT, up.wait_for(|up| *up)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Unreachable),
        }
    }

    /// Asks the master, at most a few seconds long.
    pub async fn ask(&self, request: Request) -> Result<Response, Unreachable> {
        self.is_up().await?;
        let (answer, receiver) = oneshot::channel();
        let question = Question { request, answer };
        let asked = timeout(ASK_LIMIT, async {
            self.questions
                .send(question)
                .await
                .map_err(|_| Unreachable)?;
            receiver.await.map_err(|_| Unreachable)
        });
        asked.await.map_err(|_| Unreachable)?
    }

    /// Queues a request behind those queued before; the answer comes over the receiver, or its
    /// sender is dropped with the connection.
    pub async fn post(&self, request: Request) -> Result<oneshot::Receiver<Response>, Unreachable> {
        self.is_up().await?;
        let (answer, receiver) = oneshot::channel();
        let question = Question { request, answer };
        let sent = timeout(ASK_LIMIT, self.questions.send(question)).await;
        sent.map_err(|_| Unreachable)?.map_err(|_| Unreachable)?;
        Ok(receiver)
    }

    /// As [`Self::ask`], with a refusal as an error.
    pub async fn demand(&self, request: Request) -> Result<Response, AskError> {
        match self.ask(request).await? {
            Response::Refused(refusal) => Err(AskError::Refused(refusal)),
            response => Ok(response),
        }
    }

    /// The owner of record of a root; a plain read.
    pub async fn unit(&self, root: &RootName) -> Result<Option<UnitRecord>, AskError> {
        let root = UnitRef::Root(Name::from(root));
        match self.demand(Request::FindUnit(root)).await? {
            Response::Unit(record) => Ok(record),
            _ => Err(AskError::Unfit),
        }
    }

    /// The server of a name that is not retired.
    pub async fn server(&self, name: &ServerName) -> Result<Option<ServerRecord>, AskError> {
        match self.demand(Request::Servers).await? {
            Response::Servers(servers) => Ok(servers
                .into_iter()
                .find(|server| server.server == *name && !server.retired)),
            _ => Err(AskError::Unfit),
        }
    }

    /// Everything acknowledged lies at or before this place, as of now.
    pub async fn barrier(&self) -> Result<Position, AskError> {
        match self.demand(Request::Barrier).await? {
            Response::At(position) => Ok(position),
            _ => Err(AskError::Unfit),
        }
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        *self.up.borrow()
    }

    /// Counts connections: 0 before the first; changes with each new one.
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.connected.clone()
    }
}
