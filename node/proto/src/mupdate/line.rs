//! Lines of atoms and strings, RFC 3656 sections 2.1 and 2.2, from octets in pieces of any size.
//!
//! One space separates two tokens; a token of length zero is kept as an empty atom, so that the
//! reader above can tell `T` from `T `. Quoted strings know backslash escapes. A line that is
//! malformed or too long is reported at once by [`LineEvent::Bad`]; the rest of it, with its
//! literals, is read past without being kept.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// Largest payload of the extension, in octets.
pub const PAYLOAD_OCTETS_MAX: usize = 1024 * 1024;

/// Bounds of what is read.
#[derive(Clone, Debug)]
pub struct LineLimits {
    /// Longest stretch of a line outside of literals. RFC 3656 asks for 1024.
    pub stretch_octets_max: usize,
    /// Longest literal. RFC 3656 asks for 4096.
    pub literal_octets_max: usize,
    /// Longest line with its literals.
    pub line_octets_max: usize,
    /// Longest literal of the extension's lines; 0: they are lines like all others.
    pub payload_octets_max: usize,
    /// Most tokens of a line.
    pub tokens_max: usize,
}

impl Default for LineLimits {
    fn default() -> Self {
        Self {
            stretch_octets_max: 16 * 1024,
            literal_octets_max: 64 * 1024,
            line_octets_max: 256 * 1024,
            payload_octets_max: 0,
            tokens_max: 64,
        }
    }
}

/// Why a line is refused.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum LineError {
    /// A quoted string without its end, a control character, or no space where one has to be.
    #[error("Malformed line")]
    Malformed,
    /// More octets than the limits allow.
    #[error("Line too long")]
    TooLong,
    /// More tokens than the limits allow.
    #[error("Too many arguments")]
    TooMany,
}

/// A word of a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Token {
    /// Sent bare.
    Atom(Bytes),
    /// Sent quoted or as a literal.
    String(Bytes),
}

impl Token {
    /// The octets, however they were sent.
    #[must_use]
    pub const fn octets(&self) -> &Bytes {
        match self {
            Self::Atom(octets) | Self::String(octets) => octets,
        }
    }
}

/// What the reader found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LineEvent {
    /// A complete line.
    Line(Vec<Token>),
    /// The peer waits with its literal `{n}`: write `+ go ahead`.
    NeedContinuation,
    /// A line that is refused; its first token, if that was an atom.
    Bad {
        /// What an answer is to be tagged with.
        tag: Option<Bytes>,
        /// The reason.
        error: LineError,
    },
}

/// Reads lines.
#[derive(Debug, Default)]
pub struct LineReader {
    limits: LineLimits,
    buffer: BytesMut,
    /// Octets of the buffer known to hold no LF.
    scanned: usize,
    tokens: Vec<Token>,
    line_octets: usize,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    LineStart,
    Literal(usize),
    AfterLiteral,
    /// In a refused line; the end of what is gone already, to see a literal's header.
    Skip(Vec<u8>),
    SkipLiteral(u64),
}

/// Longest literal header that is recognised while a line is skipped.
const HEADER_OCTETS_MAX: usize = 40;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Header {
    octets: u64,
    synchronising: bool,
}

