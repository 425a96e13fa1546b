//! IMAP sessions of a frontend: who has the mailbox is asked, the command is passed on to it as it
//! came, and the answer comes back as it came (RFC 3501).
//!
//! A session has at most a few connections, one a server, each opened when a mailbox there is first
//! named. When a server dies the session stays: commands on a mailbox that was selected there get
//! `NO [UNAVAILABLE]` until another is selected.

mod append;
mod home;
mod idle;
mod link;
mod list;
mod relay;

use std::sync::Arc;

use bytes::Bytes;
use murder_model::{MailboxName, ServerName};
use murder_proto::imap::command::{Command, Create, Select};
use murder_proto::imap::response::Status;
use murder_proto::imap::server::{Event, Received};

use self::link::Link;
use self::relay::Outcome;
use super::router::HOPS_MAX;
use super::{Frontend, Moved, Target};
use crate::imap::login::bad;
use crate::imap::{CAPABILITIES, End, Identity, Wire};

/// Connections to backends that one session keeps.
const LINKS_MAX: usize = 8;

/// The end of a command that the frontend answers itself.
#[derive(Debug)]
struct Reply(String);

impl Reply {
    fn ok() -> Self {
        Self("OK done".to_owned())
    }

    fn bad(text: &str) -> Self {
        Self(format!("BAD {text}"))
    }

    fn unavailable() -> Self {
        Self("NO [UNAVAILABLE] mailbox is not available now".to_owned())
    }

    fn nonexistent() -> Self {
        Self("NO [NONEXISTENT] mailbox does not exist".to_owned())
    }

    fn lost() -> Self {
        Self(
            "NO [UNAVAILABLE] the selected mailbox is not available now, select it again"
                .to_owned(),
        )
    }

    /// For commands whose client may create what is missing (RFC 3501 section 6.3.11).
    fn try_create(self) -> Self {
        Self(self.0.replace("[NONEXISTENT]", "[TRYCREATE]"))
    }
}

/// What the client has selected.
#[derive(Debug)]
enum Selected {
    None,
    At(ServerName),
    /// The server is gone.
    Lost,
}

struct Session {
    wire: Wire,
    frontend: Arc<Frontend>,
    identity: Identity,
    links: Vec<Link>,
    selected: Selected,
    /// The client has enabled it for the connection (RFC 7162 section 3.1).
    condstore: bool,
    /// Where this session last changed names, until a LIST has caught up.
    renamed: Option<Target>,
}

/// Serves a user whose identity is known, to the end of the connection.
pub async fn serve(frontend: Arc<Frontend>, wire: Wire, identity: Identity) -> Result<(), End> {
    let mut session = Session {
        wire,
        frontend,
        identity,
        links: Vec::new(),
        selected: Selected::None,
        condstore: false,
        renamed: None,
    };
    let end = match session.ensure_home().await {
        Ok(()) => session.run().await,
        Err(end) => Err(end),
    };
    match end {
        Err(End::Idle) => session.wire.bye("silent for too long").await,
        _ => session.wire.close().await,
    }
    match end {
        Err(End::Logout) | Ok(()) => Ok(()),
        Err(end) => Err(end),
    }
}

impl Session {
    async fn run(&mut self) -> Result<(), End> {
        loop {
            match self.wire.event().await? {
                Event::Command(received) => Box::pin(self.command(&received)).await?,
                Event::Append(received) => Box::pin(self.append(received)).await?,
                Event::Continue => self.wire.line("+ go on"),
                Event::Bad { tag, text } => bad(&mut self.wire, tag.as_ref(), text),
                Event::Fatal { text } => {
                    self.wire.line(&format!("* BYE {text}"));
                    return Err(End::Logout);
                }
                Event::Literal(_)
                | Event::AppendEnd(_)
                | Event::AuthResponse(_)
                | Event::AuthCancelled
                | Event::Done => {}
            }
            self.wire.flush_if_full().await?;
        }
    }

    fn reply(&mut self, tag: &Bytes, reply: Reply) {
        self.wire.tagged(tag, &reply.0);
    }

