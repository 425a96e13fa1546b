//! What bad input gets.

use crate::harness::{Node, message};

#[test]
fn a_malformed_command_gets_bad_and_the_session_goes_on() {
    let node = Node::start_new();
    let mut client = node.login("alice");
    for bad in [
        "FETCH",
        "BOGUS",
        "STORE 1 FLAGS",
        "SELECT",
        "FETCH 1 (FLAGS",
    ] {
        let answer = client.command(bad);
        assert!(answer[0].starts_with("t BAD "), "{bad}: {answer:?}");
    }
    assert_eq!(client.command("NOOP"), ["t OK done"]);
}

#[test]
fn after_many_malformed_commands_the_session_ends() {
    let node = Node::start_with("imap: {badCommandsMax: 5}\n");
    let mut client = node.login("alice");
    let mut answers = Vec::new();
    client.send("t FETCH\r\n".repeat(8).as_bytes());
    loop {
        let line = client.line();
        if line.is_empty() {
            break;
        }
        answers.push(line);
    }
    assert!(answers.last().unwrap().starts_with("* BYE "), "{answers:?}");
}

#[test]
fn an_over_long_literal_is_refused_before_it_is_read() {
    let node = Node::start_with("imap: {appendBytesMax: 2048}\n");
    let mut client = node.login("alice");
    let answer = client.command("APPEND INBOX {1000000}");
    assert!(answer[0].starts_with("t BAD "), "{answer:?}");
    let answer = client.command("SELECT {1000000000}");
    assert!(answer[0].starts_with("t BAD "), "{answer:?}");
    assert_eq!(client.command("NOOP"), ["t OK done"]);
}

#[test]
fn a_message_over_the_limit_is_refused_and_the_next_one_is_taken() {
    let node = Node::start_with("lmtp: {messageBytesMax: 2048}\n");
    let mut client = node.lmtp();
    let replies = client.deliver(&["alice"], &message("large", &"x".repeat(5000)));
    assert!(replies[0].starts_with("552 5.3.4"), "{replies:?}");
    let replies = client.deliver(&["alice"], &message("small", "x"));
    assert!(replies[0].starts_with("250 "), "{replies:?}");
}

#[test]
fn a_full_volume_refuses_new_mail_and_serves_the_rest() {
    let mut node = Node::start_new();
    node.deliver(&["alice"], &message("1", "hello"));
    node.kill();
    let settings = std::fs::read_to_string(node.config()).unwrap();
    let all = "store: {reserveBytes: 9000000000000000000}\n";
    std::fs::write(node.config(), settings + all).unwrap();
    node.start();
    let mut lmtp = node.lmtp();
    lmtp.send(b"MAIL FROM:<> SIZE=1000\r\n");
    let reply = lmtp.reply();
    assert!(reply.starts_with("452 "), "{reply}");
    let mut client = node.login("alice");
    let answer = client.command("APPEND INBOX {10+}\r\n0123456789");
    assert!(answer[0].starts_with("t NO [OVERQUOTA] "), "{answer:?}");
    client.command("SELECT INBOX");
    assert_eq!(client.command("FETCH 1 UID")[0], "* 1 FETCH (UID 1)");
    client.command("STORE 1 +FLAGS (\\Deleted)");
    assert_eq!(client.command("EXPUNGE"), ["* 1 EXPUNGE", "t OK done"]);
}

#[test]
fn mail_from_strangers_needs_a_login() {
    let mut node = Node::start_new();
    node.kill();
    let settings = std::fs::read_to_string(node.config()).unwrap();
    let settings = settings.replace("insecureLoopback: true", "allowPlaintextLogin: true");
    std::fs::write(node.config(), settings).unwrap();
    node.start();
    let mut client = node.lmtp();
    client.send(b"MAIL FROM:<>\r\n");
    let reply = client.reply();
    assert!(reply.starts_with("530 "), "{reply}");
}
