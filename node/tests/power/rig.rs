//! Nodes that can lose power, clients, and what these were told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use murder_api::settings::Role;
use murder_e2e::murder::{Murder, Plan};
use murder_e2e::powerloss::{Loss, Point, PowerLoss, Shim};
use tokio::task::JoinHandle;

use crate::harness::murder_node;
use crate::ledger::{Ledger, deliver};
use crate::store::{self, States};
use crate::table::Table;
use crate::wire::Imap;

/// Nothing in a healthy murder takes so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// The unit that is read, written and moved.
pub(crate) const ROOT: &str = "user.alice";
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct Rig {
    pub(crate) murder: Murder,
    /// The node that clients talk to.
    entry: &'static str,
    powers: BTreeMap<String, PowerLoss>,
    pub(crate) ledger: Ledger,
    pub(crate) table: Table,
    kills: u64,
    loads: u64,
}

/// Clients that deliver.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Vec<String>>>,
}

/// A node that has lost power.
pub(crate) struct Struck {
    pub(crate) loss: Loss,
    /// What its files say: the states of units, or the owner that a master has on record.
    pub(crate) states: States,
}

impl Rig {
    pub(crate) async fn start(plan: Plan, entry: &'static str, title: &'static str) -> Self {
        let mut murder = plan.users(["alice", "bob"]).prepare().unwrap();
        let shim = Shim::build(murder.folder()).unwrap();
        let mut powers = BTreeMap::new();
        let nodes = murder.nodes().iter();
        let disks: Vec<_> = nodes
            .filter(|node| node.role() != Role::Frontend)
            .map(|node| (node.name().to_owned(), node.data()))
            .collect();
        for (name, data) in disks {
            let undo = murder.folder().join(format!("undo-{name}"));
            let power = PowerLoss::new(&shim, &data, &undo).unwrap();
            let environment = power.environment();
            let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let node = murder.node_mut(&name).unwrap();
            node.set_environment(environment.to_vec());
            powers.insert(name, power);
        }
        murder.start_all().await.unwrap();
        let mut rig = Self {
            murder,
            entry,
            powers,
            ledger: Ledger::default(),
            table: Table::new(title),
            kills: 0,
            loads: 0,
        };
        let mut alice = Imap::login(rig.imap(), "alice").unwrap();
        alice.ok("SELECT INBOX").unwrap();
        alice.ok("SETACL INBOX bob lrs").unwrap();
        let load = rig.load(1, 5);
        rig.finish(load).await;
        rig.verify().await;
        rig
    }

    fn imap(&self) -> SocketAddr {
        self.murder.addresses(self.entry).unwrap().imap
    }

    fn power(&self, node: &str) -> &PowerLoss {
        &self.powers[self.murder.node(node).unwrap().name()]
    }

    /// Tells a node where to end.
    pub(crate) fn arm(&self, node: &str, point: &Point) {
        self.power(node).arm(point).unwrap();
    }

    /// Clients that deliver to alice until they are stopped or have delivered so many each.
    pub(crate) fn load(&mut self, writers: usize, most: usize) -> Load {
        self.load_at(writers, most, Duration::ZERO)
    }

    /// The same, with a pause after each message.
    pub(crate) fn load_at(&mut self, writers: usize, most: usize, pause: Duration) -> Load {
        self.loads += 1;
        let stop = Arc::new(AtomicBool::new(false));
        let lmtp = self.murder.addresses(self.entry).unwrap().lmtp;
        let spawn = |writer| {
            let prefix = format!("{}-{writer}", self.loads);
            tokio::spawn(deliver(lmtp, prefix, most, pause, Arc::clone(&stop)))
        };
        let writers = (0..writers).map(spawn).collect();
        Load { stop, writers }
    }

    /// Waits until the clients have ended, and notes what they were told.
    pub(crate) async fn finish(&mut self, load: Load) {
        for writer in load.writers {
            self.ledger.delivered(writer.await.unwrap());
        }
    }

    /// Waits until a node has ended at its point, and takes what was not synced: all of it or, half of
    /// the time, a part that the number of the loss chooses.
    pub(crate) async fn lose_power(&mut self, node: &str, load: Option<&Load>) -> Struck {
        let ended = self.murder.node_mut(node).unwrap().wait_end(PATIENCE).await;
        assert_eq!(ended.unwrap().signal(), Some(9), "{node} ended otherwise");
        if let Some(load) = load {
            load.stop.store(true, Ordering::Relaxed);
        }
        self.kills += 1;
        // Points alternate by ones, so losses do by twos.
        let loss = if (self.kills / 2).is_multiple_of(2) {
            Loss::Everything
        } else {
            Loss::Some(self.kills)
        };
        self.power(node).strike(loss).unwrap();
        let node = self.murder.node(node).unwrap();
        if node.role().holds_mailboxes() {
            let states = store::check_replay(&store::partition(&node.data()));
            return Struck { loss, states };
        }
        let owner = store::owner_on_record(&node.data().join("locations.redb"), ROOT);
        let states = States::from([(ROOT.to_owned(), owner)]);
        Struck { loss, states }
    }

    /// Reads everything back, as soon as the server is well.
    pub(crate) async fn verify(&mut self) {
        let begun = Instant::now();
        while let Err(error) = self.ledger.verify(self.imap()) {
            assert!(begun.elapsed() < PATIENCE, "not well: {error}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Stops all nodes and checks their stores.
    pub(crate) async fn end(mut self) {
        self.verify().await;
        assert!(self.ledger.messages() > 20, "the load delivered nothing");
        self.murder.stop_all().await.unwrap();
        for node in self.murder.nodes() {
            if !node.role().holds_mailboxes() {
                continue;
            }
            let partition = store::partition(&node.data());
            store::check_replay(&partition);
            let check = murder_node(&["store", "check", partition.to_str().unwrap()], "");
            assert!(check.status.success(), "{}: {check:?}", node.name());
        }
        self.table.show();
    }
}

/// Waits for a condition.
pub(crate) async fn until<T, F, Fut>(what: &str, mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: does not come");
        tokio::time::sleep(LOOK).await;
    }
}
