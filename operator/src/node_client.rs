//! Client of the nodes' admin interface: HTTP/1.1 with JSON over mutual TLS.
//!
//! Each call is one connection with one time limit over all of it; each call that changes something carries the
//! fence of the leadership under which it was decided.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use murder_api::admin::{
    ErrorBody, Fenced, NodeStatus, Retire, RowPage, ServerList, ServerStatus, SetCordon,
    SetTransferRate, StartTransfer, TransferList, TransferStatus, UnitOfRecord, UnitPage,
    UnitSummary,
};
use murder_model::{Fence, MoveId, RootName, ServerId, ServerName};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName as TlsName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Largest answer read, in bytes.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Most pages of units in one listing; more is no list but a loop.
const UNIT_PAGES_MAX: usize = 1000;
/// Most pages of the master's rows.
const ROW_PAGES_MAX: usize = 100_000;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The node could not be reached or did not speak HTTP.
    #[error("cannot reach {address}: {source}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        source: BoxError,
    },
    /// No answer within the limit.
    #[error("{address} did not answer in {limit:?}")]
    TimedOut {
        /// Where.
        address: String,
        /// The limit.
        limit: Duration,
    },
    /// The node refused; its reason and message.
    #[error("refused: {reason}: {message}")]
    Refused {
        /// One word.
        reason: String,
        /// A sentence.
        message: String,
    },
    /// A list has more pages than any backend has units.
    #[error("the list does not end")]
    Endless,
    /// The answer is not what the interface promises.
    #[error("answer not understood: {0}")]
    Answer(serde_json::Error),
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A certificate or key is not usable.
    #[error("certificate, key or authority: {0}")]
    Tls(#[from] rustls::Error),
    /// Text is not PEM.
    #[error("not PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
}

/// Calls nodes under one identity and one fence.
#[derive(Clone)]
pub struct NodeClient {
    connector: TlsConnector,
    fence: Fence,
    limit: Duration,
}

/// A node's admin interface and a way to it. Its text says where it is.
pub trait Endpoint: fmt::Display + Sync {
    /// A connection, without TLS yet.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The name that the node's certificate must have.
    fn tls_name(&self) -> &str;

