//! The local platform: a murder on one machine, one `murder-node` process for each pod that would exist.
//!
//! A supervisor keeps the manifests in a state folder, starts and restarts the nodes on loopback, and takes
//! commands on a socket in that folder. A new supervisor re-adopts running nodes.

mod accounts;
mod act;
mod certificates;
mod endpoints;
pub mod manifest;
mod observe;
mod ports;
mod process;
pub mod protocol;
mod render;
mod socket;
pub mod state;
mod status;
pub mod supervisor;
