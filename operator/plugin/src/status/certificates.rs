//! When certificates end: those that nodes show, the administrators' own, and the authorities'.

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::nodes::{Answers, Nodes};

/// A certificate.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Certificate {
    /// Whose.
    pub(crate) of: String,
    /// When it ends (RFC 3339).
    pub(crate) expires: String,
    /// Seconds until then; negative if it has.
    #[serde(skip)]
    pub(crate) expires_at: i64,
}

impl Certificate {
    pub(super) fn new(of: String, expires_at: i64) -> Self {
        let expires = Timestamp::from_second(expires_at);
        Self {
            of,
            expires: expires.map(|at| at.to_string()).unwrap_or_default(),
            expires_at,
        }
    }
}

/// All that we have seen, the first to end first.
pub(super) fn all(nodes: &Nodes, answers: &Answers) -> Vec<Certificate> {
    let mut found = Vec::new();
    for (pod, heard) in answers {
        let shown = heard.certificate.as_deref().and_then(end_of);
        found.extend(shown.map(|end| Certificate::new(pod.clone(), end)));
    }
    for (of, pem) in [
        ("authority", &nodes.authorities),
        ("administrators", &nodes.certificate),
    ] {
        let ends = Pem::iter_from_buffer(pem).flatten();
        let ends = ends.filter_map(|pem| end_of(&pem.contents));
        // Of a chain the leaf tells, of authorities each.
        let count = if of == "authority" { usize::MAX } else { 1 };
        found.extend(
            ends.take(count)
                .map(|end| Certificate::new(of.to_owned(), end)),
        );
    }
    found.sort_by(|a, b| (a.expires_at, &a.of).cmp(&(b.expires_at, &b.of)));
    found
}

fn end_of(der: &[u8]) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}
