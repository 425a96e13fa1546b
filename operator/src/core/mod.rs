//! Decisions, pure: the world as observed goes in, ordered steps with reasons and the next deadline come out.
//!
//! Nothing here reads a clock, a file or a socket, and nothing is remembered between two passes: where a drain is,
//! is derived from the world each time. The order of the world's lists changes nothing.

mod drain;
mod observe;
mod placement;
mod plan;
mod pool;
mod rebalance;
mod settled;
mod trace;

pub use drain::{Blocked, DrainReport, DrainState};
pub use observe::{
    BackendView, ClusterView, FrontendView, MupdateView, PodView, Proof, VolumeView, Wish, World,
};
pub use placement::{Placement, PlacementProblem, is_ours, is_running, move_id};
pub use plan::{Action, Kind, Plan, Reason, Step, plan};
pub use pool::{Member, PoolPlan, PoolWish, Removal, pool};
pub use rebalance::{
    Load, Move, Proposal, Rebalance, RebalanceState, RebalanceWish, Target, rebalance, skew_percent,
};
pub use trace::Trace;
