//! The status of a Frontend.

use jiff::Timestamp;

use super::conditions::{conditions, fails, holds};
use super::problem;
use crate::crd::{Frontend, FrontendStatus};

/// Its conditions, in order.
pub(super) const TYPES: [&str; 3] = ["Ready", "Progressing", "UpdatePending"];

/// What is seen of a Frontend.
#[derive(Clone, Debug, Default)]
pub struct FrontendInput {
    /// Pods that there are and that are not on their way out.
    pub replicas: i32,
    /// Of them, those that serve.
    pub ready: i32,
    /// Of them, those with the newest settings.
    pub updated: i32,
    /// Label selector of the pods, as text.
    pub selector: String,
    /// Open sessions of all pods.
    pub connections: i64,
    /// Why it stays as it is although other settings are wanted.
    pub update_pending: Option<String>,
    /// What is wrong; the worst first.
    pub problems: Vec<String>,
}

/// What a Frontend says of itself.
pub fn frontend_status(object: &Frontend, input: &FrontendInput, now: Timestamp) -> FrontendStatus {
    let wanted = object.spec.replicas;
    let ready = match problem(&input.problems) {
        Some((reason, message)) => fails(reason, message),
        None if input.ready >= wanted => holds(
            "AllReady",
            format!("{} of {wanted} pods serve", input.ready),
        ),
        None if input.ready > 0 => {
            let message = format!("{} of {wanted} pods serve", input.ready);
            fails("SomeNotReady", message)
        }
        None => fails("NoneReady", format!("none of {wanted} pods serves yet")),
    };
    let done = input.replicas == wanted && input.ready >= wanted && input.updated >= wanted;
    let progressing = match done {
        true => fails("Done", ""),
        false => {
            let updated = input.updated.min(wanted);
            holds(
                "RollingOut",
                format!("{updated} of {wanted} pods have the newest settings"),
            )
        }
    };
    let pending = match &input.update_pending {
        Some(why) => holds("Waiting", why.clone()),
        None => fails("UpToDate", ""),
    };
    let found = TYPES
        .into_iter()
        .zip([ready, progressing, pending])
        .collect();
    let before = object
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let generation = object.metadata.generation;
    FrontendStatus {
        observed_generation: generation,
        replicas: input.replicas,
        ready_replicas: input.ready,
        selector: input.selector.clone(),
        connections: input.connections,
        conditions: Some(conditions(before, generation, now, found)),
    }
}
