//! Server-side apply of whole objects, and only when something differs.
//!
//! An object is left alone if it has everything that we want, or if it is as our last apply left it (the API server
//! may write a value in another form). What somebody else changed is put back.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::Instant;

use super::call;
use super::packed::{Packed, unpack};
use super::watch::{APPLIED, Stores, UNWATCHED, resource};

/// Who we are to the API server.
pub(super) const FIELD_MANAGER: &str = "murder-operator";

/// A patch that is written down as ours.
pub(super) fn merge() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// How long an object that is not watched is taken to be as it was applied.
const UNWATCHED_FRESH: Duration = Duration::from_secs(600);

/// What was applied, by kind and name.
#[derive(Debug, Default)]
pub(super) struct Applied(HashMap<(String, String), Last>);

/// What is known of an object since it was looked at last.
#[derive(Clone, Debug, Default)]
struct Last {
    /// A hash of what we wanted, and how the object was when we had applied it.
    applied: Option<(u64, String)>,
    /// A hash of what we wanted, and a version of the object that had all of it: it is not compared again.
    held: Option<(u64, String)>,
    /// The same, of the version that our apply replaced: the watch has not seen that yet.
    replaced: Option<(u64, String)>,
    at: Option<Instant>,
}

/// What applying did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It was as wanted.
    Unchanged,
    /// It was made.
    Created,
    /// It was brought to what is wanted now.
    Updated,
    /// Somebody else had changed what we had applied.
    PutBack,
}

