//! Real nodes that lose power, not only their process: after `kill -9` everything that was not synced
//! is taken back, or a part of it, as a disk does. What was acknowledged must be there, once, under
//! the UID that it had.
//!
//! At named points (a sync of the log, the step of a move that a record stands for, …) the preload
//! library ends the process itself; the rest is killed at random under load. `MURDER_POWER_KILLS`
//! asks for more than the usual number of kills at each point.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a harness that cannot go on fails its test"
)]

#[expect(dead_code, reason = "this target needs a part of the harness")]
#[path = "../node/harness.rs"]
mod harness;

mod ledger;
mod moves;
mod points;
mod random;
mod rig;
mod store;
mod table;
mod wire;

/// The node program.
const NODE: &str = env!("CARGO_BIN_EXE_murder-node");

/// Kills at each named point.
const KILLS: usize = 15;

fn kills() -> usize {
    let asked = std::env::var("MURDER_POWER_KILLS").ok();
    asked.map_or(KILLS, |text| text.parse().expect("a number"))
}
