//! What needs attention: conditions that are not as they should be, and what nodes and clocks say.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use murder_operator::core::{Blocked, DrainState};
use murder_operator::crd::{Backend, DesiredState};
use serde::Serialize;

use super::report::Picture;
use crate::murder::{self, condition};
use crate::text;

/// A certificate that ends sooner is told; the operator renews long before.
const CERTIFICATE_SECONDS: i64 = 14 * 86_400;
/// A volume with less room is told, in percent.
const FREE_PERCENT: u64 = 10;

/// Something that needs attention.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Alert {
    /// What it is about, e.g. `backend/be-a`.
    pub(crate) object: String,
    /// One word, e.g. a condition's type.
    pub(crate) name: String,
    /// A sentence.
    pub(crate) message: String,
    /// Whether mail is out of reach or at risk.
    pub(crate) urgent: bool,
}

impl Alert {
    fn new(object: &str, name: &str, message: String, urgent: bool) -> Self {
        Self {
            object: object.to_owned(),
            name: name.to_owned(),
            message,
            urgent,
        }
    }
}

/// Conditions of the three kinds: type, the status that is in order, and whether any other is urgent.
const CONDITIONS: [(&str, &str, bool); 11] = [
    ("Ready", "True", true),
    ("MupdateAvailable", "True", true),
    ("Serving", "True", true),
    ("VolumeHealthy", "True", true),
    ("Degraded", "False", false),
    ("DrainStalled", "False", false),
    ("NodeDraining", "False", false),
    ("UpdatePending", "False", false),
    ("DeletionBlocked", "False", false),
    ("Paused", "False", false),
    ("OperatorCannotReach", "False", false),
];

/// What a drain waits for that does not come by itself.
const BLOCKED: [Blocked; 6] = [
    Blocked::FailedMailboxes,
    Blocked::IdentityMismatch,
    Blocked::InsufficientCapacity,
    Blocked::MupdateUnavailable,
    Blocked::NoDestination,
    Blocked::SourceDown,
];

/// Whether a reason of the condition Drained names something in the way.
pub(crate) fn is_blocked(reason: &str) -> bool {
    let reasons = BLOCKED.map(|why| DrainState::Blocked(why).reason());
    reasons.contains(&reason) || reason == "Blocked"
}

/// Everything, the urgent first.
pub(super) fn alerts(picture: &Picture) -> Vec<Alert> {
    let mut alerts = Vec::new();
    of_objects(picture, &mut alerts);
    of_nodes(picture, &mut alerts);
    for certificate in &picture.certificates {
        let left = certificate.expires_at - picture.now;
        if left < CERTIFICATE_SECONDS {
            let message = match u64::try_from(left) {
                Ok(left) => format!("ends in {}", text::seconds(left)),
                Err(_) => format!("has ended on {}", certificate.expires),
            };
            let object = format!("certificate/{}", certificate.of);
            alerts.push(Alert::new(&object, "CertificateEnds", message, left < 0));
        }
    }
    alerts.sort_by_key(|alert| !alert.urgent);
    alerts
}

fn of_objects(picture: &Picture, alerts: &mut Vec<Alert>) {
    let murder = &picture.murder;
    let object = format!("murdercluster/{}", murder.name());
    let status = murder.cluster.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    match conditions {
        None => {
            let message = "no conditions: is the operator running?".to_owned();
            alerts.push(Alert::new(&object, "NotObserved", message, true));
        }
        Some(conditions) => alerts.extend(of_conditions(&object, conditions)),
    }
    for backend in &murder.backends {
        of_backend(backend, alerts);
    }
    for frontend in &murder.frontends {
        let object = format!("frontend/{}", frontend.name_any());
        let status = frontend.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_ref());
        alerts.extend(of_conditions(&object, conditions.into_iter().flatten()));
    }
}

