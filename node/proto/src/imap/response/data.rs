//! Untagged lines with data: mailboxes, sizes, searches, rights (RFC 3501 7.2 to 7.3, RFC 2342,
//! RFC 2971, RFC 4314, RFC 5161, RFC 7162).

use bytes::BufMut;
use murder_model::{Keyword, SystemFlags, UidSet};

use super::text::{astring, flag_list, nstring, number, parenthesized, quoted, string, uid_set};
use crate::imap::command::StatusItem;

const LINE_END: &[u8] = b"\r\n";

/// `* n EXISTS` and the like.
pub fn numbered(out: &mut impl BufMut, value: u32, name: &str) {
    out.put_slice(b"* ");
    number(out, value);
    out.put_u8(b' ');
    out.put_slice(name.as_bytes());
    out.put_slice(LINE_END);
}

/// `* n EXPUNGE`.
pub fn expunge(out: &mut impl BufMut, sequence_number: u32) {
    numbered(out, sequence_number, "EXPUNGE");
}

/// `* VANISHED [(EARLIER)] uids` (RFC 7162 3.2.10).
pub fn vanished(out: &mut impl BufMut, earlier: bool, uids: &UidSet) {
    out.put_slice(if earlier {
        b"* VANISHED (EARLIER) "
    } else {
        b"* VANISHED "
    });
    uid_set(out, uids);
    out.put_slice(LINE_END);
}

/// `* CAPABILITY …`.
pub fn capability(out: &mut impl BufMut, capabilities: &[&str]) {
    words(out, b"* CAPABILITY", capabilities);
}

/// `* ENABLED …` (RFC 5161).
pub fn enabled(out: &mut impl BufMut, capabilities: &[&str]) {
    words(out, b"* ENABLED", capabilities);
}

fn words(out: &mut impl BufMut, head: &[u8], words: &[&str]) {
    out.put_slice(head);
    for word in words {
        out.put_u8(b' ');
        out.put_slice(word.as_bytes());
    }
    out.put_slice(LINE_END);
}

/// `* FLAGS (…)`.
pub fn flags<'a>(
    out: &mut impl BufMut,
    system: SystemFlags,
    keywords: impl IntoIterator<Item = &'a Keyword>,
) {
    out.put_slice(b"* FLAGS ");
    flag_list(out, false, system, keywords);
    out.put_slice(LINE_END);
}

/// `* LIST (attributes) "/" mailbox`, or with `LSUB` as `verb`.
pub fn list<'a>(
    out: &mut impl BufMut,
    verb: &str,
    attributes: impl IntoIterator<Item = &'a str>,
    delimiter: Option<u8>,
    mailbox: &[u8],
) {
    out.put_slice(b"* ");
    out.put_slice(verb.as_bytes());
    out.put_u8(b' ');
    parenthesized(out, attributes);
    out.put_u8(b' ');
    match delimiter {
        Some(delimiter) => quoted(out, &[delimiter]),
        None => out.put_slice(b"NIL"),
    }
    out.put_u8(b' ');
    astring(out, mailbox);
    out.put_slice(LINE_END);
}

/// `* STATUS mailbox (MESSAGES n …)`.
pub fn status(
    out: &mut impl BufMut,
    mailbox: &[u8],
    items: impl IntoIterator<Item = (StatusItem, u64)>,
) {
    out.put_slice(b"* STATUS ");
    astring(out, mailbox);
    out.put_slice(b" (");
    for (index, (item, value)) in items.into_iter().enumerate() {
        if index > 0 {
            out.put_u8(b' ');
        }
        out.put_slice(item.name().as_bytes());
        out.put_u8(b' ');
        number(out, value);
    }
    out.put_slice(b")\r\n");
}

/// `* SEARCH n …`, with the highest modification sequence found if `MODSEQ` was searched for
/// (RFC 7162 3.1.5).
pub fn search(out: &mut impl BufMut, numbers: impl IntoIterator<Item = u32>, mod_seq: Option<u64>) {
    out.put_slice(b"* SEARCH");
    for value in numbers {
        out.put_u8(b' ');
        number(out, value);
    }
    if let Some(mod_seq) = mod_seq {
        out.put_slice(b" (MODSEQ ");
        number(out, mod_seq);
        out.put_u8(b')');
    }
    out.put_slice(LINE_END);
}

/// `* ACL mailbox identifier rights …` (RFC 4314 3.6).
pub fn acl<'a>(
    out: &mut impl BufMut,
    mailbox: &[u8],
    entries: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    out.put_slice(b"* ACL ");
    astring(out, mailbox);
    for (identifier, rights) in entries {
        out.put_u8(b' ');
        astring(out, identifier.as_bytes());
        out.put_u8(b' ');
        astring(out, rights.as_bytes());
    }
    out.put_slice(LINE_END);
}

/// `* LISTRIGHTS mailbox identifier required optional …` (RFC 4314 3.7).
pub fn list_rights<'a>(
    out: &mut impl BufMut,
    mailbox: &[u8],
    identifier: &[u8],
    required: &str,
    optional: impl IntoIterator<Item = &'a str>,
) {
    out.put_slice(b"* LISTRIGHTS ");
    astring(out, mailbox);
    out.put_u8(b' ');
    astring(out, identifier);
    out.put_u8(b' ');
    astring(out, required.as_bytes());
    for rights in optional {
        out.put_u8(b' ');
        astring(out, rights.as_bytes());
    }
    out.put_slice(LINE_END);
}

/// `* MYRIGHTS mailbox rights` (RFC 4314 3.8).
pub fn my_rights(out: &mut impl BufMut, mailbox: &[u8], rights: &str) {
    out.put_slice(b"* MYRIGHTS ");
    astring(out, mailbox);
    out.put_u8(b' ');
    astring(out, rights.as_bytes());
    out.put_slice(LINE_END);
}

/// `* NAMESPACE personal others shared`, each a list of prefix and delimiter (RFC 2342).
pub fn namespace(out: &mut impl BufMut, namespaces: [&[(&str, u8)]; 3]) {
    out.put_slice(b"* NAMESPACE");
    for namespace in namespaces {
        out.put_u8(b' ');
        if namespace.is_empty() {
            out.put_slice(b"NIL");
            continue;
        }
        out.put_u8(b'(');
        for (prefix, delimiter) in namespace {
            out.put_u8(b'(');
            string(out, prefix.as_bytes());
            out.put_u8(b' ');
            quoted(out, &[*delimiter]);
            out.put_u8(b')');
        }
        out.put_u8(b')');
    }
    out.put_slice(LINE_END);
}

/// `* ID (name value …)`, or `NIL` without fields (RFC 2971).
pub fn id(out: &mut impl BufMut, fields: &[(&str, Option<&str>)]) {
    out.put_slice(b"* ID ");
    if fields.is_empty() {
        out.put_slice(b"NIL\r\n");
        return;
    }
    for (index, (name, value)) in fields.iter().enumerate() {
        out.put_u8(if index == 0 { b'(' } else { b' ' });
        string(out, name.as_bytes());
        out.put_u8(b' ');
        nstring(out, value.map(str::as_bytes));
    }
    out.put_slice(b")\r\n");
}
