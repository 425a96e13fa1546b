//! The murder on Kubernetes: custom resources are watched, steps are carried out by the API server and the nodes.
//!
//! One leader acts, under a Lease and a fence that nodes check. A pass of a murder gathers its objects from watches,
//! asks its nodes, lets the core decide, carries the steps out, and writes the status. Nothing but what would cost
//! another look is kept between passes.

pub mod accounts;
mod act;
mod apply;
pub mod authority;
mod budgets;
pub mod calls;
pub mod certificates;
mod chain;
mod changes;
mod claims;
mod context;
mod controller;
mod desired;
pub mod events;
#[cfg(test)]
mod fake_api;
pub mod fence;
mod finalizers;
mod growth;
mod identity;
pub mod issuer;
mod known_leaf;
pub mod leader;
mod memory;
mod metering;
mod nodes;
mod objects;
mod observe;
mod orphans;
mod packed;
mod pass;
mod pool;
mod problems;
mod publish;
mod rates;
mod reign;
mod run;
mod secret_data;
mod secrets;
#[cfg(test)]
mod stage;
mod teardown;
mod wanted;
mod watch;

pub use context::Key;
pub use run::{Options, run};

use calls::{CALL_LIMIT, call, is_absent};
