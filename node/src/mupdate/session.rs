//! One MUPDATE connection: what the peer asks, in order, and what is streamed to it between.
//!
//! Requests that may change rows are queued to the database as they are read, so that pipelined
//! ones share a commit; answers are written in the order of the questions.

use std::collections::VecDeque;
use std::future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use murder_locations::name::Name;
use murder_locations::request::{Identity, Position, Refusal, Request, Response, decode, encode};
use murder_proto::mupdate::reply::{
    BYE_NOT_READY, DONE, LIST_COMPLETE, NOOP_DONE, SEARCH_COMPLETED, Status, write_extension_reply,
    write_status,
};
use murder_proto::mupdate::request::Request as Line;
use murder_proto::mupdate::server::{Event, Session, SessionOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::ask::Ask;
use super::stream::{Step, Stream as Streaming, write_line};
use super::{Server, login};
use crate::imap::End;
use crate::net::{PeerIdentity, Stream};

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 << 10;
/// Questions whose answers are owed; the peer is not read beyond.
const OWED_MAX: usize = 512;
/// A peer that has not logged in after so long is dropped.
const LOGIN_LIMIT: Duration = Duration::from_secs(60);
/// A peer that takes nothing of what it is sent for so long is dropped.
const WRITE_LIMIT: Duration = Duration::from_secs(60);
/// Rows of one page of LIST.
const LIST_STEP: usize = 500;

/// An answer that is owed.
enum Owed {
    /// To a request of the database; the last word is for RFC 3656.
    Response {
        tag: Bytes,
        receiver: oneshot::Receiver<Response>,
        form: Form,
    },
    List {
        tag: Bytes,
        prefix: Bytes,
        after: Option<Name>,
    },
    Noop {
        tag: Bytes,
    },
    Update {
        tag: Bytes,
        servers: Vec<Bytes>,
    },
    Stream {
        tag: Bytes,
        after: Option<Position>,
    },
}

/// How a response is written.
enum Form {
    Row,
    Find,
    Extension,
}

/// One connection.
pub(super) struct Connection {
    server: Arc<Server>,
    stream: Option<Stream>,
    session: Session,
    peer: Option<PeerIdentity>,
    who: Option<Arc<Identity>>,
    owed: VecDeque<Owed>,
    streaming: Option<Streaming>,
    streamed: Option<Position>,
    out: BytesMut,
}

enum Turn {
    Read(usize),
    Ready(Option<Response>),
    Moved,
}

impl Connection {
    pub(super) fn new(server: Arc<Server>, socket: TcpStream) -> Self {
        let session = Session::new(SessionOptions {
            host: server.settings.name.clone(),
            mechanisms: login::mechanisms(&server, false, None),
            start_tls: server.tls.is_some(),
            ..SessionOptions::default()
        });
        Self {
            server,
            stream: Some(Stream::Plain(socket)),
            session,
            peer: None,
            who: None,
            owed: VecDeque::new(),
            streaming: None,
            streamed: None,
            out: BytesMut::new(),
        }
    }

    pub(super) async fn run(mut self) -> Result<(), End> {
        let mut positions = self.server.master.positions();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            while self.owed.len() < OWED_MAX {
                let Some(event) = self.session.next_event() else {
                    break;
                };
                if !self.handle(event).await? {
                    return self.flush().await;
                }
            }
            self.pump().await?;
            self.flush().await?;
            let turn = self.turn(&mut positions, &mut buffer).await?;
            match turn {
                Turn::Read(n) => self.session.feed(&buffer[..n]),
                Turn::Ready(response) => self.answer(response).await?,
                Turn::Moved => {}
            }
        }
    }

    /// Waits for whatever comes first.
    async fn turn(
        &mut self,
        positions: &mut tokio::sync::watch::Receiver<Position>,
        buffer: &mut [u8],
    ) -> Result<Turn, End> {
        let stream = self.stream.as_mut().ok_or(End::Closed)?;
        let may_read = self.owed.len() < OWED_MAX;
        let front = self.owed.front_mut();
        let behind = self.streaming.is_some();
        let silence_max = if self.who.is_some() {
            Duration::from_secs(24 * 3600)
        } else {
            LOGIN_LIMIT
        };
        tokio::select! {
            read = timeout(silence_max, stream.read(buffer)), if may_read => match read {
                Ok(Ok(0)) => Err(End::Closed),
                Ok(Ok(n)) => Ok(Turn::Read(n)),
                Ok(Err(error)) => Err(End::Io(error)),
                Err(_) => Err(End::Idle),
            },
            response = front_ready(front) => Ok(Turn::Ready(response)),
            changed = positions.changed(), if behind => {
                changed.map_err(|_| End::Closed)?;
                Ok(Turn::Moved)
            }
        }
    }

    /// False: the connection is over.
    async fn handle(&mut self, event: Event) -> Result<bool, End> {
        match event {
            Event::Write(bytes) => self.out.extend_from_slice(&bytes),
            Event::StartTls => self.start_tls().await?,
            Event::Credentials(credentials) => {
                let who = login::verify(&self.server, self.peer.as_ref(), credentials).await;
                let text = match who {
                    Some(who) => {
                        self.who = Some(Arc::new(who));
                        self.session.authenticated()
                    }
                    None => self.session.authentication_failed(),
                };
                self.out.extend_from_slice(&text);
            }
            Event::Request { tag, request } => self.request(tag, request).await?,
            Event::Close => return Ok(false),
        }
        Ok(true)
    }

    async fn start_tls(&mut self) -> Result<(), End> {
        self.flush().await?;
        let (Some(tls), Some(Stream::Plain(socket))) = (&self.server.tls, self.stream.take())
        else {
            return Err(End::Closed);
        };
        let accepted = timeout(LOGIN_LIMIT, tls.accept_public(socket)).await;
        let (stream, peer) = accepted.map_err(|_| End::Idle)??;
        self.stream = Some(stream);
        self.peer = peer;
        let mechanisms = login::mechanisms(&self.server, true, self.peer.as_ref());
        self.session.tls_started(mechanisms);
        Ok(())
    }

    async fn request(&mut self, tag: Bytes, request: Line) -> Result<(), End> {
        let Some(who) = self.who.clone() else {
            return Err(End::Closed);
        };
        let (request, form) = match request {
            Line::Noop => {
                self.owed.push_back(Owed::Noop { tag });
                return Ok(());
            }
            Line::List { prefix } => {
                let prefix = prefix.unwrap_or_default();
                let after = None;
                self.owed.push_back(Owed::List { tag, prefix, after });
                return Ok(());
            }
            Line::Update { servers } => {
                self.owed.push_back(Owed::Update { tag, servers });
                return Ok(());
            }
            Line::Extension { payload } => match decode(&payload) {
                Ok(Ask::Request(request)) => (request, Form::Extension),
                Ok(Ask::Stream { after }) => {
                    self.owed.push_back(Owed::Stream { tag, after });
                    return Ok(());
                }
                Err(error) => {
                    write_status(&mut self.out, &tag, Status::No, &error.to_string());
                    return Ok(());
                }
            },
            Line::Find { name } => (Request::Find(Name::from_bytes(name)), Form::Find),
            other => (row_request(other), Form::Row),
        };
        let submitted = self.server.master.submit(&who, request).await;
        let receiver = submitted.map_err(|_| End::Closed)?;
        self.owed.push_back(Owed::Response {
            tag,
            receiver,
            form,
        });
        Ok(())
    }

    /// Writes the answer that is owed first. `response` is `None` only if it needs none.
    async fn answer(&mut self, response: Option<Response>) -> Result<(), End> {
        let Some(owed) = self.owed.pop_front() else {
            return Ok(());
        };
        match owed {
            Owed::Response { tag, form, .. } => {
                let Some(response) = response else {
                    // The database has stopped: what became of the request is unknown.
                    write_status(&mut self.out, b"*", Status::Bye, BYE_NOT_READY);
                    self.flush().await?;
                    return Err(End::Closed);
                };
                match form {
                    Form::Extension => {
                        write_extension_reply(&mut self.out, &tag, &encode(&response));
                    }
                    Form::Find => write_found(&mut self.out, &tag, response),
                    Form::Row => write_outcome(&mut self.out, &tag, response),
                }
            }
            Owed::List { tag, prefix, after } => {
                let reader = self.server.master.reader();
                let page = reader.list(&prefix, after.as_ref(), LIST_STEP);
                let (lines, next) = page.map_err(std::io::Error::other)?;
                for line in &lines {
                    write_line(&mut self.out, &tag, line);
                }
                match next {
                    Some(next) => {
                        let after = Some(next);
                        self.owed.push_front(Owed::List { tag, prefix, after });
                    }
                    None => write_status(&mut self.out, &tag, Status::Ok, LIST_COMPLETE),
                }
            }
            Owed::Noop { tag } => {
                self.pump().await?;
                write_status(&mut self.out, &tag, Status::Ok, NOOP_DONE);
            }
            Owed::Update { tag, servers } => {
                let now = *self.server.master.positions().borrow();
                self.streaming = Some(Streaming::lines(tag, servers, now));
                self.streamed = None;
            }
            Owed::Stream { tag, after } => {
                write_extension_reply(&mut self.out, &tag, &encode(&Response::Done));
                self.streaming = Some(Streaming::changes(tag, after));
                self.streamed = None;
            }
        }
        Ok(())
    }

    /// Streams until everything is written that was acknowledged when this was called.
    async fn pump(&mut self) -> Result<(), End> {
        let Some(mut streaming) = self.streaming.take() else {
            return Ok(());
        };
        let upto = *self.server.master.positions().borrow();
        while self.streamed.is_none_or(|at| at < upto) {
            let step = streaming.step(self.server.master.reader(), &mut self.out);
            match step.map_err(std::io::Error::other)? {
                Step::More => {}
                Step::At(position) => self.streamed = Some(position),
                Step::Lost => {
                    write_status(&mut self.out, b"*", Status::Bye, BYE_NOT_READY);
                    self.flush().await?;
                    return Err(End::Closed);
                }
            }
            self.flush().await?;
        }
        self.streaming = Some(streaming);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let stream = self.stream.as_mut().ok_or(End::Closed)?;
        let sent = timeout(WRITE_LIMIT, async {
            stream.write_all(&self.out).await?;
            stream.flush().await
        });
        sent.await.map_err(|_| End::Idle)??;
        self.out.clear();
        Ok(())
    }
}

