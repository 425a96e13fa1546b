//! One LMTP connection to a backend: opened with the node's certificate, and one transaction after
//! the other.
//!
//! Content goes by BDAT (RFC 3030), which carries every octet as it is. The last chunk is written
//! only when the client has finished; a connection that is dropped before has delivered nothing.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use murder_proto::lmtp::client::{Client, ClientEvent, ReplyError};
use murder_proto::lmtp::command::{Mail, RecipientTo};
use murder_proto::lmtp::reply::Reply;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

use super::Patience;
use crate::net::Stream;

/// Bytes of replies read at once.
const READ_BYTES: usize = 4096;
/// More content is taken from the queue while less than this waits to be written.
const OUT_BYTES_FULL: usize = 64 << 10;

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] ReplyError),
    #[error("the backend hung up")]
    Closed,
    #[error("the backend does not answer")]
    Silent,
    #[error("the backend closes the connection: {0}")]
    Closing(String),
    #[error("the backend offers no {0}")]
    Lacks(&'static str),
    #[error("the backend refused: {}", .0.code())]
    Refused(Reply),
    #[error("the client went away")]
    Abandoned,
}

impl ConnectionError {
    /// Whether the backend just does not react, as opposed to being gone.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::Silent => true,
            Self::Io(error) => error.kind() == io::ErrorKind::TimedOut,
            _ => false,
        }
    }
}

/// A piece of a message on its way to a backend.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    More(Bytes),
    Last(Bytes),
}

/// A connection that has said LHLO.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    client: Client,
    /// Written bytes may still lie in the stream's own buffer.
    unflushed: bool,
    /// A transaction was left open.
    dirty: bool,
}

impl Connection {
    /// Greeting and LHLO on a stream just connected.
    pub(super) async fn greet(stream: Stream, host: &str) -> Result<Self, ConnectionError> {
        let mut connection = Self {
            stream,
            client: Client::new(),
            unflushed: false,
            dirty: false,
        };
        match connection.event().await? {
            ClientEvent::Greeting(reply) if reply.is_success() => {}
            event => return Err(unfit(event)),
        }
        connection.hello(host).await?;
        Ok(connection)
    }

    async fn hello(&mut self, host: &str) -> Result<(), ConnectionError> {
        self.client.hello(host);
        match self.event().await? {
            ClientEvent::Hello(reply) if reply.is_success() => Ok(()),
            event => Err(unfit(event)),
        }
    }

    /// STARTTLS and LHLO again; `secure` shakes hands on the stream.
    pub(super) async fn start_tls<F, Fut>(
        mut self,
        host: &str,
        secure: F,
    ) -> Result<Self, ConnectionError>
    where
        F: FnOnce(Stream) -> Fut,
        Fut: Future<Output = io::Result<Stream>>,
    {
        if !self.client.capabilities().start_tls {
            return Err(ConnectionError::Lacks("STARTTLS"));
        }
        self.client.start_tls();
        match self.event().await? {
            ClientEvent::StartTls(reply) if reply.is_success() => {}
            event => return Err(unfit(event)),
        }
        self.stream = secure(self.stream).await?;
        self.client.tls_started();
        self.hello(host).await?;
        Ok(self)
    }

    /// Whether content can be sent as it is.
    pub(super) fn check(self) -> Result<Self, ConnectionError> {
        if self.client.capabilities().chunking {
            Ok(self)
        } else {
            Err(ConnectionError::Lacks("CHUNKING"))
        }
    }

    /// Begins a transaction with its first recipient, whose number is returned with the reply.
    pub(super) async fn begin(
        &mut self,
        mail: &Mail,
        to: &RecipientTo,
        limit: Duration,
    ) -> Result<(usize, Reply), ConnectionError> {
        if self.dirty {
            self.client.reset();
        }
        if !self.client.mail(mail) {
            return Err(ConnectionError::Lacks("SMTPUTF8"));
        }
        self.dirty = true;
        let index = self.client.recipient(to);
        loop {
            match within(limit, self.event()).await? {
                ClientEvent::Idle(_) => {}
                ClientEvent::Mail(reply) if reply.is_success() => {}
                ClientEvent::Recipient { reply, .. } => return Ok((index, reply)),
                event => return Err(unfit(event)),
            }
        }
    }

    /// One more recipient.
    pub(super) async fn recipient(
        &mut self,
        to: &RecipientTo,
        limit: Duration,
    ) -> Result<(usize, Reply), ConnectionError> {
        let index = self.client.recipient(to);
        match within(limit, self.event()).await? {
            ClientEvent::Recipient { reply, .. } => Ok((index, reply)),
            event => Err(unfit(event)),
        }
    }

