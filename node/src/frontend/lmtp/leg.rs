//! What one transaction has to do with one backend: a connection, then a task that carries the
//! content to it, then the answers.

use std::sync::Arc;
use std::time::Duration;

use murder_proto::lmtp::command::{Mail, RecipientTo};
use murder_proto::lmtp::reply::{EnhancedCode, Reply};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::Patience;
use super::connection::{Connection, ConnectionError, Piece};
use super::pool::Pool;
use crate::frontend::Target;

/// Pieces that wait for one backend; each has some 64 KiB at most.
const PIECES_MAX: usize = 16;

/// A backend's part in a transaction.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) target: Target,
    state: State,
    /// Recipients that the backend has accepted.
    accepted: usize,
    /// How long others have waited for this one to take content.
    pub(super) waited: Duration,
}

#[derive(Debug)]
enum State {
    /// Recipients are being named.
    Open(Box<Connection>),
    /// Content is under way.
    Carrying {
        queue: mpsc::Sender<Piece>,
        task: Carrying,
    },
    /// It is over: answers by the recipients' numbers, and the one for all others.
    Over {
        replies: Vec<(usize, Reply)>,
        otherwise: Reply,
    },
}

/// The task, which ends with the transaction whatever it is at.
#[derive(Debug)]
struct Carrying(JoinHandle<Carried>);

impl Drop for Carrying {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What became of the content.
#[derive(Debug)]
struct Carried {
    replies: Vec<(usize, Reply)>,
    outcome: Result<Connection, ConnectionError>,
}

/// What happened to a piece.
#[derive(Debug)]
pub(super) enum Offered {
    /// It will be sent, or the leg is over anyway.
    Taken,
    /// The backend has fallen behind.
    Full(Piece),
}

/// The answer to content, or to a recipient, for which there is no backend any more.
fn unanswered() -> Reply {
    let text = "the mailbox' server does not answer";
    Reply::new(451, EnhancedCode(4, 4, 2), text)
}

impl Leg {
    /// Opens or reuses a connection and names the first recipient. An answer comes with its
    /// number; the leg may be over nevertheless.
    pub(super) async fn begin(
        pool: &Pool,
        target: &Target,
        mail: &Mail,
        to: &RecipientTo,
        patience: &Patience,
    ) -> (Self, Result<(usize, Reply), Reply>) {
        let mut leg = Self {
            target: target.clone(),
            state: over(unanswered()),
            accepted: 0,
            waited: Duration::ZERO,
        };
        if let Some(mut connection) = pool.take(target) {
            match connection.begin(mail, to, patience.reply).await {
                Err(error) if !error.is_silence() && !is_refusal(&error) => {
                    tracing::debug!(event = "connection_stale", server = %target.server, %error);
                }
                outcome => {
                    let answer = leg.begun(pool, connection, outcome);
                    return (leg, answer);
                }
            }
        }
        let answer = match pool.open(target, patience).await {
            Ok(mut connection) => {
                let outcome = connection.begin(mail, to, patience.reply).await;
                leg.begun(pool, connection, outcome)
            }
            Err(_) => Err(unanswered()),
        };
        (leg, answer)
    }

    fn begun(
        &mut self,
        pool: &Pool,
        connection: Connection,
        outcome: Result<(usize, Reply), ConnectionError>,
    ) -> Result<(usize, Reply), Reply> {
        match outcome {
            Ok((index, reply)) => {
                self.accepted += usize::from(reply.is_success());
                self.state = State::Open(Box::new(connection));
                Ok((index, reply))
            }
            Err(error) => Err(self.fail(pool, &error)),
        }
    }

    /// Names one more recipient.
    pub(super) async fn recipient(
        &mut self,
        pool: &Pool,
        to: &RecipientTo,
        patience: &Patience,
    ) -> Result<(usize, Reply), Reply> {
        let connection = match &mut self.state {
            State::Open(connection) => connection,
            State::Over { otherwise, .. } => return Err(otherwise.clone()),
            State::Carrying { .. } => return Err(unanswered()),
        };
        match connection.recipient(to, patience.reply).await {
            Ok((index, reply)) => {
                self.accepted += usize::from(reply.is_success());
                Ok((index, reply))
            }
            Err(error) => Err(self.fail(pool, &error)),
        }
    }

