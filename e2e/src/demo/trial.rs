//! Clients that deliver and read all the time, whatever is done to the servers meanwhile, and the
//! account of all that they sent and saw.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustls::ClientConfig;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::experience::{Experience, Phase};
use super::ledger::Ledger;
use super::mailbox::{KEPT, SHARED, SHARED_KEPT};
use super::report::{Moved, Report};
use super::{deliver, read, verify};
use crate::console::Console;
use crate::imap::{Failure, Session};
use crate::mail::Sources;
use crate::murder::{ADMIN, Murder};

/// Sessions that deliver at the same time.
const DELIVERING_SESSIONS: usize = 8;

/// Clients that read, flag, copy and idle meanwhile.
const READING_CLIENTS: usize = 6;

/// Of what is left for the time of an action, such a share is let go at each tick, so that deliveries
/// go on however long it takes.
const TICK: Duration = Duration::from_millis(100);
const TICK_SHARE: usize = 80;

/// Rights of everybody in the shared folders: look, read, keep what was seen, post.
const RIGHTS: &str = "lrsp";

/// Those of users who may also copy into them.
const POSTING_RIGHTS: &str = "lrspi";

/// Where clients connect.
#[derive(Clone, Debug)]
pub struct Door {
    /// IMAP.
    pub imap: SocketAddr,
    /// LMTP without login.
    pub lmtp: SocketAddr,
    /// TLS from the first byte of IMAP; none if it is plain.
    pub tls: Option<TlsDoor>,
}

/// TLS of IMAP.
#[derive(Clone, Debug)]
pub struct TlsDoor {
    /// Whom it trusts.
    pub config: Arc<ClientConfig>,
    /// The name that the server's certificate must have.
    pub name: String,
}

impl Door {
    /// A session of a user.
    pub async fn login(&self, user: &str, password: &str) -> Result<Session> {
        match &self.tls {
            None => Session::login(self.imap, user, password).await,
            Some(TlsDoor { config, name }) => {
                let config = Arc::clone(config);
                Session::login_named(self.imap, config, name, user, password).await
            }
        }
    }
}

/// Who takes part.
#[derive(Clone, Debug)]
pub struct Party {
    /// The frontends, which clients use in turn.
    pub doors: Vec<Door>,
    /// The users.
    pub users: Vec<String>,
    /// Their password.
    pub password: String,
    /// An administrator and a password, if there are to be shared folders.
    pub admin: Option<(String, String)>,
}

impl Party {
    /// The users of a murder, with its frontends or else with its unified nodes.
    pub fn of(murder: &Murder, users: &[String], shared: bool) -> Result<Self> {
        let all = murder.nodes().iter();
        let doors = all.filter(|node| node.role().routes()).map(|node| Door {
            imap: node.addresses().imap,
            lmtp: node.addresses().lmtp,
            tls: None,
        });
        let password = murder.password().to_owned();
        Ok(Self {
            doors: doors.collect(),
            users: users.to_vec(),
            admin: shared.then(|| (ADMIN.to_owned(), password.clone())),
            password,
        })
    }
}

/// What the clients share. Nothing else knows addresses.
#[derive(Debug)]
pub(super) struct World {
    party: Party,
    pub(super) ledger: Ledger,
    pub(super) console: Console,
}

impl World {
    /// The users' names.
    pub(super) fn users(&self) -> &[String] {
        &self.party.users
    }

    /// Whether there are shared folders.
    pub(super) const fn has_shared(&self) -> bool {
        self.party.admin.is_some()
    }

    fn door(&self, turn: usize) -> &Door {
        &self.party.doors[turn % self.party.doors.len()]
    }

    /// Where to deliver; another turn is another frontend.
    pub(super) fn lmtp(&self, turn: usize) -> SocketAddr {
        self.door(turn).lmtp
    }

    /// A user's IMAP session; another turn is another frontend.
    pub(super) async fn login(&self, user: usize, turn: usize) -> Result<Session> {
        let door = self.door(turn);
        door.login(&self.users()[user], &self.party.password).await
    }

    /// A user's IMAP session with the first frontend that is there.
    pub(super) async fn login_somewhere(&self, user: usize) -> Result<Session> {
        let mut session = self.login(user, user).await;
        for turn in 1..self.party.doors.len() {
            if session.is_err() {
                session = self.login(user, user + turn).await;
            }
        }
        session
    }

    /// Whether a user may copy into the shared folders.
    pub(super) const fn may_post(&self, user: usize) -> bool {
        user.is_multiple_of(2)
    }

    /// Whether a session ended because its selected mailbox went to another server.
    pub(super) fn is_moved(&self, failure: &Failure) -> bool {
        matches!(failure, Failure::Bye { text, .. } if text.contains("moved"))
    }
}

