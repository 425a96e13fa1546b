//! Plans against a simulated platform in virtual time: what is done, in which order, and why.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

#[cfg(feature = "kube")]
mod cluster_statuses;
mod drains;
mod emptiness;
mod failures;
mod faults;
#[path = "../histories/mod.rs"]
mod histories;
mod moving;
mod order;
mod rebalance;
mod retirement;
mod settling;
mod sim;
#[cfg(feature = "kube")]
mod statuses;
mod taking_back;
mod traces;
