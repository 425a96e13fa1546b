//! Transfers between backends, with everything around them that may break.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a harness that cannot go on fails its test"
)]

mod certificates;
mod chaos;
mod commands;
mod content;
mod crashes;
mod cuts;
mod figures;
mod harness;
mod moves;
mod murder;
mod proxy;
mod sessions;
