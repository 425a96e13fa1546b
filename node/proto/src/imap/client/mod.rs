//! Reads what a server sends, and writes commands: for relays, for nodes among themselves and for
//! tests (RFC 3501 sections 2.2.2, 4.3 and 7).
//!
//! [`ResponseReader`] tells complete responses one by one, each with its exact bytes. A response
//! that is too large to hold is told in pieces as they come, so that a relay passes on anything in
//! bounded memory: all bytes received are told, once and in order.

mod data;
mod encode;
mod response;
mod value;

#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use memchr::memchr;

pub use data::{Data, FetchItems, ListedMailbox, StatusNumbers};
pub use encode::{Encoded, Encoder, LiteralStyle};
pub use response::{CopiedUids, Kind, Malformed, Response, ResponseCode, StatusResponse};
pub use value::{VALUE_DEPTH_MAX, Value};

use super::literal::{self, HEADER_BYTES_MAX, LiteralHeader};

/// Something that the server said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A complete response.
    Response(Response),
    /// Text of a response that is told in pieces: its beginning, what lies between two streamed
    /// literals, or a part of an over-long line. More of the response follows.
    Text(Bytes),
    /// A piece of a literal of that response, never empty.
    Literal(Bytes),
    /// The last text of that response, up to and including its line end.
    End(Bytes),
}

impl Event {
    /// The bytes told.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Response(response) => response.raw(),
            Self::Text(bytes) | Self::Literal(bytes) | Self::End(bytes) => bytes,
        }
    }
}

/// How much of a server's output is held at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of a response that is told whole; must be more than 64.
    pub response_bytes_max: usize,
    /// Bytes of a literal in a response that is told whole.
    pub literal_bytes_max: usize,
    /// Bytes of a piece of a literal.
    pub chunk_bytes_max: usize,
}

impl Limits {
    /// For relays: whatever is large passes through.
    pub const RELAY: Self = Self {
        response_bytes_max: 16 << 10,
        literal_bytes_max: 4 << 10,
        chunk_bytes_max: 64 << 10,
    };

    /// For a program that wants whole responses where that is reasonable.
    pub const WHOLE: Self = Self {
        response_bytes_max: 4 << 20,
        literal_bytes_max: 2 << 20,
        chunk_bytes_max: 64 << 10,
    };
}

/// Incremental reader of one server's bytes.
#[derive(Debug)]
pub struct ResponseReader {
    limits: Limits,
    buffer: BytesMut,
    state: State,
    /// Where the line that is being read begins.
    line_start: usize,
    /// Bytes of that line that hold no LF.
    scanned: usize,
    /// Bytes of this response that were told already.
    told: u64,
    /// Whether this response may hold literals, once its beginning is known: lines with text for
    /// people may end with what looks like one.
    literals: Option<bool>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Line,
    /// A literal that ends at this place of the buffer.
    Literal {
        end: usize,
    },
    /// A literal that is told in pieces.
    Stream {
        left: u64,
    },
}

