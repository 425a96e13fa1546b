//! The client's side: commands and content out, and for each reply of the peer what it answers.
//!
//! Commands may be written ahead of their replies where the peer offers PIPELINING; [`Client`]
//! keeps the order of what is expected. DATA's content may follow only after its 354. Where the
//! peer offers CHUNKING, BDAT is to be preferred: it carries every content octet for octet, while
//! DATA adds a CRLF to one that does not end so ([`Client::finish_data`] tells).

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};
use thiserror::Error;

use super::command::{Mail, RecipientTo};
use super::data::Stuffer;
use super::reply::Reply;
use crate::sasl::ClientExchange;

/// Longest line of a reply that is read.
pub const REPLY_LINE_BYTES_MAX: usize = 4096;

/// Most lines of one reply.
pub const REPLY_LINES_MAX: usize = 128;

/// The peer does not speak LMTP; the connection is of no use any more.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ReplyError {
    /// A line is longer than [`REPLY_LINE_BYTES_MAX`].
    #[error("a reply line is too long")]
    LineTooLong,
    /// More lines than [`REPLY_LINES_MAX`].
    #[error("a reply has too many lines")]
    TooManyLines,
    /// No three digits, or another code on a later line.
    #[error("a reply is malformed")]
    Malformed,
    /// Nothing was asked.
    #[error("a reply came that nothing asked for")]
    Unexpected,
    /// A refused BDAT chunk was followed by more: whether the peer answers once or once per
    /// recipient is anyone's guess.
    #[error("replies after a refused chunk cannot be told apart")]
    Ambiguous,
}

/// Puts replies together from octets.
#[derive(Debug, Default)]
pub struct ReplyReader {
    buffer: BytesMut,
    scanned: usize,
    code: Option<u16>,
    lines: Vec<String>,
}

impl ReplyReader {
    /// Adds octets that were read.
    pub fn feed(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// The next complete reply, or `None` if more octets are needed.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, ReplyError> {
        loop {
            let Some(found) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) else {
                self.scanned = self.buffer.len();
                if self.scanned >= REPLY_LINE_BYTES_MAX {
                    return Err(ReplyError::LineTooLong);
                }
                return Ok(None);
            };
            let line = self.buffer.split_to(self.scanned + found);
            self.buffer.advance(1);
            self.scanned = 0;
            if self.take_line(line.strip_suffix(b"\r").unwrap_or(&line))? {
                let code = self.code.take().ok_or(ReplyError::Malformed)?;
                let lines = std::mem::take(&mut self.lines);
                return Ok(Some(Reply::from_wire(code, lines)));
            }
        }
    }

    /// `true`: the reply is complete.
    fn take_line(&mut self, line: &[u8]) -> Result<bool, ReplyError> {
        if line.len() >= REPLY_LINE_BYTES_MAX {
            return Err(ReplyError::LineTooLong);
        }
        let (&[first, second, third], rest) =
            line.split_first_chunk::<3>().ok_or(ReplyError::Malformed)?;
        let digits =
            matches!(first, b'2'..=b'5') && second.is_ascii_digit() && third.is_ascii_digit();
        let value = |digit: u8| u16::from(digit.wrapping_sub(b'0'));
        let code = value(first) * 100 + value(second) * 10 + value(third);
        if !digits || self.code.is_some_and(|known| known != code) {
            return Err(ReplyError::Malformed);
        }
        let (last, text) = match rest {
            [] => (true, rest),
            [b' ', text @ ..] => (true, text),
            [b'-', text @ ..] => (false, text),
            _ => return Err(ReplyError::Malformed),
        };
        if self.lines.len() >= REPLY_LINES_MAX {
            return Err(ReplyError::TooManyLines);
        }
        self.code = Some(code);
        self.lines.push(String::from_utf8_lossy(text).into_owned());
        Ok(last)
    }
}

/// What the peer offered in its LHLO reply.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Capabilities {
    /// PIPELINING.
    pub pipelining: bool,
    /// 8BITMIME.
    pub eight_bit_mime: bool,
    /// SMTPUTF8.
    pub utf8: bool,
    /// SIZE; 0 where it names no limit.
    pub size: Option<u64>,
    /// CHUNKING.
    pub chunking: bool,
    /// STARTTLS.
    pub start_tls: bool,
    /// Mechanisms of AUTH, upper case.
    pub mechanisms: Vec<String>,
    /// IGNOREQUOTA.
    pub ignore_quota: bool,
}

