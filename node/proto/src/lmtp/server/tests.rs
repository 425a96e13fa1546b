use proptest::prelude::*;

use super::*;
use crate::sasl;

/// A driver that takes every mail for recipients that do not start with `x`, with alice's password
/// `wonder`; its log is what a real one would write to the peer and do with the content.
fn drive(session: &mut Session, log: &mut Vec<String>) {
    fn reply(log: &mut Vec<String>, reply: &Reply) {
        let text = String::from_utf8(reply.to_bytes().to_vec()).unwrap();
        log.push(format!("S: {}", text.trim_end().replace("\r\n", "|")));
    }
    while let Some(event) = session.next_event() {
        match event {
            Event::Reply(answer) => reply(log, &answer),
            Event::Hello(client) => log.push(format!("hello {client}")),
            Event::StartTls => log.push("tls".to_owned()),
            Event::Credentials(Credentials::Password {
                authentication,
                password,
                ..
            }) => {
                if authentication == "alice" && password.matches(b"wonder") {
                    session.authenticated();
                    reply(log, &Reply::authenticated());
                } else {
                    session.authentication_failed();
                    reply(log, &Reply::authentication_failed());
                }
            }
            Event::Credentials(Credentials::External { authorization }) => {
                log.push(format!("external {authorization:?}"));
            }
            Event::Mail(mail) => {
                session.accept_mail();
                log.push(mail.to_line());
                reply(log, &Reply::sender_ok());
            }
            Event::Recipient(recipient) => {
                if recipient.address.local().starts_with('x') {
                    reply(log, &Reply::recipient_unknown());
                } else {
                    session.accept_recipient();
                    reply(log, &Reply::recipient_ok());
                }
            }
            Event::Data => {
                session.accept_data();
                reply(log, &Reply::start_content());
            }
            Event::Content(octets) => {
                // Pieces differ with the sizes of the reads: they are joined here.
                let octets = octets.escape_ascii().to_string();
                match log.last_mut() {
                    Some(last) if last.starts_with("content ") => last.push_str(&octets),
                    _ => log.push(format!("content {octets}")),
                }
            }
            Event::ChunkEnd { octets } => reply(log, &Reply::chunk_ok(octets)),
            Event::MessageEnd { octets, too_large } => {
                log.push(format!("end {octets} {too_large}"));
            }
            Event::Dropped => log.push("dropped".to_owned()),
            Event::Close => log.push("close".to_owned()),
        }
    }
}

fn run<'a>(options: SessionOptions, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let (mut session, mut log) = (Session::new(options), Vec::new());
    for piece in pieces {
        session.feed(piece);
        drive(&mut session, &mut log);
    }
    log
}

/// The log without LHLO's, the same whatever the sizes of the reads.
fn transcript(options: &SessionOptions, sent: &[u8]) -> Vec<String> {
    let sent = [b"LHLO c\r\n", sent].concat();
    let whole = run(options.clone(), [&sent[..]]);
    assert_eq!(run(options.clone(), sent.chunks(1)), whole, "byte by byte");
    for at in 0..sent.len() {
        let split = run(options.clone(), [&sent[..at], &sent[at..]]);
        assert_eq!(split, whole, "split at {at}");
    }
    whole[2..].to_vec()
}

fn small() -> SessionOptions {
    SessionOptions {
        host: "be1".to_owned(),
        message_octets_max: 20,
        recipients_max: 2,
        line_octets_max: 128,
        bad_commands_max: 3,
        idle_commands_max: 5,
        mechanisms: vec![Mechanism::Plain],
        start_tls: true,
        ignore_quota: false,
    }
}

#[test]
fn lhlo_lists_what_is_offered() {
    assert_eq!(
        run(small(), [&b"LHLO mx.example.org\r\n"[..]]),
        [
            "hello mx.example.org",
            "S: 250-be1|250-PIPELINING|250-8BITMIME|250-SMTPUTF8|250-ENHANCEDSTATUSCODES|\
             250-CHUNKING|250-SIZE 20|250-STARTTLS|250 AUTH PLAIN"
        ]
    );
}

