//! A master and backends in one process: real stores, real TLS, real MUPDATE, wires that can be cut.

use std::sync::Arc;
use std::time::{Duration, Instant};

use murder_api::Settings;
use murder_api::admin::{TransferPhase, TransferStatus};
use murder_locations::master::{Master, MasterOptions};
use murder_locations::request::{
    Identity, Line, Name, Request, Response, Role, UnitRecord, UnitRef,
};
use murder_model::{
    EmailId, Guid, InternalDate, Keyword, MailboxName, MoveId, OwnershipRecord, RootName,
    ServerName, SystemFlags, Timestamp, UserName,
};
use murder_node::accounts::FileAccounts;
use murder_node::backend::partition::{self, PartitionThread};
use murder_node::backend::{Backend, BackendError, membership, publish};
use murder_node::directory::Directory;
use murder_node::mupdate::master::{self, MasterHandle, MasterThread};
use murder_node::net::tls::TlsFiles;
use murder_node::net::{Tls, listener};
use murder_node::peer;
use murder_node::server_state::ServerState;
use murder_node::telemetry::Metrics;
use murder_node::transfer::Transfers;
use murder_node::{clock, mupdate, volume};
use murder_store::engine::{Partition, PartitionOptions, RealDisk, check};
use murder_store::mail::{
    Appended, MailboxRow, NewMessage, TransferRow, UnitHead, append, export_rows, ownership,
    recompute_digest, unit_head,
};
use murder_store::rows::{BlobSource, Rows, Table};
use murder_store::structure;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::certificates::Authority;
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

/// A murder of backends.
pub(crate) struct Murder {
    folder: tempfile::TempDir,
    authority: Authority,
    pub(crate) master: MasterHandle,
    master_thread: Option<MasterThread>,
    master_port: u16,
    who: Arc<Identity>,
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

impl Murder {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let directory = folder.path().join("master");
        std::fs::create_dir_all(&directory).unwrap();
        authority.write(&directory, "mupdate", "mupdate");
        let database = directory.join("locations.redb");
        let master = Master::open(&database, MasterOptions::default()).unwrap();
        let metrics = Arc::new(Metrics::new());
        let (master, master_thread, _failed) = master::start(master, &metrics).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let master_port = listener.local_addr().unwrap().port();
        let text = "role: mupdate\ncluster: test\nname: mupdate-0\nserver: mupdate\ndataDir: data\n\
             listeners: {mupdate: \"127.0.0.1:1\"}\naccounts: accounts\n\
             tls: {certificate: node.pem, key: node.key, ca: ca.pem}\n";
        let settings = Settings::parse(&directory.join("node.yaml"), text).unwrap();
        let server = Arc::new(mupdate::Server {
            tls: Some(load_tls(&settings)),
            settings: Arc::new(settings),
            accounts: None,
            master: master.clone(),
            metrics,
        });
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&server).serve(socket));
            }
        });
        let who = Arc::new(Identity {
            name: "test".to_owned(),
            role: Role::Operator,
        });
        Self {
            folder,
            authority,
            master,
            master_thread: Some(master_thread),
            master_port,
            who,
        }
    }

    /// A backend, with these lines added to its settings.
    pub(crate) async fn backend(&self, name: &str, extra: &str) -> Node {
        let directory = self.folder.path().join(name);
        std::fs::create_dir_all(directory.join("data/spool")).unwrap();
        std::fs::write(directory.join("accounts"), "").unwrap();
        self.authority.write(&directory, "backend", name);
        let to_master = Proxy::start(self.master_port, false).await;
        let to_peers = Proxy::start(0, true).await;
        let text = format!(
            "role: backend\ncluster: test\nname: {name}-0\nserver: {name}\ndataDir: data\n\
             listeners:\n  imap: 127.0.0.1:1\n  lmtp: 127.0.0.1:1\n  admin: 127.0.0.1:1\n  \
             transfer: 127.0.0.1:{}\naccounts: accounts\n\
             mupdate: {{host: 127.0.0.1, port: {}}}\n\
             tls: {{certificate: node.pem, key: node.key, ca: ca.pem}}\n{extra}",
            to_peers.port, to_master.port
        );
        let settings = Settings::parse(&directory.join("node.yaml"), &text);
        let settings = settings.unwrap_or_else(|problems| panic!("{problems}"));
        let mut node = Node {
            name: name.to_owned(),
            to_master,
            to_peers,
            settings: Arc::new(settings),
            running: None,
        };
        node.run().await;
        node.reported().await;
        node
    }

    /// What the master has of a root.
    pub(crate) async fn record(&self, root: &RootName) -> UnitRecord {
        let request = Request::FindUnit(UnitRef::Root(Name::from(root)));
        match self.ask(request).await {
            Response::Unit(Some(record)) => record,
            other => panic!("{other:?}"),
        }
    }

    /// All names that the master has.
    pub(crate) async fn names(&self) -> Vec<Line> {
        let request = Request::List {
            prefix: Vec::new(),
            after: None,
            limit: 1000,
        };
        match self.ask(request).await {
            Response::Lines { lines, .. } => lines,
            other => panic!("{other:?}"),
        }
    }

    async fn ask(&self, request: Request) -> Response {
        let answer = self.master.submit(&self.who, request).await.unwrap();
        answer.await.unwrap()
    }
}

impl Drop for Murder {
    fn drop(&mut self) {
        if let Some(thread) = self.master_thread.take() {
            std::thread::spawn(move || thread.stop()).join().unwrap();
        }
    }
}

fn load_tls(settings: &Settings) -> Tls {
    let files = settings.tls.as_ref().unwrap();
    let files = TlsFiles {
        certificate: &files.certificate,
        key: &files.key,
        ca: &files.ca,
    };
    Tls::load(files, None).unwrap()
}

impl Node {
    fn partition_options(&self) -> PartitionOptions {
        let setting = &self.settings.partitions[0];
        PartitionOptions {
            segment_bytes: 4 << 20,
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
    pub(crate) fn start_move(&self, root: &RootName, to: &Node) -> MoveId {
        let id = MoveId::from_bytes(clock::random_id());
        let started = self.transfers().start(id, root.clone(), to.server(), None);
        started.unwrap();
        id
    }

    /// Moves a unit and waits for the end.
    pub(crate) async fn transfer(&self, root: &RootName, to: &Node) -> TransferStatus {
        let id = self.start_move(root, to);
        self.transfers().wait(&id).await.unwrap()
    }

    pub(crate) fn status(&self, id: &MoveId) -> TransferStatus {
        let list = self.transfers().list();
        list.into_iter()
            .find(|status| status.move_id == *id)
            .unwrap()
    }

    pub(crate) async fn phase(&self, id: &MoveId, phase: TransferPhase) {
        until(&format!("{phase:?}"), || async {
            self.status(id).phase == phase
        })
        .await;
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
        let message = NewMessage {
            content: BlobSource::Bytes(text.as_bytes()),
            guid: Guid::from_bytes(*blake3::hash(text.as_bytes()).as_bytes()),
            email_id: EmailId::from_bytes(clock::random_id()),
            flags,
            keywords: &keywords,
            internal_date: InternalDate::new(760_658_545, -480),
            structure: &structure::encode(&structure::scan(text.as_bytes())),
        };
        append(tx, &row.id, &message, Timestamp::from_millis(1_000))
    });
    written.await
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
