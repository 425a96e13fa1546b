//! Certificates in PEM: taken apart, checked and put together again.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// A certificate that was parsed once.
#[derive(Clone, Debug)]
pub(super) struct Cert {
    pub(super) pem: String,
    der: CertificateDer<'static>,
}

impl PartialEq for Cert {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Cert {
    /// All certificates of a PEM text; `None` if one of them is malformed.
    pub(super) fn parse_all(text: &[u8]) -> Option<Vec<Self>> {
        let mut rest = std::str::from_utf8(text).ok()?;
        let mut found = Vec::new();
        while let Some(start) = rest.find(BEGIN) {
            let end = start + rest[start..].find(END)? + END.len();
            found.push(Self::parse(&rest[start..end])?);
            rest = &rest[end..];
        }
        Some(found)
    }

    /// The first certificate of a PEM text.
    pub(super) fn parse_first(text: &[u8]) -> Option<Self> {
        Self::parse_all(text)?.into_iter().next()
    }

    fn parse(pem: &str) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        parse_x509_certificate(&der).ok()?;
        let pem = format!("{}\n", pem.replace('\r', ""));
        Some(Self { pem, der })
    }

    fn parsed(&self) -> X509Certificate<'_> {
        let (_, parsed) = parse_x509_certificate(&self.der).expect("it was parsed before");
        parsed
    }

    pub(super) fn not_before(&self) -> Timestamp {
        timestamp(self.parsed().validity().not_before.timestamp())
    }

    pub(super) fn not_after(&self) -> Timestamp {
        timestamp(self.parsed().validity().not_after.timestamp())
    }

    /// When a third of its life is left.
    pub(super) fn last_third(&self) -> Timestamp {
        let (start, end) = (self.not_before().as_second(), self.not_after().as_second());
        timestamp(end - (end - start) / 3)
    }

    /// When so much is left, or two thirds of its life, whichever is later.
    pub(super) fn due(&self, before_end: Duration) -> Timestamp {
        let (start, end) = (self.not_before().as_second(), self.not_after().as_second());
        let before_end = i64::try_from(before_end.as_secs()).unwrap_or(i64::MAX);
        timestamp(end - before_end.min((end - start) * 2 / 3))
    }

    pub(super) fn is_authority(&self) -> bool {
        self.parsed().is_ca()
    }

    pub(super) fn is_signed_by(&self, issuer: &Self) -> bool {
        let (certificate, issuer) = (self.parsed(), issuer.parsed());
        certificate.issuer().as_raw() == issuer.subject().as_raw()
            && certificate
                .verify_signature(Some(issuer.public_key()))
                .is_ok()
    }

    pub(super) fn has_key(&self, key: &KeyPair) -> bool {
        let parsed = self.parsed();
        *parsed.public_key().subject_public_key.data == *key.public_key_raw()
    }

    /// DNS names and URIs, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let parsed = self.parsed();
        let Ok(Some(names)) = parsed.subject_alternative_name() else {
            return Vec::new();
        };
        let text = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => (*name).to_owned(),
            other => format!("{other:?}"),
        };
        let mut names: Vec<_> = names.value.general_names.iter().map(text).collect();
        names.sort_unstable();
        names
    }
}

/// The PEM text of several certificates.
pub(super) fn bundle(certificates: &[Cert]) -> String {
    certificates.iter().map(|cert| cert.pem.as_str()).collect()
}

fn timestamp(seconds: i64) -> Timestamp {
    // Years of four digits and more than jiff knows do not matter: such a certificate never expires.
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}
