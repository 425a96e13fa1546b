//! Murders of real nodes on loopback: what one node alone does in them, and what they do together.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot go on fails its test"
)]

mod client;
mod copying;
mod delivery;
mod early;
mod hostile;
mod load;
mod metrics;
mod moving;
mod mupdate;
mod pods;
mod restored;
mod routing;
mod single;
mod still;
mod unified;
mod volumes;

/// The node program.
const NODE: &str = env!("CARGO_BIN_EXE_murder-node");
