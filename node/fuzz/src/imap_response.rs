//! What an IMAP server sends: every octet is told once and in order, however it is cut.

use murder_proto::imap::client::{Event, Limits, ResponseReader};

/// For mutations.
pub const WORDS: &[&[u8]] = &[
    b"* ",
    b"a1 OK ",
    b"a1 NO [",
    b"] ",
    b"+ ",
    b"\r\n",
    b" {3}\r\nabc",
    b" {40}\r\n",
    b" {0}\r\n",
    b"\"a\\\"b\"",
    b"NIL",
    b"(",
    b")",
    b"12 EXISTS\r\n",
    b"3 EXPUNGE\r\n",
    b"1 FETCH (UID 5 FLAGS (\\Seen) MODSEQ (7) BODY[1.MIME]<0> ",
    b"LIST (\\HasNoChildren) \"/\" ",
    b"STATUS INBOX (MESSAGES 1)",
    b"[COPYUID 3 1:2 4:5]",
    b"[APPENDUID 3 4]",
    b"[UIDVALIDITY 3]",
    b"SEARCH 1 2 3",
    b"ESEARCH (TAG \"a\") UID ALL 1:3",
    b"CAPABILITY IMAP4rev1",
    b"4294967296",
    b"~{3}\r\n",
];

/// Small, so that inputs reach them.
const SMALL: Limits = Limits {
    response_bytes_max: 200,
    literal_bytes_max: 30,
    chunk_bytes_max: 16,
};

/// Feeds `data` whole and in pieces, to small and to ordinary limits.
pub fn run(data: &[u8]) {
    for limits in [SMALL, Limits::RELAY, Limits::WHOLE] {
        let whole = told(limits, [data], data);
        let cut = told(limits, crate::pieces(data), data);
        assert_eq!(
            whole, cut,
            "what is told depends on how the octets were cut"
        );
    }
}

/// The responses that are complete; pieces of the same sort are joined.
fn told<'a>(
    limits: Limits,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    data: &[u8],
) -> Vec<(&'static str, String)> {
    let mut reader = ResponseReader::new(limits);
    let (mut events, mut all) = (Vec::<(&str, String)>::new(), Vec::new());
    for piece in pieces {
        reader.feed(piece);
        while let Some(event) = reader.next() {
            all.extend_from_slice(event.bytes());
            let name = match &event {
                Event::Response(response) => {
                    let _ = (
                        response.data(),
                        response.status(),
                        response.tag(),
                        response.text(),
                    );
                    "response"
                }
                Event::Text(_) => "text",
                Event::Literal(_) => "literal",
                Event::End(_) => "end",
            };
            let octets = event.bytes().escape_ascii().to_string();
            match events.last_mut() {
                Some((last, text)) if *last == name && matches!(name, "text" | "literal") => {
                    text.push_str(&octets);
                }
                // How much of an over-long line's end is told with it is of no meaning.
                Some((last, text)) if *last == "text" && name == "end" => {
                    text.push_str(&octets);
                    *last = "end";
                }
                _ => events.push((name, octets)),
            }
        }
    }
    assert!(data.starts_with(&all), "octets were lost or told twice");
    let complete = |(name, _): &(&str, String)| matches!(*name, "response" | "end");
    let end = events.iter().rposition(complete).map_or(0, |last| last + 1);
    events.truncate(end);
    events
}
