//! Certificates that are given in Secrets: the authority of a murder, and what mail clients see.

use std::sync::Arc;
use std::time::Duration;

use murder_e2e::demo::{Door, TlsDoor};
use murder_e2e::kube::{KubeMurder, USERS};
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;

use crate::authority::Authority;
use crate::load::under_load;
use crate::{kube, manifests};

/// A kubelet brings a changed Secret into pods within two minutes.
const LIMIT: Duration = Duration::from_secs(240);
/// What mail clients call the murder.
const PUBLIC: &str = "mail.example.org";

impl Authority {
    /// A Secret with the authority itself.
    fn secret(&self, name: &str) -> String {
        secret(name, &self.pem, &self.key, &self.pem)
    }

    /// A Secret with a certificate for mail clients.
    fn public(&self, name: &str) -> String {
        let params = CertificateParams::new(vec![PUBLIC.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        secret(name, &signed.pem(), &key.serialize_pem(), &self.pem)
    }

    /// The door as a mail client sees it that trusts this authority alone.
    fn door(&self, door: &Door) -> Door {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = TlsDoor {
            config: Arc::new(config),
            name: PUBLIC.to_owned(),
        };
        Door {
            tls: Some(tls),
            ..door.clone()
        }
    }
}

fn secret(name: &str, certificate: &str, key: &str, authority: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name},
        "stringData": {"tls.crt": certificate, "tls.key": key, "ca.crt": authority},
    })
    .to_string()
}

/// Row 52: a murder under an authority of one's own serves, and that Secret stays as it is; a certificate for mail
/// clients is shown to them, and its successor, too, without a restart.
#[tokio::test]
async fn given_certificates_are_used_and_their_successors_without_a_restart() {
    let kube = kube().await;
    let ours = Authority::new("our own authority");
    let public = [Authority::new("first"), Authority::new("second")];
    let reference = "spec:\n  tls: {secretRef: {name: our-authority}}\n";
    let text = manifests(&["be-a", "be-b"]).replacen("spec:\n", reference, 1);
    let murder = KubeMurder::prepare(&kube, "e2e-given", USERS)
        .await
        .unwrap();
    let namespace = &murder.namespace;
    let given = ours.secret("our-authority");
    kube.apply(namespace, &given).await.unwrap();
    kube.apply(namespace, &text).await.unwrap();
    murder.ready(LIMIT).await.unwrap();
    under_load(&murder, async { Ok(()) }).await;
    assert_eq!(kube.get(namespace, "secret", "mc-ca").await.unwrap(), None);

    let party = murder.party().await.unwrap();
    let shown = async |authority: &Authority| {
        let door = authority.door(&party.doors[0]);
        kube.until("clients see the certificate", LIMIT, async || {
            let session = door.login(&party.users[0], &party.password).await;
            match session {
                Ok(session) => session.logout().await.map(|()| true),
                // It is not there yet.
                Err(_) => Ok(false),
            }
        })
        .await
        .unwrap();
    };
    kube.apply(namespace, &public[0].public("shown"))
        .await
        .unwrap();
    let patch = r#"{"spec":{"tls":{"secretRef":{"name":"shown"}}}}"#;
    kube.patch(namespace, "frontend", "fe", patch)
        .await
        .unwrap();
    shown(&public[0]).await;
    kube.wait_for(namespace, "frontend/fe", "condition=Ready", LIMIT)
        .await
        .unwrap();
    murder.ready(LIMIT).await.unwrap();
    let uids = async || {
        let pods = kube.list(namespace, "pods").await.unwrap();
        let uid = |pod: &serde_json::Value| pod["metadata"]["uid"].clone();
        pods.iter().map(uid).collect::<Vec<_>>()
    };
    let before = uids().await;
    kube.apply(namespace, &public[1].public("shown"))
        .await
        .unwrap();
    shown(&public[1]).await;
    assert_eq!(uids().await, before);
    murder.down().await.unwrap();
}