#[test]
fn pipelined_delivery_by_data_is_read_in_order() {
    let sent = b"MAIL FROM:<s@d> SIZE=11 BODY=8BITMIME\r\nRCPT TO:<a>\r\nRCPT TO:<x>\r\n\
        RCPT TO:<\"+Shared Folders/y\"@d>\r\nDATA\r\n..a\r\n\n.\nb\0\r\n.\r\nNOOP\r\n";
    assert_eq!(
        transcript(&small(), sent),
        [
            "MAIL FROM:<s@d> SIZE=11 BODY=8BITMIME",
            "S: 250 2.1.0 sender ok",
            "S: 250 2.1.5 recipient ok",
            "S: 550 5.1.1 no such recipient here",
            "S: 250 2.1.5 recipient ok",
            "S: 354 end with CRLF.CRLF",
            "content .a\\r\\n\\n.\\nb\\x00\\r\\n",
            "end 11 false",
            "S: 250 2.0.0 ok",
        ]
    );
}

#[test]
fn chunks_carry_exact_octets() {
    let sent = b"MAIL FROM:<>\r\nRCPT TO:<a>\r\nBDAT 5\r\n.\r\n.\rBDAT 0\r\nBDAT 3 LAST\r\n\nNO\
        MAIL FROM:<>\r\nRCPT TO:<a>\r\nBDAT 0 LAST\r\nNOOP\r\n";
    assert_eq!(
        transcript(&small(), sent),
        [
            "MAIL FROM:<>",
            "S: 250 2.1.0 sender ok",
            "S: 250 2.1.5 recipient ok",
            "content .\\r\\n.\\r",
            "S: 250 2.0.0 5 octets received",
            "S: 250 2.0.0 0 octets received",
            "content \\nNO",
            "end 8 false",
            "MAIL FROM:<>",
            "S: 250 2.1.0 sender ok",
            "S: 250 2.1.5 recipient ok",
            "end 0 false",
            "S: 250 2.0.0 ok",
        ]
    );
}

#[test]
fn commands_out_of_order_get_503() {
    let options = SessionOptions {
        bad_commands_max: 99,
        ..small()
    };
    assert_eq!(
        run(options.clone(), [&b"MAIL FROM:<>\r\n"[..]]),
        ["S: 503 5.5.1 LHLO comes first"]
    );
    let sent = b"RCPT TO:<a>\r\nDATA\r\nBDAT 2\r\n\r\nBDAT 2 LAST\r\nOKMAIL FROM:<>\r\nMAIL FROM:<>\r\n\
        DATA\r\nBDAT 2 LAST\r\nOKRCPT TO:<a>\r\nSTARTTLS\r\nBDAT 2\r\nOKDATA\r\nRCPT TO:<b>\r\nRSET\r\nRCPT TO:<a>\r\n";
    assert_eq!(
        transcript(&options, sent),
        [
            "S: 503 5.5.1 MAIL comes first",
            "S: 503 5.5.1 MAIL comes first",
            "S: 503 5.5.1 MAIL comes first",
            "S: 503 5.5.1 MAIL comes first",
            "MAIL FROM:<>",
            "S: 250 2.1.0 sender ok",
            "S: 503 5.5.1 a transaction is open",
            "S: 503 5.5.1 no recipient was accepted",
            "S: 503 5.5.1 no recipient was accepted",
            "S: 250 2.1.5 recipient ok",
            "S: 503 5.5.1 a transaction is open",
            "content OK",
            "S: 250 2.0.0 2 octets received",
            "S: 503 5.5.1 BDAT has begun",
            "S: 503 5.5.1 BDAT has begun",
            "dropped",
            "S: 250 2.0.0 reset",
            "S: 503 5.5.1 MAIL comes first",
        ]
    );
}

