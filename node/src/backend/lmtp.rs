//! LMTP sessions on a backend (RFC 2033).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use murder_api::Settings;
use murder_api::settings::parse_network;
use murder_model::UserName;
use murder_proto::lmtp::command::Mail;
use murder_proto::lmtp::reply::{EnhancedCode, Reply};
use murder_proto::lmtp::server::{Event, Session, SessionOptions};
use murder_proto::sasl::{Credentials, Mechanism};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::accounts::Verdict;
use crate::backend::Backend;
use crate::backend::delivery::{Delivered, RecipientRefusal, Target, deliver_all, resolve};
use crate::backend::spool::Spool;
use crate::clock;
use crate::imap::End;
use crate::net::{PeerIdentity, Stream, Tls};

const READ_BYTES: usize = 32 << 10;

/// Serves one connection to its end.
pub async fn serve(
    backend: Arc<Backend>,
    tls: Option<Tls>,
    stream: Stream,
    peer: Option<SocketAddr>,
    identity: Option<PeerIdentity>,
) -> Result<(), End> {
    let _counted = backend.metrics.session("lmtp");
    let settings = &backend.settings;
    let trusted = settings.insecure_loopback
        || identity
            .as_ref()
            .is_some_and(|identity| identity.role.may_proxy())
        || peer.is_some_and(|peer| is_trusted(settings, peer.ip()));
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
    let mut connection = Lmtp {
        backend,
        tls,
        stream: Some(stream),
        peer,
        session,
        out: BytesMut::new(),
        may_submit: trusted,
        transaction: None,
    };
    let greeting = Reply::greeting(&connection.backend.settings.name);
    connection.reply(&greeting);
    connection.run().await
}

/// Networks that may deliver without login.
fn is_trusted(settings: &Settings, peer: IpAddr) -> bool {
    settings
        .lmtp
        .trusted_networks
        .iter()
        .filter_map(|network| parse_network(network))
        .any(|(network, prefix)| match (network, peer.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(peer)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                network.to_bits() & mask == peer.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(peer)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                network.to_bits() & mask == peer.to_bits() & mask
            }
            _ => false,
        })
}

struct Transaction {
    mail: Mail,
    targets: Vec<Target>,
    spool: Option<Spool>,
    failed: bool,
}

struct Lmtp {
    backend: Arc<Backend>,
    tls: Option<Tls>,
    stream: Option<Stream>,
    peer: Option<SocketAddr>,
    session: Session,
    out: BytesMut,
    may_submit: bool,
    transaction: Option<Transaction>,
}

impl Lmtp {
    async fn run(&mut self) -> Result<(), End> {
        loop {
            while let Some(event) = self.session.next_event() {
                if !self.handle(event).await? {
                    self.flush().await?;
                    return Ok(());
                }
            }
            self.flush().await?;
            self.fill().await?;
        }
    }

    fn silence_max(&self) -> Duration {
        Duration::from_secs(self.backend.settings.lmtp.idle_seconds_max)
    }

