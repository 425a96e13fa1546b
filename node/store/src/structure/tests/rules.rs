//! Single rules: dates, addresses, fields, parameters, limits, the kept form.

use super::{body_of, crlf, envelope_of};
use crate::structure::*;

fn sent(date: &str) -> Option<SentDate> {
    scan(format!("Date: {date}\r\n\r\n").as_bytes()).sent
}

/// Found by the fuzzer: such an hour overflowed the seconds of a day.
#[test]
fn an_hour_of_seven_digits_is_no_time() {
    let date = sent("Mon, 7 Feb 1994031:52:25 -0800");
    assert!(date.is_none_or(|date| date.second_of_day == 0), "{date:?}");
}

#[test]
fn dates_of_every_age_are_read() {
    let known = SentDate {
        year: 1995,
        month: 5,
        day: 7,
        second_of_day: 58_863,
        offset_minutes: 0,
    };
    for date in [
        "Sun, 7 May 1995 16:21:03 GMT",
        "7 May 95 16:21:03 +0000",
        "Sun, 07-May-95 16:21:03 UT",
        "Sun May  7 16:21:03 1995",
        "Sun (the day), 7 (seventh) May 1995 16:21:03 (Greenwich) +0000 (GMT)",
        "Sunday, 7 MAY 095 16:21:03",
    ] {
        assert_eq!(sent(date), Some(known), "{date}");
    }
    let west = SentDate {
        offset_minutes: -210,
        ..known
    };
    assert_eq!(sent("Sun, 7 May 1995 16:21:03 -0330"), Some(west));
    for date in [
        "",
        "yesterday",
        "31 Feb 2020 00:00:00 +0000",
        "1 Jan",
        "0 Jan 2020",
        "7 May",
    ] {
        assert_eq!(sent(date), None, "{date}");
    }
}

#[test]
fn sent_days_are_counted_as_written_and_instants_in_utc() {
    let date = sent("Thu, 1 Jan 1970 00:30:00 +0100").unwrap();
    assert_eq!((date.day_number(), date.unix_seconds()), (0, -1800));
    let date = sent("Sat, 29 Feb 2020 23:59:60 -0500").unwrap();
    assert_eq!(
        (date.day_number(), date.unix_seconds()),
        (18_321, 1_583_038_799)
    );
    assert_eq!(sent("1 Mar 2020").unwrap().day_number(), 18_322);
    assert_eq!(sent("31 Dec 1969").unwrap().day_number(), -1);
}

