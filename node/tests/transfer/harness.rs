//! A master and backends in one process: real stores, real TLS, real MUPDATE, wires that can be cut.

use std::sync::Arc;
use std::time::{Duration, Instant};

use murder_api::Settings;
use murder_api::admin::TransferStatus;
use murder_locations::request::UnitRecord;
use murder_model::{
    EmailId, Guid, InternalDate, Keyword, MailboxName, MoveId, OwnershipRecord, RootName,
    ServerName, SystemFlags, Timestamp, UserName,
};
use murder_node::accounts::FileAccounts;
use murder_node::backend::partition::{self, PartitionThread};
use murder_node::backend::{Backend, BackendError, membership, publish};
use murder_node::directory::Directory;
use murder_node::net::tls::TlsFiles;
use murder_node::net::{Tls, listener};
use murder_node::peer;
use murder_node::server_state::ServerState;
use murder_node::telemetry::Metrics;
use murder_node::transfer::Transfers;
use murder_node::{clock, volume};
use murder_store::engine::{Partition, PartitionOptions, RealDisk, check};
use murder_store::mail::{
    Appended, MailboxRow, NewMessage, TransferRow, UnitHead, append, deliver, export_rows,
    mailboxes, outbox_length, ownership, recompute_digest, unit_head,
};
use murder_store::rows::{BlobSource, Rows, Table};
use murder_store::structure;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::proxy::Proxy;

/// Nothing in a healthy murder takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition.
pub(crate) async fn until<F, Fut>(what: &str, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}: does not come");
        tokio::task::yield_now().await;
    }
}

/// One backend.
pub(crate) struct Node {
    pub(crate) name: String,
    /// Between it and the master.
    pub(crate) to_master: Proxy,
    /// Between its peers and it.
    pub(crate) to_peers: Proxy,
    settings: Arc<Settings>,
    running: Option<Running>,
}

struct Running {
    backend: Arc<Backend>,
    transfers: Arc<Transfers>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    threads: Vec<PartitionThread>,
}

pub(crate) fn load_tls(settings: &Settings) -> Tls {
    let files = settings.tls.as_ref().unwrap();
    let files = TlsFiles {
        certificate: &files.certificate,
        key: &files.key,
        ca: &files.ca,
    };
    Tls::load(files, None).unwrap()
}

impl Node {
    pub(crate) fn new(settings: Settings, to_master: Proxy, to_peers: Proxy) -> Self {
        Self {
            name: settings.server.to_string(),
            to_master,
            to_peers,
            settings: Arc::new(settings),
            running: None,
        }
    }

    fn partition_options(&self) -> PartitionOptions {
        let setting = &self.settings.partitions[0];
        PartitionOptions {
            segment_bytes: 4 << 20,
            reserve_bytes: self.settings.store.reserve_bytes,
            ..PartitionOptions::new(self.settings.partition_path(setting))
        }
    }

