//! One node without a master, which is killed twice.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Door, Load, Options, Phase, Report, World, account, plan};
use crate::console::Console;
use crate::murder::{Murder, Plan};

/// The node.
pub const NODE: &str = "un-a";

/// The node is killed when so many percent of the deliveries are acknowledged.
const KILLS_AT_PERCENT: [usize; 2] = [30, 65];

/// Runs it; the node is left running for the caller.
pub async fn run(options: &Options) -> Result<(Report, Murder)> {
    let begun = Instant::now();
    let console = Console::default();
    let password = make_password(&options.state)?;
    let users: Vec<_> = (1..=options.users)
        .map(|number| format!("user{number:04}"))
        .collect();
    let mut murder = Plan::single(&options.node)
        .users(users.iter().cloned())
        .password(&password)
        .settings(json!({ "logging": { "level": "warn" } }))
        .prepare_in(&options.state)?;
    console.say(&format!("{} accounts", users.len()));
    let ledger = plan(options, false, &console)?;
    let took = murder.start(NODE).await?;
    console.say(&format!("node ready in {} ms", took.as_millis()));
    let addresses = murder.addresses(NODE)?;
    let world = Arc::new(World {
        doors: vec![Door {
            imap: addresses.imap,
            lmtp: addresses.lmtp,
        }],
        password,
        users,
        shared: false,
        ledger,
        console,
    });
    world.ledger.set_phase(Phase::Killing);
    let total = world.ledger.deliveries.len();
    world.console.begin("deliver", total as u64);
    let load = Load::start(&world);
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
    load.finish(&world).await?;
    let report = account(&world, None, begun).await?;
    Ok((report, murder))
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
    file.and_then(|mut file| file.write_all(password.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(password)
}

/// Where the users' password is kept.
#[must_use]
pub fn password_file(state: &Path) -> PathBuf {
    state.join("password")
}
