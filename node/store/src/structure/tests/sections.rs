//! BODY[…]: every section of the example messages, by its bytes.

use super::{crlf, example};
use crate::structure::{Section, SectionPath, SectionPlan, filter_header, locate, scan};

/// The bytes of a section, as a server would send them.
fn section(message: &[u8], part: &[u32], section: Section) -> Option<String> {
    let path = SectionPath {
        part: part.to_vec(),
        section,
    };
    let slice = |range: std::ops::Range<u64>| &message[range.start as usize..range.end as usize];
    let bytes = match locate(&scan(message), &path)? {
        SectionPlan::Range(range) => slice(range).to_vec(),
        SectionPlan::Filter { header, names, not } => {
            let mut out = Vec::new();
            filter_header(slice(header), &names, not, &mut out);
            out
        }
    };
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn named(names: &[&str], not: bool) -> Section {
    let names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
    Section::HeaderFields { names, not }
}

#[test]
fn parts_are_numbered_through_embedded_messages() {
    let message = example!("embedded-message");
    let full = |part: &[u32]| section(message, part, Section::Full);
    assert_eq!(full(&[]).unwrap().as_bytes(), message);
    assert_eq!(full(&[1]).unwrap(), "This is part 1.");
    assert!(
        full(&[2])
            .unwrap()
            .starts_with("Date: Sun, 1 Nov 2026 08:30:00 +0000\r\n")
    );
    assert!(full(&[2]).unwrap().ends_with("\r\n\r\nThis is part 2.1."));
    assert_eq!(full(&[2, 1]).unwrap(), "This is part 2.1.");
    assert_eq!(full(&[3, 1]).unwrap(), "This is part 3.1.");
    assert!(
        full(&[3, 2])
            .unwrap()
            .starts_with("Subject: part 3.2 is a message of one image\r\n")
    );
    assert_eq!(full(&[3, 2, 1]).unwrap(), "iVBORw0KGgo=");
    for absent in [
        &[0][..],
        &[4],
        &[1, 1],
        &[2, 2],
        &[2, 1, 1],
        &[3, 3],
        &[3, 2, 2],
        &[3, 2, 1, 1],
    ] {
        assert_eq!(full(absent), None, "{absent:?}");
    }
}

#[test]
fn headers_and_texts_are_those_of_messages() {
    let message = example!("embedded-message");
    assert_eq!(
        section(message, &[3], Section::Mime).unwrap(),
        "Content-Type: message/rfc822\r\n\r\n"
    );
    assert_eq!(section(message, &[3, 1], Section::Mime).unwrap(), "\r\n");
    assert_eq!(
        section(message, &[3, 2], Section::Header).unwrap(),
        "Subject: part 3.2 is a message of one image\r\nContent-Type: image/png\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n"
    );
    assert_eq!(
        section(message, &[3, 2], Section::Text).unwrap(),
        "iVBORw0KGgo="
    );
    assert_eq!(
        section(message, &[2], Section::Text).unwrap(),
        "This is part 2.1."
    );
    assert!(
        section(message, &[], Section::Text)
            .unwrap()
            .starts_with("--a\r\n")
    );
    assert!(
        section(message, &[], Section::Header)
            .unwrap()
            .ends_with("boundary=\"a\"\r\n\r\n")
    );
    // MIME takes a part, HEADER and TEXT a message.
    assert_eq!(section(message, &[], Section::Mime), None);
    assert_eq!(section(message, &[1], Section::Header), None);
    assert_eq!(section(message, &[1], Section::Text), None);
    assert_eq!(section(message, &[3, 1], named(&["Subject"], false)), None);
}

#[test]
fn header_fields_are_chosen_with_their_folds() {
    let message = crlf(
        "Received: by a;\n\tMon\nSubject: x\nreceived : by b\nX-Odd\nTo: a@b,\n c@d\n\nReceived: no\n",
    );
    let chosen = |names: &[&str], not| section(&message, &[], named(names, not)).unwrap();
    assert_eq!(
        chosen(&["RECEIVED"], false),
        "Received: by a;\r\n\tMon\r\nreceived : by b\r\n\r\n"
    );
    assert_eq!(
        chosen(&["Received", "subject"], true),
        "X-Odd\r\nTo: a@b,\r\n c@d\r\n\r\n"
    );
    assert_eq!(chosen(&["Absent"], false), "\r\n");
    // No empty line in the message, none in the answer.
    let message = example!("header-only");
    assert_eq!(
        section(message, &[], named(&["Absent"], false)).unwrap(),
        ""
    );
}

#[test]
fn a_message_that_is_no_multipart_has_part_one() {
    let message = example!("plain");
    let text = section(message, &[], Section::Text).unwrap();
    assert_eq!(section(message, &[1], Section::Full).unwrap(), text);
    assert_eq!(
        section(message, &[1], Section::Mime).unwrap(),
        section(message, &[], Section::Header).unwrap()
    );
    assert_eq!(section(message, &[1, 1], Section::Full), None);
    assert_eq!(section(message, &[2], Section::Full), None);
}

#[test]
fn a_message_that_is_a_message_has_part_one_with_parts_of_its_own() {
    let message = crlf("Content-Type: message/rfc822\n\nSubject: in\n\ntext\n");
    let full = |part: &[u32]| section(&message, part, Section::Full);
    assert_eq!(full(&[1]).unwrap(), "Subject: in\r\n\r\ntext\r\n");
    assert_eq!(full(&[1, 1]).unwrap(), "text\r\n");
    assert_eq!(full(&[1, 1, 1]), None);
    assert_eq!(
        section(&message, &[1], Section::Header).unwrap(),
        "Subject: in\r\n\r\n"
    );
    assert_eq!(section(&message, &[1], Section::Text).unwrap(), "text\r\n");
}

#[test]
fn bodies_end_before_the_line_break_of_the_delimiter() {
    let message = example!("bare-line-feeds");
    let full = |part: &[u32]| section(message, part, Section::Full).unwrap();
    assert_eq!(full(&[1]), "one\ntwo\rstill two");
    assert_eq!(full(&[2]), "three\r\r\n");
    let nested = example!("nested-multipart");
    let full = |part: &[u32]| section(nested, part, Section::Full).unwrap();
    assert_eq!(full(&[1, 1]), "Sch=F6ne Zeichnung,\r\nsee the page.\r\n");
    assert_eq!(
        full(&[1, 2, 1]),
        "<p>See <img src=\"cid:dot@example.org\">.</p>"
    );
    assert_eq!(full(&[2]), "AAECAwQFBgcICQ==\r\n");
}

#[test]
fn a_part_that_is_a_header_only_keeps_its_line_end() {
    let message = crlf("Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-ID: a\n--x--\n");
    assert_eq!(
        section(&message, &[1], Section::Mime).unwrap(),
        "Content-ID: a\r\n"
    );
    assert_eq!(section(&message, &[1], Section::Full).unwrap(), "");
}
