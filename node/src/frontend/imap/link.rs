//! A connection to a backend as one user: opened by certificate (SASL EXTERNAL, RFC 4422), or in
//! memory to the backend of this very node.

use std::io;
use std::time::Duration;

use murder_model::ServerName;
use murder_proto::imap::client::{Event, Kind, Limits, ResponseReader};
use murder_proto::imap::response::Status;
use murder_proto::sasl::ClientExchange;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::backend;
use crate::frontend::{Frontend, Target};
use crate::imap::login::limits;
use crate::imap::{Identity, Wire};
use crate::net::Stream;
use crate::net::dial::{DIAL_LIMIT, dial};

/// A backend that owes an answer may be silent for so long.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// A backend that takes nothing for so long is given up.
const WRITE_LIMIT: Duration = Duration::from_secs(60);
/// Bytes asked of the socket at once.
const READ_BYTES: usize = 16 << 10;
/// Bytes under way inside one process, in each direction.
const MEMORY_BYTES: usize = 64 << 10;

/// Why there is no connection to a backend (any more).
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the backend hung up")]
    Closed,
    #[error("the backend does not answer")]
    Silent,
    #[error("the backend has no TLS port for IMAP")]
    NoTlsPort,
    #[error("the backend did not let us in: {0}")]
    Refused(String),
}

impl LinkError {
    /// The backend is there, and said no.
    pub(super) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) server: ServerName,
    stream: Stream,
    pub(super) reader: ResponseReader,
}

impl Link {
    /// Opens a connection as the user of `identity`.
    pub(super) async fn open(
        frontend: &Frontend,
        target: &Target,
        identity: &Identity,
    ) -> Result<Self, LinkError> {
        if let Some(backend) = frontend.local(target) {
            let (near, far) = tokio::io::duplex(MEMORY_BYTES);
            let settings = &frontend.settings;
            let silence_max = Duration::from_secs(settings.imap.idle_seconds_max);
            let wire = Wire::new(Stream::Memory(far), limits(settings), silence_max);
            let identity = Identity {
                via: Some(frontend.own_identity()),
                ..identity.clone()
            };
            // Its end is seen here as the end of the stream.
            drop(tokio::spawn(backend::imap::serve(
                backend.clone(),
                wire,
                identity,
            )));
            return Ok(Self::over(target, Stream::Memory(near)));
        }
        let address = target.addresses.imaps.as_ref();
        let address = address.ok_or(LinkError::NoTlsPort)?;
        let (cluster, server) = (&frontend.settings.cluster, target.server.as_str());
        let stream = dial(&frontend.tls, &address.host, address.port, cluster, server).await?;
        let mut link = Self::over(target, stream);
        let logged_in = timeout(DIAL_LIMIT, link.log_in(identity.user.as_str())).await;
        logged_in.map_err(|_| LinkError::Silent)??;
        Ok(link)
    }

    fn over(target: &Target, stream: Stream) -> Self {
        Self {
            server: target.server.clone(),
            stream,
            reader: ResponseReader::new(Limits::RELAY),
        }
    }

    async fn log_in(&mut self, user: &str) -> Result<(), LinkError> {
        self.event().await?;
        let mut exchange = ClientExchange::external(user);
        let initial = exchange.initial_response().unwrap_or_default();
        let command = format!("L AUTHENTICATE EXTERNAL {initial}\r\n");
        self.send(command.as_bytes()).await?;
        self.wait_ok(b"L").await
    }

    /// Waits for a tagged OK; what comes before is passed over.
    pub(super) async fn wait_ok(&mut self, tag: &[u8]) -> Result<(), LinkError> {
        loop {
            let Event::Response(response) = self.event().await? else {
                continue;
            };
            if response.tag() == Some(tag) {
                let is_ok = response
                    .status()
                    .is_some_and(|status| status.status == Status::Ok);
                if is_ok {
                    return Ok(());
                }
                let text = String::from_utf8_lossy(&response.text()).into_owned();
                return Err(LinkError::Refused(text));
            }
            if response.kind() == Kind::Untagged && is_bye(&response) {
                return Err(LinkError::Closed);
            }
        }
    }

    /// Writes bytes.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        let sent = timeout(WRITE_LIMIT, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        });
        Ok(sent.await.map_err(|_| LinkError::Silent)??)
    }

    /// The next event of a backend that owes an answer. Cancel-safe.
    pub(super) async fn event(&mut self) -> Result<Event, LinkError> {
        match timeout(ANSWER_LIMIT, self.any_event()).await {
            Ok(event) => event,
            Err(_) => Err(LinkError::Silent),
        }
    }

    /// Whether the backend has said goodbye or hung up, as far as is known without waiting. For a
    /// connection on which nothing is selected and nothing is owed.
    pub(super) async fn has_ended(&mut self) -> bool {
        timeout(Duration::ZERO, self.any_event()).await.is_ok()
    }

    /// The next event, whenever it comes. Cancel-safe.
    pub(super) async fn any_event(&mut self) -> Result<Event, LinkError> {
        loop {
            if let Some(event) = self.reader.next() {
                return Ok(event);
            }
            let buffer = self.reader.buffer_mut();
            buffer.reserve(READ_BYTES);
            if self.stream.read_buf(buffer).await? == 0 {
                return Err(LinkError::Closed);
            }
        }
    }
}

/// Whether a response is `BYE`.
pub(super) fn is_bye(response: &murder_proto::imap::client::Response) -> bool {
    response
        .status()
        .is_some_and(|status| status.status == Status::Bye)
}
