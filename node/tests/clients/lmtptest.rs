//! `lmtptest` of Cyrus.

use crate::service::Service;
use crate::{mail, program, response};

fn deliver_by_hand(service: &Service) {
    let lmtptest = program::find("lmtptest", "cyrus-clients");
    let message = "Subject: by hand\r\nMessage-ID: <hand@example.org>\r\n\r\n.leading dot\r\n";
    let conversation = format!(
        "MAIL FROM:<sender@example.org>\r\nRCPT TO:<{}>\r\nDATA\r\n{}.\r\n",
        service.user,
        message.replace("\r\n.", "\r\n..")
    );
    let port = service.lmtp.to_string();
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
    let mut client = service.login();
    client.command("SELECT INBOX");
    let stored = response::fetch(&mut client, 1, &["BODY.PEEK[]"]);
    mail::assert_same(
        "the message",
        mail::without_trace(stored[0].text()),
        message.as_bytes(),
    );
}

#[test]
fn lmtptest_delivers_a_message() {
    deliver_by_hand(&Service::single());
}

#[test]
fn lmtptest_delivers_a_message_through_a_frontend() {
    deliver_by_hand(&Service::murder("lmtptest-b"));
}