/// Waits until the answer that is owed first can be written. Cancel-safe.
async fn front_ready(front: Option<&mut Owed>) -> Option<Response> {
    match front {
        None => future::pending().await,
        Some(Owed::Response { receiver, .. }) => receiver.await.ok(),
        Some(_) => None,
    }
}

/// RFC 3656's writes.
fn row_request(line: Line) -> Request {
    let name = Name::from_bytes;
    match line {
        Line::Activate {
            name: of,
            location,
            acl,
        } => Request::Activate {
            name: name(of),
            location: location.into(),
            acl: acl.into(),
        },
        Line::Deactivate { name: of, location } => Request::Deactivate {
            name: name(of),
            location: location.into(),
        },
        Line::Delete { name: of } => Request::Delete(name(of)),
        Line::Reserve { name: of, location } => Request::Reserve {
            name: name(of),
            location: location.into(),
        },
        // The others are answered elsewhere.
        _ => Request::Barrier,
    }
}

fn write_found(out: &mut BytesMut, tag: &[u8], response: Response) {
    match response {
        Response::Lines { lines, .. } => {
            for line in &lines {
                write_line(out, tag, line);
            }
            write_status(out, tag, Status::Ok, SEARCH_COMPLETED);
        }
        other => write_outcome(out, tag, other),
    }
}

fn write_outcome(out: &mut BytesMut, tag: &[u8], response: Response) {
    match response {
        Response::Refused(refusal) => {
            let text = refusal.to_string();
            let status = match refusal {
                Refusal::BadLocation | Refusal::BadName => Status::Bad,
                _ => Status::No,
            };
            write_status(out, tag, status, &text);
        }
        _ => write_status(out, tag, Status::Ok, DONE),
    }
}
