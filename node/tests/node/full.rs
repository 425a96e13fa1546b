//! A volume that is really full.

use crate::harness::{Client, Node, message};

/// Bytes of the volume.
const VOLUME: usize = 96 << 20;
/// Bytes of one message.
const LARGE: usize = 1 << 20;

/// Delivers large messages until one is refused; how many were taken, and the refusal.
fn fill(node: &Node) -> (usize, String) {
    let lines = format!("{}\r\n", "x".repeat(70)).repeat(LARGE / 72);
    for taken in 0..VOLUME / LARGE {
        let mut lmtp = node.lmtp();
        let text = message(&format!("large-{taken}"), &lines);
        lmtp.send(format!("MAIL FROM:<> SIZE={}\r\n", text.len()).as_bytes());
        let reply = lmtp.reply();
        if !reply.starts_with("250 ") {
            return (taken, reply);
        }
        lmtp.send(b"RCPT TO:<alice>\r\nDATA\r\n");
        assert!(lmtp.reply().starts_with("250 "));
        assert!(lmtp.reply().starts_with("354 "));
        lmtp.send(text.as_bytes());
        lmtp.send(b".\r\n");
        let reply = lmtp.reply();
        if !reply.starts_with("250 ") {
            return (taken, reply);
        }
    }
    panic!("the volume took all");
}

/// What a full volume does.
fn refuses_mail_and_serves_the_rest(reserve: &str) {
    let node = Node::start_on_volume(
        VOLUME,
        &format!("store: {{segmentBytes: 4194304, checkpointBytes: 4194304, {reserve}}}\n"),
    );
    node.deliver(&["alice+Archive"], &message("small", "hello"));
    let (taken, refusal) = fill(&node);
    assert!(taken > 10, "{taken}: {refusal}");
    assert!(refusal.starts_with("452 "), "{refusal}");
    let mut client = node.login("alice");
    let size = 2 * LARGE;
    client.send(format!("t APPEND INBOX {{{size}+}}\r\n{}\r\n", "y".repeat(size)).as_bytes());
    let answer = client.until_tag();
    assert!(answer[0].starts_with("t NO [OVERQUOTA] "), "{answer:?}");
    client.command("SELECT INBOX");
    for number in [1, taken] {
        let read = client.command(&format!("FETCH {number} BODY.PEEK[TEXT]"));
        assert_eq!(read.last().unwrap(), "t OK done");
    }
    let all = |client: &mut Client, command: &str| {
        let answer = client.command(command);
        assert_eq!(answer.last().unwrap(), "t OK done", "{command}");
    };
    all(&mut client, "STORE 1:5 +FLAGS (\\Deleted)");
    assert_eq!(client.command("EXPUNGE").len(), 6);
    all(&mut client, "DELETE Archive");
    all(&mut client, "STORE 1:* +FLAGS.SILENT (\\Deleted)");
    assert_eq!(client.command("EXPUNGE").len(), taken - 5 + 1);
}

#[test]
fn a_volume_that_mail_has_filled_refuses_more_and_serves_the_rest() {
    refuses_mail_and_serves_the_rest("reserveBytes: 33554432");
}

#[test]
fn a_volume_without_a_reserve_refuses_more_and_serves_the_rest() {
    refuses_mail_and_serves_the_rest("reserveBytes: 0, reservePercent: 0");
}
