//! LMTP sessions on a backend (RFC 2033).
//!
//! Nodes that pass on what their clients send learn where a mailbox that is not here went: `451
//! 4.3.2 XMOVED server term epoch`, or without the rest if the master has to be asked. Others are
//! told to come back later.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use murder_proto::lmtp::address::Address;
use murder_proto::lmtp::command::Mail;
use murder_proto::lmtp::reply::{EnhancedCode, Reply};
use murder_proto::lmtp::server::Event;
use tokio::time::sleep;

use crate::backend::delivery::{Delivered, RecipientRefusal, Target, deliver_all, resolve};
use crate::backend::gate::Phase;
use crate::backend::spool::Spool;
use crate::backend::{Backend, BackendError};
use crate::clock;
use crate::imap::End;
use crate::lmtp::recipient::{other_domain, root_of};
use crate::lmtp::wire::Wire;
use crate::net::{PeerIdentity, Stream, Tls};
use crate::stop::Leave;

/// A recipient whose mailbox is in the middle of a move is held until that is decided, looked at
/// after each of these times,
const HOLD_STEP: Duration = Duration::from_millis(100);
/// so often.
const HOLDS_MAX: usize = 50;

/// Serves one connection to its end. `identity`: of a peer that is known without STARTTLS.
pub async fn serve(
    backend: Arc<Backend>,
    tls: Option<Tls>,
    stream: Stream,
    peer: Option<SocketAddr>,
    identity: Option<PeerIdentity>,
    leave: Option<Leave>,
) -> Result<(), End> {
    // A connection within the process belongs to a session that is counted already.
    let is_own = matches!(stream, Stream::Memory(_));
    let _counted = (!is_own).then(|| backend.metrics.session("lmtp"));
    let wire = Wire::new(
        &backend.settings,
        &backend.accounts,
        tls,
        stream,
        peer,
        identity.as_ref(),
    )
    .with_leave(leave);
    Lmtp::new(backend, wire).run().await
}

/// Serves the rest of a session whose MAIL is the last event: its peer turned out to be a node, and
/// nodes are never passed on.
pub(crate) async fn take_over(backend: Arc<Backend>, wire: Wire, mail: Mail) -> Result<(), End> {
    let mut session = Lmtp::new(backend, wire);
    session.mail(mail);
    session.run().await
}

struct Transaction {
    mail: Mail,
    targets: Vec<Target>,
    spool: Option<Spool>,
    failed: bool,
}

struct Lmtp {
    backend: Arc<Backend>,
    wire: Wire,
    transaction: Option<Transaction>,
}

impl Lmtp {
    fn new(backend: Arc<Backend>, wire: Wire) -> Self {
        Self {
            backend,
            wire,
            transaction: None,
        }
    }

    async fn run(&mut self) -> Result<(), End> {
        loop {
            match self.wire.event().await? {
                Event::Mail(mail) => self.mail(mail),
                Event::Recipient(to) => self.recipient(&to.address).await,
                Event::Data => {
                    self.wire.session().accept_data();
                    self.wire.reply(&Reply::start_content());
                }
                Event::Content(bytes) => self.content(&bytes).await,
                Event::ChunkEnd { octets } => self.wire.reply(&Reply::chunk_ok(octets)),
                Event::MessageEnd { too_large, .. } => self.message_end(too_large).await,
                Event::Dropped => self.transaction = None,
                Event::Close => return self.wire.flush().await,
                // Answered by the wire.
                Event::Reply(_) | Event::Hello(_) | Event::StartTls | Event::Credentials(_) => {}
            }
        }
    }

    fn mail(&mut self, mail: Mail) {
        let needed = mail.size.unwrap_or(0);
        let free = self
            .backend
            .partitions()
            .iter()
            .map(|partition| partition.free_bytes())
            .max();
        if needed > free.unwrap_or(0) {
            self.wire.reply(&Reply::no_space());
            return;
        }
        self.transaction = Some(Transaction {
            mail,
            targets: Vec::new(),
            spool: None,
            failed: false,
        });
        self.wire.session().accept_mail();
        self.wire.reply(&Reply::sender_ok());
    }

    async fn recipient(&mut self, address: &Address) {
        match (self.resolve(address).await, &mut self.transaction) {
            (Ok(target), Some(transaction)) => {
                transaction.targets.push(target);
                self.wire.session().accept_recipient();
                self.wire.reply(&Reply::recipient_ok());
            }
            (Ok(_), None) => self.wire.reply(&Reply::try_later("no transaction")),
            (Err(refusal), _) => {
                let reply = self.refusal(&refusal, address);
                if reply.is_transient() && !self.wire.is_node() {
                    self.backend.metrics.deliveries_deferred.inc();
                }
                self.wire.reply(&reply);
            }
        }
    }

    async fn resolve(&self, address: &Address) -> Result<Target, RecipientRefusal> {
        let resolved = resolve(&self.backend, address).await;
        if !is_undecided(&resolved) {
            return resolved;
        }
        let _held = Held::new(&self.backend);
        for _ in 1..HOLDS_MAX {
            sleep(HOLD_STEP).await;
            let resolved = resolve(&self.backend, address).await;
            if !is_undecided(&resolved) {
                return resolved;
            }
        }
        resolved
    }