    async fn command(&mut self, received: &Received) -> Result<(), End> {
        let tag = &received.tag;
        match &received.command {
            Command::Capability => {
                self.wire.line(&format!("* CAPABILITY {CAPABILITIES}"));
                self.reply(tag, Reply::ok());
            }
            Command::Logout => {
                self.wire.line("* BYE until next time");
                self.reply(tag, Reply::ok());
                return Err(End::Logout);
            }
            Command::Id(_) => {
                let version = env!("CARGO_PKG_VERSION");
                let line = format!("* ID (\"name\" \"murder\" \"version\" \"{version}\")");
                self.wire.line(&line);
                self.reply(tag, Reply::ok());
            }
            Command::StartTls | Command::Authenticate { .. } | Command::Login { .. } => {
                self.reply(tag, Reply::bad("logged in already"));
            }
            Command::Namespace => {
                self.wire.line(
                    "* NAMESPACE ((\"\" \"/\")) ((\"Other Users/\" \"/\")) \
                     ((\"Shared Folders/\" \"/\"))",
                );
                self.reply(tag, Reply::ok());
            }
            Command::Enable(names) => self.enable(received, names).await?,
            Command::List(list) => {
                let reply = self.list(list).await?;
                self.reply(tag, reply);
            }
            Command::Idle => self.idle(tag).await?,
            Command::Other { .. } => self.reply(tag, Reply::bad("unknown command")),
            Command::Noop | Command::Check if self.selected_link().is_none() => {
                let reply = match self.selected {
                    Selected::Lost => Reply::lost(),
                    _ => Reply::ok(),
                };
                self.reply(tag, reply);
            }
            Command::Select(select) | Command::Examine(select) => {
                self.select(received, select).await?;
            }
            Command::Create(create) => self.create(received, create).await?,
            Command::Delete { mailbox } => self.named(received, mailbox, true).await?,
            Command::Rename(rename) => self.named(received, &rename.from, true).await?,
            Command::SetAcl(set) => self.named(received, &set.mailbox, true).await?,
            Command::DeleteAcl { mailbox, .. } => self.named(received, mailbox, true).await?,
            Command::Status { mailbox, .. }
            | Command::GetAcl { mailbox }
            | Command::ListRights { mailbox, .. }
            | Command::MyRights { mailbox }
            | Command::Xfer { mailbox, .. } => self.named(received, mailbox, false).await?,
            Command::Subscribe { mailbox } => self.subscribe(received, mailbox).await?,
            Command::Unsubscribe { .. } | Command::Lsub { .. } => {
                self.named(received, b"INBOX", false).await?;
            }
            _ => self.in_selected(received).await?,
        }
        Ok(())
    }

    /// Who serves what the client calls `name`, or would.
    async fn locate(&mut self, name: &[u8]) -> Result<Result<Target, Reply>, End> {
        let name = match self.name(name) {
            Ok(name) => name,
            Err(reply) => return Ok(Err(reply)),
        };
        let mut routed = self.frontend.router.route(&name).await;
        let own = name.owner().as_ref() == Some(&self.identity.user);
        if matches!(routed, Ok(None)) && own {
            // It could not be made at the login.
            self.ensure_home().await?;
            routed = self.frontend.router.route(&name).await;
        }
        Ok(match routed {
            Ok(Some(target)) => Ok(target),
            Ok(None) => Err(Reply::nonexistent()),
            Err(error) => {
                tracing::info!(event = "route_unknown", %error);
                Err(Reply::unavailable())
            }
        })
    }

    fn name(&self, name: &[u8]) -> Result<MailboxName, Reply> {
        MailboxName::from_external(&self.identity.user, name)
            .map_err(|error| Reply(format!("NO [NONEXISTENT] {error}")))
    }

    async fn follow(&self, name: &[u8], moved: &Moved) -> Result<Target, Reply> {
        let name = self.name(name)?;
        match self.frontend.router.follow(&name, moved).await {
            Ok(Some(target)) => Ok(target),
            Ok(None) => Err(Reply::nonexistent()),
            Err(error) => {
                tracing::info!(event = "route_unknown", %error);
                Err(Reply::unavailable())
            }
        }
    }

