//! A master, backends and frontends in this process.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use murder_api::Settings;
use murder_e2e::murder::{Authority, Files};
use murder_locations::master::{Master, MasterOptions};
use murder_locations::request::{Request, Response};
use murder_model::{Acl, Attempt, Epoch, MailboxName, MoveId, PartitionName, RootName, UserName};
use murder_node::accounts::{FileAccounts, set_password};
use murder_node::backend::gate::{Gate, Phase};
use murder_node::backend::{Backend, UnitPlace, membership, partition, publish};
use murder_node::directory::{Directory, replica};
use murder_node::frontend::lmtp::{Patience, Proxy};
use murder_node::frontend::{Frontend, Router};
use murder_node::mupdate::{Server, master};
use murder_node::net::tls::TlsFiles;
use murder_node::net::{Stream, Tls};
use murder_node::server_state::ServerState;
use murder_node::telemetry::Metrics;
use murder_node::volume;
use murder_store::engine::{Partition, PartitionOptions, RealDisk};
use murder_store::mail::{Grant, create_root, messages, structure};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

/// The password of every account.
pub(crate) const PASSWORD: &str = "secret";

/// Short enough for tests that wait for the end of it, long enough for a busy machine.
pub(crate) const SHORT: Patience = Patience {
    open: Duration::from_secs(3),
    reply: Duration::from_secs(3),
    stall: Duration::from_secs(3),
    delivery: Duration::from_secs(3),
    rest: Duration::from_secs(3600),
};

/// Servers that belong together.
pub(crate) struct Murder {
    folder: TempDir,
    authority: Authority,
    accounts: PathBuf,
    master: u16,
    stop: watch::Sender<bool>,
    served: Option<Served>,
}

/// A listener and its sessions, all of which end when this is dropped.
pub(crate) struct Served {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Served {
    /// Waits until all sessions have ended.
    async fn end(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }
}

/// A running backend.
pub(crate) struct Member {
    pub(crate) backend: Arc<Backend>,
    pub(crate) lmtp: SocketAddr,
    served: Option<Served>,
}

/// A running frontend.
pub(crate) struct Front {
    pub(crate) frontend: Arc<Frontend>,
    proxy: Arc<Proxy>,
    pub(crate) lmtp: SocketAddr,
    stop: watch::Sender<bool>,
    _served: Served,
}

/// Serves each connection in a task.
pub(crate) fn accept<F, Fut>(listener: TcpListener, serve: F) -> Served
where
    F: Fn(TcpStream, SocketAddr) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (stop, mut stopping) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (socket, peer) = accepted.unwrap();
                    sessions.spawn(serve(socket, peer));
                }
                _ = &mut stopping => break,
            }
        }
        drop(listener);
        sessions.shutdown().await;
    });
    Served { stop, task }
}

pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) fn tls(files: &Files) -> Tls {
    let files = TlsFiles {
        certificate: &files.certificate,
        key: &files.key,
        ca: &files.ca,
    };
    Tls::load(files, None).unwrap()
}

impl Murder {
    /// A master, and accounts for `users`.
    pub(crate) async fn new(users: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("mc", &folder.path().join("tls")).unwrap();
        let accounts = folder.path().join("accounts");
        std::fs::write(&accounts, "").unwrap();
        if let Some(first) = users.first() {
            // One verifier for all: making it takes its time.
            let first = UserName::parse(first).unwrap();
            set_password(&accounts, &first, PASSWORD.as_bytes()).unwrap();
            let text = std::fs::read_to_string(&accounts).unwrap();
            let verifier = text.trim_end().split_once(':').unwrap().1;
            let mut lines = String::new();
            for user in users {
                writeln!(lines, "{user}:{verifier}").unwrap();
            }
            std::fs::write(&accounts, lines).unwrap();
        }
        let (listener, address) = listen().await;
        let files = authority.issue("mupdate", "mupdate", "mupdate-0").unwrap();
        let extra = format!(
            "listeners: {{mupdate: \"127.0.0.1:0\"}}\ntls: {{certificate: {:?}, key: {:?}, ca: {:?}}}\n",
            files.certificate, files.key, files.ca
        );
        let text = settings_text(&folder, "mupdate", "mupdate", &accounts, None, &extra);
        let metrics = Arc::new(Metrics::new());
        let database = Master::in_memory(MasterOptions::default()).unwrap();
        let (master, _thread, _failure) = master::start(database, &metrics).unwrap();
        let server = Arc::new(Server {
            settings: Arc::new(Settings::parse("node.yaml".as_ref(), &text).unwrap()),
            accounts: None,
            tls: Some(tls(&files)),
            master,
            metrics,
        });
        let served = accept(listener, move |socket, _| {
            let server = Arc::clone(&server);
            async move {
                let _end = server.serve(socket).await;
            }
        });
        Self {
            folder,
            authority,
            accounts,
            master: address.port(),
            stop: watch::channel(false).0,
            served: Some(served),
        }
    }

