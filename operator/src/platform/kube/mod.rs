//! The murder on Kubernetes: custom resources are watched, steps are carried out by the API server and the nodes.

#[cfg(test)]
mod fake_api;
pub mod leader;
