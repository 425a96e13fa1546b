//! One connection to the master: greeting, STARTTLS, login by certificate.

use std::io;

use bytes::BytesMut;
use murder_api::Settings;
use murder_api::settings::MupdateAddress;
use murder_proto::mupdate::client::{
    ClientReader, Greeting, ServerLine, write_authenticate, write_start_tls,
};
use murder_proto::mupdate::reply::Status;
use murder_proto::mupdate::{EXTENSION_VERSION, client::ProtocolError};
use murder_proto::sasl::ClientExchange;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::net::dial::{DIAL_LIMIT, dial_plain};
use crate::net::{PeerRole, Stream, Tls};

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 << 10;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("the master hung up")]
    Closed,
    #[error("the master offers no STARTTLS")]
    NoTls,
    #[error("the peer is not the master of {0}")]
    NotTheMaster(String),
    #[error("the master does not speak our extension")]
    NoExtension,
    #[error("the master refused our certificate: {0}")]
    Refused(String),
}

/// A connection that has logged in.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    reader: ClientReader,
}

impl Connection {
    pub(super) async fn open(
        settings: &Settings,
        master: &MupdateAddress,
        tls: &Tls,
    ) -> Result<Self, ConnectError> {
        let opened = timeout(DIAL_LIMIT * 2, open(settings, master, tls)).await;
        opened.map_err(|_| ConnectError::Io(io::ErrorKind::TimedOut.into()))?
    }

    /// The next line; waits for it. Cancel-safe.
    pub(super) async fn line(&mut self) -> Result<ServerLine, ConnectError> {
        loop {
            if let Some(line) = self.reader.next_line()? {
                return Ok(line);
            }
            let mut buffer = BytesMut::with_capacity(READ_BYTES);
            match self.stream.read_buf(&mut buffer).await? {
                0 => return Err(ConnectError::Closed),
                _ => self.reader.feed(&buffer),
            }
        }
    }

    pub(super) async fn send(&mut self, out: &BytesMut) -> Result<(), ConnectError> {
        self.stream.write_all(out).await?;
        Ok(self.stream.flush().await?)
    }

    /// The two directions of it.
    pub(super) fn split(self) -> (Lines, tokio::io::WriteHalf<Stream>) {
        let (read, write) = tokio::io::split(self.stream);
        let lines = Lines {
            stream: read,
            reader: self.reader,
            buffer: BytesMut::with_capacity(READ_BYTES),
        };
        (lines, write)
    }
}

/// The master's lines.
#[derive(Debug)]
pub(super) struct Lines {
    stream: tokio::io::ReadHalf<Stream>,
    reader: ClientReader,
    buffer: BytesMut,
}

impl Lines {
    /// The next line; waits for it. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<ServerLine, ConnectError> {
        loop {
            if let Some(line) = self.reader.next_line()? {
                return Ok(line);
            }
            self.buffer.clear();
            self.buffer.reserve(READ_BYTES);
            match self.stream.read_buf(&mut self.buffer).await? {
                0 => return Err(ConnectError::Closed),
                _ => self.reader.feed(&self.buffer),
            }
        }
    }
}

async fn open(
    settings: &Settings,
    master: &MupdateAddress,
    tls: &Tls,
) -> Result<Connection, ConnectError> {
    let socket = dial_plain(&master.host, master.port).await?;
    let mut plain = Connection {
        stream: Stream::Plain(socket),
        reader: ClientReader::new(),
    };
    if !plain.greeting().await?.start_tls {
        return Err(ConnectError::NoTls);
    }
    let mut out = BytesMut::new();
    write_start_tls(&mut out, "S0");
    plain.send(&out).await?;
    plain.ok("S0").await?;
    let Stream::Plain(socket) = plain.stream else {
        return Err(ConnectError::Closed);
    };
    let name = master.tls_name.as_deref().unwrap_or(&master.host);
    let (stream, identity) = tls.connect(name, socket).await?;
    let is_master = identity
        .is_some_and(|peer| peer.cluster == settings.cluster && peer.role == PeerRole::Mupdate);
    if !is_master {
        return Err(ConnectError::NotTheMaster(settings.cluster.clone()));
    }
    let mut connection = Connection {
        stream,
        reader: ClientReader::new(),
    };
    if connection.greeting().await?.extension != Some(EXTENSION_VERSION) {
        return Err(ConnectError::NoExtension);
    }
    let mut out = BytesMut::new();
    write_authenticate(&mut out, "A0", &mut ClientExchange::external(""));
    connection.send(&out).await?;
    connection.ok("A0").await?;
    Ok(connection)
}

impl Connection {
    async fn greeting(&mut self) -> Result<Greeting, ConnectError> {
        loop {
            if let ServerLine::Greeting(greeting) = self.line().await? {
                return Ok(greeting);
            }
        }
    }

    async fn ok(&mut self, wanted: &str) -> Result<(), ConnectError> {
        loop {
            if let ServerLine::Status { tag, status, text } = self.line().await?
                && tag.is_some_and(|tag| tag == wanted)
            {
                return match status {
                    Status::Ok => Ok(()),
                    _ => Err(ConnectError::Refused(text)),
                };
            }
        }
    }
}
