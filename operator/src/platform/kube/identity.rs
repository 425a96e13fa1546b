//! The certificates of a murder: its authority, one for each server and Frontend, one for us, one for people.
//!
//! The authority is our own, or that of a Secret that the MurderCluster names; then it is read and never written. With
//! an issuer of cert-manager, certificates are asked for, and their Secrets read.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use kube::runtime::events::EventType;
use murder_model::Fence;

use super::CALL_LIMIT;
use super::accounts;
use super::authority::{
    AUTHORITIES, AuthorityState, CERTIFICATE, KEY, ROTATE_ANNOTATION, Rotation, SecretData,
    desired_authority, given_authority, needs_leaves,
};
use super::calls;
use super::certificates::desired_leaf;
use super::context::Context;
use super::issuer;
use super::known_leaf::{KnownLeaf, mark};
use super::memory::Memory;
use super::objects::Objects;
use super::problems::Problems;
use super::wanted::{Wanted, is_in_use, operator_secret, wanted};
use crate::core::Kind;
use crate::crd::{API_VERSION, MurderCluster};
use crate::node_client::NodeClient;
use crate::resources::names;
use crate::resources::settings::duration_ms;

/// Time limit of a call to a node.
const NODE_LIMIT: Duration = Duration::from_secs(5);

/// How long a certificate that an issuer gave is not looked at again.
const ISSUED_FRESH: Duration = Duration::from_secs(60);

/// Our certificate toward nodes.
#[derive(Default)]
pub(super) struct Credentials {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Vec<u8>,
    /// When certificates end, by Secret, in seconds since the Unix epoch.
    pub(super) expiries: Vec<(String, i64)>,
    /// When the next step of a rotation may be due.
    pub(super) look_again: Option<Duration>,
}

impl Credentials {
    fn expires(&mut self, secret: &str, at: Option<Timestamp>) {
        let at = at.map(Timestamp::as_second);
        self.expiries.extend(at.map(|at| (secret.to_owned(), at)));
    }

    fn take(&mut self, secret: &SecretData) {
        let part = |key: &str| secret.data.get(key).cloned().unwrap_or_default();
        self.certificate = part(CERTIFICATE);
        self.key = part(KEY);
        self.authorities = part(AUTHORITIES);
    }

    /// Differs whenever a client has to be made anew.
    pub(super) fn mark(&self, fence: Fence) -> Vec<u8> {
        let mut mark = self.certificate.clone();
        mark.extend(&self.authorities);
        mark.extend(fence.get().to_be_bytes());
        mark
    }

    /// A client that acts under `fence`.
    pub(super) fn client(&self, fence: Fence) -> anyhow::Result<NodeClient> {
        let (certificate, key) = (&self.certificate, &self.key);
        let client = NodeClient::new(certificate, key, &self.authorities, fence, NODE_LIMIT)?;
        Ok(client)
    }
}

/// Brings all Secrets of a murder to what they should be; none if nobody can sign.
pub(super) async fn ensure(
    context: &Context,
    objects: &Objects,
    memory: &mut Memory,
    problems: &mut Problems,
) -> anyhow::Result<Option<Credentials>> {
    let name = &objects.key.name;
    let trouble = Kind::MurderCluster;
    if let Err(error) = ensure_accounts(context, objects, memory).await {
        problems.failed(trouble, name, &error);
        problems.check()?;
    }
    let rotation = match rotation(&objects.cluster) {
        Ok(rotation) => rotation,
        Err(error) => {
            problems.note(trouble, name, format!("{error:#}"));
            return Ok(None);
        }
    };
    let wanted = wanted(objects);
    if let Some(issuer) = &objects.cluster.spec.tls.issuer_ref {
        let issuer = &issuer.name;
        return of_issuer(
            context, objects, memory, problems, &rotation, &wanted, issuer,
        )
        .await;
    }
    let mut versions = Vec::new();
    for leaf in &wanted {
        if !is_in_use(objects, leaf) {
            memory.secrets.doubt(&leaf.secret);
        }
        let secret = memory
            .secrets
            .look(&context.client, &objects.key.namespace, &leaf.secret)
            .await?;
        versions.push(secret.and_then(kube::ResourceExt::resource_version));
    }
    let authority = match authority(context, objects, memory, &rotation, &wanted).await? {
        Ok(authority) => authority,
        Err(error) => {
            problems.note(trouble, name, error);
            return Ok(None);
        }
    };
    let mut credentials = Credentials {
        look_again: authority.look_again,
        ..Credentials::default()
    };
    credentials.expires(&format!("{name}-ca"), Some(authority.expires));
    let operator = operator_secret(name);
    let signing = Signing {
        authority: &authority,
        rotation: &rotation,
        mark: mark(&authority, &rotation, Timestamp::now()),
    };
    for (leaf, version) in wanted.iter().zip(versions) {
        let known = memory.leaves.get(&leaf.secret);
        let (now, mark) = (Timestamp::now(), signing.mark);
        if let Some(known) =
            known.filter(|known| known.is_good(&version, &leaf.identity, mark, now))
        {
            credentials.expires(&leaf.secret, Some(known.expires));
            if leaf.secret == operator
                && let Some(secret) = memory.secrets.known(&leaf.secret)
            {
                credentials.take(&SecretData::of(secret));
            }
            continue;
        }
        let secret = match renew(context, objects, memory, &signing, leaf, version).await {
            Ok(secret) => secret,
            Err(error) => {
                anyhow::ensure!(context.leadership.is_held(), "no longer the leader");
                // Somebody may remove what is in the way.
                memory.secrets.doubt(&leaf.secret);
                problems.failed(leaf.owner.0, &leaf.owner.1, &error);
                problems.check()?;
                continue;
            }
        };
        credentials.expires(&leaf.secret, secret.expires());
        if leaf.secret == operator {
            credentials.take(&secret);
        }
    }
    Ok((!credentials.certificate.is_empty()).then_some(credentials))
}

