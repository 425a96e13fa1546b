//! Certificates issued by cert-manager: a `Certificate` for each identity, and the Secrets that come of them.
//!
//! cert-manager renews them and keeps their `ca.crt`; the operator only asks for them and waits.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::apply::FIELD_MANAGER;
use super::authority::{AUTHORITIES, CERTIFICATE, KEY, Rotation, SecretData};
use super::calls::{ApiError, call_within};
use super::certificates::Identity;
use super::secrets::is_ours;

/// Why there is no certificate of an issuer.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The API server refused (404: cert-manager is not installed) or could not be reached.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The issuer has not answered yet.
    #[error("Certificate {0} is not issued yet")]
    Pending(String),
    /// There is an object of this name that is not ours.
    #[error("{kind} {name} belongs to somebody else; rename it or the object that needs the name")]
    Taken {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// What was issued cannot be used.
    #[error("Certificate {name}: {problem}")]
    Unusable {
        /// The Certificate.
        name: String,
        /// Why not.
        problem: &'static str,
    },
}

impl IssuerError {
    fn taken(kind: &'static str, name: &str) -> Self {
        let name = name.to_owned();
        Self::Taken { kind, name }
    }

    /// Reason of a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Api(error) if error.is_not_found() => "CertManagerMissing",
            Self::Api(_) => "CertificateFailed",
            Self::Pending(_) => "CertificatePending",
            Self::Taken { .. } => "NameTaken",
            Self::Unusable { .. } => "CertificateUnusable",
        }
    }
}

/// The `Certificate` that asks an `Issuer` of the same namespace for an identity. It and its Secret have the name in
/// `metadata`; the Secret gets its labels.
pub fn certificate_object(
    metadata: &ObjectMeta,
    identity: &Identity,
    issuer: &str,
    rotation: &Rotation<'_>,
) -> Value {
    let mut object = json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": metadata,
        "spec": {
            "secretName": metadata.name,
            "secretTemplate": {"labels": metadata.labels.clone().unwrap_or_default()},
            "dnsNames": identity.dns_names(),
            "uris": [identity.uri()],
            "usages": ["digital signature", "server auth", "client auth"],
            "privateKey": {
                "algorithm": "ECDSA", "size": 256, "encoding": "PKCS8", "rotationPolicy": "Always",
            },
            "duration": format!("{}s", rotation.leaf.as_secs()),
            "renewBefore": format!("{}s", rotation.renew_before.min(rotation.leaf * 2 / 3).as_secs()),
            "issuerRef": {"group": "cert-manager.io", "kind": "Issuer", "name": issuer},
        },
    });
    if let Some(name) = identity.common_name() {
        object["spec"]["commonName"] = json!(name);
    }
    object
}

/// Asks for a certificate by applying what [`certificate_object`] made, and gives the Secret that came of it. It is
/// never written by the operator.
pub async fn issued(
    client: &Client,
    namespace: &str,
    certificate: &Value,
    identity: &Identity,
    now: Timestamp,
    limit: Duration,
) -> Result<SecretData, IssuerError> {
    let name = certificate["metadata"]["name"].as_str().unwrap_or_default();
    let kind = GroupVersionKind::gvk("cert-manager.io", "v1", "Certificate");
    let resource = ApiResource::from_gvk(&kind);
    let certificates: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &resource);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = call_within(limit, "get Secret", name, secrets.get_opt(name)).await?;
    // The issuer would put its certificate there, whosever it is.
    let wanted = serde_json::from_value(certificate["metadata"].clone()).unwrap_or_default();
    if let Some(secret) = &secret
        && !is_ours(&secret.metadata, &wanted)
    {
        return Err(IssuerError::taken("Secret", name));
    }
    let found = secret.map(|secret| checked(name, SecretData::of(&secret), identity, now));
    // Not by force: a Certificate of the name that says something else is somebody else's.
    let parameters = PatchParams::apply(FIELD_MANAGER);
    let patch = Patch::Apply(certificate);
    let applying = certificates.patch(name, &parameters, &patch);
    match call_within(limit, "apply Certificate", name, applying).await {
        Ok(_) => found.unwrap_or_else(|| Err(IssuerError::Pending(name.to_owned()))),
        Err(error) if error.is_conflict() => match found {
            Some(Ok(secret)) => Ok(secret),
            _ => Err(IssuerError::taken("Certificate", name)),
        },
        Err(error) => Err(error.into()),
    }
}

