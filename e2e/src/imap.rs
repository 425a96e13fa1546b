//! A client that reads and flags mail by IMAP (RFC 3501, RFC 2177).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use murder_proto::imap::client::{
    CopiedUids, Data, Encoder, Event, FetchItems, Kind, Limits, LiteralStyle, Response,
    ResponseCode, ResponseReader, StatusResponse,
};
use murder_proto::imap::response::Status;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

/// How long the server may be silent while it owes an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// One message at a time is held whole.
const LIMITS: Limits = Limits {
    response_bytes_max: 65 << 20,
    literal_bytes_max: 64 << 20,
    chunk_bytes_max: 64 << 10,
};

/// Input that is read at once.
const READ_BYTES: usize = 64 << 10;

/// Why a command failed, where the server said so. It is the source of the error.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Failure {
    /// `NO` or `BAD`; the connection goes on.
    #[error("{verb} was refused: {status}{} {text}", told(code.as_ref()))]
    Refused {
        /// The command.
        verb: String,
        /// `NO` or `BAD`.
        status: &'static str,
        /// Response code without its brackets.
        code: Option<String>,
        /// Text for people.
        text: String,
    },
    /// `* BYE`; the connection ends.
    #[error("the IMAP server said BYE:{} {text}", told(code.as_ref()))]
    Bye {
        /// Response code without its brackets.
        code: Option<String>,
        /// Text for people.
        text: String,
    },
}

impl Failure {
    /// Of an error of a [`Session`].
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Option<&Self> {
        error.downcast_ref()
    }

    /// Whether a command was refused with this code.
    #[must_use]
    pub fn has_code(&self, name: &str) -> bool {
        let (Self::Refused { code, .. } | Self::Bye { code, .. }) = self;
        let code = code.as_deref().and_then(|code| code.split(' ').next());
        code.is_some_and(|code| code.eq_ignore_ascii_case(name))
    }
}

fn told(code: Option<&String>) -> String {
    code.map_or_else(String::new, |code| format!(" [{code}]"))
}

/// What SELECT told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Selected {
    /// Messages.
    pub exists: u32,
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// UIDNEXT.
    pub uid_next: u32,
}

trait Connection: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Sync + Unpin> Connection for C {}

/// A logged-in connection.
pub struct Session {
    stream: Box<dyn Connection>,
    reader: ResponseReader,
    tags: u32,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    /// Connects and logs in.
    pub async fn login(address: SocketAddr, user: &str, password: &str) -> Result<Self> {
        let stream = connect(address).await?;
        Self::login_over(Box::new(stream), user, password).await
    }

    /// Connects to a port with TLS from the first byte, and logs in.
    pub async fn login_tls(
        address: SocketAddr,
        tls: Arc<ClientConfig>,
        user: &str,
        password: &str,
    ) -> Result<Self> {
        let name = ServerName::IpAddress(address.ip().into());
        Self::login_as(address, tls, name, user, password).await
    }

    /// As [`Self::login_tls`], with a server that shows a certificate of this name.
    pub async fn login_named(
        address: SocketAddr,
        tls: Arc<ClientConfig>,
        name: &str,
        user: &str,
        password: &str,
    ) -> Result<Self> {
        let name = ServerName::try_from(name.to_owned())?;
        Self::login_as(address, tls, name, user, password).await
    }

    async fn login_as(
        address: SocketAddr,
        tls: Arc<ClientConfig>,
        name: ServerName<'static>,
        user: &str,
        password: &str,
    ) -> Result<Self> {
        let stream = connect(address).await?;
        let stream = TlsConnector::from(tls).connect(name, stream).await;
        let stream = stream.with_context(|| format!("no TLS with IMAP at {address}"))?;
        Self::login_over(Box::new(stream), user, password).await
    }

