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

/// An object as it was applied.
#[derive(Clone, Debug)]
struct Last {
    /// Hash of what we wanted.
    hash: u64,
    /// How the object was then.
    version: String,
    at: Instant,
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

fn hash(value: &Value) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
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
        wanted: &Value,
    ) -> anyhow::Result<Outcome> {
        let (kind, name) = (text(wanted, "/kind"), text(wanted, "/metadata/name"));
        let found = stores.object(kind, namespace, name);
        let key = (kind.to_owned(), name.to_owned());
        let wanted_hash = hash(wanted);
        let last = self.0.get(&key).cloned();
        let mut outcome = Outcome::Created;
        if let Some(found) = &found {
            anyhow::ensure!(
                is_ours(found, wanted),
                NameTaken {
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                }
            );
            let whole = serde_json::to_value(found.as_ref())?;
            let same = last.as_ref().is_some_and(|last| last.hash == wanted_hash);
            let untouched = last
                .as_ref()
                .is_some_and(|last| last.version == version(found));
            if holds(&whole, wanted) || (same && untouched && holds_names(&whole, wanted)) {
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
        let is_fresh = |last: Last| last.hash == wanted_hash && last.at.elapsed() < UNWATCHED_FRESH;
        if unwatched.is_some() && last.is_some_and(is_fresh) {
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
            hash: wanted_hash,
            version: version(&applied),
            at: Instant::now(),
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

    use super::{Applied, Outcome, UNWATCHED_FRESH, holds};
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

    #[test]
    fn an_object_with_more_than_wanted_holds_it() {
        let found = json!({"spec": {"a": 1, "b": [{"c": "d", "default": true}]}, "status": {}});
        assert!(holds(&found, &json!({"spec": {"b": [{"c": "d"}]}})));
        assert!(!holds(&found, &json!({"spec": {"b": []}})));
        assert!(!holds(&found, &json!({"spec": {"a": 2}})));
        assert!(!holds(&found, &json!({"metadata": {}})));
    }
}