#[test]
fn messages_that_are_too_large_are_refused_without_being_kept() {
    assert_eq!(
        transcript(&small(), b"MAIL FROM:<> SIZE=21\r\n"),
        ["S: 552 5.3.4 message is larger than 20 octets"]
    );
    let mut session = Session::new(small());
    session.feed(b"LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a>\r\nDATA\r\n");
    let mut log = Vec::new();
    drive(&mut session, &mut log);
    for _ in 0..1000 {
        session.feed(b"0123456789abcdef\r\n");
        drive(&mut session, &mut log);
        assert!(session.buffer().is_empty());
    }
    session.feed(b".\r\nNOOP\r\n");
    drive(&mut session, &mut log);
    assert_eq!(
        log[5..],
        [
            "S: 354 end with CRLF.CRLF",
            "content 0123456789abcdef\\r\\n01",
            "end 18000 true",
            "S: 250 2.0.0 ok"
        ]
    );
}

#[test]
fn chunks_that_are_too_large_keep_the_number_of_replies() {
    let sent = b"MAIL FROM:<>\r\nRCPT TO:<a>\r\nBDAT 2\r\nOKBDAT 19\r\n0123456789abcdefghi\
        BDAT 1\r\nxBDAT 1 LAST\r\nxNOOP\r\n";
    assert_eq!(
        transcript(&small(), sent)[3..],
        [
            "content OK",
            "S: 250 2.0.0 2 octets received",
            "S: 552 5.3.4 message is larger than 20 octets",
            "S: 552 5.3.4 message is larger than 20 octets",
            "end 23 true",
            "S: 250 2.0.0 ok",
        ]
    );
}

#[test]
fn recipients_are_counted() {
    let sent = b"MAIL FROM:<>\r\nRCPT TO:<a>\r\nRCPT TO:<x>\r\nRCPT TO:<b>\r\nRCPT TO:<c>\r\n";
    assert_eq!(
        transcript(&small(), sent)[2..],
        [
            "S: 250 2.1.5 recipient ok",
            "S: 550 5.1.1 no such recipient here",
            "S: 250 2.1.5 recipient ok",
            "S: 452 4.5.3 too many recipients",
        ]
    );
}

#[test]
fn lines_are_bounded_and_end_in_crlf() {
    let long = [&b"NOOP "[..], &[b'x'; 200], b"\r\nNOOP\r\n"].concat();
    assert_eq!(
        transcript(&small(), &long),
        ["S: 500 5.5.6 line is too long", "S: 250 2.0.0 ok"]
    );
    let just = [&b"NOOP "[..], &[b'x'; 121], b"\r\nNOOP "].concat();
    assert_eq!(transcript(&small(), &just), ["S: 250 2.0.0 ok"]);
    assert_eq!(
        transcript(&small(), b"NOOP\nNOOP\r\n"),
        [
            "S: 500 5.5.2 a command line must end in CRLF",
            "S: 250 2.0.0 ok"
        ]
    );
}

#[test]
fn bad_and_idle_commands_end_the_session_past_their_limits() {
    assert_eq!(
        transcript(&small(), b"MAIL FROM:<>\r\nA\r\nB\r\nC\r\nD\r\nNOOP\r\n")[2..],
        [
            "S: 500 5.5.1 unknown command",
            "S: 500 5.5.1 unknown command",
            "S: 500 5.5.1 unknown command",
            "S: 500 5.5.1 unknown command",
            "dropped",
            "S: 421 4.7.0 too many bad commands",
            "close",
        ]
    );
    assert_eq!(
        transcript(&small(), b"NOOP\r\nRSET\r\nVRFY a\r\nNOOP\r\nNOOP\r\n")[2..],
        [
            "S: 252 2.5.2 cannot verify, send mail and see",
            "S: 250 2.0.0 ok",
            "S: 421 4.3.2 too many commands without mail",
            "close",
        ]
    );
}

