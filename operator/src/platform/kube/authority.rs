//! Who signs the nodes' certificates: the murder's own authority, or one in a given Secret.
//!
//! The own authority is replaced in three steps while nodes go on: its successor is first trusted everywhere (in
//! every `ca.crt`), then signs, and the old one is forgotten when the last certificate it signed has expired. Which
//! step is next follows from the Secrets alone.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use super::chain::{Cert, bundle};
pub use super::secret_data::{AUTHORITIES, CERTIFICATE, KEY, ROTATE_ANNOTATION, SecretData};
use super::secret_data::{BUNDLE_SINCE, ROTATED};

const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
const NEXT_SINCE: &str = "murder.rs/next-since";
const SIGNS_FROM: &str = "murder.rs/signs-from";
const OLD_UNTIL: &str = "murder.rs/old-until";

/// Certificates begin a little in the past: clocks differ.
pub(super) const BACKDATED: Duration = Duration::from_secs(300);

/// How long things last.
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'a> {
    /// Life of an own authority.
    pub authority: Duration,
    /// Life of a node's certificate.
    pub leaf: Duration,
    /// How long before its end it is renewed; more than two thirds of its life count as that.
    pub renew_before: Duration,
    /// Longest time until every node uses a Secret that was changed.
    pub propagation: Duration,
    /// Value of [`ROTATE_ANNOTATION`] on the MurderCluster.
    pub wish: Option<&'a str>,
}

impl Default for Rotation<'_> {
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self {
            authority: Duration::from_secs(5 * 365 * DAY),
            leaf: Duration::from_secs(90 * DAY),
            renew_before: Duration::from_secs(30 * DAY),
            propagation: Duration::from_secs(300),
            wish: None,
        }
    }
}

/// Why nothing can be signed.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The given Secret does not exist.
    #[error("Secret {0} does not exist")]
    Missing(String),
    /// A value of the given Secret is missing or cannot be read.
    #[error("Secret {secret}: {key} {problem}")]
    Invalid {
        /// The Secret.
        secret: String,
        /// The key in it.
        key: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// The given authority is not valid now.
    #[error("Secret {secret}: the authority is valid from {from} to {until}")]
    NotValidNow {
        /// The Secret.
        secret: String,
        /// Its beginning.
        from: Timestamp,
        /// Its end.
        until: Timestamp,
    },
    /// A certificate could not be made.
    #[error("make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

impl AuthorityError {
    /// Reason of a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "AuthoritySecretMissing",
            Self::Invalid { .. } => "AuthoritySecretInvalid",
            Self::NotValidNow { .. } => "AuthorityExpired",
            Self::Make(_) => "CertificateFailed",
        }
    }
}

/// What was changed of the own authority.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthorityChange {
    /// There was none that could be used.
    Created,
    /// A successor was made, to be trusted first.
    SuccessorAdded,
    /// The successor signs from now on.
    SuccessorSigns,
    /// An old one is trusted no more.
    OldForgotten,
}

/// Certificate and key that sign.
pub struct Signing {
    pub(super) certificate: Cert,
    pub(super) key: KeyPair,
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signing").field(&self.certificate).finish()
    }
}

/// The authority as it should be.
#[derive(Debug)]
pub struct AuthorityState {
    /// What its Secret should hold; `None` for a given one, which is never written.
    pub secret: Option<SecretData>,
    /// Why the Secret has to be written; `None` if it need not be. Written before any node's.
    pub change: Option<AuthorityChange>,
    /// Text of every node's `ca.crt`.
    pub bundle: String,
    /// Who signs.
    pub signing: Signing,
    /// When the signing one expires; for metrics.
    pub expires: Timestamp,
    /// When the next step may be due; `None` if no step of a rotation waits.
    pub look_again: Option<Duration>,
    pub(super) trusted: Vec<Cert>,
    /// Until then, certificates of other trusted authorities stay.
    pub(super) signs_from: Timestamp,
}

/// The own authority: made if there is none, and led through the steps of a rotation. `leaves` are the Secrets of all
/// nodes and clients as they are.
pub fn desired_authority(
    existing: Option<&SecretData>,
    cluster: &str,
    leaves: &[SecretData],
    rotation: &Rotation<'_>,
    now: Timestamp,
) -> Result<AuthorityState, AuthorityError> {
    let mut own = match existing.and_then(Own::read) {
        Some(own) if own.is_usable(now) => own,
        _ => {
            return Own::create(cluster, leaves, rotation, now)?
                .state(Some(AuthorityChange::Created), rotation);
        }
    };
    let change = if own.promote(leaves, rotation, now) {
        Some(AuthorityChange::SuccessorSigns)
    } else if own.prepare(cluster, rotation, now)? {
        Some(AuthorityChange::SuccessorAdded)
    } else if own.forget(leaves, now) {
        Some(AuthorityChange::OldForgotten)
    } else {
        None
    };
    own.state(change, rotation)
}

