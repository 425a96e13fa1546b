//! An IMAP client whose server may go away at any moment.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use murder_e2e::murder::{ADMIN, PASSWORD};

/// No answer of a healthy node takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Imap {
    reader: BufReader<TcpStream>,
}

impl Imap {
    pub(crate) fn login(address: SocketAddr, user: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let mut client = Self {
            reader: BufReader::new(socket),
        };
        client.line()?;
        client.ok(&format!("LOGIN {user} {PASSWORD}"))?;
        Ok(client)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        if self.reader.read_until(b'\n', &mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let line = line.strip_suffix(b"\r\n").unwrap_or(&line);
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    /// All lines before the tagged one, which must be OK.
    pub(crate) fn ok(&mut self, command: &str) -> io::Result<Vec<String>> {
        let text = format!("t {command}\r\n");
        self.reader.get_mut().write_all(text.as_bytes())?;
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            if line.starts_with("t OK ") {
                return Ok(lines);
            }
            if line.starts_with("t ") {
                return Err(io::Error::other(format!("{command}: {line}")));
            }
            lines.push(line);
        }
    }
}

/// The content of a message, by its id alone.
pub(crate) fn message(id: &str) -> String {
    let lines = 1 + id.bytes().map(usize::from).sum::<usize>() % 12;
    let line = format!("{id} {}\r\n", "x".repeat(60));
    format!(
        "From: Sender <sender@example.org>\r\nTo: alice@example.org\r\nSubject: about {id}\r\n\
         Message-ID: <{id}@example.org>\r\n\r\n{}",
        line.repeat(lines)
    )
}

/// The server that owns a root, as the master says (MUPDATE, RFC 3656).
pub(crate) fn owner_at_master(mupdate: SocketAddr, root: &str) -> io::Result<String> {
    let socket = TcpStream::connect(mupdate)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut client = Imap {
        reader: BufReader::new(socket),
    };
    while !client.line()?.starts_with("* OK ") {}
    let initial = murder_proto::sasl::encode(format!("\0{ADMIN}\0{PASSWORD}").as_bytes());
    client.ok(&format!("AUTHENTICATE \"PLAIN\" \"{initial}\""))?;
    let text = format!("t FIND \"{root}\"\r\n");
    client.reader.get_mut().write_all(text.as_bytes())?;
    let mut owner = None;
    loop {
        let line = client.line()?;
        if line.starts_with("t OK ") {
            return owner.ok_or_else(|| ErrorKind::NotFound.into());
        }
        owner = owner.or_else(|| line.split_once('!').map(|(server, _)| server.to_owned()));
    }
}
