//! Where a name is served: the replica's word, followed by "moved to" and by proof of freshness.

use std::sync::Arc;
use std::time::Duration;

use murder_api::Settings;
use murder_locations::name::Name;
use murder_locations::replica::{PlacementLimits, ReplicaError};
use murder_locations::request::{Addresses, ServerRecord};
use murder_model::{Epoch, MailboxName, ServerName, Term};

use crate::clock;
use crate::directory::replica::ReplicaHandle;
use crate::directory::{AskError, Directory};

/// How long a question waits for the replica to become fresh.
const FRESH_LIMIT: Duration = Duration::from_secs(3);
/// "Moved to" is followed so often before a client is told to come back later.
pub const HOPS_MAX: usize = 3;

/// Why it cannot be said now where something is.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The master cannot be asked, and the replica does not know.
    #[error("the location of the mailbox cannot be found out now: {0}")]
    Master(#[from] AskError),
    /// The replica did not become fresh in time.
    #[error("the replica of locations is behind")]
    Behind,
    /// The replica cannot be read.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The owner's addresses are not known: a Cyrus server, or one that never reported.
    #[error("no address is known of server {0}")]
    NoAddress(ServerName),
    /// No server takes new users.
    #[error("no server takes new mailboxes now")]
    NoRoom,
}

/// A server and how to reach it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Its name.
    pub server: ServerName,
    /// Where it listens.
    pub addresses: Addresses,
}

/// What a backend answers for a unit that it does not serve.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Moved {
    /// Who has it, since when; `None`: the backend knows nothing of it.
    pub to: Option<(ServerName, Term, Epoch)>,
}

impl Moved {
    /// Parses what follows `XMOVED`: nothing, or ` server term epoch`.
    pub fn parse(arguments: &str) -> Option<Self> {
        let mut words = arguments.split_ascii_whitespace();
        let Some(server) = words.next() else {
            return Some(Self { to: None });
        };
        let server = ServerName::parse(server).ok()?;
        let term = Term::new(words.next()?.parse().ok()?);
        let epoch = Epoch::new(words.next()?.parse().ok()?);
        Some(Self {
            to: Some((server, term, epoch)),
        })
    }
}

/// Routes and places.
#[derive(Debug)]
pub struct Router {
    settings: Arc<Settings>,
    directory: Directory,
    replica: ReplicaHandle,
}

impl Router {
    /// A router over a replica.
    pub fn new(settings: Arc<Settings>, directory: Directory, replica: ReplicaHandle) -> Self {
        Self {
            settings,
            directory,
            replica,
        }
    }

    /// The replica.
    pub fn replica(&self) -> &ReplicaHandle {
        &self.replica
    }

    /// The master.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The node's settings.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Who serves a name, or would if it existed. `None`: nobody, and that is proved.
    pub async fn route(&self, name: &MailboxName) -> Result<Option<Target>, RouterError> {
        if let Some(target) = self.known(name)? {
            return Ok(Some(target));
        }
        self.refresh().await?;
        self.known(name)
    }

    /// Where to go after a backend answered "moved". `None`: nobody has it, and that is proved.
    pub async fn follow(
        &self,
        name: &MailboxName,
        moved: &Moved,
    ) -> Result<Option<Target>, RouterError> {
        if let Some((server, term, epoch)) = &moved.to {
            let route = self.replica.reader().route(&Name::from(name))?;
            let is_news = route.is_none_or(|route| route.is_older_than(*term, *epoch));
            if is_news && let Some(record) = self.replica.reader().server(server)? {
                return Ok(Some(target(record)));
            }
        }
        self.refresh().await?;
        self.known(name)
    }

    /// Waits until the replica shows everything that the master has acknowledged by now.
    pub async fn refresh(&self) -> Result<(), RouterError> {
        let barrier = self.directory.barrier().await?;
        if self.replica.reached(barrier, FRESH_LIMIT).await {
            Ok(())
        } else {
            Err(RouterError::Behind)
        }
    }

    /// A server for a new unit: at random, by free space, among those that take some.
    pub fn place(&self, exclude: &[ServerName]) -> Result<Target, RouterError> {
        let random = clock::random_id();
        let random = random.first_chunk().expect("16 bytes have 8");
        let limits = PlacementLimits {
            exclude: exclude.to_vec(),
            ..PlacementLimits::default()
        };
        let placement = self
            .replica
            .reader()
            .place(u64::from_le_bytes(*random), &limits)?;
        placement
            .map(|placement| target(placement.server))
            .ok_or(RouterError::NoRoom)
    }

    /// What the replica says, which may be old.
    pub fn known(&self, name: &MailboxName) -> Result<Option<Target>, RouterError> {
        let Some(route) = self.replica.reader().route(&Name::from(name))? else {
            return Ok(None);
        };
        match route.server {
            Some(record) => Ok(Some(target(record))),
            None => Err(RouterError::NoAddress(route.unit.server)),
        }
    }
}

fn target(record: ServerRecord) -> Target {
    Target {
        server: record.server,
        addresses: record.addresses,
    }
}

#[cfg(test)]
mod tests {
    use murder_model::{Epoch, ServerName, Term};

    use super::Moved;

    #[test]
    fn moved_names_server_term_and_epoch_or_nothing() {
        let to = (
            ServerName::parse("be-b").unwrap(),
            Term::new(1),
            Epoch::new(5),
        );
        assert_eq!(Moved::parse(" be-b 1 5"), Some(Moved { to: Some(to) }));
        assert_eq!(Moved::parse(""), Some(Moved { to: None }));
        assert_eq!(Moved::parse(" be-b 1"), None);
        assert_eq!(Moved::parse(" be-b one 5"), None);
    }
}
