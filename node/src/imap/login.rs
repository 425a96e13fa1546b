//! From the greeting to a known user.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use murder_api::Settings;
use murder_model::UserName;
use murder_proto::imap::command::{Command, Secret};
use murder_proto::imap::server::{Event, Limits};
use murder_proto::sasl::{Credentials, Mechanism, ServerExchange, Step};
use tokio::time::sleep;

use crate::accounts::{Accounts, Verdict};
use crate::imap::wire::{End, Wire};
use crate::net::{PeerIdentity, Tls};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Protocol;

/// Who a session acts for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The user whose mailboxes `INBOX` and the rest are.
    pub user: UserName,
    /// May do everything.
    pub is_admin: bool,
    /// The frontend or backend that the session comes from, if it is not a client's own.
    pub via: Option<PeerIdentity>,
}

/// What a login needs to know.
#[derive(Debug)]
pub struct LoginContext {
    /// The node's settings.
    pub settings: Arc<Settings>,
    /// Who may log in.
    pub accounts: Arc<dyn Accounts>,
    /// For STARTTLS.
    pub tls: Option<Tls>,
    /// Failures are counted.
    pub metrics: Arc<Metrics>,
}

enum Attempt {
    Done(Identity),
    Refused,
    Unavailable,
}

/// Greets, and serves until a user is known. Failed logins are slowed and bounded.
pub async fn login(
    wire: &mut Wire,
    context: &LoginContext,
    peer: Option<&PeerIdentity>,
) -> Result<Identity, End> {
    let greeting = capabilities(wire, context, peer);
    wire.line(&format!(
        "* OK [CAPABILITY {greeting}] {} ready",
        context.settings.name
    ));
    let mut failures = 0;
    loop {
        let (tag, attempt) = match wire.event().await? {
            Event::Command(received) => {
                let tag = received.tag;
                match command(wire, context, peer, &tag, received.command).await? {
                    Some(attempt) => (tag, attempt),
                    None => continue,
                }
            }
            Event::Continue => {
                wire.line("+ go on");
                continue;
            }
            Event::Append(received) => {
                wire.reader.refuse_append();
                wire.tagged(&received.tag, "BAD log in first");
                continue;
            }
            Event::Bad { tag, text } => {
                bad(wire, tag.as_ref(), text);
                continue;
            }
            Event::Fatal { text } => {
                wire.line(&format!("* BYE {text}"));
                wire.flush().await?;
                return Err(End::Logout);
            }
            _ => continue,
        };
        match attempt {
            Attempt::Done(identity) => {
                wire.tagged(
                    &tag,
                    &format!("OK [CAPABILITY {}] welcome", super::CAPABILITIES),
                );
                wire.reader.set_limits(limits(&context.settings));
                return Ok(identity);
            }
            Attempt::Unavailable => wire.tagged(&tag, "NO [UNAVAILABLE] try again later"),
            Attempt::Refused => {
                failures += 1;
                let protocol = Protocol { protocol: "imap" };
                context
                    .metrics
                    .login_failures
                    .get_or_create_owned(&protocol)
                    .inc();
                sleep(Duration::from_millis(
                    context.settings.imap.login_failure_delay_ms,
                ))
                .await;
                wire.tagged(&tag, "NO [AUTHENTICATIONFAILED] wrong user or password");
            }
        }
        if failures >= context.settings.imap.login_failures_max {
            wire.line("* BYE too many failed logins");
            wire.flush().await?;
            return Err(End::Logout);
        }
    }
}

/// Limits of a session that has logged in.
pub fn limits(settings: &Settings) -> Limits {
    Limits {
        line_bytes_max: settings.imap.line_bytes_max,
        literal_bytes_max: settings.imap.literal_bytes_max,
        command_bytes_max: settings.imap.line_bytes_max + settings.imap.literal_bytes_max,
        append_bytes_max: settings.imap.append_bytes_max,
        bad_commands_max: settings.imap.bad_commands_max,
        ..Limits::AFTER_LOGIN
    }
}

/// Answers `BAD`, with the tag if there is one.
pub fn bad(wire: &mut Wire, tag: Option<&Bytes>, text: &str) {
    match tag {
        Some(tag) => wire.tagged(tag, &format!("BAD {text}")),
        None => wire.line(&format!("* BAD {text}")),
    }
}

fn may_send_password(wire: &Wire, context: &LoginContext) -> bool {
    wire.is_private()
        || context.settings.allow_plaintext_login
        || context.settings.insecure_loopback
}

fn capabilities(wire: &Wire, context: &LoginContext, peer: Option<&PeerIdentity>) -> String {
    let mut text = "IMAP4rev1 LITERAL+ SASL-IR ID".to_owned();
    if may_send_password(wire, context) {
        text.push_str(" AUTH=PLAIN");
    } else {
        text.push_str(" LOGINDISABLED");
    }
    if context.tls.is_some() && !wire.is_private() {
        text.push_str(" STARTTLS");
    }
    if peer.is_some_and(|peer| peer.role.may_proxy()) {
        text.push_str(" AUTH=EXTERNAL");
    }
    text
}

