//! The server's side of a session: bytes in, events out.
//!
//! The session keeps the order of commands, all limits, AUTH's exchange and the framing of the
//! content; it answers by itself whatever needs no knowledge of mail ([`Event::Reply`]). The
//! driver decides the rest: for [`Event::Mail`], [`Event::Recipient`] and [`Event::Data`] it
//! writes a reply, after calling `accept_…` if the reply is a good one. What is not accepted before
//! the next call of [`Session::next_event`] counts as refused. Pipelined commands (RFC 2920) come
//! as one event after the other.
//!
//! The driver reads from its peer only when `next_event` has returned `None`; then the buffer
//! holds less than one command line. Content is handed on as it comes and never gathered.

mod commands;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::command::{self, Mail, RecipientTo};
use super::data::{Decoded, Unstuffer};
use super::reply::{EnhancedCode, Reply};
use crate::sasl::{Credentials, Mechanism, ServerExchange};

/// Limits and offers of a session.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The server's name in the greeting and in LHLO's reply.
    pub host: String,
    /// Largest message, in octets of its content.
    pub message_octets_max: u64,
    /// Most recipients of one message.
    pub recipients_max: usize,
    /// Longest command line with its CRLF, in octets. RFC 5321 asks for 512; parameters and
    /// folder names need more.
    pub line_octets_max: usize,
    /// Commands that are refused before the session ends.
    pub bad_commands_max: u32,
    /// Commands between two messages that carry no mail (NOOP, RSET, VRFY, LHLO) before the
    /// session ends.
    pub idle_commands_max: u32,
    /// Offer STARTTLS.
    pub start_tls: bool,
    /// Mechanisms offered by AUTH; none: no AUTH.
    pub mechanisms: Vec<Mechanism>,
    /// Offer Cyrus' IGNOREQUOTA parameter of RCPT.
    pub ignore_quota: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            message_octets_max: 64 * 1024 * 1024,
            recipients_max: 1000,
            line_octets_max: 4096,
            bad_commands_max: 20,
            idle_commands_max: 1000,
            start_tls: false,
            mechanisms: Vec::new(),
            ignore_quota: false,
        }
    }
}

/// What the driver does next.
#[derive(Clone, Debug)]
pub enum Event {
    /// Write this.
    Reply(Reply),
    /// The client gave its name. Nothing to write.
    Hello(String),
    /// Write out what is owed, shake hands, call [`Session::tls_started`].
    StartTls,
    /// Verify; then [`Session::authenticated`] or [`Session::authentication_failed`].
    Credentials(Credentials),
    /// Decide about the sender; [`Session::accept_mail`] if it is fine; write a reply.
    Mail(Mail),
    /// Decide about the recipient; [`Session::accept_recipient`] if it is fine; write a reply.
    Recipient(RecipientTo),
    /// Decide whether content may come by DATA; [`Session::accept_data`] and a 354 if so.
    Data,
    /// Octets of the content, by DATA (dots taken out) or by BDAT.
    Content(Bytes),
    /// A BDAT chunk that is not the last was taken whole: write one reply.
    ChunkEnd {
        /// Its size.
        octets: u64,
    },
    /// The content is complete: write one reply for each accepted recipient, in their order.
    MessageEnd {
        /// Size of the content.
        octets: u64,
        /// It is larger than allowed and was not handed on to its end: refuse it with
        /// [`Reply::too_large`].
        too_large: bool,
    },
    /// The open transaction is dropped. Nothing to write.
    Dropped,
    /// Write out what is owed and close.
    Close,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    options: SessionOptions,
    buffer: BytesMut,
    /// Octets of the buffer known to hold no LF.
    scanned: usize,
    input: Input,
    queue: VecDeque<Event>,
    pending: Option<Pending>,
    transaction: Option<Transaction>,
    greeted: bool,
    authenticated: bool,
    bad_commands: u32,
    idle_commands: u32,
}

#[derive(Debug)]
enum Input {
    Commands,
    /// The rest of a line that was too long.
    RestOfLine,
    Sasl(ServerExchange),
    Content(Unstuffer),
    Chunk(Chunk),
    /// Nothing is read: during a TLS handshake and after the end.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    octets: u64,
    left: u64,
    last: bool,
    /// `false`: BDAT came out of order, its octets only have to go.
    wanted: bool,
}

#[derive(Debug)]
enum Pending {
    Mail { utf8: bool },
    Recipient,
    Data,
    Credentials,
}

#[derive(Debug, Default)]
struct Transaction {
    utf8: bool,
    recipients: usize,
    octets: u64,
    chunked: bool,
    too_large: bool,
}

