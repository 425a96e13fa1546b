//! The admin client over streams that are no sockets, as a port-forward is none.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use murder_model::{Fence, RootName};
use murder_operator::node_client::{CallError, Endpoint, NodeClient};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsAcceptor;

/// A node that answers one request after the other with what it was given, and remembers their paths.
struct Node {
    acceptor: TlsAcceptor,
    answers: Mutex<VecDeque<String>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("be-a-0")
    }
}

impl Endpoint for Node {
    type Stream = DuplexStream;

    fn tls_name(&self) -> &str {
        "be-a-0"
    }

    async fn connect(&self) -> io::Result<DuplexStream> {
        let answer = self.answers.lock().unwrap().pop_front();
        let answer = answer.ok_or_else(|| io::Error::other("the port-forward is closed"))?;
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (acceptor, asked) = (self.acceptor.clone(), Arc::clone(&self.asked));
        tokio::spawn(async move {
            let mut stream = acceptor.accept(theirs).await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let request = String::from_utf8(request).unwrap();
            let path = request.split(' ').nth(1).unwrap().to_owned();
            asked.lock().unwrap().push(path);
            let length = answer.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Until the client has read all.
            let _ = stream.read_u8().await;
        });
        Ok(ours)
    }
}

/// A client and a node of one authority.
fn pair(answers: &[String]) -> (NodeClient, Node) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["be-a-0".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let (pem, key) = (leaf.pem(), key.serialize_pem());
    let limit = Duration::from_secs(10);
    let client = NodeClient::new(
        pem.as_bytes(),
        key.as_bytes(),
        authority.pem().as_bytes(),
        Fence::new(1),
        limit,
    );
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let node = Node {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        answers: Mutex::new(answers.iter().cloned().collect()),
        asked: Arc::default(),
    };
    (client.unwrap(), node)
}

fn page(roots: &[&str], next: Option<&str>) -> String {
    let units: Vec<_> = roots
        .iter()
        .map(|root| {
            serde_json::json!({
                "unit": "01".repeat(16), "root": root, "partition": "default", "state": "Owner", "epoch": 1,
                "mailboxes": 1, "messages": 1, "bytes": 1,
            })
        })
        .collect();
    match next {
        None => serde_json::json!({ "units": units }).to_string(),
        Some(next) => serde_json::json!({ "units": units, "next": next }).to_string(),
    }
}

#[tokio::test]
async fn one_root_is_found_without_reading_the_whole_list() {
    let (client, node) = pair(&[
        page(&["user.aaron"], Some("user.aaron")),
        page(&["user.alicia"], Some("user.alicia")),
        page(&["user.alicib", "user.alicic"], Some("user.alicic")),
    ]);
    let root = RootName::parse("user.alicib").unwrap();
    let found = client.units_of(&node, &root).await.unwrap();
    let roots: Vec<_> = found.iter().map(|unit| unit.root.as_str()).collect();
    assert_eq!(roots, ["user.alicib"]);
    assert_eq!(
        *node.asked.lock().unwrap(),
        [
            "/v1/units?limit=1",
            "/v1/units?limit=100&after=user.alici",
            "/v1/units?limit=100&after=user.alicia",
        ]
    );
}

#[tokio::test]
async fn a_short_list_is_read_once() {
    let (client, node) = pair(&[page(&["user.alice"], None)]);
    let root = RootName::parse("user.alice").unwrap();
    let found = client.units_of(&node, &root).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(*node.asked.lock().unwrap(), ["/v1/units?limit=1"]);
}

#[tokio::test]
async fn a_way_that_is_closed_is_told_with_the_nodes_name() {
    let (client, node) = pair(&[]);
    let error = client.status(&node).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "cannot reach be-a-0: the port-forward is closed"
    );
}
