//! LMTP between nodes in one process, over real sockets with real certificates, stores and a master:
//! mail passed on by a frontend, and who may submit it.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a harness that cannot go on fails its test"
)]

mod client;
mod content;
mod failures;
mod murder;
mod routes;
mod scripted;
mod submission;