    /// Passes a command on to who serves `mailbox`, and follows it if it has moved. `None`: answered
    /// by the frontend; else the answer's status and where it came from.
    async fn route(
        &mut self,
        received: &Received,
        mailbox: &[u8],
    ) -> Result<Option<(Status, Target)>, End> {
        let mut command = Vec::with_capacity(received.raw.len() + 8);
        received.relay(&received.tag, &mut command);
        let mut target = match self.locate(mailbox).await? {
            Ok(target) => target,
            Err(reply) => {
                self.reply(&received.tag, reply);
                return Ok(None);
            }
        };
        let mut retried = !is_repeatable(&received.command);
        for _ in 0..=HOPS_MAX + 1 {
            match self.relay(&target, &received.tag, &command).await? {
                Outcome::Answered(status) => return Ok(Some((status, target))),
                Outcome::Moved(moved) => match self.follow(mailbox, &moved).await {
                    Ok(next) => target = next,
                    Err(reply) => {
                        self.reply(&received.tag, reply);
                        return Ok(None);
                    }
                },
                // A connection that lay idle may have ended unnoticed.
                Outcome::Lost if !retried => retried = true,
                Outcome::Lost | Outcome::Cordoned => break,
            }
        }
        self.reply(&received.tag, Reply::unavailable());
        Ok(None)
    }

    /// A command on a named mailbox that leaves the selection as it is.
    async fn named(
        &mut self,
        received: &Received,
        mailbox: &[u8],
        renames: bool,
    ) -> Result<(), End> {
        let answered = self.route(received, mailbox).await?;
        if let Some((Status::Ok, target)) = answered
            && renames
        {
            self.renamed = Some(target);
        }
        Ok(())
    }

    async fn select(&mut self, received: &Received, select: &Select) -> Result<(), End> {
        self.condstore |= select.condstore;
        let before = std::mem::replace(&mut self.selected, Selected::None);
        let answered = self.route(received, &select.mailbox).await?;
        let now = match answered {
            Some((Status::Ok, target)) => Some(target.server),
            _ => None,
        };
        // The mailbox that was selected elsewhere is closed there, too (RFC 3501 section 6.3.1).
        if let Selected::At(server) = before
            && now.as_ref() != Some(&server)
        {
            self.unselect_at(&server).await;
        }
        if let Some(server) = now {
            self.selected = Selected::At(server);
        }
        Ok(())
    }

    async fn unselect_at(&mut self, server: &ServerName) {
        let Some(index) = self.links.iter().position(|link| link.server == *server) else {
            return;
        };
        let link = &mut self.links[index];
        // BAD if a failed SELECT there has unselected it already: the same outcome.
        let told = link.send(b"U UNSELECT\r\n").await.is_ok();
        if !told || matches!(link.wait_ok(b"U").await, Err(error) if !error.is_refusal()) {
            self.links.remove(index);
        }
    }

    /// A root is made by an administrator, where there is room; everything else where its root is.
    async fn create(&mut self, received: &Received, create: &Create) -> Result<(), End> {
        let name = create.mailbox.strip_suffix(b"/").unwrap_or(&create.mailbox);
        let name = match self.name(name) {
            Ok(name) => name,
            Err(reply) => {
                let text = reply.0.replace("NONEXISTENT", "CANNOT");
                self.reply(&received.tag, Reply(text));
                return Ok(());
            }
        };
        if !name.is_root() {
            return self.named(received, &create.mailbox, true).await;
        }
        let Ok(known) = self.frontend.router.route(&name).await else {
            self.reply(&received.tag, Reply::unavailable());
            return Ok(());
        };
        if known.is_some() {
            let text = "NO [ALREADYEXISTS] mailbox exists already".to_owned();
            self.reply(&received.tag, Reply(text));
            return Ok(());
        }
        let own = name.owner().as_ref() == Some(&self.identity.user);
        if !self.identity.is_admin && !own {
            let text = "NO [NOPERM] permission denied".to_owned();
            self.reply(&received.tag, Reply(text));
            return Ok(());
        }
        let mut command = Vec::with_capacity(received.raw.len() + 8);
        received.relay(&received.tag, &mut command);
        if let Err(error) = self.create_root(&name, &received.tag, &command).await? {
            tracing::warn!(event = "root_not_created", root = %name, %error);
            self.reply(&received.tag, Reply::unavailable());
        }
        Ok(())
    }

