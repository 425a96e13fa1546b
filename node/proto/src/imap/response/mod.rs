//! Writes what a server answers (RFC 3501 section 7).
//!
//! Each function appends to the caller's buffer, a `Vec<u8>` or `BytesMut`, which grows as needed,
//! and allocates nothing else. Names of mailboxes and the like are the caller's bytes, written as
//! whichever form of string they need.

mod code;
mod data;
mod fetch;
mod text;

#[cfg(test)]
mod tests;

use bytes::BufMut;

pub use code::Code;
pub use data::{
    acl, capability, enabled, expunge, flags, id, list, list_rights, my_rights, namespace,
    numbered, search, status, vanished,
};
pub use fetch::{FetchWriter, section};
pub use text::{
    QUOTED_BYTES_MAX, astring, date_time, flag_list, literal, literal_header, nstring, number,
    parenthesized, string, uid_set,
};
pub(crate) use text::{is_bare, is_quotable, quoted};

/// The word of a status response (RFC 3501 7.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// Done.
    Ok,
    /// Understood, but not done.
    No,
    /// Not understood.
    Bad,
    /// The server hangs up.
    Bye,
    /// Greeting of a client that is authenticated already.
    PreAuth,
}

impl Status {
    /// The word on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
            Self::Bye => "BYE",
            Self::PreAuth => "PREAUTH",
        }
    }
}

/// `tag OK [code] text`.
pub fn tagged(
    out: &mut impl BufMut,
    tag: &[u8],
    status: Status,
    code: Option<&Code<'_>>,
    text: &str,
) {
    out.put_slice(tag);
    status_line(out, status, code, text);
}

/// `* OK [code] text`.
pub fn untagged(out: &mut impl BufMut, status: Status, code: Option<&Code<'_>>, text: &str) {
    out.put_u8(b'*');
    status_line(out, status, code, text);
}

fn status_line(out: &mut impl BufMut, status: Status, code: Option<&Code<'_>>, text: &str) {
    out.put_u8(b' ');
    out.put_slice(status.name().as_bytes());
    out.put_u8(b' ');
    if let Some(code) = code {
        code.write(out);
        out.put_u8(b' ');
    }
    text::human_text(out, text);
    out.put_slice(b"\r\n");
}

/// `+ text`.
pub fn continuation(out: &mut impl BufMut, text: &str) {
    out.put_slice(b"+ ");
    out.put_slice(text.as_bytes());
    out.put_slice(b"\r\n");
}
