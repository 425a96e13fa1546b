//! Which backend a recipient is offered to, and to which one next.

use std::time::Duration;

use murder_locations::replica::ReplicaError;
use murder_model::{RootKind, RootName, ServerName};
use murder_proto::lmtp::reply::{EnhancedCode, Reply};
use tokio::time::sleep;

use crate::frontend::router::HOPS_MAX;
use crate::frontend::{Frontend, Moved, RouterError, Target};

/// A backend that is the owner of record and does not serve the mailbox yet is about to: it is
/// asked again after this time,
const HOLD_STEP: Duration = Duration::from_millis(100);
/// so many times.
const HOLDS_MAX: usize = 20;

/// The search for one recipient's backend.
#[derive(Debug)]
pub(super) struct Search<'a> {
    frontend: &'a Frontend,
    root: &'a RootName,
    /// Servers that did not take the recipient.
    passed: Vec<ServerName>,
    hops: usize,
    holds: usize,
    /// Nobody has the mailbox: it is to be made where the recipient is offered next.
    is_new: bool,
}

impl<'a> Search<'a> {
    pub(super) fn new(frontend: &'a Frontend, root: &'a RootName) -> Self {
        Self {
            frontend,
            root,
            passed: Vec::new(),
            hops: 0,
            holds: 0,
            is_new: false,
        }
    }

    /// The first backend to try, or the reply if there is none.
    pub(super) async fn start(&mut self) -> Result<Target, Reply> {
        let found = self.frontend.router.route(&self.root.mailbox()).await;
        self.found(found).await
    }

    /// The next one, after `from` answered "moved".
    pub(super) async fn follow(&mut self, from: &Target, moved: &Moved) -> Result<Target, Reply> {
        let found = self
            .frontend
            .router
            .follow(&self.root.mailbox(), moved)
            .await;
        if let Ok(Some(target)) = &found
            && target.server == from.server
        {
            self.holds += 1;
            if self.holds > HOLDS_MAX {
                return Err(on_its_way());
            }
            sleep(HOLD_STEP).await;
            return found.map_or_else(
                |_| Err(on_its_way()),
                |target| target.ok_or_else(on_its_way),
            );
        }
        self.hop(from)?;
        self.found(found).await
    }

    /// The next one, after `from` could not be asked; `reply` says so. Only where the mailbox is to
    /// be made there is a choice.
    pub(super) async fn go_round(&mut self, from: &Target, reply: Reply) -> Result<Target, Reply> {
        if !self.is_new {
            return Err(reply);
        }
        self.hop(from)?;
        // The backend may have made it before it fell silent.
        self.start().await.map_err(|_| reply)
    }

    fn hop(&mut self, from: &Target) -> Result<(), Reply> {
        self.passed.push(from.server.clone());
        self.hops += 1;
        if self.hops > HOPS_MAX {
            return Err(on_its_way());
        }
        Ok(())
    }

    async fn found(&mut self, found: Result<Option<Target>, RouterError>) -> Result<Target, Reply> {
        match found {
            Ok(Some(target)) => Ok(target),
            Ok(None) => self.place().await,
            Err(error) => Err(later(&error)),
        }
    }

    /// It is proved that nobody has the mailbox.
    async fn place(&mut self) -> Result<Target, Reply> {
        let RootKind::User(user) = self.root.kind() else {
            return Err(Reply::recipient_unknown());
        };
        match self.frontend.accounts.exists(&user).await {
            Ok(true) if self.frontend.settings.autocreate.on_delivery => {}
            Ok(_) => return Err(Reply::recipient_unknown()),
            Err(error) => {
                tracing::error!(event = "accounts_unreadable", %error);
                return Err(Reply::try_later("accounts cannot be read"));
            }
        }
        self.is_new = true;
        let placed = self.frontend.router.place(&self.passed);
        placed.map_err(|error| later(&error))
    }
}

fn on_its_way() -> Reply {
    Reply::new(451, EnhancedCode(4, 3, 2), "the mailbox is being moved")
}

fn later(error: &RouterError) -> Reply {
    if let RouterError::Replica(error @ (ReplicaError::Database(_) | ReplicaError::Row(_))) = error
    {
        tracing::error!(event = "replica_unreadable", %error);
        return Reply::try_later("the location of the mailbox cannot be found out now");
    }
    Reply::try_later(error.to_string())
}
