//! A murder: a backend is drained under load and let go, another one is killed.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use murder_api::endpoints::{Address, Endpoints};
use tokio::time::sleep;

use super::local::{Backend, Options as LocalOptions};
use super::{Door, Local, Moved, Options, Party, Phase, Report, Trial};
use crate::console::Console;

/// Percent of the messages that are delivered before the drain, and at most until its end.
const PERCENT_BEFORE: usize = 40;
const PERCENT_DRAINING: usize = 75;

/// A backend is killed when so many percent of the deliveries are acknowledged.
const KILL_AT_PERCENT: usize = 82;

/// How long a killed node may take until it serves again.
const RESTART_LIMIT: Duration = Duration::from_secs(60);

/// Time between two looks at the drain.
const LOOK: Duration = Duration::from_millis(200);

/// Runs it; the murder is left running for the caller.
pub async fn run(options: &Options) -> Result<(Report, Local)> {
    let begun = Instant::now();
    let console = Console::default();
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
    let mut trial = Trial::prepare(party(&endpoints)?, &options.sources, console).await?;
    trial.begun(begun);
    let moved = under_load(&mut trial, &local).await?;
    let report = trial.finish(Some(&moved)).await?;
    Ok((report, local))
}

fn party(endpoints: &Endpoints) -> Result<Party> {
    let first = endpoints.users.first().context("there are no users")?;
    let users = endpoints.users.iter().map(|account| account.user.clone());
    let admin = &endpoints.admin;
    Ok(Party {
        doors: doors(endpoints)?,
        users: users.collect(),
        password: read_password(&first.password_file)?,
        admin: Some((admin.user.clone(), read_password(&admin.password_file)?)),
    })
}

fn read_password(path: &Path) -> Result<String> {
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
            tls: None,
        })
    };
    pairs.into_iter().map(door).collect()
}

async fn under_load(trial: &mut Trial, local: &Local) -> Result<Moved> {
    let messages = trial.ledger().messages.len();
    let before = messages * PERCENT_BEFORE / 100;
    trial.ledger().release(before);
    trial.start();
    let ledger = trial.ledger();
    ledger.reached(ledger.deliveries_of(before)).await;
    let learned = trial.learn().await?;
    trial.console().say(&format!(
        "{learned} messages are there, and known by UID, content, date and flags"
    ));

    trial.enter(Phase::Draining);
    let backend = largest(local).await?;
    let drain = drain(trial.console(), local, &backend);
    let moved = trial.meanwhile(PERCENT_DRAINING, drain).await?;

    trial.enter(Phase::Killing);
    ledger.release(messages);
    trial.reached(KILL_AT_PERCENT).await;
    let victim = largest(local).await?;
    let killed = local.kill(&victim.name).await?;
    ledger.count_kill();
    let took = local.restarted(&victim.name, killed, RESTART_LIMIT).await?;
    trial.console().say(&format!(
        "{} killed (kill -9), all ready again after {} ms",
        victim.name,
        took.as_millis()
    ));
    Ok(moved)
}

/// The Backend that holds most bytes.
async fn largest(local: &Local) -> Result<Backend> {
    let status = local.status().await?;
    let backends = status.backends.into_iter();
    let largest = backends.max_by_key(|backend| backend.bytes);
    let largest = largest.context("there are no Backends")?;
    ensure!(largest.units > 0, "no Backend holds anything");
    Ok(largest)
}

/// Drains a Backend and lets it go, and shows how far that is.
async fn drain(console: &Console, local: &Local, backend: &Backend) -> Result<Moved> {
    let name = &backend.name;
    console.say(&format!(
        "draining {name}: {} users and shared roots, {} mailboxes, {}",
        backend.units,
        backend.mailboxes,
        mib(backend.bytes)
    ));
    console.begin("drain", backend.mailboxes);
    let begun = Instant::now();
    let mut last = backend.clone();
    let drained = local.drain(name);
    let watch = async {
        loop {
            sleep(LOOK).await;
            if let Ok(status) = local.status().await
                && let Ok(now) = status.backend(name)
            {
                show(console, now, backend, begun);
                last = now.clone();
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
    console.end();
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
    console.say(&format!(
        "{name} is empty after {:.1} s: {} mailboxes, {} moved; stopping it",
        took.as_secs_f64(),
        moved.mailboxes,
        mib(moved.bytes)
    ));
    local.delete(name).await?;
    console.say(&format!("{name} is gone"));
    Ok(moved)
}

fn show(console: &Console, now: &Backend, before: &Backend, begun: Instant) {
    let rate = now.bytes_moved as f64 / begun.elapsed().as_secs_f64().max(0.001);
    // Units on their way are neither here nor there.
    let total = before.mailboxes.max(now.mailboxes_moved + now.mailboxes);
    console.set_total("drain", total);
    let detail = format!(
        "mailboxes, {} of {}, {}/s",
        mib(now.bytes_moved),
        mib(before.bytes.max(now.bytes_moved)),
        mib(rate as u64)
    );
    console.progress("drain", now.mailboxes_moved, &detail);
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
