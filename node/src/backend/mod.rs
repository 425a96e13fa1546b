//! A server's mailboxes: partitions, units, and the sessions that use them.

pub mod delivery;
pub mod forward;
pub mod gate;
mod grant;
pub mod imap;
pub mod lmtp;
pub mod membership;
mod ownership;
pub mod partition;
pub mod publish;
pub mod spool;
pub mod views;

pub use ownership::EventError;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

use murder_api::Settings;
use murder_locations::ownership::OwnershipRefusal;
use murder_model::{MailboxName, Rights, RootName, UnitId, UnitState, UserName};
use murder_store::engine::{Snapshot, Tx};
use murder_store::mail::{Effects, MailError, MailboxRow, mailbox_by_name, units};
use murder_store::rows::StoreError;

use crate::accounts::Accounts;
use crate::backend::forward::Forwarding;
use crate::backend::gate::{Gate, Phase};
use crate::backend::grant::{Lanes, Wanted};
use crate::backend::membership::Membership;
use crate::backend::partition::{PartitionHandle, WriteError};
use crate::directory::{AskError, Directory};
use crate::server_state::ServerState;
use crate::telemetry::Metrics;
use crate::transfer::Transfers;

/// Why a request on a mailbox failed.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The unit is not served here now.
    #[error("the mailbox is not available now")]
    Unavailable(Phase),
    /// The unit is not on this server of a murder.
    #[error("the mailbox is not on this server")]
    Elsewhere,
    /// The server takes no new users and shared roots.
    #[error("the server is cordoned")]
    Cordoned,
    /// The master could not be asked, or refused for now.
    #[error(transparent)]
    Master(#[from] AskError),
    /// The rules of ownership refuse it.
    #[error(transparent)]
    Ownership(#[from] OwnershipRefusal),
    /// Nothing of that name, or not for this user.
    #[error("mailbox does not exist")]
    NoSuchMailbox,
    /// The operation was refused or failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Rows could not be read.
    #[error(transparent)]
    Read(#[from] MailError),
}

impl From<EventError> for BackendError {
    fn from(error: EventError) -> Self {
        match error {
            EventError::Refused(refusal) => Self::Ownership(refusal),
            EventError::Write(error) => Self::Write(error),
        }
    }
}

impl From<StoreError> for BackendError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// Where a unit is on this server.
#[derive(Clone, Debug)]
pub struct UnitPlace {
    /// The unit.
    pub unit: UnitId,
    /// Its partition.
    pub partition: Arc<PartitionHandle>,
    /// Whether writes may pass.
    pub gate: Gate,
}

/// All that this server holds.
#[derive(Debug)]
pub struct Backend {
    /// The node's settings.
    pub settings: Arc<Settings>,
    /// Who may log in.
    pub accounts: Arc<dyn Accounts>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What the server knows of itself.
    pub state: Arc<ServerState>,
    /// The master, unless the server stands alone.
    pub directory: Option<Directory>,
    partitions: Vec<Arc<PartitionHandle>>,
    units: Mutex<HashMap<RootName, UnitPlace>>,
    /// Roots that were asked for.
    wanted: Mutex<HashMap<RootName, Wanted>>,
    lanes: Lanes,
    /// Where the server stands with the master.
    pub membership: Membership,
    transfers: OnceLock<Weak<Transfers>>,
    /// Deliveries and APPENDs held for units that move.
    pub held: Arc<AtomicU64>,
    /// Messages for other servers.
    pub forwarding: Forwarding,
}

impl Backend {
    /// Reads which units there are.
    pub fn open(
        settings: Arc<Settings>,
        accounts: Arc<dyn Accounts>,
        metrics: Arc<Metrics>,
        state: Arc<ServerState>,
        directory: Option<Directory>,
        partitions: Vec<Arc<PartitionHandle>>,
    ) -> Result<Self, MailError> {
        let mut known = HashMap::new();
        let mut wanted = HashMap::new();
        for partition in &partitions {
            units(&partition.snapshots().read()?, &mut |row| {
                let phase = match row.ownership.state {
                    UnitState::Owner => Phase::Active,
                    UnitState::Released { .. } => Phase::InDoubt,
                    UnitState::Moved { to, term, epoch } => Phase::Moved { to, term, epoch },
                    UnitState::Creating => {
                        let unit = row.ownership.unit;
                        let partition = Arc::clone(partition);
                        wanted.insert(row.ownership.root, Wanted { unit, partition });
                        return ControlFlow::Continue(());
                    }
                    _ => return ControlFlow::Continue(()),
                };
                let place = UnitPlace {
                    unit: row.ownership.unit,
                    partition: Arc::clone(partition),
                    gate: Gate::new(phase),
                };
                known.insert(row.ownership.root, place);
                ControlFlow::Continue(())
            })?;
        }
        Ok(Self {
            settings,
            accounts,
            metrics,
            state,
            directory,
            partitions,
            units: Mutex::new(known),
            wanted: Mutex::new(wanted),
            lanes: Lanes::new(),
            membership: Membership::default(),
            transfers: OnceLock::new(),
            held: Arc::default(),
            forwarding: Forwarding::default(),
        })
    }

    /// The partitions.
    pub fn partitions(&self) -> &[Arc<PartitionHandle>] {
        &self.partitions
    }

    /// Where a root's unit is, if this server has it.
    pub fn unit(&self, root: &RootName) -> Option<UnitPlace> {
        self.units
            .lock()
            .expect("no holder panics")
            .get(root)
            .cloned()
    }

    /// Where moves of units are ordered from now on.
    pub fn set_transfers(&self, transfers: &Arc<Transfers>) {
        // The first stays.
        let _known = self.transfers.set(Arc::downgrade(transfers));
    }

    /// Where moves of units are ordered; `None` on a server that has no others to move to.
    pub fn transfers(&self) -> Option<Arc<Transfers>> {
        self.transfers.get().and_then(Weak::upgrade)
    }

    /// The partition of a name.
    pub fn partition(&self, name: &str) -> Option<&Arc<PartitionHandle>> {
        self.partitions
            .iter()
            .find(|partition| &**partition.name() == name)
    }

    /// Where a unit is on this server, by its id: slower than by its root.
    pub fn unit_by_id(&self, unit: &UnitId) -> Option<(RootName, UnitPlace)> {
        let units = self.units.lock().expect("no holder panics");
        units
            .iter()
            .find(|(_, place)| place.unit == *unit)
            .map(|(root, place)| (root.clone(), place.clone()))
    }

    /// From now on the root's unit is here, in the phase that its gate has.
    pub fn put_unit(&self, root: RootName, place: UnitPlace) {
        let mut units = self.units.lock().expect("no holder panics");
        units.insert(root.clone(), place);
        drop(units);
        self.forwarding.look_at(root);
    }

    /// Forgets a root's unit, if it is this one.
    pub fn remove_unit(&self, root: &RootName, unit: &UnitId) {
        let mut units = self.units.lock().expect("no holder panics");
        if units.get(root).is_some_and(|place| place.unit == *unit) {
            units.remove(root);
        }
    }

    /// All roots here, in their order.
    pub fn roots(&self) -> Vec<RootName> {
        let units = self.units.lock().expect("no holder panics");
        let mut roots: Vec<_> = units.keys().cloned().collect();
        roots.sort_unstable();
        roots
    }

    fn lock_wanted(&self) -> MutexGuard<'_, HashMap<RootName, Wanted>> {
        self.wanted.lock().expect("no holder panics")
    }

    /// Where a root's unit is, if it is served here now; waits out a freeze.
    pub async fn place(&self, root: &RootName) -> Result<UnitPlace, BackendError> {
        if self.membership.is_blocked() || self.state.is_deactivated() {
            return Err(BackendError::Unavailable(Phase::Absent));
        }
        let Some(place) = self.unit(root) else {
            return Err(match self.directory {
                Some(_) => BackendError::Elsewhere,
                None => BackendError::NoSuchMailbox,
            });
        };
        match place.gate.phase().await {
            Phase::Active => Ok(place),
            phase => Err(BackendError::Unavailable(phase)),
        }
    }

    /// The mailbox of that name, with the place of its unit.
    pub async fn mailbox(
        &self,
        name: &MailboxName,
    ) -> Result<(UnitPlace, MailboxRow), BackendError> {
        let place = self.place(&name.root()).await?;
        let (unit, name) = (place.unit, name.clone());
        let row = place
            .partition
            .read(move |rows| mailbox_by_name(rows, &unit, &name))
            .await?;
        Ok((place, row.ok_or(BackendError::NoSuchMailbox)?))
    }

    /// Runs an operation on a unit that is served here, and waits until it is durable.
    pub async fn write<T, F>(&self, place: &UnitPlace, operation: F) -> Result<T, BackendError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<(T, Effects), MailError> + Send + 'static,
    {
        let _pass = place
            .gate
            .enter()
            .await
            .map_err(BackendError::Unavailable)?;
        Ok(place.partition.write(operation).await?)
    }
}

impl PartitionHandle {
    /// Reads rows as the last applied batch left them, on a thread that may block.
    pub async fn read<T, F>(&self, read: F) -> Result<T, MailError>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot) -> Result<T, MailError> + Send + 'static,
    {
        let snapshots = self.snapshots().clone();
        tokio::task::spawn_blocking(move || read(&snapshots.read()?))
            .await
            .expect("reading rows does not panic")
    }
}

/// What `user` may do with a mailbox: owners always may look at and administer their own.
pub fn rights(row: &MailboxRow, user: &UserName, is_admin: bool) -> Rights {
    let granted = row.acl.rights_for(user, &[]);
    if is_admin {
        return granted
            .with(Rights::LOOKUP)
            .with(Rights::ADMINISTER)
            .with(Rights::CREATE)
            .with(Rights::DELETE_MAILBOX);
    }
    if row.name.owner().as_ref() == Some(user) {
        return granted.with(Rights::LOOKUP).with(Rights::ADMINISTER);
    }
    granted
}
