//! LMTP: who gets what, exactly.

use crate::harness::{Node, message};

#[test]
fn a_delivered_message_is_read_back_exactly_with_trace_header_on_top() {
    let node = Node::start_new();
    let mail = "Subject: exact\r\n\r\nbare \r and \n and \x00 stay\r\n..dots\r\nend\r\n";
    let replies = node.deliver(&["alice@example.org"], mail);
    assert_eq!(
        replies,
        ["250 2.1.5 delivered"].map(str::to_owned).to_vec(),
        "{replies:?}"
    );
    let mut client = node.login("alice");
    client.command("SELECT INBOX");
    client.send(b"t FETCH 1 BODY.PEEK[TEXT]\r\n");
    assert_eq!(client.line(), "* 1 FETCH (BODY[TEXT] {37}");
    assert_eq!(
        client.bytes(37),
        b"bare \r and \n and \x00 stay\r\n.dots\r\nend\r\n"
    );
    assert_eq!(client.until_tag(), [")", "t OK done"]);
    let header = client.command("FETCH 1 BODY.PEEK[HEADER]");
    assert_eq!(header[1], "Return-Path: <sender@example.org>");
    assert!(
        header[2].starts_with("Received: from [127.0.0.1] by one-0 with LMTP; "),
        "{header:?}"
    );
    assert_eq!(header[3], "Subject: exact");
}

#[test]
fn each_recipient_has_a_reply_and_a_copy() {
    let node = Node::start_new();
    let replies = node.deliver(
        &["alice", "bob@anywhere", "alice+Sent"],
        &message("1", "hello"),
    );
    assert_eq!(replies.len(), 3);
    assert!(
        replies.iter().all(|reply| reply.starts_with("250 ")),
        "{replies:?}"
    );
    for (user, mailbox) in [("alice", "INBOX"), ("bob", "INBOX"), ("alice", "Sent")] {
        let status = node
            .login(user)
            .command(&format!("STATUS {mailbox} (MESSAGES)"));
        assert_eq!(status[0], format!("* STATUS \"{mailbox}\" (MESSAGES 1)"));
    }
}

#[test]
fn a_folder_that_does_not_exist_is_the_inbox() {
    let node = Node::start_new();
    node.deliver(&["alice+Nowhere"], &message("1", "hello"));
    let status = node.login("alice").command("STATUS INBOX (MESSAGES)");
    assert_eq!(status[0], "* STATUS \"INBOX\" (MESSAGES 1)");
}

#[test]
fn a_repeated_message_is_acknowledged_and_stored_once() {
    let node = Node::start_new();
    for _ in 0..3 {
        let replies = node.deliver(&["alice"], &message("same", "hello"));
        assert!(replies[0].starts_with("250 "));
    }
    node.deliver(&["alice"], &message("same", "another body"));
    let status = node.login("alice").command("STATUS INBOX (MESSAGES)");
    assert_eq!(status[0], "* STATUS \"INBOX\" (MESSAGES 2)");
}

#[test]
fn a_client_that_vanishes_before_the_final_dot_delivers_nothing() {
    let node = Node::start_new();
    let mut client = node.lmtp();
    client.send(b"MAIL FROM:<>\r\nRCPT TO:<alice>\r\nDATA\r\n");
    for _ in 0..3 {
        client.reply();
    }
    client.send(b"Subject: half\r\n\r\nhalf a mess");
    drop(client);
    node.deliver(&["alice"], &message("whole", "hello"));
    let status = node.login("alice").command("STATUS INBOX (MESSAGES)");
    assert_eq!(status[0], "* STATUS \"INBOX\" (MESSAGES 1)");
}

#[test]
fn unknown_users_and_foreign_domains_are_refused_for_good() {
    let node = Node::start_with("domains: [example.org]\n");
    let mut client = node.lmtp();
    client.send(b"MAIL FROM:<>\r\n");
    client.reply();
    for (recipient, code) in [
        ("nobody", "550 5.1.1"),
        ("alice@elsewhere", "550 5.1.2"),
        ("alice@Example.ORG", "250 "),
    ] {
        client.send(format!("RCPT TO:<{recipient}>\r\n").as_bytes());
        let reply = client.reply();
        assert!(reply.starts_with(code), "{recipient}: {reply}");
    }
}

#[test]
fn a_shared_folder_takes_mail_where_anyone_may_post() {
    let node = Node::start_new();
    let mut admin = node.login("admin");
    let created = admin.command("CREATE \"Shared Folders/team\"");
    assert!(created[0].starts_with("t OK "), "{created:?}");
    let mut client = node.lmtp();
    client.send(b"MAIL FROM:<>\r\nRCPT TO:<\"+Shared Folders/team\"@example.org>\r\n");
    client.reply();
    assert!(client.reply().starts_with("550 5.7.1"));
    admin.command("SETACL \"Shared Folders/team\" anyone lrsp");
    let replies = node.deliver(
        &["\"+Shared Folders/team\"@example.org"],
        &message("1", "all"),
    );
    assert!(replies[0].starts_with("250 "));
    // Seen state is each reader's own.
    let mut alice = node.login("alice");
    alice.command("SELECT \"Shared Folders/team\"");
    let stored = alice.command("STORE 1 +FLAGS (\\Seen)");
    assert_eq!(stored[0], "* 1 FETCH (UID 1 FLAGS (\\Seen \\Recent))");
    let status = alice.command("STATUS \"Shared Folders/team\" (UNSEEN)");
    assert_eq!(status[0], "* STATUS \"Shared Folders/team\" (UNSEEN 0)");
    let status = node
        .login("bob")
        .command("STATUS \"Shared Folders/team\" (UNSEEN)");
    assert_eq!(status[0], "* STATUS \"Shared Folders/team\" (UNSEEN 1)");
}
