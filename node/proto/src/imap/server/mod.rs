//! Reads what a client sends: bytes in, [`Event`]s out (RFC 3501 sections 2.2.1 and 4.3, RFC 7888,
//! RFC 2177, RFC 4959).
//!
//! The driver feeds bytes as they come and calls [`Reader::next`] until it says `None`. It finishes
//! with each event before it asks for the next, because some decide how the following bytes are
//! read: after `IDLE` it calls [`Reader::expect_done`], after `AUTHENTICATE` and each challenge
//! [`Reader::expect_auth_line`], after [`Event::Append`] it accepts or refuses, and for `STARTTLS`
//! it calls [`Reader::discard`].
//!
//! Held are at most the limits' `command_bytes_max` and what was fed and not yet asked for; see
//! [`Reader::buffered`]. Lines end with CRLF; a bare LF is forgiven.

mod event;
mod limits;
mod lines;
mod skip;
#[cfg(test)]
mod tests;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

pub use event::{AppendReceived, Event, Received};
pub use limits::Limits;

use super::command::Append;
use super::literal::{self, LiteralHeader};
use super::parse::{self, AppendArguments, BadCommand};

/// Incremental reader of one client's bytes.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    buffer: BytesMut,
    state: State,
    /// Where the line that is being read begins; before it are earlier lines and literals of the
    /// same command.
    line_start: usize,
    /// Bytes of that line that hold no LF.
    scanned: usize,
    /// Bytes of the command's earlier lines.
    line_bytes: usize,
    literals: usize,
    sync_literals: Vec<usize>,
    /// Tag of the last command.
    tag: Option<Bytes>,
    /// Bytes thrown away of a refused command.
    skipped: u64,
    bad_commands: u32,
    /// Told before anything else is read.
    pending: Option<Event>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// A line of a command.
    Line,
    /// A literal that ends at this place of the buffer.
    Literal {
        end: usize,
    },
    /// An `APPEND` that the driver has not decided on.
    AppendOffered {
        size: u64,
        synchronizing: bool,
    },
    /// Its message.
    AppendMessage {
        left: u64,
    },
    /// The line end after it.
    AppendEnd,
    /// A literal of a refused command.
    SkipLiteral {
        left: u64,
    },
    /// The rest of a line of a refused command.
    SkipLine,
    AuthLine,
    Done,
    /// After [`Event::Fatal`].
    Ended,
}

