//! What an IMAP client sends: the same events however it is cut, and relays that read back.

use murder_proto::imap::command::Command;
use murder_proto::imap::server::{Event, Limits, Reader};

/// For mutations.
pub const WORDS: &[&[u8]] = &[
    b"a1 ",
    b"\r\n",
    b" {3}\r\n",
    b" {3+}\r\n",
    b" {0+}\r\n",
    b"\"",
    b"NIL",
    b"INBOX",
    b"UID ",
    b"LOGIN ",
    b"SELECT ",
    b"FETCH 1:* ",
    b"(FLAGS UID ENVELOPE BODYSTRUCTURE)",
    b"BODY.PEEK[1.2.HEADER.FIELDS (DATE)]<0.10>",
    b"STORE 1,3:5 +FLAGS.SILENT ",
    b"(\\Seen \\Deleted $x)",
    b"SEARCH CHARSET UTF-8 OR NOT (SEEN) ",
    b"SINCE 1-Feb-1994",
    b"APPEND INBOX (\\Seen) ",
    b"\" 7-Feb-1994 21:52:25 -0800\" ",
    b"IDLE\r\n",
    b"DONE\r\n",
    b"AUTHENTICATE PLAIN",
    b"*\r\n",
    b"LIST (SUBSCRIBED) \"\" \"%\"",
    b"RETURN (CHILDREN)",
    b"UNCHANGEDSINCE 12",
    b"CHANGEDSINCE 12",
    b"4294967295",
    b"18446744073709551616",
    b"SETACL a b -lrs",
];

/// Feeds `data` whole and in pieces.
pub fn run(data: &[u8]) {
    let whole = events([data]);
    let cut = events(crate::pieces(data));
    assert_eq!(whole, cut, "the events depend on how the octets were cut");
}

fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut reader = Reader::new(Limits {
        append_bytes_max: 500,
        ..Limits::BEFORE_LOGIN
    });
    let mut seen: Vec<String> = Vec::new();
    for piece in pieces {
        reader.feed(piece);
        while let Some(event) = reader.next() {
            if let Some(line) = line(&mut reader, event, &mut seen) {
                seen.push(line);
            }
        }
    }
    seen
}

/// Does what a driver would do; `None` for more of the message whose beginning was seen.
fn line(reader: &mut Reader, event: Event, seen: &mut [String]) -> Option<String> {
    Some(match event {
        Event::Command(received) => {
            match received.command {
                Command::Idle => reader.expect_done(),
                Command::Authenticate { initial: None, .. } => reader.expect_auth_line(),
                _ => {}
            }
            // Of an unknown command all that is known is its bytes, and relaying changes literals.
            if !matches!(received.command, Command::Other { .. }) {
                let mut relayed = Vec::new();
                received.relay(b"t", &mut relayed);
                reads_back(&relayed, &received.command);
            }
            format!("{received:?}")
        }
        Event::Append(append) => {
            reader.accept_append();
            format!("{append:?}")
        }
        Event::Literal(octets) => {
            let octets = octets.escape_ascii().to_string();
            match seen.last_mut() {
                Some(last) if last.starts_with("message ") => {
                    last.push_str(&octets);
                    return None;
                }
                _ => format!("message {octets}"),
            }
        }
        other => format!("{other:?}"),
    })
}

/// A relayed command is the same command to the server behind.
fn reads_back(relayed: &[u8], command: &Command) {
    let mut reader = Reader::new(Limits::default());
    reader.feed(relayed);
    match reader.next() {
        Some(Event::Command(again)) => assert_eq!(&again.command, command),
        other => panic!(
            "relayed {:?} gave {other:?}",
            relayed.escape_ascii().to_string()
        ),
    }
}
