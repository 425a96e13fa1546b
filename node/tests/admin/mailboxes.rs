//! A server's mailboxes on disks in memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use murder_api::admin::{TransferPhase, TransferStatus};
use murder_model::{
    Acl, Attempt, EmailId, Epoch, Guid, InternalDate, MailboxId, MoveId, OwnershipRecord,
    PartitionName, RootName, ServerName, SystemFlags, Term, Timestamp, UnitDigest, UnitId,
    UnitState, UserName,
};
use murder_node::accounts::FileAccounts;
use murder_node::admin::BackendPart;
use murder_node::admin::commands::{TransferCommands, TransferRefusal};
use murder_node::backend::Backend;
use murder_node::backend::partition::{PartitionHandle, PartitionThread, WriteError, start};
use murder_node::net::Tls;
use murder_node::server_state::ServerState;
use murder_node::telemetry::Metrics;
use murder_store::engine::{MemoryDisk, Partition, PartitionOptions, Space};
use murder_store::mail::{
    Effects, Grant, NewMessage, acknowledge_outbox, append, create_root, put_ownership,
};
use murder_store::rows::BlobSource;

use crate::harness::{Authority, Parts, Running, settings};

/// A backend with the partitions `default` and `slow`.
pub(crate) struct Mailboxes {
    pub(crate) backend: Arc<Backend>,
    pub(crate) transfers: Arc<Transfers>,
    pub(crate) disk: MemoryDisk,
    threads: Vec<PartitionThread>,
}

/// How a test names a state.
#[derive(Clone, Copy, Debug)]
pub(crate) enum As {
    Creating,
    Released,
    Staging,
    Prepared,
    Moved,
    Gone,
}

pub(crate) fn root(name: &str) -> RootName {
    RootName::parse(name).unwrap()
}

pub(crate) fn unit_id(number: u8) -> UnitId {
    UnitId::from_bytes([number; 16])
}

impl Mailboxes {
    pub(crate) fn open(authority: &Authority) -> Self {
        let settings = settings(authority.path(), "backend", "be-a");
        std::fs::write(&settings.accounts, "").unwrap();
        let accounts = Arc::new(FileAccounts::open(&settings.accounts).unwrap());
        let state = Arc::new(ServerState::open(&settings.data_dir).unwrap());
        let metrics = Arc::new(Metrics::new());
        let disk = MemoryDisk::new();
        disk.set_space(Some(Space {
            free: 700_000_000,
            total: 900_000_000,
        }));
        let mut partitions = Vec::new();
        let mut threads = Vec::new();
        for name in ["default", "slow"] {
            let options = PartitionOptions {
                reserve_percent: 10,
                reserve_bytes: 0,
                ..PartitionOptions::new(format!("/{name}"))
            };
            let (partition, _) = Partition::open(Arc::new(disk.clone()), options).unwrap();
            let (handle, thread) = start(name, partition, &metrics).unwrap();
            partitions.push(handle);
            threads.push(thread);
        }
        let settings = Arc::new(settings);
        let backend = Backend::open(settings, accounts, metrics, state, None, partitions);
        Self {
            backend: Arc::new(backend.unwrap()),
            transfers: Arc::default(),
            disk,
            threads,
        }
    }

    pub(crate) fn partition(&self, name: &str) -> Arc<PartitionHandle> {
        Arc::clone(self.backend.partition(name).unwrap())
    }

    /// A unit that is owned, with an INBOX of so many messages of 10 bytes.
    pub(crate) async fn own(&self, partition: &str, number: u8, name: &str, messages: u8) {
        let owned = self.try_own(partition, number, name, messages).await;
        owned.unwrap();
    }

    pub(crate) async fn try_own(
        &self,
        partition: &str,
        number: u8,
        name: &str,
        messages: u8,
    ) -> Result<MailboxId, WriteError> {
        let user = UserName::parse(name.strip_prefix("user.").unwrap()).unwrap();
        let grant = Grant {
            unit: unit_id(number),
            root: root(name),
            term: Term::new(1),
            epoch: Epoch::new(u64::from(number)),
            uid_validity_floor: 1,
        };
        let partition = self.partition(partition);
        let written = partition.write(move |tx| {
            let mut ids = 0;
            let mut id = || {
                ids += 1;
                let mut bytes = [number; 16];
                bytes[0] = ids;
                bytes
            };
            let acl = Acl::owner_default(&user);
            let (inbox, mut effects) = create_root(tx, &grant, &acl, &[], &mut id)?;
            for message in 0..messages {
                let appended = append(tx, &inbox, &new_message(message), Timestamp::default())?;
                effects.outbox |= appended.1.outbox;
            }
            Ok((inbox, effects))
        });
        written.await
    }

