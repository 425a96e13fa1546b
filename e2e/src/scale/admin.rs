//! One listener for the admin interfaces of all nodes: which one is meant, the address tells that was called.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::nodes::Nodes;

/// Port of the admin interface in pods.
const PORT: u16 = 8443;

/// Certificates by the name that is called.
#[derive(Default)]
pub(super) struct Certificates(RwLock<HashMap<String, Arc<CertifiedKey>>>);

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates")
    }
}

impl Certificates {
    /// Takes the certificate and key of a node, as in its Secret.
    pub(super) fn put(&self, name: &str, certificate: &[u8], key: &[u8]) -> Result<()> {
        let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key)?;
        let provider = rustls::crypto::ring::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider)?;
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_owned(), Arc::new(key));
        Ok(())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(hello.server_name()?).cloned()
    }
}

/// Serves all nodes until the program ends.
pub(super) async fn serve(nodes: Arc<Nodes>, certificates: Arc<Certificates>) -> Result<()> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // Who calls is not checked: nodes do that, and they are tested elsewhere.
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let everywhere = SocketAddr::from(([0, 0, 0, 0], PORT));
    let listener = TcpListener::bind(everywhere)
        .await
        .with_context(|| format!("listen on {everywhere}; run by e2e/cluster/scale"))?;
    tokio::spawn(async move {
        // Accepting fails when descriptors run out, and then the operator's calls fail, which shows.
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, acceptor.clone(), Arc::clone(&nodes)));
        }
    });
    Ok(())
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, nodes: Arc<Nodes>) {
    let Ok(address) = stream.local_addr() else {
        return;
    };
    // A client that goes away in the middle is its own business.
    let Ok(tls) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(|request| answer(&nodes, address, request));
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(tls), service)
        .await;
}

async fn answer(
    nodes: &Nodes,
    address: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes());
    let body = body.unwrap_or_default();
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    let outcome = nodes.answer(address.ip(), head.method.as_str(), path, query, &body);
    let (status, text) = match outcome {
        Ok(text) => (200, text),
        Err((status, error)) => (status, serde_json::to_vec(&error).unwrap_or_default()),
    };
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    Ok(response)
}
