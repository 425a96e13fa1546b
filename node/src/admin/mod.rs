//! The admin interface: HTTP/1.1 (RFC 9112) with JSON, over mutual TLS.
//!
//! Paths and bodies are those of [`murder_api::admin`]. The operator's certificate may do
//! everything; other nodes of the murder may read `/v1/status`. Without a certificate of the
//! murder's authority there is no connection at all.
//!
//! Calls that change something run one at a time: first the caller's fence is admitted, durably,
//! then the change is made, durably, then it is answered. A caller that goes away in between does
//! not stop the change. Everything a caller could let grow or wait has a limit in [`Limits`].

mod backend;
mod body;
pub mod commands;
mod connection;
mod master;
mod query;
mod refusal;
mod rows;
mod status;
pub(crate) mod survey;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, Uri};
use axum::middleware::map_response_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use murder_api::Settings;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};

use self::commands::TransferCommands;
use self::master::NameCounts;
use self::refusal::{FENCED, Reason, Refused};
use self::survey::Surveys;
use crate::backend::Backend;
use crate::mupdate::master::MasterHandle;
use crate::net::Tls;
use crate::server_state::ServerState;
use crate::telemetry::{Health, Metrics};

/// What callers may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; one more is closed.
    pub connections: usize,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time for a request's head, also while a connection is idle.
    pub head: Duration,
    /// Time for a request's body.
    pub body: Duration,
    /// Time for a request with its answer.
    pub request: Duration,
    /// Life of a connection, whatever happens on it; then it finishes the request under way.
    pub connection: Duration,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(10),
            body: Duration::from_secs(5),
            request: Duration::from_secs(30),
            connection: Duration::from_secs(60),
            head_bytes: 16 << 10,
            body_bytes: 64 << 10,
        }
    }
}

/// What a node with mailboxes shows and is commanded through.
#[derive(Clone, Debug)]
pub struct BackendPart {
    /// Its mailboxes.
    pub backend: Arc<Backend>,
    /// Its transfers; `None` for a single server, which has nobody to transfer to.
    pub transfers: Option<Arc<dyn TransferCommands>>,
}

/// What the admin interface speaks for.
#[derive(Clone, Debug)]
pub struct Context {
    /// The node's settings.
    pub settings: Arc<Settings>,
    /// For sessions.
    pub metrics: Arc<Metrics>,
    /// For readiness.
    pub health: Arc<Health>,
    /// Fence and term, of nodes that keep them; a master has its own.
    pub state: Option<Arc<ServerState>>,
    /// Of backends and unified nodes.
    pub backend: Option<BackendPart>,
    /// Of the master.
    pub master: Option<MasterHandle>,
    /// What callers may use.
    pub limits: Limits,
}

/// Serves until `stop` turns true, then waits, a limited time, for the requests under way.
pub async fn serve(listener: TcpListener, tls: Tls, context: Context, stop: watch::Receiver<bool>) {
    let limits = context.limits;
    let cluster = context.settings.cluster.clone();
    let router = router(Admin {
        context,
        names: NameCounts::default(),
        surveys: Surveys::default(),
        turn: Arc::default(),
    });
    connection::serve(listener, tls, limits, cluster, router, stop).await;
}

/// What requests share.
struct Admin {
    context: Context,
    names: NameCounts,
    surveys: Surveys,
    turn: Arc<Mutex<()>>,
}

impl Admin {
    /// Runs a command after those before it, and to its end even if the caller goes away.
    async fn in_turn<T, F>(&self, command: F) -> Result<T, Refused>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Refused>> + Send + 'static,
    {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let running = tokio::spawn(async move {
            let outcome = command.await;
            drop(turn);
            outcome
        });
        running.await.unwrap_or_else(|_| {
            let message = "the command ended early; whether it was done is unknown";
            Err(Refused::unavailable(message))
        })
    }
}

fn router(admin: Admin) -> Router {
    let metrics = Arc::clone(&admin.context.metrics);
    let mut router = Router::new().route("/v1/status", get(status::status));
    if admin.context.master.is_some() {
        router = router
            .route("/v1/servers", get(master::servers))
            .route("/v1/rows", get(rows::rows))
            .route("/v1/servers/{name}/cordon", post(master::cordon))
            .route("/v1/servers/{name}/retire", post(master::retire))
            .route("/v1/servers/{name}/confirm", post(master::confirm));
    }
    if admin.context.backend.is_some() {
        router = router
            .route("/v1/units", get(backend::units))
            .route(
                "/v1/transfers",
                get(backend::transfers).post(backend::start),
            )
            .route("/v1/transfers/{id}/cancel", post(backend::cancel))
            .route("/v1/transfer-rate", post(backend::transfer_rate))
            .route("/v1/cordon", post(backend::cordon))
            .route("/v1/deactivate", post(backend::deactivate));
    }
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(map_response_with_state(metrics, count_fenced))
        .layer(DefaultBodyLimit::max(admin.context.limits.body_bytes))
        .with_state(Arc::new(admin))
}

async fn count_fenced(State(metrics): State<Arc<Metrics>>, response: Response) -> Response {
    if response.extensions().get() == Some(&Reason(FENCED)) {
        metrics.node.fenced_commands.inc();
    }
    response
}

async fn unknown_path(uri: Uri) -> Refused {
    let path: String = uri.path().chars().take(200).collect();
    Refused::not_found(format!("this node has no {path}"))
}

async fn wrong_method(method: Method) -> Refused {
    Refused::wrong_method(&method)
}
