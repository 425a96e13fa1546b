//! A user's parts of a pod template, laid over the operator's.
//!
//! Objects are merged, a null removes, lists are replaced. Lists whose items have names (containers, volumes,
//! environment, mounts by their path…) are merged item by item. What keeps a server on its volume, its settings and
//! its identity cannot be changed.

use std::fmt::Display;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Map, Value};

use super::RenderError;
use super::names::CONTAINER;
use super::pod::{PROTECTED_DIRS, PROTECTED_VOLUMES};

/// Lists that are merged by a key of their items.
const KEYED_LISTS: &[(&str, &str)] = &[
    ("containers", "name"),
    ("env", "name"),
    ("hostAliases", "ip"),
    ("imagePullSecrets", "name"),
    ("initContainers", "name"),
    ("ports", "name"),
    ("volumeDevices", "devicePath"),
    ("volumeMounts", "mountPath"),
    ("volumes", "name"),
];

/// Lays `overlay` over a pod template. `field` is where the overlay stands, for messages.
pub(super) fn lay(
    template: Value,
    overlay: &Map<String, Value>,
    field: &str,
) -> Result<Value, RenderError> {
    if overlay.is_empty() {
        return Ok(template);
    }
    check_shape(overlay, field)?;
    let merged = merged(&template, &Value::Object(overlay.clone()));
    check_protected(&template, &merged, field)?;
    if let Err(error) = serde_json::from_value::<PodTemplateSpec>(merged.clone()) {
        let (field, reason) = first_misfit(&template, overlay, field)
            .unwrap_or_else(|| (field.to_owned(), error.to_string()));
        return Err(RenderError::new(field, reason));
    }
    Ok(merged)
}

/// `over` merged into `under`.
fn merged(under: &Value, over: &Value) -> Value {
    let (Value::Object(under), Value::Object(over)) = (under, over) else {
        return over.clone();
    };
    let mut result = under.clone();
    for (key, value) in over {
        if value.is_null() {
            result.remove(key);
            continue;
        }
        let item_key = KEYED_LISTS.iter().find(|(list, _)| list == key);
        let value = match (result.get(key), value, item_key) {
            (Some(Value::Array(under)), Value::Array(over), Some((_, item_key))) => {
                merged_list(under, over, item_key)
            }
            (Some(under), over, _) => merged(under, over),
            (None, Value::Object(_), _) => merged(&Value::Object(Map::new()), value),
            (None, over, _) => over.clone(),
        };
        result.insert(key.clone(), value);
    }
    result.into()
}

fn merged_list(under: &[Value], over: &[Value], key: &str) -> Value {
    let mut result = under.to_vec();
    for item in over {
        let name = item.get(key).filter(|name| !name.is_null());
        let known = result
            .iter_mut()
            .find(|other| name.is_some() && other.get(key) == name);
        match known {
            Some(other) => *other = merged(other, item),
            None => result.push(merged(&Value::Object(Map::new()), item)),
        }
    }
    result.into()
}

/// An overlay has `metadata` with labels and annotations, and `spec`, and no directives of kubectl's patches.
fn check_shape(overlay: &Map<String, Value>, field: &str) -> Result<(), RenderError> {
    let refuse = |path: String, reason: &dyn Display| Err(RenderError::new(path, reason));
    for (key, value) in overlay {
        if !matches!(key.as_str(), "metadata" | "spec") {
            return refuse(
                format!("{field}.{key}"),
                &"a pod template has metadata and spec",
            );
        }
        if !value.is_object() {
            return refuse(format!("{field}.{key}"), &"is not an object");
        }
    }
    for key in overlay
        .get("metadata")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if !matches!(key.0.as_str(), "annotations" | "labels") {
            let reason = "only labels and annotations of a pod template have an effect";
            return refuse(format!("{field}.metadata.{}", key.0), &reason);
        }
    }
    match directive(&Value::Object(overlay.clone()), field) {
        Some(path) => refuse(
            path,
            &"patch directives are not known here; null removes a field",
        ),
        None => Ok(()),
    }
}

/// Path of the first key such as `$patch`.
fn directive(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Object(map) => map.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            let is_one = key.starts_with('$');
            if is_one {
                Some(path)
            } else {
                directive(value, &path)
            }
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| directive(item, &format!("{path}[{index}]"))),
        _ => None,
    }
}

fn check_protected(before: &Value, after: &Value, field: &str) -> Result<(), RenderError> {
    let ours = "belongs to the operator and cannot be changed";
    for part in ["labels", "annotations"] {
        let pointer = format!("/metadata/{part}");
        let none = Map::new();
        let map = |value: &Value| value.pointer(&pointer).and_then(Value::as_object).cloned();
        let (before, after) = (map(before).unwrap_or_default(), map(after).unwrap_or(none));
        let changed = before
            .iter()
            .find(|(key, value)| after.get(*key) != Some(value));
        let added = after
            .keys()
            .find(|key| key.starts_with("murder.rs/") && !before.contains_key(*key));
        if let Some(key) = changed.map(|(key, _)| key).or(added) {
            return Err(RenderError::new(
                format!("{field}.metadata.{part}[{key}]"),
                ours,
            ));
        }
    }
    for name in PROTECTED_VOLUMES {
        let volume = |value: &Value| named(value.pointer("/spec/volumes"), "name", name);
        if volume(before) != volume(after) {
            return Err(RenderError::new(
                format!("{field}.spec.volumes[{name}]"),
                ours,
            ));
        }
    }
    let container = |value: &Value| named(value.pointer("/spec/containers"), "name", CONTAINER);
    let Some(node) = container(after) else {
        return Err(RenderError::new(
            format!("{field}.spec.containers[{CONTAINER}]"),
            ours,
        ));
    };
    let before = container(before).unwrap_or_default();
    let mounts = |container: &Value| -> Vec<Value> {
        let list = container.get("volumeMounts").and_then(Value::as_array);
        let over_ours = |mount: &&Value| mount["mountPath"].as_str().is_none_or(is_protected);
        list.into_iter()
            .flatten()
            .filter(over_ours)
            .cloned()
            .collect()
    };
    let (before, after) = (mounts(&before), mounts(&node));
    if before != after {
        let other = after.iter().find(|mount| !before.contains(mount));
        let path = other
            .and_then(|mount| mount["mountPath"].as_str())
            .unwrap_or("");
        let field = format!("{field}.spec.containers[{CONTAINER}].volumeMounts[{path}]");
        return Err(RenderError::new(field, ours));
    }
    Ok(())
}

/// Whether a mount at `path` would hide a directory of ours, or something in one.
fn is_protected(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let within = |path: &str, dir: &str| {
        path.strip_prefix(dir)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    PROTECTED_DIRS
        .iter()
        .any(|dir| within(path, dir) || within(dir, path))
}

fn named(list: Option<&Value>, key: &str, name: &str) -> Option<Value> {
    let items = list.and_then(Value::as_array)?;
    items.iter().find(|item| item[key] == name).cloned()
}

/// The first part of an overlay after which the result is no pod template, with the reason.
fn first_misfit(
    template: &Value,
    overlay: &Map<String, Value>,
    field: &str,
) -> Option<(String, String)> {
    for (part, value) in overlay {
        for (key, value) in value.as_object()? {
            let alone = serde_json::json!({part: {key: value}});
            let result = merged(template, &alone);
            if let Err(error) = serde_json::from_value::<PodTemplateSpec>(result) {
                return Some((format!("{field}.{part}.{key}"), error.to_string()));
            }
        }
    }
    None
}
