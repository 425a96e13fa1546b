//! The dots of DATA, RFC 5321 sections 4.1.1.4 and 4.5.2, in pieces of any size.
//!
//! Only CRLF is a line end: `\n.\n` and `\r\n.\n` do not end the content, and CR, LF and NUL that
//! stand alone are kept as sent. The one octet that is ever removed is a dot just after CRLF (or
//! at the very start). The CRLF before the final dot belongs to the content.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;

/// One step of [`Unstuffer::decode`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decoded {
    /// Octets of the content, in order.
    Content(Bytes),
    /// CRLF.CRLF was read; what is left in the buffer follows the content.
    End,
    /// The buffer is empty.
    NeedMore,
}

/// Reads DATA's content: takes the dots out, finds the end.
#[derive(Clone, Debug, Default)]
pub struct Unstuffer {
    place: Place,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Place {
    /// At the start or just after CRLF.
    #[default]
    LineStart,
    /// After a dot at a line's start, which was taken out.
    Dot,
    /// After such a dot and a CR, which is owed to the content unless LF follows.
    DotCr,
    /// Anywhere else, the last octet is not CR.
    Line,
    /// The last octet is CR.
    Cr,
}

impl Unstuffer {
    /// Takes octets from the front of `buffer`. Call again until it says [`Decoded::NeedMore`] or
    /// [`Decoded::End`]; after the end use a new one.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Decoded {
        loop {
            let Some(&octet) = buffer.first() else {
                return Decoded::NeedMore;
            };
            match (self.place, octet) {
                (Place::LineStart, b'.') => {
                    buffer.advance(1);
                    self.place = Place::Dot;
                }
                (Place::Dot, b'\r') => {
                    buffer.advance(1);
                    self.place = Place::DotCr;
                }
                (Place::DotCr, b'\n') => {
                    buffer.advance(1);
                    self.place = Place::LineStart;
                    return Decoded::End;
                }
                (Place::DotCr, _) => {
                    self.place = Place::Cr;
                    return Decoded::Content(Bytes::from_static(b"\r"));
                }
                (Place::Cr, b'\n') => {
                    self.place = Place::LineStart;
                    return Decoded::Content(buffer.split_to(1).freeze());
                }
                (Place::LineStart | Place::Dot | Place::Line | Place::Cr, _) => {
                    return Decoded::Content(self.run(buffer));
                }
            }
        }
    }

    /// Content up to the next CRLF before a dot, or all there is.
    fn run(&mut self, buffer: &mut BytesMut) -> Bytes {
        if let Some(found) = memmem::find(buffer, b"\r\n.") {
            self.place = Place::LineStart;
            return buffer.split_to(found + 2).freeze();
        }
        self.place = match buffer[..] {
            [.., b'\r', b'\n'] => Place::LineStart,
            [.., b'\r'] => Place::Cr,
            _ => Place::Line,
        };
        buffer.split().freeze()
    }
}

/// Writes DATA's content: puts the dots in.
///
/// A content that does not end in CRLF cannot be sent by DATA unchanged; BDAT can.
#[derive(Clone, Debug, Default)]
pub struct Stuffer {
    place: Place,
}

impl Stuffer {
    /// Appends `chunk` to `out` with a dot before each dot that starts a line.
    pub fn encode(&mut self, chunk: &[u8], out: &mut BytesMut) {
        let mut rest = chunk;
        while let Some(&octet) = rest.first() {
            match (self.place, octet) {
                (Place::LineStart, b'.') => {
                    out.extend_from_slice(b".");
                    self.place = Place::Line;
                }
                (Place::Cr, b'\n') => {
                    out.extend_from_slice(b"\n");
                    rest = &rest[1..];
                    self.place = Place::LineStart;
                }
                _ => {
                    let taken = memmem::find(rest, b"\r\n.").map_or(rest.len(), |at| at + 2);
                    let (run, after) = rest.split_at(taken);
                    out.extend_from_slice(run);
                    self.place = match run {
                        [.., b'\r', b'\n'] => Place::LineStart,
                        [.., b'\r'] => Place::Cr,
                        _ => Place::Line,
                    };
                    rest = after;
                }
            }
        }
    }

    /// Ends the content: the final dot, after a CRLF if the content did not end in one. Returns
    /// whether that CRLF had to be added, which makes the content another one.
    pub fn finish(self, out: &mut BytesMut) -> bool {
        let added = self.place != Place::LineStart;
        if added {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        added
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes pieces; returns the content, and what followed its end if that was seen.
    fn decoded<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Option<Vec<u8>>) {
        let (mut unstuffer, mut content, mut after) = (Unstuffer::default(), Vec::new(), None);
        let mut buffer = BytesMut::new();
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while after.is_none() {
                match unstuffer.decode(&mut buffer) {
                    Decoded::Content(octets) => content.extend_from_slice(&octets),
                    Decoded::End => after = Some(Vec::new()),
                    Decoded::NeedMore => break,
                }
            }
            if let Some(after) = &mut after {
                after.extend_from_slice(&buffer.split());
            }
        }
        (content, after)
    }

