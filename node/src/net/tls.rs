//! TLS in both directions. The one module that configures rustls.
//!
//! Node-to-node traffic is mutual: both sides show a certificate of the murder's own authority, and
//! [`PeerIdentity`] is read from it. Clients of the public ports need no certificate; a frontend
//! that connects to a backend's IMAP or LMTP port shows its own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::net::identity::PeerIdentity;
use crate::net::stream::Stream;

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file could not be read.
    #[error("cannot read {what} from {path}: {source}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate, key and authority do not fit together.
    #[error("cannot use certificate {path}: {source}")]
    Config {
        /// The certificate's file.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// The authority's certificates cannot verify clients.
    #[error("cannot verify clients with {path}: {source}")]
    Verifier {
        /// The authority's file.
        path: PathBuf,
        /// Why not.
        source: rustls::server::VerifierBuilderError,
    },
}

/// Certificate files, all PEM.
#[derive(Clone, Copy, Debug)]
pub struct TlsFiles<'a> {
    /// Chain of this node.
    pub certificate: &'a Path,
    /// Its private key.
    pub key: &'a Path,
    /// The murder's own authority.
    pub ca: &'a Path,
}

/// Everything this node needs to accept and to open TLS connections.
#[derive(Clone)]
pub struct Tls {
    public: TlsAcceptor,
    mutual: TlsAcceptor,
    connector: TlsConnector,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Loads the node's files, and those shown to mail clients if they differ.
    pub fn load(node: TlsFiles<'_>, public: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        let roots = Arc::new(load_roots(node.ca)?);
        let (public_certificate, public_key) = public.unwrap_or((node.certificate, node.key));
        let optional = verifier(&roots, node.ca, true)?;
        let required = verifier(&roots, node.ca, false)?;
        let public = ServerConfig::builder()
            .with_client_cert_verifier(optional)
            .with_single_cert(load_chain(public_certificate)?, load_key(public_key)?)
            .map_err(|source| config_error(public_certificate, source))?;
        let mutual = ServerConfig::builder()
            .with_client_cert_verifier(required)
            .with_single_cert(load_chain(node.certificate)?, load_key(node.key)?)
            .map_err(|source| config_error(node.certificate, source))?;
        let client = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(load_chain(node.certificate)?, load_key(node.key)?)
            .map_err(|source| config_error(node.certificate, source))?;
        Ok(Self {
            public: TlsAcceptor::from(Arc::new(public)),
            mutual: TlsAcceptor::from(Arc::new(mutual)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }

    /// Accepts a mail client or a node; a certificate is optional.
    pub async fn accept_public(
        &self,
        socket: TcpStream,
    ) -> io::Result<(Stream, Option<PeerIdentity>)> {
        accept(&self.public, socket).await
    }

    /// Accepts a node; without a certificate of the murder's authority the handshake fails.
    pub async fn accept_mutual(
        &self,
        socket: TcpStream,
    ) -> io::Result<(Stream, Option<PeerIdentity>)> {
        accept(&self.mutual, socket).await
    }

    /// Opens a mutually authenticated connection; `name` must be in the server's certificate.
    pub async fn connect(
        &self,
        name: &str,
        socket: TcpStream,
    ) -> io::Result<(Stream, Option<PeerIdentity>)> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = self.connector.connect(name, socket).await?;
        let identity = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .and_then(PeerIdentity::from_certificate);
        Ok((Stream::TlsClient(Box::new(stream)), identity))
    }
}

async fn accept(
    acceptor: &TlsAcceptor,
    socket: TcpStream,
) -> io::Result<(Stream, Option<PeerIdentity>)> {
    let stream = acceptor.accept(socket).await?;
    let identity = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .and_then(PeerIdentity::from_certificate);
    Ok((Stream::TlsServer(Box::new(stream)), identity))
}

fn verifier(
    roots: &Arc<RootCertStore>,
    path: &Path,
    optional: bool,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let builder = WebPkiClientVerifier::builder(Arc::clone(roots));
    let builder = if optional {
        builder.allow_unauthenticated()
    } else {
        builder
    };
    builder.build().map_err(|source| TlsError::Verifier {
        path: path.to_owned(),
        source,
    })
}

fn config_error(path: &Path, source: rustls::Error) -> TlsError {
    TlsError::Config {
        path: path.to_owned(),
        source,
    }
}

fn load_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem {
        what: "a certificate",
        path: path.to_owned(),
        source,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(pem)?
        .collect::<Result<_, _>>()
        .map_err(pem)?;
    if chain.is_empty() {
        return Err(pem(rustls_pki_types::pem::Error::NoItemsFound));
    }
    Ok(chain)
}

fn load_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Pem {
        what: "a private key",
        path: path.to_owned(),
        source,
    })
}

fn load_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in load_chain(path)? {
        roots
            .add(certificate)
            .map_err(|source| config_error(path, source))?;
    }
    Ok(roots)
}
