//! Responses whole and in pieces, their data, and commands that the server's reader understands.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::imap::command::Command;
use crate::imap::response::{Code, FetchWriter, Status, list, string, tagged};
use crate::imap::server;

/// Small limits, so that tests can reach them.
const SMALL: Limits = Limits {
    response_bytes_max: 100,
    literal_bytes_max: 20,
    chunk_bytes_max: 16,
};

/// What was told; adjacent pieces of the same sort joined.
#[derive(Debug, Default, PartialEq)]
struct Told {
    events: Vec<(&'static str, Vec<u8>)>,
    all: Vec<u8>,
    held_max: usize,
}

fn told(limits: Limits, chunks: &[&[u8]]) -> Told {
    let mut reader = ResponseReader::new(limits);
    let mut told = Told::default();
    for chunk in chunks {
        reader.feed(chunk);
        while let Some(event) = reader.next() {
            told.all.extend_from_slice(event.bytes());
            let (name, bytes) = match &event {
                Event::Response(response) => ("response", response.raw()),
                Event::Text(bytes) | Event::End(bytes) => ("text", bytes),
                Event::Literal(bytes) => ("literal", bytes),
            };
            match told.events.last_mut() {
                Some((last, joined)) if *last == name && name != "response" => joined.extend(bytes),
                _ => told.events.push((name, bytes.to_vec())),
            }
            if matches!(event, Event::End(_)) {
                told.events.push(("end", Vec::new()));
            }
        }
        told.held_max = told.held_max.max(reader.buffered());
    }
    told
}

/// What is told of `input` fed whole, having checked that any cut gives the same.
fn whole(limits: Limits, input: &[u8]) -> Vec<(&'static str, String)> {
    let whole = told(limits, &[input]);
    for cut in 0..=input.len() {
        let (one, other) = input.split_at(cut);
        assert_eq!(
            told(limits, &[one, other]).events,
            whole.events,
            "cut at {cut}"
        );
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    let single = told(limits, &bytes);
    assert_eq!(single.events, whole.events, "byte by byte");
    assert!(single.held_max <= limits.response_bytes_max);
    assert_eq!(whole.all, input[..whole.all.len()]);
    let text = |(name, bytes)| (name, String::from_utf8(bytes).unwrap());
    whole.events.into_iter().map(text).collect()
}

fn response(raw: &'static str) -> Response {
    let mut reader = ResponseReader::new(Limits::WHOLE);
    reader.feed(raw.as_bytes());
    match reader.next() {
        Some(Event::Response(response)) => {
            assert_eq!(response.raw(), raw);
            assert!(reader.is_between_responses());
            response
        }
        other => panic!("{raw}: {other:?}"),
    }
}

fn data(raw: &'static str) -> Data {
    response(raw)
        .data()
        .unwrap_or_else(|error| panic!("{raw}: {error}"))
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn strings(texts: &[&'static str]) -> Vec<Bytes> {
    texts.iter().map(|text| bytes(text)).collect()
}

#[test]
fn small_responses_are_told_whole() {
    let input = "* OK hi\r\n* 1 FETCH (BODY[] {4}\r\na\r\nb UID 7)\r\n+ go\r\na1 OK done {5}\r\n* 2 EXISTS\r\n";
    assert_eq!(
        whole(SMALL, input.as_bytes()),
        [
            ("response", "* OK hi\r\n"),
            ("response", "* 1 FETCH (BODY[] {4}\r\na\r\nb UID 7)\r\n"),
            ("response", "+ go\r\n"),
            ("response", "a1 OK done {5}\r\n"),
            ("response", "* 2 EXISTS\r\n"),
        ]
        .map(|(name, text)| (name, text.to_owned())),
    );
}

#[test]
fn large_literals_are_streamed_and_all_bytes_are_told() {
    let body = "x".repeat(1000);
    let input = format!(
        "* 1 FETCH (BODY[HEADER] {{3}}\r\na\r\n BODY[TEXT] {{1000}}\r\n{body} X {{2}}\r\nyy UID 7)\r\na OK\r\n"
    );
    assert_eq!(
        whole(SMALL, input.as_bytes()),
        [
            (
                "text",
                "* 1 FETCH (BODY[HEADER] {3}\r\na\r\n BODY[TEXT] {1000}\r\n"
            ),
            ("literal", body.as_str()),
            ("text", " X {2}\r\n"),
            ("literal", "yy"),
            ("text", " UID 7)\r\n"),
            ("end", ""),
            ("response", "a OK\r\n"),
        ]
        .map(|(name, text)| (name, text.to_owned())),
    );
}

#[test]
fn over_long_lines_are_passed_in_pieces() {
    let line = format!("* SEARCH{}\r\n", " 12345".repeat(100));
    let input = format!("{line}a OK\r\n");
    assert_eq!(
        whole(SMALL, input.as_bytes()),
        [
            ("text", line),
            ("end", String::new()),
            ("response", "a OK\r\n".to_owned())
        ],
    );
    let line = format!("* X{} {{5}}\r\n", " 12345".repeat(100));
    assert_eq!(
        whole(SMALL, format!("{line}a\nb\nc\r\n").as_bytes())[..2],
        [("text", line), ("literal", "a\nb\nc".to_owned())],
    );
}

#[test]
fn status_responses_and_their_codes() {
    let tagged = response("a1 no [NONEXISTENT] gone [away]\r\n");
    assert_eq!(
        (tagged.kind(), tagged.tag()),
        (Kind::Tagged, Some(&b"a1"[..]))
    );
    let status = tagged.status().unwrap();
    assert_eq!(status.status, Status::No);
    assert!(status.code.unwrap().is("NonExistent"));
    assert_eq!(status.text, "gone [away]");

    let code = |raw| response(raw).status().unwrap().code.unwrap();
    assert_eq!(
        code("a OK [APPENDUID 38505 3955] x\r\n").append_uid(),
        Some((38_505, 3955))
    );
    let copied = code("* OK [COPYUID 38505 304,319:320 3956:3958] x\r\n")
        .copy_uid()
        .unwrap();
    assert_eq!(copied.uid_validity, 38_505);
    assert_eq!(copied.from.to_string(), "304,319:320");
    assert_eq!(copied.to.to_string(), "3956:3958");
    assert_eq!(
        code("* OK [UIDNEXT 4392] x\r\n").number("UIDNEXT"),
        Some(4392)
    );
    assert_eq!(code("* OK [UIDNEXT 4392] x\r\n").number("UNSEEN"), None);
    assert_eq!(code("* NO [BADCHARSET (\"a]\")]\r\n").arguments, "(\"a]\")");
    assert_eq!(code("a OK [COPYUID 1 2] x\r\n").copy_uid(), None);
    assert_eq!(response("a BAD\r\n").status().unwrap().text, "");
    assert_eq!(response("a OK [broken\r\n").status().unwrap().code, None);
    assert_eq!(response("+ x\r\n").status(), None);
    assert_eq!(response("* 1 EXISTS\r\n").status(), None);
    assert_eq!(response("+ AGE=\r\n").text(), "AGE=");
    assert!(matches!(data("* BYE x\r\n"), Data::Status(_)));
}

#[test]
fn data_is_understood() {
    assert_eq!(
        data("* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"),
        Data::Capability(strings(&["IMAP4rev1", "AUTH=PLAIN"])),
    );
    assert_eq!(data("* ENABLED\r\n"), Data::Enabled(vec![]));
    assert_eq!(data("* 23 EXISTS\r\n"), Data::Exists(23));
    assert_eq!(data("* 5 recent\r\n"), Data::Recent(5));
    assert_eq!(data("* 44 EXPUNGE\r\n"), Data::Expunge(44));
    assert_eq!(
        data("* FLAGS (\\Seen $Junk)\r\n"),
        Data::Flags(strings(&["\\Seen", "$Junk"]))
    );
    assert_eq!(
        data("* SEARCH 2 84 (MODSEQ 917)\r\n"),
        Data::Search {
            numbers: vec![2, 84],
            mod_seq: Some(917)
        },
    );
    assert_eq!(
        data("* SEARCH\r\n"),
        Data::Search {
            numbers: vec![],
            mod_seq: None
        }
    );
    let mailbox = ListedMailbox {
        attributes: strings(&["\\Noselect"]),
        delimiter: Some(b'/'),
        mailbox: bytes("a b"),
        extended: None,
    };
    assert_eq!(
        data("* LIST (\\Noselect) \"/\" {3}\r\na b\r\n"),
        Data::List(mailbox.clone())
    );
    assert_eq!(
        data("* LSUB (\\Noselect) \"/\" \"a b\"\r\n"),
        Data::Lsub(mailbox)
    );
    let Data::List(listed) = data("* LIST () NIL x (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n") else {
        panic!("a mailbox");
    };
    assert_eq!((listed.delimiter, listed.extended.is_some()), (None, true));
    let Data::MailboxStatus(status) =
        data("* STATUS x (MESSAGES 231 HIGHESTMODSEQ 7011231777)\r\n")
    else {
        panic!("a status");
    };
    assert_eq!(status.number("messages"), Some(231));
    assert_eq!(status.number("HIGHESTMODSEQ"), Some(7_011_231_777));
    assert_eq!(
        data("* VANISHED (EARLIER) 41,43:116\r\n"),
        Data::Vanished {
            earlier: true,
            uids: "41,43:116".parse().unwrap()
        },
    );
    assert_eq!(
        data("* MYRIGHTS x lrs\r\n"),
        Data::Other {
            name: bytes("MYRIGHTS"),
            rest: bytes("x lrs")
        },
    );
    assert_eq!(
        response("* 1 FOO\r\n").data(),
        Err(Malformed("unknown data after a number"))
    );
    assert!(response("a OK x\r\n").data().is_err());
}

#[test]
fn fetch_items_are_trees() {
    let Data::Fetch(fetch) = data(
        "* 12 FETCH (FLAGS (\\Seen \\Recent) UID 7 MODSEQ (65) \
         BODY[HEADER.FIELDS (\"a]b\" To)]<0> {3}\r\na\0b BODY[2] NIL \
         BODYSTRUCTURE ((\"text\" \"plain\" NIL NIL NIL \"7bit\" 3 1)(\"a\" \"b\") \"mixed\"))\r\n",
    ) else {
        panic!("a message");
    };
    assert_eq!(
        (fetch.number, fetch.uid(), fetch.mod_seq()),
        (12, Some(7), Some(65))
    );
    assert_eq!(
        fetch.flags().unwrap(),
        [&bytes("\\Seen"), &bytes("\\Recent")]
    );
    assert_eq!(
        fetch.value("BODY[HEADER.FIELDS (\"a]b\" To)]<0>"),
        Some(&Value::String(bytes("a\0b"))),
    );
    assert_eq!(fetch.value("BODY[2]"), Some(&Value::Nil));
    let structure = fetch.value("BODYSTRUCTURE").unwrap().list().unwrap();
    assert_eq!(structure.len(), 3);
    assert_eq!(structure[0].list().unwrap()[6], Value::Number(3));
    assert_eq!(structure[2], Value::String(bytes("mixed")));
}

#[test]
fn values_nest_to_a_limit() {
    let nested = |depth: usize| {
        let raw = format!(
            "* 1 FETCH (X {}{})\r\n",
            "(".repeat(depth),
            ")".repeat(depth)
        );
        Response::new(raw.into()).data().map(|_| ())
    };
    assert_eq!(nested(VALUE_DEPTH_MAX), Ok(()));
    assert_eq!(
        nested(VALUE_DEPTH_MAX + 1),
        Err(Malformed("lists nested too deep"))
    );
    assert_eq!(nested(100_000), Err(Malformed("lists nested too deep")));
}

#[test]
fn commands_stop_where_the_server_must_answer() {
    let login = |style| {
        Encoder::new(b"a", "LOGIN", style)
            .astring(b"al\r\n")
            .astring(b"p\"w")
            .finish()
    };
    let plus = login(LiteralStyle::NonSynchronizing);
    assert_eq!(plus.bytes(), b"a LOGIN {4+}\r\nal\r\n \"p\\\"w\"\r\n");
    assert_eq!(plus.parts().count(), 1);
    let waiting = login(LiteralStyle::Synchronizing);
    let parts: Vec<&[u8]> = waiting.parts().collect();
    assert_eq!(parts, [&b"a LOGIN {4}\r\n"[..], b"al\r\n \"p\\\"w\"\r\n"]);
    let append = Encoder::new(b"b", "APPEND", LiteralStyle::NonSynchronizing)
        .astring(b"INBOX")
        .raw("(\\Seen)")
        .finish_with_literal(7);
    assert_eq!(append.bytes(), b"b APPEND INBOX (\\Seen) {7+}\r\n");
    let copy = Encoder::new(b"c", "UID COPY", LiteralStyle::NonSynchronizing)
        .set(&"1:3,7".parse().unwrap())
        .literal(b"x")
        .number(5)
        .finish();
    assert_eq!(copy.bytes(), b"c UID COPY 1:3,7 {1+}\r\nx 5\r\n");
    assert!(!format!("{plus:?}").contains("98"));
}

#[test]
fn what_the_server_writes_is_read_back() {
    let mut out = Vec::new();
    let mut fetch = FetchWriter::begin(&mut out, 3);
    fetch.uid(&mut out, 9);
    fetch.item(&mut out, "ENVELOPE");
    string(&mut out, b"a\0\r\n");
    fetch.end(&mut out);
    list(&mut out, "LIST", ["\\Sent"], Some(b'/'), b"Gesendet & mehr");
    tagged(&mut out, b"t9", Status::Ok, Some(&Code::UidNext(4)), "done");
    let mut reader = ResponseReader::new(Limits::WHOLE);
    reader.feed(&out);
    let mut next = || match reader.next() {
        Some(Event::Response(response)) => response,
        other => panic!("{other:?}"),
    };
    let Ok(Data::Fetch(fetch)) = next().data() else {
        panic!("a message")
    };
    assert_eq!(
        fetch.value("ENVELOPE"),
        Some(&Value::String(bytes("a\0\r\n")))
    );
    let Ok(Data::List(listed)) = next().data() else {
        panic!("a mailbox")
    };
    assert_eq!(listed.mailbox, "Gesendet & mehr");
    let status = next();
    assert_eq!(status.tag(), Some(&b"t9"[..]));
    assert_eq!(
        status.status().unwrap().code.unwrap().number("UIDNEXT"),
        Some(4)
    );
}

/// Pieces that make it likely that random input gets far.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::sample::select(vec![
            "* ",
            "\r\n",
            "a OK ",
            "FETCH (",
            "1 ",
            "{3}\r\n",
            "{30}\r\n",
            "{99999}\r\n",
            "((",
            "))",
            "\"",
            "BODY[",
            "[COPYUID 1 2:3 4:5] ",
            "* LIST () \"/\" ",
            "* STATUS x (",
            "+ ",
            "* SEARCH 1 2 ",
            "NIL",
            "~{1}\r\n",
            "* 1 FETCH (FLAGS (",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

proptest! {
    #[test]
    fn random_bytes_never_panic_stay_bounded_and_may_be_cut_anywhere(
        fragments in prop::collection::vec(fragment(), 0..60),
        step in 1_usize..30,
    ) {
        let input = fragments.concat();
        let whole = told(SMALL, &[&input]);
        let chunks: Vec<&[u8]> = input.chunks(step).collect();
        let cut = told(SMALL, &chunks);
        prop_assert!(cut.held_max <= SMALL.response_bytes_max);
        prop_assert!(input.starts_with(&cut.all));
        let complete = |told: &Told| {
            let last = told.events.iter().rposition(|(name, _)| matches!(*name, "end" | "response"));
            told.events[..last.map_or(0, |last| last + 1)].to_vec()
        };
        prop_assert_eq!(complete(&cut), complete(&whole));
        let mut reader = ResponseReader::new(Limits::WHOLE);
        reader.feed(&input);
        while let Some(event) = reader.next() {
            if let Event::Response(response) = event {
                let _ = (response.data(), response.status(), response.tag(), response.text());
            }
        }
    }

    #[test]
    fn any_string_that_a_client_sends_reaches_the_server(
        mailbox in prop::collection::vec(1_u8.., 0..30),
        other in prop::collection::vec(1_u8.., 0..30),
        synchronizing in any::<bool>(),
    ) {
        let style = if synchronizing {
            LiteralStyle::Synchronizing
        } else {
            LiteralStyle::NonSynchronizing
        };
        let command = Encoder::new(b"a", "RENAME", style).astring(&mailbox).astring(&other).finish();
        let mut reader = server::Reader::new(server::Limits::AFTER_LOGIN);
        let mut last = None;
        for (index, part) in command.parts().enumerate() {
            if index > 0 {
                prop_assert_eq!(last.take(), Some(server::Event::Continue));
            }
            reader.feed(part);
            last = reader.next();
        }
        match last {
            Some(server::Event::Command(received)) => match received.command {
                Command::Rename(rename) => {
                    prop_assert_eq!(rename.from, mailbox);
                    prop_assert_eq!(rename.to, other);
                    prop_assert_eq!(&received.raw, command.bytes());
                }
                other => prop_assert!(false, "{:?}", other),
            },
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
