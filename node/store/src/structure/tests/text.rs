//! Decoded text and the SEARCH keys over it.

use std::convert::Infallible;
use std::ops::Range;

use super::{crlf, example};
use crate::structure::search::*;
use crate::structure::{body_text, header_text, scan};

fn body_has(message: &[u8], needle: &str) -> bool {
    let read =
        |range: Range<u64>| Ok::<_, Infallible>(&message[range.start as usize..range.end as usize]);
    body_contains(&scan(message), &Needle::new(needle), read).unwrap()
}

fn text_has(message: &[u8], needle: &str) -> bool {
    let read =
        |range: Range<u64>| Ok::<_, Infallible>(&message[range.start as usize..range.end as usize]);
    text_contains(&scan(message), &Needle::new(needle), read).unwrap()
}

#[test]
fn encoded_words_are_decoded() {
    for (value, text) in [
        (" plain text\r\n", "plain text"),
        ("a\r\n\tb\r\n  c", "a b  c"),
        ("=?utf-8?q?a=C3=A4?=", "aä"),
        ("x =?iso-8859-1?Q?J=F6rg_M?= y", "x Jörg M y"),
        ("=?utf-8?b?w6Q=?=\r\n =?utf-8?b?w7Y=?=", "äö"),
        ("=?utf-8?b?w6Q=?= and =?utf-8?b?w7Y=?=", "ä and ö"),
        ("=?iso-2022-jp?b?GyRCJCQkbSRPGyhC?=", "いろは"),
        ("=?utf-8?x?a?= =? =?= ?=", "=?utf-8?x?a?= =? =?= ?="),
        ("=?utf-8?q?never ends", "=?utf-8?q?never ends"),
        ("Grüße", "Grüße"),
        ("", ""),
    ] {
        assert_eq!(header_text(value.as_bytes()), text, "{value}");
    }
    assert_eq!(header_text(b"Ren\xe9"), "René");
}

#[test]
fn bodies_are_decoded_by_encoding_and_charset() {
    let of = |header: &str, body: &[u8]| {
        let structure = scan(format!("{header}\r\n\r\n").as_bytes());
        body_text(structure.root(), body)
    };
    let qp = "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: \
              quoted-printable";
    assert_eq!(of(qp, b"Sch=F6n=\r\ne Zeit"), "Schöne Zeit");
    assert_eq!(of(qp, b"broken =XY"), "broken =XY");
    let base64 = "Content-Transfer-Encoding: BASE64";
    assert_eq!(of(base64, b"w6Qg!\r\nw7Y="), "ä ö");
    assert_eq!(
        of("Content-Type: text/plain; charset=utf-7", b"a+AOQ-b"),
        "aäb"
    );
    assert_eq!(
        of("Content-Type: text/plain; charset=no-such", b"\xe9"),
        "é"
    );
    assert_eq!(
        of("Content-Type: text/plain; charset=us-ascii", "ü".as_bytes()),
        "ü"
    );
}

#[test]
fn subjects_and_addresses_are_found_decoded() {
    let chart = scan(example!("base64-attachment")).envelope;
    let found = |key, text: &str| envelope_contains(&chart, key, &Needle::new(text));
    assert!(found(EnvelopeKey::Subject, "CHART – ÜBER"));
    assert!(!found(EnvelopeKey::Subject, "utf-8"));
    assert!(found(EnvelopeKey::From, "ferry <ADA@example"));
    assert!(found(EnvelopeKey::To, "Ben"));
    assert!(!found(EnvelopeKey::Cc, "Ben"));
    let group = scan(example!("group-addresses")).envelope;
    assert!(envelope_contains(
        &group,
        EnvelopeKey::To,
        &Needle::new("crew")
    ));
    assert!(envelope_contains(
        &group,
        EnvelopeKey::Bcc,
        &Needle::new("postmaster")
    ));
}

#[test]
fn header_key_finds_values_and_with_an_empty_string_presence() {
    let header = example!("delivery-report");
    let found = |name: &[u8], text: &str| header_contains(header, name, &Needle::new(text));
    assert!(found(b"auto-submitted", "REPLIED"));
    assert!(found(b"Return-Path", ""));
    assert!(!found(b"Return-Path", "ada"));
    assert!(!found(b"X-Absent", ""));
    // Fields of the body are not the header's.
    assert!(!found(b"Action", ""));
}

#[test]
fn body_key_searches_decoded_texts_and_not_attachments() {
    let message = example!("nested-multipart");
    assert!(body_has(message, "schöne zeichnung"));
    assert!(body_has(message, "dot.GIF"));
    assert!(!body_has(message, "AAECAwQF"));
    assert!(!body_has(message, "Subject: Drawings"));
    assert!(text_has(message, "Subject: Drawings"));
    assert!(body_has(example!("embedded-message"), "part 3 has PARTS"));
    assert!(body_has(example!("japanese"), "にほへと"));
    assert!(body_has(message, ""));
}

#[test]
fn case_is_folded_beyond_ascii() {
    let message = crlf("Content-Type: text/plain; charset=utf-8\n\nΟΔΥΣΣΕΥΣ ÄÖ Страница\n");
    assert!(body_has(&message, "οδυσσευς"));
    assert!(body_has(&message, "äö"));
    assert!(body_has(&message, "СТРАНИЦА"));
    assert!(!body_has(&message, "ao"));
}

#[test]
fn needles_come_in_the_charset_of_the_command() {
    let needle = Needle::with_charset(b"ISO-8859-1", b"\xfcber").unwrap();
    assert!(needle.is_in("ÜBERALL"));
    assert!(Needle::with_charset(b"US-ASCII", b"x").is_some());
    assert!(Needle::with_charset(b"x-unheard-of", b"x").is_none());
}