#[test]
fn auth_takes_an_initial_response_or_a_continuation() {
    let message = sasl::encode(b"\0alice\0wonder");
    let wrong = sasl::encode(b"\0alice\0x");
    let ok = "S: 235 2.7.0 authenticated";
    let options = SessionOptions {
        bad_commands_max: 99,
        ..small()
    };
    let said = |sent: &str| transcript(&options, sent.as_bytes());
    assert_eq!(said(&format!("AUTH PLAIN {message}\r\n")), [ok]);
    assert_eq!(
        said(&format!("AUTH plain\r\n{message}\r\n")),
        ["S: 334 ", ok].map(|line| line.trim_end_matches(' '))
    );
    assert_eq!(
        said(&format!(
            "AUTH PLAIN {wrong}\r\nAUTH PLAIN {message}\r\nAUTH PLAIN {message}\r\n"
        )),
        [
            "S: 535 5.7.8 authentication failed",
            ok,
            "S: 503 5.5.1 AUTH is possible once and before MAIL"
        ]
    );
    assert_eq!(
        said("AUTH PLAIN\r\n*\r\nAUTH PLAIN a\r\nAUTH LOGIN\r\nNOOP\r\n"),
        [
            "S: 334",
            "S: 501 5.7.0 authentication cancelled by the client",
            "S: 501 5.5.2 response is not valid base64",
            "S: 504 5.5.4 mechanism is not offered",
            "S: 250 2.0.0 ok",
        ]
    );
}

#[test]
fn tls_forgets_what_was_said_in_clear() {
    let mut session = Session::new(small());
    session.feed(b"LHLO c\r\nSTARTTLS\r\nMAIL FROM:<injected@d>\r\n");
    let mut log = Vec::new();
    drive(&mut session, &mut log);
    assert_eq!(log[2..], ["S: 220 2.0.0 start TLS now", "tls"]);
    session.tls_started();
    session.offer(vec![Mechanism::External]);
    session.feed(b"MAIL FROM:<>\r\nSTARTTLS\r\nLHLO c\r\n");
    drive(&mut session, &mut log);
    assert_eq!(
        log[4..7],
        [
            "S: 503 5.5.1 LHLO comes first",
            "S: 502 5.5.1 STARTTLS is not offered",
            "hello c"
        ]
    );
    assert!(
        log[7].ends_with("|250 AUTH EXTERNAL") && !log[7].contains("STARTTLS"),
        "{}",
        log[7]
    );
}

#[test]
fn what_the_driver_does_not_accept_is_refused() {
    let mut session = Session::new(small());
    session.feed(
        b"LHLO c\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\nRCPT TO:<a>\r\nRCPT TO:<b>\r\nDATA\r\nNOOP\r\n",
    );
    let mut seen = Vec::new();
    while let Some(event) = session.next_event() {
        seen.push(match event {
            Event::Mail(_) if seen.len() == 3 => {
                session.accept_mail();
                "mail"
            }
            Event::Mail(_) => "mail",
            Event::Recipient(to) if to.address.local() == "b" => {
                session.accept_recipient();
                "recipient"
            }
            Event::Recipient(_) => "recipient",
            Event::Data => "data",
            _ => "other",
        });
    }
    assert_eq!(
        seen,
        [
            "other",
            "other",
            "mail",
            "mail",
            "recipient",
            "recipient",
            "data",
            "other"
        ]
    );
}

proptest! {
    #[test]
    fn any_octets_are_survived_and_splits_do_not_matter(
        words in prop::collection::vec(prop::sample::select(vec![
            &b"MAIL FROM:<a@b>\r\n"[..], b"RCPT TO:<a>\r\n", b"RCPT TO:<x>\r\n", b"DATA\r\n", b"BDAT 7\r\n", b"BDAT 3 LAST\r\n",
            b"RSET\r\n", b".\r\n", b"\r\n", b"\r", b"\n", b".", b"\0\xff", b"AUTH PLAIN\r\n", b"*\r\n", b"QUIT\r\n", b"LHLO c\r\n",
        ]), 0..30),
        size in 1usize..12,
    ) {
        let sent = words.concat();
        let options = SessionOptions { bad_commands_max: 1000, ..small() };
        let whole = run(options.clone(), [&sent[..]]);
        prop_assert_eq!(run(options, sent.chunks(size)), whole);
    }
}

#[test]
fn content_past_the_limit_is_cut_at_the_same_octet_whatever_the_reads() {
    let sent = b"MAIL FROM:<>\r\nRCPT TO:<a>\r\nDATA\r\n0123456789\r\n0123456789\r\n.\r\n";
    assert_eq!(
        transcript(&small(), sent)[4..],
        ["content 0123456789\\r\\n01234567", "end 24 true"]
    );
}
