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
    let authority_key = authority_key(folder)?;
    let authority = authority_params(cluster)?;
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

fn authority_key(folder: &Path) -> anyhow::Result<KeyPair> {
    let path = folder.join("ca.key");
    if path.exists() {
        let text = std::fs::read_to_string(&path).context("read the authority's key")?;
        return Ok(KeyPair::from_pem(&text)?);
    }
    let key = KeyPair::generate()?;
    write_secret(&path, key.serialize_pem().as_bytes())?;
    Ok(key)
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
