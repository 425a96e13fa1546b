//! What clients read: the greeting, rows, answers, and the extension's lines.
//!
//! Texts of answers are taken quoted or bare. A line that cannot be understood is an error; the
//! connection is of no use then and what it streamed has to be asked for anew.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use super::line::{
    LineError, LineEvent, LineLimits, LineReader, PAYLOAD_OCTETS_MAX, Token, write_string,
};
use super::reply::Status;
use super::request::strings;
use crate::sasl::ClientExchange;

/// Most capability lines of a greeting.
pub const CAPABILITIES_MAX: usize = 64;

/// The server does not speak MUPDATE.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ProtocolError {
    /// The line itself.
    #[error("server sent a bad line: {0}")]
    Line(#[from] LineError),
    /// A known word with other arguments than it has.
    #[error("server sent a malformed {0} line")]
    Arguments(&'static str),
    /// A tagged word that is not known.
    #[error("server sent an unknown line")]
    Unknown,
    /// A literal that waits; RFC 3656 section 2.2 tells servers not to send one.
    #[error("server sent a synchronising literal")]
    Synchronising,
    /// More than [`CAPABILITIES_MAX`].
    #[error("server sent too many capability lines")]
    TooManyCapabilities,
}

/// The server's first words, up to `* OK MUPDATE`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Greeting {
    /// Names of SASL mechanisms, upper case.
    pub mechanisms: Vec<String>,
    /// STARTTLS is possible.
    pub start_tls: bool,
    /// UPDATE takes servers.
    pub partial_update: bool,
    /// Version of our extension, if the server has it.
    pub extension: Option<u32>,
    /// Host name.
    pub host: String,
    /// Name of the implementation.
    pub implementation: String,
    /// Its version.
    pub version: String,
    /// `(master)`, or the URL of the master that this replica follows.
    pub source: String,
}

/// One line of a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerLine {
    /// The greeting is complete. It comes again after STARTTLS.
    Greeting(Greeting),
    /// An active row.
    Mailbox {
        /// Of the request, or of UPDATE for ever.
        tag: Bytes,
        /// Internal name.
        name: Bytes,
        /// `server!partition`.
        location: Bytes,
        /// As in ACTIVATE.
        acl: Bytes,
    },
    /// A reserved row.
    Reserve {
        /// As above.
        tag: Bytes,
        /// Internal name.
        name: Bytes,
        /// `server!partition`.
        location: Bytes,
    },
    /// A row that is gone, which may never have been seen.
    Delete {
        /// As above.
        tag: Bytes,
        /// Internal name.
        name: Bytes,
    },
    /// The answer to an extension request.
    ExtensionReply {
        /// Of the request.
        tag: Bytes,
        /// Opaque here.
        payload: Bytes,
    },
    /// One item of an extension stream.
    StreamItem {
        /// Of the request that started the stream.
        tag: Bytes,
        /// Opaque here.
        payload: Bytes,
    },
    /// The end of a command, or of the connection.
    Status {
        /// `None` for `*`.
        tag: Option<Bytes>,
        /// The word.
        status: Status,
        /// The text.
        text: String,
    },
    /// A SASL challenge in base64, answered by one bare line.
    Challenge(Bytes),
    /// `+ go ahead`.
    Continue,
}

/// Reads a server's lines.
#[derive(Debug)]
pub struct ClientReader {
    lines: LineReader,
    greeting: Greeting,
    capabilities: usize,
}

impl Default for ClientReader {
    fn default() -> Self {
        let limits = LineLimits {
            payload_octets_max: PAYLOAD_OCTETS_MAX,
            ..LineLimits::default()
        };
        Self {
            lines: LineReader::new(limits),
            greeting: Greeting::default(),
            capabilities: 0,
        }
    }
}

impl ClientReader {
    /// A reader for a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds octets that were read.
    pub fn feed(&mut self, octets: &[u8]) {
        self.lines.feed(octets);
    }

    /// TLS is up: all that was read in clear is forgotten; a new greeting follows.
    pub fn tls_started(&mut self) {
        *self = Self::default();
    }

