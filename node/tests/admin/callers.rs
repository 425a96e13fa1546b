//! Who may call, and what they get otherwise.

use std::sync::Arc;

use murder_model::{Fence, Term};
use murder_node::server_state::ServerState;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Authority, Parts, Running, json, refused, settings};

/// A frontend that has seen fence 5 and term 3.
async fn frontend(authority: &Authority) -> Running {
    let settings = settings(authority.path(), "frontend", "fe");
    let state = ServerState::open(&settings.data_dir).unwrap();
    state.admit(Fence::new(5)).unwrap().unwrap();
    state.promise(Term::new(3)).unwrap();
    let parts = Parts {
        state: Some(Arc::new(state)),
        ..Parts::new(settings)
    };
    Running::start(authority, parts).await
}

fn status(ready: bool, sessions: u64) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        r#"{{"name":"fe-0","server":"fe","role":"frontend","version":"{version}","ready":{ready},"fence":5,"term":3,"sessions":{sessions}}}"#
    )
}

#[tokio::test]
async fn every_node_of_the_murder_may_read_the_status() {
    let authority = Authority::new();
    let node = frontend(&authority).await;
    for role in ["operator", "backend", "frontend", "mupdate", "unified"] {
        let tls = authority.tls(Some(&format!("murder://test/{role}/other/other-0")));
        let answer = node.get(&tls, "/v1/status").await;
        assert_eq!(answer, json("200 OK", &status(false, 0)), "{role}");
    }
}

#[tokio::test]
async fn the_status_tells_readiness_and_open_sessions() {
    let authority = Authority::new();
    let node = frontend(&authority).await;
    node.health.set_ready(true);
    let _imap = (node.metrics.session("imap"), node.metrics.session("imap"));
    let _lmtp = node.metrics.session("lmtp");
    let _other = node.metrics.session("mupdate");
    let answer = node.get(&authority.operator(), "/v1/status").await;
    assert_eq!(answer, json("200 OK", &status(true, 3)));
}

#[tokio::test]
async fn only_the_operator_may_do_more() {
    let authority = Authority::new();
    let node = frontend(&authority).await;
    let tls = authority.tls(Some("murder://test/backend/be-a/be-a-0"));
    let message = "be-a-0 (Backend be-a) is not the operator";
    let answer = node.get(&tls, "/v1/units").await;
    assert_eq!(answer, refused("403 Forbidden", "Forbidden", message));
    let answer = node.post(&tls, "/v1/status", "{}").await;
    assert_eq!(answer, refused("403 Forbidden", "Forbidden", message));
}

#[tokio::test]
async fn certificates_of_other_murders_and_without_a_name_are_refused() {
    let authority = Authority::new();
    let node = frontend(&authority).await;
    let tls = authority.tls(Some("murder://other/operator/operator/operator-0"));
    let message = "the certificate is of another murder, other";
    let answer = node.get(&tls, "/v1/status").await;
    assert_eq!(answer, refused("403 Forbidden", "Forbidden", message));
    let tls = authority.tls(None);
    let answer = node.get(&tls, "/v1/status").await;
    let message = "the certificate names no node";
    assert_eq!(answer, refused("403 Forbidden", "Forbidden", message));
}

/// A client that trusts the authority and shows `certificate`, if any.
async fn handshake_fails(authority: &Authority, node: &Running, foreign: bool) {
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(authority.path().join("ca.pem")).unwrap();
    use rustls_pki_types::pem::PemObject as _;
    roots
        .add(rustls_pki_types::CertificateDer::from_pem_slice(&pem).unwrap())
        .unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    let config = if foreign {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes());
        let chain = vec![certificate.der().clone()];
        config.with_client_auth_cert(chain, key.unwrap()).unwrap()
    } else {
        config.with_no_client_auth()
    };
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let socket = TcpStream::connect(node.address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let Ok(mut stream) = connector.connect(name, socket).await else {
        return;
    };
    // In TLS 1.3 the client learns of it when it reads.
    let _sent = stream.write_all(b"GET /v1/status HTTP/1.1\r\n\r\n").await;
    let mut answer = Vec::new();
    assert!(stream.read_to_end(&mut answer).await.is_err());
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn without_a_certificate_of_the_authority_there_is_no_connection() {
    let authority = Authority::new();
    let node = frontend(&authority).await;
    handshake_fails(&authority, &node, false).await;
    handshake_fails(&authority, &node, true).await;
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_named() {
    let authority = Authority::new();
    let node = frontend(&authority).await;
    let tls = authority.operator();
    for path in ["/v1/units", "/v1/servers", "/", "/v2/status"] {
        let answer = node.get(&tls, path).await;
        let message = format!("this node has no {path}");
        assert_eq!(answer, refused("404 Not Found", "NotFound", &message));
    }
    let message = "this path does not take POST";
    let expected = refused("405 Method Not Allowed", "MethodNotAllowed", message);
    let answer = node.post(&tls, "/v1/status", "").await;
    assert_eq!(answer.replace("allow: GET,HEAD\r\n", ""), expected);
}