impl Capabilities {
    fn of(reply: &Reply) -> Self {
        let mut capabilities = Self::default();
        for line in reply.lines().skip(1) {
            let mut words = line.split_ascii_whitespace();
            match words
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase()
                .as_str()
            {
                "PIPELINING" => capabilities.pipelining = true,
                "8BITMIME" => capabilities.eight_bit_mime = true,
                "SMTPUTF8" => capabilities.utf8 = true,
                "SIZE" => {
                    let limit = words.next().and_then(|word| word.parse().ok());
                    capabilities.size = Some(limit.unwrap_or_default());
                }
                "CHUNKING" => capabilities.chunking = true,
                "STARTTLS" => capabilities.start_tls = true,
                "AUTH" => capabilities
                    .mechanisms
                    .extend(words.map(str::to_ascii_uppercase)),
                "IGNOREQUOTA" => capabilities.ignore_quota = true,
                _ => {}
            }
        }
        capabilities
    }
}

/// A reply and what it answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientEvent {
    /// The server's first words.
    Greeting(Reply),
    /// LHLO; [`Client::capabilities`] is up to date.
    Hello(Reply),
    /// STARTTLS; after a 220 the handshake follows, then LHLO again.
    StartTls(Reply),
    /// AUTH or one of its responses; after a 334 call [`Client::auth_respond`].
    Auth(Reply),
    /// MAIL.
    Mail(Reply),
    /// RCPT number `index` of the transaction, from 0.
    Recipient {
        /// As returned by [`Client::recipient`].
        index: usize,
        /// The answer.
        reply: Reply,
    },
    /// DATA: 354, or a refusal.
    Data(Reply),
    /// A BDAT chunk that was not the last. If it is refused, fail all recipients with it and close.
    Chunk(Reply),
    /// The message's fate for one accepted recipient.
    Delivered {
        /// As returned by [`Client::recipient`].
        index: usize,
        /// The answer.
        reply: Reply,
    },
    /// The one answer to content that no recipient was accepted for.
    Undelivered(Reply),
    /// RSET or NOOP.
    Idle(Reply),
    /// QUIT.
    Quit(Reply),
}

#[derive(Clone, Copy, Debug)]
enum Expected {
    Greeting,
    Hello,
    StartTls,
    Auth,
    Mail,
    Recipient(usize),
    Data,
    Chunk,
    /// After the final dot or BDAT LAST; becomes one `Delivered` per accepted recipient.
    Final,
    Delivered(usize),
    Idle,
    Quit,
}

/// One connection to an LMTP server.
#[derive(Debug)]
pub struct Client {
    replies: ReplyReader,
    output: BytesMut,
    expected: VecDeque<Expected>,
    capabilities: Capabilities,
    recipients: usize,
    accepted: Vec<usize>,
    chunk_refused: bool,
    stuffer: Stuffer,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            replies: ReplyReader::default(),
            output: BytesMut::new(),
            expected: VecDeque::from([Expected::Greeting]),
            capabilities: Capabilities::default(),
            recipients: 0,
            accepted: Vec::new(),
            chunk_refused: false,
            stuffer: Stuffer::default(),
        }
    }
}

