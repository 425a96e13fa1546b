//! The operator of mail murders: custom resources, decisions, and the platforms that carry them out.
//!
//! [`core`] decides and is pure; [`platform`] observes and acts; [`crd`] holds the custom resources. Without the
//! default feature `kube` only the decisions and the admin client are built.

pub mod core;
pub mod node_client;

#[cfg(feature = "kube")]
pub mod cli;
#[cfg(feature = "kube")]
pub mod crd;
#[cfg(feature = "kube")]
pub mod platform;
#[cfg(feature = "kube")]
pub mod resources;
#[cfg(feature = "kube")]
pub mod status;
#[cfg(feature = "kube")]
pub mod telemetry;
