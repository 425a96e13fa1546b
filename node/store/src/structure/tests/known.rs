//! Known answers: what FETCH ENVELOPE and BODYSTRUCTURE say about the example messages. Bytes that
//! are not printable stand as escapes.

use super::{body_of, envelope_of, example};

#[test]
fn plain_message() {
    let message = example!("plain");
    assert_eq!(
        envelope_of(message),
        concat!(
            r#"("Mon, 2 Nov 2026 09:12:07 +0100" "Timetable for Tuesday" "#,
            r#"(("Ada Ferry" NIL "ada" "example.org")) "#,
            r#"(("Ada Ferry" NIL "ada" "example.org")) "#,
            r#"(("Ada Ferry" NIL "ada" "example.org")) "#,
            r#"(("Moss, Ben" NIL "ben" "example.org")("Cleo" NIL "cleo" "example.net")) "#,
            r#"NIL NIL NIL "<plain.1@example.org>")"#
        )
    );
    assert_eq!(
        body_of(message, true),
        r#"("text" "plain" ("charset" "utf-8") NIL NIL "8bit" 63 4 NIL NIL NIL NIL)"#
    );
    assert_eq!(
        body_of(message, false),
        r#"("text" "plain" ("charset" "utf-8") NIL NIL "8bit" 63 4)"#
    );
}

#[test]
fn nested_multipart_with_every_extension_field() {
    assert_eq!(
        body_of(example!("nested-multipart"), true),
        concat!(
            r#"((("text" "plain" ("charset" "iso-8859-1") NIL NIL "quoted-printable" 36 2 "#,
            r#"NIL NIL NIL NIL)"#,
            r#"(("text" "html" ("charset" "utf-8") NIL NIL "7bit" 43 0 NIL NIL NIL NIL)"#,
            r#"("image" "gif" ("name" "dot.gif") "<dot@example.org>" NIL "base64" 48 NIL "#,
            r#"("inline" ("filename" "dot.gif")) NIL "http://example.org/dot.gif") "#,
            r#""related" ("type" "text/html" "boundary" "outer-alt-rel") NIL NIL NIL) "#,
            r#""alternative" ("boundary" "outer-alt") NIL NIL NIL)"#,
            r#"("application" "octet-stream" NIL NIL "the drawing itself" "base64" 18 "#,
            r#""Q2hlY2sgSW50ZWdyaXR5IQ==" "#,
            r#"("attachment" ("filename*" "utf-8''Gr%C3%B6%C3%9Fe.bin")) NIL NIL) "#,
            r#""mixed" ("boundary" "outer") NIL ("en" "de") NIL)"#
        )
    );
}

#[test]
fn embedded_messages_have_envelopes() {
    assert_eq!(
        body_of(example!("embedded-message"), false),
        concat!(
            r#"(("text" "plain" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 15 0)"#,
            r#"("message" "rfc822" NIL NIL NIL "7BIT" 204 "#,
            r#"("Sun, 1 Nov 2026 08:30:00 +0000" "part 2 is a message without parts" "#,
            r#"(("Cleo Park" NIL "cleo" "example.net")) "#,
            r#"(("Cleo Park" NIL "cleo" "example.net")) "#,
            r#"(("Cleo Park" NIL "cleo" "example.net")) "#,
            r#"(("Ben Moss" NIL "ben" "example.org")) NIL NIL NIL "<inner.1@example.net>") "#,
            r#"("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 17 0) 6)"#,
            r#"("message" "rfc822" NIL NIL NIL "7BIT" 391 "#,
            r#"("Sun, 1 Nov 2026 08:31:00 +0000" "part 3 has parts" "#,
            r#"(("Cleo Park" NIL "cleo" "example.net")) "#,
            r#"(("Cleo Park" NIL "cleo" "example.net")) "#,
            r#"(("Cleo Park" NIL "cleo" "example.net")) "#,
            r#"NIL NIL NIL NIL "<inner.2@example.net>") "#,
            r#"(("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 17 0)"#,
            r#"("message" "rfc822" NIL NIL NIL "7BIT" 119 "#,
            r#"(NIL "part 3.2 is a message of one image" NIL NIL NIL NIL NIL NIL NIL NIL) "#,
            r#"("image" "png" NIL NIL NIL "base64" 12) 4) "mixed") 18) "mixed")"#
        )
    );
}

#[test]
fn digest_parts_are_messages_unless_they_say_otherwise() {
    assert_eq!(
        body_of(example!("digest"), false),
        concat!(
            r#"(("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 45 (NIL "First" "#,
            r#"((NIL NIL "ada" "example.org")) ((NIL NIL "ada" "example.org")) "#,
            r#"((NIL NIL "ada" "example.org")) NIL NIL NIL NIL NIL) "#,
            r#"("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 4 0) 3)"#,
            r#"("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 78 (NIL "Second" "#,
            r#"((NIL NIL "ben" "example.org")) ((NIL NIL "ben" "example.org")) "#,
            r#"((NIL NIL "ben" "example.org")) NIL NIL NIL NIL NIL) "#,
            r#"("text" "html" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 11 0) 4)"#,
            r#"("text" "plain" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 20 0) "digest")"#
        )
    );
}