/// An object of this name that is not ours.
#[derive(Debug, thiserror::Error)]
#[error(
    "NameTaken: {kind} {name} belongs to somebody else; rename it or the object that needs the name"
)]
pub(super) struct NameTaken {
    kind: String,
    name: String,
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// How an object was when we left it: its generation, or, where the kind has none, its version.
fn version(object: &DynamicObject) -> String {
    let metadata = &object.metadata;
    match metadata.generation {
        Some(generation) => format!("g{generation}"),
        None => metadata.resource_version.clone().unwrap_or_default(),
    }
}

/// Whether `found` has everything that `wanted` has.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| found.get(key).is_some_and(|found| holds(found, wanted))),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found
                    .iter()
                    .zip(wanted)
                    .all(|(found, wanted)| holds(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}

/// Whether a found object has everything that is wanted. What it is it does not say in a list: that its store knows.
fn has_all(found: &Value, wanted: &Value) -> bool {
    let (Some(found), Some(wanted)) = (found.as_object(), wanted.as_object()) else {
        return false;
    };
    let mut wanted = wanted
        .iter()
        .filter(|(key, _)| !["apiVersion", "kind"].contains(&key.as_str()));
    wanted.all(|(key, wanted)| found.get(key).is_some_and(|found| holds(found, wanted)))
}

/// Whether a found object is one of ours: no controller but the wanted one.
fn is_ours(found: &DynamicObject, wanted: &Value) -> bool {
    let controllers = found.metadata.owner_references.iter().flatten();
    let mut controllers = controllers.filter(|owner| owner.controller == Some(true));
    let ours = text(wanted, "/metadata/ownerReferences/0/uid");
    let labels = found.metadata.labels.as_ref();
    let managed = labels.and_then(|labels| labels.get("app.kubernetes.io/managed-by"));
    match controllers.next() {
        Some(owner) => owner.uid == ours,
        None => managed.is_some_and(|by| by == FIELD_MANAGER),
    }
}

impl Applied {
    /// Applies an object of a watched kind.
    pub(super) async fn apply(
        &mut self,
        client: &Client,
        stores: &Stores,
        namespace: &str,
        wanted: &Packed,
    ) -> anyhow::Result<Outcome> {
        let (kind, name) = (wanted.kind.as_str(), wanted.name.as_str());
        let found = stores.object(kind, namespace, name);
        let key = (kind.to_owned(), name.to_owned());
        let wanted_hash = wanted.hash;
        let last = self.0.get(&key).cloned().unwrap_or_default();
        let seen = found
            .as_ref()
            .and_then(|found| found.metadata.resource_version.clone());
        let seen = seen.map(|version| (wanted_hash, version));
        if seen.is_some() && (last.held == seen || last.replaced == seen) {
            return Ok(Outcome::Unchanged);
        }
        let wanted = &wanted.value();
        let mut outcome = Outcome::Created;
        if let Some(found) = &found {
            anyhow::ensure!(
                is_ours(found, wanted),
                NameTaken {
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                }
            );
            let whole = serde_json::to_value(unpack(found))?;
            let applied = last.applied.as_ref();
            let same = applied.is_some_and(|(hash, _)| *hash == wanted_hash);
            let untouched = applied.is_some_and(|(_, v)| *v == version(found));
            if has_all(&whole, wanted) || (same && untouched && holds_names(&whole, wanted)) {
                self.0.entry(key).or_default().held = seen;
                return Ok(Outcome::Unchanged);
            }
            outcome = if same {
                Outcome::PutBack
            } else {
                Outcome::Updated
            };
        }
        let named = |(_, known, _): &&(&str, &str, &str)| *known == kind;
        let unwatched = UNWATCHED.iter().find(named);
        let same = last.applied.is_some_and(|(hash, _)| hash == wanted_hash);
        let is_fresh = last.at.is_some_and(|at| at.elapsed() < UNWATCHED_FRESH);
        if unwatched.is_some() && same && is_fresh {
            return Ok(Outcome::Unchanged);
        }
        let (api_version, _, plural) = APPLIED
            .iter()
            .find(named)
            .or(unwatched)
            .with_context(|| format!("{kind} is not applied"))?;
        let resource = resource(api_version, kind, plural);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(wanted);
        let applying = api.patch(name, &parameters, &patch);
        let applied = match call(&format!("apply {kind}"), name, applying).await {
            Ok(applied) => applied,
            Err(error) if unwatched.is_some() && error.is_not_found() => {
                return Err(anyhow::Error::from(error).context(format!(
                    "the API server knows no {kind}; install its CRD first"
                )));
            }
            Err(error) => return Err(error.into()),
        };
        let last = Last {
            applied: Some((wanted_hash, version(&applied))),
            held: None,
            replaced: seen,
            at: Some(Instant::now()),
        };
        self.0.insert(key, last);
        Ok(outcome)
    }

    /// Forgets an object that was deleted.
    pub(super) fn forget(&mut self, kind: &str, name: &str) {
        self.0.remove(&(kind.to_owned(), name.to_owned()));
    }
}

/// Whether labels, annotations and owner are still there: they change no generation.
fn holds_names(found: &Value, wanted: &Value) -> bool {
    ["labels", "annotations", "ownerReferences"]
        .iter()
        .all(|part| {
            let pointer = format!("/metadata/{part}");
            match (found.pointer(&pointer), wanted.pointer(&pointer)) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(found), Some(wanted)) => holds(found, wanted),
            }
        })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::{Applied, Outcome, UNWATCHED_FRESH, has_all, holds};
    use crate::platform::kube::packed::Packed;
    use crate::platform::kube::stage::Stage;

    const MONITORING: &str = "/apis/monitoring.coreos.com/v1/namespaces/mail";

    fn conditions(stage: &Stage) -> Vec<String> {
        let path = "/apis/murder.rs/v1alpha1/namespaces/mail/murderclusters/mc";
        let conditions = stage.api.get(path).unwrap()["status"]["conditions"].take();
        let line = |c: &Value| format!("{} {} {}", c["type"], c["reason"], c["message"]);
        conditions.as_array().unwrap().iter().map(line).collect()
    }

