//! Events: one for each condition of ours that turns.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource as _;
use kube::runtime::events::EventType;
use serde_json::Value;

use super::context::Context;
use super::objects::Objects;
use crate::core::Kind;
use crate::status::find;

/// An event for each condition that turned, and for each step of a drain.
pub(super) fn note_changes(
    context: &Context,
    objects: &Objects,
    kind: Kind,
    name: &str,
    before: &Value,
    after: &Value,
) {
    let conditions = |status: &Value| -> Vec<Condition> {
        let list = status.get("conditions").cloned().unwrap_or_default();
        serde_json::from_value(list).unwrap_or_default()
    };
    let (before, after) = (conditions(before), conditions(after));
    for condition in &after {
        let old = find(&before, &condition.type_);
        let is_drain = condition.type_ == "Drained";
        let turned = match old {
            Some(old) => {
                old.status != condition.status || (is_drain && old.reason != condition.reason)
            }
            // At first sight only trouble is worth an event.
            None => false,
        };
        if !turned || condition.type_ == "Progressing" {
            continue;
        }
        let bad = match condition.type_.as_str() {
            "Ready" | "MupdateAvailable" | "VolumeHealthy" => condition.status == "False",
            "Degraded" | "DrainStalled" | "DeletionBlocked" => condition.status == "True",
            "Drained" => BLOCKED.contains(&condition.reason.as_str()),
            _ => false,
        };
        let type_ = if bad {
            EventType::Warning
        } else {
            EventType::Normal
        };
        let reason = match is_drain {
            true => format!("Drain{}", condition.reason),
            false => format!("{}{}", condition.type_, condition.status),
        };
        let note = format!("{}: {}", condition.reason, condition.message);
        event(context, objects, kind, name, type_, &reason, &note);
    }
}

/// Reasons of Drained that wait for somebody.
const BLOCKED: [&str; 6] = [
    "FailedMailboxes",
    "IdentityMismatch",
    "InsufficientCapacity",
    "MupdateUnavailable",
    "NoDestination",
    "SourceDown",
];

/// Notes something on an object of the murder.
pub(super) fn event(
    context: &Context,
    objects: &Objects,
    kind: Kind,
    name: &str,
    type_: EventType,
    reason: &str,
    note: &str,
) {
    let reference = match kind {
        Kind::MurderCluster => Some(objects.cluster.object_ref(&())),
        Kind::Backend => objects.backend(name).map(|backend| backend.object_ref(&())),
        Kind::Frontend => objects
            .frontend(name)
            .map(|frontend| frontend.object_ref(&())),
    };
    if let Some(reference) = reference {
        context.events.publish(&reference, type_, reason, note);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::note_changes;
    use crate::core::Kind;
    use crate::platform::kube::stage::Stage;

    fn status(type_: &str, truth: &str, reason: &str, message: &str) -> Value {
        json!({"conditions": [{
            "type": type_, "status": truth, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]})
    }

    /// Events written about be-a when its status changes so: type, reason and note.
    async fn events(before: &Value, after: &Value) -> Vec<String> {
        let mut stage = Stage::new(json!({"domains": ["example.org"]})).await;
        stage.murder("Backend", "be-a", json!({"clusterRef": {"name": "mc"}}));
        let objects = stage.objects();
        note_changes(
            &stage.context,
            &objects,
            Kind::Backend,
            "be-a",
            before,
            after,
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
        let paths = stage.api.paths().into_iter();
        let written = paths.filter(|path| path.contains("/events/"));
        let line = |path: String| {
            let event = stage.api.get(&path).unwrap();
            let about = &event["regarding"];
            assert_eq!(about["kind"], "Backend");
            assert_eq!(about["uid"], "uid-be-a");
            let part = |key: &str| event[key].as_str().unwrap().to_owned();
            format!("{} {} {}", part("type"), part("reason"), part("note"))
        };
        written.map(line).collect()
    }

    /// row 44
    #[tokio::test(start_paused = true)]
    async fn a_condition_that_turns_makes_one_event_with_its_reason_and_message() {
        let good = status("Ready", "True", "Serving", "be-a-0 serves");
        let bad = status("Ready", "False", "PodNotReady", "it does not serve");
        let worse = "Warning ReadyFalse PodNotReady: it does not serve";
        assert_eq!(events(&good, &bad).await, [worse]);
        assert_eq!(
            events(&bad, &good).await,
            ["Normal ReadyTrue Serving: be-a-0 serves"]
        );
        let fine = status("DrainStalled", "False", "Progressing", "");
        let stalled = status("DrainStalled", "True", "NoProgress", "nothing has moved");
        let expected = ["Warning DrainStalledTrue NoProgress: nothing has moved"];
        assert_eq!(events(&fine, &stalled).await, expected);
    }

    /// row 44
    #[tokio::test(start_paused = true)]
    async fn what_does_not_turn_makes_none() {
        let good = status("Ready", "True", "Serving", "be-a-0 serves");
        let other = status("Ready", "True", "Serving", "be-a-0 serves well");
        assert_eq!(events(&good, &good).await, Vec::<String>::new());
        assert_eq!(events(&good, &other).await, Vec::<String>::new());
        // At first sight everything would be news.
        assert_eq!(events(&Value::Null, &good).await, Vec::<String>::new());
        // What goes on all the time is not news.
        let (on, off) = (
            status("Progressing", "True", "Converging", "x"),
            status("Progressing", "False", "Converged", "y"),
        );
        assert_eq!(events(&on, &off).await, Vec::<String>::new());
    }

    /// row 44
    #[tokio::test(start_paused = true)]
    async fn each_step_of_a_drain_makes_one() {
        let step = |reason: &str, message: &str| status("Drained", "False", reason, message);
        let moving = step("Transferring", "2 users are left");
        let fewer = step("Transferring", "1 users are left");
        let blocked = step("NoDestination", "add a Backend");
        assert_eq!(events(&moving, &fewer).await, Vec::<String>::new());
        let expected = ["Warning DrainNoDestination NoDestination: add a Backend"];
        assert_eq!(events(&moving, &blocked).await, expected);
        let expected = ["Normal DrainTransferring Transferring: 2 users are left"];
        assert_eq!(events(&blocked, &moving).await, expected);
    }
}
