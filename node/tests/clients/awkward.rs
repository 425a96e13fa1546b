//! Mail that breaks mail programs, whole and part by part.

use std::collections::HashSet;
use std::path::Path;

use crate::harness::Client;
use crate::mail;
use crate::response::{Value, fetch};
use crate::service::Service;

/// A folder of more messages; files whose name holds `.mbox` are split.
const CORPUS: &str = "MURDER_CORPUS";

/// Delivers all messages and reads each back.
fn round_trip(service: &Service, messages: &[(String, Vec<u8>)]) {
    let mut lmtp = service.lmtp();
    for (_, message) in messages {
        mail::deliver(&mut lmtp, service.user, message);
    }
    let mut client = service.login();
    client.command("SELECT INBOX");
    for (at, (name, message)) in messages.iter().enumerate() {
        check(&mut client, at + 1, name, message);
    }
}

fn check(client: &mut Client, uid: usize, name: &str, message: &[u8]) {
    let items = [
        "RFC822.SIZE",
        "ENVELOPE",
        "BODYSTRUCTURE",
        "BODY.PEEK[]",
        "BODY.PEEK[HEADER]",
        "BODY.PEEK[TEXT]",
    ];
    let values = fetch(client, uid, &items);
    let whole = values[3].text();
    assert_eq!(values[0].number(), whole.len(), "{name}: RFC822.SIZE");
    assert_eq!(values[1].list().len(), 10, "{name}: ENVELOPE");
    mail::assert_same(name, mail::without_trace(whole), message);
    let halves = [values[4].text(), values[5].text()].concat();
    mail::assert_same(&format!("{name}: HEADER and TEXT"), &halves, whole);
    check_parts(client, uid, name, &values[2], "", values[5].text());
}

/// Fetches all parts below `path`, whose content is `content`.
fn check_parts(
    client: &mut Client,
    uid: usize,
    name: &str,
    structure: &Value,
    path: &str,
    content: &[u8],
) {
    let below = |number: usize| match path {
        "" => number.to_string(),
        _ => format!("{path}.{number}"),
    };
    let fields = structure.list();
    if matches!(fields[0], Value::List(_)) {
        let mut after = 0;
        let parts = fields
            .iter()
            .take_while(|field| matches!(field, Value::List(_)));
        for (at, part) in parts.enumerate() {
            let path = below(at + 1);
            let items = [
                format!("BODY.PEEK[{path}.MIME]"),
                format!("BODY.PEEK[{path}]"),
            ];
            let values = fetch(client, uid, &[&items[0], &items[1]]);
            let bytes = [values[0].text(), values[1].text()].concat();
            let found = find(&content[after..], &bytes);
            let start = found.unwrap_or_else(|| panic!("{name}: part {path} is not in its parent"));
            after += start + bytes.len();
            check_leaf(client, uid, name, part, &path, values[1].text());
        }
    } else if path.is_empty() {
        let values = fetch(client, uid, &["BODY.PEEK[1]"]);
        mail::assert_same(&format!("{name}: part 1"), values[0].text(), content);
        check_leaf(client, uid, name, structure, "1", content);
    }
}

/// Compares a part with its description, and goes into it.
fn check_leaf(
    client: &mut Client,
    uid: usize,
    name: &str,
    structure: &Value,
    path: &str,
    content: &[u8],
) {
    let fields = structure.list();
    if matches!(fields[0], Value::List(_)) {
        return check_parts(client, uid, name, structure, path, content);
    }
    assert_eq!(
        fields[6].number(),
        content.len(),
        "{name}: octets of {path}"
    );
    let is = |at: usize, word: &[u8]| fields[at].text().eq_ignore_ascii_case(word);
    if !(is(0, b"message") && is(1, b"rfc822")) {
        return;
    }
    let items = [
        format!("BODY.PEEK[{path}.HEADER]"),
        format!("BODY.PEEK[{path}.TEXT]"),
    ];
    let values = fetch(client, uid, &[&items[0], &items[1]]);
    let halves = [values[0].text(), values[1].text()].concat();
    mail::assert_same(
        &format!("{name}: HEADER and TEXT of {path}"),
        &halves,
        content,
    );
    if matches!(fields[8].list()[0], Value::List(_)) {
        check_parts(client, uid, name, &fields[8], path, values[1].text());
    } else {
        let items = [format!("BODY.PEEK[{path}.1]")];
        let part = fetch(client, uid, &[&items[0]]);
        let what = format!("{name}: part {path}.1");
        mail::assert_same(&what, part[0].text(), values[1].text());
        check_leaf(
            client,
            uid,
            name,
            &fields[8],
            &format!("{path}.1"),
            values[1].text(),
        );
    }
}

fn find(content: &[u8], wanted: &[u8]) -> Option<usize> {
    if wanted.is_empty() {
        return Some(0);
    }
    content
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// The samples that are kept with this program.
fn samples() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/mail");
    let files = mail::files(&folder);
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
        .iter()
        .map(|path| {
            let bytes = mail::ended(std::fs::read(path).unwrap());
            (path.display().to_string(), bytes)
        })
        .collect()
}

/// The messages of the folder that the environment names, if it does.
fn corpus() -> Option<Vec<(String, Vec<u8>)>> {
    let folder = std::env::var_os(CORPUS)?;
    let mut messages = Vec::new();
    for path in mail::files(Path::new(&folder)) {
        let name = path.display().to_string();
        let bytes = std::fs::read(&path).unwrap();
        if name.ends_with(".md") {
            continue;
        }
        if name.contains(".mbox") {
            for (at, message) in mail::split_mbox(&bytes).iter().enumerate() {
                messages.push((format!("{name} message {at}"), mail::to_crlf(message)));
            }
        } else {
            messages.push((name, mail::to_crlf(&bytes)));
        }
    }
    // What is the same, the node keeps once.
    let mut seen = HashSet::new();
    messages.retain(|(_, message)| seen.insert(message.clone()));
    assert!(!messages.is_empty(), "no message in {}", folder.display());
    Some(messages)
}

#[test]
fn awkward_messages_come_back_whole_and_part_by_part() {
    round_trip(&Service::single(), &samples());
}

#[test]
fn awkward_messages_come_back_whole_and_part_by_part_through_a_frontend() {
    round_trip(&Service::murder("awkward-a"), &samples());
}

#[test]
fn the_corpus_comes_back_whole_and_part_by_part() {
    if let Some(messages) = corpus() {
        round_trip(&Service::single(), &messages);
    }
}

#[test]
fn the_corpus_comes_back_whole_and_part_by_part_through_a_frontend() {
    if let Some(messages) = corpus() {
        round_trip(&Service::murder("corpus-b"), &messages);
    }
}
