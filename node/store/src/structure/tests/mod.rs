//! Tests of message structure: full expected bytes for the messages under `examples/mail`, rules
//! one by one, and properties over random bytes and random trees.

mod known;
mod properties;
mod rules;
mod sections;
mod text;

use super::*;

/// A message of `examples/mail`.
macro_rules! example {
    ($name:literal) => {
        include_bytes!(concat!("../../../../../examples/mail/", $name, ".eml")).as_slice()
    };
}
use example;

/// Text with LF as a message with CRLF.
fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn envelope_of(message: &[u8]) -> String {
    let mut out = Vec::new();
    write_envelope(&scan(message).envelope, &mut out);
    out.escape_ascii()
        .to_string()
        .replace("\\\"", "\"")
        .replace("\\'", "'")
}

fn body_of(message: &[u8], extended: bool) -> String {
    let mut out = Vec::new();
    write_body(&scan(message), extended, &mut out);
    out.escape_ascii()
        .to_string()
        .replace("\\\"", "\"")
        .replace("\\'", "'")
}