    /// Starts it on what its directory holds.
    pub(crate) async fn run(&mut self) {
        let settings = Arc::clone(&self.settings);
        let metrics = Arc::new(Metrics::new());
        let (stop, stopping) = watch::channel(false);
        let tls = load_tls(&settings);
        let directory = Directory::start(&settings, &tls, None, stopping.clone()).unwrap();
        let state = Arc::new(ServerState::open(&settings.data_dir).unwrap());
        let options = self.partition_options();
        let opened = tokio::task::spawn_blocking(move || {
            Partition::open(Arc::new(RealDisk::with_space_probe(volume::space)), options)
        });
        let (partition, _) = opened.await.unwrap().unwrap();
        let name = settings.partitions[0].name.to_string();
        let (handle, thread) = partition::start(&name, partition, &metrics).unwrap();
        let accounts = Arc::new(FileAccounts::open(&settings.accounts).unwrap());
        let backend = Backend::open(
            Arc::clone(&settings),
            accounts,
            metrics,
            state,
            Some(directory.clone()),
            vec![Arc::clone(&handle)],
        );
        let backend = Arc::new(backend.unwrap());
        let transfers = Transfers::new(Arc::clone(&backend), tls.clone());
        let mut tasks = JoinSet::new();
        let reports = membership::run(Arc::clone(&backend), directory.clone(), stopping.clone());
        tasks.spawn(reports);
        let names = publish::run(Arc::clone(&backend), handle, directory, stopping.clone());
        tasks.spawn(names);
        tasks.spawn(Arc::clone(&transfers).run(stopping.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.to_peers
            .set_target(listener.local_addr().unwrap().port());
        let (served, peer_settings) = (Arc::clone(&transfers), settings);
        tasks.spawn(listener::serve(
            listener,
            64,
            b"",
            stopping,
            move |socket, _| {
                let (transfers, settings, tls) =
                    (Arc::clone(&served), Arc::clone(&peer_settings), tls.clone());
                async move {
                    if let Ok(Some((link, peer, _))) = peer::accept(&settings, &tls, socket).await {
                        transfers.serve(link, peer).await;
                    }
                }
            },
        ));
        self.running = Some(Running {
            backend,
            transfers,
            stop,
            tasks,
            threads: vec![thread],
        });
    }

    pub(crate) async fn reported(&self) {
        let mut reports = self.backend().membership.reports();
        reports.wait_for(|count| *count > 0).await.unwrap();
    }

    /// Ends it, wherever it is.
    pub(crate) async fn stop(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        running.stop.send_replace(true);
        while running.tasks.join_next().await.is_some() {}
        drop(running.transfers);
        let threads = running.threads;
        tokio::task::spawn_blocking(move || threads.into_iter().for_each(PartitionThread::stop))
            .await
            .unwrap();
        let backend = running.backend;
        until("conversations end", || async {
            Arc::strong_count(&backend) == 1
        })
        .await;
    }

    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.run().await;
    }

    /// Ends it and checks its store.
    pub(crate) async fn stop_and_check(&mut self) {
        self.stop().await;
        let options = self.partition_options();
        let report = tokio::task::spawn_blocking(move || {
            check(Arc::new(RealDisk::with_space_probe(volume::space)), options)
        });
        let report = report.await.unwrap().unwrap();
        assert!(report.is_sound(), "{}: {report:?}", self.name);
    }

    pub(crate) fn backend(&self) -> &Arc<Backend> {
        &self.running.as_ref().unwrap().backend
    }

    pub(crate) fn transfers(&self) -> &Arc<Transfers> {
        &self.running.as_ref().unwrap().transfers
    }

    pub(crate) fn server(&self) -> ServerName {
        ServerName::parse(&self.name).unwrap()
    }

    pub(crate) async fn create(&self, root: &RootName) {
        self.backend().create_root(root).await.unwrap();
    }

    pub(crate) async fn row(&self, mailbox: &str) -> MailboxRow {
        let name = MailboxName::parse_internal(mailbox).unwrap();
        self.backend().mailbox(&name).await.unwrap().1
    }

    /// Appends as a client would: through the gate.
    pub(crate) async fn append(
        &self,
        mailbox: &str,
        text: &str,
        flags: SystemFlags,
        keywords: &[&str],
    ) -> Result<Appended, BackendError> {
        append_to(self.backend(), mailbox, text, flags, keywords).await
    }

    /// Appends a message of about so many octets to alice's INBOX.
    pub(crate) async fn add(&self, id: &str, size: usize) -> Result<Appended, BackendError> {
        let text = message(id, size);
        self.append("user.alice", &text, SystemFlags::NONE, &[])
            .await
    }

    /// Delivers one message under a key by which a repetition is recognised.
    pub(crate) async fn deliver(&self, mailbox: &str, text: &str, key: [u8; 32]) -> bool {
        let name = MailboxName::parse_internal(mailbox).unwrap();
        let (place, row) = self.backend().mailbox(&name).await.unwrap();
        let text = text.to_owned();
        let written = self.backend().write(&place, move |tx| {
            let structure = structure::encode(&structure::scan(text.as_bytes()));
            let message = new_message(&text, &structure, SystemFlags::NONE, &[]);
            deliver(tx, &[(row.id, Some(key))], &message, clock::now())
        });
        written.await.unwrap()[0].is_some()
    }

    /// This server's record of a root's unit.
    pub(crate) async fn ownership(&self, record: &UnitRecord) -> Option<OwnershipRecord> {
        let unit = record.unit;
        let partition = &self.backend().partitions()[0];
        partition
            .read(move |rows| ownership(rows, &unit))
            .await
            .unwrap()
    }

    /// Everything of a unit that travels, with the bytes of its messages; the digest is
    /// recomputed from the rows.
    pub(crate) async fn content(&self, record: &UnitRecord) -> Content {
        let unit = record.unit;
        let partition = &self.backend().partitions()[0];
        let snapshots = partition.snapshots().clone();
        let read = partition.read(move |rows| {
            let exported = export_rows(rows, &unit, 0, u64::MAX, None, 1_000_000, u64::MAX)?;
            let head = unit_head(rows, &unit)?;
            assert_eq!(recompute_digest(rows, &unit)?, head.digest);
            let blob = |place| snapshots.blob(place).unwrap().read(0..u64::MAX).unwrap();
            let rows = exported
                .rows
                .into_iter()
                .map(|(row, content)| (row, content.map(|content| blob(content.place).to_vec())));
            Ok(Content {
                rows: rows.collect(),
                // Telling names again uses up numbers.
                head: UnitHead {
                    change: 0,
                    outbox: 0,
                    ..head
                },
            })
        });
        read.await.unwrap()
    }

    /// Waits until the master knows all names of this server.
    pub(crate) async fn names_told(&self) {
        let partition = &self.backend().partitions()[0];
        until("names are told", || async {
            let waiting = partition.read(|rows| outbox_length(rows, 1));
            waiting.await.unwrap() == 0
        })
        .await;
    }

    /// How many mailboxes a root has.
    pub(crate) async fn mailboxes(&self, root: &RootName) -> usize {
        let place = self.backend().unit(root).unwrap();
        let read = place
            .partition
            .read(move |rows| mailboxes(rows, &place.unit));
        let named = read.await.unwrap().into_iter();
        named.filter(|(_, row)| row.is_some()).count()
    }

    /// How many rows the unit has here, marks included.
    pub(crate) async fn rows(&self, record: &UnitRecord) -> usize {
        let unit = record.unit;
        let partition = &self.backend().partitions()[0];
        let low = unit.as_bytes().to_vec();
        let high = [unit.as_bytes().as_slice(), &[0xff; 9]].concat();
        let read = partition.read(move |rows| {
            let mut count = 0;
            rows.scan(Table::Changes, &low, &high, &mut |_, _| {
                count += 1;
                std::ops::ControlFlow::Continue(())
            })?;
            Ok(count)
        });
        read.await.unwrap()
    }

    /// Starts a transfer under a fresh id.
    pub(crate) fn start_move(&self, root: &RootName, to: &Self) -> MoveId {
        let id = MoveId::from_bytes(clock::random_id());
        let started = self.transfers().start(id, root.clone(), to.server(), None);
        started.unwrap();
        id
    }

    /// Moves a unit and waits for the end.
    pub(crate) async fn transfer(&self, root: &RootName, to: &Self) -> TransferStatus {
        let id = self.start_move(root, to);
        self.transfers().wait(&id).await.unwrap()
    }

    pub(crate) fn status(&self, id: &MoveId) -> TransferStatus {
        let list = self.transfers().list();
        list.into_iter()
            .find(|status| status.move_id == *id)
            .unwrap()
    }
}

/// What of a unit travels.
#[derive(Debug, PartialEq)]
pub(crate) struct Content {
    pub(crate) rows: Vec<(TransferRow, Option<Vec<u8>>)>,
    pub(crate) head: UnitHead,
}

pub(crate) async fn append_to(
    backend: &Arc<Backend>,
    mailbox: &str,
    text: &str,
    flags: SystemFlags,
    keywords: &[&str],
) -> Result<Appended, BackendError> {
    let name = MailboxName::parse_internal(mailbox).unwrap();
    let (place, row) = backend.mailbox(&name).await?;
    let text = text.to_owned();
    let keywords: Vec<Keyword> = keywords
        .iter()
        .map(|keyword| Keyword::parse(keyword).unwrap())
        .collect();
    let written = backend.write(&place, move |tx| {
        let structure = structure::encode(&structure::scan(text.as_bytes()));
        let message = new_message(&text, &structure, flags, &keywords);
        append(tx, &row.id, &message, Timestamp::from_millis(1_000))
    });
    written.await
}

fn new_message<'a>(
    text: &'a str,
    structure: &'a [u8],
    flags: SystemFlags,
    keywords: &'a [Keyword],
) -> NewMessage<'a> {
    NewMessage {
        content: BlobSource::Bytes(text.as_bytes()),
        guid: Guid::from_bytes(*blake3::hash(text.as_bytes()).as_bytes()),
        email_id: EmailId::from_bytes(clock::random_id()),
        flags,
        keywords,
        internal_date: InternalDate::new(760_658_545, -480),
        structure,
    }
}

pub(crate) fn alice() -> RootName {
    RootName::user(&UserName::parse("alice").unwrap())
}

/// A message of about so many octets.
pub(crate) fn message(id: &str, size: usize) -> String {
    let head = format!(
        "From: Sender <sender@example.org>\r\nSubject: about {id}\r\n\
         Message-ID: <{id}@example.org>\r\n\r\n"
    );
    let line = format!("{id} {}\r\n", "x".repeat(60));
    head + &line.repeat(size.div_ceil(line.len()))
}
