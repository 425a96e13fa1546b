//! A client that delivers messages by LMTP (RFC 2033), with DATA or BDAT (RFC 3030).

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::BytesMut;
use murder_proto::lmtp::address::Address;
use murder_proto::lmtp::client::{Client, ClientEvent};
use murder_proto::lmtp::command::{Body, Mail, RecipientTo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Content goes out in pieces of this size; also the size of a BDAT chunk.
const PIECE_BYTES: usize = 256 << 10;

/// What became of a message for one recipient.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// `250`: the server keeps it.
    Delivered,
    /// `4xx` before the content was sent: to be tried again.
    Deferred(String),
    /// `4xx` after it: to be tried again, and perhaps delivered all the same, as a proxy cannot know
    /// what a backend did whose answer it did not get.
    Uncertain(String),
    /// `5xx`: never.
    Refused(String),
    /// The connection broke before the end of the message was sent.
    NotSent,
    /// The connection broke after that: the server may or may not have it.
    Unanswered,
}

/// How a message's content is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transfer {
    /// Dot-stuffed.
    Data,
    /// In counted chunks.
    Chunks,
}

impl Transfer {
    /// Its command.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Data => "DATA",
            Self::Chunks => "BDAT",
        }
    }
}

/// A connection on which messages can be delivered.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    client: Client,
    input: BytesMut,
}

impl Session {
    /// Connects and says LHLO.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to LMTP at {address}"))?;
        stream.set_nodelay(true)?;
        let mut session = Self {
            stream,
            client: Client::new(),
            input: BytesMut::new(),
        };
        match session.event().await? {
            ClientEvent::Greeting(reply) if reply.is_success() => {}
            other => bail!("no LMTP greeting: {other:?}"),
        }
        session.client.hello("client.demo.example");
        session.flush().await?;
        match session.event().await? {
            ClientEvent::Hello(reply) if reply.is_success() => Ok(session),
            other => bail!("LHLO refused: {other:?}"),
        }
    }

    /// Delivers one message; one outcome a recipient, and the failure that ended the session.
    pub async fn deliver(
        &mut self,
        recipients: &[Address],
        content: &[u8],
        transfer: Transfer,
    ) -> (Vec<Outcome>, Option<anyhow::Error>) {
        let mut outcomes = vec![Outcome::NotSent; recipients.len()];
        let result = self
            .transaction(recipients, content, transfer, &mut outcomes)
            .await;
        (outcomes, result.err())
    }

    async fn transaction(
        &mut self,
        recipients: &[Address],
        content: &[u8],
        transfer: Transfer,
        outcomes: &mut [Outcome],
    ) -> Result<()> {
        let accepted = self.envelope(recipients, content, outcomes).await?;
        if accepted.is_empty() {
            self.client.reset();
            self.flush().await?;
            self.event().await?;
            return Ok(());
        }
        match transfer {
            Transfer::Data => self.data(content, &accepted, outcomes).await?,
            Transfer::Chunks => self.chunks(content, &accepted, outcomes).await?,
        }
        for _ in &accepted {
            match self.event().await? {
                ClientEvent::Delivered { index, reply } => {
                    outcomes[index] = match outcome(&reply) {
                        Outcome::Deferred(text) => Outcome::Uncertain(text),
                        certain => certain,
                    };
                }
                other => bail!("unexpected LMTP answer: {other:?}"),
            }
        }
        Ok(())
    }

    /// MAIL and RCPT, pipelined; returns the accepted recipients.
    async fn envelope(
        &mut self,
        recipients: &[Address],
        content: &[u8],
        outcomes: &mut [Outcome],
    ) -> Result<Vec<usize>> {
        let mail = Mail {
            sender: Some(Address::new("sender", Some("demo.example".to_owned()))),
            size: Some(content.len() as u64),
            body: Some(Body::EightBitMime),
            ..Mail::default()
        };
        ensure!(self.client.mail(&mail), "the server lacks what MAIL needs");
        for address in recipients {
            self.client.recipient(&RecipientTo {
                address: address.clone(),
                ignore_quota: false,
            });
        }
        self.flush().await?;
        match self.event().await? {
            ClientEvent::Mail(reply) if reply.is_success() => {}
            other => bail!("MAIL refused: {other:?}"),
        }
        let mut accepted = Vec::new();
        for _ in recipients {
            match self.event().await? {
                ClientEvent::Recipient { index, reply } if reply.is_success() => {
                    accepted.push(index);
                }
                ClientEvent::Recipient { index, reply } => outcomes[index] = outcome(&reply),
                other => bail!("unexpected answer to RCPT: {other:?}"),
            }
        }
        Ok(accepted)
    }

    async fn data(
        &mut self,
        content: &[u8],
        accepted: &[usize],
        outcomes: &mut [Outcome],
    ) -> Result<()> {
        self.client.data();
        self.flush().await?;
        match self.event().await? {
            ClientEvent::Data(reply) if reply.code() == 354 => {}
            other => bail!("DATA refused: {other:?}"),
        }
        for piece in content.chunks(PIECE_BYTES) {
            self.client.content(piece);
            self.flush().await?;
        }
        ensure!(
            !self.client.finish_data(),
            "content that does not end with CRLF cannot be sent by DATA unchanged"
        );
        mark_unanswered(accepted, outcomes);
        self.flush().await
    }

    async fn chunks(
        &mut self,
        content: &[u8],
        accepted: &[usize],
        outcomes: &mut [Outcome],
    ) -> Result<()> {
        let mut rest = content;
        while rest.len() > PIECE_BYTES {
            let (piece, after) = rest.split_at(PIECE_BYTES);
            rest = after;
            self.client.chunk(piece, false);
            self.flush().await?;
            match self.event().await? {
                ClientEvent::Chunk(reply) if reply.is_success() => {}
                other => bail!("BDAT refused: {other:?}"),
            }
        }
        self.client.chunk(rest, true);
        mark_unanswered(accepted, outcomes);
        self.flush().await
    }

    async fn flush(&mut self) -> Result<()> {
        let output = self.client.output().split();
        timeout(ANSWER_LIMIT, self.stream.write_all(&output))
            .await
            .context("the LMTP server does not read")?
            .context("the LMTP connection broke")
    }

    async fn event(&mut self) -> Result<ClientEvent> {
        loop {
            if let Some(event) = self.client.next_event()? {
                return Ok(event);
            }
            let read = timeout(ANSWER_LIMIT, self.stream.read_buf(&mut self.input))
                .await
                .context("the LMTP server does not answer")?
                .context("the LMTP connection broke")?;
            ensure!(read > 0, "the LMTP server closed the connection");
            self.client.feed(&self.input);
            self.input.clear();
        }
    }
}

fn mark_unanswered(accepted: &[usize], outcomes: &mut [Outcome]) {
    for &index in accepted {
        outcomes[index] = Outcome::Unanswered;
    }
}

fn outcome(reply: &murder_proto::lmtp::reply::Reply) -> Outcome {
    let text = || {
        let lines: Vec<_> = reply.lines().collect();
        format!("{} {}", reply.code(), lines.join(" "))
    };
    if reply.is_success() {
        Outcome::Delivered
    } else if reply.is_transient() {
        Outcome::Deferred(text())
    } else {
        Outcome::Refused(text())
    }
}