fn of_backend(backend: &Backend, alerts: &mut Vec<Alert>) {
    let object = format!("backend/{}", backend.name_any());
    let status = backend.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let drained = condition(conditions, "Drained");
    let is_empty = drained.is_some_and(|drained| drained.status == "True");
    let is_leaving = backend.spec.desired_state == DesiredState::Drained
        || backend.metadata.deletion_timestamp.is_some();
    // One that is empty on purpose need not serve.
    let wanted = |alert: &Alert| {
        !(is_empty && is_leaving && matches!(alert.name.as_str(), "Ready" | "Serving"))
    };
    let found = of_conditions(&object, conditions.into_iter().flatten());
    alerts.extend(found.filter(wanted));
    if let Some(drained) = drained.filter(|drained| is_blocked(&drained.reason)) {
        let message = format!("{}: {}", drained.reason, drained.message);
        alerts.push(Alert::new(&object, "DrainBlocked", message, false));
    }
    let drain = status.and_then(|status| status.drain.as_ref());
    for failed in drain.iter().flat_map(|drain| &drain.failed) {
        let tries = text::counted(u64::from(failed.attempts.unsigned_abs()), "try", "tries");
        let message = format!("{} after {tries}: {}", failed.root, failed.last_error);
        alerts.push(Alert::new(&object, "MoveFailed", message, false));
    }
}

fn of_conditions<'a>(
    object: &str,
    conditions: impl IntoIterator<Item = &'a Condition>,
) -> impl Iterator<Item = Alert> {
    conditions.into_iter().filter_map(move |found| {
        let (name, good, urgent) = CONDITIONS.iter().find(|(name, ..)| *name == found.type_)?;
        // Trouble that is not known of is none; health that is not known of is no health.
        let is_fine = match *good {
            "True" => found.status == "True",
            _ => found.status != "True",
        };
        if is_fine {
            return None;
        }
        let message = match found.message.as_str() {
            "" => found.reason.clone(),
            message => format!("{}: {message}", found.reason),
        };
        Some(Alert::new(object, name, message, *urgent))
    })
}

fn of_nodes(picture: &Picture, alerts: &mut Vec<Alert>) {
    if let Some(silence) = &picture.silence {
        let object = format!("murdercluster/{}", picture.murder.name());
        let message = format!("nodes were not asked: {silence}");
        alerts.push(Alert::new(&object, "NodesNotAsked", message, false));
    }
    for (pod, heard) in &picture.answers {
        let object = format!("pod/{pod}");
        if let Some(error) = &heard.error {
            alerts.push(Alert::new(&object, "NodeUnreachable", error.clone(), false));
        }
        let own = heard
            .status
            .as_ref()
            .and_then(|status| status.backend.as_ref());
        for partition in own.iter().flat_map(|own| &own.partitions) {
            if let Some(why) = &partition.failed {
                let message = format!("partition {} takes no writes: {why}", partition.name);
                alerts.push(Alert::new(&object, "PartitionFailed", message, true));
            } else if partition.free_bytes < partition.total_bytes / 100 * FREE_PERCENT {
                let free = text::bytes(partition.free_bytes);
                let of = text::bytes(partition.total_bytes);
                let message = format!("partition {} has {free} of {of} left", partition.name);
                alerts.push(Alert::new(&object, "VolumeFull", message, false));
            }
        }
        for server in heard
            .servers
            .iter()
            .flatten()
            .filter(|server| server.blocked)
        {
            let object = format!("backend/{}", server.server);
            let message = "its volume went back in time; it serves nothing until that is confirmed";
            alerts.push(Alert::new(
                &object,
                "VolumeRestored",
                message.to_owned(),
                true,
            ));
        }
    }
    let restarts = picture
        .murder
        .pods
        .iter()
        .filter(|pod| !murder::is_running(pod));
    for pod in restarts {
        let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
        let message = format!(
            "the pod is {}",
            phase.unwrap_or_else(|| "unknown".to_owned())
        );
        alerts.push(Alert::new(
            &format!("pod/{}", pod.name_any()),
            "PodNotRunning",
            message,
            false,
        ));
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
    use serde_json::json;

    use super::of_conditions;

    #[test]
    fn unknown_health_is_told_and_unknown_trouble_is_not() {
        let conditions = [
            ("Ready", "Unknown"),
            ("NodeDraining", "Unknown"),
            ("DrainStalled", "True"),
            ("Serving", "True"),
            ("Schedulable", "False"),
        ];
        let conditions: Vec<Condition> = conditions
            .iter()
            .map(|(name, status)| {
                let condition = json!({
                    "type": name, "status": status, "reason": "Why", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"
                });
                serde_json::from_value(condition).unwrap()
            })
            .collect();
        let alerts = of_conditions("backend/be-a", &conditions);
        let named: Vec<_> = alerts.map(|alert| (alert.name, alert.urgent)).collect();
        let expected = [
            ("Ready".to_owned(), true),
            ("DrainStalled".to_owned(), false),
        ];
        assert_eq!(named, expected);
    }
}
