//! The mail node: sessions, partitions and what ties them together.

pub mod accounts;
pub mod admin;
pub mod backend;
pub mod cli;
pub mod clock;
pub mod directory;
pub mod frontend;
pub mod imap;
pub mod lmtp;
pub mod maintenance;
pub mod mupdate;
pub mod net;
pub mod peer;
pub mod run;
pub mod server_state;
pub mod stop;
mod store_cli;
pub mod telemetry;
pub mod transfer;
pub mod volume;
