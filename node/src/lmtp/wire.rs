//! One LMTP connection as the server sees it: bytes into the session, replies out, TLS and login.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use murder_api::Settings;
use murder_model::UserName;
use murder_proto::lmtp::reply::Reply;
use murder_proto::lmtp::server::{Event, Session, SessionOptions};
use murder_proto::sasl::{Credentials, Mechanism};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::accounts::{Accounts, Verdict};
use crate::imap::End;
use crate::net::networks::Networks;
use crate::net::{PeerIdentity, Stream, Tls};
use crate::stop::{Leave, Phase};

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 32 << 10;

/// A connection, and whether its peer may submit mail.
#[derive(Debug)]
pub struct Wire {
    settings: Arc<Settings>,
    accounts: Arc<dyn Accounts>,
    tls: Option<Tls>,
    stream: Option<Stream>,
    peer: Option<SocketAddr>,
    session: Session,
    out: BytesMut,
    may_submit: bool,
    is_node: bool,
    leave: Option<Leave>,
}

impl Wire {
    /// A connection just accepted; the greeting is its first reply. `identity` is what is known of
    /// the peer without STARTTLS.
    pub fn new(
        settings: &Arc<Settings>,
        accounts: &Arc<dyn Accounts>,
        tls: Option<Tls>,
        stream: Stream,
        peer: Option<SocketAddr>,
        identity: Option<&PeerIdentity>,
    ) -> Self {
        let is_node = identity.is_some_and(|identity| may_proxy(settings, identity));
        let may_submit = settings.insecure_loopback
            || is_node
            || peer.is_some_and(|peer| {
                Networks::new(&settings.lmtp.trusted_networks).contains(peer.ip())
            });
        let mut session = Session::new(SessionOptions {
            host: settings.name.clone(),
            message_octets_max: settings.lmtp.message_bytes_max,
            recipients_max: settings.lmtp.recipients_max,
            line_octets_max: settings.lmtp.line_bytes_max,
            start_tls: tls.is_some() && !stream.is_private(),
            ..SessionOptions::default()
        });
        if stream.is_private() {
            session.offer(vec![Mechanism::Plain]);
        }
        let mut out = BytesMut::new();
        Reply::greeting(&settings.name).write(&mut out);
        Self {
            settings: Arc::clone(settings),
            accounts: Arc::clone(accounts),
            tls,
            stream: Some(stream),
            peer,
            session,
            out,
            may_submit,
            is_node,
            leave: None,
        }
    }

    /// The peer is told goodbye between two transactions once the node has to end its sessions;
    /// other nodes, which keep connections in store, as soon as it takes no new ones.
    #[must_use]
    pub fn with_leave(self, leave: Option<Leave>) -> Self {
        Self { leave, ..self }
    }

    /// Where the peer is; `None` within one process, or if it is not known.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Whether the peer has shown the certificate of a node that may act for others.
    pub fn is_node(&self) -> bool {
        self.is_node
    }

    /// The session, to accept what the last event asked for.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The next event that needs knowledge of mail; the rest is answered here, MAIL from those who
    /// may not submit included. Replies are sent before the peer is waited for.
    pub async fn event(&mut self) -> Result<Event, End> {
        loop {
            while let Some(event) = self.session.next_event() {
                match event {
                    Event::Reply(reply) => self.reply(&reply),
                    Event::Hello(_) => {}
                    Event::StartTls => self.start_tls().await?,
                    Event::Credentials(credentials) => self.authenticate(credentials).await?,
                    Event::Mail(_) if !self.may_submit => {
                        self.session.count_refusal();
                        self.reply(&Reply::authentication_required());
                    }
                    event => return Ok(event),
                }
            }
            self.flush().await?;
            self.fill().await?;
        }
    }

    /// Queues a reply.
    pub fn reply(&mut self, reply: &Reply) {
        reply.write(&mut self.out);
    }

    /// Sends what is queued.
    pub async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let silence_max = self.silence_max();
        let stream = self.stream.as_mut().ok_or(End::Closed)?;
        let sent = timeout(silence_max, async {
            stream.write_all(&self.out).await?;
            stream.flush().await
        });
        sent.await.map_err(|_| End::Idle)??;
        self.out.clear();
        Ok(())
    }

    fn silence_max(&self) -> Duration {
        Duration::from_secs(self.settings.lmtp.idle_seconds_max)
    }

    async fn fill(&mut self) -> Result<(), End> {
        let silence_max = self.silence_max();
        let is_open = self.session.is_open();
        let stream = self.stream.as_mut().ok_or(End::Closed)?;
        let buffer = self.session.buffer();
        buffer.reserve(READ_BYTES);
        let told = if self.is_node {
            Phase::Closing
        } else {
            Phase::Ending
        };
        let leave = self.leave.as_mut().filter(|_| !is_open);
        let read = timeout(silence_max, stream.read_buf(buffer));
        let read = match leave {
            Some(leave) => tokio::select! {
                biased;
                () = leave.reached(told) => {
                    self.reply(&Reply::closing("stopping, come back"));
                    self.flush().await?;
                    return Err(End::Logout);
                }
                read = read => read,
            },
            None => read.await,
        };
        match read {
            Ok(Ok(0)) => Err(End::Closed),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(End::Io(error)),
            Err(_) => {
                self.reply(&Reply::closing("silent for too long"));
                self.flush().await?;
                Err(End::Idle)
            }
        }
    }

    async fn start_tls(&mut self) -> Result<(), End> {
        self.flush().await?;
        let (Some(Stream::Plain(socket)), Some(tls)) = (self.stream.take(), &self.tls) else {
            return Err(End::Closed);
        };
        let accepted = timeout(self.silence_max(), tls.accept_public(socket)).await;
        let (stream, identity) = accepted.map_err(|_| End::Idle)??;
        self.stream = Some(stream);
        self.is_node = identity.is_some_and(|identity| may_proxy(&self.settings, &identity));
        self.may_submit |= self.is_node;
        self.session.tls_started();
        self.session.offer(vec![Mechanism::Plain]);
        Ok(())
    }

    async fn authenticate(&mut self, credentials: Credentials) -> Result<(), End> {
        let accepted = match credentials {
            Credentials::Password {
                authentication,
                password,
                ..
            } => match UserName::parse(&authentication) {
                Ok(user) if self.settings.lmtp_admins.contains(&user) => {
                    let verdict = self.accounts.verify(&user, password.as_bytes());
                    matches!(verdict.await, Ok(Verdict::Accepted))
                }
                _ => false,
            },
            Credentials::External { .. } => false,
        };
        if accepted {
            self.may_submit = true;
            self.session.authenticated();
            self.reply(&Reply::authenticated());
        } else {
            self.flush().await?;
            let delay = self.settings.imap.login_failure_delay_ms;
            tokio::time::sleep(Duration::from_millis(delay)).await;
            self.session.authentication_failed();
            self.reply(&Reply::authentication_failed());
        }
        Ok(())
    }
}

/// Whether a certificate is that of a node of this murder that may submit for others.
fn may_proxy(settings: &Settings, identity: &PeerIdentity) -> bool {
    identity.cluster == settings.cluster && identity.role.may_proxy()
}
