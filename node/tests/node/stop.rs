//! A node that is told to stop: what clients see of it, on real sockets with a real process.

use std::time::{Duration, Instant};

use crate::harness::{Client, Node, message};

/// Row 48: nobody is sent here any more, but who is here goes on, and who comes yet is taken.
#[test]
fn row_48_a_stopping_node_is_not_ready_but_serves_and_takes_connections_for_a_while() {
    let mut node = Node::start_with("stop: {acceptSeconds: 20, sessionSecondsMax: 25}\n");
    let mut open = node.login("alice");
    node.signal("TERM");
    node.until_not_ready();
    assert_eq!(open.command("NOOP"), ["t OK done"]);
    let mut late = node.login("bob");
    assert_eq!(late.command("NOOP"), ["t OK done"]);
    let delivered = node.deliver(&["alice"], &message("late", "came yet"));
    assert!(delivered[0].starts_with("250 "), "{delivered:?}");
    let status = open.command("STATUS INBOX (MESSAGES)");
    assert_eq!(status[0], "* STATUS \"INBOX\" (MESSAGES 1)");
    // The second signal shortens it to now.
    node.signal("INT");
    let bye = "* BYE [UNAVAILABLE] the server is stopping, connect again";
    assert_eq!((open.line().as_str(), open.line().as_str()), (bye, ""));
    assert_eq!((late.line().as_str(), late.line().as_str()), (bye, ""));
    assert!(node.ended().success());
}

/// Row 48: a node does not wait for longer than its last session.
#[test]
fn row_48_the_node_ends_with_its_last_session() {
    let mut node = Node::start_with("stop: {sessionSecondsMax: 86400}\n");
    let mut open = node.login("alice");
    node.signal("TERM");
    node.until_not_ready();
    while std::net::TcpStream::connect(("127.0.0.1", node.imap)).is_ok() {
        std::thread::yield_now();
    }
    assert_eq!(open.command("NOOP"), ["t OK done"]);
    open.command("LOGOUT");
    assert!(node.ended().success());
}

/// Row 49: sessions that do not end are told to come back, those that idle, too.
#[test]
fn row_49_at_the_deadline_sessions_are_told_goodbye() {
    let mut node = Node::start_with("stop: {sessionSecondsMax: 2}\n");
    let mut quiet = node.login("alice");
    let mut idling = node.login("alice");
    idling.command("SELECT INBOX");
    idling.send(b"t IDLE\r\n");
    assert_eq!(idling.line(), "+ idling");
    let mut greeted = node.imap();
    let mut lmtp = node.lmtp();
    let told = Instant::now();
    node.signal("TERM");
    let bye = "* BYE [UNAVAILABLE] the server is stopping, connect again";
    for client in [&mut quiet, &mut idling, &mut greeted] {
        assert_eq!(client.line(), bye);
        assert_eq!(client.line(), "");
    }
    assert_eq!(lmtp.reply(), "421 4.3.2 stopping, come back");
    assert!(told.elapsed() >= Duration::from_secs(2));
    assert!(node.ended().success());
}

/// Row 49: whoever has begun to hand over a message may finish, and is answered.
#[test]
fn row_49_a_delivery_under_way_is_finished_before_the_goodbye() {
    let mut node = Node::start_with("stop: {sessionSecondsMax: 0}\n");
    let mut lmtp = node.lmtp();
    let mut quiet = node.login("alice");
    lmtp.send(b"MAIL FROM:<>\r\nRCPT TO:<alice>\r\nDATA\r\n");
    let replies: Vec<_> = (0..3).map(|_| lmtp.reply()[..3].to_owned()).collect();
    assert_eq!(replies, ["250", "250", "354"]);
    node.signal("TERM");
    // Once the others have been told, the deadline is over.
    assert!(quiet.line().starts_with("* BYE "));
    lmtp.send(message("last", "just in time").as_bytes());
    lmtp.send(b".\r\n");
    let stored = lmtp.reply();
    assert!(stored.starts_with("250 "), "{stored}");
    assert_eq!(lmtp.reply(), "421 4.3.2 stopping, come back");
    assert_eq!(lmtp.line(), "");
    assert!(node.ended().success());
    node.start();
    let mut client: Client = node.login("alice");
    let status = client.command("STATUS INBOX (MESSAGES)");
    assert_eq!(status[0], "* STATUS \"INBOX\" (MESSAGES 1)");
}