impl LineReader {
    /// A reader with these limits.
    #[must_use]
    pub fn new(limits: LineLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Allows or forbids payloads of the extension.
    pub const fn allow_payloads(&mut self, octets_max: usize) {
        self.limits.payload_octets_max = octets_max;
    }

    /// Adds octets that were read.
    pub fn feed(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Forgets octets that were read and not used, as at the start of TLS.
    pub fn clear(&mut self) {
        *self = Self::new(self.limits.clone());
    }

    /// The next event, or `None` if more octets are needed.
    pub fn next_event(&mut self) -> Option<LineEvent> {
        loop {
            match &mut self.state {
                State::LineStart | State::AfterLiteral => {
                    let stretch = match self.take_stretch()? {
                        Ok(stretch) => stretch,
                        Err(error) => {
                            self.first_word();
                            return Some(self.bad(error));
                        }
                    };
                    if let Some(event) = self.stretch(stretch) {
                        return Some(event);
                    }
                }
                State::Literal(octets) => {
                    let octets = *octets;
                    if self.buffer.len() < octets {
                        self.buffer.reserve(octets - self.buffer.len());
                        return None;
                    }
                    let literal = self.buffer.split_to(octets).freeze();
                    self.tokens.push(Token::String(literal));
                    self.state = State::AfterLiteral;
                }
                State::Skip(_) => self.skip_stretch()?,
                State::SkipLiteral(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX);
                    let here = here.min(self.buffer.len());
                    self.buffer.advance(here);
                    *left -= here as u64;
                    if *left > 0 {
                        return None;
                    }
                    self.state = State::Skip(Vec::new());
                }
            }
        }
    }

    /// The next line as it is, without its end: a message of AUTHENTICATE. To be called only
    /// between two lines.
    pub fn next_raw_line(&mut self) -> Option<Result<Bytes, LineError>> {
        let line = self.take_stretch()?;
        if line.is_err() {
            self.state = State::Skip(Vec::new());
        }
        Some(line)
    }

    /// Octets up to the next LF, without it and the CR before it.
    fn take_stretch(&mut self) -> Option<Result<Bytes, LineError>> {
        let found = memchr::memchr(b'\n', &self.buffer[self.scanned..]);
        let end = found.map(|found| self.scanned + found);
        if end.unwrap_or(self.buffer.len()) > self.limits.stretch_octets_max {
            self.scanned = 0;
            return Some(Err(LineError::TooLong));
        }
        let Some(end) = end else {
            self.scanned = self.buffer.len();
            return None;
        };
        let mut stretch = self.buffer.split_to(end).freeze();
        self.buffer.advance(1);
        self.scanned = 0;
        if stretch.last() == Some(&b'\r') {
            stretch.truncate(stretch.len() - 1);
        }
        Some(Ok(stretch))
    }

    fn stretch(&mut self, stretch: Bytes) -> Option<LineEvent> {
        self.line_octets = self.line_octets.saturating_add(stretch.len());
        let after_literal = matches!(self.state, State::AfterLiteral);
        let header = match self.tokenize(&stretch, after_literal) {
            Ok(header) => header,
            Err(error) => {
                let event = self.bad(error);
                self.skip_after(&stretch);
                return Some(event);
            }
        };
        let Some(header) = header else {
            self.state = State::LineStart;
            self.line_octets = 0;
            return Some(LineEvent::Line(std::mem::take(&mut self.tokens)));
        };
        let Some(octets) = self.admitted(header) else {
            let event = self.bad(LineError::TooLong);
            self.skip_after(&stretch);
            return Some(event);
        };
        self.line_octets += octets;
        self.state = State::Literal(octets);
        header.synchronising.then_some(LineEvent::NeedContinuation)
    }

    /// Takes a stretch apart; returns the literal that follows it, if one does.
    fn tokenize(
        &mut self,
        stretch: &Bytes,
        after_literal: bool,
    ) -> Result<Option<Header>, LineError> {
        let mut at = 0;
        match (stretch.first(), after_literal) {
            (None, _) => return Ok(None),
            (Some(b' '), true) => at = 1,
            (Some(_), true) => return Err(LineError::Malformed),
            (Some(_), false) => {}
        }
        loop {
            if self.tokens.len() >= self.limits.tokens_max {
                return Err(LineError::TooMany);
            }
            let rest = &stretch[at..];
            if rest.first() == Some(&b'"') {
                let (string, length) = quoted(stretch, at)?;
                self.tokens.push(Token::String(string));
                at += length;
            } else if let Some(header) = header(rest) {
                return Ok(Some(header));
            } else {
                let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
                if rest[..end].iter().any(u8::is_ascii_control) {
                    return Err(LineError::Malformed);
                }
                self.tokens.push(Token::Atom(stretch.slice(at..at + end)));
                at += end;
            }
            match stretch.get(at) {
                None => return Ok(None),
                Some(b' ') => at += 1,
                Some(_) => return Err(LineError::Malformed),
            }
        }
    }

    /// The literal's size if the limits allow it.
    fn admitted(&self, header: Header) -> Option<usize> {
        let octets = usize::try_from(header.octets).ok()?;
        let word = self.tokens.get(1).map(|token| token.octets().as_ref());
        let extension = word.is_some_and(|word| {
            [&b"X"[..], b"XR", b"XS"]
                .iter()
                .any(|known| word.eq_ignore_ascii_case(known))
        });
        let payload = extension && self.tokens.len() == 2;
        if payload && octets <= self.limits.payload_octets_max {
            return Some(octets);
        }
        let fits = octets <= self.limits.literal_octets_max
            && octets.saturating_add(self.line_octets) <= self.limits.line_octets_max;
        fits.then_some(octets)
    }

    /// Takes the tag of a line whose first stretch is too long.
    fn first_word(&mut self) {
        let here = self.limits.stretch_octets_max.min(HEADER_OCTETS_MAX);
        let start = &self.buffer[..here.min(self.buffer.len())];
        if let (Some(end), State::LineStart) = (memchr::memchr(b' ', start), &self.state) {
            let word = Bytes::copy_from_slice(&start[..end]);
            self.tokens.push(Token::Atom(word));
        }
    }

    fn bad(&mut self, error: LineError) -> LineEvent {
        self.state = State::Skip(Vec::new());
        self.line_octets = 0;
        let tag = match self.tokens.first() {
            Some(Token::Atom(tag)) if !tag.is_empty() => Some(tag.clone()),
            _ => None,
        };
        self.tokens.clear();
        LineEvent::Bad { tag, error }
    }

    /// Goes on behind a stretch of a refused line.
    fn skip_after(&mut self, stretch: &[u8]) {
        let start = memchr::memrchr(b'{', stretch).unwrap_or(stretch.len());
        self.state = match header(&stretch[start..]) {
            Some(header) if !header.synchronising => State::SkipLiteral(header.octets),
            // A peer that waits for `+ go ahead` gets the refusal instead.
            Some(_) | None => State::LineStart,
        };
    }

    /// Reads past a stretch of a refused line.
    fn skip_stretch(&mut self) -> Option<()> {
        let State::Skip(before) = &mut self.state else {
            return Some(());
        };
        let mut end = std::mem::take(before);
        let found = memchr::memchr(b'\n', &self.buffer);
        let gone = self.buffer.split_to(found.unwrap_or(self.buffer.len()));
        end.extend_from_slice(&gone[gone.len().saturating_sub(HEADER_OCTETS_MAX)..]);
        let surplus = end.len().saturating_sub(HEADER_OCTETS_MAX);
        end.drain(..surplus);
        if found.is_none() {
            self.state = State::Skip(end);
            return None;
        }
        self.buffer.advance(1);
        self.skip_after(end.strip_suffix(b"\r").unwrap_or(&end));
        Some(())
    }
}

/// The string that starts with the quote at `at`, and its length on the wire.
fn quoted(stretch: &Bytes, at: usize) -> Result<(Bytes, usize), LineError> {
    let inner = &stretch[at + 1..];
    let mut unescaped = None;
    let mut index = 0;
    loop {
        let octet = *inner.get(index).ok_or(LineError::Malformed)?;
        match octet {
            b'"' => {
                let whole = || stretch.slice(at + 1..at + 1 + index);
                let string = unescaped.map_or_else(whole, Bytes::from);
                return Ok((string, index + 2));
            }
            b'\\' => {
                let copy = unescaped.get_or_insert_with(|| inner[..index].to_vec());
                index += 1;
                match inner.get(index) {
                    Some(&octet) if octet != 0 => copy.push(octet),
                    _ => return Err(LineError::Malformed),
                }
            }
            b'\0' | b'\r' => return Err(LineError::Malformed),
            _ => {
                if let Some(copy) = &mut unescaped {
                    copy.push(octet);
                }
            }
        }
        index += 1;
    }
}

/// `{n}` or `{n+}` as all of `octets`. A size beyond 64 bits counts as the largest.
fn header(octets: &[u8]) -> Option<Header> {
    let inner = octets.strip_prefix(b"{")?.strip_suffix(b"}")?;
    let (digits, synchronising) = match inner.strip_suffix(b"+") {
        Some(digits) => (digits, false),
        None => (inner, true),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let octets = digits.iter().fold(0_u64, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    });
    Some(Header {
        octets,
        synchronising,
    })
}

/// Appends a space and a string as a literal that does not wait.
pub(super) fn write_string(out: &mut BytesMut, octets: &[u8]) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(b" {");
    out.extend_from_slice(digits.format(octets.len()).as_bytes());
    out.extend_from_slice(b"+}\r\n");
    out.extend_from_slice(octets);
}

/// Appends a space and a string in quotes, for texts that are written here.
pub(super) fn write_quoted(out: &mut BytesMut, text: &str) {
    out.extend_from_slice(b" \"");
    for octet in text.bytes() {
        match octet {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', octet]),
            0..b' ' | 0x7f => out.extend_from_slice(b"?"),
            _ => out.extend_from_slice(&[octet]),
        }
    }
    out.extend_from_slice(b"\"");
}

#[cfg(test)]
mod tests;
