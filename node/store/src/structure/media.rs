//! MIME fields: Content-Type (RFC 2045 section 5), Content-Disposition (RFC 2183), their
//! parameters (RFC 2231) and Content-Language (RFC 3282).

use std::borrow::Cow;

use super::lexer::Lexer;
use super::{Disposition, Media, PARAMETERS_MAX, Parameters};

/// A content type; `None` if it is none, so that the default of RFC 2045 section 5.2 applies. A
/// missing subtype is what it can only be.
pub(super) fn media(value: &[u8]) -> Option<Media> {
    let mut lexer = Lexer::new(value);
    lexer.skip_space();
    let kind = lexer.token().to_vec();
    lexer.skip_space();
    let mut subtype = Vec::new();
    if lexer.take(b'/') {
        lexer.skip_space();
        subtype = lexer.token().to_vec();
    }
    if subtype.is_empty() {
        subtype = match &kind.to_ascii_lowercase()[..] {
            b"text" => b"plain".to_vec(),
            b"multipart" => b"mixed".to_vec(),
            _ => return None,
        };
    }
    (!kind.is_empty()).then(|| Media {
        kind,
        subtype,
        parameters: parameters(&mut lexer),
    })
}

/// A disposition, if the field names one.
pub(super) fn disposition(value: &[u8]) -> Option<Disposition> {
    let mut lexer = Lexer::new(value);
    let kind = word(&mut lexer);
    (!kind.is_empty()).then(|| Disposition {
        kind,
        parameters: parameters(&mut lexer),
    })
}

/// The first token of a field, as in Content-Transfer-Encoding.
pub(super) fn mechanism(value: &[u8]) -> Option<Vec<u8>> {
    Some(word(&mut Lexer::new(value))).filter(|word| !word.is_empty())
}

/// The tags of a Content-Language field.
pub(super) fn languages(value: &[u8]) -> Vec<Vec<u8>> {
    let mut lexer = Lexer::new(value);
    let mut tags = Vec::new();
    while lexer.peek().is_some() && tags.len() < PARAMETERS_MAX {
        tags.extend(Some(word(&mut lexer)).filter(|tag| !tag.is_empty()));
        lexer.skip_until(b',');
        lexer.take(b',');
    }
    tags
}

fn word(lexer: &mut Lexer<'_>) -> Vec<u8> {
    lexer.skip_space();
    match lexer.peek() {
        Some(b'"') => lexer.quoted(),
        _ => lexer.token().to_vec(),
    }
}

fn parameters(lexer: &mut Lexer<'_>) -> Parameters {
    let mut found = Parameters::new();
    while found.len() < PARAMETERS_MAX {
        lexer.skip_until(b';');
        if !lexer.take(b';') {
            break;
        }
        lexer.skip_space();
        let name = lexer.token().to_vec();
        lexer.skip_space();
        if !name.is_empty() && lexer.take(b'=') {
            lexer.skip_space();
            let value = match lexer.peek() {
                Some(b'"') => lexer.quoted(),
                _ => bare_value(lexer),
            };
            found.push((name, value));
        }
    }
    found
}

/// A value without quotes: many senders leave them out where RFC 2045 asks for them, so that it
/// runs up to the next semicolon, without comments.
fn bare_value(lexer: &mut Lexer<'_>) -> Vec<u8> {
    let mut value = Vec::new();
    while let Some(byte) = lexer.peek() {
        match byte {
            b';' => break,
            b'(' => drop(lexer.comment()),
            _ => value.extend(lexer.next()),
        }
    }
    value.truncate(value.trim_ascii_end().len());
    value
}

/// The value of a parameter, with RFC 2231 continuations joined, its charset and language dropped
/// and percent encoding undone.
pub fn parameter<'a>(parameters: &'a Parameters, name: &str) -> Option<Cow<'a, [u8]>> {
    let find = |wanted: &str| {
        let found = parameters
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
        found.map(|(_, value)| &value[..])
    };
    if let Some(value) = find(name) {
        return Some(Cow::Borrowed(value));
    }
    if let Some(value) = find(&format!("{name}*")) {
        return Some(Cow::Owned(unescape(without_charset(value))));
    }
    let mut joined = Vec::new();
    for number in 0..parameters.len() {
        if let Some(value) = find(&format!("{name}*{number}")) {
            joined.extend_from_slice(value);
        } else if let Some(value) = find(&format!("{name}*{number}*")) {
            let value = if number == 0 {
                without_charset(value)
            } else {
                value
            };
            joined.extend(unescape(value));
        } else if number == 0 {
            return None;
        } else {
            break;
        }
    }
    (!parameters.is_empty()).then_some(Cow::Owned(joined))
}

fn without_charset(value: &[u8]) -> &[u8] {
    let mut pieces = value.splitn(3, |byte| *byte == b'\'');
    pieces.nth(2).unwrap_or(value)
}

fn unescape(value: &[u8]) -> Vec<u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut plain = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        match (byte, hex(value.get(at + 1)), hex(value.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high << 4 | low) as u8);
                at += 3;
            }
            _ => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    plain
}
