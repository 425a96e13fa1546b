//! LMTP on a frontend (RFC 2033): each recipient goes to the backend that has its mailbox, the
//! content to all backends of a transaction as it arrives, and their answers back in order.
//!
//! The frontend adds nothing to a message and promises nothing of its own: a recipient is answered
//! `250` only after its backend has. A backend that is slow or dead fails its own recipients with
//! `451`; the others wait for it a bounded time. That nobody has a mailbox is said for good only on
//! proof (see [`Router`](crate::frontend::Router)).

mod connection;
mod leg;
mod pool;
mod search;
mod transaction;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use murder_api::settings::Lmtp;
use murder_proto::lmtp::command::{Mail, RecipientTo};
use murder_proto::lmtp::reply::{EnhancedCode, Reply};
use murder_proto::lmtp::server::Event;

use crate::backend::{self, Backend};
use crate::frontend::{Frontend, Moved};
use crate::imap::End;
use crate::lmtp::wire::Wire;
use crate::net::{PeerIdentity, Stream};
use crate::stop::Leave;
use pool::Pool;
use transaction::Transaction;

/// How long a server that did not react to a new connection is left alone.
const REST: Duration = Duration::from_secs(2);

/// How long backends are waited for.
#[derive(Clone, Debug)]
pub struct Patience {
    /// For a new connection with its handshake.
    pub open: Duration,
    /// For the answer to MAIL or RCPT; making a mailbox included.
    pub reply: Duration,
    /// For content to be taken; also the time that one backend may take from the others of one
    /// message.
    pub stall: Duration,
    /// For the answers to a whole message.
    pub delivery: Duration,
    /// Not at all, for so long after a server did not react to a new connection.
    pub rest: Duration,
}

impl Patience {
    /// As the settings say.
    pub fn new(settings: &Lmtp) -> Self {
        Self {
            open: Duration::from_secs(settings.backend_open_seconds_max),
            reply: Duration::from_secs(settings.backend_reply_seconds_max),
            stall: Duration::from_secs(settings.backend_stall_seconds_max),
            delivery: Duration::from_secs(settings.backend_delivery_seconds_max),
            rest: REST,
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::new(&Lmtp::default())
    }
}

/// What the LMTP sessions of a frontend share.
#[derive(Debug)]
pub struct Proxy {
    frontend: Arc<Frontend>,
    pool: Pool,
    patience: Patience,
}

impl Proxy {
    /// One for each frontend: it holds the connections to backends.
    pub fn new(frontend: Arc<Frontend>) -> Self {
        Self {
            pool: Pool::new(Arc::clone(&frontend)),
            patience: Patience::new(&frontend.settings.lmtp),
            frontend,
        }
    }

    /// The same with other limits of time.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }
}

/// Serves one connection to its end. `identity`: of a peer that is known without STARTTLS.
pub async fn serve(
    proxy: Arc<Proxy>,
    stream: Stream,
    peer: Option<SocketAddr>,
    identity: Option<PeerIdentity>,
    leave: Option<Leave>,
) -> Result<(), End> {
    let frontend = &proxy.frontend;
    let _counted = frontend.metrics.session("lmtp");
    let wire = Wire::new(
        &frontend.settings,
        &frontend.accounts,
        Some(frontend.tls.clone()),
        stream,
        peer,
        identity.as_ref(),
    )
    .with_leave(leave);
    let session = Session {
        proxy,
        wire,
        transaction: None,
    };
    session.run().await
}

struct Session {
    proxy: Arc<Proxy>,
    wire: Wire,
    transaction: Option<Transaction>,
}

impl Session {
    async fn run(mut self) -> Result<(), End> {
        loop {
            match self.wire.event().await? {
                Event::Mail(mail) => match self.local_for_nodes() {
                    Some(local) => return backend::lmtp::take_over(local, self.wire, mail).await,
                    None => self.mail(mail),
                },
                Event::Recipient(to) => self.recipient(&to).await,
                Event::Data => {
                    self.wire.session().accept_data();
                    self.wire.reply(&Reply::start_content());
                }
                Event::Content(octets) => {
                    if let Some(transaction) = &mut self.transaction {
                        transaction.content(&self.proxy, octets).await;
                    }
                }
                Event::ChunkEnd { octets } => self.wire.reply(&Reply::chunk_ok(octets)),
                Event::MessageEnd { too_large, .. } => self.message_end(too_large).await?,
                Event::Dropped => {
                    if let Some(transaction) = self.transaction.take() {
                        transaction.abandon(&self.proxy);
                    }
                }
                Event::Close => return self.wire.flush().await,
                // Answered by the wire.
                Event::Reply(_) | Event::Hello(_) | Event::StartTls | Event::Credentials(_) => {}
            }
        }
    }

    /// Nodes have looked the mailbox up themselves: they are served here or told "moved", and never
    /// passed on.
    fn local_for_nodes(&self) -> Option<Arc<Backend>> {
        let local = self.proxy.frontend.local.as_ref();
        local.filter(|_| self.wire.is_node()).map(Arc::clone)
    }

    fn mail(&mut self, mail: Mail) {
        self.transaction = Some(Transaction::new(mail));
        self.wire.session().accept_mail();
        self.wire.reply(&Reply::sender_ok());
    }

    async fn recipient(&mut self, to: &RecipientTo) {
        let Some(transaction) = &mut self.transaction else {
            return self.wire.reply(&Reply::try_later("no transaction"));
        };
        let reply = transaction.recipient(&self.proxy, to).await;
        if reply.is_success() {
            self.wire.session().accept_recipient();
            return self.wire.reply(&reply);
        }
        if reply.is_transient() {
            self.proxy.frontend.metrics.deliveries_deferred.inc();
        }
        self.wire.reply(&reply);
    }

    async fn message_end(&mut self, too_large: bool) -> Result<(), End> {
        let Some(mut transaction) = self.transaction.take() else {
            return Ok(());
        };
        let recipients = transaction.recipients();
        if too_large {
            transaction.abandon(&self.proxy);
            let reply = Reply::too_large(self.proxy.frontend.settings.lmtp.message_bytes_max);
            (0..recipients).for_each(|_| self.wire.reply(&reply));
            return Ok(());
        }
        transaction.end(&self.proxy).await;
        for recipient in 0..recipients {
            if transaction.is_under_way(recipient) {
                self.wire.flush().await?;
            }
            let (reply, is_local) = transaction.answer(&self.proxy, recipient).await;
            if !is_local {
                self.count(&reply);
            }
            self.wire.reply(&reply);
        }
        transaction.close(&self.proxy).await;
        Ok(())
    }

    /// As a backend counts; what the one in this process counted is not counted twice.
    fn count(&self, reply: &Reply) {
        let metrics = &self.proxy.frontend.metrics;
        if reply.is_success() {
            metrics.deliveries.inc();
        } else {
            metrics.deliveries_deferred.inc();
        }
    }
}

/// What a backend says of a mailbox that it does not serve: `451 4.3.2 XMOVED`, perhaps with
/// ` server term epoch`.
fn moved(reply: &Reply) -> Option<Moved> {
    if reply.code() != 451 || reply.enhanced() != Some(EnhancedCode(4, 3, 2)) {
        return None;
    }
    let arguments = reply.lines().next()?.strip_prefix("XMOVED")?;
    if !arguments.is_empty() && !arguments.starts_with(' ') {
        return None;
    }
    Some(Moved::parse(arguments).unwrap_or(Moved { to: None }))
}
