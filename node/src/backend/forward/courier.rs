//! One request on its way to whoever owns the unit.

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use murder_locations::request::{HostPort, Request, Response};
use murder_model::{Epoch, RootName, ServerName, Term};
use murder_store::engine::Blob;
use murder_store::rows::{BlobSource, StoreError};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use super::ForwardError;
use crate::backend::gate::Phase;
use crate::backend::spool::Spooled;
use crate::backend::{Backend, BackendError};
use crate::directory::{AskError, Directory};
use crate::net::Stream;
use crate::peer::append::{FromOwner, ToOwner, converse};
use crate::peer::{self, CONTENT_BYTES_MAX, Link, LinkError, Service};

/// "Moved to" is followed so often before the master is asked again.
const HOPS_MAX: u32 = 3;
/// How long a connection may take, until it is welcome.
const CONNECT_LIMIT: Duration = Duration::from_secs(8);
/// How long one step of a conversation may take.
const STEP_LIMIT: Duration = Duration::from_secs(20);
/// Wait before a new try: the first, and the longest.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_LAST: Duration = Duration::from_secs(1);
/// Buffer of a conversation within the process.
const MEMORY_BYTES: usize = 512 << 10;

/// The bytes of a message to pass on.
#[derive(Clone, Debug)]
pub enum Content {
    /// Of a message that is stored here.
    Stored(Blob),
    /// Of a message that has just arrived.
    Spooled(Arc<Spooled>),
}

impl Content {
    /// How many.
    pub fn length(&self) -> u64 {
        match self {
            Self::Stored(blob) => blob.length(),
            Self::Spooled(spooled) => spooled.length,
        }
    }

    async fn piece(&self, start: u64, end: u64) -> Result<Bytes, Broken> {
        let content = self.clone();
        let read = spawn_blocking(move || content.read(start, end)).await;
        let read = read.expect("reading a content does not panic");
        read.map_err(Broken::Content)
    }

    fn read(&self, start: u64, end: u64) -> Result<Bytes, StoreError> {
        match self {
            Self::Stored(blob) => blob.read(start..end),
            Self::Spooled(spooled) => match spooled.source() {
                BlobSource::Bytes(bytes) => {
                    let range = to_index(start)..to_index(end);
                    Ok(Bytes::copy_from_slice(&bytes[range]))
                }
                BlobSource::File {
                    file, start: base, ..
                } => {
                    let mut piece = vec![0; to_index(end - start)];
                    let read = file.read_exact_at(&mut piece, base + start);
                    read.map_err(|source| StoreError::Io {
                        what: "read a spool file".to_owned(),
                        source,
                    })?;
                    Ok(piece.into())
                }
            },
        }
    }
}

fn to_index(number: u64) -> usize {
    usize::try_from(number).expect("within a content that is in memory")
}

/// Where a unit is.
enum Place {
    Here,
    There(ServerName, HostPort),
}

/// Why a try led to nothing.
enum Failed {
    /// Somewhere else, or later.
    Now,
    /// For good.
    Final(ForwardError),
}

impl From<AskError> for Failed {
    fn from(error: AskError) -> Self {
        tracing::debug!(event = "owner_not_found", %error);
        Self::Now
    }
}

/// Why contents did not arrive, or no answer.
enum Broken {
    Link(LinkError),
    Content(StoreError),
}

impl From<LinkError> for Broken {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

/// How far a request got.
pub(super) enum Asked {
    /// The owner waits for the contents.
    Ready(Link),
    /// The owner has answered.
    Answered(FromOwner),
}

/// A request, and what is known of its way.
pub(super) struct Courier<'a> {
    backend: &'a Arc<Backend>,
    request: ToOwner,
    contents: Vec<Content>,
    deadline: Instant,
    pause: Duration,
    hops: u32,
    /// Where "moved to" leads.
    hint: Option<ServerName>,
    /// The highest version of the unit that anybody named.
    latest: (Term, Epoch),
    /// What this server knows by itself led to nothing.
    ask_master: bool,
    unsure: bool,
}

