//! New roots: granted by the master, or by the server itself if it stands alone (O6).
//!
//! The record CREATING is durable before the master is asked, under an id that the server made, so
//! that an answer that was lost is found again by asking again. Nothing is served before the grant
//! and the mailboxes are durable, in one commit.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use murder_locations::ownership::{Here, OwnershipEvent, next};
use murder_locations::request::{Granted, Refusal, Request, Response};
use murder_model::{
    Acl, Epoch, Identifier, PartitionName, Rights, RootKind, RootName, Term, UnitId, UserName,
};
use murder_store::mail::{Effects, FolderSpec, Grant, create_root, ownership};

use super::gate::{Gate, Phase};
use super::partition::PartitionHandle;
use super::{Backend, BackendError, EventError, UnitPlace};
use crate::clock;
use crate::directory::{AskError, Directory};

/// Roots are made one after the other in each lane, so that two first logins make one INBOX.
const LANES: usize = 64;

/// A root that was asked for, and not heard of yet.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) unit: UnitId,
    pub(super) partition: Arc<PartitionHandle>,
}

/// Who may make a root now.
#[derive(Debug)]
pub(super) struct Lanes {
    locks: Vec<tokio::sync::Mutex<()>>,
    hash: RandomState,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self {
            locks: (0..LANES).map(|_| tokio::sync::Mutex::new(())).collect(),
            hash: RandomState::new(),
        }
    }

    async fn enter(&self, root: &RootName) -> tokio::sync::MutexGuard<'_, ()> {
        let lane = self.hash.hash_one(root) as usize % LANES;
        self.locks[lane].lock().await
    }
}

impl Backend {
    /// The unit of a user, made if the settings say so.
    pub async fn user_unit(
        &self,
        user: &UserName,
        create: bool,
    ) -> Result<Option<UnitPlace>, BackendError> {
        let root = RootName::user(user);
        match self.place(&root).await {
            Ok(place) => Ok(Some(place)),
            Err(BackendError::NoSuchMailbox | BackendError::Elsewhere) if create => {
                self.create_root(&root).await.map(Some)
            }
            Err(BackendError::NoSuchMailbox | BackendError::Elsewhere) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a root here, if the master grants it. One that is here already is the answer, too.
    pub async fn create_root(&self, root: &RootName) -> Result<UnitPlace, BackendError> {
        let _lane = self.lanes.enter(root).await;
        match self.place(root).await {
            Err(BackendError::NoSuchMailbox | BackendError::Elsewhere) => {}
            known => return known,
        }
        if self.state.is_cordoned() {
            return Err(BackendError::Cordoned);
        }
        match &self.directory {
            Some(directory) => self.create_granted(directory, root).await,
            None => {
                let wanted = Wanted {
                    unit: UnitId::from_bytes(clock::random_id()),
                    partition: Arc::clone(self.roomiest_partition()),
                };
                self.found(root, &wanted, Term::new(0), Epoch::new(1), 0)
                    .await
            }
        }
    }

    async fn create_granted(
        &self,
        directory: &Directory,
        root: &RootName,
    ) -> Result<UnitPlace, BackendError> {
        let wanted = self.wanted(root).await?;
        let request = Request::Grant {
            unit: wanted.unit,
            root: root.clone(),
            partition: PartitionName::parse(wanted.partition.name())
                .expect("settings name partitions well"),
            term: self.state.promised(),
        };
        match directory.demand(request).await {
            Ok(Response::Granted(Granted {
                record,
                uidvalidity_floor,
            })) => {
                let (term, epoch) = (record.term, record.epoch);
                self.found(root, &wanted, term, epoch, uidvalidity_floor)
                    .await
            }
            Ok(_) => Err(BackendError::Master(AskError::Unfit)),
            Err(AskError::Refused(
                Refusal::RootTaken | Refusal::Superseded(_) | Refusal::UnitDropped,
            )) => {
                let refused = OwnershipEvent::GrantRefused;
                self.apply_event(&wanted.partition, wanted.unit, refused)
                    .await?;
                self.lock_wanted().remove(root);
                Err(BackendError::Elsewhere)
            }
            Err(error) => {
                if let AskError::Refused(_) = &error {
                    self.membership.report_again();
                }
                Err(BackendError::Master(error))
            }
        }
    }

    /// The id under which the root is asked for: the one of an earlier try, or a new one.
    async fn wanted(&self, root: &RootName) -> Result<Wanted, BackendError> {
        if let Some(wanted) = self.lock_wanted().get(root) {
            return Ok(wanted.clone());
        }
        let wanted = Wanted {
            unit: UnitId::from_bytes(clock::random_id()),
            partition: Arc::clone(self.roomiest_partition()),
        };
        let create = OwnershipEvent::Create {
            unit: wanted.unit,
            root: root.clone(),
        };
        self.apply_event(&wanted.partition, wanted.unit, create)
            .await?;
        self.lock_wanted().insert(root.clone(), wanted.clone());
        Ok(wanted)
    }

    /// The grant is given: OWNER and the mailboxes in one commit, then it is served.
    async fn found(
        &self,
        root: &RootName,
        wanted: &Wanted,
        term: Term,
        epoch: Epoch,
        floor: u32,
    ) -> Result<UnitPlace, BackendError> {
        let (acl, folders) = self.root_template(root);
        let unit = wanted.unit;
        let grant = Grant {
            unit,
            root: root.clone(),
            term,
            epoch,
            uid_validity_floor: floor.max(uid_validity_floor()),
        };
        let server = self.settings.server.clone();
        let promised = self.state.promised();
        let founded = wanted.partition.write(move |tx| {
            if let Some(before) = ownership(tx, &unit)? {
                let here = Here {
                    server: &server,
                    promised,
                };
                let event = OwnershipEvent::Granted { term, epoch };
                if let Err(refusal) = next(here, Some(&before), event) {
                    return Ok((Err(refusal), Effects::default()));
                }
            }
            let made = create_root(tx, &grant, &acl, &folders, &mut clock::random_id)?;
            Ok((Ok(()), made.1))
        });
        founded.await?.map_err(EventError::Refused)?;
        self.lock_wanted().remove(root);
        let place = UnitPlace {
            unit,
            partition: Arc::clone(&wanted.partition),
            gate: Gate::new(Phase::Active),
        };
        self.put_unit(root.clone(), place.clone());
        tracing::info!(event = "root_created", root = %root, epoch = epoch.get());
        Ok(place)
    }

    fn root_template(&self, root: &RootName) -> (Acl, Vec<FolderSpec>) {
        match root.kind() {
            RootKind::User(user) => {
                let folders = self.settings.autocreate.folders.iter();
                let folders = folders.map(|folder| FolderSpec {
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

/// A floor that no earlier life of a name on this server can have reached: seconds since 2020.
fn uid_validity_floor() -> u32 {
    const EPOCH_2020: i64 = 1_577_836_800;
    u32::try_from(clock::now().as_seconds() - EPOCH_2020)
        .unwrap_or(1)
        .max(1)
}