    async fn fill(&mut self) -> Result<(), End> {
        let silence_max = self.silence_max();
        let stream = self.stream.as_mut().ok_or(End::Closed)?;
        let buffer = self.session.buffer();
        buffer.reserve(READ_BYTES);
        match timeout(silence_max, stream.read_buf(buffer)).await {
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

    async fn flush(&mut self) -> Result<(), End> {
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

    fn reply(&mut self, reply: &Reply) {
        reply.write(&mut self.out);
    }

    /// False: the session is over.
    async fn handle(&mut self, event: Event) -> Result<bool, End> {
        match event {
            Event::Reply(reply) => self.reply(&reply),
            Event::Hello(_) => {}
            Event::StartTls => self.start_tls().await?,
            Event::Credentials(credentials) => self.authenticate(credentials).await,
            Event::Mail(mail) => self.mail(mail),
            Event::Recipient(to) => {
                let resolved = resolve(&self.backend, &to.address).await;
                self.recipient(resolved);
            }
            Event::Data => {
                self.session.accept_data();
                self.reply(&Reply::start_content());
            }
            Event::Content(bytes) => self.content(&bytes).await,
            Event::ChunkEnd { octets } => self.reply(&Reply::chunk_ok(octets)),
            Event::MessageEnd { too_large, .. } => self.message_end(too_large).await?,
            Event::Dropped => self.transaction = None,
            Event::Close => return Ok(false),
        }
        Ok(true)
    }

    async fn start_tls(&mut self) -> Result<(), End> {
        self.flush().await?;
        match (self.stream.take(), &self.tls) {
            (Some(Stream::Plain(socket)), Some(tls)) => {
                let (stream, identity) = tls.accept_public(socket).await?;
                self.stream = Some(stream);
                self.may_submit |= identity.is_some_and(|identity| identity.role.may_proxy());
                self.transaction = None;
                self.session.tls_started();
                self.session.offer(vec![Mechanism::Plain]);
                Ok(())
            }
            _ => Err(End::Closed),
        }
    }

    async fn authenticate(&mut self, credentials: Credentials) {
        let accepted = match credentials {
            Credentials::Password {
                authentication,
                password,
                ..
            } => match UserName::parse(&authentication) {
                Ok(user) if self.backend.settings.lmtp_admins.contains(&user) => {
                    let verdict = self.backend.accounts.verify(&user, password.as_bytes());
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
            let delay = self.backend.settings.imap.login_failure_delay_ms;
            tokio::time::sleep(Duration::from_millis(delay)).await;
            self.session.authentication_failed();
            self.reply(&Reply::authentication_failed());
        }
    }

    fn mail(&mut self, mail: Mail) {
        if !self.may_submit {
            self.session.count_refusal();
            self.reply(&Reply::authentication_required());
            return;
        }
        let needed = mail.size.unwrap_or(0);
        let free = self
            .backend
            .partitions()
            .iter()
            .map(|partition| partition.free_bytes())
            .max();
        if needed > free.unwrap_or(0) {
            self.reply(&Reply::no_space());
            return;
        }
        self.transaction = Some(Transaction {
            mail,
            targets: Vec::new(),
            spool: None,
            failed: false,
        });
        self.session.accept_mail();
        self.reply(&Reply::sender_ok());
    }

    fn recipient(&mut self, resolved: Result<Target, RecipientRefusal>) {
        let reply = match (resolved, self.transaction.as_mut()) {
            (Ok(target), Some(transaction)) => {
                transaction.targets.push(target);
                self.session.accept_recipient();
                Reply::recipient_ok()
            }
            (Ok(_), None) => Reply::try_later("no transaction"),
            (Err(refusal), _) => {
                self.session.count_refusal();
                refused(&refusal)
            }
        };
        self.reply(&reply);
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
            .peer
            .map_or_else(|| "local".to_owned(), |peer| peer.ip().to_string());
        let date = rfc5322_date(clock::now().as_seconds());
        format!(
            "Return-Path: <{sender}>\r\nReceived: from [{peer}] by {} with LMTP; {date}\r\n",
            self.backend.settings.name
        )
    }

    async fn message_end(&mut self, too_large: bool) -> Result<(), End> {
        if too_large {
            self.transaction = None;
            let reply = Reply::too_large(self.backend.settings.lmtp.message_bytes_max);
            self.reply(&reply);
            return Ok(());
        }
        if self
            .transaction
            .as_ref()
            .is_some_and(|transaction| transaction.spool.is_none())
        {
            // A message without a byte still gets its trace header.
            self.content(b"").await;
        }
        let Some(transaction) = self.transaction.take() else {
            return Ok(());
        };
        let count = transaction.targets.len();
        let spooled = match transaction.spool {
            Some(spool) if !transaction.failed => spool.finish().await.ok(),
            _ => None,
        };
        let Some(spooled) = spooled else {
            for _ in 0..count {
                self.reply(&Reply::no_space());
            }
            return Ok(());
        };
        for result in deliver_all(&self.backend, &transaction.targets, spooled).await {
            let reply = match result {
                Delivered::Stored | Delivered::Repeated => Reply::delivered(),
                Delivered::Full => Reply::no_space(),
                Delivered::Later(reason) => Reply::try_later(reason),
            };
            self.reply(&reply);
        }
        Ok(())
    }
}

fn refused(refusal: &RecipientRefusal) -> Reply {
    match refusal {
        RecipientRefusal::Unknown => Reply::recipient_unknown(),
        RecipientRefusal::OtherDomain => {
            Reply::new(550, EnhancedCode(5, 1, 2), "domain is not served here")
        }
        RecipientRefusal::NotAllowed => Reply::new(
            550,
            EnhancedCode(5, 7, 1),
            "posting to this folder is not allowed",
        ),
        RecipientRefusal::Later(error) => Reply::try_later(error.to_string()),
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