impl ResponseReader {
    /// A reader at the start of a connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buffer: BytesMut::new(),
            state: State::Line,
            line_start: 0,
            scanned: 0,
            told: 0,
            literals: None,
        }
    }

    /// Takes bytes from the server.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The buffer that bytes may be read into at its end, instead of [`feed`](Self::feed).
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Bytes held.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Whether the last event ended a response, so that something may be put in between.
    pub fn is_between_responses(&self) -> bool {
        self.told == 0 && self.buffer.is_empty()
    }

    /// Frees the buffer if it holds nothing, for a connection that will be idle.
    pub fn shrink(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Drops everything that was fed and not yet told, as `STARTTLS` demands.
    pub fn discard(&mut self) -> usize {
        let discarded = self.buffer.len();
        self.buffer.clear();
        self.begin_response();
        discarded
    }

    /// The next event, or `None` until more is fed.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would end at the first None"
    )]
    pub fn next(&mut self) -> Option<Event> {
        loop {
            match self.state {
                State::Line => {
                    if let Some(event) = self.line()? {
                        return Some(event);
                    }
                }
                State::Literal { end } => {
                    if self.buffer.len() < end {
                        return None;
                    }
                    self.state = State::Line;
                    self.line_start = end;
                    self.scanned = 0;
                }
                State::Stream { left: 0 } => self.state = State::Line,
                State::Stream { left } => return self.literal_chunk(left),
            }
        }
    }

    /// Reads a line. `None`: more is needed; `Some(None)`: the state has changed.
    fn line(&mut self) -> Option<Option<Event>> {
        let line = &self.buffer[self.line_start..];
        let Some(at) = memchr(b'\n', &line[self.scanned..]) else {
            self.scanned = line.len();
            return self.part_of_line().map(Some);
        };
        let length = self.scanned + at + 1;
        let end = self.line_start + length;
        let header = literal::header(&line[..length]).filter(|header| header.synchronizing);
        let literals = *self
            .literals
            .get_or_insert_with(|| may_hold_literals(&self.buffer));
        match header {
            Some(header) if literals => Some(self.literal(end, header)),
            _ => Some(Some(self.end_of_response(end))),
        }
    }

    /// Tells what is held of a line that is too long, but for a tail that may be a header.
    fn part_of_line(&mut self) -> Option<Event> {
        if self.buffer.len() <= self.limits.response_bytes_max.max(HEADER_BYTES_MAX) {
            return None;
        }
        self.literals
            .get_or_insert_with(|| may_hold_literals(&self.buffer));
        let cut = self.buffer.len() - HEADER_BYTES_MAX;
        self.line_start = self.line_start.saturating_sub(cut);
        self.scanned = self.buffer.len() - cut - self.line_start;
        Some(Event::Text(self.tell(cut)))
    }

    fn literal(&mut self, end: usize, header: LiteralHeader) -> Option<Event> {
        let whole = self
            .told
            .saturating_add(end as u64)
            .saturating_add(header.size);
        if header.size <= self.limits.literal_bytes_max as u64
            && whole <= self.limits.response_bytes_max as u64
        {
            let size = usize::try_from(header.size).unwrap_or(usize::MAX);
            self.state = State::Literal {
                end: end.saturating_add(size),
            };
            return None;
        }
        self.state = State::Stream { left: header.size };
        self.line_start = 0;
        self.scanned = 0;
        Some(Event::Text(self.tell(end)))
    }

    fn literal_chunk(&mut self, left: u64) -> Option<Event> {
        let length = self.buffer.len().min(self.limits.chunk_bytes_max.max(1));
        let length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
        if length == 0 {
            return None;
        }
        self.state = State::Stream {
            left: left - length as u64,
        };
        Some(Event::Literal(self.tell(length)))
    }

    fn end_of_response(&mut self, end: usize) -> Event {
        let told = self.told;
        let raw = self.tell(end);
        self.begin_response();
        if told == 0 && raw.len() <= self.limits.response_bytes_max {
            Event::Response(Response::new(raw))
        } else {
            Event::End(raw)
        }
    }

    fn tell(&mut self, length: usize) -> Bytes {
        self.told += length as u64;
        self.buffer.split_to(length).freeze()
    }

    fn begin_response(&mut self) {
        self.state = State::Line;
        self.line_start = 0;
        self.scanned = 0;
        self.told = 0;
        self.literals = None;
    }
}

/// Whether a response that begins so may hold literals: data may, status and continuations do not.
fn may_hold_literals(head: &[u8]) -> bool {
    let Some(rest) = head.strip_prefix(b"* ") else {
        return false;
    };
    let length = rest
        .iter()
        .take(8)
        .position(|byte| !byte.is_ascii_alphabetic());
    response::status_word(&rest[..length.unwrap_or(0)]).is_none()
}