impl<'a> Courier<'a> {
    pub(super) fn new(
        backend: &'a Arc<Backend>,
        request: ToOwner,
        contents: Vec<Content>,
        limit: Duration,
    ) -> Self {
        Self {
            backend,
            request,
            contents,
            deadline: Instant::now() + limit,
            pause: AGAIN_FIRST,
            hops: 0,
            hint: None,
            latest: (Term::default(), Epoch::default()),
            ask_master: false,
            unsure: false,
        }
    }

    /// Whether the request may have been carried out without an answer.
    pub(super) fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// Brings the request to the owner and its answer back.
    pub(super) async fn carry(&mut self) -> Result<FromOwner, ForwardError> {
        match self.ask().await? {
            Asked::Answered(answer) => Ok(answer),
            Asked::Ready(link) => self.hand_over(link).await,
        }
    }

    /// Finds the owner and asks, again and again until the time is over.
    pub(super) async fn ask(&mut self) -> Result<Asked, ForwardError> {
        loop {
            match self.ask_once().await {
                Ok(Asked::Answered(answer)) => {
                    if let Some(answer) = self.judge(answer) {
                        return Ok(Asked::Answered(answer));
                    }
                }
                Ok(ready) => return Ok(ready),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Now) => self.start_over(),
            }
            if self.hint.is_some() {
                continue;
            }
            if Instant::now() + self.pause >= self.deadline {
                return Err(ForwardError::Unavailable);
            }
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(AGAIN_LAST);
        }
    }

    /// Sends the contents to an owner that is ready; asks others if it turns out not to be one.
    pub(super) async fn hand_over(&mut self, mut link: Link) -> Result<FromOwner, ForwardError> {
        loop {
            match send_contents(&mut link, &self.contents).await {
                Ok(answer) => {
                    self.unsure |= matches!(answer, FromOwner::Unavailable);
                    if let Some(answer) = self.judge(answer) {
                        return Ok(answer);
                    }
                }
                // Without all contents nothing is appended.
                Err(Broken::Content(error)) => {
                    return Err(ForwardError::Here(BackendError::from(error)));
                }
                Err(Broken::Link(error)) => {
                    tracing::debug!(event = "append_answer_lost", %error);
                    self.unsure = true;
                    self.start_over();
                }
            }
            drop(link);
            link = match self.ask().await? {
                Asked::Answered(answer) => return Ok(answer),
                Asked::Ready(link) => link,
            };
        }
    }

    /// An answer that says where else to ask, or to ask later, is taken note of; others are returned.
    fn judge(&mut self, answer: FromOwner) -> Option<FromOwner> {
        match answer {
            FromOwner::Moved { to, term, epoch } => {
                let is_news = (term, epoch) > self.latest;
                if is_news && self.hops < HOPS_MAX {
                    self.latest = (term, epoch);
                    self.hops += 1;
                    self.hint = Some(to);
                } else {
                    self.start_over();
                }
                None
            }
            FromOwner::Elsewhere | FromOwner::Unavailable | FromOwner::Ready => {
                self.start_over();
                None
            }
            other => Some(other),
        }
    }

    fn start_over(&mut self) {
        self.hops = 0;
        self.hint = None;
        self.latest = (Term::default(), Epoch::default());
        self.ask_master = true;
    }

    async fn ask_once(&mut self) -> Result<Asked, Failed> {
        let root = match &self.request {
            ToOwner::Append(append) => append.mailbox.root(),
            ToOwner::Withdraw { root, .. } => root.clone(),
        };
        let found = timeout(self.left(), self.locate(&root)).await;
        let place = found.map_err(|_| Failed::Now)??;
        self.hint = None;
        let mut link = match place {
            Place::Here => here(self.backend),
            Place::There(server, address) => {
                let connected = self.connect(&server, &address).await;
                connected.map_err(|error| {
                    tracing::debug!(event = "owner_not_reached", %server, %error);
                    Failed::Now
                })?
            }
        };
        let asked = timeout(STEP_LIMIT.min(self.left()), async {
            link.send(&self.request).await?;
            link.flush().await?;
            link.receive().await
        });
        match asked.await {
            Ok(Ok(FromOwner::Ready)) => Ok(Asked::Ready(link)),
            Ok(Ok(answer)) => Ok(Asked::Answered(answer)),
            Ok(Err(error)) => {
                tracing::debug!(event = "owner_not_asked", %error);
                Err(Failed::Now)
            }
            Err(_) => Err(Failed::Now),
        }
    }

    async fn connect(&self, server: &ServerName, address: &HostPort) -> Result<Link, LinkError> {
        let backend = self.backend;
        let tls = backend.forwarding.tls.get().ok_or(LinkError::Closed)?;
        let connecting = peer::connect(&backend.settings, tls, server, address, Service::Append);
        let connected = timeout(CONNECT_LIMIT.min(self.left()), connecting).await;
        connected.map_err(|_| LinkError::Silent)?
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    async fn locate(&self, root: &RootName) -> Result<Place, Failed> {
        let mut server = self.hint.clone();
        if server.is_none() {
            match self.backend.place(root).await {
                Ok(_) => return Ok(Place::Here),
                Err(BackendError::Unavailable(Phase::Moved { to, .. })) if !self.ask_master => {
                    server = Some(to);
                }
                Err(BackendError::Unavailable(Phase::Moved { .. }) | BackendError::Elsewhere) => {}
                Err(BackendError::NoSuchMailbox) => {
                    return Err(Failed::Final(ForwardError::NoSuchMailbox));
                }
                Err(_) => return Err(Failed::Now),
            }
        }
        let directory = self.backend.directory.as_ref().ok_or(Failed::Now)?;
        let server = match server {
            Some(server) => server,
            None => match directory.unit(root).await? {
                Some(record) => record.server,
                None if knows_all(directory).await? => {
                    return Err(Failed::Final(ForwardError::NoSuchMailbox));
                }
                None => return Err(Failed::Now),
            },
        };
        if server == self.backend.settings.server {
            // On its way here, or away.
            return Err(Failed::Now);
        }
        let record = directory.server(&server).await?.ok_or(Failed::Now)?;
        Ok(Place::There(server, record.addresses.transfer))
    }
}

