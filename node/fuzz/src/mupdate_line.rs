//! Lines of MUPDATE, as a server and as a client reads them.

use bytes::BytesMut;
use murder_proto::mupdate::client::ClientReader;
use murder_proto::mupdate::line::LineLimits;
use murder_proto::mupdate::server::{Event, Session, SessionOptions};

/// For mutations.
pub const WORDS: &[&[u8]] = &[
    b"A01 ",
    b"AUTHENTICATE \"PLAIN\" {16+}\r\nbXVwZABtdXBkAHB3\r\n",
    b"FIND ",
    b"LIST ",
    b"UPDATE\r\n",
    b"RESERVE ",
    b"ACTIVATE ",
    b"DEACTIVATE ",
    b"DELETE ",
    b"NOOP\r\n",
    b"LOGOUT\r\n",
    b"STARTTLS\r\n",
    b"COMPRESS \"DEFLATE\"\r\n",
    b"X {2+}\r\n",
    b"XR ",
    b"XS ",
    b"\r\n",
    b" {3+}\r\nabc",
    b" {3}\r\nabc",
    b" {99999999999999999999+}\r\n",
    b" {100+}\r\n",
    b"\"user.x\"",
    b"\"be1!default\"",
    b"\"a\\\"b\"",
    b"* ",
    b"* OK MUPDATE \"a\" \"b\" \"c\" \"(master)\"\r\n",
    b"* AUTH \"PLAIN\"\r\n",
    b"MAILBOX ",
    b"OK ",
    b"NO ",
    b"BYE ",
    b"+ go ahead\r\n",
];

/// Feeds `data` to the machines whole and in pieces.
pub fn run(data: &[u8]) {
    let whole = server([data]);
    let cut = server(crate::pieces(data));
    assert_eq!(whole, cut, "the events depend on how the octets were cut");
    assert_eq!(client([data]), client(crate::pieces(data)));
}

fn server<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut session = Session::new(SessionOptions {
        start_tls: true,
        bad_commands_max: 50,
        limits: LineLimits {
            stretch_octets_max: 200,
            literal_octets_max: 100,
            line_octets_max: 300,
            tokens_max: 20,
            payload_octets_max: 0,
        },
        ..SessionOptions::default()
    });
    let mut seen = Vec::new();
    for piece in pieces {
        session.feed(piece);
        while let Some(event) = session.next_event() {
            match &event {
                Event::Credentials(_) => drop(session.authenticated()),
                Event::Request { tag, request } => {
                    let tag = std::str::from_utf8(tag).expect("tags are printable ASCII");
                    let mut again = BytesMut::new();
                    request.write(tag, &mut again);
                }
                _ => {}
            }
            seen.push(format!("{event:?}"));
        }
    }
    seen
}

fn client<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let (mut reader, mut seen) = (ClientReader::new(), Vec::new());
    for piece in pieces {
        reader.feed(piece);
        loop {
            match reader.next_line() {
                Ok(Some(line)) => seen.push(format!("{line:?}")),
                Ok(None) => break,
                Err(error) => {
                    seen.push(error.to_string());
                    return seen;
                }
            }
        }
    }
    seen
}