    /// Connects.
    fn connect(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// An admin interface that is reached directly.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeAddress {
    /// Its socket address.
    pub address: SocketAddr,
    /// The name that its certificate must have.
    pub tls_name: String,
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Endpoint for NodeAddress {
    type Stream = TcpStream;

    fn tls_name(&self) -> &str {
        &self.tls_name
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.address).await
    }
}

impl NodeClient {
    /// A client with its own certificate, which trusts one authority. All are PEM.
    pub fn new(
        certificate: &[u8],
        key: &[u8],
        authority: &[u8],
        fence: Fence,
        limit: Duration,
    ) -> Result<Self, ClientError> {
        let mut roots = rustls::RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authority) {
            roots.add(authority?)?;
        }
        let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?;
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self {
            connector,
            fence,
            limit,
        })
    }

    /// What a node says of itself.
    pub async fn status(&self, node: &impl Endpoint) -> Result<NodeStatus, CallError> {
        self.read(node, "/v1/status").await
    }

    /// The certificate (DER) that a node shows, which an authority of ours has signed.
    pub async fn certificate(&self, node: &impl Endpoint) -> Result<Vec<u8>, CallError> {
        let shown = Box::pin(async {
            let tls = self.connect(node).await?;
            let (_, connection) = tls.get_ref();
            let mut chain = connection.peer_certificates().into_iter().flatten();
            let leaf = chain.next().ok_or("the node shows no certificate")?;
            Ok(leaf.to_vec())
        });
        self.limited(node, shown).await
    }

    /// All units of a backend.
    pub async fn units(&self, node: &impl Endpoint) -> Result<Vec<UnitSummary>, CallError> {
        let mut units = Vec::new();
        let mut path = "/v1/units".to_owned();
        for _ in 0..UNIT_PAGES_MAX {
            let page: UnitPage = self.read(node, &path).await?;
            units.extend(page.units);
            let Some(next) = page.next else {
                return Ok(units);
            };
            path = format!("/v1/units?after={}", escape(next.as_str()));
        }
        // Part of a list would look like a whole one.
        Err(CallError::Endless)
    }

    /// What a backend has of one root.
    pub async fn units_of(
        &self,
        node: &impl Endpoint,
        root: &RootName,
    ) -> Result<Vec<UnitSummary>, CallError> {
        let mut found = Vec::new();
        let begin = begin_before(root);
        // A page from the middle may be of an older order of units; the first page is of now.
        let first = if begin.is_some() { "?limit=1" } else { "" };
        let mut page: UnitPage = self.read(node, &format!("/v1/units{first}")).await?;
        let mut begin = begin.filter(|begin| page.next.as_ref().is_some_and(|next| next < begin));
        for _ in 0..UNIT_PAGES_MAX {
            let next = page.next.filter(|next| next < root);
            let ours = page.units.into_iter().filter(|unit| unit.root == *root);
            found.extend(ours);
            let Some(after) = begin.take().or(next) else {
                return Ok(found);
            };
            let path = format!("/v1/units?limit=100&after={}", escape(after.as_str()));
            page = self.read(node, &path).await?;
        }
        Err(CallError::Endless)
    }

    /// Transfers of a source, running or lately ended.
    pub async fn transfers(&self, node: &impl Endpoint) -> Result<Vec<TransferStatus>, CallError> {
        let list: TransferList = self.read(node, "/v1/transfers").await?;
        Ok(list.transfers)
    }

    /// Starts a transfer; starting it again changes nothing.
    pub async fn start_transfer(
        &self,
        node: &impl Endpoint,
        move_id: MoveId,
        root: RootName,
        destination: ServerName,
    ) -> Result<TransferStatus, CallError> {
        let fence = self.fence;
        let start = StartTransfer {
            fence,
            move_id,
            root,
            destination,
            partition: None,
        };
        self.write(node, "/v1/transfers", &start).await
    }

    /// Withdraws a transfer, if it may still be.
    pub async fn cancel_transfer(
        &self,
        node: &impl Endpoint,
        move_id: MoveId,
    ) -> Result<TransferStatus, CallError> {
        let path = format!("/v1/transfers/{move_id}/cancel");
        self.write(node, &path, &self.fenced()).await
    }

    /// Tells a backend whether to refuse new units.
    pub async fn cordon(
        &self,
        node: &impl Endpoint,
        cordoned: bool,
    ) -> Result<NodeStatus, CallError> {
        let fence = self.fence;
        self.write(node, "/v1/cordon", &SetCordon { fence, cordoned })
            .await
    }

    /// Limits what all transfers away from a node send together, in bytes each second; 0 is no limit.
    pub async fn transfer_rate(
        &self,
        node: &impl Endpoint,
        bytes_per_second: u64,
    ) -> Result<NodeStatus, CallError> {
        let rate = SetTransferRate {
            fence: self.fence,
            bytes_per_second,
        };
        self.write(node, "/v1/transfer-rate", &rate).await
    }

    /// Tells a backend to serve nothing any more.
    pub async fn deactivate(&self, node: &impl Endpoint) -> Result<NodeStatus, CallError> {
        self.write(node, "/v1/deactivate", &self.fenced()).await
    }

    /// The servers that the master knows.
    pub async fn servers(&self, master: &impl Endpoint) -> Result<Vec<ServerStatus>, CallError> {
        let list: ServerList = self.read(master, "/v1/servers").await?;
        Ok(list.servers)
    }

    /// All units that the master has of record.
    pub async fn rows(&self, master: &impl Endpoint) -> Result<Vec<UnitOfRecord>, CallError> {
        let mut rows = Vec::new();
        let mut path = "/v1/rows".to_owned();
        for _ in 0..ROW_PAGES_MAX {
            let page: RowPage = self.read(master, &path).await?;
            rows.extend(page.rows);
            let Some(next) = page.next else {
                return Ok(rows);
            };
            path = format!("/v1/rows?after={next}");
        }
        Err(CallError::Endless)
    }

    /// What the master has of record of a root.
    pub async fn row(
        &self,
        master: &impl Endpoint,
        root: &RootName,
    ) -> Result<Option<UnitOfRecord>, CallError> {
        let path = format!("/v1/rows?root={}", escape(root.as_str()));
        let page: RowPage = self.read(master, &path).await?;
        Ok(page.rows.into_iter().next())
    }

    /// Tells the master whether a server gets new units.
    pub async fn cordon_server(
        &self,
        master: &impl Endpoint,
        server: &str,
        cordoned: bool,
    ) -> Result<ServerStatus, CallError> {
        let path = format!("/v1/servers/{}/cordon", escape(server));
        let fence = self.fence;
        self.write(master, &path, &SetCordon { fence, cordoned })
            .await
    }

    /// Ends a server's identity for ever.
    pub async fn retire(
        &self,
        master: &impl Endpoint,
        server: &str,
        server_id: ServerId,
    ) -> Result<ServerStatus, CallError> {
        let path = format!("/v1/servers/{}/retire", escape(server));
        let fence = self.fence;
        self.write(master, &path, &Retire { fence, server_id })
            .await
    }

    fn fenced(&self) -> Fenced {
        Fenced { fence: self.fence }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        node: &impl Endpoint,
        path: &str,
    ) -> Result<T, CallError> {
        self.call(node, Method::GET, path, Bytes::new()).await
    }

    async fn write<T: DeserializeOwned>(
        &self,
        node: &impl Endpoint,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        let body = serde_json::to_vec(body).map_err(CallError::Answer)?;
        self.call(node, Method::POST, path, body.into()).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        node: &impl Endpoint,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, CallError> {
        let exchange = Box::pin(self.exchange(node, method, path, body));
        let (status, answer) = self.limited(node, exchange).await?;
        if status.is_success() {
            return serde_json::from_slice(&answer).map_err(CallError::Answer);
        }
        let refusal = serde_json::from_slice::<ErrorBody>(&answer).unwrap_or_else(|_| ErrorBody {
            reason: format!("Status{}", status.as_u16()),
            message: String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned(),
        });
        let ErrorBody { reason, message } = refusal;
        Err(CallError::Refused { reason, message })
    }

    async fn limited<T>(
        &self,
        node: &impl Endpoint,
        call: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<T, CallError> {
        let answer = tokio::time::timeout(self.limit, call).await;
        let answer = answer.map_err(|_| CallError::TimedOut {
            address: node.to_string(),
            limit: self.limit,
        })?;
        answer.map_err(|source| CallError::Unreachable {
            address: node.to_string(),
            source,
        })
    }

    async fn connect<E: Endpoint>(&self, node: &E) -> Result<TlsStream<E::Stream>, BoxError> {
        let stream = node.connect().await?;
        let name = TlsName::try_from(node.tls_name().to_owned())?;
        Ok(self.connector.connect(name, stream).await?)
    }

    async fn exchange(
        &self,
        node: &impl Endpoint,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), BoxError> {
        let tls = self.connect(node).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", node.tls_name())
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        exchange_on(TokioIo::new(tls), request).await
    }
}

/// One request on a fresh connection, with a bounded answer.
async fn exchange_on<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), BoxError>
where
    S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let driver = tokio::spawn(connection);
    let outcome = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await?;
        Ok((status, body.to_bytes()))
    }
    .await;
    driver.abort();
    outcome
}