impl Client {
    /// A connection just opened; the greeting is the first event.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is to be written to the peer; the driver takes from its front.
    pub const fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// What the last LHLO reply offered.
    #[must_use]
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Number of replies still to come; those of a final one count as one until it comes.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.expected.len()
    }

    /// Adds octets that were read.
    pub fn feed(&mut self, octets: &[u8]) {
        self.replies.feed(octets);
    }

    /// The next reply and its meaning, or `None` if more octets are needed.
    pub fn next_event(&mut self) -> Result<Option<ClientEvent>, ReplyError> {
        let Some(reply) = self.replies.next_reply()? else {
            return Ok(None);
        };
        let mut expected = self.expected.pop_front().ok_or(ReplyError::Unexpected)?;
        if matches!(expected, Expected::Final) {
            if self.chunk_refused {
                return Err(ReplyError::Ambiguous);
            }
            let accepted = std::mem::take(&mut self.accepted);
            for &index in accepted.iter().rev() {
                self.expected.push_front(Expected::Delivered(index));
            }
            if !accepted.is_empty() {
                expected = self.expected.pop_front().ok_or(ReplyError::Unexpected)?;
            }
        }
        Ok(Some(self.event(expected, reply)))
    }

    fn event(&mut self, expected: Expected, reply: Reply) -> ClientEvent {
        match expected {
            Expected::Greeting => ClientEvent::Greeting(reply),
            Expected::Hello => {
                self.capabilities = Capabilities::of(&reply);
                ClientEvent::Hello(reply)
            }
            Expected::StartTls => ClientEvent::StartTls(reply),
            Expected::Auth => ClientEvent::Auth(reply),
            Expected::Mail => {
                self.accepted.clear();
                ClientEvent::Mail(reply)
            }
            Expected::Recipient(index) => {
                if reply.is_success() {
                    self.accepted.push(index);
                }
                ClientEvent::Recipient { index, reply }
            }
            Expected::Data => ClientEvent::Data(reply),
            Expected::Chunk => {
                self.chunk_refused |= !reply.is_success();
                ClientEvent::Chunk(reply)
            }
            Expected::Delivered(index) => ClientEvent::Delivered { index, reply },
            Expected::Final => ClientEvent::Undelivered(reply),
            Expected::Idle => ClientEvent::Idle(reply),
            Expected::Quit => ClientEvent::Quit(reply),
        }
    }

    fn command(&mut self, line: &str, expected: Expected) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
        self.expected.push_back(expected);
    }

    /// LHLO.
    pub fn hello(&mut self, host: &str) {
        self.command(&format!("LHLO {host}"), Expected::Hello);
    }

    /// STARTTLS.
    pub fn start_tls(&mut self) {
        self.command("STARTTLS", Expected::StartTls);
    }

    /// TLS is up: what was said before it is forgotten (RFC 3207 section 4.2), LHLO comes again.
    pub fn tls_started(&mut self) {
        self.replies = ReplyReader::default();
        self.capabilities = Capabilities::default();
    }

    /// AUTH with the exchange's first message, if it has one.
    pub fn auth(&mut self, exchange: &mut ClientExchange) {
        let mechanism = exchange.mechanism().name();
        let line = match exchange.initial_response() {
            Some(initial) => format!("AUTH {mechanism} {initial}"),
            None => format!("AUTH {mechanism}"),
        };
        self.command(&line, Expected::Auth);
    }

    /// Answers a 334; cancels if the exchange has nothing more to say.
    pub fn auth_respond(&mut self, exchange: &mut ClientExchange) {
        let response = exchange.respond().unwrap_or_else(|| "*".to_owned());
        self.command(&response, Expected::Auth);
    }

    /// MAIL, with those parameters that the peer offers. `false`: nothing was written, since the
    /// message needs SMTPUTF8 and the peer has it not.
    #[must_use]
    pub fn mail(&mut self, mail: &Mail) -> bool {
        if mail.utf8 && !self.capabilities.utf8 {
            return false;
        }
        let offered = &self.capabilities;
        let mail = Mail {
            sender: mail.sender.clone(),
            size: mail.size.filter(|_| offered.size.is_some()),
            body: mail.body.filter(|_| offered.eight_bit_mime),
            utf8: mail.utf8,
            submitter: mail
                .submitter
                .clone()
                .filter(|_| !offered.mechanisms.is_empty()),
        };
        self.recipients = 0;
        self.command(&mail.to_line(), Expected::Mail);
        true
    }

    /// RCPT; returns its number in the transaction.
    pub fn recipient(&mut self, recipient: &RecipientTo) -> usize {
        let ignore_quota = recipient.ignore_quota && self.capabilities.ignore_quota;
        let recipient = RecipientTo {
            address: recipient.address.clone(),
            ignore_quota,
        };
        let index = self.recipients;
        self.recipients += 1;
        self.command(&recipient.to_line(), Expected::Recipient(index));
        index
    }

    /// DATA; wait for its 354 before [`Self::content`].
    pub fn data(&mut self) {
        self.stuffer = Stuffer::default();
        self.command("DATA", Expected::Data);
    }

    /// Content after a 354, in pieces of any size.
    pub fn content(&mut self, octets: &[u8]) {
        self.stuffer.encode(octets, &mut self.output);
    }

    /// The final dot. Returns whether a CRLF had to be added to the content.
    pub fn finish_data(&mut self) -> bool {
        self.expected.push_back(Expected::Final);
        std::mem::take(&mut self.stuffer).finish(&mut self.output)
    }

    /// BDAT with its octets.
    pub fn chunk(&mut self, octets: &[u8], last: bool) {
        let size = octets.len();
        if last {
            self.command(&format!("BDAT {size} LAST"), Expected::Final);
        } else {
            self.command(&format!("BDAT {size}"), Expected::Chunk);
        }
        self.output.extend_from_slice(octets);
    }

    /// RSET.
    pub fn reset(&mut self) {
        self.command("RSET", Expected::Idle);
    }

    /// NOOP, to see whether the peer is still there.
    pub fn noop(&mut self) {
        self.command("NOOP", Expected::Idle);
    }

    /// QUIT.
    pub fn quit(&mut self) {
        self.command("QUIT", Expected::Quit);
    }
}
