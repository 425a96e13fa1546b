//! Properties: nothing panics, ranges lie in the message, the kept form is exact, and a tree that
//! was written as a message is read as the same tree with exact ranges.

use std::convert::Infallible;
use std::ops::Range;

use proptest::prelude::*;

use crate::structure::search::{Needle, text_contains};
use crate::structure::*;

/// A tree of parts to be written as MIME.
#[derive(Clone, Debug)]
enum Tree {
    Leaf(Vec<u8>),
    Multipart(Vec<Self>),
    Message(Box<Self>),
}

/// Where a part was written.
#[derive(Debug, Eq, PartialEq)]
struct Written {
    header: Range<u64>,
    body: Range<u64>,
    lines: u64,
    children: Vec<Self>,
}

fn trees() -> impl Strategy<Value = Tree> {
    // No delimiter begins with these bytes, so that a leaf never holds one.
    let byte = prop_oneof![
        Just(b'\r'),
        Just(b'\n'),
        Just(b'-'),
        Just(0),
        Just(b'a'),
        Just(0xff)
    ];
    let leaf = prop::collection::vec(byte, 0..40).prop_map(Tree::Leaf);
    leaf.prop_recursive(8, 60, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..5).prop_map(Tree::Multipart),
            inner.prop_map(|tree| Tree::Message(Box::new(tree))),
        ]
    })
}

/// Writes the header and the body of an entity.
fn write(tree: &Tree, number: &mut u32, out: &mut Vec<u8>) -> Written {
    let header_start = out.len() as u64;
    let mut children = Vec::new();
    let body_start;
    match tree {
        Tree::Leaf(bytes) => {
            out.extend_from_slice(b"Content-Type: application/x\r\n\r\n");
            body_start = out.len();
            out.extend_from_slice(bytes);
        }
        Tree::Multipart(parts) => {
            *number += 1;
            // One boundary is often the beginning of another.
            let boundary = format!("bound{number}");
            let header = format!("Content-Type: multipart/x; boundary=\"{boundary}\"\r\n\r\n");
            out.extend_from_slice(header.as_bytes());
            body_start = out.len();
            out.extend_from_slice(b"preamble");
            for part in parts {
                out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
                children.push(write(part, number, out));
            }
            out.extend_from_slice(format!("\r\n--{boundary}--\r\nepilogue").as_bytes());
        }
        Tree::Message(inner) => {
            out.extend_from_slice(b"Content-Type: message/rfc822\r\n\r\n");
            body_start = out.len();
            children.push(write(inner, number, out));
        }
    }
    let lines = out[body_start..]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count() as u64;
    let (start, end) = (body_start as u64, out.len() as u64);
    Written {
        header: header_start..start,
        body: start..end,
        lines,
        children,
    }
}

fn read(structure: &Structure, index: u32) -> Written {
    let part = &structure.parts[index as usize];
    let children = match &part.content {
        Content::Leaf => vec![],
        Content::Multipart(children) => children
            .iter()
            .map(|child| read(structure, *child))
            .collect(),
        Content::Message { root, .. } => vec![read(structure, *root)],
    };
    Written {
        header: part.header.clone(),
        body: part.body.clone(),
        lines: part.lines,
        children,
    }
}

/// Bytes that look like mail.
fn mail_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(&b"\r\n"[..]),
        Just(&b"\n"[..]),
        Just(&b"--a"[..]),
        Just(&b"--a--\r\n"[..]),
        Just(&b"--b\r\n"[..]),
        Just(&b"Content-Type: multipart/mixed; boundary=a\r\n\r\n"[..]),
        Just(&b"Content-Type: multipart/digest; boundary*0=b\r\n\r\n"[..]),
        Just(&b"Content-Type: message/rfc822\r\n\r\n"[..]),
        Just(&b"Content-Type: text/plain; charset*=utf-8''iso-2022-jp\r\n"[..]),
        Just(&b"Content-Transfer-Encoding: quoted-printable\r\n"[..]),
        Just(&b"Content-Transfer-Encoding: base64\r\n"[..]),
        Just(&b"Content-Disposition: inline; filename=\"a\\\""[..]),
        Just(&b"Content-Language: a, (b) c"[..]),
        Just(&b"Date: 1 Jan 70 -"[..]),
        Just(&b"From: a <@b:c@d>, e:f;(g\\"[..]),
        Just(&b"To: \"a\"@[b"[..]),
        Just(&b"Subject: =?utf-8?b?w6Q=?= =?x?q?=4"[..]),
        Just(&b"=?iso-8859-1?q?=E4 =?="[..]),
        Just(&b"\x00\xff= =3D=\r\n ="[..]),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// What every message must survive.
fn examine(message: &[u8]) {
    let structure = scan(message);
    let size = message.len() as u64;
    assert_eq!(structure.bytes, size);
    assert_eq!(structure.root().header.start, 0);
    assert_eq!(structure.root().body.end, size);
    for part in &structure.parts {
        assert!(
            part.header.end <= part.body.start && part.body.end <= size,
            "{part:?}"
        );
        let body = &message[part.body.start as usize..part.body.end as usize];
        let lines = body.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(part.lines, lines, "{part:?}");
    }
    assert_eq!(decode(&encode(&structure)).unwrap(), structure);
    let mut out = Vec::new();
    write_envelope(&structure.envelope, &mut out);
    write_body(&structure, true, &mut out);
    let read =
        |range: Range<u64>| Ok::<_, Infallible>(&message[range.start as usize..range.end as usize]);
    text_contains(&structure, &Needle::new("ä"), read).unwrap();
    let names = [&b"subject"[..]];
    let (mut with, mut without) = (Vec::new(), Vec::new());
    filter_header(message, &names, false, &mut with);
    filter_header(message, &names, true, &mut without);
    let rest = with.len() + without.len() - message.len();
    assert!(
        with.ends_with(&without[without.len() - rest..]),
        "both end with the rest"
    );
}

proptest! {
    #[test]
    fn any_bytes_have_a_structure(message in prop::collection::vec(any::<u8>(), 0..2000)) {
        examine(&message);
    }

    #[test]
    fn broken_mail_has_a_structure(message in mail_like()) {
        examine(&message);
    }

    #[test]
    fn trees_are_read_as_written(tree in trees()) {
        let mut message = Vec::new();
        let written = write(&tree, &mut 0, &mut message);
        let structure = scan(&message);
        prop_assert_eq!(read(&structure, 0), written);
        examine(&message);
    }

    #[test]
    fn damaged_structures_are_refused_or_harmless(
        message in mail_like(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encode(&scan(&message));
        for (place, value) in flips {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Ok(structure) = decode(&bytes) {
            let mut out = Vec::new();
            write_body(&structure, true, &mut out);
            let part = vec![1, 1, 1];
            locate(&structure, &SectionPath { part, section: Section::Full });
        }
    }
}