/// A conversation with this server itself.
fn here(backend: &Arc<Backend>) -> Link {
    let (near, far) = tokio::io::duplex(MEMORY_BYTES);
    let backend = Arc::clone(backend);
    tokio::spawn(async move {
        // The near end hears of it.
        let _ended = converse(&backend, Link::new(Stream::Memory(far))).await;
    });
    Link::new(Stream::Memory(near))
}

/// Whether a root that the master does not know exists nowhere: all servers have reported to it.
async fn knows_all(directory: &Directory) -> Result<bool, AskError> {
    let term = directory.barrier().await?.term;
    match directory.demand(Request::Servers).await? {
        Response::Servers(servers) => Ok(servers
            .iter()
            .all(|server| server.retired || server.reported_term == term)),
        _ => Err(AskError::Unfit),
    }
}

async fn send_contents(link: &mut Link, contents: &[Content]) -> Result<FromOwner, Broken> {
    let step = |result: Result<Result<(), LinkError>, _>| match result {
        Ok(sent) => sent,
        Err(tokio::time::error::Elapsed { .. }) => Err(LinkError::Silent),
    };
    for content in contents {
        let mut start = 0;
        while start < content.length() {
            let end = (start + CONTENT_BYTES_MAX as u64).min(content.length());
            let piece = content.piece(start, end).await?;
            step(timeout(STEP_LIMIT, link.send_content(&piece)).await)?;
            start = end;
        }
    }
    step(timeout(STEP_LIMIT, link.flush()).await)?;
    let answer = timeout(STEP_LIMIT, link.receive()).await;
    Ok(answer.map_err(|_| LinkError::Silent)??)
}