    /// Nobody answers for the master any more.
    pub(crate) async fn master_dies(&mut self) {
        self.served.take().unwrap().end().await;
    }

    pub(crate) fn issue(&self, role: &str, server: &str) -> Files {
        let pod = format!("{server}-0");
        self.authority.issue(role, server, &pod).unwrap()
    }

    pub(crate) fn settings(
        &self,
        role: &str,
        server: &str,
        lmtp: Option<SocketAddr>,
        extra: &str,
    ) -> Arc<Settings> {
        let files = self.issue(role, server);
        let lmtp_listener = lmtp.map_or_else(|| "127.0.0.1:0".to_owned(), |lmtp| lmtp.to_string());
        let listeners = format!(
            "{{lmtp: \"{lmtp_listener}\", imaps: \"127.0.0.1:0\", transfer: \"127.0.0.1:0\"}}"
        );
        let extra = format!(
            "listeners: {listeners}\nmupdate: {{host: 127.0.0.1, port: {}, tlsName: mupdate}}\n\
             tls: {{certificate: {:?}, key: {:?}, ca: {:?}}}\n{extra}",
            self.master, files.certificate, files.key, files.ca
        );
        let text = settings_text(&self.folder, role, server, &self.accounts, lmtp, &extra);
        let settings = Settings::parse("node.yaml".as_ref(), &text);
        let settings = settings.unwrap_or_else(|problems| panic!("{problems}"));
        std::fs::create_dir_all(settings.data_dir.join("spool")).unwrap();
        Arc::new(settings)
    }

    pub(crate) fn accounts(&self) -> Arc<FileAccounts> {
        Arc::new(FileAccounts::open(&self.accounts).unwrap())
    }

    /// This server's word with the master.
    pub(crate) fn directory(&self, settings: &Arc<Settings>, files: &Files) -> Directory {
        Directory::start(settings, &tls(files), None, self.stop.subscribe()).unwrap()
    }

    /// A backend that has reported; it takes mail from nodes only, unless `extra` says more.
    pub(crate) async fn backend(&self, server: &str, extra: &str) -> Member {
        self.member("backend", server, extra).await
    }

    /// A server that has reported that it listens at `lmtp`.
    pub(crate) async fn open(
        &self,
        role: &str,
        server: &str,
        lmtp: SocketAddr,
        extra: &str,
    ) -> Arc<Backend> {
        let settings = self.settings(role, server, Some(lmtp), extra);
        let metrics = Arc::new(Metrics::new());
        let state = Arc::new(ServerState::open(&settings.data_dir).unwrap());
        let directory = self.directory(&settings, &self.issue(role, server));
        let options = PartitionOptions::new(settings.data_dir.join("partition"));
        let disk = Arc::new(RealDisk::with_space_probe(volume::space));
        let (opened, _) = Partition::open(disk, options).unwrap();
        let (partition, _thread) = partition::start("default", opened, &metrics).unwrap();
        let backend = Backend::open(
            settings,
            self.accounts(),
            metrics,
            state,
            Some(directory.clone()),
            vec![Arc::clone(&partition)],
        );
        let backend = Arc::new(backend.unwrap());
        let (told, stop) = (directory.clone(), || self.stop.subscribe());
        tokio::spawn(membership::run(Arc::clone(&backend), directory, stop()));
        tokio::spawn(publish::run(Arc::clone(&backend), partition, told, stop()));
        let mut reports = backend.membership.reports();
        reports.wait_for(|count| *count > 0).await.unwrap();
        backend
    }

