//! Connections: TLS, who calls, and time limits around each step.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Method, Request};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tower_service::Service as _;

use super::Limits;
use super::refusal::Refused;
use crate::net::{PeerIdentity, PeerRole, Tls, listener};

/// Headers of one request.
const HEADERS_MAX: usize = 64;

/// What connections share.
struct Shared {
    tls: Tls,
    limits: Limits,
    cluster: String,
    router: Router,
}

/// Serves until `stop` turns true, and then the requests under way.
pub(super) async fn serve(
    socket: TcpListener,
    tls: Tls,
    limits: Limits,
    cluster: String,
    router: Router,
    stop: watch::Receiver<bool>,
) {
    let shared = Arc::new(Shared {
        tls,
        limits,
        cluster,
        router,
    });
    // Each connection holds a sender: the receiver ends with the last of them.
    let (open, mut ended) = mpsc::channel::<Infallible>(1);
    let connections = stop.clone();
    let accepting = listener::serve(socket, limits.connections, b"", stop, move |socket, _| {
        let (shared, stop, open) = (Arc::clone(&shared), connections.clone(), open.clone());
        async move {
            shared.connection(socket, stop).await;
            drop(open);
        }
    });
    accepting.await;
    // After the limit what is left is dropped with the process.
    let _patience = timeout(limits.request, ended.recv()).await;
}

impl Shared {
    async fn connection(self: Arc<Self>, socket: TcpStream, mut stop: watch::Receiver<bool>) {
        let limits = self.limits;
        let accepted = timeout(limits.handshake, self.tls.accept_mutual(socket)).await;
        let (stream, peer) = match accepted {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(error)) => {
                tracing::debug!(event = "admin_handshake_failed", %error);
                return;
            }
            Err(_) => return,
        };
        let service = service_fn(move |request| {
            let (shared, peer) = (Arc::clone(&self), peer.clone());
            async move { Ok::<_, Infallible>(shared.answer(peer, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_headers(HEADERS_MAX)
            .max_buf_size(limits.head_bytes)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = over(&mut stop, limits.connection) => {
                connection.as_mut().graceful_shutdown();
                timeout(limits.request, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(event = "admin_connection_failed", %error);
        }
    }

    async fn answer(&self, peer: Option<PeerIdentity>, mut request: Request<Incoming>) -> Response {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let caller = match self.authorise(peer, &method, &path) {
            Ok(caller) => caller,
            Err(refused) => return refused.into_response(),
        };
        request.extensions_mut().insert(caller.clone());
        let answered = timeout(self.limits.request, self.router.clone().call(request)).await;
        let response = match answered {
            Ok(Ok(response)) => response,
            Err(_) => {
                let message = "not done in time; whether it will be is unknown";
                Refused::unavailable(message).into_response()
            }
        };
        if method != Method::GET {
            let status = response.status().as_u16();
            tracing::info!(event = "admin_call", %caller, %method, path, status);
        }
        response
    }

    /// The operator may do everything, other nodes of the murder may read the status.
    fn authorise(
        &self,
        peer: Option<PeerIdentity>,
        method: &Method,
        path: &str,
    ) -> Result<PeerIdentity, Refused> {
        let Some(peer) = peer else {
            return Err(Refused::forbidden("the certificate names no node"));
        };
        if peer.cluster != self.cluster {
            let message = format!("the certificate is of another murder, {}", peer.cluster);
            return Err(Refused::forbidden(message));
        }
        if peer.role == PeerRole::Operator || (method == Method::GET && path == "/v1/status") {
            return Ok(peer);
        }
        Err(Refused::forbidden(format!("{peer} is not the operator")))
    }
}

/// Returns when a connection has to end.
async fn over(stop: &mut watch::Receiver<bool>, life: Duration) {
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = sleep(life) => {}
    }
}
