//! Objects as text: a thousand of them are kept, and as trees of values they would take ten times the memory.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::resources::Workload;
use crate::resources::names::REVISION_ANNOTATION;

/// An object that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub(super) kind: String,
    pub(super) name: String,
    /// Differs if anything of it differs.
    pub(super) hash: u64,
    text: String,
}

impl Packed {
    pub(super) fn of(object: &Value) -> Self {
        let part = |pointer: &str| {
            let found = object.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let text = object.to_string();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self {
            kind: part("/kind"),
            name: part("/metadata/name"),
            hash: hasher.finish(),
            text,
        }
    }

    /// The object.
    pub(super) fn value(&self) -> Value {
        serde_json::from_str(&self.text).expect("it was written from a value")
    }
}

/// A workload that is wanted.
#[derive(Debug)]
pub(super) struct PackedWorkload {
    pub(super) config: Packed,
    pub(super) services: Vec<Packed>,
    pub(super) set: Packed,
    pub(super) revision: String,
    pub(super) inputs: String,
}

impl PackedWorkload {
    pub(super) fn of(workload: &Workload) -> Self {
        Self {
            config: Packed::of(&workload.config),
            services: workload.services.iter().map(Packed::of).collect(),
            set: Packed::of(&workload.set),
            revision: workload.revision.clone(),
            inputs: workload.inputs.clone(),
        }
    }
}

/// Packs what an object holds beside its metadata. What each pass looks at stays at hand.
pub(super) fn pack(object: &mut DynamicObject) {
    if !object.data.is_array() {
        let revision = template_revision(object).map(str::to_owned);
        object.data = json!([object.data.to_string(), revision]);
    }
}

/// An object as it was before it was packed.
pub(super) fn unpack(object: &DynamicObject) -> DynamicObject {
    let mut object = object.clone();
    if let Some(text) = object.data.get(0).and_then(Value::as_str) {
        object.data = serde_json::from_str(text).expect("it was written from a value");
    }
    object
}

/// The revision that a workload's next pod will have.
pub(super) fn template_revision(object: &DynamicObject) -> Option<&str> {
    if let Some(revision) = object.data.get(1) {
        return revision.as_str();
    }
    let annotations = object.data.pointer("/spec/template/metadata/annotations")?;
    annotations.get(REVISION_ANNOTATION)?.as_str()
}

#[cfg(test)]
mod tests {
    use kube::api::DynamicObject;
    use serde_json::{Value, json};

    use super::{Packed, pack, template_revision, unpack};

    fn object() -> Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "be-a", "namespace": "mail"}, "data": {"node.yaml": "a: \"b\""},
        })
    }

    #[test]
    fn what_is_packed_comes_back_as_it_was() {
        let before: DynamicObject = serde_json::from_value(object()).unwrap();
        let mut packed = before.clone();
        for _ in 0..2 {
            pack(&mut packed);
            assert_eq!(packed.metadata, before.metadata);
            assert!(packed.data.is_array());
        }
        assert_eq!(unpack(&packed), before);
        assert_eq!(unpack(&before), before);
        let wanted = Packed::of(&object());
        assert_eq!((&wanted.kind[..], &wanted.name[..]), ("ConfigMap", "be-a"));
        assert_eq!(wanted.value(), object());
    }

    #[test]
    fn the_revision_of_a_workload_is_the_same_packed_or_not() {
        let template = json!({"metadata": {"annotations": {"murder.rs/revision": "r1"}}});
        let set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "be-a", "namespace": "mail"}, "spec": {"template": template},
        });
        let mut set: DynamicObject = serde_json::from_value(set).unwrap();
        assert_eq!(template_revision(&set), Some("r1"));
        pack(&mut set);
        assert_eq!(template_revision(&set), Some("r1"));
        let mut other: DynamicObject = serde_json::from_value(object()).unwrap();
        pack(&mut other);
        assert_eq!(template_revision(&other), None);
    }

    #[test]
    fn whatever_differs_has_another_hash() {
        let mut other = object();
        assert_eq!(Packed::of(&other).hash, Packed::of(&object()).hash);
        other["data"]["node.yaml"] = json!("a: \"c\"");
        assert_ne!(Packed::of(&other).hash, Packed::of(&object()).hash);
    }
}
