//! The objects that a murder is made of on Kubernetes, built from custom resources and nothing else.
//!
//! Each is a value for server-side apply: it holds the fields that the operator owns and no others.

pub(crate) mod fingerprint;
mod inputs;
mod monitoring;
pub mod names;
mod overlay;
mod pod;
mod policy;
mod services;
pub(crate) mod settings;
mod volumes;
mod workloads;

use std::fmt::Display;

use kube::{Resource, ResourceExt as _};
use serde_json::{Map, Value, json};

use crate::crd::MurderCluster;
use names::Component;

/// What the operator was started with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Defaults {
    /// Image of the mail nodes, for MurderClusters that name none.
    pub image: String,
    /// When images are pulled: `Always`, `IfNotPresent` or `Never`; empty leaves it to Kubernetes.
    pub pull_policy: String,
}

/// A spec that no object can be made of.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct RenderError {
    /// The field that is wrong, e.g. `spec.podOverlay.spec.volumes`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl RenderError {
    fn new(field: impl Into<String>, reason: impl Display) -> Self {
        Self {
            field: field.into(),
            reason: reason.to_string(),
        }
    }
}

/// The object that controls others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Owner<'a> {
    /// Group and version.
    pub api_version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Name.
    pub name: &'a str,
    /// Identity; an object of the same name made later is another.
    pub uid: &'a str,
}

impl<'a> Owner<'a> {
    /// A custom resource as an owner. One that no API server has seen has no UID and cannot own anything.
    pub fn of<K: Resource<DynamicType = ()>>(object: &'a K) -> Result<Self, RenderError> {
        let meta = object.meta();
        let missing = |field| RenderError::new(field, "is missing");
        Ok(Self {
            api_version: crate::crd::API_VERSION,
            kind: match K::kind(&()) {
                std::borrow::Cow::Borrowed(kind) => kind,
                std::borrow::Cow::Owned(_) => return Err(missing("kind")),
            },
            name: meta
                .name
                .as_deref()
                .ok_or_else(|| missing("metadata.name"))?,
            uid: meta.uid.as_deref().ok_or_else(|| missing("metadata.uid"))?,
        })
    }

    /// The reference in `metadata.ownerReferences`.
    pub fn reference(&self) -> Value {
        json!({
            "apiVersion": self.api_version,
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        })
    }
}

/// A murder whose objects are to be made.
#[derive(Clone, Copy, Debug)]
pub struct Murder<'a> {
    /// The murder.
    pub cluster: &'a MurderCluster,
    /// Its namespace.
    pub namespace: &'a str,
    /// What the operator was started with.
    pub defaults: &'a Defaults,
}

/// The pods of one server or of one Frontend, with all that they need to start except certificates and volumes.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// ConfigMap with the settings.
    pub config: Value,
    /// Services.
    pub services: Vec<Value>,
    /// StatefulSet or Deployment.
    pub set: Value,
    /// Hash of settings and pod template.
    pub revision: String,
    /// Hash of what the user asked for, which another version of the operator does not change.
    pub inputs: String,
}

impl<'a> Murder<'a> {
    /// The murder's name.
    pub fn name(&self) -> &'a str {
        self.cluster.metadata.name.as_deref().unwrap_or_default()
    }

    /// Whether there is a mupdate master.
    pub fn has_master(&self) -> bool {
        self.cluster.spec.mupdate.replicas > 0
    }

    /// Labels of an object and its pods; `member` is the name of the Backend or Frontend.
    pub fn labels(&self, component: Component, member: &str) -> Map<String, Value> {
        let mut labels = self.selector(component, member);
        labels.insert(names::NAME_LABEL.to_owned(), names::NODE.into());
        labels.insert("app.kubernetes.io/instance".to_owned(), self.name().into());
        labels.insert("app.kubernetes.io/part-of".to_owned(), "murder".into());
        labels.insert(
            "app.kubernetes.io/managed-by".to_owned(),
            names::OPERATOR.into(),
        );
        labels
    }

    /// Labels that select the pods of a server or Frontend; all of a component if `member` is empty. They never change,
    /// as a StatefulSet's selector cannot.
    pub fn selector(&self, component: Component, member: &str) -> Map<String, Value> {
        let mut labels = Map::new();
        labels.insert(
            names::COMPONENT_LABEL.to_owned(),
            component.to_string().into(),
        );
        labels.insert(names::CLUSTER_LABEL.to_owned(), self.name().into());
        let own = match component {
            Component::Backend => names::BACKEND_LABEL,
            Component::Frontend => names::FRONTEND_LABEL,
            Component::Mupdate => return labels,
        };
        if !member.is_empty() {
            labels.insert(own.to_owned(), member.into());
        }
        labels
    }

    /// Metadata of an owned object.
    fn metadata(&self, name: &str, labels: Map<String, Value>, owner: Owner<'_>) -> Value {
        json!({
            "name": name,
            "namespace": self.namespace,
            "labels": labels,
            "ownerReferences": [owner.reference()],
        })
    }

    fn owner(&self) -> Result<Owner<'a>, RenderError> {
        Owner::of(self.cluster)
    }
}

/// The value of an annotation that asks for a restart.
fn restarted_at<K: Resource<DynamicType = ()>>(object: &K) -> Option<&str> {
    let annotations = object.annotations();
    annotations
        .get(names::RESTARTED_ANNOTATION)
        .map(String::as_str)
}

/// The name of an object.
fn name_of<K: Resource<DynamicType = ()>>(object: &K) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

/// A switch as a truth.
fn is_on(switch: crate::crd::Switch) -> bool {
    switch == crate::crd::Switch::Enabled
}
