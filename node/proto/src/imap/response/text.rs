//! Strings, numbers, sets and flags (RFC 3501 section 9).

use std::fmt::{self, Write as _};

use bytes::BufMut;
use murder_model::{InternalDate, Keyword, SystemFlags, UidSet};

use crate::imap::parse::is_astring_char;

/// Longest string that is written in quotes rather than as a literal.
pub const QUOTED_BYTES_MAX: usize = 1000;

/// A number in decimal digits.
pub fn number(out: &mut impl BufMut, number: impl itoa::Integer) {
    out.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The header of a literal, after which its `size` bytes follow.
pub fn literal_header(out: &mut impl BufMut, size: u64) {
    out.put_u8(b'{');
    number(out, size);
    out.put_slice(b"}\r\n");
}

/// A whole literal.
pub fn literal(out: &mut impl BufMut, content: &[u8]) {
    literal_header(out, content.len() as u64);
    out.put_slice(content);
}

/// A `string`: in quotes where it may be, else as a literal.
pub fn string(out: &mut impl BufMut, content: &[u8]) {
    if is_quotable(content) {
        quoted(out, content);
    } else {
        literal(out, content);
    }
}

/// A `string`, or `NIL`.
pub fn nstring(out: &mut impl BufMut, content: Option<&[u8]>) {
    match content {
        Some(content) => string(out, content),
        None => out.put_slice(b"NIL"),
    }
}

/// An `astring`: as it is where it may be, else as a string. `NIL` is always quoted.
pub fn astring(out: &mut impl BufMut, content: &[u8]) {
    if is_bare(content) {
        out.put_slice(content);
    } else {
        string(out, content);
    }
}

/// Content in quotes. It must be quotable: no CR, LF or NUL.
pub(crate) fn quoted(out: &mut impl BufMut, content: &[u8]) {
    out.put_u8(b'"');
    let mut rest = content;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        out.put_slice(&rest[..at]);
        out.put_slice(&[b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
    out.put_u8(b'"');
}

/// Whether content may stand in quotes: 7-bit, no CR, LF or NUL, not too long.
pub(crate) fn is_quotable(content: &[u8]) -> bool {
    content.len() <= QUOTED_BYTES_MAX
        && content
            .iter()
            .all(|byte| !matches!(byte, 0 | b'\r' | b'\n' | 0x80..))
}

/// Whether content may stand as an `astring` without quotes.
pub(crate) fn is_bare(content: &[u8]) -> bool {
    !content.is_empty()
        && content.len() <= QUOTED_BYTES_MAX
        && content.iter().all(|byte| is_astring_char(*byte))
        && !content.eq_ignore_ascii_case(b"NIL")
}

/// Flags in parentheses: `\Recent` if `recent`, the system flags, the keywords.
pub fn flag_list<'a>(
    out: &mut impl BufMut,
    recent: bool,
    system: SystemFlags,
    keywords: impl IntoIterator<Item = &'a Keyword>,
) {
    let recent: Option<&'a str> = recent.then_some("\\Recent");
    let system = system.names().map(|name| -> &'a str { name });
    let keywords = keywords.into_iter().map(Keyword::as_str);
    parenthesized(out, recent.into_iter().chain(system).chain(keywords));
}

/// Words in parentheses, a space between them.
pub fn parenthesized<'a>(out: &mut impl BufMut, words: impl IntoIterator<Item = &'a str>) {
    out.put_u8(b'(');
    for (index, word) in words.into_iter().enumerate() {
        if index > 0 {
            out.put_u8(b' ');
        }
        out.put_slice(word.as_bytes());
    }
    out.put_u8(b')');
}

/// A set of numbers, `1:3,5`.
pub fn uid_set(out: &mut impl BufMut, set: &UidSet) {
    for (index, (first, last)) in set.ranges().iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        number(out, *first);
        if last > first {
            out.put_u8(b':');
            number(out, *last);
        }
    }
}

/// A date and time in quotes.
pub fn date_time(out: &mut impl BufMut, date: InternalDate) {
    out.put_u8(b'"');
    write!(Formatted(out), "{date}").expect("a buffer that grows takes all");
    out.put_u8(b'"');
}

/// Text for people, to the end of the line: control characters become `?`, and it is never empty.
pub(crate) fn human_text(out: &mut impl BufMut, text: &str) {
    if text.is_empty() {
        out.put_u8(b'-');
    }
    for byte in text.bytes() {
        out.put_u8(if byte.is_ascii_control() { b'?' } else { byte });
    }
}

struct Formatted<'a, B>(&'a mut B);

impl<B: BufMut> fmt::Write for Formatted<'_, B> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put_slice(text.as_bytes());
        Ok(())
    }
}
