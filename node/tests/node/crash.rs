//! `kill -9` at any moment: what was acknowledged is there, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Client, Node, deliver_until, message, murder_node};

#[test]
fn acknowledged_mail_survives_kills_under_load() {
    let mut node = Node::start_new();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..5 {
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (stop, port) = (Arc::clone(&stop), node.lmtp);
                std::thread::spawn(move || deliver_until(port, round, writer, &stop))
            })
            .collect();
        let mut client = node.login("alice");
        client.command("SELECT INBOX");
        // Kill in the middle of deliveries: after some of this round have arrived.
        let before = acknowledged.len();
        while exists(&mut client) < before + 20 {}
        node.kill();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            acknowledged.extend(writer.join().unwrap());
        }
        node.start();
        let subjects = subjects(&node);
        for id in &acknowledged {
            let copies = subjects.iter().filter(|subject| *subject == id).count();
            assert_eq!(copies, 1, "message {id} after round {round}");
        }
    }
    node.kill();
    let partition = node.partition();
    let directory = partition.to_str().unwrap();
    let check = murder_node(&["store", "check", directory], "");
    assert!(check.status.success(), "{check:?}");
    assert!(
        String::from_utf8_lossy(&check.stdout).ends_with("\nsound\n"),
        "{check:?}"
    );
}

#[test]
fn flags_and_removals_that_were_acknowledged_survive_a_kill() {
    let mut node = Node::start_new();
    for id in ["1", "2", "3"] {
        node.deliver(&["alice"], &message(id, "hello"));
    }
    let mut client = node.login("alice");
    client.command("SELECT INBOX");
    client.command("STORE 3 +FLAGS (\\Flagged $Keep)");
    client.command("STORE 1 +FLAGS (\\Deleted)");
    client.command("EXPUNGE");
    client.command("CREATE Kept");
    client.command("COPY 2 Kept");
    node.kill();
    node.start();
    let mut client = node.login("alice");
    client.command("SELECT INBOX");
    assert_eq!(
        client.command("FETCH 1:* (UID FLAGS)"),
        [
            "* 1 FETCH (UID 2 FLAGS ())",
            "* 2 FETCH (UID 3 FLAGS (\\Flagged $Keep))",
            "t OK done"
        ]
    );
    let status = client.command("STATUS Kept (MESSAGES UIDNEXT)");
    assert_eq!(status[0], "* STATUS \"Kept\" (MESSAGES 1 UIDNEXT 2)");
    // UIDs are never given twice.
    node.deliver(&["alice"], &message("4", "hello"));
    assert_eq!(client.command("NOOP")[0], "* 3 EXISTS");
    assert_eq!(client.command("FETCH 3 UID")[0], "* 3 FETCH (UID 4)");
}

#[test]
fn a_rebuilt_index_serves_the_same_mail() {
    let mut node = Node::start_new();
    for id in ["1", "2"] {
        node.deliver(&["alice"], &message(id, "hello"));
    }
    let mut client = node.login("alice");
    client.command("SELECT INBOX");
    client.command("STORE 1 +FLAGS (\\Answered)");
    let before = client.command("FETCH 1:* (UID FLAGS ENVELOPE MODSEQ BODY.PEEK[])");
    node.kill();
    let partition = node.partition();
    let rebuilt = murder_node(&["store", "rebuild", partition.to_str().unwrap()], "");
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    node.start();
    let mut client = node.login("alice");
    client.command("EXAMINE INBOX");
    let after = client.command("FETCH 1:* (UID FLAGS ENVELOPE MODSEQ BODY.PEEK[])");
    assert_eq!(after.len(), before.len());
    for (after, before) in after.iter().zip(&before) {
        assert_eq!(
            after.replace(" \\Recent", ""),
            before.replace(" \\Recent", "").replace("\\Recent", "")
        );
    }
}

fn exists(client: &mut Client) -> usize {
    let lines = client.command("STATUS INBOX (MESSAGES)");
    let status = lines
        .iter()
        .find(|line| line.starts_with("* STATUS"))
        .unwrap();
    status
        .trim_end_matches(')')
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

fn subjects(node: &Node) -> Vec<String> {
    let mut client = node.login("alice");
    client.command("SELECT INBOX");
    let lines = client.command("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (Subject)])");
    let subject = |line: &String| line.strip_prefix("Subject: about ").map(str::to_owned);
    lines.iter().filter_map(subject).collect()
}
