//! What servers write, in the exact words of Cyrus 3.6.

use bytes::BytesMut;

use super::line::{write_quoted, write_string};

/// After AUTHENTICATE.
pub const AUTHENTICATED: &str = "Authenticated";
/// After LOGOUT.
pub const LOGGED_OUT: &str = "bye-bye";
/// After NOOP.
pub const NOOP_DONE: &str = "Noop done";
/// After FIND.
pub const SEARCH_COMPLETED: &str = "Search completed";
/// After LIST.
pub const LIST_COMPLETE: &str = "list complete";
/// After the dump of UPDATE.
pub const STREAMING_STARTS: &str = "streaming starts";
/// After RESERVE, ACTIVATE, DEACTIVATE and DELETE.
pub const DONE: &str = "done";
/// NO to RESERVE: a row at another location.
pub const EXISTS: &str = "mailbox already exists";
/// NO to DEACTIVATE and DELETE: no row.
pub const ABSENT: &str = "mailbox doesn't exist";
/// NO to DEACTIVATE: the row is reserved only.
pub const NOT_ACTIVE: &str = "mailbox not currently active";
/// NO to AUTHENTICATE.
pub const AUTHENTICATION_FAILED: &str = "authentication failure";
/// BYE of a server with too many connections.
pub const BYE_FULL: &str = "Server Unable";
/// BYE of a replica that lost its master.
pub const BYE_NOT_READY: &str = "no longer ready for connections";

/// The word of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// Done.
    Ok,
    /// Understood and refused.
    No,
    /// Not understood, or out of order.
    Bad,
    /// The connection ends.
    Bye,
}

impl Status {
    pub(super) const ALL: [(&'static str, Self); 4] = [
        ("OK", Self::Ok),
        ("NO", Self::No),
        ("BAD", Self::Bad),
        ("BYE", Self::Bye),
    ];

    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
            Self::Bye => "BYE",
        }
    }
}

fn start(out: &mut BytesMut, tag: &[u8], word: &str) {
    out.extend_from_slice(tag);
    out.extend_from_slice(b" ");
    out.extend_from_slice(word.as_bytes());
}

/// `tag OK "text"` and the like; tag `*` where there is none.
pub fn write_status(out: &mut BytesMut, tag: &[u8], status: Status, text: &str) {
    start(out, tag, status.word());
    write_quoted(out, text);
    out.extend_from_slice(b"\r\n");
}

/// `tag OK text`, the form of Cyrus' answers to STARTTLS and to cancelled logins.
pub(super) fn write_bare(out: &mut BytesMut, tag: &[u8], status: Status, text: &str) {
    start(out, tag, status.word());
    out.extend_from_slice(b" ");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_row(out: &mut BytesMut, tag: &[u8], word: &str, strings: &[&[u8]]) {
    start(out, tag, word);
    for string in strings {
        write_string(out, string);
    }
    out.extend_from_slice(b"\r\n");
}

/// An active row.
pub fn write_mailbox(out: &mut BytesMut, tag: &[u8], name: &[u8], location: &[u8], acl: &[u8]) {
    write_row(out, tag, "MAILBOX", &[name, location, acl]);
}

/// A reserved row.
pub fn write_reserve(out: &mut BytesMut, tag: &[u8], name: &[u8], location: &[u8]) {
    write_row(out, tag, "RESERVE", &[name, location]);
}

/// A row that is gone; in streams only.
pub fn write_delete(out: &mut BytesMut, tag: &[u8], name: &[u8]) {
    write_row(out, tag, "DELETE", &[name]);
}

/// The answer to a request of the extension; nothing follows it.
pub fn write_extension_reply(out: &mut BytesMut, tag: &[u8], payload: &[u8]) {
    write_row(out, tag, "XR", &[payload]);
}

/// One item of a stream of the extension.
pub fn write_stream_item(out: &mut BytesMut, tag: &[u8], payload: &[u8]) {
    write_row(out, tag, "XS", &[payload]);
}
