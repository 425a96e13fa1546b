//! A certificate for each node and client, with its name in a URI.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
};

use super::authority::{
    AUTHORITIES, AuthorityError, AuthorityState, CERTIFICATE, KEY, Rotation, SecretData, set_life,
};
use super::secret_data::{BUNDLE_SINCE, ROTATED};

/// Longest common name of a certificate.
const COMMON_NAME_MAX: usize = 64;

/// What a certificate lets its bearer do.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// Holds mailboxes.
    Backend,
    /// Routes clients.
    Frontend,
    /// The location database.
    Mupdate,
    /// Commands nodes.
    Operator,
    /// Frontend and backend in one.
    Unified,
}

impl Role {
    /// As in the URI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Frontend => "frontend",
            Self::Mupdate => "mupdate",
            Self::Operator => "operator",
            Self::Unified => "unified",
        }
    }
}

/// Who a certificate is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    uri: String,
    /// The first is the common name.
    dns: Vec<String>,
}

impl Identity {
    fn new(cluster: &str, role: Role, server: &str, pod: &str, dns: Vec<String>) -> Self {
        let mut names: Vec<String> = Vec::new();
        let all = [pod.to_owned(), server.to_owned()].into_iter().chain(dns);
        for name in all.chain(["localhost".to_owned()]) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Self {
            uri: format!("murder://{cluster}/{}/{server}/{pod}", role.as_str()),
            dns: names,
        }
    }

    /// The only pod of a StatefulSet: the master, a backend or a unified server. The server, its StatefulSet and its
    /// headless Service have one name.
    pub fn of_server(cluster: &str, role: Role, server: &str, namespace: &str) -> Self {
        let pod = format!("{server}-0");
        let name = format!("{pod}.{server}");
        let dns = vec![
            name.clone(),
            format!("{name}.{namespace}"),
            format!("{name}.{namespace}.svc"),
        ];
        Self::new(cluster, role, server, &pod, dns)
    }

    /// All pods of a Frontend together.
    pub fn of_frontend(cluster: &str, frontend: &str, namespace: &str) -> Self {
        let dns = vec![
            format!("{frontend}.{namespace}"),
            format!("{frontend}.{namespace}.svc"),
        ];
        Self::new(cluster, Role::Frontend, frontend, frontend, dns)
    }

    /// A client that commands nodes: `operator`, or `admin` for people.
    pub fn of_client(cluster: &str, name: &str) -> Self {
        Self::new(cluster, Role::Operator, name, name, Vec::new())
    }

    /// `murder://CLUSTER/ROLE/SERVER/POD`.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Names that it serves under; the first is the common name.
    pub fn dns_names(&self) -> &[String] {
        &self.dns
    }

    pub(super) fn common_name(&self) -> Option<&str> {
        let name = self.dns.first()?;
        (name.len() <= COMMON_NAME_MAX).then_some(name)
    }

    /// As [`super::chain::Cert::names`] gives them.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = self.dns.clone();
        names.push(self.uri.clone());
        names.sort_unstable();
        names
    }
}

/// Why a certificate is issued.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IssueReason {
    /// There was none, or none that can be used.
    Missing,
    /// It was for other names.
    OtherNames,
    /// No trusted authority signed it, or one that is on its way out.
    OtherAuthority,
    /// Its end is near.
    Due,
    /// It was asked for.
    Wished,
}

/// What is to be done about a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LeafDecision {
    /// The Secret stays as it is.
    Keep,
    /// The certificate stays, the trusted authorities change.
    Trust(SecretData),
    /// A new certificate with a new key.
    Issue {
        /// What the Secret should hold.
        secret: SecretData,
        /// Why.
        reason: IssueReason,
    },
}

impl LeafDecision {
    /// What has to be written, if anything.
    pub fn secret(&self) -> Option<&SecretData> {
        match self {
            Self::Keep => None,
            Self::Trust(secret) | Self::Issue { secret, .. } => Some(secret),
        }
    }
}

/// What the Secret of an identity should hold.
pub fn desired_leaf(
    existing: Option<&SecretData>,
    identity: &Identity,
    authority: &AuthorityState,
    rotation: &Rotation<'_>,
    now: Timestamp,
) -> Result<LeafDecision, AuthorityError> {
    let reason = match existing {
        None => Some(IssueReason::Missing),
        Some(existing) => reason_to_issue(existing, identity, authority, rotation, now),
    };
    let mut secret = SecretData::default();
    let is_trusted_text = |secret: &SecretData| {
        let text = secret.data.get(AUTHORITIES);
        text.is_some_and(|text| *text == authority.bundle.as_bytes())
            && secret.noted_seconds(BUNDLE_SINCE).is_some()
    };
    let same_trust = existing.filter(|secret| is_trusted_text(secret));
    let since = same_trust.and_then(|secret| secret.noted_seconds(BUNDLE_SINCE));
    secret.note(BUNDLE_SINCE, since.unwrap_or_else(|| now.as_second()));
    secret.set(AUTHORITIES, authority.bundle.clone());
    match (reason, existing) {
        (None, Some(_)) if same_trust.is_some() => Ok(LeafDecision::Keep),
        (None, Some(existing)) => {
            for key in [CERTIFICATE, KEY] {
                let value = existing.data.get(key).cloned().unwrap_or_default();
                secret.data.insert(key.to_owned(), value);
            }
            if let Some(rotated) = existing.annotations.get(ROTATED) {
                secret.note(ROTATED, rotated);
            }
            Ok(LeafDecision::Trust(secret))
        }
        (reason, _) => {
            issue(&mut secret, identity, authority, rotation.leaf, now)?;
            if let Some(wish) = rotation.wish {
                secret.note(ROTATED, wish);
            }
            let reason = reason.unwrap_or(IssueReason::Missing);
            Ok(LeafDecision::Issue { secret, reason })
        }
    }
}

fn reason_to_issue(
    existing: &SecretData,
    identity: &Identity,
    authority: &AuthorityState,
    rotation: &Rotation<'_>,
    now: Timestamp,
) -> Option<IssueReason> {
    let (Some(certificate), Some(key)) = (existing.certificate(CERTIFICATE), existing.key(KEY))
    else {
        return Some(IssueReason::Missing);
    };
    if !certificate.has_key(&key) {
        return Some(IssueReason::Missing);
    }
    if certificate.names() != identity.names() {
        return Some(IssueReason::OtherNames);
    }
    if existing.is_rotation_wanted(rotation.wish) {
        return Some(IssueReason::Wished);
    }
    if now >= certificate.due(rotation.renew_before) {
        return Some(IssueReason::Due);
    }
    let is_of_signer = certificate.is_signed_by(&authority.signing.certificate);
    let mut trusted = authority.trusted.iter();
    let may_stay = now < authority.signs_from && trusted.any(|cert| certificate.is_signed_by(cert));
    (!is_of_signer && !may_stay).then_some(IssueReason::OtherAuthority)
}

fn issue(
    secret: &mut SecretData,
    identity: &Identity,
    authority: &AuthorityState,
    life: Duration,
    now: Timestamp,
) -> Result<(), AuthorityError> {
    let mut params = CertificateParams::new(identity.dns.clone())?;
    let uri = identity.uri.clone().try_into()?;
    params.subject_alt_names.push(SanType::URI(uri));
    if let Some(name) = identity.common_name() {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    set_life(&mut params, now, life, Some(authority.expires));
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority.signing.issuer()?)?;
    secret.set(CERTIFICATE, certificate.pem());
    secret.set(KEY, key.serialize_pem());
    Ok(())
}
