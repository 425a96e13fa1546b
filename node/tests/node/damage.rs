//! A message whose bytes went bad on the disk: it is named, and all else is served.

use std::path::Path;

use crate::harness::{Node, message, murder_node};

/// Inverts the byte behind the only place in the log where `mark` stands.
fn damage(partition: &Path, mark: &[u8]) {
    let mut damaged = 0;
    for entry in std::fs::read_dir(partition).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let places: Vec<_> = bytes
            .windows(mark.len())
            .enumerate()
            .filter_map(|(at, window)| (window == mark).then_some(at))
            .collect();
        for at in &places {
            bytes[at + mark.len()] ^= 0xff;
        }
        damaged += places.len();
        if !places.is_empty() {
            std::fs::write(&path, bytes).unwrap();
        }
    }
    assert_eq!(damaged, 1, "places of {}", mark.escape_ascii());
}

/// Delivers messages of which number 3 has a text of this size, and damages the middle of that.
fn node_with_damage(size: usize) -> Node {
    let mut node = Node::start_with("store: {segmentBytes: 1048576}\n");
    for id in 0..30 {
        let size = if id == 3 { size } else { 50_000 };
        let lines = "0123456789abcdef\r\n".repeat(size / 36);
        let body = format!("{lines}middle of {id}:damaged?\r\n{lines}");
        let replies = node.deliver(&["alice"], &message(&id.to_string(), &body));
        assert!(replies[0].starts_with("250 "), "{replies:?}");
    }
    node.kill();
    // What this start makes of the log is in the index, so the next one has nothing to replay.
    node.start();
    node.kill();
    damage(&node.partition(), b"middle of 3:");
    node
}

/// The store names one message; the node serves all others.
fn one_message_is_lost(size: usize) {
    let mut node = node_with_damage(size);
    let partition = node.partition();
    let check = murder_node(&["store", "check", partition.to_str().unwrap()], "");
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    let shown = String::from_utf8_lossy(&check.stdout).into_owned();
    let named = shown
        .lines()
        .filter(|line| line.starts_with("unreadable: "));
    assert_eq!(named.count(), 1, "{shown}");
    node.start();
    let mut client = node.login("alice");
    client.command("SELECT INBOX");
    let listed = client.command("FETCH 1:* (UID FLAGS RFC822.SIZE ENVELOPE)");
    assert_eq!(listed.len(), 31, "{listed:?}");
    for id in 0..30 {
        let answer = client.command(&format!("FETCH {} BODY.PEEK[]", id + 1));
        let end = answer.last().unwrap();
        if id == 3 {
            assert!(end.starts_with("t NO "), "{answer:?}");
            assert_eq!(answer.len(), 1, "{answer:?}");
        } else {
            assert_eq!(end, "t OK done");
            let whole = answer.contains(&format!("middle of {id}:damaged?"));
            assert!(whole, "{answer:?}");
        }
    }
    for item in [
        "BODY.PEEK[]",
        "BODY.PEEK[TEXT]",
        "BODY.PEEK[1]",
        "RFC822.TEXT",
    ] {
        let all = client.command(&format!("FETCH 1:* {item}"));
        assert!(all.last().unwrap().starts_with("t NO "), "{item}");
        for id in 0..30 {
            let sent = all.contains(&format!("middle of {id}:damaged?"));
            assert_eq!(sent, id != 3, "{item} of {id}");
        }
        let answers = all.iter().filter(|line| line.starts_with("* "));
        assert_eq!(answers.count(), 29, "{item}");
    }
    assert_eq!(client.command("NOOP"), ["t OK done"]);
    let replies = node.deliver(&["alice"], &message("new", "hello"));
    assert!(replies[0].starts_with("250 "), "{replies:?}");
    assert_eq!(client.command("NOOP")[0], "* 31 EXISTS");
    // It can be done away with.
    client.command("STORE 4 +FLAGS.SILENT (\\Deleted)");
    assert_eq!(client.command("EXPUNGE"), ["* 4 EXPUNGE", "t OK done"]);
}

#[test]
fn a_damaged_message_is_named_and_all_others_are_served() {
    one_message_is_lost(50_000);
}

#[test]
fn a_large_damaged_message_is_named_and_all_others_are_served() {
    one_message_is_lost(3_000_000);
}