impl Session {
    /// A session just connected. The driver writes [`Reply::greeting`] first.
    #[must_use]
    pub fn new(options: SessionOptions) -> Self {
        Self {
            options,
            buffer: BytesMut::new(),
            scanned: 0,
            input: Input::Commands,
            queue: VecDeque::new(),
            pending: None,
            transaction: None,
            greeted: false,
            authenticated: false,
            bad_commands: 0,
            idle_commands: 0,
        }
    }

    /// Adds octets that were read.
    pub fn feed(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// The buffer that `next_event` reads from, for drivers that read into it without a copy:
    /// they append to it and do nothing else.
    pub const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Changes which mechanisms AUTH offers, as after a TLS handshake.
    pub fn offer(&mut self, mechanisms: Vec<Mechanism>) {
        self.options.mechanisms = mechanisms;
    }

    /// The sender is fine: recipients may follow.
    pub fn accept_mail(&mut self) {
        if let Some(Pending::Mail { utf8 }) = self.pending.take() {
            self.transaction = Some(Transaction {
                utf8,
                ..Transaction::default()
            });
        }
    }

    /// The recipient is fine: it gets a reply of its own after the content.
    pub fn accept_recipient(&mut self) {
        if let (Some(Pending::Recipient), Some(open)) = (self.pending.take(), &mut self.transaction)
        {
            open.recipients += 1;
        }
    }

    /// Content may come; the driver writes [`Reply::start_content`].
    pub fn accept_data(&mut self) {
        if let Some(Pending::Data) = self.pending.take() {
            self.input = Input::Content(Unstuffer::default());
        }
    }

    /// The credentials are right; the driver writes [`Reply::authenticated`].
    pub fn authenticated(&mut self) {
        if let Some(Pending::Credentials) = self.pending.take() {
            self.authenticated = true;
        }
    }

    /// The credentials are wrong; the driver writes [`Reply::authentication_failed`].
    pub fn authentication_failed(&mut self) {
        self.pending = None;
        self.count_bad();
    }

    /// Counts a refusal of the driver's own as a bad command.
    pub fn count_refusal(&mut self) {
        self.count_bad();
    }

    /// TLS is up: all that was said before is forgotten (RFC 3207 section 4.2).
    pub fn tls_started(&mut self) {
        let options = SessionOptions {
            start_tls: false,
            ..self.options.clone()
        };
        let bad_commands = self.bad_commands;
        *self = Self {
            bad_commands,
            ..Self::new(options)
        };
    }

    /// Whether a transaction has begun that is neither finished nor dropped.
    pub fn is_open(&self) -> bool {
        self.transaction.is_some()
    }

    /// The next event, or `None` if more octets are needed.
    pub fn next_event(&mut self) -> Option<Event> {
        self.pending = None;
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            match &mut self.input {
                Input::Nothing => return None,
                Input::Commands | Input::Sasl(_) => match self.take_line()? {
                    Ok(line) => self.run_line(&line),
                    Err(refusal) => {
                        self.input = match self.input {
                            Input::RestOfLine => Input::RestOfLine,
                            _ => Input::Commands,
                        };
                        self.refuse(refusal);
                    }
                },
                Input::RestOfLine => {
                    let end = memchr::memchr(b'\n', &self.buffer);
                    let Some(end) = end else {
                        self.buffer.clear();
                        return None;
                    };
                    self.buffer.advance(end + 1);
                    self.input = Input::Commands;
                }
                Input::Content(unstuffer) => match unstuffer.decode(&mut self.buffer) {
                    Decoded::NeedMore => return None,
                    Decoded::Content(octets) => self.content(octets),
                    Decoded::End => {
                        self.input = Input::Commands;
                        self.message_end();
                    }
                },
                Input::Chunk(_) => {
                    if !self.chunk_octets() {
                        return None;
                    }
                }
            }
        }
    }

