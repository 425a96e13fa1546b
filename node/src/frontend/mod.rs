//! The role `frontend`: clients of the whole murder come here and are routed to who has their mail.

pub mod imap;
pub mod lmtp;
pub mod router;

use std::fmt;
use std::sync::Arc;

use murder_api::Settings;

use crate::accounts::Accounts;
use crate::backend::Backend;
use crate::net::{PeerIdentity, PeerRole, Tls};
use crate::telemetry::Metrics;

pub use router::{Moved, Router, RouterError, Target};

/// What the sessions of a frontend share.
pub struct Frontend {
    /// The node's settings.
    pub settings: Arc<Settings>,
    /// Who may log in.
    pub accounts: Arc<dyn Accounts>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// For connections to backends.
    pub tls: Tls,
    /// Where names are.
    pub router: Router,
    /// The backend of this very node, in the role `unified`.
    pub local: Option<Arc<Backend>>,
}

impl fmt::Debug for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Frontend")
            .field(&self.settings.name)
            .finish()
    }
}

impl Frontend {
    /// The backend of this node, if `target` is this node.
    pub fn local(&self, target: &Target) -> Option<&Arc<Backend>> {
        let here = target.server == self.settings.server;
        self.local.as_ref().filter(|_| here)
    }

    /// This node as its own backend sees it.
    pub fn own_identity(&self) -> PeerIdentity {
        PeerIdentity {
            cluster: self.settings.cluster.clone(),
            role: PeerRole::Unified,
            server: self.settings.server.to_string(),
            pod: self.settings.name.clone(),
        }
    }
}