/// Whether a node's `/readyz` answers 200.
pub async fn is_ready(metrics: SocketAddr, limit: Duration) -> bool {
    let probe = Box::pin(async {
        let tcp = TcpStream::connect(metrics).await?;
        let request = Request::get("/readyz")
            .header("host", "localhost")
            .body(Full::new(Bytes::new()))?;
        exchange_on(TokioIo::new(tcp), request).await
    });
    matches!(
        tokio::time::timeout(limit, probe).await,
        Ok(Ok((StatusCode::OK, _)))
    )
}

/// A root that comes before this one in lists, with few between, if the rules of names allow one.
fn begin_before(root: &RootName) -> Option<RootName> {
    let mut text = root.as_str().to_owned();
    text.pop();
    RootName::parse(&text).ok()
}

/// Percent-encodes what a path segment or query value may not hold.
fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_listing_begins_shortly_before_a_root() {
        let before = |root: &str| {
            let found = super::begin_before(&murder_model::RootName::parse(root).unwrap());
            found.map(|root| root.to_string())
        };
        assert_eq!(before("user.alice"), Some("user.alic".to_owned()));
        assert_eq!(before("user.a"), None);
    }

    #[test]
    fn names_are_escaped_in_paths() {
        assert_eq!(super::escape("user.a b+c"), "user.a%20b%2Bc");
    }
}
