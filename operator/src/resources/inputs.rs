//! The hash of what a user asked for, by which a wish is told from a new version of the operator.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Murder, RenderError, fingerprint, name_of, restarted_at};
use crate::crd::{Backend, Frontend, MurderClusterSpec};

/// Fields of a MurderCluster that all its nodes depend on.
const CLUSTER: &[&str] = &[
    "/image",
    "/topology",
    "/domains",
    "/mupdate/replicas",
    "/auth",
];
/// Fields of a MurderCluster that servers of mailboxes depend on.
const CLUSTER_BACKEND: &[&str] = &[
    "/transfer/freezeTimeout",
    "/transfer/maxAttempts",
    "/transfer/gracePeriod",
];
const MUPDATE: &[&str] = &["/mupdate/podOverlay"];
const BACKEND: &[&str] = &[
    "/adoptVolume/claimName",
    "/partitions",
    "/podOverlay",
    "/resources",
    "/topologySpread",
];
const FRONTEND: &[&str] = &[
    "/drainTimeout",
    "/lmtpTrustedNetworks",
    "/podOverlay",
    "/protocols",
    "/resources",
    "/service/proxyProtocol",
    "/service/proxyProtocolNetworks",
    "/tls",
    "/topologySpread",
];

impl Murder<'_> {
    pub(super) fn mupdate_inputs(&self) -> Result<String, RenderError> {
        let mut wishes = self.cluster_wishes(&[CLUSTER, MUPDATE])?;
        wishes.insert("kind".to_owned(), "Mupdate".into());
        Ok(fingerprint::of_value(&wishes.into()))
    }

    pub(super) fn backend_inputs(&self, backend: &Backend) -> Result<String, RenderError> {
        let mut wishes = self.cluster_wishes(&[CLUSTER, CLUSTER_BACKEND])?;
        let bare = json!({"clusterRef": {"name": ""}});
        let own = chosen(&backend.spec, bare, &[BACKEND])?;
        own_wishes(
            &mut wishes,
            "Backend",
            name_of(backend),
            own,
            restarted_at(backend),
        );
        Ok(fingerprint::of_value(&wishes.into()))
    }

    pub(super) fn frontend_inputs(&self, frontend: &Frontend) -> Result<String, RenderError> {
        let mut wishes = self.cluster_wishes(&[CLUSTER])?;
        let bare = json!({"clusterRef": {"name": ""}});
        let own = chosen(&frontend.spec, bare, &[FRONTEND])?;
        own_wishes(
            &mut wishes,
            "Frontend",
            name_of(frontend),
            own,
            restarted_at(frontend),
        );
        Ok(fingerprint::of_value(&wishes.into()))
    }

    fn cluster_wishes(&self, fields: &[&[&str]]) -> Result<Map<String, Value>, RenderError> {
        let spec: &MurderClusterSpec = &self.cluster.spec;
        let mut wishes = Map::new();
        wishes.insert(
            "cluster".to_owned(),
            chosen(spec, json!({}), fields)?.into(),
        );
        if let Some(at) = restarted_at(self.cluster) {
            wishes.insert("clusterRestartedAt".to_owned(), at.into());
        }
        Ok(wishes)
    }
}

fn own_wishes(
    wishes: &mut Map<String, Value>,
    kind: &str,
    name: &str,
    own: Map<String, Value>,
    restarted_at: Option<&str>,
) {
    wishes.insert("kind".to_owned(), kind.into());
    wishes.insert("name".to_owned(), name.into());
    wishes.insert("own".to_owned(), own.into());
    if let Some(at) = restarted_at {
        wishes.insert("restartedAt".to_owned(), at.into());
    }
}

/// The fields of a spec that are not at their default. A field that a later version adds is at its default in each
/// object that is older, and so changes no hash.
fn chosen<S>(spec: &S, bare: Value, fields: &[&[&str]]) -> Result<Map<String, Value>, RenderError>
where
    S: Serialize + serde::de::DeserializeOwned,
{
    let plain = |error| RenderError::new("spec", error);
    let default: S = serde_json::from_value(bare).map_err(plain)?;
    let default = serde_json::to_value(default).map_err(plain)?;
    let spec = serde_json::to_value(spec).map_err(plain)?;
    let mut found = Map::new();
    for field in fields.iter().copied().flatten() {
        let value = spec.pointer(field).unwrap_or(&Value::Null);
        if value != default.pointer(field).unwrap_or(&Value::Null) {
            found.insert((*field).to_owned(), value.clone());
        }
    }
    Ok(found)
}
