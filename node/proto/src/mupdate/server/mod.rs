//! The server's side of a session: bytes in, events out.
//!
//! The session keeps who may say what when (Cyrus' rules and texts), the exchange of AUTHENTICATE
//! and all limits; it answers by itself whatever needs no knowledge of rows ([`Event::Write`]).
//! Requests come to the driver with their tag, in order; the driver answers by [`super::reply`],
//! and may take several pipelined ones before it answers the first.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::EXTENSION_VERSION;
use super::line::{LineEvent, LineLimits, LineReader, PAYLOAD_OCTETS_MAX, Token, write_quoted};
use super::reply::{AUTHENTICATION_FAILED, LOGGED_OUT, Status, write_bare, write_status};
use super::request::{Request, TAG_OCTETS_MAX, Verb, strings};
use crate::sasl::{Credentials, Mechanism, SaslError, ServerExchange, Step};

#[cfg(test)]
mod tests;

/// Whom a server speaks for, in the last string of its greeting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// The master: `(master)`.
    Master,
    /// A replica of the master at this host; it takes no writes.
    Replica(String),
}

/// Limits and offers of a session.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Host name in the greeting.
    pub host: String,
    /// Name of the implementation in the greeting.
    pub implementation: String,
    /// Its version in the greeting.
    pub version: String,
    /// Master or replica.
    pub source: Source,
    /// Mechanisms that AUTHENTICATE offers.
    pub mechanisms: Vec<Mechanism>,
    /// Offer STARTTLS.
    pub start_tls: bool,
    /// Offer the extension.
    pub extension: bool,
    /// Bounds of lines. Payloads are allowed after login, by `extension`.
    pub limits: LineLimits,
    /// Lines that are answered with BAD before the session ends.
    pub bad_commands_max: u32,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            implementation: "Murder".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            source: Source::Master,
            mechanisms: vec![Mechanism::Plain],
            start_tls: false,
            extension: true,
            limits: LineLimits::default(),
            bad_commands_max: 100,
        }
    }
}

/// What the driver does next.
#[derive(Clone, Debug)]
pub enum Event {
    /// Write this.
    Write(Bytes),
    /// Write out what is owed, shake hands, call [`Session::tls_started`].
    StartTls,
    /// Verify; then write what [`Session::authenticated`] or [`Session::authentication_failed`]
    /// returns. Nothing else is read before.
    Credentials(Credentials),
    /// Answer this with the tag.
    Request {
        /// As sent.
        tag: Bytes,
        /// What is asked.
        request: Request,
    },
    /// Write out what is owed and close.
    Close,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    options: SessionOptions,
    reader: LineReader,
    queue: VecDeque<Event>,
    login: Login,
    streaming: bool,
    closed: bool,
    bad_commands: u32,
}

#[derive(Debug)]
enum Login {
    None,
    Exchange {
        tag: Bytes,
        exchange: ServerExchange,
    },
    /// Credentials are being verified.
    Verifying {
        tag: Bytes,
    },
    /// The TLS handshake is under way.
    Handshake,
    Done,
}

impl Session {
    /// A session just connected; its first event is the greeting.
    #[must_use]
    pub fn new(options: SessionOptions) -> Self {
        let mut reader = LineReader::new(options.limits.clone());
        reader.allow_payloads(0);
        let greeting = Event::Write(greeting(&options).freeze());
        Self {
            options,
            reader,
            queue: VecDeque::from([greeting]),
            login: Login::None,
            streaming: false,
            closed: false,
            bad_commands: 0,
        }
    }

    /// Adds octets that were read.
    pub fn feed(&mut self, octets: &[u8]) {
        self.reader.feed(octets);
    }

    /// The credentials are right. Returns what to write.
    pub fn authenticated(&mut self) -> BytesMut {
        let mut out = BytesMut::new();
        if let Login::Verifying { tag } = &self.login {
            write_status(&mut out, tag, Status::Ok, super::reply::AUTHENTICATED);
            self.login = Login::Done;
            if self.options.extension {
                self.reader.allow_payloads(PAYLOAD_OCTETS_MAX);
            }
        }
        out
    }

    /// The credentials are wrong. Returns what to write.
    pub fn authentication_failed(&mut self) -> BytesMut {
        let mut out = BytesMut::new();
        if let Login::Verifying { tag } = &self.login {
            write_status(&mut out, tag, Status::No, AUTHENTICATION_FAILED);
            self.login = Login::None;
            self.count_bad();
        }
        out
    }

