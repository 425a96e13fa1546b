//! How the operator does with a thousand Backends: a real API server and the real operator; kubelets and mail nodes are
//! played by one process, which answers for all of them.

mod admin;
mod api;
mod audit;
mod board;
mod kubelet;
mod nodes;
mod operator;
mod run;
mod trials;

pub use run::{Options, run};