    #[test]
    fn only_crlf_dot_crlf_ends_the_content() {
        for (sent, content, after) in [
            (&b".\r\nQUIT"[..], &b""[..], Some(&b"QUIT"[..])),
            (b"\r\n.\r\n", b"\r\n", Some(b"")),
            (b"a\r\n.\r\nb\r\n.\r\n", b"a\r\n", Some(b"b\r\n.\r\n")),
            (b"a\n.\nb\r\n.\r\n", b"a\n.\nb\r\n", Some(b"")),
            (b"a\n.\r\nb\r\n.\r\n", b"a\n.\r\nb\r\n", Some(b"")),
            (b"a\r.\rb\r\n.\r\n", b"a\r.\rb\r\n", Some(b"")),
            (b"a\r.\r\nb\r\n.\r\n", b"a\r.\r\nb\r\n", Some(b"")),
            (b"a\r\r\n.\r\n", b"a\r\r\n", Some(b"")),
            (b"a\0b\r\n.\r\n", b"a\0b\r\n", Some(b"")),
            (b"a\r\n.\r", b"a\r\n", None),
        ] {
            let expected = (content.to_vec(), after.map(<[u8]>::to_vec));
            assert_eq!(decoded([sent]), expected, "{:?}", sent.escape_ascii());
            assert_eq!(
                decoded(sent.chunks(1)),
                expected,
                "{:?}",
                sent.escape_ascii()
            );
        }
    }

    #[test]
    fn a_dot_goes_only_just_after_crlf_or_at_the_start() {
        for (sent, content) in [
            (&b"..a\r\n.\r\n"[..], &b".a\r\n"[..]),
            (b"a\r\n..\r\n.\r\n", b"a\r\n.\r\n"),
            (b"a\r\n..\n.\r\n\r\n.\r\n", b"a\r\n.\n.\r\n\r\n"),
            (b"a\r\n.b\r\n.\r\n", b"a\r\nb\r\n"),
            (b"a\r\n.\nb\r\n.\r\n", b"a\r\n\nb\r\n"),
            (b"a\r\n.\r\rb\r\n.\r\n", b"a\r\n\r\rb\r\n"),
            (b"a\r\n.\r.\r\n.\r\n", b"a\r\n\r.\r\n"),
            (b"a\n..\r\n.\r\n", b"a\n..\r\n"),
        ] {
            let expected = (content.to_vec(), Some(Vec::new()));
            assert_eq!(decoded([sent]), expected, "{:?}", sent.escape_ascii());
            assert_eq!(
                decoded(sent.chunks(1)),
                expected,
                "{:?}",
                sent.escape_ascii()
            );
        }
    }

    #[test]
    fn stuffing_adds_a_line_end_only_where_one_is_missing() {
        for (content, sent, added) in [
            (&b""[..], &b".\r\n"[..], false),
            (b"a\r\n", b"a\r\n.\r\n", false),
            (b"a", b"a\r\n.\r\n", true),
            (b"a\r", b"a\r\r\n.\r\n", true),
            (b"a\n", b"a\n\r\n.\r\n", true),
            (b".", b"..\r\n.\r\n", true),
            (b".\r\n..\r\n", b"..\r\n...\r\n.\r\n", false),
            (b"a\n.\n", b"a\n.\n\r\n.\r\n", true),
        ] {
            for size in [1, content.len().max(1)] {
                let (mut stuffer, mut out) = (Stuffer::default(), BytesMut::new());
                content
                    .chunks(size)
                    .for_each(|chunk| stuffer.encode(chunk, &mut out));
                assert_eq!(stuffer.finish(&mut out), added);
                assert_eq!(out, sent, "{:?}", content.escape_ascii());
            }
        }
    }

    fn awkward() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(&b"\r\n.\0a\r\n."[..]), 0..80)
    }

    proptest! {
        #[test]
        fn unstuffing_undoes_stuffing(content in awkward(), sizes in prop::collection::vec(1usize..9, 1..20)) {
            let (mut stuffer, mut out) = (Stuffer::default(), BytesMut::new());
            let mut rest = &content[..];
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, after) = rest.split_at((*size).min(rest.len()));
                stuffer.encode(chunk, &mut out);
                rest = after;
            }
            let added = stuffer.finish(&mut out);
            let (mut expected, sent) = (content.clone(), out.to_vec());
            if added { expected.extend_from_slice(b"\r\n"); }
            for size in sizes.iter().copied().chain([sent.len()]) {
                prop_assert_eq!(decoded(sent.chunks(size)), (expected.clone(), Some(Vec::new())));
            }
        }

        #[test]
        fn pieces_of_any_size_decode_alike(sent in awkward()) {
            let whole = decoded([&sent[..]]);
            for at in 0..sent.len() {
                prop_assert_eq!(decoded([&sent[..at], &sent[at..]]), whole.clone());
            }
        }
    }
}