/// Whether it depends on the certificates in use what becomes of an authority: while it is replaced, or if it was lost.
pub(super) fn needs_leaves(existing: Option<&SecretData>, now: Timestamp) -> bool {
    match existing.and_then(Own::read) {
        Some(own) if own.is_usable(now) => own.next.is_some() || own.trusted.len() > 1,
        _ => true,
    }
}

/// The authority in a Secret that somebody else keeps. To replace it without a gap, its owner first adds the new
/// certificate to `ca.crt`, and changes `tls.crt` and `tls.key` some minutes later.
pub fn given_authority(
    name: &str,
    existing: Option<&SecretData>,
    now: Timestamp,
) -> Result<AuthorityState, AuthorityError> {
    let secret = existing.ok_or_else(|| AuthorityError::Missing(name.to_owned()))?;
    let invalid = |key, problem| AuthorityError::Invalid {
        secret: name.to_owned(),
        key,
        problem,
    };
    let problem = "is missing or not a certificate in PEM";
    let certificate = secret.certificate(CERTIFICATE);
    let certificate = certificate.ok_or_else(|| invalid(CERTIFICATE, problem))?;
    let key = secret.key(KEY);
    let key = key.ok_or_else(|| invalid(KEY, "is missing or not a key in PKCS#8"))?;
    if !certificate.is_authority() {
        return Err(invalid(CERTIFICATE, "is not an authority's certificate"));
    }
    if !certificate.has_key(&key) {
        return Err(invalid(KEY, "does not belong to tls.crt"));
    }
    let mut trusted = secret.certificates(AUTHORITIES);
    if trusted.is_empty() {
        return Err(invalid(AUTHORITIES, problem));
    }
    let (from, until) = (certificate.not_before(), certificate.not_after());
    if now < from || now >= until {
        let secret = name.to_owned();
        return Err(AuthorityError::NotValidNow {
            secret,
            from,
            until,
        });
    }
    add(&mut trusted, certificate.clone());
    Ok(AuthorityState {
        secret: None,
        change: None,
        bundle: bundle(&trusted),
        expires: until,
        look_again: None,
        trusted,
        signs_from: now,
        signing: Signing { certificate, key },
    })
}

/// An own authority and what its Secret says of a rotation.
struct Own {
    secret: SecretData,
    signing: Signing,
    next: Option<Signing>,
    trusted: Vec<Cert>,
}

impl Own {
    fn read(secret: &SecretData) -> Option<Self> {
        let pair = |certificate: &str, key: &str| {
            let signing = Signing {
                certificate: secret.certificate(certificate)?,
                key: secret.key(key)?,
            };
            let is_sound =
                signing.certificate.is_authority() && signing.certificate.has_key(&signing.key);
            is_sound.then_some(signing)
        };
        let signing = pair(CERTIFICATE, KEY)?;
        let next = pair(NEXT_CERTIFICATE, NEXT_KEY);
        let mut trusted = secret.certificates(AUTHORITIES);
        for one in [Some(&signing), next.as_ref()].into_iter().flatten() {
            add(&mut trusted, one.certificate.clone());
        }
        Some(Self {
            secret: secret.clone(),
            signing,
            next,
            trusted,
        })
    }

    /// A first authority, or one in the place of one that was lost: what nodes trusted stays trusted.
    fn create(
        cluster: &str,
        leaves: &[SecretData],
        rotation: &Rotation<'_>,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let signing = make(cluster, rotation.authority, now)?;
        let mut own = Self {
            secret: SecretData::default(),
            trusted: vec![signing.certificate.clone()],
            signing,
            next: None,
        };
        for old in leaves
            .iter()
            .flat_map(|leaf| leaf.certificates(AUTHORITIES))
        {
            if now < old.not_after() {
                add(&mut own.trusted, old);
            }
        }
        let mut from = now.as_second();
        if own.trusted.len() > 1 {
            from += seconds(rotation.propagation);
            own.keep_old_until(leaves, rotation, now);
        }
        own.secret.note(SIGNS_FROM, from);
        own.note_rotated(rotation);
        Ok(own)
    }

    fn is_usable(&self, now: Timestamp) -> bool {
        let is_valid = |signing: &Signing| now < signing.certificate.not_after();
        is_valid(&self.signing) || self.next.as_ref().is_some_and(is_valid)
    }

    /// Lets the successor sign once every node trusts it.
    fn promote(&mut self, leaves: &[SecretData], rotation: &Rotation<'_>, now: Timestamp) -> bool {
        let Some(next) = &self.next else {
            return false;
        };
        let settled = now.as_second() - seconds(rotation.propagation);
        let is_old = |since: Option<i64>| since.is_some_and(|since| since <= settled);
        let is_known = |leaf: &SecretData| {
            is_old(leaf.noted_seconds(BUNDLE_SINCE))
                && leaf.certificates(AUTHORITIES).contains(&next.certificate)
        };
        let is_trusted =
            is_old(self.secret.noted_seconds(NEXT_SINCE)) && leaves.iter().all(is_known);
        if !is_trusted && now < self.signing.certificate.not_after() {
            return false;
        }
        if let Some(next) = self.next.take() {
            self.signing = next;
        }
        self.secret.annotations.remove(NEXT_SINCE);
        self.secret.note(SIGNS_FROM, now.as_second());
        self.keep_old_until(leaves, rotation, now);
        true
    }

