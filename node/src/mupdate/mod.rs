//! The role `mupdate`: the location database behind MUPDATE (RFC 3656), for our own nodes and for
//! Cyrus servers.

pub mod ask;
mod login;
pub mod master;
mod session;
mod stream;

use std::sync::Arc;

use murder_api::Settings;
use tokio::net::TcpStream;

use crate::accounts::Accounts;
use crate::imap::End;
use crate::net::Tls;
use crate::telemetry::Metrics;
use master::MasterHandle;

/// Most MUPDATE sessions at once.
pub const SESSIONS_MAX: usize = 4096;

/// What the sessions of a master share.
#[derive(Debug)]
pub struct Server {
    /// The node's settings.
    pub settings: Arc<Settings>,
    /// For administrators of Cyrus servers.
    pub accounts: Option<Arc<dyn Accounts>>,
    /// For STARTTLS.
    pub tls: Option<Tls>,
    /// The location database.
    pub master: MasterHandle,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Server {
    /// Serves one connection to its end.
    pub async fn serve(self: Arc<Self>, socket: TcpStream) -> Result<(), End> {
        let _counted = self.metrics.session("mupdate");
        session::Connection::new(self, socket).run().await
    }
}