    fn fail(&mut self, pool: &Pool, error: &ConnectionError) -> Reply {
        tracing::warn!(event = "backend_failed", server = %self.target.server, %error);
        if error.is_silence() {
            pool.forget(&self.target.server);
        }
        let reply = reply_to(error);
        self.state = over(reply.clone());
        reply
    }

    /// From now on content is carried, if there is a recipient to carry it to.
    pub(super) fn start(&mut self, taken: &Arc<Notify>, patience: &Patience) {
        if self.accepted == 0 || !matches!(self.state, State::Open(_)) {
            return;
        }
        let State::Open(connection) = std::mem::replace(&mut self.state, over(unanswered())) else {
            return;
        };
        let (queue, pieces) = mpsc::channel(PIECES_MAX);
        let carried = carry(*connection, pieces, Arc::clone(taken), patience.clone());
        self.state = State::Carrying {
            queue,
            task: Carrying(tokio::spawn(carried)),
        };
    }

    /// Whether content is still on its way to this backend.
    pub(super) fn is_carrying(&self) -> bool {
        matches!(&self.state, State::Carrying { queue, .. } if !queue.is_closed())
    }

    /// Queues a piece, without waiting.
    pub(super) fn offer(&self, piece: Piece) -> Offered {
        let State::Carrying { queue, .. } = &self.state else {
            return Offered::Taken;
        };
        match queue.try_send(piece) {
            Err(mpsc::error::TrySendError::Full(piece)) => Offered::Full(piece),
            // The task is over already, and its end tells why.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Offered::Taken,
        }
    }

    /// The others do not wait for this one any longer.
    pub(super) fn give_up(&mut self, pool: &Pool) {
        self.fail(pool, &ConnectionError::Silent);
    }

    /// Whether [`Self::finish`] would have to wait.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(&self.state, State::Carrying { task, .. } if !task.0.is_finished())
    }

    /// Waits for the answers, a bounded time, and gives the connection back.
    pub(super) async fn finish(&mut self, pool: &Pool) {
        match std::mem::replace(&mut self.state, over(unanswered())) {
            State::Carrying { queue, mut task } => {
                drop(queue);
                // A task that did not come to its end has answered nothing.
                if let Ok(carried) = (&mut task.0).await {
                    self.carried(pool, carried);
                }
            }
            State::Open(connection) => pool.put(&self.target, *connection),
            ended @ State::Over { .. } => self.state = ended,
        }
    }

    fn carried(&mut self, pool: &Pool, carried: Carried) {
        let otherwise = match carried.outcome {
            Ok(connection) => {
                pool.put(&self.target, connection);
                unanswered()
            }
            Err(error) => self.fail(pool, &error),
        };
        self.state = State::Over {
            replies: carried.replies,
            otherwise,
        };
    }

    /// Ends the leg without content; the backend delivers nothing.
    pub(super) fn abandon(self, pool: &Pool) {
        if let State::Open(connection) = self.state {
            pool.put(&self.target, *connection);
        }
    }

    /// The answer for an accepted recipient, after [`Self::finish`].
    pub(super) fn answer(&self, recipient: usize) -> Reply {
        let State::Over { replies, otherwise } = &self.state else {
            return unanswered();
        };
        let found = replies.iter().find(|(index, _)| *index == recipient);
        found.map_or(otherwise, |(_, reply)| reply).clone()
    }
}

async fn carry(
    mut connection: Connection,
    mut pieces: mpsc::Receiver<Piece>,
    taken: Arc<Notify>,
    patience: Patience,
) -> Carried {
    let mut replies = Vec::new();
    let carried = connection.carry(&mut pieces, &taken, &mut replies, &patience);
    let outcome = carried.await.map(|()| connection);
    // Whoever waits for room sees that none is needed any more.
    drop(pieces);
    taken.notify_one();
    Carried { replies, outcome }
}

fn over(otherwise: Reply) -> State {
    State::Over {
        replies: Vec::new(),
        otherwise,
    }
}

fn is_refusal(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::Refused(_))
}

/// What a client is told of a refusal that answers no recipient of its own: for good only that the
/// message is too large.
fn reply_to(error: &ConnectionError) -> Reply {
    match error {
        ConnectionError::Refused(reply) if reply.is_transient() || reply.code() == 552 => {
            reply.clone()
        }
        _ => unanswered(),
    }
}
