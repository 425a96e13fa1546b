//! A real node and the frontend of a real murder, used by the mail programs that Debian ships, and by the mail that breaks them.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a harness that cannot go on fails its test"
)]

#[expect(
    dead_code,
    reason = "the harness serves other tests too, which kill nodes and speak line by line"
)]
#[path = "../node/harness.rs"]
mod harness;

mod awkward;
mod curl;
mod imaplib;
mod lmtptest;
mod mail;
mod mbsync;
mod program;
mod response;
mod service;
