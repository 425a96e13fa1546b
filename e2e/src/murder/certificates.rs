//! A murder's own authority, and certificates with the names and roles of its nodes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// PEM files of one identity.
#[derive(Clone, Debug)]
pub struct Files {
    /// Certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority.
    pub ca: PathBuf,
}

/// The authority; its certificate is `ca.pem` in its folder.
#[derive(Debug)]
pub struct Authority {
    cluster: String,
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority of a cluster.
    pub fn new(cluster: &str, folder: &Path) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let name = format!("murder {cluster}");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key)?;
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(folder.join("ca.pem"), certificate.pem()))
            .with_context(|| format!("cannot write to {}", folder.display()))?;
        Ok(Self {
            cluster: cluster.to_owned(),
            folder: folder.to_owned(),
            issuer: Issuer::new(params, key),
        })
    }

    /// The authority's certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate of a role (as in its URI, e.g. `backend`), a server and a pod.
    pub fn issue(&self, role: &str, server: &str, pod: &str) -> Result<Files> {
        let mut names = vec![pod.to_owned(), server.to_owned()];
        names.dedup();
        names.extend(["localhost", "127.0.0.1"].map(str::to_owned));
        let mut params = CertificateParams::new(names)?;
        let uri = format!("murder://{}/{role}/{server}/{pod}", self.cluster);
        params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        params.distinguished_name.push(DnType::CommonName, pod);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let files = Files {
            certificate: self.folder.join(format!("{pod}.{role}.pem")),
            key: self.folder.join(format!("{pod}.{role}.key")),
            ca: self.certificate(),
        };
        fs::write(&files.certificate, certificate.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
}

impl Files {
    /// TLS of a client with this identity, which trusts the authority only.
    pub fn client(&self) -> Result<Arc<ClientConfig>> {
        let chain: Vec<_> =
            CertificateDer::pem_file_iter(&self.certificate)?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&self.key)?;
        let config = trusting(&self.ca)?.with_client_auth_cert(chain, key)?;
        Ok(Arc::new(config))
    }
}

/// TLS of a mail client: no certificate of its own.
pub fn mail_client(ca: &Path) -> Result<Arc<ClientConfig>> {
    Ok(Arc::new(trusting(ca)?.with_no_client_auth()))
}

type Unidentified = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn trusting(ca: &Path) -> Result<Unidentified> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots))
}
