//! Connections to backends between transactions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use murder_model::ServerName;
use tokio::time::{Instant, timeout};

use super::Patience;
use super::connection::{Connection, ConnectionError};
use crate::backend::lmtp;
use crate::frontend::{Frontend, Target};
use crate::net::Stream;
use crate::net::dial::{dial_plain, secure};

/// How long a connection is kept idle, well below the time after which a backend closes it.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Bytes on their way between two roles of one process.
const MEMORY_BYTES: usize = 256 << 10;

/// The pool.
#[derive(Debug)]
pub(super) struct Pool {
    frontend: Arc<Frontend>,
    servers: Mutex<HashMap<ServerName, Server>>,
}

#[derive(Debug, Default)]
struct Server {
    idle: Vec<Idle>,
    resting_until: Option<Instant>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    host: String,
    port: u16,
    since: Instant,
}

impl Pool {
    pub(super) fn new(frontend: Arc<Frontend>) -> Self {
        Self {
            frontend,
            servers: Mutex::default(),
        }
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<ServerName, Server>> {
        self.servers.lock().expect("no holder panics")
    }

    /// A connection that was used before and looks alive.
    pub(super) fn take(&self, target: &Target) -> Option<Connection> {
        let mut servers = self.servers();
        servers.retain(|_, server| server.is_of_use());
        let lmtp = &target.addresses.lmtp;
        let server = servers.get_mut(&target.server)?;
        while let Some(mut idle) = server.idle.pop() {
            let is_there = idle.host == lmtp.host && idle.port == lmtp.port;
            if is_there && idle.connection.is_quiet() {
                return Some(idle.connection);
            }
        }
        None
    }

    /// Keeps a connection for the next transaction.
    pub(super) fn put(&self, target: &Target, connection: Connection) {
        let mut servers = self.servers();
        let server = servers.entry(target.server.clone()).or_default();
        server.expire();
        if server.idle.len() < self.frontend.settings.lmtp.backend_connections_idle_max {
            server.idle.push(Idle {
                connection,
                host: target.addresses.lmtp.host.clone(),
                port: target.addresses.lmtp.port,
                since: Instant::now(),
            });
        }
    }

    /// The server did not react: the other connections to it are worth nothing, either.
    pub(super) fn forget(&self, server: &ServerName) {
        if let Some(server) = self.servers().get_mut(server) {
            server.idle.clear();
        }
    }

    /// A new connection.
    pub(super) async fn open(
        &self,
        target: &Target,
        patience: &Patience,
    ) -> Result<Connection, ConnectionError> {
        if self.is_resting(&target.server) {
            return Err(ConnectionError::Silent);
        }
        let opened = timeout(patience.open, self.connect(target)).await;
        let opened = opened.unwrap_or(Err(ConnectionError::Silent));
        if let Err(error) = &opened {
            tracing::warn!(event = "backend_unreachable", server = %target.server, %error);
            if error.is_silence() {
                let mut servers = self.servers();
                let server = servers.entry(target.server.clone()).or_default();
                server.resting_until = Some(Instant::now() + patience.rest);
            }
        }
        opened
    }

    fn is_resting(&self, server: &ServerName) -> bool {
        let servers = self.servers();
        let until = servers.get(server).and_then(|server| server.resting_until);
        until.is_some_and(|until| Instant::now() < until)
    }

    async fn connect(&self, target: &Target) -> Result<Connection, ConnectionError> {
        let frontend = &self.frontend;
        let (name, cluster) = (&frontend.settings.name, &frontend.settings.cluster);
        if let Some(backend) = frontend.local(target) {
            let (ours, theirs) = tokio::io::duplex(MEMORY_BYTES);
            let served = lmtp::serve(
                Arc::clone(backend),
                None,
                Stream::Memory(theirs),
                None,
                Some(frontend.own_identity()),
                None,
            );
            tokio::spawn(async move {
                if let Err(error) = served.await {
                    tracing::debug!(event = "session_failed", protocol = "lmtp", %error);
                }
            });
            return Connection::greet(Stream::Memory(ours), name).await?.check();
        }
        let lmtp = &target.addresses.lmtp;
        let socket = dial_plain(&lmtp.host, lmtp.port).await?;
        let connection = Connection::greet(Stream::Plain(socket), name).await?;
        let server = target.server.as_str();
        let shake_hands = |stream| async move {
            match stream {
                Stream::Plain(socket) => {
                    secure(&frontend.tls, socket, &lmtp.host, cluster, server).await
                }
                other => Ok(other),
            }
        };
        connection.start_tls(name, shake_hands).await?.check()
    }
}

impl Server {
    fn is_of_use(&mut self) -> bool {
        self.expire();
        let is_resting = self
            .resting_until
            .is_some_and(|until| Instant::now() < until);
        is_resting || !self.idle.is_empty()
    }

    fn expire(&mut self) {
        self.idle.retain(|idle| idle.since.elapsed() < IDLE_LIMIT);
    }
}
