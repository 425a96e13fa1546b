//! Secrets by name: read seldom, never listed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::Value;

use super::apply::FIELD_MANAGER;
use super::call;

/// How long a Secret that was read is good. One that somebody changes is noticed after it.
const FRESH: Duration = Duration::from_secs(3600);
/// How long one is good that somebody waits for: a pod that does not start may lack it.
const DOUBTED: Duration = Duration::from_secs(20);
/// How long it is known that there is none.
const ABSENT_FRESH: Duration = Duration::from_secs(10);

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

    /// Writes a Secret of ours.
    pub(super) async fn apply(
        &mut self,
        client: &Client,
        namespace: &str,
        name: &str,
        secret: &Value,
    ) -> anyhow::Result<()> {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(secret);
        let written = call("apply Secret", name, api.patch(name, &parameters, &patch)).await?;
        self.keep(name, Some(written));
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