/// The Secret, if nodes can use it.
fn checked(
    name: &str,
    secret: SecretData,
    identity: &Identity,
    now: Timestamp,
) -> Result<SecretData, IssuerError> {
    let unusable = |problem| IssuerError::Unusable {
        name: name.to_owned(),
        problem,
    };
    let (Some(certificate), Some(key)) = (secret.certificate(CERTIFICATE), secret.key(KEY)) else {
        return Err(IssuerError::Pending(name.to_owned()));
    };
    if !certificate.has_key(&key) {
        return Err(unusable("tls.key does not belong to tls.crt"));
    }
    if secret.certificates(AUTHORITIES).is_empty() {
        return Err(unusable("the issuer gives no ca.crt"));
    }
    if !certificate.names().contains(&identity.uri().to_owned()) {
        return Err(unusable("the issuer left out the URI of the identity"));
    }
    if certificate.not_after() <= now {
        return Err(unusable("it has expired"));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::{Value, json};

    use super::{IssuerError, certificate_object, issued};
    use crate::platform::kube::authority::{Rotation, SecretData, desired_authority};
    use crate::platform::kube::certificates::{Identity, Role, desired_leaf};
    use crate::platform::kube::fake_api::{FakeApi, Mood};

    const CERTIFICATE: &str = "/apis/cert-manager.io/v1/namespaces/mail/certificates/be-a-tls";
    const SECRET: &str = "/api/v1/namespaces/mail/secrets/be-a-tls";
    const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    const LIMIT: Duration = Duration::from_secs(10);
    const LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

    fn metadata() -> ObjectMeta {
        ObjectMeta {
            name: Some("be-a-tls".to_owned()),
            labels: Some([(MANAGED_BY.to_owned(), "murder-operator".to_owned())].into()),
            ..ObjectMeta::default()
        }
    }

    fn identity() -> Identity {
        Identity::of_server("mc", Role::Backend, "be-a", "mail")
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    async fn ask(api: &FakeApi, now: Timestamp) -> Result<SecretData, IssuerError> {
        let object =
            certificate_object(&metadata(), &identity(), "our-issuer", &Rotation::default());
        issued(&api.client(), "mail", &object, &identity(), now, LIMIT).await
    }

    /// What an issuer that signs for `identity` makes of the Secret.
    fn made_for(identity: &Identity) -> Value {
        let rotation = Rotation::default();
        let authority = desired_authority(None, "mc", &[], &rotation, now()).unwrap();
        let leaf = desired_leaf(None, identity, &authority, &rotation, now()).unwrap();
        let secret = leaf.secret().unwrap().clone();
        serde_json::to_value(secret.into_secret(metadata())).unwrap()
    }

    /// row 52
    #[tokio::test(start_paused = true)]
    async fn an_issuer_is_asked_for_each_identity_and_its_secret_is_used() {
        let api = FakeApi::default();
        let error = ask(&api, now()).await.unwrap_err();
        assert_eq!(error.reason(), "CertificatePending");
        let asked = json!({
            "secretName": "be-a-tls",
            "secretTemplate": {"labels": {MANAGED_BY: "murder-operator"}},
            "commonName": "be-a-0",
            "dnsNames": [
                "be-a-0", "be-a", "be-a-0.be-a", "be-a-0.be-a.mail", "be-a-0.be-a.mail.svc",
                "localhost",
            ],
            "uris": ["murder://mc/backend/be-a/be-a-0"],
            "usages": ["digital signature", "server auth", "client auth"],
            "privateKey": {
                "algorithm": "ECDSA", "size": 256, "encoding": "PKCS8", "rotationPolicy": "Always",
            },
            "duration": "7776000s",
            "renewBefore": "2592000s",
            "issuerRef": {"group": "cert-manager.io", "kind": "Issuer", "name": "our-issuer"},
        });
        assert_eq!(api.get(CERTIFICATE).unwrap()["spec"], asked);
        let secret = made_for(&identity());
        api.put(SECRET, secret.clone());
        let before = api.get(SECRET);
        let found = ask(&api, now()).await.unwrap();
        assert_eq!(
            found,
            SecretData::of(&serde_json::from_value(secret).unwrap())
        );
        assert_eq!(api.get(SECRET), before);
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_issuer_made_of_it_is_checked() {
        let api = FakeApi::default();
        let mut secret = made_for(&identity());
        api.put(SECRET, secret.clone());
        let late = now() + 2 * LIFE;
        let error = ask(&api, late).await.unwrap_err().to_string();
        assert_eq!(error, "Certificate be-a-tls: it has expired");
        secret["data"]["ca.crt"] = json!("");
        api.put(SECRET, secret);
        let error = ask(&api, now()).await.unwrap_err().to_string();
        assert_eq!(error, "Certificate be-a-tls: the issuer gives no ca.crt");
        api.put(SECRET, made_for(&Identity::of_client("mc", "operator")));
        let error = ask(&api, now()).await.unwrap_err().to_string();
        let expected = "Certificate be-a-tls: the issuer left out the URI of the identity";
        assert_eq!(error, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_does_not_answer_is_told_apart() {
        let api = FakeApi::default();
        api.set_mood(Mood::Silent);
        let error = ask(&api, now()).await.unwrap_err();
        assert_eq!(error.reason(), "CertificateFailed");
        assert_eq!(
            error.to_string(),
            "get Secret/be-a-tls: no answer within 10000 ms"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn somebody_elses_certificate_or_secret_of_the_name_is_left_alone() {
        let api = FakeApi::default();
        let mut secret = made_for(&identity());
        secret["metadata"]["labels"] = json!({});
        api.put(SECRET, secret);
        let error = ask(&api, now()).await.unwrap_err();
        let advice = "belongs to somebody else; rename it or the object that needs the name";
        assert_eq!(error.reason(), "NameTaken");
        assert_eq!(error.to_string(), format!("Secret be-a-tls {advice}"));
        assert_eq!(api.get(CERTIFICATE), None);
        api.remove(SECRET);
        let conflict = json!({"reason": "Conflict", "message": "conflict with \"kubectl\""});
        api.refuse("PATCH /apis/cert-manager.io", 409, &conflict);
        let error = ask(&api, now()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("Certificate be-a-tls {advice}"));
        // A Certificate of ours that somebody has changed still serves.
        api.put(SECRET, made_for(&identity()));
        ask(&api, now()).await.unwrap();
    }
}
