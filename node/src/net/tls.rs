//! TLS in both directions. The one module that configures rustls.
//!
//! Node-to-node traffic is mutual: both sides show a certificate of the murder's own authority, and
//! [`PeerIdentity`] is read from it. Clients of the public ports need no certificate; a frontend
//! that connects to a backend's IMAP or LMTP port shows its own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::parse_x509_certificate;

use crate::net::identity::PeerIdentity;
use crate::net::stream::Stream;
use crate::stop::stopped;

/// How long a changed file may go unnoticed.
const RELOAD_PAUSE: Duration = Duration::from_secs(5);

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

/// Everything this node needs to accept and to open TLS connections. What is read anew counts for
/// all clones, and for connections opened from then on.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    files: Files,
    current: RwLock<Arc<Loaded>>,
    /// Files that cannot be used, so that they are told of once.
    refused: Mutex<Option<Digest>>,
}

/// Where everything is read from.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    ca: PathBuf,
    public: Option<(PathBuf, PathBuf)>,
}

/// What a set of files came to.
struct Loaded {
    digest: Digest,
    public: TlsAcceptor,
    mutual: TlsAcceptor,
    connector: TlsConnector,
    expiry: Expiry,
}

type Digest = blake3::Hash;

/// When the certificates in use end, in seconds since 1970.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expiry {
    /// The node's own.
    pub node: i64,
    /// The one shown to mail clients, if it is another.
    pub public: Option<i64>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Loads the node's files, and those shown to mail clients if they differ.
    pub fn load(node: TlsFiles<'_>, public: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        let files = Files {
            certificate: node.certificate.to_owned(),
            key: node.key.to_owned(),
            ca: node.ca.to_owned(),
            public: public.map(|(certificate, key)| (certificate.to_owned(), key.to_owned())),
        };
        let loaded = files.read()?.load(&files)?;
        Ok(Self(Arc::new(Shared {
            files,
            current: RwLock::new(Arc::new(loaded)),
            refused: Mutex::default(),
        })))
    }

    /// Reads the files again: whether they had changed. What was in use stays if they cannot be used,
    /// which is an error the first time. Blocks for the files.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let shared = &self.0;
        let contents = shared.files.read()?;
        let digest = contents.digest();
        let mut refused = shared.refused.lock().expect("no holder panics");
        if digest == self.current().digest || *refused == Some(digest) {
            return Ok(false);
        }
        match contents.load(&shared.files) {
            Ok(loaded) => {
                *refused = None;
                *shared.current.write().expect("no holder panics") = Arc::new(loaded);
                Ok(true)
            }
            Err(error) => {
                *refused = Some(digest);
                Err(error)
            }
        }
    }

    /// Reads the files again from time to time, until `stop` turns true.
    pub async fn keep_fresh(self, mut stop: watch::Receiver<bool>) {
        let mut told = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(RELOAD_PAUSE) => {}
                () = stopped(&mut stop) => return,
            }
            let tls = self.clone();
            let Ok(reloaded) = tokio::task::spawn_blocking(move || tls.reload()).await else {
                return;
            };
            match reloaded {
                Ok(true) => tracing::info!(event = "tls_reloaded", expiry = self.expiry().node),
                Ok(false) => {}
                Err(error) => {
                    let text = error.to_string();
                    if told.as_ref() != Some(&text) {
                        tracing::error!(event = "tls_reload_failed", %error);
                        told = Some(text);
                    }
                    continue;
                }
            }
            told = None;
        }
    }

    /// When the certificates in use end.
    pub fn expiry(&self) -> Expiry {
        self.current().expiry
    }

    fn current(&self) -> Arc<Loaded> {
        Arc::clone(&self.0.current.read().expect("no holder panics"))
    }

    /// Accepts a mail client or a node; a certificate is optional.
    pub async fn accept_public(
        &self,
        socket: TcpStream,
    ) -> io::Result<(Stream, Option<PeerIdentity>)> {
        accept(&self.current().public, socket).await
    }

    /// Accepts a node; without a certificate of the murder's authority the handshake fails.
    pub async fn accept_mutual(
        &self,
        socket: TcpStream,
    ) -> io::Result<(Stream, Option<PeerIdentity>)> {
        accept(&self.current().mutual, socket).await
    }

    /// Opens a mutually authenticated connection; `name` must be in the server's certificate.
    pub async fn connect(
        &self,
        name: &str,
        socket: TcpStream,
    ) -> io::Result<(Stream, Option<PeerIdentity>)> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = self.current().connector.connect(name, socket).await?;
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
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
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

