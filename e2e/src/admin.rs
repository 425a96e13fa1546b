//! A client of the nodes' admin interface: JSON over HTTP/1.1 and mutual TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use murder_api::admin::{
    ErrorBody, NodeStatus, ServerList, ServerStatus, SetCordon, StartTransfer, TransferList,
    TransferStatus, UnitPage, UnitSummary,
};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a call may take.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Most pages of units that are read.
const PAGES_MAX: usize = 10_000;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The node refused.
    #[error("refused with {status}: {reason}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// One word.
        reason: String,
        /// A sentence.
        message: String,
    },
    /// There is no answer, or none that is understood.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl CallError {
    /// The word of a refusal.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused { reason, .. } => Some(reason),
            Self::Failed(_) => None,
        }
    }
}

/// Calls nodes under one identity; each call is a connection of its own.
#[derive(Clone)]
pub struct Admin {
    connector: TlsConnector,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admin")
    }
}

impl Admin {
    /// A client with this identity.
    #[must_use]
    pub fn new(identity: Arc<ClientConfig>) -> Self {
        Self {
            connector: TlsConnector::from(identity),
        }
    }

    /// What a node says of itself.
    pub async fn status(&self, node: SocketAddr) -> Result<NodeStatus, CallError> {
        self.get(node, "/v1/status").await
    }

    /// All units of a node.
    pub async fn units(&self, node: SocketAddr) -> Result<Vec<UnitSummary>, CallError> {
        let mut units = Vec::new();
        let mut path = "/v1/units".to_owned();
        for _ in 0..PAGES_MAX {
            let page: UnitPage = self.get(node, &path).await?;
            units.extend(page.units);
            match page.next {
                Some(next) => path = format!("/v1/units?after={}", escape(next.as_str())),
                None => return Ok(units),
            }
        }
        Err(anyhow::anyhow!("the list of units does not end").into())
    }

    /// Transfers from a node, running or lately ended.
    pub async fn transfers(&self, node: SocketAddr) -> Result<Vec<TransferStatus>, CallError> {
        let list: TransferList = self.get(node, "/v1/transfers").await?;
        Ok(list.transfers)
    }

    /// Starts a transfer at its source.
    pub async fn start_transfer(
        &self,
        node: SocketAddr,
        transfer: &StartTransfer,
    ) -> Result<TransferStatus, CallError> {
        self.post(node, "/v1/transfers", transfer).await
    }

    /// Tells a node whether to refuse new units.
    pub async fn cordon(
        &self,
        node: SocketAddr,
        cordon: &SetCordon,
    ) -> Result<NodeStatus, CallError> {
        self.post(node, "/v1/cordon", cordon).await
    }

    /// The servers that the master knows.
    pub async fn servers(&self, master: SocketAddr) -> Result<Vec<ServerStatus>, CallError> {
        let list: ServerList = self.get(master, "/v1/servers").await?;
        Ok(list.servers)
    }

    /// Tells the master whether a server gets new units.
    pub async fn cordon_server(
        &self,
        master: SocketAddr,
        server: &str,
        cordon: &SetCordon,
    ) -> Result<ServerStatus, CallError> {
        let path = format!("/v1/servers/{}/cordon", escape(server));
        self.post(master, &path, cordon).await
    }

    /// GET of any path.
    pub async fn get<A: DeserializeOwned>(
        &self,
        node: SocketAddr,
        path: &str,
    ) -> Result<A, CallError> {
        self.call(node, Method::GET, path, Bytes::new()).await
    }

    /// POST to any path.
    pub async fn post<A: DeserializeOwned>(
        &self,
        node: SocketAddr,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<A, CallError> {
        let body = serde_json::to_vec(body).context("cannot write JSON")?;
        self.call(node, Method::POST, path, body.into()).await
    }

    async fn call<A: DeserializeOwned>(
        &self,
        node: SocketAddr,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<A, CallError> {
        let what = format!("{method} {path} at {node}");
        let exchange = self.exchange(node, method, path, body);
        let (status, answer) = timeout(CALL_LIMIT, exchange)
            .await
            .map_err(|_| anyhow::anyhow!("no answer in {} s", CALL_LIMIT.as_secs()))
            .flatten()
            .context(what.clone())?;
        if !(200..300).contains(&status) {
            let error = serde_json::from_slice::<ErrorBody>(&answer);
            let (reason, message) = match error {
                Ok(error) => (error.reason, error.message),
                Err(_) => (String::new(), String::from_utf8_lossy(&answer).into_owned()),
            };
            return Err(CallError::Refused {
                status,
                reason,
                message,
            });
        }
        Ok(serde_json::from_slice(&answer).context(what)?)
    }

    async fn exchange(
        &self,
        node: SocketAddr,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<(u16, Bytes)> {
        let stream = TcpStream::connect(node).await?;
        let name = ServerName::IpAddress(node.ip().into());
        let stream = self.connector.connect(name, stream).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", node.to_string())
            .header("content-type", "application/json")
            .header("connection", "close")
            .body(Full::new(body))?;
        let answer = async move {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("{error}"))?;
            Ok((head.status.as_u16(), body.to_bytes()))
        };
        // The connection only carries; what failed is told by the answer.
        let (answer, _carried) = tokio::join!(answer, connection);
        answer
    }
}

/// Percent-encodes what a path or a query cannot hold.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn what_a_path_cannot_hold_is_escaped() {
        assert_eq!(escape("user.al ice^b"), "user.al%20ice%5Eb");
    }
}
