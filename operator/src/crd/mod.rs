//! The custom resources of group `murder.rs`, version `v1alpha1`.
//!
//! `MurderCluster` (mc) is the murder, `Backend` (mbe) one server with its volume, `Frontend` (mfe) a set of
//! proxies. The schemas in `crds/` are generated from these types; the local platform checks manifests against the
//! same schemas. A string that a CEL rule reads has a length limit, so that the rule's cost is bounded.

#![expect(
    unreachable_pub,
    reason = "KubeSchema copies each type into a function"
)]

mod backend;
mod cluster;
mod common;
mod frontend;
pub mod write;

pub use backend::{
    AdoptVolume, Backend, BackendDeletion, BackendSpec, BackendStatus, DesiredState, Destinations,
    DrainStatus, FailedMove, VolumeStatus,
};
pub use cluster::{
    Auth, ClusterDeletion, Disruption, Monitoring, Mupdate, MurderCluster, MurderClusterSpec,
    MurderClusterStatus, NetworkPolicy, Pool, PoolTemplate, ProposedMove, Rebalance, RebalanceMode,
    RebalanceStatus, RebalanceTarget, RemovalPreference, Tls, Transfer, Update, UpdateStrategy,
};
pub use common::{
    ClusterRef, ConfigReference, NodeDrain, Overlay, Storage, Switch, Topology, VolumeRetention,
};
pub use frontend::{
    Frontend, FrontendProtocols, FrontendService, FrontendSpec, FrontendStatus, FrontendTls,
    ServiceType, TrafficPolicy,
};

/// API group and version of all kinds.
pub const API_VERSION: &str = "murder.rs/v1alpha1";
