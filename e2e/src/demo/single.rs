//! One node without a master, which is killed twice.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Options, Party, Phase, Report, Trial};
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
    let took = murder.start(NODE).await?;
    let took = took.as_millis();
    console.say(&format!(
        "node with {} users ready in {took} ms",
        users.len()
    ));
    let party = Party::of(&murder, &users, false)?;
    let mut trial = Trial::prepare(party, &options.sources, console).await?;
    trial.begun(begun);
    trial.ledger().set_phase(Phase::Killing);
    trial.start();
    for percent in KILLS_AT_PERCENT {
        trial.reached(percent).await;
        murder.kill(NODE)?;
        let took = murder.start(NODE).await?;
        trial.ledger().count_kill();
        trial.console().say(&format!(
            "node killed (kill -9) at {percent} %, ready again in {} ms",
            took.as_millis()
        ));
    }
    let report = trial.finish(None).await?;
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