    /// The next line, or `None` if more octets are needed.
    pub fn next_line(&mut self) -> Result<Option<ServerLine>, ProtocolError> {
        while let Some(event) = self.lines.next_event() {
            let tokens = match event {
                LineEvent::Line(tokens) => tokens,
                LineEvent::NeedContinuation => return Err(ProtocolError::Synchronising),
                LineEvent::Bad { error, .. } => return Err(error.into()),
            };
            if let Some(line) = self.line(&tokens)? {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    fn line(&mut self, tokens: &[Token]) -> Result<Option<ServerLine>, ProtocolError> {
        match tokens {
            [] => Ok(Some(ServerLine::Challenge(Bytes::new()))),
            [Token::Atom(challenge)] if challenge != "+" => {
                Ok(Some(ServerLine::Challenge(challenge.clone())))
            }
            [Token::Atom(tag), ..] if tag == "+" => Ok(Some(ServerLine::Continue)),
            [Token::Atom(tag), Token::Atom(word), arguments @ ..] if tag == "*" => {
                self.untagged(word, arguments)
            }
            [Token::Atom(tag), Token::Atom(word), arguments @ ..] => {
                tagged(tag.clone(), word, arguments).map(Some)
            }
            _ => Err(ProtocolError::Unknown),
        }
    }

    fn untagged(
        &mut self,
        word: &Bytes,
        arguments: &[Token],
    ) -> Result<Option<ServerLine>, ProtocolError> {
        if let Some(status) = status_of(word) {
            if let (Status::Ok, Some(Token::Atom(name))) = (status, arguments.first())
                && name.eq_ignore_ascii_case(b"MUPDATE")
            {
                return self.banner(&arguments[1..]).map(Some);
            }
            let text = text_of(arguments);
            return Ok(Some(ServerLine::Status {
                tag: None,
                status,
                text,
            }));
        }
        self.capabilities += 1;
        if self.capabilities > CAPABILITIES_MAX {
            return Err(ProtocolError::TooManyCapabilities);
        }
        let mut words = arguments.iter().map(|token| lossy(token.octets()));
        match word.to_ascii_uppercase().as_slice() {
            b"AUTH" => {
                let names = words.map(|word| word.to_ascii_uppercase());
                self.greeting.mechanisms.extend(names);
            }
            b"STARTTLS" => self.greeting.start_tls = true,
            b"PARTIAL-UPDATE" => self.greeting.partial_update = true,
            b"XMURDER" => self.greeting.extension = words.next().and_then(|word| word.parse().ok()),
            _ => {}
        }
        Ok(None)
    }

    fn banner(&mut self, arguments: &[Token]) -> Result<ServerLine, ProtocolError> {
        let words = strings(arguments, 4, 4).map_err(|_| ProtocolError::Arguments("MUPDATE"))?;
        self.capabilities = 0;
        let mut greeting = std::mem::take(&mut self.greeting);
        greeting.host = lossy(&words[0]);
        greeting.implementation = lossy(&words[1]);
        greeting.version = lossy(&words[2]);
        greeting.source = lossy(&words[3]);
        Ok(ServerLine::Greeting(greeting))
    }
}

fn tagged(tag: Bytes, word: &Bytes, arguments: &[Token]) -> Result<ServerLine, ProtocolError> {
    fn exactly<const N: usize>(
        word: &'static str,
        arguments: &[Token],
    ) -> Result<[Bytes; N], ProtocolError> {
        let taken = strings(arguments, N, N)
            .ok()
            .and_then(|taken| taken.try_into().ok());
        taken.ok_or(ProtocolError::Arguments(word))
    }
    if let Some(status) = status_of(word) {
        let text = text_of(arguments);
        return Ok(ServerLine::Status {
            tag: Some(tag),
            status,
            text,
        });
    }
    Ok(match word.to_ascii_uppercase().as_slice() {
        b"MAILBOX" => {
            let [name, location, acl] = exactly("MAILBOX", arguments)?;
            ServerLine::Mailbox {
                tag,
                name,
                location,
                acl,
            }
        }
        b"RESERVE" => {
            let [name, location] = exactly("RESERVE", arguments)?;
            ServerLine::Reserve {
                tag,
                name,
                location,
            }
        }
        b"DELETE" => {
            let [name] = exactly("DELETE", arguments)?;
            ServerLine::Delete { tag, name }
        }
        b"XR" => {
            let [payload] = exactly("XR", arguments)?;
            ServerLine::ExtensionReply { tag, payload }
        }
        b"XS" => {
            let [payload] = exactly("XS", arguments)?;
            ServerLine::StreamItem { tag, payload }
        }
        _ => return Err(ProtocolError::Unknown),
    })
}

fn status_of(word: &Bytes) -> Option<Status> {
    let known = |(name, _): &&(&str, Status)| word.eq_ignore_ascii_case(name.as_bytes());
    Status::ALL.iter().find(known).map(|&(_, status)| status)
}

/// The text of an answer: one string, or bare words.
fn text_of(arguments: &[Token]) -> String {
    let words: Vec<_> = arguments
        .iter()
        .map(|token| lossy(token.octets()))
        .collect();
    words.join(" ")
}

fn lossy(octets: &Bytes) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// Appends AUTHENTICATE with the exchange's first message.
pub fn write_authenticate(out: &mut BytesMut, tag: &str, exchange: &mut ClientExchange) {
    out.extend_from_slice(tag.as_bytes());
    let name = exchange.mechanism().name();
    out.extend_from_slice(format!(" AUTHENTICATE \"{name}\"").as_bytes());
    if let Some(initial) = exchange.initial_response() {
        write_string(out, initial.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the answer to a challenge; cancels if the exchange has nothing more to say.
pub fn write_response(out: &mut BytesMut, exchange: &mut ClientExchange) {
    let response = exchange.respond().unwrap_or_else(|| "*".to_owned());
    out.extend_from_slice(response.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends STARTTLS.
pub fn write_start_tls(out: &mut BytesMut, tag: &str) {
    out.extend_from_slice(format!("{tag} STARTTLS\r\n").as_bytes());
}

/// Appends LOGOUT.
pub fn write_logout(out: &mut BytesMut, tag: &str) {
    out.extend_from_slice(format!("{tag} LOGOUT\r\n").as_bytes());
}

#[cfg(test)]
mod tests;
