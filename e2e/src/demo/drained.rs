//! A murder: a backend is drained under load and let go, another one is killed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use murder_api::endpoints::{Address, Endpoints};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::local::{Backend, Options as LocalOptions};
use super::mailbox::{KEPT, SHARED, SHARED_KEPT};
use super::{
    Door, Load, Local, Moved, Options, Phase, READING_CLIENTS, Report, World, account, plan, verify,
};
use crate::console::Console;
use crate::imap::Session;

/// The Backend that is drained, if it holds anything.
const DRAINED: &str = "be-b";

/// Percent of the messages that are delivered before the drain, and at most until its end.
const PERCENT_BEFORE: usize = 40;
const PERCENT_DRAINING: usize = 75;

/// Of what is left for the time of the drain, such a share is let go at each tick, so that
/// deliveries go on however long it takes.
const TICK: Duration = Duration::from_millis(100);
const TICK_SHARE: usize = 80;

/// A backend is killed when so many percent of the deliveries are acknowledged.
const KILL_AT_PERCENT: usize = 82;

/// How long a killed node may take until it serves again.
const RESTART_LIMIT: Duration = Duration::from_secs(60);

/// Time between two looks at the drain.
const LOOK: Duration = Duration::from_millis(200);

/// Rights of everybody in the shared folders: look, read, keep what was seen, post.
const RIGHTS: &str = "lrsp";

/// Those of users who may also copy into them.
const POSTING_RIGHTS: &str = "lrspi";

/// Runs it; the murder is left running for the caller.
pub async fn run(options: &Options) -> Result<(Report, Local)> {
    let begun = Instant::now();
    let console = Console::default();
    let ledger = plan(options, true, &console)?;
    let local = Local::up(LocalOptions {
        operator: options.operator.clone(),
        node: options.node.clone(),
        manifest: options.manifest.clone(),
        state: options.state.clone(),
        users: options.users,
    })
    .await?;
    let endpoints = local.endpoints()?;
    console.say(&format!(
        "murder up in {:.1} s: {} backends, {} frontends, {} users",
        begun.elapsed().as_secs_f64(),
        endpoints.backends.len(),
        endpoints.frontends.len(),
        endpoints.users.len()
    ));
    let (users, password) = accounts(&endpoints)?;
    let world = Arc::new(World {
        doors: doors(&endpoints)?,
        password,
        users,
        shared: true,
        ledger,
        console,
    });
    make_folders(&world, &endpoints).await?;
    let moved = under_load(&world, &local).await?;
    let report = account(&world, Some(&moved), begun).await?;
    Ok((report, local))
}

fn accounts(endpoints: &Endpoints) -> Result<(Vec<String>, String)> {
    let first = endpoints.users.first().context("there are no users")?;
    let users = endpoints.users.iter().map(|account| account.user.clone());
    Ok((users.collect(), read_password(&first.password_file)?))
}

fn read_password(path: &std::path::Path) -> Result<String> {
    let password = std::fs::read_to_string(path);
    let password = password.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(password.trim_end().to_owned())
}

/// The frontends; a murder of unified nodes may have none of its own.
fn doors(endpoints: &Endpoints) -> Result<Vec<Door>> {
    let frontends = endpoints.frontends.iter().map(|one| (&one.imap, &one.lmtp));
    let backends = endpoints.backends.iter().map(|one| (&one.imap, &one.lmtp));
    let mut pairs: Vec<_> = frontends.collect();
    if pairs.is_empty() {
        pairs.extend(backends);
    }
    let socket = |address: &Address| -> Result<SocketAddr> {
        let text = address.to_string();
        text.parse()
            .with_context(|| format!("{text} is no address"))
    };
    let door = |(imap, lmtp)| {
        Ok(Door {
            imap: socket(imap)?,
            lmtp: socket(lmtp)?,
        })
    };
    pairs.into_iter().map(door).collect()
}

/// The shared folders and their rights, and folders for copies.
async fn make_folders(world: &World, endpoints: &Endpoints) -> Result<()> {
    let password = read_password(&endpoints.admin.password_file)?;
    let door = world.doors.first().context("there are no frontends")?;
    let mut admin = Session::login(door.imap, &endpoints.admin.user, &password).await?;
    for folder in SHARED.iter().chain([&SHARED_KEPT]) {
        admin.create(folder).await?;
        admin.set_acl(folder, "anyone", RIGHTS).await?;
        let posting = (0..world.users.len()).filter(|user| world.may_post(*user));
        for user in posting {
            let name = &world.users[user];
            admin.set_acl(folder, name, POSTING_RIGHTS).await?;
        }
    }
    admin.logout().await?;
    for user in 0..READING_CLIENTS.min(world.users.len()) {
        let mut session = world.login(user).await?;
        session.create(KEPT).await?;
        session.logout().await?;
    }
    world.console.say("shared folders made");
    Ok(())
}

