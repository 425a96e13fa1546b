//! Secrets by name: read seldom, never listed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::apply::FIELD_MANAGER;
use super::call;
use super::watch::CLUSTER_LABEL;

/// How long a Secret that was read is good. One that somebody changes is noticed after it.
const FRESH: Duration = Duration::from_secs(3600);
/// How long one is good that somebody waits for: a pod that does not start may lack it.
const DOUBTED: Duration = Duration::from_secs(20);
/// How long it is known that there is none.
const ABSENT_FRESH: Duration = Duration::from_secs(10);

/// A Secret of this name that is not ours.
#[derive(Debug, thiserror::Error)]
#[error(
    "NameTaken: Secret {0} belongs to somebody else; rename it or the object that needs the name"
)]
pub(super) struct Taken(String);

impl Taken {
    pub(super) fn of(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// Whether a found Secret is the murder's: by its controller or, if it has none but a Certificate of cert-manager, by
/// its labels.
pub(super) fn is_ours(found: &ObjectMeta, wanted: &ObjectMeta) -> bool {
    let controller = |metadata: &ObjectMeta| {
        let mut owners = metadata.owner_references.iter().flatten();
        owners.find(|owner| owner.controller == Some(true)).cloned()
    };
    let label = |metadata: &ObjectMeta, name: &str| metadata.labels.as_ref()?.get(name).cloned();
    match controller(found).filter(|owner| owner.kind != "Certificate") {
        Some(owner) => controller(wanted).is_some_and(|ours| ours.uid == owner.uid),
        None => {
            label(found, "app.kubernetes.io/managed-by").as_deref() == Some(FIELD_MANAGER)
                && label(found, CLUSTER_LABEL) == label(wanted, CLUSTER_LABEL)
        }
    }
}

/// Secrets that were read.
#[derive(Default)]
pub(super) struct Secrets(BTreeMap<String, (Instant, Option<Secret>)>);

impl Secrets {
    /// What was read of a Secret is not good for long: what needs it is not ready.
    pub(super) fn doubt(&mut self, name: &str) {
        if self
            .0
            .get(name)
            .is_some_and(|(at, _)| at.elapsed() >= DOUBTED)
        {
            self.0.remove(name);
        }
    }

    /// A Secret, if there is one.
    pub(super) async fn get(
        &mut self,
        client: &Client,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<Option<Secret>> {
        Ok(self.look(client, namespace, name).await?.cloned())
    }

    /// As [`Self::get`], without a copy.
    pub(super) async fn look(
        &mut self,
        client: &Client,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<Option<&Secret>> {
        let is_fresh = self.0.get(name).is_some_and(|(at, secret)| {
            let fresh = if secret.is_some() {
                FRESH
            } else {
                ABSENT_FRESH
            };
            at.elapsed() < fresh
        });
        if is_fresh {
            return Ok(self.known(name));
        }
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let secret = call("get Secret", name, api.get_opt(name)).await?;
        self.keep(name, secret);
        Ok(self.known(name))
    }

    fn keep(&mut self, name: &str, mut secret: Option<Secret>) {
        if let Some(secret) = &mut secret {
            secret.metadata.managed_fields = None;
        }
        self.0.insert(name.to_owned(), (Instant::now(), secret));
    }

    /// A Secret as it was read or written last.
    pub(super) fn known(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)?.1.as_ref()
    }

    /// Writes a Secret of ours, if it is as it was read: what somebody makes or changes meanwhile is never overwritten.
    pub(super) async fn apply(
        &mut self,
        client: &Client,
        namespace: &str,
        name: &str,
        secret: &Secret,
    ) -> anyhow::Result<()> {
        let Some(known) = self.known(name) else {
            return self.replace(client, namespace, name, secret).await;
        };
        anyhow::ensure!(is_ours(&known.metadata, &secret.metadata), Taken::of(name));
        let mut value = serde_json::to_value(secret)?;
        value["apiVersion"] = json!("v1");
        value["kind"] = json!("Secret");
        value["metadata"]["uid"] = json!(known.metadata.uid);
        value["metadata"]["resourceVersion"] = json!(known.metadata.resource_version);
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&value);
        match call("apply Secret", name, api.patch(name, &parameters, &patch)).await {
            Ok(written) => self.keep(name, Some(written)),
            Err(error) => {
                if error.is_conflict() || error.is_not_found() {
                    self.0.remove(name);
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Makes or replaces a Secret only if it is as it was read: of two that write at once, one fails.
    pub(super) async fn replace(
        &mut self,
        client: &Client,
        namespace: &str,
        name: &str,
        secret: &Secret,
    ) -> anyhow::Result<()> {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        if let Some(known) = self.known(name) {
            anyhow::ensure!(is_ours(&known.metadata, &secret.metadata), Taken::of(name));
        }
        let known = self.0.remove(name).and_then(|(_, secret)| secret);
        let written = match known {
            None => call("create Secret", name, api.create(&parameters, secret)).await?,
            Some(known) => {
                let mut secret = secret.clone();
                secret.metadata.resource_version = known.metadata.resource_version;
                let replacing = api.replace(name, &parameters, &secret);
                call("replace Secret", name, replacing).await?
            }
        };
        self.keep(name, Some(written));
        Ok(())
    }
}