    /// TLS is up: all that was said in clear is forgotten, and the greeting comes again with these
    /// mechanisms.
    pub fn tls_started(&mut self, mechanisms: Vec<Mechanism>) {
        let options = SessionOptions {
            start_tls: false,
            mechanisms,
            ..self.options.clone()
        };
        let bad_commands = self.bad_commands;
        *self = Self {
            bad_commands,
            ..Self::new(options)
        };
    }

    /// The next event, or `None` if more octets or an answer of the driver are needed.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            if self.closed || matches!(self.login, Login::Verifying { .. } | Login::Handshake) {
                return None;
            }
            if matches!(self.login, Login::Exchange { .. }) {
                let line = self.reader.next_raw_line()?;
                self.response(line.as_deref().map_err(|_| SaslError::TooLong));
                continue;
            }
            match self.reader.next_event()? {
                LineEvent::NeedContinuation => {
                    let event = Event::Write(Bytes::from_static(b"+ go ahead\r\n"));
                    self.queue.push_back(event);
                }
                LineEvent::Bad { tag, error } => {
                    let untagged = || Bytes::from_static(b"*");
                    let tag = tag.filter(usable).unwrap_or_else(untagged);
                    self.bad(&tag, &error.to_string());
                }
                LineEvent::Line(tokens) => self.line(&tokens),
            }
        }
    }

    fn line(&mut self, tokens: &[Token]) {
        let (tag, rest) = match tokens {
            [Token::Atom(tag), rest @ ..] if usable(tag) => (tag, rest),
            [] | [Token::Atom(_)] => return self.bad(b"*", "Need command"),
            _ => return self.bad(b"*", "Need tag"),
        };
        let (word, arguments) = match rest {
            [] => return self.bad(b"*", "Need command"),
            [Token::Atom(word), ..] if word.is_empty() => return self.bad(tag, "Null command"),
            [Token::Atom(word), arguments @ ..] => (word, arguments),
            [Token::String(_), ..] => return self.bad(tag, "Unrecognized command"),
        };
        let verb =
            Verb::parse(word).filter(|&verb| verb != Verb::Extension || self.options.extension);
        let Some(verb) = verb else {
            return self.bad(tag, "Unrecognized command");
        };
        if let Err(text) = self.allowed(verb) {
            return self.bad(tag, text);
        }
        match Request::parse(verb, arguments) {
            Some(Ok(request)) => {
                self.streaming |= matches!(request, Request::Update { .. });
                self.queue.push_back(Event::Request {
                    tag: tag.clone(),
                    request,
                });
            }
            Some(Err(error)) => self.bad(tag, error.text()),
            None => self.connection_command(verb, tag, arguments),
        }
    }

    /// Who may say what when.
    fn allowed(&self, verb: Verb) -> Result<(), &'static str> {
        let logged_in = matches!(self.login, Login::Done);
        match verb {
            Verb::Logout | Verb::Compress => Ok(()),
            Verb::Authenticate if logged_in => Err("already authenticated"),
            Verb::StartTls if logged_in => Err("STARTTLS is not legal after authentication"),
            Verb::Authenticate | Verb::StartTls => Ok(()),
            _ if !logged_in => Err("Please login first"),
            Verb::Noop | Verb::Extension => Ok(()),
            _ if self.streaming => Err("not legal when streaming"),
            Verb::Find | Verb::List | Verb::Update => Ok(()),
            _ if self.options.source != Source::Master => Err("read-only session"),
            Verb::Activate | Verb::Deactivate | Verb::Delete | Verb::Reserve => Ok(()),
        }
    }

    fn connection_command(&mut self, verb: Verb, tag: &Bytes, arguments: &[Token]) {
        let (least, most) = match verb {
            Verb::Authenticate => (1, 2),
            Verb::Compress => (1, 1),
            _ => (0, 0),
        };
        let arguments = match strings(arguments, least, most) {
            Ok(arguments) => arguments,
            Err(error) => return self.bad(tag, error.text()),
        };
        match verb {
            Verb::Authenticate => {
                let mechanism = Mechanism::parse(&arguments[0])
                    .filter(|known| self.options.mechanisms.contains(known));
                let Some(mechanism) = mechanism else {
                    return self.no(tag, "no mechanism available");
                };
                let initial = arguments.get(1).map(Bytes::as_ref);
                let (exchange, step) = ServerExchange::start(mechanism, initial);
                self.step(tag.clone(), exchange, step);
            }
            Verb::StartTls if self.options.start_tls => {
                self.write(|out| {
                    write_bare(out, tag, Status::Ok, "Begin TLS negotiation now");
                });
                self.queue.push_back(Event::StartTls);
                self.login = Login::Handshake;
            }
            Verb::StartTls => self.no(tag, "TLS is not available"),
            Verb::Compress => self.no(tag, "compression is not available"),
            _ => {
                self.write(|out| write_status(out, tag, Status::Ok, LOGGED_OUT));
                self.close();
            }
        }
    }

    fn response(&mut self, line: Result<&[u8], SaslError>) {
        if let Login::Exchange { tag, mut exchange } =
            std::mem::replace(&mut self.login, Login::None)
        {
            let step = match line {
                Ok(line) => exchange.respond(line),
                Err(error) => Step::Failed(error),
            };
            self.step(tag, exchange, step);
        }
    }

    fn step(&mut self, tag: Bytes, exchange: ServerExchange, step: Step) {
        match step {
            Step::Challenge(text) => {
                self.write(|out| {
                    out.extend_from_slice(text.as_bytes());
                    out.extend_from_slice(b"\r\n");
                });
                self.login = Login::Exchange { tag, exchange };
            }
            Step::Done(credentials) => {
                self.queue.push_back(Event::Credentials(credentials));
                self.login = Login::Verifying { tag };
            }
            Step::Failed(SaslError::Cancelled) => {
                self.write(|out| {
                    write_bare(out, &tag, Status::No, "Client canceled authentication");
                });
                self.count_bad();
            }
            Step::Failed(error) => self.no(&tag, &error.to_string()),
        }
    }

    fn write(&mut self, fill: impl FnOnce(&mut BytesMut)) {
        let mut out = BytesMut::new();
        fill(&mut out);
        self.queue.push_back(Event::Write(out.freeze()));
    }

    /// Refuses a command of the connection, and counts it.
    fn no(&mut self, tag: &[u8], text: &str) {
        self.write(|out| write_status(out, tag, Status::No, text));
        self.count_bad();
    }

    fn bad(&mut self, tag: &[u8], text: &str) {
        self.write(|out| write_status(out, tag, Status::Bad, text));
        self.count_bad();
    }

    fn count_bad(&mut self) {
        self.bad_commands = self.bad_commands.saturating_add(1);
        if self.bad_commands > self.options.bad_commands_max {
            self.write(|out| write_status(out, b"*", Status::Bye, "too many bad commands"));
            self.close();
        }
    }

    fn close(&mut self) {
        self.queue.push_back(Event::Close);
        self.closed = true;
    }
}

