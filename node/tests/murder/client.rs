//! An IMAP client that shows every line.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use murder_e2e::murder::{Murder, PASSWORD};

/// No answer of a healthy node takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self {
            reader: BufReader::new(socket),
        }
    }

    /// A session at a node that has logged in.
    pub(crate) fn login(murder: &Murder, node: &str, user: &str) -> Self {
        let mut client = Self::connect(murder.addresses(node).unwrap().imap);
        client.line();
        let answer = client.command(&format!("LOGIN {user} {PASSWORD}"));
        assert!(answer.last().unwrap().starts_with("t OK "), "{answer:?}");
        client
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    /// One line without its end; empty at the end of the connection.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).unwrap();
        let line = line.strip_suffix(b"\r\n").unwrap_or(&line);
        String::from_utf8_lossy(line).into_owned()
    }

    /// Exactly so many bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Sends `t COMMAND` and returns all lines up to and with the tagged one.
    pub(crate) fn command(&mut self, command: &str) -> Vec<String> {
        self.send(format!("t {command}\r\n").as_bytes());
        self.until_tag()
    }

    /// The same, which must end with OK.
    pub(crate) fn ok(&mut self, command: &str) -> Vec<String> {
        let lines = self.command(command);
        let last = lines.last().unwrap();
        assert!(last.starts_with("t OK "), "{command}: {lines:?}");
        lines
    }

    /// The tagged answer alone.
    pub(crate) fn answer(&mut self, command: &str) -> String {
        self.command(command).pop().unwrap()
    }

    pub(crate) fn append(&mut self, mailbox: &str, flags: &str, message: &str) -> String {
        let size = message.len();
        self.send(
            format!("t APPEND \"{mailbox}\" ({flags}) {{{size}+}}\r\n{message}\r\n").as_bytes(),
        );
        self.until_tag().pop().unwrap()
    }

    pub(crate) fn until_tag(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            let ended = line.starts_with("t ");
            assert!(
                !line.is_empty() || !lines.is_empty(),
                "the connection ended"
            );
            lines.push(line);
            if ended {
                return lines;
            }
        }
    }
}

pub(crate) fn message(id: &str) -> String {
    format!(
        "From: Sender <sender@example.org>\r\nTo: alice@example.org\r\nSubject: about {id}\r\n\
         Message-ID: <{id}@example.org>\r\n\r\nText of {id}\r\n"
    )
}