    /// A unit in another state, or one that is owned brought into it.
    pub(crate) async fn put(&self, partition: &str, number: u8, name: &str, state: As) {
        let (be_b, attempt) = (ServerName::parse("be-b").unwrap(), Attempt::new(1));
        let (move_id, epoch) = (MoveId::from_bytes([9; 16]), Epoch::new(u64::from(number)));
        let state = match state {
            As::Creating => UnitState::Creating,
            As::Released => UnitState::Released {
                to: be_b,
                move_id,
                attempt,
            },
            As::Staging => UnitState::Staging {
                move_id,
                attempt,
                from: be_b,
            },
            As::Prepared => UnitState::Prepared {
                move_id,
                attempt,
                from: be_b,
                epoch,
                digest: UnitDigest::default(),
            },
            As::Moved => UnitState::Moved {
                to: be_b,
                term: Term::new(1),
                epoch,
            },
            As::Gone => UnitState::Gone,
        };
        let record = OwnershipRecord {
            unit: unit_id(number),
            root: root(name),
            state,
            term: Term::new(1),
            epoch,
        };
        let partition = self.partition(partition);
        let written = partition.write(move |tx| {
            put_ownership(tx, &record)?;
            Ok(((), Effects::default()))
        });
        written.await.unwrap();
    }

    /// The master has learned all names.
    pub(crate) async fn told(&self) {
        for partition in self.backend.partitions() {
            let written = partition.write(|tx| {
                acknowledge_outbox(tx, u64::MAX - 1)?;
                Ok(((), Effects::default()))
            });
            written.await.unwrap();
        }
    }

    /// Its admin interface.
    pub(crate) async fn admin(&self, authority: &Authority) -> (Running, Tls) {
        let transfers: Arc<dyn TransferCommands> = Arc::clone(&self.transfers) as Arc<_>;
        self.start(authority, Some(transfers)).await
    }

    /// Its admin interface as that of a single server.
    pub(crate) async fn alone(&self, authority: &Authority) -> (Running, Tls) {
        self.start(authority, None).await
    }

    async fn start(
        &self,
        authority: &Authority,
        transfers: Option<Arc<dyn TransferCommands>>,
    ) -> (Running, Tls) {
        let parts = Parts {
            state: Some(Arc::clone(&self.backend.state)),
            backend: Some(BackendPart {
                backend: Arc::clone(&self.backend),
                transfers,
            }),
            ..Parts::new(murder_api::Settings::clone(&self.backend.settings))
        };
        (Running::start(authority, parts).await, authority.operator())
    }
}

impl Drop for Mailboxes {
    fn drop(&mut self) {
        self.threads.drain(..).for_each(PartitionThread::stop);
    }
}

pub(crate) fn new_message(number: u8) -> NewMessage<'static> {
    NewMessage {
        content: BlobSource::Bytes(b"0123456789"),
        guid: Guid::from_bytes([7; 32]),
        email_id: EmailId::from_bytes([number; 16]),
        flags: SystemFlags::NONE,
        keywords: &[],
        internal_date: InternalDate::new(0, 0),
        structure: b"",
    }
}

/// Transfers as a test wants them: those asked for, and an answer.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    pub(crate) known: Mutex<Vec<TransferStatus>>,
    pub(crate) refusal: Mutex<Option<TransferRefusal>>,
    pub(crate) rate: AtomicU64,
    /// Locked by a test that wants calls to take long.
    pub(crate) gate: Mutex<()>,
}

impl TransferCommands for Transfers {
    fn start(
        &self,
        id: MoveId,
        root: RootName,
        destination: ServerName,
        partition: Option<PartitionName>,
    ) -> Result<TransferStatus, TransferRefusal> {
        let _gate = self.gate.lock().unwrap();
        if let Some(refusal) = self.refusal.lock().unwrap().take() {
            return Err(refusal);
        }
        let mut known = self.known.lock().unwrap();
        if let Some(same) = known.iter().find(|transfer| transfer.move_id == id) {
            return Ok(same.clone());
        }
        let status = TransferStatus {
            move_id: id,
            root,
            destination,
            phase: TransferPhase::Queued,
            attempts: 0,
            mailboxes: 0,
            bytes_sent: 0,
            bytes_total: 0,
            freeze_ms: 0,
            error: partition.map(|partition| format!("to {partition}")),
        };
        known.push(status.clone());
        Ok(status)
    }

    fn list(&self) -> Vec<TransferStatus> {
        self.known.lock().unwrap().clone()
    }

    fn cancel(&self, id: &MoveId) -> Result<TransferStatus, TransferRefusal> {
        if let Some(refusal) = self.refusal.lock().unwrap().take() {
            return Err(refusal);
        }
        let mut known = self.known.lock().unwrap();
        let found = known.iter_mut().find(|transfer| transfer.move_id == *id);
        let found = found.ok_or(TransferRefusal::NotFound)?;
        found.phase = TransferPhase::Cancelled;
        Ok(found.clone())
    }

    fn set_rate(&self, bytes_per_second: u64) {
        self.rate.store(bytes_per_second, Ordering::Release);
    }

    fn rate(&self) -> u64 {
        self.rate.load(Ordering::Acquire)
    }
}