    /// A line without its CRLF, or why it is refused.
    fn take_line(&mut self) -> Option<Result<BytesMut, Reply>> {
        let too_long = || Reply::new(500, EnhancedCode(5, 5, 6), "line is too long");
        let Some(found) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) else {
            self.scanned = self.buffer.len();
            if self.buffer.len() < self.options.line_octets_max {
                return None;
            }
            self.buffer.clear();
            self.scanned = 0;
            self.input = Input::RestOfLine;
            return Some(Err(too_long()));
        };
        let mut line = self.buffer.split_to(self.scanned + found + 1);
        self.scanned = 0;
        if line.len() > self.options.line_octets_max {
            return Some(Err(too_long()));
        }
        line.truncate(line.len() - 1);
        if line.last() != Some(&b'\r') {
            let text = "a command line must end in CRLF";
            return Some(Err(Reply::new(500, EnhancedCode(5, 5, 2), text)));
        }
        line.truncate(line.len() - 1);
        Some(Ok(line))
    }

    fn run_line(&mut self, line: &[u8]) {
        if let Input::Sasl(exchange) = &mut self.input {
            let step = exchange.respond(line);
            return self.sasl_step(step);
        }
        let utf8 = self.transaction.as_ref().is_some_and(|open| open.utf8);
        let done = command::parse(line, utf8).and_then(|command| self.run(command));
        if let Err(refusal) = done {
            self.refuse(refusal);
        }
    }

    /// Takes what the buffer has of a chunk; `false`: more octets are needed.
    fn chunk_octets(&mut self) -> bool {
        let Input::Chunk(chunk) = &mut self.input else {
            return true;
        };
        if chunk.left == 0 {
            let chunk = *chunk;
            self.input = Input::Commands;
            self.chunk_end(chunk);
            return true;
        }
        if self.buffer.is_empty() {
            return false;
        }
        let here = usize::try_from(chunk.left)
            .map_or(self.buffer.len(), |left| left.min(self.buffer.len()));
        chunk.left -= here as u64;
        let octets = self.buffer.split_to(here).freeze();
        let too_large = self.transaction.as_ref().is_some_and(|open| open.too_large);
        if chunk.wanted && !too_large {
            self.queue.push_back(Event::Content(octets));
        }
        true
    }

    fn chunk_end(&mut self, chunk: Chunk) {
        let too_large = self.transaction.as_ref().is_some_and(|open| open.too_large);
        if !chunk.wanted {
            let refusal = match self.transaction {
                Some(_) => no_recipients(),
                None => out_of_order("MAIL comes first"),
            };
            self.refuse(refusal);
        } else if chunk.last {
            self.message_end();
        } else if too_large {
            let reply = Reply::too_large(self.options.message_octets_max);
            self.queue.push_back(Event::Reply(reply));
        } else {
            self.queue.push_back(Event::ChunkEnd {
                octets: chunk.octets,
            });
        }
    }

    /// Content of DATA: handed on up to the largest size, and no further.
    fn content(&mut self, mut octets: Bytes) {
        let octets_max = self.options.message_octets_max;
        let Some(open) = &mut self.transaction else {
            return;
        };
        let room = octets_max.saturating_sub(open.octets);
        open.octets = open.octets.saturating_add(octets.len() as u64);
        open.too_large |= open.octets > octets_max;
        octets.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        if !octets.is_empty() {
            self.queue.push_back(Event::Content(octets));
        }
    }

    fn message_end(&mut self) {
        if let Some(Transaction {
            octets, too_large, ..
        }) = self.transaction.take()
        {
            self.idle_commands = 0;
            self.queue
                .push_back(Event::MessageEnd { octets, too_large });
        }
    }

    fn drop_transaction(&mut self) {
        if self.transaction.take().is_some() {
            self.queue.push_back(Event::Dropped);
        }
    }

    /// Answers a command that carries no mail.
    fn idle(&mut self, reply: Reply) {
        self.idle_commands = self.idle_commands.saturating_add(1);
        if self.idle_commands > self.options.idle_commands_max {
            return self.close(Reply::closing("too many commands without mail"));
        }
        self.queue.push_back(Event::Reply(reply));
    }

    /// Answers a command that is refused, and counts it.
    fn refuse(&mut self, reply: Reply) {
        self.queue.push_back(Event::Reply(reply));
        self.count_bad();
    }

    fn count_bad(&mut self) {
        self.bad_commands = self.bad_commands.saturating_add(1);
        if self.bad_commands > self.options.bad_commands_max {
            self.close(Reply::new(
                421,
                EnhancedCode(4, 7, 0),
                "too many bad commands",
            ));
        }
    }

    fn close(&mut self, reply: Reply) {
        self.drop_transaction();
        self.queue.push_back(Event::Reply(reply));
        self.queue.push_back(Event::Close);
        self.input = Input::Nothing;
    }
}

fn out_of_order(text: &'static str) -> Reply {
    Reply::new(503, EnhancedCode(5, 5, 1), text)
}

fn no_recipients() -> Reply {
    Reply::new(503, EnhancedCode(5, 5, 1), "no recipient was accepted")
}
