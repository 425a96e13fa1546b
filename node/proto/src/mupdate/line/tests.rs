use proptest::prelude::*;

use super::*;

fn events_of<'a>(limits: &LineLimits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let (mut reader, mut shown) = (LineReader::new(limits.clone()), Vec::new());
    for piece in pieces {
        reader.feed(piece);
        while let Some(event) = reader.next_event() {
            shown.push(match event {
                LineEvent::Line(tokens) => {
                    let words = tokens.iter().map(|token| match token {
                        Token::Atom(octets) => octets.escape_ascii().to_string(),
                        Token::String(octets) => format!("<{}>", octets.escape_ascii()),
                    });
                    words.collect::<Vec<_>>().join(" ")
                }
                LineEvent::NeedContinuation => "+".to_owned(),
                LineEvent::Bad { tag, error } => {
                    format!("{} bad: {error}", tag.unwrap_or_default().escape_ascii())
                }
            });
        }
    }
    shown
}

fn events(limits: &LineLimits, octets: &[u8]) -> Vec<String> {
    let whole = events_of(limits, [octets]);
    assert_eq!(events_of(limits, octets.chunks(1)), whole, "byte by byte");
    for at in 0..octets.len() {
        let split = events_of(limits, [&octets[..at], &octets[at..]]);
        assert_eq!(split, whole, "split at {at}");
    }
    whole
}

fn small() -> LineLimits {
    LineLimits {
        stretch_octets_max: 30,
        literal_octets_max: 10,
        line_octets_max: 50,
        payload_octets_max: 40,
        tokens_max: 5,
    }
}

#[test]
fn each_form_of_a_string_is_read() {
    let sent = b"A FIND \"user.x\"\r\nB FIND {6+}\r\nuser.y\r\nC FIND {6}\r\nuser.z\nD X {2+}\r\n\r\n {0+}\r\n e\r\n";
    assert_eq!(
        events(&LineLimits::default(), sent),
        [
            "A FIND <user.x>",
            "B FIND <user.y>",
            "+",
            "C FIND <user.z>",
            "D X <\\r\\n> <> e"
        ]
    );
}

#[test]
fn quoted_strings_know_escapes_and_carry_eight_bits() {
    assert_eq!(
        events(
            &LineLimits::default(),
            b"A FIND \"a\\\"b\\\\c\" \"\xc3\xa9 {1+}\" \"\"\r\n"
        ),
        ["A FIND <a\\\"b\\\\c> <\\xc3\\xa9 {1+}> <>"]
    );
}

#[test]
fn missing_words_are_empty_atoms() {
    assert_eq!(
        events(
            &LineLimits::default(),
            b"\r\nT\r\nT \r\nT  NOOP\r\n {1+}\r\nx\r\n"
        ),
        ["", "T", "T ", "T  NOOP", " <x>"]
    );
}

#[test]
fn braces_that_are_no_literal_are_atoms() {
    assert_eq!(
        events(&LineLimits::default(), b"T OK {a} {1+} {} {+} {1 }\r\n"),
        ["T OK {a} {1+} {} {+} {1 }"]
    );
}

#[test]
fn malformed_lines_are_read_past_with_their_literals() {
    let sent = b"A x \"y {4+}\r\nB x\n\r\nC NOOP\r\nD \"a\"b {3}\r\nE {1+}\r\nxy {2+}\r\n\r\n\r\nF\0\r\nG\r\n";
    assert_eq!(
        events(&LineLimits::default(), sent),
        [
            "A bad: Malformed line",
            "C NOOP",
            "D bad: Malformed line",
            "E bad: Malformed line",
            " bad: Malformed line",
            "G"
        ]
    );
}

#[test]
fn limits_are_kept_and_named_at_once() {
    let sent = b"A FIND {11+}\r\nABCDEFGHIJK x\r\nB FIND {11}\r\nC FIND {10+}\r\nABCDEFGHIJ\r\n\
        D 1 2 3 4 5\r\nE 123456789012345678901234567890 x {3+}\r\n\nF {2+}\r\n\r\n\r\nG\r\n";
    assert_eq!(
        events(&small(), sent),
        [
            "A bad: Line too long",
            "B bad: Line too long",
            "C FIND <ABCDEFGHIJ>",
            "D bad: Too many arguments",
            "E bad: Line too long",
            "G"
        ]
    );
    assert_eq!(
        events(
            &small(),
            b"A FIND {99999999999999999999+}\r\nB NOOP\r\nC NOOP\r\n"
        ),
        ["A bad: Line too long"]
    );
    let sent = b"A b {10+}\r\n0123456789 {10+}\r\n0123456789 {10+}\r\n0123456789\r\nB\r\n";
    assert_eq!(events(&small(), sent), ["A bad: Line too long", "B"]);
}

#[test]
fn payloads_have_a_limit_of_their_own() {
    let payload = "p".repeat(40);
    let sent = format!(
        "A X {{40+}}\r\n{payload}\r\nB X {{41+}}\r\n{payload}p\r\nC FIND {{40+}}\r\n{payload}\r\n"
    );
    assert_eq!(
        events(&small(), sent.as_bytes()),
        [
            format!("A X <{payload}>").as_str(),
            "B bad: Line too long",
            "C bad: Line too long"
        ]
    );
}

#[test]
fn nothing_is_kept_of_a_line_that_is_skipped() {
    let mut reader = LineReader::new(small());
    reader.feed(&[b'x'; 31]);
    assert!(matches!(reader.next_event(), Some(LineEvent::Bad { .. })));
    for _ in 0..1000 {
        reader.feed(&[b'x'; 1000]);
        assert_eq!(reader.next_event(), None);
        assert!(reader.buffer.is_empty());
    }
    reader.feed(b"{2+}\r\n\n\nx\r\nA\r\n");
    let line = vec![Token::Atom(Bytes::from_static(b"A"))];
    assert_eq!(reader.next_event(), Some(LineEvent::Line(line)));
}

proptest! {
    #[test]
    fn written_strings_read_back(strings in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6), texts in prop::collection::vec("[ -~é]{0,20}", 0..6), size in 1usize..9) {
        let mut out = BytesMut::from(&b"T W"[..]);
        strings.iter().for_each(|string| write_string(&mut out, string));
        texts.iter().for_each(|text| write_quoted(&mut out, text));
        out.extend_from_slice(b"\r\n");
        let mut reader = LineReader::default();
        let mut lines = Vec::new();
        for piece in out.chunks(size) {
            reader.feed(piece);
            lines.extend(std::iter::from_fn(|| reader.next_event()));
        }
        let words = ["T", "W"].map(|word| Token::Atom(Bytes::from_static(word.as_bytes())));
        let strings = strings.into_iter().chain(texts.into_iter().map(String::into_bytes));
        let tokens = words.into_iter().chain(strings.map(|string| Token::String(string.into())));
        prop_assert_eq!(lines, vec![LineEvent::Line(tokens.collect())]);
    }

    #[test]
    fn any_octets_are_survived_and_splits_do_not_matter(
        words in prop::collection::vec(prop::sample::select(vec![
            &b"T"[..], b" ", b"\"", b"\\", b"{", b"}", b"{3+}\r\n", b"{3}\r\n", b"\r\n", b"\n", b"\r", b"abcdefgh", b"\0", b"{99+}\r\n", b"X",
        ]), 0..40),
        size in 1usize..9,
    ) {
        let sent = words.concat();
        prop_assert_eq!(events_of(&small(), sent.chunks(size)), events_of(&small(), [&sent[..]]));
    }
}
