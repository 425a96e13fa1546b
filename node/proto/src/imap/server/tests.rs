//! Framing: literals, limits, streams, modes, and the same events however the bytes are cut.

use proptest::prelude::*;

use super::{Event, Limits, Reader};
use crate::imap::command::Command;

/// Small limits, so that tests can reach them.
const SMALL: Limits = Limits {
    line_bytes_max: 200,
    literal_bytes_max: 20,
    command_bytes_max: 300,
    literals_max: 3,
    append_bytes_max: 1000,
    chunk_bytes_max: 64,
    skip_bytes_max: 5000,
    bad_commands_max: 5,
};

/// A driver that does what events ask for and writes down what it saw, a line an event; pieces of
/// a message are joined.
struct Driver {
    reader: Reader,
    seen: Vec<String>,
    refuse_appends: bool,
    held_max: usize,
}

impl Driver {
    fn new(limits: Limits) -> Self {
        let reader = Reader::new(limits);
        Self {
            reader,
            seen: Vec::new(),
            refuse_appends: false,
            held_max: 0,
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.reader.feed(bytes);
        while let Some(event) = self.reader.next() {
            let text = match event {
                Event::Command(received) => {
                    match received.command {
                        Command::Idle => self.reader.expect_done(),
                        Command::Authenticate { initial: None, .. } => {
                            self.reader.expect_auth_line();
                        }
                        _ => {}
                    }
                    let mut relayed = Vec::new();
                    received.relay(b"t", &mut relayed);
                    let relayed = String::from_utf8_lossy(&relayed);
                    format!("{:?} as {relayed:?}", received.command)
                }
                Event::Append(append) => {
                    if self.refuse_appends {
                        self.reader.refuse_append();
                    } else {
                        self.reader.accept_append();
                    }
                    let mut relayed = Vec::new();
                    append.relay(b"t", &mut relayed);
                    format!("append {}", String::from_utf8_lossy(&relayed))
                }
                Event::Literal(chunk) => {
                    assert!(!chunk.is_empty() && chunk.len() <= 64);
                    let chunk = String::from_utf8_lossy(&chunk).into_owned();
                    match self.seen.last_mut() {
                        Some(last) if last.starts_with("message ") => {
                            last.push_str(&chunk);
                            continue;
                        }
                        _ => format!("message {chunk}"),
                    }
                }
                Event::Bad { tag, text } => {
                    format!(
                        "bad {:?} {text}",
                        tag.map(|tag| String::from_utf8(tag.into()).unwrap())
                    )
                }
                Event::AuthResponse(secret) => {
                    format!("auth {}", String::from_utf8_lossy(secret.expose()))
                }
                other => format!("{other:?}"),
            };
            self.seen.push(text);
        }
        self.held_max = self.held_max.max(self.reader.buffered());
    }
}

fn events(limits: Limits, refuse_appends: bool, input: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut driver = Driver::new(limits);
    driver.refuse_appends = refuse_appends;
    let mut from = 0;
    for cut in cuts {
        driver.feed(&input[from..*cut]);
        from = *cut;
    }
    driver.feed(&input[from..]);
    driver.seen
}

/// The events of `input` fed whole, having checked that each cut in two and single bytes give the
/// same.
fn whole(limits: Limits, refuse_appends: bool, input: &[u8]) -> Vec<String> {
    let whole = events(limits, refuse_appends, input, &[]);
    for cut in 0..=input.len() {
        assert_eq!(
            events(limits, refuse_appends, input, &[cut]),
            whole,
            "cut at {cut}"
        );
    }
    let every: Vec<usize> = (1..input.len()).collect();
    assert_eq!(
        events(limits, refuse_appends, input, &every),
        whole,
        "byte by byte"
    );
    whole
}

#[test]
fn commands_come_one_by_one_with_their_bytes() {
    assert_eq!(
        whole(
            SMALL,
            false,
            b"a NOOP\r\nb capability\nc SUBSCRIBE {2}\r\nxy\r\nd SUBSCRIBE {1+}\r\nz\r\n"
        ),
        [
            r#"Noop as "t NOOP\r\n""#,
            r#"Capability as "t capability\n""#,
            "Continue",
            r#"Subscribe { mailbox: b"xy" } as "t SUBSCRIBE {2+}\r\nxy\r\n""#,
            r#"Subscribe { mailbox: b"z" } as "t SUBSCRIBE {1+}\r\nz\r\n""#,
        ],
    );
}

#[test]
fn raw_bytes_are_exactly_what_was_received() {
    let input = b"a LOGIN {5}\r\nalice {2+}\r\n\"\r\r\n";
    let mut reader = Reader::new(SMALL);
    reader.feed(input);
    assert_eq!(reader.next(), Some(Event::Continue));
    let Some(Event::Command(received)) = reader.next() else {
        panic!("a command")
    };
    assert_eq!(received.raw, input.as_slice());
    assert_eq!(received.tag, "a");
    assert!(!format!("{received:?}").contains("raw:"));
    assert_eq!((reader.next(), reader.buffered()), (None, 0));
}

#[test]
fn bad_commands_are_told_with_their_tag_and_the_session_goes_on() {
    assert_eq!(
        whole(
            SMALL,
            false,
            b"a FETCH x FLAGS\r\n\r\n+ x\r\nb\r\nc NOOP\r\n"
        ),
        [
            r#"bad Some("a") invalid sequence set"#,
            "bad None empty line",
            "bad None invalid tag",
            r#"bad Some("b") command missing"#,
            r#"Noop as "t NOOP\r\n""#,
        ],
    );
}

#[test]
fn too_many_bad_commands_in_a_row_end_the_session() {
    let seen = whole(
        SMALL,
        false,
        b"a X(\r\nb X(\r\nc NOOP\r\nd (\r\ne (\r\nf (\r\ng (\r\nh (\r\ni NOOP\r\n",
    );
    assert_eq!(seen.len(), 9);
    assert_eq!(seen[8], r#"Fatal { text: "too many bad commands" }"#);
}

#[test]
fn over_long_lines_are_refused_before_they_end() {
    let mut driver = Driver::new(SMALL);
    driver.feed(b"a SUBSCRIBE ");
    driver.feed(&[b'x'; 189]);
    assert_eq!(driver.seen, [r#"bad Some("a") line too long"#]);
    for _ in 0..10 {
        driver.feed(&[b'x'; 100]);
    }
    driver.feed(b"\r\nb NOOP\r\n");
    assert_eq!(driver.seen[1..], [r#"Noop as "t NOOP\r\n""#]);
    assert!(driver.held_max <= 201);

    let longest = format!("a SUBSCRIBE {}\r\n", "x".repeat(186));
    assert_eq!(longest.len(), 200);
    let too_long = longest.replace("\r\n", "x\r\n");
    let seen = whole(
        SMALL,
        false,
        format!("{longest}{too_long}b NOOP\r\n").as_bytes(),
    );
    assert!(seen[0].starts_with("Subscribe"));
    assert_eq!(
        seen[1..],
        [r#"bad Some("a") line too long"#, r#"Noop as "t NOOP\r\n""#]
    );
}

#[test]
fn literals_after_an_over_long_line_are_thrown_away_too() {
    let line = format!(
        "a SUBSCRIBE {} {{9+}}\r\nb LOGOUT\n x\r\nc NOOP\r\n",
        "x".repeat(300)
    );
    assert_eq!(
        whole(SMALL, false, line.as_bytes()),
        [r#"bad Some("a") line too long"#, r#"Noop as "t NOOP\r\n""#],
    );
}

#[test]
fn a_refused_synchronizing_literal_gets_no_continuation() {
    assert_eq!(
        whole(
            SMALL,
            false,
            b"a LOGIN {21}\r\nb NOOP\r\nc LOGIN {99999999999999999999999}\r\nd NOOP\r\n"
        ),
        [
            r#"bad Some("a") literal too large"#,
            r#"Noop as "t NOOP\r\n""#,
            r#"bad Some("c") literal too large"#,
            r#"Noop as "t NOOP\r\n""#,
        ],
    );
}

#[test]
fn a_refused_non_synchronizing_literal_is_skipped_with_its_command() {
    let input = b"a LOGIN {21+}\r\nb LOGOUT\r\nb LOGOUT\r\n. {3+}\r\nx\r\n {4}\r\nc NOOP\r\n";
    assert_eq!(
        whole(SMALL, false, input),
        [
            r#"bad Some("a") literal too large"#,
            r#"Noop as "t NOOP\r\n""#
        ],
    );
}

#[test]
fn too_much_to_skip_ends_the_session() {
    assert_eq!(
        whole(SMALL, false, b"a LOGIN {5001+}\r\nxxxx"),
        [
            r#"bad Some("a") literal too large"#,
            r#"Fatal { text: "too much to skip" }"#
        ],
    );
    let mut driver = Driver::new(SMALL);
    driver.feed(b"a LOGIN {4900+}\r\n");
    for _ in 0..300 {
        driver.feed(&[b'x'; 50]);
    }
    assert_eq!(
        driver.seen,
        [
            r#"bad Some("a") literal too large"#,
            r#"Fatal { text: "too much to skip" }"#
        ],
    );
    assert!(driver.held_max <= 100);
}

#[test]
fn a_flood_of_small_literals_is_bounded() {
    let mut driver = Driver::new(SMALL);
    driver.feed(b"a SEARCH ");
    for _ in 0..1000 {
        driver.feed(b"TEXT {20+}\r\naaaaaaaaaaaaaaaaaaaa ");
    }
    assert_eq!(driver.seen[0], r#"bad Some("a") too many literals"#);
    assert_eq!(driver.seen[1], r#"Fatal { text: "too much to skip" }"#);
    assert!(driver.held_max <= SMALL.command_bytes_max + 40);
    assert_eq!(driver.reader.buffered(), 0);
}

#[test]
fn lines_and_literals_of_a_command_are_bounded_together() {
    let limits = Limits {
        command_bytes_max: 40,
        ..SMALL
    };
    assert_eq!(
        whole(
            limits,
            false,
            b"a LOGIN {12+}\r\n123456789012 {12}\r\nb NOOP\r\n"
        ),
        [
            r#"bad Some("a") command too large"#,
            r#"Noop as "t NOOP\r\n""#
        ],
    );
}

#[test]
fn append_streams_its_message() {
    let input = b"a APPEND INBOX (\\Seen) {12}\r\nFrom: x\r\n\r\n.\r\nb NOOP\r\n";
    assert_eq!(
        whole(SMALL, false, input),
        [
            "append t APPEND INBOX (\\Seen) {12+}\r\n",
            "Continue",
            "message From: x\r\n\r\n.",
            r#"AppendEnd(b"\r\n")"#,
            r#"Noop as "t NOOP\r\n""#,
        ],
    );
    let message = "x".repeat(999);
    let input = format!("a APPEND {{2+}}\r\nab {{999+}}\r\n{message}\r\nb APPEND x {{0+}}\r\n\r\n");
    assert_eq!(
        whole(SMALL, false, input.as_bytes()),
        [
            "append t APPEND {2+}\r\nab {999+}\r\n".to_owned(),
            format!("message {message}"),
            r#"AppendEnd(b"\r\n")"#.to_owned(),
            "append t APPEND x {0+}\r\n".to_owned(),
            r#"AppendEnd(b"\r\n")"#.to_owned(),
        ],
    );
}

#[test]
fn a_refused_append_is_skipped_or_never_sent() {
    assert_eq!(
        whole(
            SMALL,
            true,
            b"a APPEND x {10}\r\nb APPEND x {10+}\r\nc LOGOUT\r\n\r\nd NOOP\r\n"
        ),
        [
            "append t APPEND x {10+}\r\n",
            "append t APPEND x {10+}\r\n",
            r#"Noop as "t NOOP\r\n""#,
        ],
    );
}

#[test]
fn bad_appends_are_refused_before_their_message() {
    assert_eq!(
        whole(SMALL, false, b"a APPEND x {1001}\r\nb APPEND x {1001+}\r\n",),
        [
            r#"bad Some("a") message too large"#,
            r#"bad Some("b") message too large"#
        ],
    );
    assert_eq!(
        whole(
            SMALL,
            false,
            b"a APPEND x (\\Seen {3+}\r\na N\r\nb APPEND x y {3}\r\nc NOOP\r\n"
        ),
        [
            r#"bad Some("a") flag expected"#,
            r#"bad Some("b") message must be a literal"#,
            r#"Noop as "t NOOP\r\n""#,
        ],
    );
    assert_eq!(
        whole(
            SMALL,
            false,
            b"a APPEND x {1+}\r\ny {1+}\r\nz\r\nb NOOP\r\n"
        ),
        [
            "append t APPEND x {1+}\r\n",
            "message y",
            r#"bad Some("a") unexpected bytes after the message"#,
            r#"Noop as "t NOOP\r\n""#,
        ],
    );
}

#[test]
fn idle_ends_with_done() {
    assert_eq!(
        whole(
            SMALL,
            false,
            b"a IDLE\r\nDONE\r\nb IDLE\r\nc NOOP\r\nd NOOP\r\n"
        ),
        [
            r#"Idle as "t IDLE\r\n""#,
            "Done",
            r#"Idle as "t IDLE\r\n""#,
            r#"bad Some("b") DONE expected"#,
            r#"Noop as "t NOOP\r\n""#,
        ],
    );
}

#[test]
fn authenticate_reads_lines_of_base64() {
    assert_eq!(
        whole(
            SMALL,
            false,
            b"a AUTHENTICATE PLAIN\r\nAGEAYg==\r\nb AUTHENTICATE PLAIN\r\n*\r\nc AUTHENTICATE PLAIN\r\n\
              d NOOP\r\ne AUTHENTICATE PLAIN\r\n\r\nf NOOP\r\n",
        ),
        [
            r#"Authenticate { mechanism: b"PLAIN", initial: None } as "t AUTHENTICATE PLAIN\r\n""#,
            "auth \0a\0b",
            r#"Authenticate { mechanism: b"PLAIN", initial: None } as "t AUTHENTICATE PLAIN\r\n""#,
            "AuthCancelled",
            r#"Authenticate { mechanism: b"PLAIN", initial: None } as "t AUTHENTICATE PLAIN\r\n""#,
            r#"bad Some("c") invalid base64"#,
            r#"Authenticate { mechanism: b"PLAIN", initial: None } as "t AUTHENTICATE PLAIN\r\n""#,
            "auth ",
            r#"Noop as "t NOOP\r\n""#,
        ],
    );
}

#[test]
fn what_was_said_before_tls_is_dropped() {
    let mut reader = Reader::new(SMALL);
    reader.feed(b"a STARTTLS\r\nb LOGIN {3");
    assert!(matches!(reader.next(), Some(Event::Command(_))));
    assert_eq!(reader.discard(), 10);
    reader.feed(b"c NOOP\r\n");
    let Some(Event::Command(received)) = reader.next() else {
        panic!("a command")
    };
    assert_eq!(received.tag, "c");
}

/// Pieces that make it likely that random input gets far.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::sample::select(vec![
            "a ",
            "\r\n",
            "\n",
            "NOOP",
            "APPEND ",
            "INBOX ",
            "{3}\r\n",
            "{3+}\r\n",
            "{30+}\r\n",
            "{999999+}\r\n",
            "FETCH 1:* (",
            "BODY[",
            ")",
            "SEARCH ",
            "NOT ",
            "((((",
            "\"",
            "IDLE\r\n",
            "DONE\r\n",
            "UID ",
            "AUTHENTICATE PLAIN\r\n",
            "LOGIN ",
            "(\\Seen) ",
            "LIST ",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

proptest! {
    #[test]
    fn random_bytes_never_panic_stay_bounded_and_may_be_cut_anywhere(
        fragments in prop::collection::vec(fragment(), 0..60),
        refuse in any::<bool>(),
        step in 1_usize..30,
    ) {
        let input = fragments.concat();
        let whole = events(SMALL, refuse, &input, &[]);
        let mut driver = Driver::new(SMALL);
        driver.refuse_appends = refuse;
        for chunk in input.chunks(step) {
            driver.feed(chunk);
            prop_assert!(driver.reader.buffered() <= SMALL.command_bytes_max + step);
        }
        prop_assert_eq!(driver.seen, whole);
    }
}
