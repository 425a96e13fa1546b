//! The murder's own authority and a certificate for each node.
//!
//! A node's name and role are in a URI, `murder://CLUSTER/ROLE/SERVER/POD`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use murder_model::Fence;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::state::write_secret;
use crate::node_client::NodeClient;

/// Files of one identity.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) authority: PathBuf,
}

/// Who a certificate is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity<'a> {
    pub(super) cluster: &'a str,
    pub(super) role: &'a str,
    pub(super) server: &'a str,
    pub(super) pod: &'a str,
}

/// The certificate of an identity, made with the authority if there is none yet.
pub(super) fn ensure(folder: &Path, identity: Identity<'_>) -> anyhow::Result<Files> {
    let Identity {
        cluster,
        role,
        server,
        pod,
    } = identity;
    let files = Files {
        certificate: folder.join(format!("{pod}.{role}.crt")),
        key: folder.join(format!("{pod}.{role}.key")),
        authority: folder.join("ca.crt"),
    };
    if files.certificate.exists() && files.key.exists() && files.authority.exists() {
        return Ok(files);
    }
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let (authority_key, is_new) = authority_key(folder)?;
    let authority = authority_params(cluster)?;
    if is_new {
        forget_all(folder)?;
    }
    if !files.authority.exists() {
        let certificate = authority.self_signed(&authority_key)?;
        write_secret(&files.authority, certificate.pem().as_bytes())?;
    }
    let mut params = CertificateParams::new(vec![
        pod.to_owned(),
        server.to_owned(),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
    ])?;
    params.subject_alt_names.dedup();
    let uri = format!("murder://{cluster}/{role}/{server}/{pod}");
    params.subject_alt_names.push(SanType::URI(uri.try_into()?));
    params.distinguished_name.push(DnType::CommonName, pod);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let issuer = Issuer::from_params(&authority, &authority_key);
    let certificate = params.signed_by(&key, &issuer)?;
    write_secret(&files.key, key.serialize_pem().as_bytes())?;
    write_secret(&files.certificate, certificate.pem().as_bytes())?;
    Ok(files)
}

/// Drops certificates of an authority whose key was lost.
fn forget_all(folder: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "crt") {
            std::fs::remove_file(&path).with_context(|| format!("delete {}", path.display()))?;
        }
    }
    Ok(())
}

/// The authority's key, and whether it was made just now: then an old certificate is no use any more.
fn authority_key(folder: &Path) -> anyhow::Result<(KeyPair, bool)> {
    let path = folder.join("ca.key");
    if path.exists() {
        let text = std::fs::read_to_string(&path).context("read the authority's key")?;
        return Ok((KeyPair::from_pem(&text)?, false));
    }
    let key = KeyPair::generate()?;
    write_secret(&path, key.serialize_pem().as_bytes())?;
    Ok((key, true))
}

fn authority_params(cluster: &str) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
        .distinguished_name
        .push(DnType::CommonName, format!("murder {cluster}"));
    Ok(params)
}

/// A client that no node trusts, for a murder that has no name yet.
pub(super) fn throwaway(fence: Fence, limit: Duration) -> anyhow::Result<NodeClient> {
    let key = KeyPair::generate()?;
    let certificate = authority_params("none")?.self_signed(&key)?.pem();
    let key = key.serialize_pem();
    let certificate = certificate.as_bytes();
    Ok(NodeClient::new(
        certificate,
        key.as_bytes(),
        certificate,
        fence,
        limit,
    )?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::{Files, Identity, ensure};

    const IDENTITIES: [(&str, &str, &str); 5] = [
        ("mupdate", "mc-mupdate", "mc-mupdate-0"),
        ("backend", "be-a", "be-a-0"),
        ("unified", "be-u", "be-u-0"),
        ("frontend", "fe-0", "fe-0"),
        ("operator", "operator", "operator"),
    ];

    fn chain(files: &Files) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_file_iter(&files.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        (chain.collect::<Result<_, _>>().unwrap(), key)
    }

    fn roots(files: &Files) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_file_iter(&files.authority).unwrap() {
            roots.add(authority.unwrap()).unwrap();
        }
        roots
    }

    /// A handshake in which both sides show and check certificates; gives what the server saw of the client.
    async fn shake(server: &Files, client: &Files, name: &str) -> CertificateDer<'static> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(server)), provider.clone());
        let (certificates, key) = chain(server);
        let accepting = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(certificates, key)
            .unwrap();
        let (certificates, key) = chain(client);
        let connecting = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots(client))
            .with_client_auth_cert(certificates, key)
            .unwrap();
        let (near, far) = tokio::io::duplex(1 << 16);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let (accepted, connected) = tokio::join!(
            TlsAcceptor::from(Arc::new(accepting)).accept(far),
            TlsConnector::from(Arc::new(connecting)).connect(name, near),
        );
        connected.unwrap();
        let accepted = accepted.unwrap();
        let seen = accepted.get_ref().1.peer_certificates().unwrap();
        seen[0].clone().into_owned()
    }

    #[tokio::test]
    async fn every_identity_serves_and_calls_under_each_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let files = IDENTITIES.map(|(role, server, pod)| {
            let identity = Identity {
                cluster: "mc",
                role,
                server,
                pod,
            };
            ensure(folder.path(), identity).unwrap()
        });
        let operator = &files[4];
        for (files, (role, server, pod)) in files.iter().zip(IDENTITIES) {
            for name in [pod, server, "localhost", "127.0.0.1"] {
                shake(files, operator, name).await;
            }
            let seen = shake(operator, files, "127.0.0.1").await;
            let uri = format!("murder://mc/{role}/{server}/{pod}");
            let mut windows = seen.windows(uri.len());
            assert!(windows.any(|bytes| bytes == uri.as_bytes()), "{uri}");
        }
    }

    #[tokio::test]
    async fn a_lost_authority_is_made_anew_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let identity = |pod: &'static str| Identity {
            cluster: "mc",
            role: "backend",
            server: pod,
            pod,
        };
        ensure(folder.path(), identity("be-a")).unwrap();
        std::fs::remove_file(folder.path().join("ca.key")).unwrap();
        let second = ensure(folder.path(), identity("be-b")).unwrap();
        let first = ensure(folder.path(), identity("be-a")).unwrap();
        shake(&second, &first, "be-b").await;
    }
}