    async fn member(&self, role: &str, server: &str, extra: &str) -> Member {
        let (listener, lmtp) = listen().await;
        let backend = self.open(role, server, lmtp, extra).await;
        let tls = tls(&self.issue(role, server));
        let served = accept(listener, {
            let backend = Arc::clone(&backend);
            move |socket, peer| {
                let (backend, tls) = (Arc::clone(&backend), tls.clone());
                async move {
                    let stream = Stream::Plain(socket);
                    let _end = murder_node::backend::lmtp::serve(
                        backend,
                        Some(tls),
                        stream,
                        Some(peer),
                        None,
                        None,
                    )
                    .await;
                }
            }
        });
        Member {
            backend,
            lmtp,
            served: Some(served),
        }
    }

    /// A frontend that trusts this machine, with a complete replica.
    pub(crate) async fn frontend(&self, patience: Patience, extra: &str) -> Front {
        let trusting = if extra.contains("lmtp:") {
            extra.to_owned()
        } else {
            format!("lmtp: {{trustedNetworks: [127.0.0.0/8]}}\n{extra}")
        };
        let (listener, lmtp) = listen().await;
        self.routing("frontend", "fe", listener, lmtp, None, patience, &trusting)
            .await
    }

    /// Frontend and backend in one.
    pub(crate) async fn unified(&self, server: &str, extra: &str) -> Front {
        let (listener, lmtp) = listen().await;
        let backend = self.open("unified", server, lmtp, extra).await;
        let local = Some(backend);
        self.routing(
            "unified",
            server,
            listener,
            lmtp,
            local,
            Patience::default(),
            extra,
        )
        .await
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the two kinds have little in common"
    )]
    async fn routing(
        &self,
        role: &str,
        server: &str,
        listener: TcpListener,
        lmtp: SocketAddr,
        local: Option<Arc<Backend>>,
        patience: Patience,
        extra: &str,
    ) -> Front {
        let settings = self.settings(role, server, Some(lmtp), extra);
        let tls = tls(&self.issue(role, server));
        let (handle, _thread) = replica::start(&settings.data_dir).unwrap();
        let (stop, stopping) = watch::channel(false);
        let directory = Directory::start(&settings, &tls, Some(handle.clone()), stopping).unwrap();
        let router = Router::new(Arc::clone(&settings), directory, handle);
        router.refresh().await.unwrap();
        let metrics = local.as_ref().map(|local| Arc::clone(&local.metrics));
        let frontend = Arc::new(Frontend {
            settings,
            accounts: self.accounts(),
            metrics: metrics.unwrap_or_default(),
            tls,
            router,
            local,
        });
        let proxy = Arc::new(Proxy::new(Arc::clone(&frontend)).with_patience(patience));
        let served = accept(listener, {
            let proxy = Arc::clone(&proxy);
            move |socket, peer| {
                let (proxy, stream) = (Arc::clone(&proxy), Stream::Plain(socket));
                async move {
                    let served =
                        murder_node::frontend::lmtp::serve(proxy, stream, Some(peer), None, None);
                    let _end = served.await;
                }
            }
        });
        Front {
            frontend,
            proxy,
            lmtp,
            stop,
            _served: served,
        }
    }
}

fn settings_text(
    folder: &TempDir,
    role: &str,
    server: &str,
    accounts: &std::path::Path,
    lmtp: Option<SocketAddr>,
    extra: &str,
) -> String {
    let data = folder.path().join(format!("{server}-{role}"));
    let listeners = match lmtp {
        _ if extra.contains("listeners:") => "",
        _ => "listeners: {}\n",
    };
    format!(
        "role: {role}\ncluster: mc\nname: {server}-0\nserver: {server}\ndataDir: {data:?}\n\
         accounts: {accounts:?}\n{listeners}{extra}"
    )
}

pub(crate) fn root(user: &str) -> RootName {
    RootName::user(&UserName::parse(user).unwrap())
}

impl Member {
    /// The user's mailboxes are here from now on.
    pub(crate) async fn has(&self, user: &str) {
        self.backend.create_root(&root(user)).await.unwrap();
    }

