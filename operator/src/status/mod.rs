//! What the status of each custom resource says, from what one pass has seen and planned.
//!
//! Nothing here reads a clock or an API: the time, the object as it was read and what was observed come in. Every
//! condition of a kind is there from the first sight on; its time changes only when its status does, so that a status
//! that says the same again is equal to the one before and need not be written.

mod backend;
mod cluster;
mod conditions;
mod frontend;
mod progress;

pub use backend::{BackendInput, Resize, backend_status};
pub use cluster::{ClusterInput, cluster_status};
pub use conditions::{Truth, find};
pub use frontend::{FrontendInput, frontend_status};
pub use progress::DrainProgress;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The conditions of a Backend or Frontend whose MurderCluster does not exist.
pub fn orphan_conditions(
    kind: &str,
    cluster: &str,
    generation: Option<i64>,
    before: Option<&[Condition]>,
    now: Timestamp,
) -> Vec<Condition> {
    let types: &[&'static str] = match kind {
        "Backend" => &backend::TYPES,
        _ => &frontend::TYPES,
    };
    let message = format!("there is no MurderCluster {cluster} in this namespace; make it");
    let found = types.iter().map(|type_| {
        let finding = match *type_ {
            "Ready" => conditions::fails("ClusterNotFound", message.clone()),
            _ => conditions::unknown("ClusterNotFound", message.clone()),
        };
        (*type_, finding)
    });
    let before = before.map(<[Condition]>::to_vec);
    conditions::conditions(before.as_ref(), generation, now, found.collect())
}

/// The first problem's reason and all of them as a message. A problem that begins with a word and a colon names its
/// reason itself, and the message does not say it again.
fn problem(problems: &[String]) -> Option<(&'static str, String)> {
    const REASONS: [&str; 14] = [
        "AuthorityExpired",
        "AuthoritySecretInvalid",
        "AuthoritySecretMissing",
        "CertManagerMissing",
        "CertificateFailed",
        "CertificatePending",
        "CertificateUnusable",
        "ImageNotAvailable",
        "IdentityMismatch",
        "NameTaken",
        "SecretInvalid",
        "SecretMissing",
        "StorageClassMissing",
        "Unschedulable",
    ];
    let first = problems.first()?;
    let named = first.split(':').next().unwrap_or_default();
    let known = REASONS.iter().find(|reason| **reason == named);
    let reason = known.copied().unwrap_or("Problem");
    let message = problems.iter().map(|problem| {
        let rest = problem.strip_prefix(reason);
        rest.and_then(|rest| rest.strip_prefix(": "))
            .unwrap_or(problem)
    });
    Some((reason, message.collect::<Vec<_>>().join("; ")))
}
