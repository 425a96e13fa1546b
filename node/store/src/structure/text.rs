//! Decoded text: the one place that calls mail-parser (RFC 2047 words, transfer encodings, UTF-7)
//! and encoding_rs (charsets).
//!
//! Nothing is refused: an unknown charset is read as UTF-8 if it is that, else as windows-1252; a
//! broken transfer encoding gives what can be read of it.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::parsers::MessageStream;
use memchr::memmem;

use super::{Part, parameter, unfold};

/// The longest encoded word that is decoded; RFC 2047 section 2 allows 75 bytes.
const WORD_BYTES_MAX: usize = 1024;

/// A field's value as text: unfolded, encoded words decoded, white space between two of them gone.
pub fn header_text(value: &[u8]) -> String {
    let value = unfold(value);
    let mut text = String::with_capacity(value.len());
    let mut rest = &value[..];
    // Plain text since the last encoded word, which white space alone does not part from the next.
    let mut plain = 0;
    let mut after_word = false;
    while let Some(found) = memmem::find(&rest[plain..], b"=?") {
        let start = plain + found;
        match encoded_word(&rest[start..]) {
            Some((word, length)) => {
                let between = &rest[..start];
                if !(after_word && between.trim_ascii().is_empty()) {
                    text.push_str(&guess(between));
                }
                text.push_str(&word);
                rest = &rest[start + length..];
                plain = 0;
                after_word = true;
            }
            None => plain = start + 2,
        }
    }
    text.push_str(&guess(rest));
    text
}

/// The encoded word at the beginning of `bytes`, and its length.
fn encoded_word(bytes: &[u8]) -> Option<(String, usize)> {
    let window = &bytes[..bytes.len().min(WORD_BYTES_MAX)];
    let charset_end = 2 + memchr::memchr(b'?', window.get(2..)?)?;
    let data = charset_end + 3;
    if window.get(data - 1) != Some(&b'?') {
        return None;
    }
    let length = data + memmem::find(&window[data..], b"?=")? + 2;
    let word = MessageStream::new(&bytes[1..length]).decode_rfc2047()?;
    Some((word, length))
}

/// The text of a part whose `body` was read.
pub fn body_text(part: &Part, body: &[u8]) -> String {
    let encoding = part.encoding.as_deref().unwrap_or_default();
    let bytes = if encoding.eq_ignore_ascii_case(b"base64") {
        let kept = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
        let clean: Vec<u8> = body.iter().copied().filter(kept).collect();
        base64_decode(&clean).map_or(Cow::Borrowed(body), Cow::Owned)
    } else if encoding.eq_ignore_ascii_case(b"quoted-printable") {
        quoted_printable_decode(body).map_or(Cow::Borrowed(body), Cow::Owned)
    } else {
        Cow::Borrowed(body)
    };
    let charset = parameter(&part.media.parameters, "charset").unwrap_or_default();
    charset_text(&charset, &bytes).into_owned()
}

/// Bytes of a named charset as text; `None` if the name means nothing here.
pub(super) fn known_charset_text<'a>(charset: &[u8], bytes: &'a [u8]) -> Option<Cow<'a, str>> {
    let charset = charset.trim_ascii();
    if charset.eq_ignore_ascii_case(b"us-ascii") {
        // Many who say so send something else.
        return Some(guess(bytes));
    }
    if let Some(encoding) = Encoding::for_label(charset) {
        return Some(encoding.decode_without_bom_handling(bytes).0);
    }
    charset_decoder(charset).map(|decoder| Cow::Owned(decoder(bytes)))
}

fn charset_text<'a>(charset: &[u8], bytes: &'a [u8]) -> Cow<'a, str> {
    known_charset_text(charset, bytes).unwrap_or_else(|| guess(bytes))
}

fn guess(bytes: &[u8]) -> Cow<'_, str> {
    UTF_8
        .decode_without_bom_handling_and_without_replacement(bytes)
        .unwrap_or_else(|| WINDOWS_1252.decode_without_bom_handling(bytes).0)
}