async fn command(
    wire: &mut Wire,
    context: &LoginContext,
    peer: Option<&PeerIdentity>,
    tag: &Bytes,
    command: Command,
) -> Result<Option<Attempt>, End> {
    match command {
        Command::Capability => {
            let text = capabilities(wire, context, peer);
            wire.line(&format!("* CAPABILITY {text}"));
            wire.tagged(tag, "OK done");
        }
        Command::Noop => wire.tagged(tag, "OK done"),
        Command::Id(_) => {
            wire.line("* ID (\"name\" \"murder\")");
            wire.tagged(tag, "OK done");
        }
        Command::Logout => {
            wire.line("* BYE until next time");
            wire.tagged(tag, "OK done");
            wire.flush().await?;
            return Err(End::Logout);
        }
        Command::StartTls => match &context.tls {
            Some(tls) if !wire.is_private() => {
                wire.tagged(tag, "OK begin TLS now");
                wire.start_tls(tls).await?;
            }
            Some(_) => wire.tagged(tag, "BAD TLS is on already"),
            None => wire.tagged(tag, "NO TLS is not available"),
        },
        Command::Login { user, password } => {
            if !may_send_password(wire, context) {
                wire.tagged(tag, "NO [PRIVACYREQUIRED] start TLS first");
                return Ok(None);
            }
            return Ok(Some(verify(context, &user, &[], &password).await));
        }
        Command::Authenticate { mechanism, initial } => {
            return authenticate(wire, context, peer, tag, &mechanism, initial).await;
        }
        _ => wire.tagged(tag, "BAD log in first"),
    }
    Ok(None)
}

async fn authenticate(
    wire: &mut Wire,
    context: &LoginContext,
    peer: Option<&PeerIdentity>,
    tag: &Bytes,
    mechanism: &[u8],
    initial: Option<Secret>,
) -> Result<Option<Attempt>, End> {
    let proxy = peer.filter(|peer| peer.role.may_proxy());
    let mechanism = match Mechanism::parse(mechanism) {
        Some(Mechanism::Plain) if may_send_password(wire, context) => Mechanism::Plain,
        Some(Mechanism::Plain) => {
            wire.tagged(tag, "NO [PRIVACYREQUIRED] start TLS first");
            return Ok(None);
        }
        Some(Mechanism::External) if proxy.is_some() => Mechanism::External,
        _ => {
            wire.tagged(tag, "NO mechanism not available");
            return Ok(None);
        }
    };
    let encoded = initial.map(|initial| murder_proto::sasl::encode(initial.expose()));
    let (mut exchange, mut step) =
        ServerExchange::start(mechanism, encoded.as_deref().map(str::as_bytes));
    loop {
        match step {
            Step::Challenge(challenge) => {
                wire.line(&format!("+ {challenge}"));
                wire.reader.expect_auth_line();
                match wire.event().await? {
                    Event::AuthResponse(response) => {
                        let line = murder_proto::sasl::encode(response.expose());
                        step = exchange.respond(line.as_bytes());
                    }
                    Event::AuthCancelled => {
                        wire.tagged(tag, "BAD cancelled");
                        return Ok(None);
                    }
                    Event::Bad { tag, text } => {
                        bad(wire, tag.as_ref(), text);
                        return Ok(None);
                    }
                    _ => return Err(End::Closed),
                }
            }
            Step::Done(credentials) => {
                return Ok(Some(check(context, proxy, credentials).await));
            }
            Step::Failed(error) => {
                wire.tagged(tag, &format!("BAD {error}"));
                return Ok(None);
            }
        }
    }
}

async fn check(
    context: &LoginContext,
    proxy: Option<&PeerIdentity>,
    credentials: Credentials,
) -> Attempt {
    match credentials {
        Credentials::Password {
            authorization,
            authentication,
            password,
        } => {
            let password = Secret::new(password.as_bytes());
            let authorization = authorization.unwrap_or_default();
            verify(
                context,
                authentication.as_bytes(),
                authorization.as_bytes(),
                &password,
            )
            .await
        }
        Credentials::External { authorization } => {
            let user = authorization.and_then(|user| UserName::parse(&user).ok());
            match user {
                Some(user) if proxy.is_some() => Attempt::Done(Identity {
                    is_admin: context.settings.admins.contains(&user),
                    user,
                    via: proxy.cloned(),
                }),
                _ => Attempt::Refused,
            }
        }
    }
}

/// Checks a password; an administrator may act for another user (`authorization`).
async fn verify(
    context: &LoginContext,
    authentication: &[u8],
    authorization: &[u8],
    password: &Secret,
) -> Attempt {
    let parse = |name: &[u8]| UserName::parse(std::str::from_utf8(name).ok()?).ok();
    let Some(user) = parse(authentication) else {
        return Attempt::Refused;
    };
    match context.accounts.verify(&user, password.expose()).await {
        Ok(Verdict::Accepted) => {}
        Ok(Verdict::Refused) => return Attempt::Refused,
        Err(error) => {
            tracing::error!(event = "accounts_failed", %error);
            return Attempt::Unavailable;
        }
    }
    let is_admin = context.settings.admins.contains(&user);
    if authorization.is_empty() {
        return Attempt::Done(Identity {
            user,
            is_admin,
            via: None,
        });
    }
    match parse(authorization) {
        Some(other) if other == user => Attempt::Done(Identity {
            user,
            is_admin,
            via: None,
        }),
        Some(other) if is_admin => {
            let is_admin = context.settings.admins.contains(&other);
            Attempt::Done(Identity {
                user: other,
                is_admin,
                via: None,
            })
        }
        _ => Attempt::Refused,
    }
}
