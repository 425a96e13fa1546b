use proptest::prelude::*;

use super::super::reply;
use super::*;
use crate::sasl::Password;

fn read(octets: &[u8]) -> Result<Vec<ServerLine>, ProtocolError> {
    let pieces = |size: usize| {
        let (mut reader, mut lines) = (ClientReader::new(), Vec::new());
        for piece in octets.chunks(size) {
            reader.feed(piece);
            while let Some(line) = reader.next_line()? {
                lines.push(line);
            }
        }
        Ok(lines)
    };
    let whole = pieces(octets.len().max(1));
    assert_eq!(pieces(1), whole, "byte by byte");
    assert_eq!(pieces(7), whole, "by sevens");
    whole
}

fn status(tag: &'static str, status: Status, text: &str) -> ServerLine {
    let tag = Some(Bytes::from(tag)).filter(|tag| tag != "*");
    ServerLine::Status {
        tag,
        status,
        text: text.to_owned(),
    }
}

#[test]
fn the_greeting_of_cyrus_is_understood() {
    let lines = read(
        b"* AUTH \"PLAIN\" \"LOGIN\"\r\n* STARTTLS\r\n* COMPRESS \"DEFLATE\"\r\n* PARTIAL-UPDATE\r\n\
          * OK MUPDATE \"mm\" \"Cyrus IMAP\" \"3.6.1-Debian-3.6.1-4+deb12u5\" \"(master)\"\r\n",
    );
    let greeting = Greeting {
        mechanisms: vec!["PLAIN".to_owned(), "LOGIN".to_owned()],
        start_tls: true,
        partial_update: true,
        extension: None,
        host: "mm".to_owned(),
        implementation: "Cyrus IMAP".to_owned(),
        version: "3.6.1-Debian-3.6.1-4+deb12u5".to_owned(),
        source: "(master)".to_owned(),
    };
    assert_eq!(lines, Ok(vec![ServerLine::Greeting(greeting)]));
}

#[test]
fn the_greeting_of_our_own_names_the_extension() {
    let lines = read(
        b"* AUTH EXTERNAL\r\n* XMURDER \"1\"\r\n* OK MUPDATE \"a\" \"b\" \"c\" \"mupdate://m\"\r\n",
    );
    let Ok([ServerLine::Greeting(greeting)]) = lines.as_deref() else {
        panic!("{lines:?}");
    };
    assert_eq!(greeting.extension, Some(1));
    assert_eq!(
        (&greeting.mechanisms[..], greeting.start_tls),
        (&["EXTERNAL".to_owned()][..], false)
    );
}

#[test]
fn rows_and_answers_are_understood() {
    let tag = || Bytes::from_static(b"U01");
    let name = || Bytes::from_static(b"user.x");
    let location = || Bytes::from_static(b"be1!default");
    assert_eq!(
        read(
            b"U01 MAILBOX {6+}\r\nuser.x {11+}\r\nbe1!default {6+}\r\nx\tlrs\t\r\n\
              U01 RESERVE \"user.x\" \"be1!default\"\r\nU01 DELETE {6+}\r\nuser.x\r\n\
              U01 OK \"streaming starts\"\r\nT OK Begin TLS negotiation now\r\nT NO \"\"\r\n\
              * BYE \"no longer ready for connections\"\r\n+ go ahead\r\n\r\nAAAA\r\n* BAD \"Need command\"\r\n"
        ),
        Ok(vec![
            ServerLine::Mailbox {
                tag: tag(),
                name: name(),
                location: location(),
                acl: Bytes::from_static(b"x\tlrs\t")
            },
            ServerLine::Reserve { tag: tag(), name: name(), location: location() },
            ServerLine::Delete { tag: tag(), name: name() },
            status("U01", Status::Ok, "streaming starts"),
            status("T", Status::Ok, "Begin TLS negotiation now"),
            status("T", Status::No, ""),
            status("*", Status::Bye, "no longer ready for connections"),
            ServerLine::Continue,
            ServerLine::Challenge(Bytes::new()),
            ServerLine::Challenge(Bytes::from_static(b"AAAA")),
            status("*", Status::Bad, "Need command"),
        ])
    );
}

#[test]
fn lines_that_make_no_sense_are_errors() {
    for (octets, error) in [
        (
            &b"T MAILBOX \"a\" \"b\"\r\n"[..],
            ProtocolError::Arguments("MAILBOX"),
        ),
        (b"T RESERVE a b\r\n", ProtocolError::Arguments("RESERVE")),
        (b"T DELETE {1}\r\n", ProtocolError::Synchronising),
        (
            b"* OK MUPDATE \"a\"\r\n",
            ProtocolError::Arguments("MUPDATE"),
        ),
        (b"T FROB\r\n", ProtocolError::Unknown),
        (b"\"T\" OK\r\n", ProtocolError::Unknown),
        (b"T OK \"\r\n", ProtocolError::Line(LineError::Malformed)),
        (
            b"T DELETE {9999999+}\r\n",
            ProtocolError::Line(LineError::TooLong),
        ),
    ] {
        assert_eq!(read(octets), Err(error), "{}", octets.escape_ascii());
    }
    let many = b"* X\r\n".repeat(CAPABILITIES_MAX + 1);
    assert_eq!(read(&many), Err(ProtocolError::TooManyCapabilities));
}

#[test]
fn login_is_written_as_cyrus_tools_write_it() {
    let mut out = BytesMut::new();
    let mut exchange = ClientExchange::plain("mupd", "mupd", Password::new("pw"));
    write_authenticate(&mut out, "A01", &mut exchange);
    write_response(&mut out, &mut exchange);
    write_start_tls(&mut out, "S01");
    write_logout(&mut out, "Q01");
    assert_eq!(
        out,
        "A01 AUTHENTICATE \"PLAIN\" {16+}\r\nbXVwZABtdXBkAHB3\r\n*\r\nS01 STARTTLS\r\nQ01 LOGOUT\r\n"
    );
}

proptest! {
    #[test]
    fn written_lines_read_back(octets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 3), text in "[ -~é]{0,20}") {
        let [a, b, c] = [0, 1, 2].map(|index: usize| Bytes::from(octets[index].clone()));
        let tag = || Bytes::from_static(b"T");
        let mut out = BytesMut::new();
        reply::write_mailbox(&mut out, b"T", &a, &b, &c);
        reply::write_reserve(&mut out, b"T", &a, &b);
        reply::write_delete(&mut out, b"T", &a);
        reply::write_extension_reply(&mut out, b"T", &b);
        reply::write_stream_item(&mut out, b"T", &c);
        reply::write_status(&mut out, b"T", Status::No, &text);
        prop_assert_eq!(read(&out), Ok(vec![
            ServerLine::Mailbox { tag: tag(), name: a.clone(), location: b.clone(), acl: c.clone() },
            ServerLine::Reserve { tag: tag(), name: a.clone(), location: b.clone() },
            ServerLine::Delete { tag: tag(), name: a },
            ServerLine::ExtensionReply { tag: tag(), payload: b },
            ServerLine::StreamItem { tag: tag(), payload: c },
            ServerLine::Status { tag: Some(tag()), status: Status::No, text },
        ]));
    }

    #[test]
    fn any_octets_are_survived(octets in prop::collection::vec(prop::sample::select(&b"*+T OKMAILBOX\"{1}+\r\n\xff"[..]), 0..60)) {
        let _ = read(&octets);
    }
}
