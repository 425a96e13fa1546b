//! The task that keeps the connection: questions out, answers and the stream in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use murder_api::Settings;
use murder_api::settings::MupdateAddress;
use murder_locations::request::{Request, Response, StreamItem, decode, encode};
use murder_proto::mupdate::client::ServerLine;
use murder_proto::mupdate::request::Request as Line;
use tokio::io::{AsyncWriteExt as _, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::connection::{ConnectError, Connection, Lines};
use super::replica::ReplicaHandle;
use crate::mupdate::ask::Ask;
use crate::net::{Stream, Tls};
use crate::stop::stopped;

/// Wait before the first new try, and the longest one.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);
/// Questions whose answer is outstanding; more wait.
const OUTSTANDING_MAX: usize = 512;
/// Questions sent in one write.
const WRITE_QUESTIONS_MAX: usize = 64;
/// A silent master is asked for a sign of life after so long, and given up after as long again.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Tag of the stream.
const STREAM: &str = "U";

/// What somebody asked.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) request: Request,
    pub(super) answer: oneshot::Sender<Response>,
}

/// Everything the task needs.
pub(super) struct Link {
    pub(super) settings: Arc<Settings>,
    pub(super) master: MupdateAddress,
    pub(super) tls: Tls,
    pub(super) replica: Option<ReplicaHandle>,
    pub(super) questions: mpsc::Receiver<Question>,
    pub(super) generation: watch::Sender<u64>,
    pub(super) up: watch::Sender<bool>,
}

impl Link {
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut pause = RETRY_FIRST;
        let mut told = false;
        loop {
            let ended = tokio::select! {
                ended = self.connect_and_serve(&mut pause, &mut told) => ended,
                () = stopped(&mut stop) => return,
            };
            if !told {
                told = true;
                tracing::warn!(event = "master_unreachable", error = %ended);
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = stopped(&mut stop) => return,
            }
            pause = (pause * 2).min(RETRY_LAST);
        }
    }

    async fn connect_and_serve(&mut self, pause: &mut Duration, told: &mut bool) -> ConnectError {
        let opened = Connection::open(&self.settings, &self.master, &self.tls).await;
        let connection = match opened {
            Ok(connection) => connection,
            Err(error) => return error,
        };
        *pause = RETRY_FIRST;
        *told = false;
        self.up.send_replace(true);
        self.generation.send_modify(|count| *count += 1);
        tracing::info!(event = "master_connected", host = %self.master.host);
        let (lines, write) = connection.split();
        let mut serving = Serving {
            write,
            outstanding: HashMap::new(),
            next_tag: 0,
            probing: false,
        };
        let served = self.serve(lines, &mut serving).await;
        self.up.send_replace(false);
        // Those who wait for an answer hear that none will come when `serving` is dropped.
        match served {
            Ok(()) => ConnectError::Closed,
            Err(error) => error,
        }
    }

    async fn serve(&mut self, mut lines: Lines, serving: &mut Serving) -> Result<(), ConnectError> {
        if let Some(replica) = &self.replica {
            let position = replica.settled().await.map_err(|_| ConnectError::Closed)?;
            let after = Some(position).filter(|position| position.term.get() > 0);
            serving.send(STREAM, &Ask::Stream { after }).await?;
        }
        loop {
            tokio::select! {
                line = timeout(SILENCE_MAX, lines.next()) => match line {
                    Ok(line) => self.line(line?, serving).await?,
                    Err(_) => serving.probe().await?,
                },
                question = self.questions.recv(), if serving.outstanding.len() < OUTSTANDING_MAX => {
                    let Some(question) = question else { return Ok(()) };
                    serving.question(question, &mut self.questions).await?;
                }
            }
        }
    }

    async fn line(&self, line: ServerLine, serving: &mut Serving) -> Result<(), ConnectError> {
        match line {
            ServerLine::ExtensionReply { tag, payload } => {
                serving.answer(&tag, &payload);
                Ok(())
            }
            ServerLine::StreamItem { payload, .. } => {
                let item: StreamItem = decode(&payload).map_err(|_| ConnectError::NoExtension)?;
                match &self.replica {
                    Some(replica) => replica.feed(item).await.map_err(|_| ConnectError::Closed),
                    None => Ok(()),
                }
            }
            ServerLine::Status {
                tag: None, text, ..
            } => Err(ConnectError::Refused(text)),
            ServerLine::Status {
                tag: Some(tag),
                text,
                ..
            } => {
                if tag == STREAM {
                    return Err(ConnectError::Refused(text));
                }
                serving.outstanding.remove(&tag);
                serving.probing &= tag != PROBE;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

const PROBE: &str = "N";

/// One connection in use.
struct Serving {
    write: WriteHalf<Stream>,
    outstanding: HashMap<Bytes, oneshot::Sender<Response>>,
    next_tag: u64,
    probing: bool,
}

impl Serving {
    async fn send(&mut self, tag: &str, ask: &Ask) -> Result<(), ConnectError> {
        let mut out = BytesMut::new();
        write_ask(&mut out, tag, ask);
        self.write_out(&out).await
    }

    async fn write_out(&mut self, out: &BytesMut) -> Result<(), ConnectError> {
        let sent = timeout(SILENCE_MAX, async {
            self.write.write_all(out).await?;
            self.write.flush().await
        });
        Ok(sent.await.map_err(|_| ConnectError::Closed)??)
    }

    /// Sends this question and those that queued behind it, in one write.
    async fn question(
        &mut self,
        first: Question,
        queue: &mut mpsc::Receiver<Question>,
    ) -> Result<(), ConnectError> {
        let mut out = BytesMut::new();
        let mut next = Some(first);
        let mut written = 0;
        while let Some(question) = next {
            // Whoever asked may have given up while there was no connection.
            if !question.answer.is_closed() {
                self.next_tag += 1;
                let tag = format!("Q{}", self.next_tag);
                write_ask(&mut out, &tag, &Ask::Request(question.request));
                self.outstanding.insert(Bytes::from(tag), question.answer);
                written += 1;
            }
            next = if written < WRITE_QUESTIONS_MAX {
                queue.try_recv().ok()
            } else {
                None
            };
        }
        self.write_out(&out).await
    }

    fn answer(&mut self, tag: &Bytes, payload: &[u8]) {
        let Some(waiting) = self.outstanding.remove(tag) else {
            return;
        };
        match decode(payload) {
            // Whoever asked may have given up.
            Ok(response) => drop(waiting.send(response)),
            Err(error) => tracing::warn!(event = "master_answer_malformed", %error),
        }
    }

    /// Asks a silent master for a sign of life; the second time it is given up.
    async fn probe(&mut self) -> Result<(), ConnectError> {
        if self.probing {
            return Err(ConnectError::Closed);
        }
        self.probing = true;
        let mut out = BytesMut::new();
        Line::Noop.write(PROBE, &mut out);
        self.write_out(&out).await
    }
}

fn write_ask(out: &mut BytesMut, tag: &str, ask: &Ask) {
    let payload = Bytes::from(encode(ask));
    Line::Extension { payload }.write(tag, out);
}