    /// Makes a successor when the authority has a third of its life left, or on request.
    fn prepare(
        &mut self,
        cluster: &str,
        rotation: &Rotation<'_>,
        now: Timestamp,
    ) -> Result<bool, AuthorityError> {
        let is_wanted = self.secret.is_rotation_wanted(rotation.wish);
        let is_due = now >= self.signing.certificate.last_third();
        if self.next.is_some() || !(is_wanted || is_due) {
            return Ok(false);
        }
        let next = make(cluster, rotation.authority, now)?;
        add(&mut self.trusted, next.certificate.clone());
        self.next = Some(next);
        self.secret.note(NEXT_SINCE, now.as_second());
        self.note_rotated(rotation);
        Ok(true)
    }

    /// Trusts old authorities no more once nothing they signed can be in use.
    fn forget(&mut self, leaves: &[SecretData], now: Timestamp) -> bool {
        let signer = &self.signing.certificate;
        let is_ours = |leaf: &SecretData| {
            let certificate = leaf.certificate(CERTIFICATE);
            certificate.is_none_or(|certificate| certificate.is_signed_by(signer))
        };
        let until = self.secret.noted_seconds(OLD_UNTIL);
        let is_over = until.is_none_or(|until| until <= now.as_second());
        let all_old = is_over && leaves.iter().all(is_ours);
        let next = self.next.as_ref().map(|next| &next.certificate);
        let before = self.trusted.len();
        self.trusted.retain(|cert| {
            cert == signer || Some(cert) == next || !(all_old || cert.not_after() <= now)
        });
        self.trusted.len() < before
    }

    fn keep_old_until(&mut self, leaves: &[SecretData], rotation: &Rotation<'_>, now: Timestamp) {
        let last = leaves.iter().filter_map(SecretData::expires).max();
        let last = last.map_or(0, Timestamp::as_second);
        let until = last.max(now.as_second() + seconds(rotation.leaf));
        self.secret.note(OLD_UNTIL, until);
    }

    fn note_rotated(&mut self, rotation: &Rotation<'_>) {
        if let Some(wish) = rotation.wish {
            self.secret.note(ROTATED, wish);
        }
    }

    fn state(
        mut self,
        change: Option<AuthorityChange>,
        rotation: &Rotation<'_>,
    ) -> Result<AuthorityState, AuthorityError> {
        let bundle = bundle(&self.trusted);
        self.secret
            .set(CERTIFICATE, self.signing.certificate.pem.clone());
        self.secret.set(KEY, self.signing.key.serialize_pem());
        self.secret.set(AUTHORITIES, bundle.clone());
        self.secret.data.remove(NEXT_CERTIFICATE);
        self.secret.data.remove(NEXT_KEY);
        if let Some(next) = &self.next {
            self.secret
                .set(NEXT_CERTIFICATE, next.certificate.pem.clone());
            self.secret.set(NEXT_KEY, next.key.serialize_pem());
        }
        let waits = self.next.is_some() || change == Some(AuthorityChange::Created);
        let signs_from = self.secret.noted_seconds(SIGNS_FROM).unwrap_or(0);
        Ok(AuthorityState {
            change,
            bundle,
            expires: self.signing.certificate.not_after(),
            look_again: waits.then_some(rotation.propagation),
            trusted: self.trusted,
            signs_from: Timestamp::from_second(signs_from).unwrap_or(Timestamp::MIN),
            signing: self.signing,
            secret: Some(self.secret),
        })
    }
}

fn make(cluster: &str, life: Duration, now: Timestamp) -> Result<Signing, AuthorityError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // The names differ, so that no verifier takes one for the other.
    let name = format!("murder {cluster} {}", now.as_second());
    params.distinguished_name.push(DnType::CommonName, name);
    set_life(&mut params, now, life, None);
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    let certificate =
        Cert::parse_first(pem.as_bytes()).ok_or(rcgen::Error::CouldNotParseCertificate)?;
    Ok(Signing { certificate, key })
}

impl Signing {
    pub(super) fn issuer(&self) -> Result<Issuer<'static, &KeyPair>, rcgen::Error> {
        Issuer::from_ca_cert_pem(&self.certificate.pem, &self.key)
    }
}

/// Valid from a little before now, for `life` and not beyond `limit`.
pub(super) fn set_life(
    params: &mut CertificateParams,
    now: Timestamp,
    life: Duration,
    limit: Option<Timestamp>,
) {
    let since_1970 = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    let end = now.as_second() + seconds(life);
    let end = limit.map_or(end, |limit| end.min(limit.as_second()));
    params.not_before = since_1970(now.as_second() - seconds(BACKDATED));
    params.not_after = since_1970(end);
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn add(certificates: &mut Vec<Cert>, one: Cert) {
    if !certificates.contains(&one) {
        certificates.push(one);
    }
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
