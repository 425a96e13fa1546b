//! A real node on loopback, driven by bytes on sockets, killed and started again.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a harness that cannot go on fails its test"
)]

#[expect(dead_code, reason = "other targets need more of it")]
mod harness;

mod commands;
mod crash;
mod damage;
mod delivery;
mod full;
mod imap;
mod limits;
mod proxied;
mod stop;
mod tls;
