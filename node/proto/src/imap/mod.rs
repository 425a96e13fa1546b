//! IMAP4rev1 and its extensions, sans-IO (RFC 3501).
//!
//! [`server::Reader`] turns a client's bytes into [`command::Command`]s; [`response`] writes the
//! answers. [`client::ResponseReader`] turns a server's bytes into lines and values, and
//! [`client::Encoder`] writes commands. None of them owns a socket, a clock or a task, and each
//! buffer has a limit that its options name.

pub mod client;
pub mod command;
mod literal;
mod parse;
pub mod response;
pub mod server;
