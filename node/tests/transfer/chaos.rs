//! Everything at once, in an order that a seed gives: moves, cut wires, a master that is not heard,
//! servers that end and come back, and a client that writes all the while.

use std::collections::BTreeMap;

use murder_api::admin::TransferPhase;
use murder_node::backend::gate::Phase;
use murder_store::mail::messages;

use crate::content::fill;
use crate::harness::{Node, alice, message, until};
use crate::murder::Murder;
use crate::proxy::{Cut, From, Mode};

/// Numbers that look random (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What the client knows of its messages: true if it was told that they are kept.
type Written = BTreeMap<String, bool>;

struct World {
    murder: Murder,
    nodes: [Node; 2],
    dice: Dice,
    written: Written,
}

/// Whether a server would answer commands on the unit at this moment.
fn serves(node: &Node) -> bool {
    let place = node.backend().unit(&alice());
    place.is_some_and(|place| place.gate.phase_now() == Some(Phase::Active))
}

impl World {
    async fn start(seed: u64) -> Self {
        let murder = Murder::start().await;
        let settings = "transfer: {freezeMsMax: 400, attemptsMax: 3}\n";
        let nodes = [
            murder.backend("be-a", settings).await,
            murder.backend("be-b", settings).await,
        ];
        fill(&nodes[0]).await;
        Self {
            murder,
            nodes,
            dice: Dice(seed),
            written: Written::new(),
        }
    }

    async fn write(&mut self, number: u64) {
        let id = format!("w{number}");
        let text = message(&id, 500 + 40_000 * usize::from(number.is_multiple_of(7)));
        for node in &self.nodes {
            if !serves(node) {
                continue;
            }
            let added = node.add(&id, text.len()).await;
            self.written.insert(id.clone(), added.is_ok());
            return;
        }
    }

    async fn step(&mut self, number: u64) {
        assert!(!self.nodes.iter().all(serves), "two owners");
        self.write(number).await;
        let which = self.dice.below(2) as usize;
        match self.dice.below(12) {
            0..=4 => {
                let (from, to) = if serves(&self.nodes[0]) {
                    (0, 1)
                } else {
                    (1, 0)
                };
                let id = murder_model::MoveId::from_bytes(murder_node::clock::random_id());
                let to = self.nodes[to].server();
                // It may be moving already, or be in doubt.
                let _started = self.nodes[from].transfers().start(id, alice(), to, None);
            }
            5..=7 => {
                let from = [From::Client, From::Server][self.dice.below(2) as usize];
                let records = 1 + self.dice.below(40);
                self.nodes[which].to_peers.arm(Cut { from, records });
            }
            8 => {
                let modes = [Mode::Refuse, Mode::LoseReplies, Mode::LoseRequests];
                let mode = modes[self.dice.below(3) as usize];
                self.nodes[which].to_master.set(mode);
            }
            9 => self.heal(),
            10 => {
                self.heal();
                self.nodes[which].restart().await;
            }
            _ => {
                let moves = self.nodes[which].transfers().list();
                let last = moves.last().map(|status| status.move_id);
                if let Some(id) = last {
                    let _too_late = self.nodes[which].transfers().cancel(&id);
                }
            }
        }
        let pause = 1 + self.dice.below(120);
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
    }

    fn heal(&self) {
        for node in &self.nodes {
            // Whoever is connected to a mute master connects again.
            node.to_master.set(Mode::Refuse);
            node.to_master.set(Mode::Pass);
        }
    }

    async fn settle(&self) -> usize {
        self.heal();
        for node in &self.nodes {
            let ended = |phase| {
                matches!(
                    phase,
                    TransferPhase::Done | TransferPhase::Failed | TransferPhase::Cancelled
                )
            };
            until("transfers end", || async {
                let mut moves = node.transfers().list().into_iter();
                moves.all(|status| ended(status.phase))
            })
            .await;
        }
        let nodes = &self.nodes;
        until("one serves", || async { nodes.iter().any(serves) }).await;
        assert!(!self.nodes.iter().all(serves), "two owners");
        self.nodes.iter().position(serves).unwrap()
    }

    async fn verify(&mut self) {
        let owner = self.settle().await;
        let node = &self.nodes[owner];
        let record = self.murder.record(&alice()).await;
        assert_eq!(record.server, node.server());
        node.content(&record).await;
        let inbox = node.row("user.alice").await;
        let place = node.backend().unit(&alice()).unwrap();
        let snapshots = place.partition.snapshots().clone();
        let read = place.partition.read(move |rows| {
            let mut found = BTreeMap::<String, u32>::new();
            for (_, message) in messages(rows, &inbox.id, 1, u32::MAX)? {
                let (blob, _) = murder_store::mail::structure(rows, &message)?.unwrap();
                let bytes = snapshots.blob(blob)?.read(0..u64::MAX)?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let id = text
                    .split("about ")
                    .nth(1)
                    .and_then(|rest| rest.split("\r\n").next());
                *found.entry(id.unwrap_or_default().to_owned()).or_default() += 1;
            }
            Ok(found)
        });
        let found = read.await.unwrap();
        for (id, acknowledged) in &self.written {
            let copies = found.get(id).copied().unwrap_or(0);
            assert!(
                copies == 1 || (copies == 0 && !acknowledged),
                "{id}: {copies}"
            );
        }
        let other = &self.nodes[1 - owner];
        until("no copy is left in the middle of a move", || async {
            use murder_model::UnitState as State;
            other
                .ownership(&record)
                .await
                .is_none_or(|own| matches!(own.state, State::Moved { .. } | State::Gone))
        })
        .await;
        for node in &mut self.nodes {
            node.stop_and_check().await;
        }
    }
}

async fn run(seed: u64, steps: u64) {
    let mut world = World::start(seed).await;
    for number in 0..steps {
        world.step(number).await;
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_one_server_has_all_that_was_acknowledged_once() {
    let seeds = std::env::var("CHAOS_SEEDS").unwrap_or_else(|_| "1,2".to_owned());
    for seed in seeds.split(',') {
        let seed: u64 = seed.parse().unwrap();
        println!("seed {seed}");
        run(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed) | 1, 60).await;
    }
}
