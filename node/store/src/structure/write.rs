//! ENVELOPE, BODY and BODYSTRUCTURE as RFC 3501 section 9 spells them.
//!
//! Texts go out as quoted strings, and as literals if they hold 8-bit or control characters. NUL
//! is left out of them: RFC 3501's CHAR8 has none.

use std::io::Write;

use super::{Address, Content, Envelope, Parameters, Part, Structure};

/// What c-client, the RFC author's own implementation, writes for an address without a domain:
/// NIL would begin a group.
const MISSING_HOST: &[u8] = b".MISSING-HOST-NAME.";

/// Appends an envelope. Sender and Reply-To default to From.
pub fn write_envelope(envelope: &Envelope, out: &mut Vec<u8>) {
    let or_from = |list: &'_ [Address]| list.is_empty();
    let sender = if or_from(&envelope.sender) {
        &envelope.from
    } else {
        &envelope.sender
    };
    let reply_to = if or_from(&envelope.reply_to) {
        &envelope.from
    } else {
        &envelope.reply_to
    };
    out.push(b'(');
    write_nstring(envelope.date.as_deref(), out);
    out.push(b' ');
    write_nstring(envelope.subject.as_deref(), out);
    for list in [
        &envelope.from,
        sender,
        reply_to,
        &envelope.to,
        &envelope.cc,
        &envelope.bcc,
    ] {
        out.push(b' ');
        write_addresses(list, out);
    }
    out.push(b' ');
    write_nstring(envelope.in_reply_to.as_deref(), out);
    out.push(b' ');
    write_nstring(envelope.message_id.as_deref(), out);
    out.push(b')');
}

fn write_addresses(list: &[Address], out: &mut Vec<u8>) {
    if list.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for address in list {
        let host = address.host.as_deref().map(|host| match host {
            [] => MISSING_HOST,
            _ => host,
        });
        out.push(b'(');
        write_nstring(address.name.as_deref(), out);
        out.push(b' ');
        write_nstring(address.route.as_deref(), out);
        out.push(b' ');
        write_nstring(address.mailbox.as_deref(), out);
        out.push(b' ');
        write_nstring(host, out);
        out.push(b')');
    }
    out.push(b')');
}

/// Appends the body structure of a message: BODY, or BODYSTRUCTURE if `extended`.
pub fn write_body(structure: &Structure, extended: bool, out: &mut Vec<u8>) {
    write_part(structure, 0, extended, out);
}

/// As deep as [`super::DEPTH_MAX`].
fn write_part(structure: &Structure, index: u32, extended: bool, out: &mut Vec<u8>) {
    let Some(part) = structure.parts.get(index as usize) else {
        return;
    };
    out.push(b'(');
    if let Content::Multipart(children) = &part.content {
        for &child in children {
            write_part(structure, child, extended, out);
        }
        out.push(b' ');
        write_string(&part.media.subtype, out);
        if extended {
            out.push(b' ');
            write_parameters(&part.media.parameters, false, out);
            write_extension(part, out);
        }
    } else {
        write_basic(part, out);
        if let Content::Message { envelope, root } = &part.content {
            out.push(b' ');
            write_envelope(envelope, out);
            out.push(b' ');
            write_part(structure, *root, extended, out);
            write_number(part.lines, out);
        } else if part.media.is("text") {
            write_number(part.lines, out);
        }
        if extended {
            out.push(b' ');
            write_nstring(part.md5.as_deref(), out);
            write_extension(part, out);
        }
    }
    out.push(b')');
}

fn write_basic(part: &Part, out: &mut Vec<u8>) {
    write_string(&part.media.kind, out);
    out.push(b' ');
    write_string(&part.media.subtype, out);
    out.push(b' ');
    write_parameters(&part.media.parameters, part.media.is("text"), out);
    out.push(b' ');
    write_nstring(part.id.as_deref(), out);
    out.push(b' ');
    write_nstring(part.description.as_deref(), out);
    out.push(b' ');
    write_string(part.encoding.as_deref().unwrap_or(b"7BIT"), out);
    write_number(part.body.end.saturating_sub(part.body.start), out);
}

/// Disposition, language and location, each after a space.
fn write_extension(part: &Part, out: &mut Vec<u8>) {
    out.push(b' ');
    match &part.disposition {
        Some(disposition) => {
            out.push(b'(');
            write_string(&disposition.kind, out);
            out.push(b' ');
            write_parameters(&disposition.parameters, false, out);
            out.push(b')');
        }
        None => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    match &part.languages[..] {
        [] => out.extend_from_slice(b"NIL"),
        [language] => write_string(language, out),
        languages => {
            for (number, language) in languages.iter().enumerate() {
                out.push(if number == 0 { b'(' } else { b' ' });
                write_string(language, out);
            }
            out.push(b')');
        }
    }
    out.push(b' ');
    write_nstring(part.location.as_deref(), out);
}

/// Parameters, for a text with the charset that RFC 2045 section 5.2 gives it by default.
fn write_parameters(parameters: &Parameters, text: bool, out: &mut Vec<u8>) {
    let is_charset = |name: &[u8]| name.to_ascii_lowercase().starts_with(b"charset");
    let add_charset = text && !parameters.iter().any(|(name, _)| is_charset(name));
    if parameters.is_empty() && !add_charset {
        out.extend_from_slice(b"NIL");
        return;
    }
    let charset: (&[u8], &[u8]) = (b"CHARSET", b"US-ASCII");
    let written = parameters
        .iter()
        .map(|(name, value)| (&name[..], &value[..]));
    for (number, (name, value)) in written.chain(add_charset.then_some(charset)).enumerate() {
        out.push(if number == 0 { b'(' } else { b' ' });
        write_string(name, out);
        out.push(b' ');
        write_string(value, out);
    }
    out.push(b')');
}

fn write_number(number: u64, out: &mut Vec<u8>) {
    write!(out, " {number}").expect("a vector takes all that is written");
}

fn write_nstring(text: Option<&[u8]>, out: &mut Vec<u8>) {
    match text {
        Some(text) => write_string(text, out),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Appends a string: quoted, or a literal where a quoted string may not hold its bytes.
pub fn write_string(text: &[u8], out: &mut Vec<u8>) {
    let quotable = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    if text.iter().all(quotable) {
        out.push(b'"');
        for &byte in text {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
    } else {
        let length = text.iter().filter(|byte| **byte != 0).count();
        write!(out, "{{{length}}}\r\n").expect("a vector takes all that is written");
        out.extend(text.iter().filter(|byte| **byte != 0));
    }
}
