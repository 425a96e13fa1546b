//! Many moves to and fro while connections break and servers start anew.

use murder_model::SystemFlags;

use crate::harness::{message, until};
use crate::murder::Murder;
use crate::proxy::{Cut, From};
use crate::server::Server;

const TEAM: &str = "\"Shared Folders/team\"";
const MESSAGES: u64 = 12;
const STEPS: u64 = 60;

/// A small generator: what a seed did can be done again.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Moves some messages from one server to the other while something breaks.
async fn step(random: &mut Random, source: &mut Server, target: &mut Server, names: [&str; 2]) {
    let mut alice = source.client("alice");
    let selected = alice.ok(&format!("SELECT {}", names[0])).await;
    let exists = selected.iter().find_map(|line| {
        let count = line.strip_prefix("* ")?.strip_suffix(" EXISTS")?;
        count.parse::<u64>().ok()
    });
    let exists = exists.unwrap();
    if exists == 0 {
        return;
    }
    let (one, other) = (1 + random.below(exists), 1 + random.below(exists));
    let command = format!("MOVE {one}:{other} {}", names[1]);
    let records = 1 + random.below(16);
    let fault = random.below(6);
    if fault > 0 {
        let from = if random.below(2) == 0 {
            From::Client
        } else {
            From::Server
        };
        target.node.to_peers.arm(Cut { from, records });
    }
    let moving = tokio::spawn(async move { alice.attempt(&command).await });
    let cut = || async { !target.node.to_peers.is_armed() || moving.is_finished() };
    match fault {
        2 => {
            until("it is cut", cut).await;
            target.restart().await;
        }
        3 | 4 => {
            until("it is cut", cut).await;
            moving.abort();
            source.restart().await;
        }
        _ => {}
    }
    // Nobody is told anything by a session that was ended.
    let told = moving.await.unwrap_or_default();
    if let Some(told) = told {
        let expected = ["t OK done", "t NO [UNAVAILABLE]", "t NO [INUSE]"];
        assert!(
            expected.iter().any(|start| told.starts_with(start)),
            "{told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_breaks_each_message_is_in_one_place_in_the_end() {
    let murder = Murder::start().await;
    let mut a = Server::start(&murder, "be-a").await;
    let mut b = Server::start(&murder, "be-b").await;
    a.create("user.alice", &[]).await;
    b.create("team", &[("alice", "lrswite")]).await;
    for number in 0..MESSAGES {
        let size = 1000 + usize::try_from(number).unwrap() * 40_000;
        let text = message(&number.to_string(), size);
        let added = a
            .node
            .append("user.alice", &text, SystemFlags::NONE, &["work"]);
        added.await.unwrap();
    }
    let mut expected = a.stored("user.alice").await;
    a.resume();
    b.resume();
    // Another seed is another history: MURDER_SEED=7.
    let seed = std::env::var("MURDER_SEED").map_or(0x5eed_0004, |seed| seed.parse().unwrap());
    let mut random = Random(seed);
    for number in 0..STEPS {
        println!("seed {seed} step {number}");
        if random.below(2) == 0 {
            step(&mut random, &mut a, &mut b, ["INBOX", TEAM]).await;
        } else {
            step(&mut random, &mut b, &mut a, [TEAM, "INBOX"]).await;
        }
    }
    until("intents are settled", || async {
        a.intents("user.alice").await == 0 && b.intents("team").await == 0
    })
    .await;
    let mut found = a.stored("user.alice").await;
    found.extend(b.stored("team").await);
    for all in [&mut expected, &mut found] {
        all.sort_by_key(|one| one.content.len());
    }
    assert_eq!(found, expected);
    a.stop_and_check().await;
    b.stop_and_check().await;
}