impl Reader {
    /// A reader at the start of a connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buffer: BytesMut::new(),
            state: State::Line,
            line_start: 0,
            scanned: 0,
            line_bytes: 0,
            literals: 0,
            sync_literals: Vec::new(),
            tag: None,
            skipped: 0,
            bad_commands: 0,
            pending: None,
        }
    }

    /// Changes the limits, for commands that begin after this.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes bytes from the client.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.state != State::Ended {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The buffer that bytes may be read into at its end, instead of [`feed`](Self::feed).
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Bytes held. A driver that has asked for all events and finds more than a command's worth
    /// here should stop reading until it has answered.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Frees the buffer if it holds nothing, for a connection that will be idle.
    pub fn shrink(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Drops everything that was fed and not yet told, as `STARTTLS` demands, so that nothing said
    /// in the clear is taken for said under TLS. Returns how much that was.
    pub fn discard(&mut self) -> usize {
        let discarded = self.buffer.len();
        self.buffer.clear();
        self.begin_command();
        discarded
    }

    /// The next line is a SASL response.
    pub fn expect_auth_line(&mut self) {
        self.expect(State::AuthLine);
    }

    /// The next line is `DONE`.
    pub fn expect_done(&mut self) {
        self.expect(State::Done);
    }

    fn expect(&mut self, state: State) {
        if self.state == State::Line {
            self.state = state;
        }
    }

    /// The next line is a command again, for a driver that ends `AUTHENTICATE` or `IDLE` itself.
    pub fn expect_command(&mut self) {
        if matches!(self.state, State::AuthLine | State::Done) {
            self.begin_command();
        }
    }

    /// Accepts the `APPEND` of the last event: its message comes as [`Event::Literal`]s, after
    /// [`Event::Continue`] if the client waits.
    pub fn accept_append(&mut self) {
        if let State::AppendOffered {
            size,
            synchronizing,
        } = self.state
        {
            self.state = State::AppendMessage { left: size };
            if synchronizing {
                self.pending = Some(Event::Continue);
            }
        }
    }

    /// Refuses the `APPEND` of the last event, which the driver answers with a tagged `NO`: a
    /// client that waits will not send the message, and that of any other is thrown away.
    pub fn refuse_append(&mut self) {
        if let State::AppendOffered {
            size,
            synchronizing,
        } = self.state
        {
            self.begin_command();
            if !synchronizing {
                self.state = State::SkipLiteral { left: size };
            }
        }
    }

    /// The next event, or `None` until more is fed or decided.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would end at the first None"
    )]
    pub fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.pending.take() {
            return Some(event);
        }
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
                    self.line_start = end;
                    self.scanned = 0;
                    self.state = State::Line;
                }
                State::AppendMessage { left: 0 } => self.state = State::AppendEnd,
                State::AppendMessage { left } => return self.message_chunk(left),
                State::AppendEnd => return self.append_end(),
                State::SkipLiteral { left } => self.skip_literal(left)?,
                State::SkipLine => {
                    if let Some(event) = self.skip_line()? {
                        return Some(event);
                    }
                }
                State::AuthLine => return self.auth_line(),
                State::Done => return self.done_line(),
                State::AppendOffered { .. } | State::Ended => return None,
            }
        }
    }

    /// Reads a line of a command. `None`: more is needed; `Some(None)`: the state has changed.
    fn line(&mut self) -> Option<Option<Event>> {
        let line = &self.buffer[self.line_start..];
        let found = memchr(b'\n', &line[self.scanned..]).map(|at| self.scanned + at + 1);
        let length = found.unwrap_or(line.len());
        if self.line_bytes + length > self.limits.line_bytes_max {
            return Some(Some(self.refuse_rest("line too long")));
        }
        let Some(length) = found else {
            self.scanned = length;
            return None;
        };
        self.line_bytes += length;
        let end = self.line_start + length;
        match literal::header(&line[..length]) {
            None => {
                let raw = self.buffer.split_to(end).freeze();
                Some(Some(self.command(raw)))
            }
            Some(header) => Some(self.literal(end, header)),
        }
    }

    fn command(&mut self, raw: Bytes) -> Event {
        let sync_literals = std::mem::take(&mut self.sync_literals);
        self.begin_command();
        match parse::command(&raw) {
            Ok((tag, command)) => {
                self.bad_commands = 0;
                self.tag = Some(tag.clone());
                Event::Command(Received {
                    tag,
                    command,
                    raw,
                    sync_literals,
                })
            }
            Err(BadCommand { tag, text }) => self.bad(tag, text),
        }
    }

    /// Decides on a literal whose header ends at `end` of the buffer.
    fn literal(&mut self, end: usize, header: LiteralHeader) -> Option<Event> {
        let head_length = self.line_start + header.start;
        if header.synchronizing {
            self.sync_literals.push(self.line_start + header.end);
        }
        if parse::is_append(&self.buffer[..head_length]) {
            let head = Bytes::copy_from_slice(&self.buffer[..head_length]);
            match parse::append_arguments(&head) {
                Ok(AppendArguments::MailboxIsLiteral) => {}
                Ok(AppendArguments::Complete { .. })
                    if header.size > self.limits.append_bytes_max =>
                {
                    return Some(self.refuse_literal(end, header, "message too large"));
                }
                Ok(AppendArguments::Complete {
                    mailbox,
                    flags,
                    date,
                }) => {
                    let LiteralHeader {
                        size,
                        synchronizing,
                        ..
                    } = header;
                    let append = Append {
                        mailbox,
                        flags,
                        date,
                        size,
                        synchronizing,
                    };
                    return Some(self.offer_append(end, append));
                }
                Err(text) => return Some(self.refuse_literal(end, header, text)),
            }
        }
        self.literals += 1;
        let room = self.limits.command_bytes_max.saturating_sub(end);
        let size = usize::try_from(header.size).unwrap_or(usize::MAX);
        if size > self.limits.literal_bytes_max {
            return Some(self.refuse_literal(end, header, "literal too large"));
        }
        if size > room {
            return Some(self.refuse_literal(end, header, "command too large"));
        }
        if self.literals > self.limits.literals_max {
            return Some(self.refuse_literal(end, header, "too many literals"));
        }
        self.state = State::Literal { end: end + size };
        header.synchronizing.then_some(Event::Continue)
    }

    fn offer_append(&mut self, end: usize, append: Append) -> Event {
        let raw = self.buffer.split_to(end).freeze();
        let tag = parse::tag(&raw).unwrap_or_default();
        let sync_literals = std::mem::take(&mut self.sync_literals);
        self.begin_command();
        self.bad_commands = 0;
        self.tag = Some(tag.clone());
        let (size, synchronizing) = (append.size, append.synchronizing);
        self.state = State::AppendOffered {
            size,
            synchronizing,
        };
        Event::Append(AppendReceived {
            tag,
            append,
            raw,
            sync_literals,
        })
    }

    /// A literal is not accepted: a client that waits for it begins a new command, and that of any
    /// other is thrown away with the rest of the command.
    fn refuse_literal(&mut self, end: usize, header: LiteralHeader, text: &'static str) -> Event {
        let tag = self.buffered_tag();
        self.buffer.advance(end);
        self.begin_command();
        if !header.synchronizing {
            self.skip(header.size);
        }
        self.bad(tag, text)
    }

    /// The line being read is too long.
    fn refuse_rest(&mut self, text: &'static str) -> Event {
        let tag = self.buffered_tag();
        self.buffer.advance(self.line_start);
        self.begin_command();
        self.state = State::SkipLine;
        self.bad(tag, text)
    }

    fn buffered_tag(&self) -> Option<Bytes> {
        let length = parse::tag_length(&self.buffer)?;
        Some(Bytes::copy_from_slice(&self.buffer[..length]))
    }

    /// Counts a bad command; after too many in a row the reader ends.
    fn bad(&mut self, tag: Option<Bytes>, text: &'static str) -> Event {
        self.bad_commands += 1;
        if self.bad_commands >= self.limits.bad_commands_max && self.pending.is_none() {
            self.end("too many bad commands");
        }
        Event::Bad { tag, text }
    }

    fn end(&mut self, text: &'static str) {
        self.state = State::Ended;
        self.buffer = BytesMut::new();
        self.pending = Some(Event::Fatal { text });
    }

    fn begin_command(&mut self) {
        self.state = State::Line;
        self.line_start = 0;
        self.scanned = 0;
        self.line_bytes = 0;
        self.literals = 0;
        self.sync_literals.clear();
        self.skipped = 0;
    }
}