    async fn login_over(stream: Box<dyn Connection>, user: &str, password: &str) -> Result<Self> {
        let mut session = Self {
            stream,
            reader: ResponseReader::new(LIMITS),
            tags: 0,
        };
        let greeting = session.response().await?;
        let is_ok = greeting
            .status()
            .is_some_and(|line| line.status == Status::Ok);
        ensure!(is_ok, "no IMAP greeting: {greeting:?}");
        session
            .run(
                "LOGIN",
                |line| line.astring(user.as_bytes()).astring(password.as_bytes()),
                |_| Ok(()),
            )
            .await?;
        Ok(session)
    }

    /// Names of all mailboxes that can be selected.
    pub async fn mailboxes(&mut self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        self.run(
            "LIST",
            |line| line.raw("\"\" *"),
            |data| {
                if let Data::List(listed) = data {
                    let no_select = |word: &bytes::Bytes| word.eq_ignore_ascii_case(b"\\Noselect");
                    if !listed.attributes.iter().any(no_select) {
                        names.push(String::from_utf8(listed.mailbox.to_vec())?);
                    }
                }
                Ok(())
            },
        )
        .await?;
        Ok(names)
    }

    /// SELECT.
    pub async fn select(&mut self, mailbox: &str) -> Result<Selected> {
        let (mut exists, mut validity, mut next) = (None, None, None);
        self.run(
            "SELECT",
            |line| line.astring(mailbox.as_bytes()),
            |data| {
                match data {
                    Data::Exists(number) => exists = Some(number),
                    Data::Status(StatusResponse {
                        code: Some(code), ..
                    }) => {
                        validity = code.number("UIDVALIDITY").or(validity);
                        next = code.number("UIDNEXT").or(next);
                    }
                    _ => {}
                }
                Ok(())
            },
        )
        .await?;
        Ok(Selected {
            exists: exists.context("SELECT told no EXISTS")?,
            uid_validity: u32::try_from(validity.context("SELECT told no UIDVALIDITY")?)?,
            uid_next: u32::try_from(next.context("SELECT told no UIDNEXT")?)?,
        })
    }

    /// UID FETCH; `each` gets the FETCH responses as they come.
    pub async fn fetch(
        &mut self,
        uids: &str,
        items: &str,
        mut each: impl FnMut(FetchItems) -> Result<()> + Send,
    ) -> Result<()> {
        self.run(
            "UID FETCH",
            |line| line.raw(uids).raw(items),
            |data| match data {
                Data::Fetch(fetched) => each(fetched),
                _ => Ok(()),
            },
        )
        .await?;
        Ok(())
    }

    /// UID STORE +FLAGS; a return without error means that they were acknowledged.
    pub async fn add_flags(&mut self, uids: &str, flags: &str) -> Result<()> {
        self.run(
            "UID STORE",
            |line| line.raw(uids).raw("+FLAGS").raw(flags),
            |_| Ok(()),
        )
        .await?;
        Ok(())
    }

    /// UID COPY; what COPYUID told, if anything was copied.
    pub async fn copy(&mut self, uids: &str, mailbox: &str) -> Result<Option<CopiedUids>> {
        let status = self
            .run(
                "UID COPY",
                |line| line.raw(uids).astring(mailbox.as_bytes()),
                |_| Ok(()),
            )
            .await?;
        Ok(status.code.as_ref().and_then(ResponseCode::copy_uid))
    }

    /// CREATE.
    pub async fn create(&mut self, mailbox: &str) -> Result<()> {
        self.run(
            "CREATE",
            |line| line.astring(mailbox.as_bytes()),
            |_| Ok(()),
        )
        .await?;
        Ok(())
    }

    /// SETACL (RFC 4314).
    pub async fn set_acl(&mut self, mailbox: &str, who: &str, rights: &str) -> Result<()> {
        self.run(
            "SETACL",
            |line| {
                line.astring(mailbox.as_bytes())
                    .astring(who.as_bytes())
                    .astring(rights.as_bytes())
            },
            |_| Ok(()),
        )
        .await?;
        Ok(())
    }