/// The contents of all files, read at one time.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
    public: Option<(Vec<u8>, Vec<u8>)>,
}

impl Files {
    fn read(&self) -> Result<Contents, TlsError> {
        let public = match &self.public {
            Some((certificate, key)) => Some((
                read("a certificate", certificate)?,
                read("a private key", key)?,
            )),
            None => None,
        };
        Ok(Contents {
            certificate: read("a certificate", &self.certificate)?,
            key: read("a private key", &self.key)?,
            ca: read("a certificate", &self.ca)?,
            public,
        })
    }
}

impl Contents {
    fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        let public = self.public.iter().flat_map(|(one, two)| [one, two]);
        for file in [&self.certificate, &self.key, &self.ca]
            .into_iter()
            .chain(public)
        {
            hasher.update(blake3::hash(file).as_bytes());
        }
        hasher.finalize()
    }

    fn load(&self, files: &Files) -> Result<Loaded, TlsError> {
        let roots = Arc::new(roots(&files.ca, &self.ca)?);
        let own = (files.certificate.as_path(), files.key.as_path());
        let own = Shown::parse(own, &self.certificate, &self.key)?;
        let public =
            match (&files.public, &self.public) {
                (Some((certificate_path, key_path)), Some((certificate, key))) => Some(
                    Shown::parse((certificate_path, key_path), certificate, key)?,
                ),
                _ => None,
            };
        let optional = verifier(&roots, &files.ca, true)?;
        let required = verifier(&roots, &files.ca, false)?;
        let expiry = Expiry {
            node: own.expiry,
            public: public.as_ref().map(|shown| shown.expiry),
        };
        let public = public.as_ref().unwrap_or(&own).server(optional)?;
        let mutual = own.server(required)?;
        let client = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(own.chain.clone(), own.key.clone_key())
            .map_err(|source| config_error(own.path, source))?;
        Ok(Loaded {
            digest: self.digest(),
            public: TlsAcceptor::from(Arc::new(public)),
            mutual: TlsAcceptor::from(Arc::new(mutual)),
            connector: TlsConnector::from(Arc::new(client)),
            expiry,
        })
    }
}

/// A certificate with its key.
struct Shown<'a> {
    path: &'a Path,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    expiry: i64,
}

impl<'a> Shown<'a> {
    fn parse(paths: (&'a Path, &Path), certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let (path, key_path) = paths;
        let chain = chain(path, certificate)?;
        let expiry = chain
            .first()
            .and_then(|leaf| parse_x509_certificate(leaf).ok())
            .map(|(_, leaf)| leaf.validity().not_after.timestamp());
        let malformed = || rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        Ok(Self {
            expiry: expiry.ok_or_else(|| config_error(path, malformed()))?,
            path,
            chain,
            key: PrivateKeyDer::from_pem_slice(key).map_err(|source| TlsError::Pem {
                what: "a private key",
                path: key_path.to_owned(),
                source,
            })?,
        })
    }

    fn server(&self, clients: Arc<dyn ClientCertVerifier>) -> Result<ServerConfig, TlsError> {
        ServerConfig::builder()
            .with_client_cert_verifier(clients)
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|source| config_error(self.path, source))
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Pem {
        what,
        path: path.to_owned(),
        source: rustls_pki_types::pem::Error::Io(error),
    })
}

fn chain(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem {
        what: "a certificate",
        path: path.to_owned(),
        source,
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(pem)?;
    if chain.is_empty() {
        return Err(pem(rustls_pki_types::pem::Error::NoItemsFound));
    }
    Ok(chain)
}

fn roots(path: &Path, text: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path, text)? {
        roots
            .add(certificate)
            .map_err(|source| config_error(path, source))?;
    }
    Ok(roots)
}