async fn under_load(world: &Arc<World>, local: &Local) -> Result<Moved> {
    let ledger = &world.ledger;
    let messages = ledger.messages.len();
    let total = ledger.deliveries.len();
    let before = messages * PERCENT_BEFORE / 100;
    ledger.release(before);
    world.console.begin("deliver", total as u64);
    let load = Load::start(world);
    ledger.reached(ledger.deliveries_of(before)).await;
    let learned = verify::learn(world).await?;
    world.console.say(&format!(
        "{learned} messages are there, and known by UID, content, date and flags"
    ));

    ledger.set_phase(Phase::Draining);
    let backend = choose(local).await?;
    let trickle = trickle(world, messages * PERCENT_DRAINING / 100);
    let moved = tokio::select! {
        moved = drain(world, local, &backend) => moved?,
        () = trickle => unreachable!("it never ends"),
    };
    world.console.begin("deliver", total as u64);

    ledger.set_phase(Phase::Killing);
    ledger.release(messages);
    ledger.reached(total * KILL_AT_PERCENT / 100).await;
    let victim = largest(local).await?;
    let killed = local.kill(&victim.name).await?;
    ledger.count_kill();
    let took = local.restarted(&victim.name, killed, RESTART_LIMIT).await?;
    world.console.say(&format!(
        "{} killed (kill -9), all ready again after {} ms",
        victim.name,
        took.as_millis()
    ));
    load.finish(world).await?;
    Ok(moved)
}

/// Lets messages go little by little, and never the last.
async fn trickle(world: &World, until: usize) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let released = world.ledger.released();
        let left = until.saturating_sub(released);
        world.ledger.release(released + left.div_ceil(TICK_SHARE));
    }
}

/// The Backend to drain.
async fn choose(local: &Local) -> Result<Backend> {
    let status = local.status().await?;
    match status.backend(DRAINED) {
        Ok(backend) if backend.units > 0 => Ok(backend.clone()),
        _ => largest(local).await,
    }
}

async fn largest(local: &Local) -> Result<Backend> {
    let status = local.status().await?;
    let mut backends: Vec<_> = status.backends;
    backends.sort_by_key(|backend| backend.units);
    let largest = backends.pop().context("there are no Backends")?;
    ensure!(largest.units > 0, "no Backend holds anything");
    Ok(largest)
}

/// Drains a Backend and lets it go, and shows how far that is.
async fn drain(world: &World, local: &Local, backend: &Backend) -> Result<Moved> {
    let name = &backend.name;
    world.console.say(&format!(
        "draining {name}: {} users and shared roots, {} mailboxes, {}",
        backend.units,
        backend.mailboxes,
        mib(backend.bytes)
    ));
    world.console.begin("drain", backend.mailboxes);
    let begun = Instant::now();
    let mut last = backend.clone();
    let drained = local.drain(name);
    let watch = async {
        loop {
            sleep(LOOK).await;
            if let Ok(status) = local.status().await
                && let Ok(backend) = status.backend(name)
            {
                show(world, backend, begun);
                last = backend.clone();
            }
        }
    };
    tokio::select! {
        drained = drained => drained?,
        () = watch => unreachable!("it never ends"),
    }
    let took = begun.elapsed();
    if let Ok(backend) = local.status().await?.backend(name) {
        last = backend.clone();
    }
    world.console.end();
    ensure!(
        last.units == 0 && last.mailboxes == 0,
        "{name} is said to be drained and holds {} units",
        last.units
    );
    let moved = Moved {
        backend: name.clone(),
        units: last.moved,
        mailboxes: last.mailboxes_moved,
        bytes: last.bytes_moved,
        took,
    };
    world.console.say(&format!(
        "{name} is empty after {:.1} s: {} mailboxes, {} moved; stopping it",
        took.as_secs_f64(),
        moved.mailboxes,
        mib(moved.bytes)
    ));
    local.delete(name).await?;
    world.console.say(&format!("{name} is gone"));
    Ok(moved)
}

fn show(world: &World, backend: &Backend, begun: Instant) {
    let rate = backend.bytes_moved as f64 / begun.elapsed().as_secs_f64().max(0.001);
    let total = backend.mailboxes_moved + backend.mailboxes;
    world.console.set_total("drain", total);
    let detail = format!(
        "mailboxes, {} of {}, {}/s",
        mib(backend.bytes_moved),
        mib(backend.bytes_moved + backend.bytes),
        mib(rate as u64)
    );
    let done = backend.mailboxes_moved;
    world.console.progress("drain", done, &detail);
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