    /// IDLE until the mailbox grows or the time is over; tells whether it grew.
    pub async fn idle(&mut self, limit: Duration) -> Result<bool> {
        let tag = self.send("IDLE", |line| line).await?;
        let started = self.response().await?;
        ensure!(
            started.kind() == Kind::Continuation,
            "IDLE refused: {started:?}"
        );
        let end = Instant::now() + limit;
        let mut grew = false;
        while !grew {
            let Ok(response) = timeout_at(end, self.response()).await else {
                break;
            };
            let data = response?.data()?;
            refuse_bye(&data)?;
            grew = matches!(data, Data::Exists(_));
        }
        self.write(b"DONE\r\n").await?;
        self.finish(&tag, "IDLE", |_| Ok(())).await?;
        Ok(grew)
    }

    /// LOGOUT.
    pub async fn logout(mut self) -> Result<()> {
        self.run("LOGOUT", |line| line, |_| Ok(())).await?;
        Ok(())
    }

    async fn run(
        &mut self,
        verb: &str,
        arguments: impl FnOnce(Encoder) -> Encoder,
        each: impl FnMut(Data) -> Result<()>,
    ) -> Result<StatusResponse> {
        let tag = self.send(verb, arguments).await?;
        self.finish(&tag, verb, each).await
    }

    async fn send(
        &mut self,
        verb: &str,
        arguments: impl FnOnce(Encoder) -> Encoder,
    ) -> Result<String> {
        self.tags += 1;
        let tag = format!("a{}", self.tags);
        let encoder = Encoder::new(tag.as_bytes(), verb, LiteralStyle::NonSynchronizing);
        let command = arguments(encoder).finish();
        self.write(command.bytes()).await?;
        Ok(tag)
    }

    async fn finish(
        &mut self,
        tag: &str,
        verb: &str,
        mut each: impl FnMut(Data) -> Result<()>,
    ) -> Result<StatusResponse> {
        loop {
            let response = self.response().await?;
            match response.kind() {
                Kind::Untagged => {
                    let data = response.data()?;
                    if verb != "LOGOUT" {
                        refuse_bye(&data)?;
                    }
                    each(data)?;
                }
                Kind::Tagged if response.tag() == Some(tag.as_bytes()) => {
                    let status = response.status().context("no status after a tag")?;
                    if status.status == Status::Ok {
                        return Ok(status);
                    }
                    return Err(Failure::Refused {
                        verb: verb.to_owned(),
                        status: status.status.name(),
                        code: status.code.as_ref().map(code_text),
                        text: String::from_utf8_lossy(&status.text).into_owned(),
                    }
                    .into());
                }
                _ => bail!("unexpected answer to {verb}: {response:?}"),
            }
        }
    }

    async fn write(&mut self, octets: &[u8]) -> Result<()> {
        timeout(ANSWER_LIMIT, self.stream.write_all(octets))
            .await
            .context("the IMAP server does not read")?
            .context("the IMAP connection broke")
    }

    async fn response(&mut self) -> Result<Response> {
        loop {
            match self.reader.next() {
                Some(Event::Response(response)) => return Ok(response),
                Some(_) => bail!("an IMAP response is too large"),
                None => {}
            }
            let buffer = self.reader.buffer_mut();
            buffer.reserve(READ_BYTES);
            let read = timeout(ANSWER_LIMIT, self.stream.read_buf(buffer))
                .await
                .context("the IMAP server does not answer")?
                .context("the IMAP connection broke")?;
            ensure!(read > 0, "the IMAP server closed the connection");
        }
    }
}

fn refuse_bye(data: &Data) -> Result<(), Failure> {
    match data {
        Data::Status(line) if line.status == Status::Bye => Err(Failure::Bye {
            code: line.code.as_ref().map(code_text),
            text: String::from_utf8_lossy(&line.text).into_owned(),
        }),
        _ => Ok(()),
    }
}

fn code_text(code: &ResponseCode) -> String {
    let name = String::from_utf8_lossy(&code.name);
    let arguments = String::from_utf8_lossy(&code.arguments);
    format!("{name} {arguments}").trim_end().to_owned()
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot connect to IMAP at {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