#[test]
fn odd_addresses() {
    for (field, list) in [
        ("a@b", r#"((NIL NIL "a" "b"))"#),
        ("<a@b>", r#"((NIL NIL "a" "b"))"#),
        ("A. B. <a@b>", r#"(("A. B." NIL "a" "b"))"#),
        (r#""A \"B\"" <"a b"@c>"#, r#"(("A \\"B\\"" NIL "a b" "c"))"#),
        (r#""a@b" <c@d>"#, r#"(("a@b" NIL "c" "d"))"#),
        ("a@b <c@d> junk", r#"(("a@b" NIL "c" "d"))"#),
        ("a . b @ c . d", r#"((NIL NIL "a.b" "c.d"))"#),
        ("a@b (x (y) z)", r#"(("x (y) z" NIL "a" "b"))"#),
        (",, a@b ,,", r#"((NIL NIL "a" "b"))"#),
        ("A <a@b, c@d", r#"(("A" NIL "a" "b")(NIL NIL "c" "d"))"#),
        ("<>", r#"((NIL NIL "" ".MISSING-HOST-NAME."))"#),
        (
            "John Doe",
            r#"((NIL NIL "John Doe" ".MISSING-HOST-NAME."))"#,
        ),
        (
            "=?utf-8?q?a=2Cb?= <a@b>",
            r#"(("=?utf-8?q?a=2Cb?=" NIL "a" "b"))"#,
        ),
        (
            "g: a@b",
            r#"((NIL NIL "g" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL))"#,
        ),
        ("a@b; c@d", r#"((NIL NIL "a" "b")(NIL NIL "c" "d"))"#),
        (
            "\"open <a@b>",
            r#"((NIL NIL "open <a@b>" ".MISSING-HOST-NAME."))"#,
        ),
        ("(only a comment)", "NIL"),
        ("", "NIL"),
    ] {
        let message = format!("To: {field}\r\n\r\n");
        let expected = format!("(NIL NIL NIL NIL NIL {list} NIL NIL NIL NIL)");
        assert_eq!(envelope_of(message.as_bytes()), expected, "{field}");
    }
}

#[test]
fn texts_count_once_and_addresses_add_up() {
    let message = crlf("Subject:\nSubject: b\nTo: a@b\nTo: c@d\nMessage-ID:  <x>  \n\n");
    assert_eq!(
        envelope_of(&message),
        r#"(NIL "" NIL NIL NIL ((NIL NIL "a" "b")(NIL NIL "c" "d")) NIL NIL NIL "<x>")"#
    );
    assert_eq!(scan(&message).message_id(), Some(&b"<x>"[..]));
    assert_eq!(scan(b"Message-ID:\r\n\r\n").message_id(), None);
}

#[test]
fn content_types_that_are_none_are_plain_text() {
    for (field, body) in [
        (
            "text",
            r#"("text" "plain" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 0 0)"#,
        ),
        (
            "nonsense",
            r#"("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 0 0)"#,
        ),
        (
            "/x",
            r#"("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 0 0)"#,
        ),
        (
            "",
            r#"("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 0 0)"#,
        ),
        ("(a) A (b) / (c) b (d)", r#"("A" "b" NIL NIL NIL "7BIT" 0)"#),
        (
            "a/b; c = \"d;e\" ; f=(g) h (i);j;=k",
            r#"("a" "b" ("c" "d;e" "f" "h") NIL NIL "7BIT" 0)"#,
        ),
        ("a/b; c=", r#"("a" "b" ("c" "") NIL NIL "7BIT" 0)"#),
    ] {
        let message = format!("Content-Type: {field}\r\n\r\n");
        assert_eq!(body_of(message.as_bytes(), false), body, "{field}");
    }
}

#[test]
fn continued_parameters_are_joined_for_use() {
    let of = |field: &str| {
        let part = scan(format!("Content-Type: a/b; {field}\r\n\r\n").as_bytes());
        parameter(&part.root().media.parameters, "n").map(|value| value.into_owned())
    };
    assert_eq!(of("N=x").unwrap(), b"x");
    assert_eq!(of("n*=utf-8'en'a%20b%2").unwrap(), b"a b%2");
    assert_eq!(
        of("n*1=b; n*0*=utf-8''%61; n*2*=%63; n*4=e").unwrap(),
        b"abc"
    );
    assert_eq!(of("n*1=b"), None);
    assert_eq!(of("m=b"), None);
}

#[test]
fn depth_is_bounded() {
    let mut message = Vec::new();
    for depth in 0..200 {
        message.extend(crlf(&format!(
            "Content-Type: multipart/mixed; boundary=b{depth}\n\n--b{depth}\n"
        )));
    }
    let structure = scan(&message);
    assert_eq!(structure.parts.len(), DEPTH_MAX);
    let last = structure.parts.last().unwrap();
    assert!(last.media.is_exactly("application", "octet-stream"));
    assert_eq!(decode(&encode(&structure)).unwrap(), structure);
    let message = "Content-Type: message/rfc822\r\n\r\n".repeat(200);
    assert_eq!(scan(message.as_bytes()).parts.len(), DEPTH_MAX);
}

#[test]
fn parts_are_bounded_and_the_last_takes_the_rest() {
    let mut message = crlf("Content-Type: multipart/mixed; boundary=b\n");
    message.extend(crlf(&"\n--b\n\nx".repeat(PARTS_MAX + 50)));
    let structure = scan(&message);
    assert_eq!(structure.parts.len(), PARTS_MAX);
    let last = structure.parts.last().unwrap();
    assert_eq!(last.body.end, message.len() as u64);
    assert_eq!(decode(&encode(&structure)).unwrap(), structure);
}

#[test]
fn headers_and_addresses_are_bounded() {
    let filler = format!("X: {}\r\n", "y".repeat(HEADER_BYTES_MAX));
    let message = format!("Subject: a\r\n{filler}To: a@b\r\n\r\nbody");
    let structure = scan(message.as_bytes());
    assert_eq!(structure.envelope.subject.as_deref(), Some(&b"a"[..]));
    assert!(structure.envelope.to.is_empty());
    assert_eq!(
        structure.root().body,
        message.len() as u64 - 4..message.len() as u64
    );
    let message = format!("To: {}\r\n\r\n", "a,".repeat(2 * ADDRESSES_MAX));
    let count = scan(message.as_bytes()).envelope.to.len();
    assert!(
        (ADDRESSES_MAX - 2..=ADDRESSES_MAX).contains(&count),
        "{count}"
    );
}

#[test]
fn damaged_bytes_are_no_structure() {
    assert!(matches!(decode(&[]), Err(StructureError::Empty)));
    assert!(matches!(decode(&[9, 1]), Err(StructureError::Version(9))));
    let good = scan(&crlf(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n",
    ));
    let broken = |change: &dyn Fn(&mut Structure)| {
        let mut structure = good.clone();
        change(&mut structure);
        assert!(matches!(
            decode(&encode(&structure)),
            Err(StructureError::Inconsistent(_))
        ));
    };
    broken(&|structure| structure.parts.clear());
    broken(&|structure| structure.bytes = 3);
    broken(&|structure| structure.parts[0].content = Content::Multipart(vec![0]));
    broken(&|structure| structure.parts[0].content = Content::Multipart(vec![7]));
    broken(&|structure| structure.parts[0].content = Content::Multipart(vec![1, 1]));
    broken(&|structure| structure.parts[0].content = Content::Multipart(vec![]));
    broken(&|structure| structure.parts[0].content = Content::Leaf);
}

#[test]
fn strings_are_quoted_or_literal() {
    for (text, written) in [
        (&b""[..], &b"\"\""[..]),
        (b"a \"b\" \\ c\t", b"\"a \\\"b\\\" \\\\ c\t\""),
        (b"\xff", b"{1}\r\n\xff"),
        (b"a\rb\x00", b"{3}\r\na\rb"),
        (b"\x7f", b"{1}\r\n\x7f"),
    ] {
        let mut out = Vec::new();
        write_string(text, &mut out);
        assert_eq!(out, written);
    }
}
