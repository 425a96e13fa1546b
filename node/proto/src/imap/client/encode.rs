//! Writes commands (RFC 3501 section 6, RFC 7888).

use std::fmt;

use crate::imap::response::{is_bare, is_quotable, number, quoted, uid_set};

/// How literals are announced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LiteralStyle {
    /// `{n+}`, for servers with `LITERAL+`: the command goes out at once.
    NonSynchronizing,
    /// `{n}`: the command stops there until the server says `+`.
    Synchronizing,
}

/// Builds one command.
pub struct Encoder {
    style: LiteralStyle,
    bytes: Vec<u8>,
    stops: Vec<usize>,
}

impl Encoder {
    /// Begins with a tag and a verb.
    pub fn new(tag: &[u8], verb: &str, style: LiteralStyle) -> Self {
        let bytes = [tag, b" ", verb.as_bytes()].concat();
        Self {
            style,
            bytes,
            stops: Vec::new(),
        }
    }

    /// A space, and text that is written as it is: atoms, sets, lists.
    #[must_use]
    pub fn raw(mut self, text: &str) -> Self {
        self.bytes.push(b' ');
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    /// A space and a number.
    #[must_use]
    pub fn number(mut self, value: u64) -> Self {
        self.bytes.push(b' ');
        number(&mut self.bytes, value);
        self
    }

    /// A space and a set of UIDs or numbers.
    #[must_use]
    pub fn set(mut self, set: &murder_model::UidSet) -> Self {
        self.bytes.push(b' ');
        uid_set(&mut self.bytes, set);
        self
    }

    /// A space and a mailbox, user or other string, in the form that it needs.
    #[must_use]
    pub fn astring(mut self, content: &[u8]) -> Self {
        self.bytes.push(b' ');
        if is_bare(content) {
            self.bytes.extend_from_slice(content);
        } else if is_quotable(content) {
            quoted(&mut self.bytes, content);
        } else {
            self.literal_header(content.len() as u64);
            self.bytes.extend_from_slice(content);
        }
        self
    }

    /// A space and a literal, whatever the content.
    #[must_use]
    pub fn literal(mut self, content: &[u8]) -> Self {
        self.bytes.push(b' ');
        self.literal_header(content.len() as u64);
        self.bytes.extend_from_slice(content);
        self
    }

    /// Ends the command with its line end.
    pub fn finish(mut self) -> Encoded {
        self.bytes.extend_from_slice(b"\r\n");
        Encoded {
            bytes: self.bytes,
            stops: self.stops,
        }
    }

    /// Ends with the header of a literal of `size` bytes, as `APPEND` does. The content and a line
    /// end must be sent after it, and after a `+` if literals are synchronizing.
    pub fn finish_with_literal(mut self, size: u64) -> Encoded {
        self.bytes.push(b' ');
        self.literal_header(size);
        Encoded {
            bytes: self.bytes,
            stops: self.stops,
        }
    }

    fn literal_header(&mut self, size: u64) {
        self.bytes.push(b'{');
        number(&mut self.bytes, size);
        match self.style {
            LiteralStyle::NonSynchronizing => self.bytes.extend_from_slice(b"+}\r\n"),
            LiteralStyle::Synchronizing => {
                self.bytes.extend_from_slice(b"}\r\n");
                self.stops.push(self.bytes.len());
            }
        }
    }
}

/// Passwords may be in the bytes, so they are not shown.
impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// A command as it goes out.
#[derive(Clone, Eq, PartialEq)]
pub struct Encoded {
    bytes: Vec<u8>,
    stops: Vec<usize>,
}

impl Encoded {
    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its parts: before each but the first the server must have said `+`. One if no literal is
    /// synchronizing.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.stops.iter().copied().chain([self.bytes.len()]);
        let mut from = 0;
        ends.filter_map(move |end| {
            let part = &self.bytes[from..end];
            from = end;
            (!part.is_empty()).then_some(part)
        })
    }
}

/// As for [`Encoder`].
impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded")
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}
