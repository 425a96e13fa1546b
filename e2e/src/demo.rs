//! The demonstration: mail is delivered and read while the node is killed, and then every message
//! is accounted for.

mod deliver;
mod ledger;
mod read;
mod report;
mod verify;

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use tokio::task::JoinSet;

use crate::console::Console;
use crate::mail::Sources;
use crate::murder::{Murder, Plan};
use crate::node::Addresses;

pub use ledger::{Delivery, Experience, Ledger, Seen, State};
pub use report::Report;
pub use verify::{Copies, Findings};

/// Sessions that deliver at the same time.
const DELIVERING_SESSIONS: usize = 8;

/// Clients that read, flag and idle meanwhile.
const READING_CLIENTS: usize = 6;

/// The node is killed when so many percent of the deliveries are acknowledged.
const KILLS_AT_PERCENT: [usize; 2] = [30, 65];

/// The node.
pub const NODE: &str = "un-a";

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The mail.
    pub sources: Sources,
    /// Users.
    pub users: usize,
    /// The node program.
    pub node: PathBuf,
    /// An existing folder that the node keeps everything in.
    pub state: PathBuf,
}

/// What the clients share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) addresses: Addresses,
    pub(crate) password: String,
    pub(crate) users: Vec<String>,
    pub(crate) ledger: Ledger,
    pub(crate) console: Console,
}

/// Runs it; the node is left running for the caller.
pub async fn run(options: &Options) -> Result<(Report, Murder)> {
    let begun = Instant::now();
    let console = Console::default();
    let password = make_password(&options.state)?;
    let users: Vec<_> = (1..=options.users)
        .map(|number| format!("user{number:04}"))
        .collect();
    let plan = Plan::single(&options.node)
        .users(users.iter().cloned())
        .password(&password)
        .settings(json!({ "logging": { "level": "warn" } }));
    let mut murder = plan.prepare_in(&options.state)?;
    console.say(&format!(
        "{} accounts, user0001 to user{:04}",
        users.len(),
        users.len()
    ));
    let collected = options.sources.collect()?;
    for remark in &collected.remarks {
        console.say(remark);
    }
    let ledger = Ledger::plan(collected.messages, &users, options.sources.seed);
    console.say(&ledger.summary());
    let took = murder.start(NODE).await?;
    console.say(&format!("node ready in {} ms", took.as_millis()));
    let world = Arc::new(World {
        addresses: murder.addresses(NODE)?,
        password,
        users,
        ledger,
        console,
    });
    under_load(&world, &mut murder).await?;
    let findings = verify::read_back(&world).await?;
    let report = Report::of(&world.ledger, &findings, begun.elapsed());
    Ok((report, murder))
}

/// Delivers everything while clients read and the node is killed.
async fn under_load(world: &Arc<World>, murder: &mut Murder) -> Result<()> {
    let total = world.ledger.deliveries.len();
    world.console.begin("deliver", total as u64);
    let mut readers = JoinSet::new();
    for number in 0..READING_CLIENTS.min(world.users.len()) {
        readers.spawn(read::client(Arc::clone(world), number));
    }
    let mut senders = JoinSet::new();
    for number in 0..DELIVERING_SESSIONS {
        senders.spawn(deliver::session(Arc::clone(world), number));
    }
    for percent in KILLS_AT_PERCENT {
        world.ledger.reached(total * percent / 100).await;
        murder.kill(NODE)?;
        let took = murder.start(NODE).await?;
        world.ledger.count_kill();
        world.console.say(&format!(
            "node killed (kill -9) at {percent} %, ready again in {} ms",
            took.as_millis()
        ));
    }
    while let Some(ended) = senders.join_next().await {
        ended.context("a delivering client failed")?;
    }
    world.ledger.finish_load();
    while let Some(ended) = readers.join_next().await {
        ended.context("a reading client failed")?;
    }
    world.console.end();
    Ok(())
}

/// One password for all users, in a file that only the owner reads.
fn make_password(state: &Path) -> Result<String> {
    let mut octets = [0; 12];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut octets))
        .context("cannot read random octets")?;
    let password: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    let path = password_file(state);
    let file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path);
    file.and_then(|mut file| std::io::Write::write_all(&mut file, password.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(password)
}

/// Where the users' password is kept.
#[must_use]
pub fn password_file(state: &Path) -> PathBuf {
    state.join("password")
}

/// Milliseconds, for counters.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
