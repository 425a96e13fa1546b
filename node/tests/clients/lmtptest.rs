//! `lmtptest` of Cyrus.

use crate::harness::Node;
use crate::{mail, program, response};

#[test]
fn lmtptest_delivers_a_message() {
    let lmtptest = program::find("lmtptest", "cyrus-clients");
    let node = Node::start_new();
    let message = "Subject: by hand\r\nMessage-ID: <hand@example.org>\r\n\r\n.leading dot\r\n";
    let conversation = format!(
        "MAIL FROM:<sender@example.org>\r\nRCPT TO:<alice>\r\nDATA\r\n{}.\r\n",
        message.replace("\r\n.", "\r\n..")
    );
    let port = node.lmtp.to_string();
    let output = program::run(
        &lmtptest,
        &["-p", &port, "127.0.0.1"],
        conversation.as_bytes(),
    );
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = shown.lines();
    for expected in [
        "C: LHLO lmtptest",
        "S: 250-PIPELINING",
        "250 2.1.0 sender ok",
        "250 2.1.5 recipient ok",
        "354 ",
        "250 2.1.5 delivered",
    ] {
        let found = lines.any(|line| line.starts_with(expected));
        assert!(found, "{expected} is not (in this order) in:\n{shown}");
    }
    let mut client = node.login("alice");
    client.command("SELECT INBOX");
    let stored = response::fetch(&mut client, 1, &["BODY.PEEK[]"]);
    mail::assert_same(
        "the message",
        mail::without_trace(stored[0].text()),
        message.as_bytes(),
    );
}
