//! Server-side apply of whole objects, and only when something differs.
//!
//! An object is left alone if it has everything that we want, or if it is as our last apply left it (the API server
//! may write a value in another form). What somebody else changed is put back.

use std::collections::HashMap;

use anyhow::Context as _;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;

use super::call;
use super::watch::{APPLIED, Stores, resource};

/// Who we are to the API server.
pub(super) const FIELD_MANAGER: &str = "murder-operator";

/// A patch that is written down as ours.
pub(super) fn merge() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// What was applied, by kind and name: a hash of what we wanted, and how the object was then.
#[derive(Debug, Default)]
pub(super) struct Applied(HashMap<(String, String), (u64, String)>);

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
            let same = last.as_ref().is_some_and(|(hash, _)| *hash == wanted_hash);
            let untouched = last.as_ref().is_some_and(|(_, v)| *v == version(found));
            if holds(&whole, wanted) || (same && untouched && holds_names(&whole, wanted)) {
                return Ok(Outcome::Unchanged);
            }
            outcome = if same {
                Outcome::PutBack
            } else {
                Outcome::Updated
            };
        }
        let (api_version, _, plural) = APPLIED
            .iter()
            .find(|(_, known, _)| *known == kind)
            .with_context(|| format!("{kind} is not applied"))?;
        let resource = resource(api_version, kind, plural);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(wanted);
        let applying = api.patch(name, &parameters, &patch);
        let applied = call(&format!("apply {kind}"), name, applying).await?;
        self.0.insert(key, (wanted_hash, version(&applied)));
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
    use serde_json::json;

    use super::holds;

    #[test]
    fn an_object_with_more_than_wanted_holds_it() {
        let found = json!({"spec": {"a": 1, "b": [{"c": "d", "default": true}]}, "status": {}});
        assert!(holds(&found, &json!({"spec": {"b": [{"c": "d"}]}})));
        assert!(!holds(&found, &json!({"spec": {"b": []}})));
        assert!(!holds(&found, &json!({"spec": {"a": 2}})));
        assert!(!holds(&found, &json!({"metadata": {}})));
    }
}