    fn refusal(&self, refusal: &RecipientRefusal, address: &Address) -> Reply {
        match refusal {
            RecipientRefusal::Unknown if self.may_be_elsewhere(address) => self.elsewhere(""),
            RecipientRefusal::Unknown => Reply::recipient_unknown(),
            RecipientRefusal::OtherDomain => other_domain(),
            RecipientRefusal::NotAllowed => Reply::new(
                550,
                EnhancedCode(5, 7, 1),
                "posting to this folder is not allowed",
            ),
            RecipientRefusal::Later(BackendError::Unavailable(Phase::Moved {
                to,
                term,
                epoch,
            })) => self.elsewhere(&format!(" {to} {} {}", term.get(), epoch.get())),
            RecipientRefusal::Later(BackendError::Elsewhere | BackendError::Cordoned) => {
                self.elsewhere("")
            }
            RecipientRefusal::Later(error) => Reply::try_later(error.to_string()),
        }
    }

    /// A server of a murder knows only its own mailboxes: that one is unknown here says nothing.
    fn may_be_elsewhere(&self, address: &Address) -> bool {
        let backend = &self.backend;
        backend.directory.is_some()
            && root_of(&backend.settings, address).is_ok_and(|root| backend.unit(&root).is_none())
    }

    /// Where to: ` server term epoch`, or nothing.
    fn elsewhere(&self, to: &str) -> Reply {
        if self.wire.is_node() {
            Reply::new(451, EnhancedCode(4, 3, 2), format!("XMOVED{to}"))
        } else {
            Reply::try_later("the mailbox is on another server")
        }
    }

    async fn content(&mut self, bytes: &[u8]) {
        let directory = self.backend.settings.data_dir.join("spool");
        let header = self.trace_header();
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        if transaction.failed {
            return;
        }
        let spool = transaction.spool.get_or_insert_with(|| {
            let mut spool = Spool::new(&directory);
            spool.prefix(header.as_bytes());
            spool
        });
        if let Err(error) = spool.push(bytes).await {
            tracing::error!(event = "spool_failed", %error);
            transaction.failed = true;
            transaction.spool = None;
        }
    }

    /// Return-Path (RFC 5321 section 4.4) and Received, which only the final server adds.
    fn trace_header(&self) -> String {
        let sender = self
            .transaction
            .as_ref()
            .and_then(|transaction| transaction.mail.sender.as_ref());
        let sender = sender.map_or_else(String::new, ToString::to_string);
        let peer = self
            .wire
            .peer()
            .map_or_else(|| "local".to_owned(), |peer| peer.ip().to_string());
        let date = rfc5322_date(clock::now().as_seconds());
        format!(
            "Return-Path: <{sender}>\r\nReceived: from [{peer}] by {} with LMTP; {date}\r\n",
            self.backend.settings.name
        )
    }

    async fn message_end(&mut self, too_large: bool) {
        let is_empty = |transaction: &Transaction| transaction.spool.is_none();
        if !too_large && self.transaction.as_ref().is_some_and(is_empty) {
            // A message without a byte still gets its trace header.
            self.content(b"").await;
        }
        let Some(transaction) = self.transaction.take() else {
            return;
        };
        let count = transaction.targets.len();
        if too_large {
            let reply = Reply::too_large(self.backend.settings.lmtp.message_bytes_max);
            return self.reply_to_all(count, &reply);
        }
        let spooled = match transaction.spool {
            Some(spool) if !transaction.failed => spool.finish().await.ok(),
            _ => None,
        };
        let Some(spooled) = spooled else {
            return self.reply_to_all(count, &Reply::no_space());
        };
        for result in deliver_all(&self.backend, &transaction.targets, spooled).await {
            let reply = match result {
                Delivered::Stored | Delivered::Repeated => Reply::delivered(),
                Delivered::Full => Reply::no_space(),
                Delivered::Later(reason) => Reply::try_later(reason),
            };
            self.wire.reply(&reply);
        }
    }

    /// One reply for each accepted recipient.
    fn reply_to_all(&mut self, recipients: usize, reply: &Reply) {
        for _ in 0..recipients {
            self.wire.reply(reply);
        }
    }
}

fn is_undecided(resolved: &Result<Target, RecipientRefusal>) -> bool {
    matches!(
        resolved,
        Err(RecipientRefusal::Later(BackendError::Unavailable(
            Phase::InDoubt
        )))
    )
}

/// Counts a held recipient until it is dropped.
struct Held(Arc<AtomicU64>);

impl Held {
    fn new(backend: &Backend) -> Self {
        backend.held.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&backend.held))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn rfc5322_date(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let weekday = DAYS[seconds.div_euclid(86_400).rem_euclid(7) as usize];
    let date = murder_model::InternalDate::new(seconds, 0).to_string();
    format!("{weekday}, {}", date.trim_start().replacen('-', " ", 2))
}

#[cfg(test)]
mod tests {
    use super::rfc5322_date;

    #[test]
    fn dates_are_as_mail_headers_want_them() {
        assert_eq!(rfc5322_date(760_686_745), "Tue, 8 Feb 1994 05:52:25 +0000");
    }
}
