//! What an LMTP client sends, and (the same octets) what a server replies.

use bytes::BytesMut;
use murder_proto::lmtp::client::Client;
use murder_proto::lmtp::command::Mail;
use murder_proto::lmtp::data::{Decoded, Stuffer, Unstuffer};
use murder_proto::lmtp::server::{Event, Session, SessionOptions};
use murder_proto::sasl::Mechanism;

/// For mutations.
pub const WORDS: &[&[u8]] = &[
    b"LHLO c\r\n",
    b"MAIL FROM:<a@b>",
    b"RCPT TO:<a+b@c>\r\n",
    b"DATA\r\n",
    b"\r\n.\r\n",
    b"\n.\n",
    b"\r\n..",
    b".",
    b"\r\n",
    b"BDAT 5\r\n",
    b"BDAT 3 LAST\r\n",
    b"BDAT 0 LAST\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"VRFY x\r\n",
    b"QUIT\r\n",
    b"STARTTLS\r\n",
    b"AUTH PLAIN AGEAYg==\r\n",
    b"AUTH PLAIN\r\n",
    b"*\r\n",
    b" SIZE=99999999999999999999",
    b" SIZE=100",
    b" BODY=8BITMIME",
    b" SMTPUTF8",
    b" AUTH=e+3Dmc2",
    b"<@a,@b:c@d>",
    b"<\"a \\\" b\"@[127.0.0.1]>",
    b"<+Shared Folders/x>",
    b"250-",
    b"250 2.1.5 ok\r\n",
    b"354 go\r\n",
    b"550 5.1.1 no\r\n",
];

/// Largest message of the session below.
const MESSAGE_OCTETS_MAX: u64 = 200;

/// Feeds `data` to the machines whole and in pieces.
pub fn run(data: &[u8]) {
    let whole = server([data]);
    let cut = server(crate::pieces(data));
    assert_eq!(whole, cut, "the events depend on how the octets were cut");
    assert_eq!(client([data]), client(crate::pieces(data)));
    stuffing(data);
}

fn server<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut session = Session::new(SessionOptions {
        message_octets_max: MESSAGE_OCTETS_MAX,
        recipients_max: 3,
        line_octets_max: 300,
        bad_commands_max: 50,
        start_tls: true,
        mechanisms: vec![Mechanism::Plain, Mechanism::External, Mechanism::Login],
        ..SessionOptions::default()
    });
    let (mut seen, mut content): (Vec<String>, u64) = (Vec::new(), 0);
    for piece in pieces {
        session.feed(piece);
        while let Some(event) = session.next_event() {
            match event {
                Event::Content(octets) => {
                    content += octets.len() as u64;
                    let octets = octets.escape_ascii().to_string();
                    match seen.last_mut() {
                        Some(last) if last.starts_with("content ") => last.push_str(&octets),
                        _ => seen.push(format!("content {octets}")),
                    }
                    continue;
                }
                Event::MessageEnd { octets, too_large } => {
                    assert_eq!(too_large, octets > MESSAGE_OCTETS_MAX);
                    assert!(
                        too_large || content == octets,
                        "{content} of {octets} octets came"
                    );
                    content = 0;
                }
                Event::Mail(_) => {
                    session.accept_mail();
                    content = 0;
                }
                Event::Recipient(_) => session.accept_recipient(),
                Event::Data => session.accept_data(),
                Event::Credentials(_) => session.authenticated(),
                Event::Dropped => content = 0,
                _ => {}
            }
            assert!(content <= MESSAGE_OCTETS_MAX);
            seen.push(format!("{event:?}"));
        }
        assert!(
            session.buffer().len() <= 300
                || seen
                    .last()
                    .is_some_and(|last| last == "Close" || last == "StartTls")
        );
    }
    seen
}

fn client<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut client = Client::new();
    client.hello("c");
    let _ = client.mail(&Mail::default());
    client.data();
    client.finish_data();
    let mut seen = Vec::new();
    for piece in pieces {
        client.feed(piece);
        loop {
            match client.next_event() {
                Ok(Some(event)) => seen.push(format!("{event:?}")),
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

/// What is stuffed and taken apart again is what it was.
fn stuffing(data: &[u8]) {
    let (mut stuffer, mut wire) = (Stuffer::default(), BytesMut::new());
    crate::pieces(data).for_each(|piece| stuffer.encode(piece, &mut wire));
    let added = stuffer.finish(&mut wire);
    let (mut unstuffer, mut content) = (Unstuffer::default(), Vec::new());
    loop {
        match unstuffer.decode(&mut wire) {
            Decoded::Content(octets) => content.extend_from_slice(&octets),
            Decoded::End => break,
            Decoded::NeedMore => panic!("no end"),
        }
    }
    assert!(wire.is_empty());
    if added {
        content.truncate(content.len() - 2);
    }
    assert_eq!(content, data);
}
