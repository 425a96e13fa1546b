//! A server's mailboxes: partitions, units, and the sessions that use them.

pub mod delivery;
pub mod gate;
pub mod imap;
pub mod lmtp;
mod ownership;
pub mod partition;
pub mod spool;
pub mod views;

pub use ownership::EventError;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use murder_api::Settings;
use murder_model::{
    Acl, Epoch, Identifier, MailboxName, Rights, RootKind, RootName, Term, UnitId, UnitState,
    UserName,
};
use murder_store::engine::{Snapshot, Tx};
use murder_store::mail::{
    Effects, FolderSpec, Grant, MailError, MailboxRow, create_root, mailbox_by_name, units,
};
use murder_store::rows::StoreError;

use crate::accounts::FileAccounts;
use crate::backend::gate::{Gate, Phase};
use crate::backend::partition::{PartitionHandle, WriteError};
use crate::clock;
use crate::directory::Directory;
use crate::server_state::ServerState;
use crate::telemetry::Metrics;

/// Why a request on a mailbox failed.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The unit is not served here now.
    #[error("the mailbox is not available now")]
    Unavailable(Phase),
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
    pub accounts: Arc<FileAccounts>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What the server knows of itself.
    pub state: Arc<ServerState>,
    /// The master, unless the server stands alone.
    pub directory: Option<Directory>,
    partitions: Vec<Arc<PartitionHandle>>,
    units: Mutex<HashMap<RootName, UnitPlace>>,
    /// Roots are made one after the other, so that two first logins make one INBOX.
    creating: tokio::sync::Mutex<()>,
}

impl Backend {
    /// Reads which units there are.
    pub fn open(
        settings: Arc<Settings>,
        accounts: Arc<FileAccounts>,
        metrics: Arc<Metrics>,
        state: Arc<ServerState>,
        directory: Option<Directory>,
        partitions: Vec<Arc<PartitionHandle>>,
    ) -> Result<Self, MailError> {
        let mut known = HashMap::new();
        for partition in &partitions {
            units(&partition.snapshots().read()?, &mut |row| {
                let phase = match row.ownership.state {
                    UnitState::Owner => Phase::Active,
                    UnitState::Released { .. } => Phase::InDoubt,
                    UnitState::Moved { to, term, epoch } => Phase::Moved { to, term, epoch },
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
            creating: tokio::sync::Mutex::new(()),
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
        units.insert(root, place);
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

    /// The mailbox of that name, with the place of its unit.
    pub async fn mailbox(
        &self,
        name: &MailboxName,
    ) -> Result<(UnitPlace, MailboxRow), BackendError> {
        let place = self.unit(&name.root()).ok_or(BackendError::NoSuchMailbox)?;
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

    /// The unit of a user, made if the settings say so.
    pub async fn user_unit(
        &self,
        user: &UserName,
        create: bool,
    ) -> Result<Option<UnitPlace>, BackendError> {
        let root = RootName::user(user);
        if let Some(place) = self.unit(&root) {
            return Ok(Some(place));
        }
        if !create {
            return Ok(None);
        }
        self.create_root(&root).await.map(Some)
    }

    /// Makes a root, granted by this server itself: it has no master to ask.
    pub async fn create_root(&self, root: &RootName) -> Result<UnitPlace, BackendError> {
        let _one = self.creating.lock().await;
        if let Some(place) = self.unit(root) {
            return Ok(place);
        }
        let partition = Arc::clone(self.roomiest_partition());
        let (acl, folders) = self.root_template(root);
        let grant = Grant {
            unit: UnitId::from_bytes(clock::random_id()),
            root: root.clone(),
            term: Term::new(0),
            epoch: Epoch::new(1),
            uid_validity_floor: uid_validity_floor(),
        };
        let unit = grant.unit;
        partition
            .write(move |tx| {
                create_root(tx, &grant, &acl, &folders, &mut clock::random_id)
                    .map(|(_, effects)| ((), effects))
            })
            .await?;
        let place = UnitPlace {
            unit,
            partition,
            gate: Gate::new(Phase::Active),
        };
        let mut units = self.units.lock().expect("no holder panics");
        units.insert(root.clone(), place.clone());
        tracing::info!(event = "root_created", root = %root);
        Ok(place)
    }

    fn root_template(&self, root: &RootName) -> (Acl, Vec<FolderSpec>) {
        match root.kind() {
            RootKind::User(user) => {
                let folders = self
                    .settings
                    .autocreate
                    .folders
                    .iter()
                    .map(|folder| FolderSpec {
                        name: folder.name.clone(),
                        special_use: folder.special_use,
                    });
                (Acl::owner_default(&user), folders.collect())
            }
            RootKind::Shared => {
                let mut acl = Acl::new();
                for admin in &self.settings.admins {
                    let identifier = Identifier::User(admin.clone());
                    acl.set(identifier, false, Rights::ALL)
                        .expect("fewer admins than entries");
                }
                (acl, Vec::new())
            }
        }
    }

    pub(crate) fn roomiest_partition(&self) -> &Arc<PartitionHandle> {
        let roomiest = self
            .partitions
            .iter()
            .max_by_key(|partition| partition.free_bytes());
        roomiest.expect("settings have at least one partition")
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

/// A floor that no earlier life of a name on this server can have reached: seconds since 2020.
fn uid_validity_floor() -> u32 {
    const EPOCH_2020: i64 = 1_577_836_800;
    u32::try_from(clock::now().as_seconds() - EPOCH_2020)
        .unwrap_or(1)
        .max(1)
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
