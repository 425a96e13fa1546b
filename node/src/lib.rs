//! The mail node: sessions, partitions and what ties them together.

pub mod accounts;
pub mod backend;
pub mod cli;
pub mod clock;
pub mod imap;
pub mod net;
pub mod run;
mod store_cli;
pub mod telemetry;
pub mod volume;
