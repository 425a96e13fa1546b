//! The admin interface's client against a server that writes its answers byte for byte.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;

use murder_api::admin::{SetCordon, StartTransfer};
use murder_e2e::admin::{Admin, CallError};
use murder_e2e::murder::Authority;
use murder_model::{Fence, MoveId, RootName, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Serves one call: takes `length` bytes of body, answers, and gives the request.
async fn serve_once(
    authority: &Authority,
    body_length: usize,
    answer: &'static str,
) -> (SocketAddr, JoinHandle<String>) {
    let files = authority.issue("backend", "be-a", "be-a-0").unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&files.ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&files.certificate).unwrap()],
            PrivateKeyDer::from_pem_file(&files.key).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut stream = acceptor.accept(socket).await.unwrap();
        let mut request = Vec::new();
        loop {
            let head = request.windows(4).position(|four| four == b"\r\n\r\n");
            if head.is_some_and(|head| request.len() >= head + 4 + body_length) {
                break;
            }
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (address, served)
}

fn client(authority: &Authority) -> Admin {
    let operator = authority.issue("operator", "operator", "operator-0");
    Admin::new(operator.unwrap().client().unwrap())
}

#[tokio::test]
async fn a_transfer_is_started_with_the_documented_json() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("mc", folder.path()).unwrap();
    let body = r#"{"fence":7,"moveId":"00000000000000000000000000000001","root":"user.alice","destination":"be-b"}"#;
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        90\r\n{\"moveId\":\"00000000000000000000000000000001\",\"root\":\"user.alice\",\
        \"destination\":\"be-b\",\"phase\":\"Queued\",\"attempts\":0,\"mailboxes\":6,\"bytesSent\":0,\
        \r\n1f\r\n\"bytesTotal\":9000,\"freezeMs\":0}\r\n0\r\n\r\n";
    let (address, served) = serve_once(&authority, body.len(), answer).await;
    let mut move_id = [0; 16];
    move_id[15] = 1;
    let transfer = StartTransfer {
        fence: Fence::new(7),
        move_id: MoveId::from_bytes(move_id),
        root: RootName::parse("user.alice").unwrap(),
        destination: ServerName::parse("be-b").unwrap(),
        partition: None,
    };
    let started = client(&authority).start_transfer(address, &transfer).await;
    let request = served.await.unwrap();
    let expected = format!(
        "POST /v1/transfers HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(request, expected);
    assert_eq!(started.unwrap().mailboxes, 6);
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("mc", folder.path()).unwrap();
    let answer = "HTTP/1.1 409 Conflict\r\nContent-Length: 58\r\n\r\n\
        {\"reason\":\"Fenced\",\"message\":\"an operator took over at 9\"}";
    let (address, served) = serve_once(&authority, 27, answer).await;
    let cordon = SetCordon {
        fence: Fence::new(7),
        cordoned: true,
    };
    let refused = client(&authority).cordon(address, &cordon).await;
    let CallError::Refused {
        status,
        reason,
        message,
    } = refused.unwrap_err()
    else {
        unreachable!("it was refused");
    };
    assert_eq!((status, &*reason), (409, "Fenced"));
    assert_eq!(message, "an operator took over at 9");
    assert!(
        served
            .await
            .unwrap()
            .ends_with("{\"fence\":7,\"cordoned\":true}")
    );
}