/// What certificates are signed with.
struct Signing<'a> {
    authority: &'a AuthorityState,
    rotation: &'a Rotation<'a>,
    mark: u64,
}

/// The Secret with one certificate, renewed if that is due.
async fn renew(
    context: &Context,
    objects: &Objects,
    memory: &mut Memory,
    signing: &Signing<'_>,
    leaf: &Wanted,
    version: Option<String>,
) -> anyhow::Result<SecretData> {
    let found = memory.secrets.known(&leaf.secret).map(SecretData::of);
    let (authority, rotation) = (signing.authority, signing.rotation);
    let (identity, now) = (&leaf.identity, Timestamp::now());
    let decision = desired_leaf(found.as_ref(), identity, authority, rotation, now)?;
    let Some(secret) = decision.secret().cloned() else {
        let found = found.unwrap_or_default();
        let (mark, before) = (signing.mark, rotation.renew_before);
        let known = KnownLeaf::of(&found, version, identity, mark, before);
        if let Some(known) = known {
            memory.leaves.insert(leaf.secret.clone(), known);
        }
        return Ok(found);
    };
    may_write(context, objects, &leaf.secret)?;
    let (client, namespace) = (&context.client, &objects.key.namespace);
    let metadata = metadata(objects, &leaf.secret);
    let whole = secret.clone().into_secret(metadata);
    let secrets = &mut memory.secrets;
    secrets
        .apply(client, namespace, &leaf.secret, &whole)
        .await?;
    let what = format!("Secret {} has a new certificate", leaf.secret);
    let (kind, owner) = &leaf.owner;
    let (type_, reason) = (EventType::Normal, "CertificateIssued");
    super::changes::event(context, objects, *kind, owner, type_, reason, &what);
    Ok(secret)
}

/// Certificates of an issuer of cert-manager. One that is not there yet is waited for; the others go on.
async fn of_issuer(
    context: &Context,
    objects: &Objects,
    memory: &mut Memory,
    problems: &mut Problems,
    rotation: &Rotation<'_>,
    wanted: &[Wanted],
    issuer: &str,
) -> anyhow::Result<Option<Credentials>> {
    let mut credentials = Credentials::default();
    let operator = operator_secret(&objects.key.name);
    for leaf in wanted {
        let known = memory.issued.get(&leaf.secret);
        let known = known.filter(|(at, _)| at.elapsed() < ISSUED_FRESH);
        let secret = match known {
            Some((_, secret)) => secret.clone(),
            None => match ask_issuer(context, objects, rotation, leaf, issuer).await {
                Ok(secret) => {
                    let entry = (Instant::now(), secret.clone());
                    memory.issued.insert(leaf.secret.clone(), entry);
                    secret
                }
                Err(issuer::IssuerError::Api(error)) if error.namespace_ends() => {
                    return Err(error.into());
                }
                Err(error) => {
                    let what = format!("{}: {error}", error.reason());
                    problems.note(leaf.owner.0, &leaf.owner.1, what);
                    continue;
                }
            },
        };
        credentials.expires(&leaf.secret, secret.expires());
        if leaf.secret == operator {
            credentials.take(&secret);
        }
    }
    Ok((!credentials.certificate.is_empty()).then_some(credentials))
}

async fn ask_issuer(
    context: &Context,
    objects: &Objects,
    rotation: &Rotation<'_>,
    leaf: &Wanted,
    issuer: &str,
) -> Result<SecretData, issuer::IssuerError> {
    let metadata = metadata(objects, &leaf.secret);
    let object = issuer::certificate_object(&metadata, &leaf.identity, issuer, rotation);
    let (client, namespace) = (&context.client, &objects.key.namespace);
    let now = Timestamp::now();
    issuer::issued(client, namespace, &object, &leaf.identity, now, CALL_LIMIT).await
}