/// A load on a murder. The clients end when it is dropped.
#[derive(Debug)]
pub struct Trial {
    world: Arc<World>,
    begun: Instant,
    readers: JoinSet<()>,
    senders: JoinSet<()>,
}

impl Trial {
    /// Collects the mail and chooses its recipients; makes shared folders and folders for copies.
    pub async fn prepare(party: Party, sources: &Sources, console: Console) -> Result<Self> {
        let begun = Instant::now();
        let collected = sources.collect()?;
        for remark in &collected.remarks {
            console.say(remark);
        }
        let (users, shared) = (party.users.len(), party.admin.is_some());
        let ledger = Ledger::plan(collected.messages, users, shared, sources.seed);
        console.say(&ledger.summary());
        let world = World {
            party,
            ledger,
            console,
        };
        if world.has_shared() {
            make_folders(&world).await?;
        }
        Ok(Self {
            world: Arc::new(world),
            begun,
            readers: JoinSet::new(),
            senders: JoinSet::new(),
        })
    }

    /// What is counted as its time begins with the start of the servers.
    pub const fn begun(&mut self, begun: Instant) {
        self.begun = begun;
    }

    /// Starts the clients.
    pub fn start(&mut self) {
        let total = self.world.ledger.deliveries.len() as u64;
        self.world.console.begin("deliver", total);
        for number in 0..READING_CLIENTS.min(self.world.users().len()) {
            let client = read::client(Arc::clone(&self.world), number);
            self.readers.spawn(client);
        }
        for number in 0..DELIVERING_SESSIONS {
            let session = deliver::session(Arc::clone(&self.world), number);
            self.senders.spawn(session);
        }
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.world.ledger
    }

    /// Where progress is told.
    #[must_use]
    pub fn console(&self) -> &Console {
        &self.world.console
    }

    /// Waits until so many percent of all deliveries are settled.
    pub async fn reached(&self, percent: usize) {
        let total = self.ledger().deliveries.len();
        self.ledger().reached(total * percent / 100).await;
    }

    /// Does something while deliveries go on, little by little and at most until so many percent of the messages
    /// are let go, so that they do not end before it does.
    pub async fn meanwhile<T>(
        &self,
        percent: usize,
        action: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let until = self.ledger().messages.len() * percent / 100;
        let trickle = async {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let released = self.ledger().released();
                let left = until.saturating_sub(released);
                self.ledger().release(released + left.div_ceil(TICK_SHARE));
            }
        };
        tokio::select! {
            done = action => done,
            () = trickle => unreachable!("it never ends"),
        }
    }

    /// What happens from now on.
    pub fn enter(&self, phase: Phase) {
        self.ledger().set_phase(phase);
        let total = self.ledger().deliveries.len() as u64;
        self.console().begin("deliver", total);
    }

    /// Learns all that is in the mailboxes, so that it is compared with at the end; returns how many
    /// messages that are.
    pub async fn learn(&self) -> Result<usize> {
        verify::learn(&self.world).await
    }

    /// What the clients that deliver, and those that read, went through so far.
    #[must_use]
    pub fn experiences(&self) -> (Experience, Experience) {
        let ledger = self.ledger();
        (ledger.delivering().clone(), ledger.reading().clone())
    }

    /// Waits until everything is delivered, reads everything back and puts the table together.
    pub async fn finish(mut self, moved: Option<&Moved>) -> Result<Report> {
        self.ledger().release(self.ledger().messages.len());
        while let Some(ended) = self.senders.join_next().await {
            ended.context("a delivering client failed")?;
        }
        self.ledger().finish_load();
        while let Some(ended) = self.readers.join_next().await {
            ended.context("a reading client failed")?;
        }
        self.console().end();
        let findings = verify::read_back(&self.world).await?;
        let took = self.begun.elapsed();
        Ok(Report::of(self.ledger(), &findings, moved, took))
    }
}

/// The shared folders and their rights, and folders for copies.
async fn make_folders(world: &World) -> Result<()> {
    let (admin, password) = world.party.admin.as_ref().context("no administrator")?;
    let mut session = world.door(0).login(admin, password).await?;
    for folder in SHARED.iter().chain([&SHARED_KEPT]) {
        session.create(folder).await?;
        session.set_acl(folder, "anyone", RIGHTS).await?;
        let posting = (0..world.users().len()).filter(|user| world.may_post(*user));
        for user in posting {
            let name = &world.users()[user];
            session.set_acl(folder, name, POSTING_RIGHTS).await?;
        }
    }
    session.logout().await?;
    // This makes their mailboxes, too: all users are there before anything fails.
    for user in 0..world.users().len() {
        let mut session = world.login(user, user).await?;
        session.create(KEPT).await?;
        session.logout().await?;
    }
    Ok(())
}
