//! Messages between partitions of one server.

use std::path::Path;
use std::sync::Arc;

use murder_api::Settings;
use murder_model::{Acl, Epoch, Identifier, Rights, RootName, Term, UnitId};
use murder_node::accounts::FileAccounts;
use murder_node::backend::gate::{Gate, Phase};
use murder_node::backend::partition::{self, PartitionHandle, PartitionThread};
use murder_node::backend::{Backend, UnitPlace};
use murder_node::clock;
use murder_node::server_state::ServerState;
use murder_node::telemetry::Metrics;
use murder_store::engine::{Partition, PartitionOptions, RealDisk, Space};
use murder_store::mail::{Grant, create_root};

use crate::client::Client;
use crate::harness::message;
use crate::server::stored;

/// A server with two partitions, the second of which has room for 1 MiB.
struct Single {
    backend: Arc<Backend>,
    threads: Vec<PartitionThread>,
    _folder: tempfile::TempDir,
}

fn plenty(_: &Path) -> std::io::Result<Space> {
    Ok(Space {
        free: 8 << 30,
        total: 10 << 30,
    })
}

fn little(_: &Path) -> std::io::Result<Space> {
    Ok(Space {
        free: (256 << 20) + (1 << 20),
        total: 10 << 30,
    })
}

impl Single {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("data/spool")).unwrap();
        std::fs::write(folder.path().join("accounts"), "").unwrap();
        let text = "role: unified\ncluster: test\nname: one-0\nserver: one\ndataDir: data\n\
             listeners: {}\naccounts: accounts\n";
        let settings = Settings::parse(&folder.path().join("node.yaml"), text).unwrap();
        let metrics = Arc::new(Metrics::new());
        let (mut handles, mut threads) = (Vec::new(), Vec::new());
        for (name, disk) in [
            ("large", RealDisk::with_space_probe(plenty)),
            ("small", RealDisk::with_space_probe(little)),
        ] {
            let options = PartitionOptions {
                segment_bytes: 4 << 20,
                reserve_percent: 0,
                ..PartitionOptions::new(folder.path().join("data").join(name))
            };
            let (partition, _) = Partition::open(Arc::new(disk), options).unwrap();
            let (handle, thread) = partition::start(name, partition, &metrics).unwrap();
            handles.push(handle);
            threads.push(thread);
        }
        let accounts = FileAccounts::open(&settings.accounts).unwrap();
        let state = ServerState::open(&settings.data_dir).unwrap();
        let backend = Backend::open(
            Arc::new(settings),
            Arc::new(accounts),
            metrics,
            Arc::new(state),
            None,
            handles,
        );
        Self {
            backend: Arc::new(backend.unwrap()),
            threads,
            _folder: folder,
        }
    }

    /// A root in a partition, with all rights for alice.
    async fn create(&self, root: &str, partition: &str) {
        let root = RootName::parse(root).unwrap();
        let partition: Arc<PartitionHandle> =
            Arc::clone(self.backend.partition(partition).unwrap());
        let unit = UnitId::from_bytes(clock::random_id());
        let grant = Grant {
            unit,
            root: root.clone(),
            term: Term::new(0),
            epoch: Epoch::new(1),
            uid_validity_floor: 100,
        };
        let mut acl = Acl::new();
        let alice = Identifier::parse("alice").unwrap();
        acl.set(alice, false, Rights::ALL).unwrap();
        let made = partition.write(move |tx| {
            create_root(tx, &grant, &acl, &[], &mut clock::random_id).map(|made| ((), made.1))
        });
        made.await.unwrap();
        let place = UnitPlace {
            unit,
            partition,
            gate: Gate::new(Phase::Active),
        };
        self.backend.put_unit(root, place);
    }

    async fn stop(self) {
        let threads = self.threads;
        let stopped = tokio::task::spawn_blocking(move || {
            threads.into_iter().for_each(PartitionThread::stop);
        });
        stopped.await.unwrap();
    }
}

async fn append(client: &mut Client, text: &str) {
    let head = format!(
        "t APPEND INBOX (\\Flagged) {{{}+}}\r\n{text}\r\n",
        text.len()
    );
    client.send(&head).await;
    let answer = client.line().await;
    assert!(answer.starts_with("t OK"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_go_from_one_partition_to_another() {
    let single = Single::start();
    single.create("user.alice", "large").await;
    single.create("team", "small").await;
    let mut alice = Client::open(&single.backend, "alice");
    for id in ["1", "2"] {
        append(&mut alice, &message(id, 1000)).await;
    }
    let before = stored(&single.backend, "user.alice").await;
    alice.ok("SELECT INBOX").await;
    assert_eq!(
        alice.all("COPY 1:2 \"Shared Folders/team\"").await,
        ["t OK [COPYUID 101 1:2 1:2] done"]
    );
    assert_eq!(stored(&single.backend, "team").await, before);
    assert_eq!(
        alice.all("MOVE 2 \"Shared Folders/team\"").await,
        ["* OK [COPYUID 101 2 3] moved", "* 2 EXPUNGE", "t OK done"]
    );
    assert_eq!(stored(&single.backend, "user.alice").await, before[..1]);
    assert_eq!(
        alice.last("COPY 1 \"Shared Folders/none\"").await,
        "t NO [TRYCREATE] mailbox does not exist"
    );
    drop(alice);
    single.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_without_room_refuses_all_messages_and_keeps_none() {
    let single = Single::start();
    single.create("user.alice", "large").await;
    single.create("team", "small").await;
    let mut alice = Client::open(&single.backend, "alice");
    for size in [1000, 2 << 20] {
        append(&mut alice, &message("1", size)).await;
    }
    alice.ok("SELECT INBOX").await;
    for verb in ["COPY", "MOVE"] {
        assert_eq!(
            alice
                .all(&format!("{verb} 1:2 \"Shared Folders/team\""))
                .await,
            ["t NO [OVERQUOTA] the server is out of space"]
        );
    }
    assert_eq!(stored(&single.backend, "team").await, []);
    assert_eq!(stored(&single.backend, "user.alice").await.len(), 2);
    alice.ok("MOVE 1 \"Shared Folders/team\"").await;
    drop(alice);
    single.stop().await;
}
