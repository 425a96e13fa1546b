//! What the reader of a client's bytes has to say.

use std::fmt;

use bytes::{BufMut, Bytes};

use crate::imap::command::{Append, Command, Secret};

/// Something that the client did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A complete command.
    Command(Received),
    /// A literal was accepted that the client has not sent yet: write a continuation (`+ …`).
    Continue,
    /// An `APPEND` up to its message. The reader goes on once the driver has called
    /// [`accept_append`](super::Reader::accept_append) or
    /// [`refuse_append`](super::Reader::refuse_append).
    Append(AppendReceived),
    /// A piece of the message of the accepted `APPEND`, never empty.
    Literal(Bytes),
    /// The accepted `APPEND` is complete; the bytes are its last line end.
    AppendEnd(Bytes),
    /// A SASL response (after [`expect_auth_line`](super::Reader::expect_auth_line)), decoded.
    AuthResponse(Secret),
    /// `*` instead of a SASL response: answer `BAD` to the `AUTHENTICATE`.
    AuthCancelled,
    /// `DONE` (after [`expect_done`](super::Reader::expect_done)).
    Done,
    /// Something that cannot be obeyed: answer `BAD` with the tag, or untagged without one. While
    /// an `APPEND`'s message, a SASL response or `DONE` is expected, this ends that command, whose
    /// tag it carries.
    Bad {
        /// Tag of the command, if one could be read.
        tag: Option<Bytes>,
        /// What was wrong.
        text: &'static str,
    },
    /// The reader has given up; say `BYE` and hang up. Nothing follows.
    Fatal {
        /// Why.
        text: &'static str,
    },
}

/// A complete command as it was received.
#[derive(Clone, Eq, PartialEq)]
pub struct Received {
    /// Tag.
    pub tag: Bytes,
    /// What is asked.
    pub command: Command,
    /// Every byte of it, literals and line end included.
    pub raw: Bytes,
    /// Where in `raw` the closing brace of each synchronizing literal's header is.
    pub(super) sync_literals: Vec<usize>,
}

impl Received {
    /// Appends the command as received, but under `tag` and with its literals made
    /// non-synchronizing (RFC 7888), so that it can be passed on without waiting.
    pub fn relay(&self, tag: &[u8], out: &mut impl BufMut) {
        relay(&self.raw, self.tag.len(), &self.sync_literals, tag, out);
    }
}

/// Passwords are in `raw`, so it is not shown.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("tag", &self.tag)
            .field("command", &self.command)
            .field("raw_bytes", &self.raw.len())
            .finish()
    }
}

/// An `APPEND` up to and including the header of its message's literal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AppendReceived {
    /// Tag.
    pub tag: Bytes,
    /// What is asked.
    pub append: Append,
    /// Every byte up to the message.
    pub raw: Bytes,
    /// Where in `raw` the closing brace of each synchronizing literal's header is.
    pub(super) sync_literals: Vec<usize>,
}

impl AppendReceived {
    /// As [`Received::relay`]. The message and the bytes of [`Event::AppendEnd`] must follow.
    pub fn relay(&self, tag: &[u8], out: &mut impl BufMut) {
        relay(&self.raw, self.tag.len(), &self.sync_literals, tag, out);
    }
}

fn relay(raw: &[u8], tag_length: usize, braces: &[usize], tag: &[u8], out: &mut impl BufMut) {
    out.put_slice(tag);
    let mut from = tag_length;
    for brace in braces {
        out.put_slice(&raw[from..*brace]);
        out.put_u8(b'+');
        from = *brace;
    }
    out.put_slice(&raw[from..]);
}
