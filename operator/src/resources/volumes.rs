//! Volume claims. They have no owner: a volume outlives the object that it was made for. A finalizer holds them: one
//! that somebody deletes by mistake keeps its mail.

use serde_json::{Map, Value, json};

use super::names::{self, Component};
use super::{Murder, name_of};
use crate::crd::{Backend, Storage};

/// Used where a claim names no access mode: no second pod, on whatever machine, gets the volume.
const ACCESS_MODE: &str = "ReadWriteOncePod";

impl Murder<'_> {
    /// The claim of the mupdate master.
    pub fn mupdate_claim(&self) -> Value {
        let name = names::claim(&names::mupdate(self.name()));
        let labels = self.labels(Component::Mupdate, "");
        self.claim(&name, labels, Some(&self.cluster.spec.mupdate.storage))
    }

    /// The claim of a Backend. Of an adopted one only the labels are ours: it must exist, and its spec is its maker's.
    pub fn backend_claim(&self, backend: &Backend) -> Value {
        let labels = self.labels(Component::Backend, name_of(backend));
        let storage = backend.spec.adopt_volume.is_none();
        let storage = storage.then_some(&backend.spec.storage);
        self.claim(&backend_claim_name(backend), labels, storage)
    }

    fn claim(&self, name: &str, labels: Map<String, Value>, storage: Option<&Storage>) -> Value {
        let mut claim = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": labels,
                "finalizers": [names::FINALIZER],
            },
        });
        if let Some(storage) = storage {
            claim["spec"] = claim_spec(storage);
        }
        claim
    }
}

/// Name of a Backend's claim.
pub(super) fn backend_claim_name(backend: &Backend) -> String {
    match &backend.spec.adopt_volume {
        Some(volume) => volume.claim_name.clone(),
        None => names::claim(name_of(backend)),
    }
}

fn claim_spec(storage: &Storage) -> Value {
    let modes = match &storage.access_modes[..] {
        [] => vec![ACCESS_MODE.to_owned()],
        modes => modes.to_vec(),
    };
    let mut spec = json!({
        "accessModes": modes,
        "resources": {"requests": {"storage": storage.size}},
    });
    if !storage.storage_class_name.is_empty() {
        spec["storageClassName"] = storage.storage_class_name.clone().into();
    }
    spec
}