    /// row 47
    #[tokio::test(start_paused = true)]
    async fn monitoring_that_is_wished_for_is_applied_once_and_again_after_ten_minutes() {
        let wished = json!({"podMonitor": "Enabled", "rules": "Enabled"});
        let spec = json!({"domains": ["example.org"], "monitoring": wished});
        let mut stage = Stage::new(spec).await;
        stage.pass().await.unwrap();
        let names = stage.api.paths();
        let found: Vec<&str> = names
            .iter()
            .filter_map(|path| path.strip_prefix(MONITORING))
            .collect();
        assert_eq!(found, ["/podmonitors/mc", "/prometheusrules/mc"]);
        let ready = conditions(&stage).remove(0);
        assert!(!ready.contains("Problem"), "{ready}");
        let monitor = stage
            .api
            .get(&format!("{MONITORING}/podmonitors/mc"))
            .unwrap();
        assert_eq!(
            monitor["spec"]["selector"]["matchLabels"],
            json!({"murder.rs/cluster": "mc"})
        );

        let mut monitor = monitor;
        monitor["metadata"]["resourceVersion"] = Value::Null;
        let monitor = Packed::of(&monitor);
        let mut applied = Applied::default();
        let (client, stores) = (&stage.context.client, &stage.context.stores);
        for (wait, outcome) in [
            (Duration::ZERO, Outcome::Created),
            (UNWATCHED_FRESH / 2, Outcome::Unchanged),
            (UNWATCHED_FRESH / 2, Outcome::Created),
        ] {
            tokio::time::advance(wait).await;
            let done = applied.apply(client, stores, "mail", &monitor).await;
            assert_eq!(done.unwrap(), outcome, "{wait:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_prometheus_operator_the_murder_says_so() {
        let spec = json!({"domains": ["example.org"], "monitoring": {"podMonitor": "Enabled"}});
        let mut stage = Stage::new(spec).await;
        let why = json!({"reason": "NotFound", "message": "page not found"});
        stage.api.refuse(&format!("PATCH {MONITORING}"), 404, &why);
        stage.pass().await.unwrap();
        let ready = conditions(&stage).remove(0);
        let expected = "\"Ready\" \"Problem\" \"the API server knows no PodMonitor; install its CRD first: apply \
                        PodMonitor/mc: 404 NotFound: page not found\"";
        assert_eq!(ready, expected);
    }

    fn settings(text: &str) -> Packed {
        Packed::of(&json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "be-a", "namespace": "mail",
                "labels": {"app.kubernetes.io/managed-by": "murder-operator"},
            },
            "data": {"node.yaml": text},
        }))
    }

    /// An operator that has just started knows objects from lists, which do not name their kind in each item.
    #[tokio::test(start_paused = true)]
    async fn an_object_out_of_a_list_is_left_alone_if_it_is_as_wanted() {
        let mut stage = Stage::new(json!({})).await;
        stage.list(settings("a").value());
        let (client, stores) = (&stage.context.client, &stage.context.stores);
        let mut applied = Applied::default();
        for _ in 0..2 {
            let outcome = applied.apply(client, stores, "mail", &settings("a")).await;
            assert_eq!(outcome.unwrap(), Outcome::Unchanged);
        }
        let patches = stage.api.calls();
        let patches = patches.iter().filter(|call| call.starts_with("PATCH"));
        assert_eq!(patches.count(), 0);
        // Not so one that is known to hold something else.
        let changed = applied.apply(client, stores, "mail", &settings("b")).await;
        assert_eq!(changed.unwrap(), Outcome::Updated);
    }

    /// Nobody but us has changed it.
    #[tokio::test(start_paused = true)]
    async fn an_object_that_the_watch_shows_late_is_not_put_back() {
        let mut stage = Stage::new(json!({})).await;
        stage.list(settings("a").value());
        let (client, stores) = (&stage.context.client, &stage.context.stores);
        let mut applied = Applied::default();
        let wanted = settings("b");
        for expected in [Outcome::Updated, Outcome::Unchanged] {
            let outcome = applied.apply(client, stores, "mail", &wanted).await;
            assert_eq!(outcome.unwrap(), expected);
        }
    }

    #[test]
    fn the_kind_of_an_object_is_not_compared_and_all_else_is() {
        let found = json!({"data": {"a": "b"}});
        assert!(has_all(
            &found,
            &json!({"kind": "ConfigMap", "data": {"a": "b"}})
        ));
        assert!(!has_all(
            &found,
            &json!({"kind": "ConfigMap", "data": {"a": "c"}})
        ));
    }

    #[test]
    fn an_object_with_more_than_wanted_holds_it() {
        let found = json!({"spec": {"a": 1, "b": [{"c": "d", "default": true}]}, "status": {}});
        assert!(holds(&found, &json!({"spec": {"b": [{"c": "d"}]}})));
        assert!(!holds(&found, &json!({"spec": {"b": []}})));
        assert!(!holds(&found, &json!({"spec": {"a": 2}})));
        assert!(!holds(&found, &json!({"metadata": {}})));
    }
}
