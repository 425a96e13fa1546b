//! A node that loses power at any moment, under load.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use murder_e2e::powerloss::{Loss, PowerLoss, Shim};

use crate::harness::{Client, Node, deliver_until, murder_node};
use crate::table::Table;

/// Power losses in one run of the test.
const LOSSES: usize = 35;

/// What the client was told so far.
#[derive(Default)]
struct Told {
    delivered: BTreeSet<String>,
    flagged: BTreeSet<u32>,
    /// Subjects by UID, of messages that were acknowledged.
    uids: BTreeMap<u32, String>,
    uid_validity: Option<u64>,
    uid_next: u64,
    highest_mod_seq: u64,
}

#[test]
fn what_was_acknowledged_survives_power_losses() {
    let mut node = Node::start_new();
    node.kill();
    let scratch = tempfile::tempdir().unwrap();
    let shim = Shim::build(scratch.path()).unwrap();
    let undo = node.path().join("undo");
    let power = PowerLoss::new(&shim, &node.path().join("data"), &undo).unwrap();
    let environment = power.environment();
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    node.set_environment(environment.to_vec());
    node.start();
    let mut told = Told::default();
    let mut table = Table::new("a node under load");
    for round in 0..LOSSES {
        load_until_killed(&mut node, round, &mut told);
        // Everything that was not synced is lost, or a part that the seed chooses.
        let loss = if round % 2 == 0 {
            Loss::Everything
        } else {
            Loss::Some(round as u64)
        };
        power.strike(loss).unwrap();
        node.start();
        verify(&node, round, &mut told);
        table.count("any moment");
    }
    assert!(told.delivered.len() > LOSSES, "the load delivered nothing");
    node.kill();
    let check = murder_node(&["store", "check", node.partition().to_str().unwrap()], "");
    assert!(check.status.success(), "{check:?}");
    table.show();
}

/// Deliveries from three sessions and flags from one, until `kill -9` in the middle of them.
fn load_until_killed(node: &mut Node, round: usize, told: &mut Told) {
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (stop, port) = (Arc::clone(&stop), node.lmtp);
            std::thread::spawn(move || deliver_until(port, round, writer, &stop))
        })
        .collect();
    let mut client = node.login("alice");
    client.command("SELECT INBOX");
    let start = u64::from(*told.uids.keys().next_back().unwrap_or(&0));
    let enough = start + 1 + (round as u64 * 7) % 23;
    let mut flag = 0;
    while status(&mut client, "UIDNEXT") <= enough {
        flag += 1;
        let uid = (flag * 13) % (start as u32 + 1) + 1;
        let stored = client.command(&format!("UID STORE {uid} +FLAGS (\\Flagged)"));
        let answer = format!("* {uid} FETCH (UID {uid} ");
        if stored.iter().any(|line| line.starts_with(&answer)) {
            told.flagged.insert(uid);
        }
    }
    node.kill();
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        told.delivered.extend(writer.join().unwrap());
    }
}

fn verify(node: &Node, round: usize, told: &mut Told) {
    let mut client = node.login("alice");
    client.command("SELECT INBOX");
    let lines = client.command("FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (Subject)])");
    let mut present = BTreeMap::new();
    let (mut uid, mut flagged) = (0, BTreeSet::new());
    for line in &lines {
        if let Some((_, rest)) = line.split_once(" FETCH (UID ") {
            uid = rest.split(' ').next().unwrap().parse().unwrap();
            if rest.contains("\\Flagged") {
                flagged.insert(uid);
            }
        } else if let Some(id) = line.strip_prefix("Subject: about ") {
            present.insert(uid, id.to_owned());
        }
    }
    let ids: BTreeSet<&String> = present.values().collect();
    assert_eq!(
        ids.len(),
        present.len(),
        "round {round}: a message is there twice"
    );
    for id in &told.delivered {
        assert!(ids.contains(id), "round {round}: message {id} is lost");
    }
    for (uid, id) in &told.uids {
        assert_eq!(
            present.get(uid),
            Some(id),
            "round {round}: UID {uid} means another message"
        );
    }
    assert!(
        told.flagged.is_subset(&flagged),
        "round {round}: a flag is lost"
    );
    let validity = status(&mut client, "UIDVALIDITY");
    assert_eq!(*told.uid_validity.get_or_insert(validity), validity);
    let (next, highest) = (
        status(&mut client, "UIDNEXT"),
        status(&mut client, "HIGHESTMODSEQ"),
    );
    assert!(
        next >= told.uid_next && highest >= told.highest_mod_seq,
        "round {round}"
    );
    (told.uid_next, told.highest_mod_seq, told.uids) = (next, highest, present);
}

fn status(client: &mut Client, item: &str) -> u64 {
    let lines = client.command(&format!("STATUS INBOX ({item})"));
    let line = lines
        .iter()
        .find(|line| line.starts_with("* STATUS"))
        .unwrap();
    line.trim_end_matches(')')
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}