    /// Gives the user's mailboxes, empty, to another server.
    pub(crate) async fn gives(&self, user: &str, other: &Self) {
        let unit = self.backend.unit(&root(user)).unwrap();
        let (term, epoch) = (self.backend.state.promised(), Epoch::new(2));
        let flip = Request::Flip {
            unit: unit.unit,
            from_epoch: Epoch::new(1),
            destination: other.backend.state.server_id(),
            partition: PartitionName::parse("default").unwrap(),
            move_id: MoveId::from_bytes([1; 16]),
            attempt: Attempt::new(1),
            term,
        };
        let directory = self.backend.directory.as_ref().unwrap();
        let flipped = directory.demand(flip).await.unwrap();
        assert!(matches!(flipped, Response::Flipped(_)), "{flipped:?}");
        let to = other.backend.settings.server.clone();
        unit.gate.set(Phase::Moved { to, term, epoch }).await;
        let grant = Grant {
            unit: unit.unit,
            root: root(user),
            term,
            epoch,
            uid_validity_floor: 1,
        };
        let place = UnitPlace {
            unit: unit.unit,
            partition: Arc::clone(&other.backend.partitions()[0]),
            gate: Gate::new(Phase::Active),
        };
        let acl = Acl::owner_default(&UserName::parse(user).unwrap());
        let made = place.partition.write(move |tx| {
            let mut ids = || [7; 16];
            let (_, effects) = create_root(tx, &grant, &acl, &[], &mut ids)?;
            Ok(((), effects))
        });
        made.await.unwrap();
        other.backend.put_unit(root(user), place);
    }

    /// All connections break, and nobody listens any more.
    pub(crate) async fn die(&mut self) {
        self.served.take().unwrap().end().await;
    }

    /// The contents of a mailbox, in the order of their UIDs, without the two lines that the backend
    /// puts on top.
    pub(crate) async fn contents(&self, mailbox: &str) -> Vec<Vec<u8>> {
        contents(&self.backend, mailbox).await
    }
}

pub(crate) async fn contents(backend: &Backend, mailbox: &str) -> Vec<Vec<u8>> {
    let name = MailboxName::parse_internal(mailbox).unwrap();
    let (place, row) = backend.mailbox(&name).await.unwrap();
    let snapshots = place.partition.snapshots().clone();
    let read = move |rows: &murder_store::engine::Snapshot| {
        let mut found = Vec::new();
        for (_, message) in messages(rows, &row.id, 1, u32::MAX)? {
            let (place, _) = structure(rows, &message)?.unwrap();
            let bytes = snapshots.read_blob(place, 0..place.length)?;
            let mut lines = bytes.splitn(3, |octet| *octet == b'\n');
            let (path, received) = (lines.next().unwrap(), lines.next().unwrap());
            assert!(path.starts_with(b"Return-Path: <"), "{path:?}");
            assert!(received.starts_with(b"Received: from ["), "{received:?}");
            found.push(lines.next().unwrap().to_vec());
        }
        Ok(found)
    };
    place.partition.read(read).await.unwrap()
}

impl Front {
    /// A session over a pipe that holds so many bytes; all that the frontend says.
    pub(crate) async fn converse(&self, session: &[u8], pipe: usize) -> String {
        let (ours, theirs) = tokio::io::duplex(pipe);
        let peer = Some(self.lmtp);
        let proxy = Arc::clone(&self.proxy);
        let served =
            murder_node::frontend::lmtp::serve(proxy, Stream::Memory(theirs), peer, None, None);
        let (mut read, mut write) = tokio::io::split(ours);
        let mut said = String::new();
        let (served, written, read) = tokio::join!(
            served,
            write.write_all(session),
            read.read_to_string(&mut said)
        );
        served.unwrap();
        written.unwrap();
        read.unwrap();
        said
    }

    /// Which server the replica names for a user.
    pub(crate) fn server_of(&self, user: &str) -> Option<String> {
        let name = MailboxName::inbox(&UserName::parse(user).unwrap());
        let target = self.frontend.router.known(&name).unwrap();
        target.map(|target| target.server.to_string())
    }

    /// Cuts the replica off from the master.
    pub(crate) async fn hears_no_more(&self) {
        self.stop.send_replace(true);
        while self.frontend.router.refresh().await.is_ok() {}
    }

    /// Waits until the replica knows all that the master has acknowledged.
    pub(crate) async fn caught_up(&self) {
        self.frontend.router.refresh().await.unwrap();
    }
}