#[test]
fn groups_routes_comments_and_missing_domains() {
    assert_eq!(
        envelope_of(example!("group-addresses")),
        concat!(
            r#"("Mon, 2 Nov 2026 14:00:00 +0000" "Who is aboard" "#,
            r#"((NIL NIL "ferry-office" "example.org")) "#,
            r#"(("Ferry \\"Office\\"" "@relay.example.org,@hub.example.org" "office" "#,
            r#""example.org")) "#,
            r#"((NIL NIL "ferry-office" "example.org")) "#,
            r#"((NIL NIL "Crew" NIL)(NIL NIL "ada" "example.org")"#,
            r#"("Ben Moss" NIL "ben" "example.org")(NIL NIL "x y" "example.org")"#,
            r#"(NIL NIL NIL NIL)("on (the) boat" NIL "cleo" "[192.0.2.7]")) "#,
            r#"((NIL NIL "undisclosed-recipients" NIL)(NIL NIL NIL NIL)) "#,
            r#"((NIL NIL "postmaster" ".MISSING-HOST-NAME.")) "#,
            r#""<plain.1@example.org>" "<group.1@example.org>")"#
        )
    );
}

#[test]
fn eight_bit_headers_become_literals() {
    let message = example!("eight-bit-headers");
    assert_eq!(
        envelope_of(message),
        concat!(
            r#"("Mon, 2 Nov 2026 13:00:00 +0000" "#,
            r#"{22}\r\nGr\xc3\xbc\xc3\x9fe ohne Kodierung "#,
            r#"(({5}\r\nJ\xc3\xb6rg NIL "joerg" "example.org")) "#,
            r#"(({5}\r\nJ\xc3\xb6rg NIL "joerg" "example.org")) "#,
            r#"(({5}\r\nJ\xc3\xb6rg NIL "joerg" "example.org")) "#,
            r#"(({4}\r\nRen\xe9 NIL "rene" "example.org")) NIL NIL NIL "#,
            r#""<eight-bit.1@example.org>")"#
        )
    );
    assert_eq!(
        body_of(message, false),
        concat!(
            r#"("text" "plain" ("name" {6}\r\n\xc3\xa4.txt "CHARSET" "US-ASCII") "#,
            r#"NIL NIL "7BIT" 43 1)"#
        )
    );
}

#[test]
fn nul_leaves_texts_and_counts_in_bodies() {
    let message = example!("nul-bytes");
    assert!(envelope_of(message).contains(r#" {19}\r\nA NUL  and a bell \x07 (("#));
    assert_eq!(
        body_of(message, false),
        r#"("application" "octet-stream" NIL NIL NIL "7BIT" 20)"#
    );
}

#[test]
fn parameters_go_out_as_written() {
    assert_eq!(
        body_of(example!("parameters-2231"), true),
        concat!(
            r#"(("application" "x-stuff" ("title*0*" "us-ascii'en'This%20is%20even%20more%20" "#,
            r#""title*1*" "%2A%2A%2Afun%2A%2A%2A%20" "title*2" "isn't it!") NIL NIL "7BIT" 3 "#,
            r#"NIL ("attachment" ("filename" "my file.txt" "size" "3")) NIL NIL) "#,
            r#""mixed" ("boundary*0" "piece" "boundary*1" "s") NIL NIL NIL)"#
        )
    );
}

#[test]
fn a_multipart_without_boundary_shows_its_body_as_one_text() {
    assert_eq!(
        body_of(example!("missing-boundary"), false),
        r#"(("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 97 5) "mixed")"#
    );
}

#[test]
fn parts_end_where_an_outer_delimiter_or_the_message_does() {
    assert_eq!(
        body_of(example!("unclosed"), false),
        concat!(
            r#"((("text" "plain" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 0 0)"#,
            r#"("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 70 1) "alternative")"#,
            r#"(("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 0 0) "parallel")"#,
            r#"("text" "plain" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 36 1) "mixed")"#
        )
    );
}

#[test]
fn messages_without_a_body_are_empty_texts() {
    let empty = r#"("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 0 0)"#;
    assert_eq!(body_of(example!("header-only"), false), empty);
    assert_eq!(body_of(example!("no-body"), false), empty);
    assert_eq!(body_of(b"", false), empty);
    assert_eq!(
        envelope_of(b""),
        "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"
    );
}

#[test]
fn delivery_report() {
    assert_eq!(
        body_of(example!("delivery-report"), false),
        concat!(
            r#"(("text" "plain" ("CHARSET" "US-ASCII") NIL "Notification" "7BIT" 36 1)"#,
            r#"("message" "delivery-status" NIL NIL "Delivery report" "7BIT" 114)"#,
            r#"("text" "rfc822-headers" ("CHARSET" "US-ASCII") NIL "Undelivered message headers" "#,
            r#""7BIT" 62 3) "report")"#
        )
    );
}
