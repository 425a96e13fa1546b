//! An IMAP connection: bytes in through the reader, answers out through one buffer.

use std::io;
use std::time::Duration;

use murder_proto::imap::server::{Event, Limits, Reader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::net::{Stream, Tls};
use crate::stop::{Leave, Phase};

/// Answers are sent once so many bytes wait.
const OUT_BYTES_FLUSH: usize = 64 << 10;
/// Bytes asked of the socket at once.
const READ_BYTES: usize = 16 << 10;

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// The client hung up.
    #[error("connection closed")]
    Closed,
    /// The client was silent for too long.
    #[error("idle for too long")]
    Idle,
    /// The client logged out, or was told `BYE`.
    #[error("logged out")]
    Logout,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One client's connection.
#[derive(Debug)]
pub struct Wire {
    stream: Option<Stream>,
    /// Frames and parses what the client sends.
    pub reader: Reader,
    /// Answers that were not sent yet.
    pub out: Vec<u8>,
    /// How long a client may be silent.
    pub silence_max: Duration,
    leave: Option<Leave>,
}

impl Wire {
    /// A connection just accepted.
    pub fn new(stream: Stream, limits: Limits, silence_max: Duration) -> Self {
        Self {
            stream: Some(stream),
            reader: Reader::new(limits),
            out: Vec::new(),
            silence_max,
            leave: None,
        }
    }

    /// The client is told goodbye between two commands once the node has to end its sessions.
    #[must_use]
    pub fn with_leave(self, leave: Leave) -> Self {
        Self {
            leave: Some(leave),
            ..self
        }
    }

    /// Whether nobody on the network can read along.
    pub fn is_private(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::is_private)
    }

    /// The next event; what waits is sent before the client is waited for. Cancel-safe.
    pub async fn event(&mut self) -> Result<Event, End> {
        loop {
            if let Some(event) = self.reader.next() {
                return Ok(event);
            }
            self.flush().await?;
            self.fill().await?;
        }
    }

    /// Reads once from the socket. Cancel-safe.
    async fn fill(&mut self) -> Result<(), End> {
        let stream = self.stream.as_mut().ok_or(End::Closed)?;
        let buffer = self.reader.buffer_mut();
        buffer.reserve(READ_BYTES);
        let read = timeout(self.silence_max, stream.read_buf(buffer));
        let read = match &mut self.leave {
            Some(leave) => tokio::select! {
                biased;
                () = leave.reached(Phase::Ending) => {
                    self.line("* BYE [UNAVAILABLE] the server is stopping, connect again");
                    return Err(End::Logout);
                }
                read = read => read,
            },
            None => read.await,
        };
        match read {
            Ok(Ok(0)) => Err(End::Closed),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(End::Io(error)),
            Err(_) => Err(End::Idle),
        }
    }

    /// Sends what waits.
    pub async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let stream = self.stream.as_mut().ok_or(End::Closed)?;
        let sent = timeout(self.silence_max, async {
            stream.write_all(&self.out).await?;
            stream.flush().await
        });
        sent.await.map_err(|_| End::Idle)??;
        self.out.clear();
        if self.out.capacity() > 2 * OUT_BYTES_FLUSH {
            self.out = Vec::new();
        }
        Ok(())
    }

    /// Sends what waits if it is much.
    pub async fn flush_if_full(&mut self) -> Result<(), End> {
        if self.out.len() >= OUT_BYTES_FLUSH {
            self.flush().await
        } else {
            Ok(())
        }
    }

    /// Appends a line and its end.
    pub fn line(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Appends `tag text` and the line's end.
    pub fn tagged(&mut self, tag: &[u8], text: &str) {
        self.out.extend_from_slice(tag);
        self.out.push(b' ');
        self.line(text);
    }

    /// Goes on under TLS. What the client sent in the clear behind STARTTLS is dropped.
    pub async fn start_tls(&mut self, tls: &Tls) -> Result<(), End> {
        self.flush().await?;
        self.reader.discard();
        match self.stream.take() {
            Some(Stream::Plain(socket)) => {
                let (stream, _) = tls.accept_public(socket).await?;
                self.stream = Some(stream);
                Ok(())
            }
            other => {
                self.stream = other;
                Err(End::Closed)
            }
        }
    }

    /// Sends a last line and closes.
    pub async fn bye(mut self, text: &str) {
        self.line(&format!("* BYE {text}"));
        // The client may be gone already.
        let _gone = self.flush().await;
        if let Some(mut stream) = self.stream.take() {
            let _gone = stream.shutdown().await;
        }
    }

    /// Sends what waits and closes.
    pub async fn close(mut self) {
        let _gone = self.flush().await;
        if let Some(mut stream) = self.stream.take() {
            let _gone = stream.shutdown().await;
        }
    }
}