/// Whether an answer can carry this tag.
fn usable(tag: &Bytes) -> bool {
    let length = (1..=TAG_OCTETS_MAX).contains(&tag.len());
    length && tag.iter().all(u8::is_ascii_graphic) && tag != "*" && tag != "+"
}

/// Capability lines and, last, `* OK MUPDATE`: Cyrus' clients read no further than that.
fn greeting(options: &SessionOptions) -> BytesMut {
    let mut out = BytesMut::new();
    if !options.mechanisms.is_empty() {
        out.extend_from_slice(b"* AUTH");
        for mechanism in &options.mechanisms {
            write_quoted(&mut out, mechanism.name());
        }
        out.extend_from_slice(b"\r\n");
    }
    if options.start_tls {
        out.extend_from_slice(b"* STARTTLS\r\n");
    }
    out.extend_from_slice(b"* PARTIAL-UPDATE\r\n");
    if options.extension {
        out.extend_from_slice(b"* XMURDER");
        write_quoted(&mut out, &EXTENSION_VERSION.to_string());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"* OK MUPDATE");
    let source = match &options.source {
        Source::Master => "(master)".to_owned(),
        Source::Replica(master) => format!("mupdate://{master}"),
    };
    for text in [
        &options.host,
        &options.implementation,
        &options.version,
        &source,
    ] {
        write_quoted(&mut out, text);
    }
    out.extend_from_slice(b"\r\n");
    out
}
