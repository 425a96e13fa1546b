//! Certificates of cert-manager, whose part the test plays: its definition is the real one.

use std::time::Duration;

use murder_e2e::kube::{KubeMurder, USERS, condition};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::definitions::{define, forget};
use crate::load::under_load;
use crate::{kube, manifests};

const LIMIT: Duration = Duration::from_secs(120);

impl Authority {
    /// The Secret that cert-manager would make of a Certificate.
    fn secret_for(&self, certificate: &Value) -> Value {
        let spec = &certificate["spec"];
        let names: Vec<String> = serde_json::from_value(spec["dnsNames"].clone()).unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        let uri = spec["uris"][0].as_str().unwrap();
        let uri = SanType::URI(uri.try_into().unwrap());
        params.subject_alt_names.push(uri);
        if let Some(name) = spec["commonName"].as_str() {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {
                "name": spec["secretName"], "labels": spec["secretTemplate"]["labels"],
                "annotations": {"cert-manager.io/certificate-name": certificate["metadata"]["name"]},
            },
            "stringData": {
                "tls.crt": signed.pem(), "tls.key": key.serialize_pem(), "ca.crt": self.pem,
            },
        })
    }
}

/// Row 52: with `spec.tls.issuerRef` the operator asks for a Certificate for each identity, of which the real definition
/// takes every field; waits for the Secrets, and the murder serves with them.
#[tokio::test]
async fn an_issuer_of_cert_manager_is_asked() {
    let kube = kube().await;
    let made = define(&kube, &["/cert-manager.io_certificates.yaml"]).await;
    let values = ["replicas=1", "rbac.certManager=true"];
    kube.install_operator(&values).await.unwrap();
    let reference = "spec:\n  tls: {issuerRef: {name: letters}}\n";
    let text = manifests(&["be-a", "be-b"]).replacen("spec:\n", reference, 1);
    let murder = KubeMurder::prepare(&kube, "e2e-issuer", USERS)
        .await
        .unwrap();
    let namespace = &murder.namespace;
    kube.apply(namespace, &text).await.unwrap();
    let mut asked = Vec::new();
    kube.until("all certificates are asked for", LIMIT, async || {
        asked = kube.list(namespace, "certificates.cert-manager.io").await?;
        Ok(asked.len() == 6)
    })
    .await
    .unwrap();
    let names: Vec<_> = asked.iter().map(|one| &one["metadata"]["name"]).collect();
    let expected = [
        "be-a-tls",
        "be-b-tls",
        "fe-tls",
        "mc-admin-tls",
        "mc-mupdate-tls",
        "mc-operator-tls",
    ];
    assert_eq!(names, expected);
    // What the definition does not know would have been left out by the API server.
    let mut spec = asked[0]["spec"].clone();
    let labels = spec["secretTemplate"]["labels"].take();
    assert_eq!(labels["murder.rs/cluster"], "mc", "{labels}");
    let expected = json!({
        "secretName": "be-a-tls",
        "secretTemplate": {"labels": null},
        "commonName": "be-a-0",
        "dnsNames": [
            "be-a-0", "be-a", "be-a-0.be-a", "be-a-0.be-a.e2e-issuer", "be-a-0.be-a.e2e-issuer.svc",
            "localhost",
        ],
        "uris": ["murder://mc/backend/be-a/be-a-0"],
        "usages": ["digital signature", "server auth", "client auth"],
        "privateKey": {
            "algorithm": "ECDSA", "size": 256, "encoding": "PKCS8", "rotationPolicy": "Always",
        },
        "duration": "7776000s",
        "renewBefore": "2592000s",
        "issuerRef": {"group": "cert-manager.io", "kind": "Issuer", "name": "letters"},
    });
    assert_eq!(spec, expected);
    kube.until("the murder says what it waits for", LIMIT, async || {
        let murder = murder.get("murdercluster", "mc").await?;
        let (status, reason, message) = condition(&murder, "Ready");
        Ok(status == "False" && format!("{reason} {message}").contains("CertificatePending"))
    })
    .await
    .unwrap();

    let authority = Authority::new("an authority of cert-manager");
    for certificate in &asked {
        let secret = authority.secret_for(certificate).to_string();
        kube.apply(namespace, &secret).await.unwrap();
    }
    let before = murder.get("secret", "be-a-tls").await.unwrap();
    murder.ready(LIMIT).await.unwrap();
    // Mail clients trust the issuer alone here.
    under_load(&murder, async { Ok(()) }).await;
    let after = murder.get("secret", "be-a-tls").await.unwrap();
    assert_eq!(before["data"], after["data"]);
    murder.down().await.unwrap();
    kube.install_operator(&["replicas=1"]).await.unwrap();
    forget(&kube, &made).await;
}
