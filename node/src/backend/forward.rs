//! Messages for mailboxes of another server, or of another partition of this one: found, asked,
//! followed where they moved to, and told for certain what became of them.
//!
//! A COPY or MOVE is driven by the server that has the messages ([`copy`]). It writes an intent down
//! once the destination has agreed, sends the messages under the intent's id, and clears the intent
//! in the commit that, for a MOVE, takes the messages out. If the outcome stays unknown the request is
//! *withdrawn*: the destination says whether it was done, and if not, remembers that it never will be.
//! So a command that is refused has changed nothing (RFC 3501 section 6.4.7), and one whose
//! destination is out of reach even then is settled later in the same way ([`resume`]), as are those
//! that a crash broke off. Nothing is ever appended later than its command was answered.
//!
//! Intents are rows of the source's unit, and ids are remembered in rows of the destination's: both
//! move with their units, and whoever has the units settles.

mod copy;
mod courier;
mod resume;

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use murder_model::{DeliveryId, RootName};
use murder_store::mail::CopiedUids;
use tokio::sync::Notify;

use super::gate::Phase;
use super::{Backend, BackendError};
use crate::net::Tls;
use crate::peer::append::{Append, FromOwner, Refusal, ToOwner};
pub use copy::Copying;
pub(in crate::backend) use copy::is_being_moved;
pub use courier::Content;
use courier::Courier;
pub use resume::resume;

/// After so long nothing is tried again, and withdrawn.
const TRY_LIMIT: Duration = Duration::from_secs(20);
/// How long withdrawing may take.
const WITHDRAW_LIMIT: Duration = Duration::from_secs(6);

/// Why messages did not get where they were to go: nothing was appended, or, if the other server
/// could not be asked ([`Self::Unavailable`]), that is found out later.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No such mailbox, and that is certain.
    #[error("mailbox does not exist")]
    NoSuchMailbox,
    /// The user lacks the right to insert.
    #[error("permission denied")]
    NotAllowed,
    /// No room there.
    #[error("the server is out of space")]
    Full,
    /// More than can be done at once.
    #[error("{0}")]
    Limit(String),
    /// The messages are on their way elsewhere.
    #[error("some of the messages are being moved")]
    InUse,
    /// Not now.
    #[error("the mailbox is not available now")]
    Unavailable,
    /// This server fails.
    #[error(transparent)]
    Here(#[from] BackendError),
}

impl From<Refusal> for ForwardError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchMailbox => Self::NoSuchMailbox,
            Refusal::NotAllowed => Self::NotAllowed,
            Refusal::Full => Self::Full,
            Refusal::Limit(text) => Self::Limit(text),
            Refusal::Malformed => {
                tracing::error!(event = "append_request_malformed");
                Self::Unavailable
            }
        }
    }
}

/// What became of messages that were passed on.
#[derive(Debug)]
pub enum PassedOn {
    /// Appended with these UIDs.
    Appended(CopiedUids),
    /// The delivery is durable; `stored` is false if it was recognised as repeated.
    Delivered {
        /// Whether this one was stored.
        stored: bool,
    },
}

/// What a server keeps in memory of messages that it passes on.
#[derive(Debug, Default)]
pub struct Forwarding {
    tls: OnceLock<Tls>,
    /// Intents that a session is at work on.
    active: Mutex<HashSet<DeliveryId>>,
    /// Roots whose units may hold intents that nobody is at work on.
    left: Mutex<BTreeSet<RootName>>,
    wake: Notify,
}

impl Forwarding {
    /// With what other servers are reached from now on.
    pub fn set_tls(&self, tls: Tls) {
        // The first stays.
        let _known = self.tls.set(tls);
    }

    /// The unit below `root` may hold intents that nobody is at work on.
    pub fn look_at(&self, root: RootName) {
        self.lock_left().insert(root);
        self.wake.notify_one();
    }

    fn lock_left(&self) -> MutexGuard<'_, BTreeSet<RootName>> {
        self.left.lock().expect("no holder panics")
    }

    fn lock_active(&self) -> MutexGuard<'_, HashSet<DeliveryId>> {
        self.active.lock().expect("no holder panics")
    }
}

/// Somebody is at work on an intent, for as long as this lives.
struct AtWork<'a> {
    forwarding: &'a Forwarding,
    id: DeliveryId,
}

impl<'a> AtWork<'a> {
    /// `None`: somebody is already.
    fn on(forwarding: &'a Forwarding, id: DeliveryId) -> Option<Self> {
        let begun = forwarding.lock_active().insert(id);
        begun.then_some(Self { forwarding, id })
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.forwarding.lock_active().remove(&self.id);
    }
}

/// Counts a delivery or APPEND that is held for a unit that moves, for as long as this lives.
#[derive(Debug)]
pub(super) struct Held(Arc<AtomicU64>);

impl Held {
    pub(super) fn count(backend: &Backend) -> Self {
        backend.held.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&backend.held))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Backend {
    /// Passes on what this server has accepted for a unit that has moved meanwhile. An append that
    /// fails has been withdrawn, unless its new owner cannot be asked.
    pub async fn pass_on(
        self: &Arc<Self>,
        request: Append,
        content: Content,
    ) -> Result<PassedOn, ForwardError> {
        let is_append = matches!(request.author, crate::peer::append::Author::User { .. });
        let (id, root) = (request.id, request.mailbox.root());
        let contents = vec![content];
        let mut courier = Courier::new(self, ToOwner::Append(request), contents, TRY_LIMIT);
        let answer = courier.carry().await;
        if answer.is_err() && courier.is_unsure() && is_append {
            return match self.withdraw(id, root).await? {
                Some(uids) => Ok(PassedOn::Appended(uids)),
                None => Err(ForwardError::Unavailable),
            };
        }
        match answer? {
            FromOwner::Done(uids) => Ok(PassedOn::Appended(uids)),
            FromOwner::Delivered { stored } => Ok(PassedOn::Delivered { stored }),
            FromOwner::Refused(refusal) => Err(refusal.into()),
            _ => Err(ForwardError::Unavailable),
        }
    }

    /// Makes sure that what was asked for under an id is never done; or else how it was done.
    async fn withdraw(
        self: &Arc<Self>,
        id: DeliveryId,
        root: RootName,
    ) -> Result<Option<CopiedUids>, ForwardError> {
        let request = ToOwner::Withdraw { id, root };
        let mut courier = Courier::new(self, request, Vec::new(), WITHDRAW_LIMIT);
        match courier.carry().await {
            Ok(FromOwner::Done(uids)) => Ok(Some(uids)),
            Ok(FromOwner::Withdrawn) | Err(ForwardError::NoSuchMailbox) => Ok(None),
            Ok(_) => Err(ForwardError::Unavailable),
            Err(error) => Err(error),
        }
    }
}

/// Whether a mailbox that cannot be used here may be found elsewhere, or later.
pub(super) fn may_be_elsewhere(error: &BackendError) -> bool {
    matches!(
        error,
        BackendError::Elsewhere | BackendError::Unavailable(Phase::Moved { .. } | Phase::InDoubt)
    )
}
