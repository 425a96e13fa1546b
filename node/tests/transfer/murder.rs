//! The master, and backends around it.

use std::sync::Arc;

use murder_api::Settings;
use murder_locations::master::{Master, MasterOptions};
use murder_locations::request::{
    Identity, Line, Name, Request, Response, Role, UnitRecord, UnitRef,
};
use murder_model::RootName;
use murder_node::mupdate;
use murder_node::mupdate::master::{self, MasterHandle, MasterThread};
use murder_node::telemetry::Metrics;
use tokio::net::TcpListener;

use crate::certificates::Authority;
use crate::harness::{Node, load_tls};
use crate::proxy::Proxy;

/// A murder of backends.
pub(crate) struct Murder {
    folder: tempfile::TempDir,
    authority: Authority,
    pub(crate) master: MasterHandle,
    master_thread: Option<MasterThread>,
    master_port: u16,
    who: Arc<Identity>,
}

impl Murder {
    pub(crate) async fn start() -> Self {
        // Only the first of a process takes effect; `RUST_LOG` says what is shown.
        let _first = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
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
             listeners:\n  imap: 127.0.0.1:1\n  imaps: 127.0.0.1:1\n  lmtp: 127.0.0.1:1\n  admin: 127.0.0.1:1\n  \
             transfer: 127.0.0.1:{}\naccounts: accounts\n\
             mupdate: {{host: 127.0.0.1, port: {}}}\n\
             tls: {{certificate: node.pem, key: node.key, ca: ca.pem}}\n{extra}",
            to_peers.port, to_master.port
        );
        let settings = Settings::parse(&directory.join("node.yaml"), &text);
        let settings = settings.unwrap_or_else(|problems| panic!("{problems}"));
        let mut node = Node::new(settings, to_master, to_peers);
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
