//! Just enough of LMTP (RFC 2033) and IMAP (RFC 3501) to put mail in and to read it back, in plain on loopback.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use murder_api::endpoints::Address;

use super::harness::LIMIT;

struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: &Address) -> Self {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            reader: BufReader::new(stream),
        }
    }

    fn send(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).unwrap();
        assert!(line.ends_with(b"\r\n"), "ended after {line:?}");
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    /// The last line of an SMTP reply.
    fn reply(&mut self) -> String {
        loop {
            let line = self.line();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }
}

/// Delivers a message to one recipient, and gives the reply after its end.
pub(crate) fn deliver(lmtp: &Address, recipient: &str, message: &str) -> String {
    let mut connection = Connection::open(lmtp);
    assert!(connection.reply().starts_with("220"));
    let commands = [
        ("LHLO test".to_owned(), "250"),
        ("MAIL FROM:<sender@example.org>".to_owned(), "250"),
        (format!("RCPT TO:<{recipient}>"), "250"),
        ("DATA".to_owned(), "354"),
    ];
    for (command, expected) in commands {
        connection.send(&format!("{command}\r\n"));
        let reply = connection.reply();
        if !reply.starts_with(expected) {
            return reply;
        }
    }
    connection.send(&format!("{message}\r\n.\r\n"));
    connection.reply()
}

/// An IMAP session.
pub(crate) struct Imap {
    connection: Connection,
    tag: u32,
}

impl Imap {
    pub(crate) fn login(imap: &Address, user: &str, password: &str) -> Self {
        let mut connection = Connection::open(imap);
        let greeting = connection.line();
        assert!(greeting.starts_with("* OK"), "{greeting}");
        let mut session = Self { connection, tag: 0 };
        session.done(&format!("LOGIN {user} {password}"));
        session
    }

    /// A command's untagged lines with their literals, and its tagged line.
    pub(crate) fn command(&mut self, command: &str) -> (Vec<String>, String) {
        self.tag += 1;
        let tag = format!("t{} ", self.tag);
        self.connection.send(&format!("{tag}{command}\r\n"));
        let mut lines = Vec::new();
        loop {
            let mut line = self.connection.line();
            if let Some(outcome) = line.strip_prefix(&tag) {
                return (lines, outcome.to_owned());
            }
            while let Some(length) = literal(&line) {
                let mut bytes = vec![0; length];
                self.connection.reader.read_exact(&mut bytes).unwrap();
                line.push_str(&String::from_utf8_lossy(&bytes));
                line.push_str(&self.connection.line());
            }
            lines.push(line);
        }
    }

    /// A command that must be done.
    pub(crate) fn done(&mut self, command: &str) -> Vec<String> {
        let (lines, outcome) = self.command(command);
        assert!(outcome.starts_with("OK"), "{command}: {outcome}");
        lines
    }

    /// All of a mailbox: UIDVALIDITY, and flags and text by UID.
    pub(crate) fn read(&mut self, mailbox: &str) -> Mailbox {
        let selected = self.done(&format!("EXAMINE {mailbox}"));
        let number = |line: &str, word: &str| -> Option<u32> {
            let rest = &line[line.find(word)? + word.len()..];
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            rest[..end].parse().ok()
        };
        let validity = selected
            .iter()
            .find_map(|line| number(line, "UIDVALIDITY "));
        let mut messages = BTreeMap::new();
        for line in self.done("UID FETCH 1:* (UID FLAGS BODY.PEEK[])") {
            let Some(uid) = number(&line, "UID ") else {
                continue;
            };
            let flags = ["\\Flagged", "\\Seen"];
            let flags = flags.into_iter().filter(|flag| line.contains(flag));
            let text = line.split_once("\r\n\r\n").map_or("", |(_, text)| text);
            let message = (flags.collect::<String>(), text.to_owned());
            messages.insert(uid, message);
        }
        Mailbox {
            validity: validity.unwrap(),
            messages,
        }
    }
}

/// What must survive whatever moves.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Mailbox {
    pub(crate) validity: u32,
    pub(crate) messages: BTreeMap<u32, (String, String)>,
}

fn literal(line: &str) -> Option<usize> {
    let (_, length) = line.strip_suffix('}')?.rsplit_once('{')?;
    length.parse().ok()
}