    /// Subscriptions are at home. Where only what exists may be subscribed to, the frontend knows
    /// what exists.
    async fn subscribe(&mut self, received: &Received, mailbox: &[u8]) -> Result<(), End> {
        if !self.frontend.settings.allows_all_subscribe() {
            let visible = match self.name(mailbox) {
                Ok(name) => self.may_look_up(&name).await,
                Err(reply) => Err(reply),
            };
            if let Err(reply) = visible {
                self.reply(&received.tag, reply);
                return Ok(());
            }
        }
        self.named(received, b"INBOX", false).await
    }

    async fn enable(&mut self, received: &Received, names: &[Bytes]) -> Result<(), End> {
        let condstore = names
            .iter()
            .any(|name| name.eq_ignore_ascii_case(b"CONDSTORE"));
        if condstore && !self.condstore {
            self.condstore = true;
            for server in self
                .links
                .iter()
                .map(|link| link.server.clone())
                .collect::<Vec<_>>()
            {
                self.enable_at(&server).await;
            }
        }
        self.wire.line(if condstore {
            "* ENABLED CONDSTORE"
        } else {
            "* ENABLED"
        });
        self.reply(&received.tag, Reply::ok());
        Ok(())
    }

    async fn enable_at(&mut self, server: &ServerName) {
        let Some(index) = self.links.iter().position(|link| link.server == *server) else {
            return;
        };
        let link = &mut self.links[index];
        let told = link.send(b"E ENABLE CONDSTORE\r\n").await.is_ok();
        if !told || link.wait_ok(b"E").await.is_err() {
            // Its loss is told to the client by the next command that needs it.
            if self.is_selected_at(index) {
                self.selected = Selected::Lost;
            }
            self.links.remove(index);
        }
    }

    fn selected_link(&self) -> Option<usize> {
        match &self.selected {
            Selected::At(server) => self.links.iter().position(|link| link.server == *server),
            Selected::None | Selected::Lost => None,
        }
    }

    /// A command on the selected mailbox.
    async fn in_selected(&mut self, received: &Received) -> Result<(), End> {
        let Some(index) = self.selected_link() else {
            let reply = match self.selected {
                Selected::None => Reply::bad("select a mailbox first"),
                Selected::At(_) | Selected::Lost => Reply::lost(),
            };
            self.reply(&received.tag, reply);
            return Ok(());
        };
        let mut command = Vec::with_capacity(received.raw.len() + 8);
        received.relay(&received.tag, &mut command);
        if self.links[index].send(&command).await.is_err() {
            self.lose(index)?;
            self.reply(&received.tag, Reply::lost());
            return Ok(());
        }
        let closes = matches!(received.command, Command::Close | Command::Unselect);
        match self.answer(index, &received.tag).await? {
            Outcome::Answered(Status::Ok) if closes => self.selected = Selected::None,
            Outcome::Answered(_) => {}
            Outcome::Lost => self.reply(&received.tag, Reply::lost()),
            Outcome::Moved(_) | Outcome::Cordoned => {
                self.reply(&received.tag, Reply::unavailable());
            }
        }
        Ok(())
    }
}

/// Whether a command may be sent again if its answer was lost.
fn is_repeatable(command: &Command) -> bool {
    matches!(
        command,
        Command::Select(_)
            | Command::Examine(_)
            | Command::Status { .. }
            | Command::Lsub { .. }
            | Command::GetAcl { .. }
            | Command::ListRights { .. }
            | Command::MyRights { .. }
    )
}