    /// Passes on what comes through `queue`, and puts the answers for the recipients into `replies`
    /// by their numbers. `taken` is told of each piece that makes room.
    pub(super) async fn carry(
        &mut self,
        queue: &mut mpsc::Receiver<Piece>,
        taken: &Arc<Notify>,
        replies: &mut Vec<(usize, Reply)>,
        patience: &Patience,
    ) -> Result<(), ConnectionError> {
        let mut is_last_sent = false;
        // Until when the backend must have taken something, or answered.
        let mut deadline = Instant::now() + patience.stall;
        loop {
            while let Some(event) = self.next_event()? {
                match event {
                    ClientEvent::Chunk(reply) if reply.is_success() => {}
                    ClientEvent::Delivered { index, reply } => replies.push((index, reply)),
                    event => return Err(unfit(event)),
                }
            }
            if is_last_sent && self.client.outstanding() == 0 {
                self.dirty = false;
                return Ok(());
            }
            let waiting = self.client.output().len();
            tokio::select! {
                piece = queue.recv(), if !is_last_sent && waiting < OUT_BYTES_FULL => {
                    match piece {
                        None => return Err(ConnectionError::Abandoned),
                        Some(Piece::More(octets)) => self.client.chunk(&octets, false),
                        Some(Piece::Last(octets)) => {
                            self.client.chunk(&octets, true);
                            is_last_sent = true;
                        }
                    }
                    taken.notify_one();
                    if waiting == 0 {
                        deadline = Instant::now() + patience.stall;
                    }
                }
                done = self.exchange() => {
                    done?;
                    let now = Instant::now();
                    match self.client.output().len() {
                        0 if waiting > 0 && is_last_sent => deadline = now + patience.delivery,
                        left if left < waiting => deadline = now + patience.stall,
                        _ => {}
                    }
                }
                () = tokio::time::sleep_until(deadline), if waiting > 0 || is_last_sent => {
                    return Err(ConnectionError::Silent);
                }
            }
        }
    }

    /// The next reply, after writing what waits. Cancel-safe.
    async fn event(&mut self) -> Result<ClientEvent, ConnectionError> {
        loop {
            if let Some(event) = self.next_event()? {
                return Ok(event);
            }
            self.exchange().await?;
        }
    }

    fn next_event(&mut self) -> Result<Option<ClientEvent>, ConnectionError> {
        let event = self.client.next_event()?;
        match event.as_ref().and_then(closing) {
            Some(text) => Err(ConnectionError::Closing(text)),
            None => Ok(event),
        }
    }

    /// Writes and reads until either made progress. Cancel-safe.
    async fn exchange(&mut self) -> Result<(), ConnectionError> {
        poll_fn(|context| self.poll_exchange(context)).await
    }

    fn poll_exchange(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        let mut progress = false;
        if !self.client.output().is_empty() {
            let stream = Pin::new(&mut self.stream);
            if let Poll::Ready(written) = stream.poll_write(context, self.client.output()) {
                match written? {
                    0 => return Poll::Ready(Err(ConnectionError::Closed)),
                    count => self.client.output().advance(count),
                }
                self.unflushed = true;
                progress = true;
            }
        }
        if self.unflushed
            && self.client.output().is_empty()
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(context)
        {
            flushed?;
            self.unflushed = false;
        }
        match self.poll_read(context) {
            Poll::Ready(read) => Poll::Ready(read),
            Poll::Pending if progress => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        let mut bytes = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Err(ConnectionError::Closed));
        }
        self.client.feed(buffer.filled());
        Poll::Ready(Ok(()))
    }

    /// Whether the backend has said or done nothing since the last transaction.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        self.poll_read(&mut context).is_pending()
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, ConnectionError>>,
) -> Result<T, ConnectionError> {
    timeout(limit, work)
        .await
        .map_err(|_| ConnectionError::Silent)?
}

fn reply_of(event: &ClientEvent) -> &Reply {
    match event {
        ClientEvent::Greeting(reply)
        | ClientEvent::Hello(reply)
        | ClientEvent::StartTls(reply)
        | ClientEvent::Auth(reply)
        | ClientEvent::Mail(reply)
        | ClientEvent::Recipient { reply, .. }
        | ClientEvent::Data(reply)
        | ClientEvent::Chunk(reply)
        | ClientEvent::Delivered { reply, .. }
        | ClientEvent::Undelivered(reply)
        | ClientEvent::Idle(reply)
        | ClientEvent::Quit(reply) => reply,
    }
}

fn closing(event: &ClientEvent) -> Option<String> {
    let reply = reply_of(event);
    let text = || reply.lines().next().unwrap_or_default().to_owned();
    (reply.code() == 421).then(text)
}

/// A refusal, or an answer to something else.
fn unfit(event: ClientEvent) -> ConnectionError {
    ConnectionError::Refused(reply_of(&event).clone())
}
