//! Parts that several kinds share.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Names the MurderCluster that an object belongs to.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// Name of a MurderCluster in the same namespace.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
}

/// Names a Secret or an issuer in the same namespace.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigReference {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A volume.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.storageClassName == oldSelf.storageClassName")
    .message("storageClassName cannot be changed"))]
#[x_kube(validation = Rule::new("quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0")
    .message("size may grow, never shrink"))]
#[x_kube(validation = Rule::new("self.accessModes == oldSelf.accessModes")
    .message("accessModes cannot be changed"))]
pub struct Storage {
    /// Size of the volume, as a Kubernetes quantity. It may grow where the class allows it.
    #[serde(default = "default_size")]
    #[schemars(
        length(max = 24),
        regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$")
    )]
    pub size: String,
    /// Storage class; empty is the cluster's default class. Immutable.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub storage_class_name: String,
    /// Access modes of the claim; empty is ReadWriteOncePod. Immutable.
    #[serde(default)]
    #[schemars(schema_with = "access_modes_schema")]
    pub access_modes: Vec<String>,
}

fn default_size() -> String {
    "10Gi".to_owned()
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            size: default_size(),
            storage_class_name: String::new(),
            access_modes: Vec::new(),
        }
    }
}

/// What becomes of a volume after its server is gone.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum VolumeRetention {
    /// Delete it once the server is proven empty and the grace period is over.
    DeleteWhenEmpty,
    /// Keep it, labelled as retired.
    #[default]
    Retain,
}

/// What happens when a machine is being drained.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum NodeDrain {
    /// Move the pod if its volume can follow, else its mailboxes.
    Auto,
    /// Do not let the pod go.
    Hold,
    /// As the MurderCluster says; there it means Auto.
    #[default]
    Inherit,
    /// Move the pod with its volume.
    Restart,
    /// Move the mailboxes first.
    Transfer,
}

/// Whether something is on, with room for a third value.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Switch {
    /// Off.
    Disabled,
    /// On.
    #[default]
    Enabled,
}

/// What a node is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Topology {
    /// Frontends and backends are different pods.
    #[default]
    Discrete,
    /// Every backend is also a frontend.
    Unified,
}

/// A free-form object of another API, e.g. parts of a pod template.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Overlay(pub Map<String, Value>);

impl JsonSchema for Overlay {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Overlay".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
        })
    }
}

impl Overlay {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The schema of the access modes that a mail volume may have.
fn access_modes_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 1,
        "items": {
            "type": "string",
            "enum": ["ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"],
        },
    })
}

/// The schema of an object whose values are texts, such as annotations.
pub(crate) fn texts_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "additionalProperties": { "type": "string" },
    })
}

/// The schema of a time as text.
pub(crate) fn time_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "format": "date-time" })
}

/// The schema of a duration such as `1s` or `10m`.
pub(crate) fn duration_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "maxLength": 16,
        "pattern": "^[0-9]+(ms|s|m|h|d)$",
    })
}
