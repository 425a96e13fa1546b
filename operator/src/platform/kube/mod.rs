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
pub mod certificates;
mod chain;
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
pub mod leader;
mod memory;
mod metering;
mod nodes;
mod objects;
mod observe;
mod orphans;
mod pass;
mod pool;
mod publish;
mod rates;
mod run;
mod secret_data;
mod secrets;
#[cfg(test)]
mod stage;
mod teardown;
mod watch;

use std::time::Duration;

pub use context::Key;
pub use run::{Options, run};

/// Time limit of a call to the API server.
const CALL_LIMIT: Duration = Duration::from_secs(15);

/// Why a call to the API server failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// It said so, or could not be reached.
    #[error("{0}")]
    Kube(#[from] kube::Error),
    /// No answer in time.
    #[error("the API server did not answer within {CALL_LIMIT:?}")]
    TimedOut,
}

/// A call to the API server, with a limit of time.
async fn call<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    match tokio::time::timeout(CALL_LIMIT, call).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(ApiError::TimedOut),
    }
}

/// Success also if the object is gone already.
fn is_absent<T>(outcome: Result<T, ApiError>) -> anyhow::Result<()> {
    match outcome {
        Err(ApiError::Kube(kube::Error::Api(status))) if status.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}
