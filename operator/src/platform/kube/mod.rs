//! The murder on Kubernetes: custom resources are watched, steps are carried out by the API server and the nodes.

pub mod accounts;
pub mod authority;
pub mod certificates;
mod chain;
pub mod events;
#[cfg(test)]
mod fake_api;
pub mod fence;
pub mod leader;
