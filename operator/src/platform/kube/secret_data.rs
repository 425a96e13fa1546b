//! What the Secrets of an authority and of nodes hold.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rcgen::KeyPair;

use super::chain::Cert;

/// Key of the certificate in a Secret.
pub const CERTIFICATE: &str = "tls.crt";
/// Key of the private key in a Secret.
pub const KEY: &str = "tls.key";
/// Key of the trusted authorities in a Secret.
pub const AUTHORITIES: &str = "ca.crt";

/// Annotation of a MurderCluster: a new value has its certificates and authority replaced.
pub const ROTATE_ANNOTATION: &str = "murder.rs/rotate-certificates";
/// On Secrets: the value of [`ROTATE_ANNOTATION`] that was carried out.
pub(super) const ROTATED: &str = "murder.rs/rotated";
/// On a node's Secret: since when its `ca.crt` is as it is, in Unix seconds.
pub(super) const BUNDLE_SINCE: &str = "murder.rs/bundle-since";

/// Content and annotations of a Secret.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct SecretData {
    /// Values by key.
    pub data: BTreeMap<String, Vec<u8>>,
    /// Those that this module reads and writes; others are ignored.
    pub annotations: BTreeMap<String, String>,
}

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretData")
            .field("keys", &self.data.keys())
            .field("annotations", &self.annotations)
            .finish_non_exhaustive()
    }
}

impl SecretData {
    /// What a Secret holds.
    pub fn of(secret: &Secret) -> Self {
        let data = secret.data.iter().flatten();
        Self {
            data: data
                .map(|(key, value)| (key.clone(), value.0.clone()))
                .collect(),
            annotations: secret.metadata.annotations.clone().unwrap_or_default(),
        }
    }

    /// The Secret to apply; `metadata` gives name, labels and owners, and may have annotations of its own.
    pub fn into_secret(self, mut metadata: ObjectMeta) -> Secret {
        let annotations = metadata.annotations.get_or_insert_default();
        let ours = self.annotations.into_iter();
        annotations.extend(ours.filter(|(key, _)| key.starts_with("murder.rs/")));
        let data = self.data.into_iter();
        Secret {
            metadata,
            data: Some(data.map(|(key, value)| (key, ByteString(value))).collect()),
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        }
    }

    /// When the certificate in `tls.crt` expires; for metrics.
    pub fn expires(&self) -> Option<Timestamp> {
        Some(self.certificate(CERTIFICATE)?.not_after())
    }

    pub(super) fn certificate(&self, key: &str) -> Option<Cert> {
        Cert::parse_first(self.data.get(key)?)
    }

    pub(super) fn certificates(&self, key: &str) -> Vec<Cert> {
        let text = self.data.get(key).map_or(&[][..], Vec::as_slice);
        Cert::parse_all(text).unwrap_or_default()
    }

    pub(super) fn key(&self, key: &str) -> Option<KeyPair> {
        let text = std::str::from_utf8(self.data.get(key)?).ok()?;
        KeyPair::from_pem(text).ok()
    }

    pub(super) fn set(&mut self, key: &str, text: String) {
        self.data.insert(key.to_owned(), text.into_bytes());
    }

    pub(super) fn note(&mut self, annotation: &str, text: impl fmt::Display) {
        self.annotations
            .insert(annotation.to_owned(), text.to_string());
    }

    pub(super) fn noted_seconds(&self, annotation: &str) -> Option<i64> {
        self.annotations.get(annotation)?.parse().ok()
    }

    pub(super) fn is_rotation_wanted(&self, wish: Option<&str>) -> bool {
        wish.is_some() && wish != self.annotations.get(ROTATED).map(String::as_str)
    }
}
