//! An authority and a certificate for each node.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};

/// An authority that lives as long as a test.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name
            .push(DnType::CommonName, "test authority");
        let pem = ca.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(ca, key);
        Self { issuer, pem }
    }

    /// Writes `ca.pem`, `node.pem` and `node.key`.
    pub(crate) fn write(&self, directory: &Path, role: &str, server: &str) {
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut node = CertificateParams::new(names).unwrap();
        let pod = format!("{server}-0");
        node.distinguished_name.push(DnType::CommonName, &pod);
        node.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let uri = format!("murder://test/{role}/{server}/{pod}");
        node.subject_alt_names
            .push(SanType::URI(uri.as_str().try_into().unwrap()));
        let certificate = node.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(directory.join("ca.pem"), &self.pem).unwrap();
        std::fs::write(directory.join("node.pem"), certificate.pem()).unwrap();
        std::fs::write(directory.join("node.key"), key.serialize_pem()).unwrap();
    }
}
