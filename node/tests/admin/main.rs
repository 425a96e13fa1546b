//! The admin interface over real TLS sockets, request by request.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

mod callers;
mod commands;
mod limits;
mod mailboxes;
mod master;
mod rows;
mod units;
