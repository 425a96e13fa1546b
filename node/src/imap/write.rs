//! Words of answers: strings, flag lists, names.

use murder_model::{Keyword, SystemFlags};

/// Appends a decimal number.
pub fn number(out: &mut Vec<u8>, number: u64) {
    let mut buffer = itoa::Buffer::new();
    out.extend_from_slice(buffer.format(number).as_bytes());
}

/// Appends a mailbox name or other text: quoted, or a literal if it cannot be quoted.
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    if text.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        out.push(b'"');
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
        out.push(b'"');
    } else {
        literal_header(out, text.len() as u64);
        out.extend_from_slice(text);
    }
}

/// Appends `{n}` and the line's end.
pub fn literal_header(out: &mut Vec<u8>, length: u64) {
    out.push(b'{');
    number(out, length);
    out.extend_from_slice(b"}\r\n");
}

/// Appends `(\Seen $Junk \Recent)`.
pub fn flags(
    out: &mut Vec<u8>,
    system: SystemFlags,
    bits: u128,
    keywords: &[Keyword],
    recent: bool,
) {
    out.push(b'(');
    let start = out.len();
    let mut word = |text: &str| {
        if out.len() > start {
            out.push(b' ');
        }
        out.extend_from_slice(text.as_bytes());
    };
    system.names().for_each(&mut word);
    let set = keywords
        .iter()
        .enumerate()
        .filter(|(bit, _)| bits >> bit & 1 == 1);
    set.for_each(|(_, keyword)| word(keyword.as_str()));
    if recent {
        word("\\Recent");
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use murder_model::{Keyword, SystemFlags};

    use super::{flags, string};

    #[test]
    fn strings_are_quoted_where_they_can_be() {
        let mut out = Vec::new();
        string(&mut out, br#"a "b" \c"#);
        string(&mut out, "\u{e9}".as_bytes());
        assert_eq!(out, b"\"a \\\"b\\\" \\\\c\"{2}\r\n\xc3\xa9");
    }

    #[test]
    fn flags_are_system_flags_then_keywords_then_recent() {
        let keywords = [Keyword::parse("a").unwrap(), Keyword::parse("b").unwrap()];
        let mut out = Vec::new();
        flags(&mut out, SystemFlags::SEEN, 2, &keywords, true);
        flags(&mut out, SystemFlags::NONE, 0, &keywords, false);
        assert_eq!(out, b"(\\Seen b \\Recent)()");
    }
}