fn rotation(cluster: &MurderCluster) -> anyhow::Result<Rotation<'_>> {
    let tls = &cluster.spec.tls;
    let leaf = duration_ms(&tls.certificate_duration).context("spec.tls.certificateDuration")?;
    let renew_before = duration_ms(&tls.renew_before).context("spec.tls.renewBefore")?;
    Ok(Rotation {
        leaf: Duration::from_millis(leaf),
        renew_before: Duration::from_millis(renew_before),
        wish: cluster
            .annotations()
            .get(ROTATE_ANNOTATION)
            .map(String::as_str),
        ..Rotation::default()
    })
}

async fn authority(
    context: &Context,
    objects: &Objects,
    memory: &mut Memory,
    rotation: &Rotation<'_>,
    wanted: &[Wanted],
) -> anyhow::Result<Result<AuthorityState, String>> {
    let (cluster, namespace) = (&objects.key.name, &objects.key.namespace);
    let now = Timestamp::now();
    let given = objects.cluster.spec.tls.secret_ref.as_ref();
    let name = given.map_or_else(|| format!("{cluster}-ca"), |given| given.name.clone());
    let found = memory
        .secrets
        .get(&context.client, namespace, &name)
        .await?;
    let found = found.as_ref().map(SecretData::of);
    if given.is_some() {
        let authority = given_authority(&name, found.as_ref(), now);
        return Ok(authority.map_err(|error| format!("{}: {error}", error.reason())));
    }
    let mut leaves = Vec::new();
    // While it is replaced it matters what is in use.
    if needs_leaves(found.as_ref(), now) {
        let all = wanted
            .iter()
            .filter_map(|leaf| memory.secrets.known(&leaf.secret));
        leaves.extend(all.map(SecretData::of));
    }
    let authority = match desired_authority(found.as_ref(), cluster, &leaves, rotation, now) {
        Ok(authority) => authority,
        Err(error) => return Ok(Err(format!("{}: {error}", error.reason()))),
    };
    if let (Some(change), Some(secret)) = (authority.change, &authority.secret) {
        let secret = secret.clone().into_secret(metadata(objects, &name));
        let secrets = &mut memory.secrets;
        let written = match may_write(context, objects, &name) {
            Ok(()) => {
                let client = &context.client;
                secrets.replace(client, namespace, &name, &secret).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            anyhow::ensure!(context.leadership.is_held(), "no longer the leader");
            anyhow::ensure!(!calls::namespace_ends(&error), error);
            secrets.doubt(&name);
            return Ok(Err(format!("{error:#}")));
        }
        tracing::info!(murder = %objects.key, ?change, "authority_changed");
    }
    Ok(Ok(authority))
}

fn may_write(context: &Context, objects: &Objects, name: &str) -> anyhow::Result<()> {
    anyhow::ensure!(context.leadership.is_held(), "no longer the leader");
    let paused = objects.cluster.spec.paused;
    anyhow::ensure!(!paused, "Secret {name} is due, but spec.paused is set");
    Ok(())
}

/// Metadata of a Secret of the murder: it goes with the murder.
fn metadata(objects: &Objects, name: &str) -> ObjectMeta {
    let labels = [
        ("app.kubernetes.io/name", "murder-node"),
        ("app.kubernetes.io/instance", &objects.key.name),
        ("app.kubernetes.io/part-of", "murder"),
        ("app.kubernetes.io/managed-by", "murder-operator"),
        (names::CLUSTER_LABEL, &objects.key.name),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let owner = k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: "MurderCluster".to_owned(),
        name: objects.key.name.clone(),
        uid: objects.cluster.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(objects.key.namespace.clone()),
        labels: Some(labels.into_iter().collect()),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    }
}

/// The accounts: those of the named Secret, which must exist, or one account that we make.
async fn ensure_accounts(
    context: &Context,
    objects: &Objects,
    memory: &mut Memory,
) -> anyhow::Result<()> {
    let (cluster, namespace) = (&objects.key.name, &objects.key.namespace);
    if let Some(given) = &objects.cluster.spec.auth.secret_ref {
        let secret = memory
            .secrets
            .get(&context.client, namespace, &given.name)
            .await?;
        let secret = secret.with_context(|| {
            format!(
                "SecretMissing: spec.auth.secretRef: there is no Secret {}",
                given.name
            )
        })?;
        let has = secret
            .data
            .is_some_and(|data| data.contains_key("accounts"));
        anyhow::ensure!(
            has,
            "SecretInvalid: Secret {} has no key `accounts`",
            given.name
        );
        return Ok(());
    }
    let name = names::accounts_secret(cluster);
    let secrets = &mut memory.secrets;
    if let Some(secret) = secrets.look(&context.client, namespace, &name).await? {
        let data = secret.data.as_ref();
        let has = data.is_some_and(|data| data.contains_key(names::ACCOUNTS_KEY));
        if !has {
            secrets.doubt(&name);
            anyhow::bail!("SecretInvalid: Secret {name} has no key `accounts`");
        }
        return Ok(());
    }
    anyhow::ensure!(
        !objects.cluster.spec.paused,
        "accounts are to be made, but spec.paused is set"
    );
    let metadata = metadata(objects, "");
    accounts::ensure_accounts(&context.client, namespace, cluster, &metadata, CALL_LIMIT).await?;
    Ok(())
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
