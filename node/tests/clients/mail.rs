//! Messages as bytes: from files to the node, and back.

use std::path::{Path, PathBuf};

use crate::harness::Client;

/// Ends the last line with CRLF and leaves all else alone.
pub(crate) fn ended(mut bytes: Vec<u8>) -> Vec<u8> {
    if !bytes.ends_with(b"\r\n") {
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Makes each line end with CRLF.
pub(crate) fn to_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut converted = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    for &byte in bytes {
        if byte == b'\n' && converted.last() != Some(&b'\r') {
            converted.push(b'\r');
        }
        converted.push(byte);
    }
    ended(converted)
}

/// The messages of an mbox file: a `From ` at its start or below an empty line begins one.
pub(crate) fn split_mbox(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let mut below_empty = true;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if below_empty && line.starts_with(b"From ") {
            messages.push(Vec::new());
        } else if let Some(message) = messages.last_mut() {
            message.extend_from_slice(line);
        }
        below_empty = matches!(line, b"\n" | b"\r\n");
    }
    messages
}

/// All files below a folder, sorted.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What stands on the wire between DATA's reply and the final dot.
fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + 16);
    for &byte in message {
        if byte == b'.' && (wire.is_empty() || wire.ends_with(b"\r\n")) {
            wire.push(b'.');
        }
        wire.push(byte);
    }
    wire
}

/// Delivers these bytes, which end with CRLF, and wants them accepted.
pub(crate) fn deliver(client: &mut Client, recipient: &str, message: &[u8]) {
    let commands = format!("MAIL FROM:<sender@example.org>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n");
    client.send(commands.as_bytes());
    for code in ["250 ", "250 ", "354 "] {
        let reply = client.reply();
        assert!(reply.starts_with(code), "{reply}");
    }
    client.send(&dot_stuffed(message));
    client.send(b".\r\n");
    let reply = client.reply();
    assert!(reply.starts_with("250 "), "{reply}");
}

/// A stored message without the two lines that delivery puts on top.
pub(crate) fn without_trace(stored: &[u8]) -> &[u8] {
    let mut rest = stored;
    for field in ["Return-Path: <sender@example.org>", "Received: from "] {
        let end = rest.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        let line = String::from_utf8_lossy(&rest[..end]);
        assert!(line.starts_with(field), "{line}");
        rest = &rest[end..];
    }
    rest
}

/// Compares without printing megabytes.
pub(crate) fn assert_same(what: &str, got: &[u8], expected: &[u8]) {
    if got == expected {
        return;
    }
    let common = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let excerpt = |bytes: &[u8]| {
        let start = common.saturating_sub(40).min(bytes.len());
        let end = (common + 40).min(bytes.len());
        bytes[start..end].escape_ascii().to_string()
    };
    panic!(
        "{what}: {} bytes, {} expected, first difference at {common}:\n  got      {}\n  expected {}",
        got.len(),
        expected.len(),
        excerpt(got),
        excerpt(expected)
    );
}
