//! Messages on their way to mailboxes of other servers and partitions, with everything around them
//! that may break.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a harness that cannot go on fails its test"
)]

#[path = "../transfer/certificates.rs"]
mod certificates;
mod client;
mod copies;
mod crashes;
mod faults;
#[path = "../transfer/harness.rs"]
#[allow(dead_code, reason = "more of it is used by tests of transfers")]
mod harness;
mod held;
#[path = "../transfer/murder.rs"]
#[allow(dead_code, reason = "more of it is used by tests of transfers")]
mod murder;
mod partitions;
#[path = "../transfer/proxy.rs"]
#[allow(dead_code, reason = "more of it is used by tests of transfers")]
mod proxy;
mod server;
