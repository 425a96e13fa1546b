//! Names and roles of our own nodes, as their certificates carry them.
//!
//! A node's certificate has one URI among its subject alternative names:
//! `murder://CLUSTER/ROLE/SERVER/POD`. Authority follows from it, never from the network position.

use std::fmt;

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// The role that a certificate grants.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PeerRole {
    /// Holds mailboxes.
    Backend,
    /// Routes clients and may act for any user.
    Frontend,
    /// The location database.
    Mupdate,
    /// Commands nodes through the admin interface.
    Operator,
    /// Frontend and backend in one.
    Unified,
}

impl PeerRole {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "backend" => Self::Backend,
            "frontend" => Self::Frontend,
            "mupdate" => Self::Mupdate,
            "operator" => Self::Operator,
            "unified" => Self::Unified,
            _ => return None,
        })
    }

    /// Whether connections with this role may act for other users.
    pub fn may_proxy(self) -> bool {
        matches!(self, Self::Backend | Self::Frontend | Self::Unified)
    }

    /// Whether this role owns units.
    pub fn holds_mailboxes(self) -> bool {
        matches!(self, Self::Backend | Self::Unified)
    }
}

/// Who is at the other end of a mutually authenticated connection.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PeerIdentity {
    /// Name of the murder that the certificate belongs to.
    pub cluster: String,
    /// What the peer may do.
    pub role: PeerRole,
    /// The server's name in locations, e.g. `be-a`.
    pub server: String,
    /// The process' name, e.g. `be-a-0`.
    pub pod: String,
}

impl PeerIdentity {
    /// Reads the identity from a verified end-entity certificate; `None` if it carries none.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = parse_x509_certificate(certificate).ok()?;
        let names = parsed.subject_alternative_name().ok()??;
        names
            .value
            .general_names
            .iter()
            .find_map(|name| match name {
                GeneralName::URI(uri) => Self::parse_uri(uri),
                _ => None,
            })
    }

    /// Parses `murder://CLUSTER/ROLE/SERVER/POD`.
    pub fn parse_uri(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix("murder://")?.split('/');
        let cluster = parts.next().filter(|part| !part.is_empty())?.to_owned();
        let role = PeerRole::parse(parts.next()?)?;
        let server = parts.next().filter(|part| !part.is_empty())?.to_owned();
        let pod = parts.next().filter(|part| !part.is_empty())?.to_owned();
        if parts.next().is_some() {
            return None;
        }
        Some(Self {
            cluster,
            role,
            server,
            pod,
        })
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?} {})", self.pod, self.role, self.server)
    }
}

#[cfg(test)]
mod tests {
    use super::{PeerIdentity, PeerRole};

    #[test]
    fn a_uri_names_cluster_role_server_and_pod() {
        assert_eq!(
            PeerIdentity::parse_uri("murder://mc/backend/be-a/be-a-0"),
            Some(PeerIdentity {
                cluster: "mc".into(),
                role: PeerRole::Backend,
                server: "be-a".into(),
                pod: "be-a-0".into(),
            })
        );
    }

    #[test]
    fn other_uris_grant_nothing() {
        for uri in [
            "https://mc/backend/be-a/be-a-0",
            "murder://mc/root/be-a/be-a-0",
            "murder://mc/backend/be-a",
            "murder://mc/backend/be-a/be-a-0/more",
            "murder:///backend/be-a/be-a-0",
        ] {
            assert_eq!(PeerIdentity::parse_uri(uri), None, "{uri}");
        }
    }
}
