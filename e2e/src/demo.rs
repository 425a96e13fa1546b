//! The demonstration: mail is delivered and read while a backend is drained and another one is
//! killed (or, with a single node, while that one is killed), and then every message is accounted for.

mod deliver;
mod drained;
mod experience;
mod ledger;
mod local;
mod mailbox;
mod read;
mod report;
mod seen;
mod single;
mod verify;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::console::Console;
use crate::imap::{Failure, Session};
use crate::mail::Sources;
use crate::murder::Murder;

pub use drained::run as run_murder;
pub use experience::{Experience, Phase};
pub use ledger::{Copied, Delivery, Ledger, State};
pub use local::{Backend, Local, Options as LocalOptions, Status};
pub use mailbox::Mailbox;
pub use report::{Moved, Report};
pub use seen::{Found, Seen, View};
pub use single::{NODE, password_file, run as run_single};
pub use verify::{Copies, Findings};

/// Sessions that deliver at the same time.
const DELIVERING_SESSIONS: usize = 8;

/// Clients that read, flag, copy and idle meanwhile.
const READING_CLIENTS: usize = 6;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The mail.
    pub sources: Sources,
    /// Users.
    pub users: usize,
    /// The node program.
    pub node: PathBuf,
    /// The operator's program.
    pub operator: PathBuf,
    /// The murder.
    pub manifest: PathBuf,
    /// An existing folder that everything is kept in.
    pub state: PathBuf,
}

/// What a demonstration leaves running.
#[derive(Debug)]
pub enum Left {
    /// One node.
    Single(Box<Murder>),
    /// A murder and its supervisor.
    Murder(Local),
}

/// Where clients connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door {
    pub(crate) imap: SocketAddr,
    pub(crate) lmtp: SocketAddr,
}

/// What the clients share. Nothing else knows addresses.
#[derive(Debug)]
pub(crate) struct World {
    /// The frontends.
    doors: Vec<Door>,
    password: String,
    users: Vec<String>,
    /// Whether there are shared folders.
    shared: bool,
    ledger: Ledger,
    console: Console,
}

impl World {
    /// Where a client delivers: the frontends take turns.
    fn lmtp(&self, client: usize) -> SocketAddr {
        self.doors[client % self.doors.len()].lmtp
    }

    /// A user's IMAP session: the frontends take turns.
    async fn login(&self, user: usize) -> Result<Session> {
        let imap = self.doors[user % self.doors.len()].imap;
        Session::login(imap, &self.users[user], &self.password).await
    }

    /// Whether a user may copy into the shared folders.
    const fn may_post(&self, user: usize) -> bool {
        user.is_multiple_of(2)
    }

    /// Whether a session ended because its selected mailbox went to another server.
    fn is_moved(&self, failure: &Failure) -> bool {
        matches!(failure, Failure::Bye { text, .. } if text.contains("moved"))
    }
}

/// The clients of a demonstration.
struct Load {
    readers: JoinSet<()>,
    senders: JoinSet<()>,
}

impl Load {
    fn start(world: &Arc<World>) -> Self {
        let mut readers = JoinSet::new();
        for number in 0..READING_CLIENTS.min(world.users.len()) {
            readers.spawn(read::client(Arc::clone(world), number));
        }
        let mut senders = JoinSet::new();
        for number in 0..DELIVERING_SESSIONS {
            senders.spawn(deliver::session(Arc::clone(world), number));
        }
        Self { readers, senders }
    }

    /// Waits until everything is delivered, and ends the clients that read.
    async fn finish(mut self, world: &World) -> Result<()> {
        while let Some(ended) = self.senders.join_next().await {
            ended.context("a delivering client failed")?;
        }
        world.ledger.finish_load();
        while let Some(ended) = self.readers.join_next().await {
            ended.context("a reading client failed")?;
        }
        world.console.end();
        Ok(())
    }
}

/// Collects the mail and chooses its recipients.
fn plan(options: &Options, shared: bool, console: &Console) -> Result<Ledger> {
    let collected = options.sources.collect()?;
    for remark in &collected.remarks {
        console.say(remark);
    }
    let seed = options.sources.seed;
    let ledger = Ledger::plan(collected.messages, options.users, shared, seed);
    console.say(&ledger.summary());
    Ok(ledger)
}

/// Reads everything back and puts the table together.
async fn account(world: &World, moved: Option<&Moved>, begun: Instant) -> Result<Report> {
    let findings = verify::read_back(world).await?;
    Ok(Report::of(&world.ledger, &findings, moved, begun.elapsed()))
}

/// Milliseconds, for counters.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
