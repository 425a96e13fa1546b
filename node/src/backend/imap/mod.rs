//! IMAP sessions on a server's own mailboxes, one file a verb.

mod acl;
mod append;
mod copy;
mod expunge;
mod fetch;
mod idle;
mod list;
mod mailbox;
mod search;
mod select;
mod selected;
mod status;
mod store;
mod xfer;

use std::sync::Arc;

use bytes::Bytes;
use murder_model::{MailboxName, Rights};
use murder_proto::imap::command::Command;
use murder_proto::imap::server::{Event, Received};
use murder_store::mail::{MailError, MailboxRow};
use murder_store::rows::StoreError;

use crate::backend::gate::Phase;
use crate::backend::partition::WriteError;
use crate::backend::{Backend, BackendError, UnitPlace, rights};
use crate::imap::login::bad;
use crate::imap::{CAPABILITIES, End, Identity, Wire};
use selected::Selected;

/// What clients are told of a mailbox that is not served now.
const UNAVAILABLE: &str = "[UNAVAILABLE] mailbox is not available now";

/// A frontend's question whether the master knows all names that were changed before.
const PUBLISHED: &str = "XPUBLISHED";

/// A command's end: the text behind the tag, or why the session ends.
type Answer = Result<Reply, End>;

/// The text behind the tag.
#[derive(Debug)]
enum Reply {
    Ok(String),
    No(String),
    Bad(&'static str),
}

impl Reply {
    fn ok(text: &str) -> Self {
        Self::Ok(text.to_owned())
    }

    fn no(text: &str) -> Self {
        Self::No(text.to_owned())
    }
}

/// Failures of the backend as clients are told them (RFC 5530).
impl From<BackendError> for Reply {
    fn from(error: BackendError) -> Self {
        let mail = match error {
            BackendError::NoSuchMailbox => {
                return Self::no("[NONEXISTENT] mailbox does not exist");
            }
            BackendError::Unavailable(Phase::Moved { to, term, epoch }) => {
                return Self::No(format!("[XMOVED {to} {term} {epoch}] mailbox has moved"));
            }
            BackendError::Elsewhere => return Self::no("[XMOVED] mailbox is not here"),
            BackendError::Cordoned => {
                return Self::no("[XCORDONED] the server takes no new mailboxes");
            }
            BackendError::Unavailable(_) | BackendError::Master(_) | BackendError::Ownership(_) => {
                return Self::no(UNAVAILABLE);
            }
            BackendError::Write(WriteError::Refused(error)) | BackendError::Read(error) => error,
            BackendError::Write(error) => {
                tracing::error!(event = "write_failed", %error);
                return Self::no("[UNAVAILABLE] the server cannot write now");
            }
        };
        match mail {
            MailError::NoSuchMailbox => Self::no("[NONEXISTENT] mailbox does not exist"),
            MailError::MailboxExists(_) | MailError::RootExists(_) => {
                Self::no("[ALREADYEXISTS] mailbox exists already")
            }
            MailError::OtherUnit | MailError::Root | MailError::Name(_) => {
                Self::No(format!("[CANNOT] {mail}"))
            }
            MailError::NotOwner(_) => Self::no(UNAVAILABLE),
            MailError::TooManyKeywords | MailError::NoUidsLeft => {
                Self::No(format!("[LIMIT] {mail}"))
            }
            MailError::NoSuchMessage => Self::no("[EXPUNGEISSUED] some messages are gone"),
            MailError::Store(StoreError::Full { .. }) => {
                Self::no("[OVERQUOTA] the server is out of space")
            }
            MailError::Store(error) => {
                tracing::error!(event = "store_failed", %error);
                Self::No(format!("[SERVERBUG] {error}"))
            }
        }
    }
}

/// One session.
struct Session {
    wire: Wire,
    backend: Arc<Backend>,
    identity: Identity,
    selected: Option<Selected>,
    /// The client knows about modification sequences (RFC 7162 section 3.1).
    condstore: bool,
}

/// Serves a user whose identity is known, to the end of the connection.
pub async fn serve(backend: Arc<Backend>, wire: Wire, identity: Identity) -> Result<(), End> {
    // In a murder frontends choose where a new user's mailboxes are made.
    if backend.settings.autocreate.on_login
        && backend.directory.is_none()
        && let Err(error) = backend.user_unit(&identity.user, true).await
    {
        tracing::warn!(event = "autocreate_failed", user = %identity.user, %error);
    }
    let mut session = Session {
        wire,
        backend,
        identity,
        selected: None,
        condstore: false,
    };
    let end = session.run().await;
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
            match self.next_event().await? {
                Event::Command(received) => self.command(received).await?,
                Event::Append(received) => self.append(received).await?,
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

    async fn command(&mut self, received: Received) -> Result<(), End> {
        let Received { tag, command, .. } = received;
        // RFC 3501 section 5.5: no EXPUNGE while a client may use message numbers.
        let expunge_allowed = !matches!(
            &command,
            Command::Fetch(fetch) if !fetch.uid
        ) && !matches!(&command, Command::Store(store) if !store.uid)
            && !matches!(&command, Command::Search(search) if !search.uid);
        let is_logout = matches!(command, Command::Logout);
        let reply = Box::pin(self.dispatch(command)).await?;
        self.sync(expunge_allowed).await?;
        self.tagged(&tag, reply);
        if is_logout {
            return Err(End::Logout);
        }
        Ok(())
    }

    fn tagged(&mut self, tag: &Bytes, reply: Reply) {
        match reply {
            Reply::Ok(text) => self.wire.tagged(tag, &format!("OK {text}")),
            // Only nodes are told where mailboxes are.
            Reply::No(text) if text.starts_with("[X") && self.identity.via.is_none() => {
                self.wire.tagged(tag, &format!("NO {UNAVAILABLE}"));
            }
            Reply::No(text) => self.wire.tagged(tag, &format!("NO {text}")),
            Reply::Bad(text) => self.wire.tagged(tag, &format!("BAD {text}")),
        }
    }

    async fn dispatch(&mut self, command: Command) -> Answer {
        match command {
            Command::Capability => {
                self.wire.line(&format!("* CAPABILITY {CAPABILITIES}"));
                Ok(Reply::ok("done"))
            }
            Command::Noop | Command::Check => Ok(Reply::ok("done")),
            Command::Logout => {
                self.wire.line("* BYE until next time");
                Ok(Reply::ok("done"))
            }
            Command::Id(_) => {
                let version = env!("CARGO_PKG_VERSION");
                self.wire.line(&format!(
                    "* ID (\"name\" \"murder\" \"version\" \"{version}\")"
                ));
                Ok(Reply::ok("done"))
            }
            Command::StartTls | Command::Authenticate { .. } | Command::Login { .. } => {
                Ok(Reply::Bad("logged in already"))
            }
            Command::Enable(names) => Ok(self.enable(&names)),
            Command::Namespace => {
                self.wire.line(
                    "* NAMESPACE ((\"\" \"/\")) ((\"Other Users/\" \"/\")) \
                     ((\"Shared Folders/\" \"/\"))",
                );
                Ok(Reply::ok("done"))
            }
            Command::Select(select) => self.select(&select, false).await,
            Command::Examine(select) => self.select(&select, true).await,
            Command::Create(create) => self.create(&create).await,
            Command::Delete { mailbox } => self.delete(&mailbox).await,
            Command::Rename(rename) => self.rename(&rename).await,
            Command::Subscribe { mailbox } => self.subscribe(&mailbox).await,
            Command::Unsubscribe { mailbox } => self.unsubscribe(&mailbox).await,
            Command::List(list) => self.list(&list).await,
            Command::Lsub { reference, pattern } => self.lsub(&reference, &pattern).await,
            Command::Status { mailbox, items } => self.status(&mailbox, &items).await,
            Command::SetAcl(set) => self.set_acl(&set).await,
            Command::DeleteAcl {
                mailbox,
                identifier,
            } => self.delete_acl(&mailbox, &identifier).await,
            Command::GetAcl { mailbox } => self.get_acl(&mailbox).await,
            Command::ListRights {
                mailbox,
                identifier,
            } => self.list_rights(&mailbox, &identifier).await,
            Command::MyRights { mailbox } => self.my_rights(&mailbox).await,
            Command::Idle => self.idle().await,
            Command::Xfer {
                mailbox,
                server,
                partition,
            } => self.xfer(&mailbox, &server, partition.as_deref()).await,
            Command::Other { verb, .. } if verb == PUBLISHED && self.identity.via.is_some() => {
                self.backend.published().await;
                Ok(Reply::ok("done"))
            }
            Command::Other { .. } => Ok(Reply::Bad("unknown command")),
            selected => self.dispatch_selected(selected).await,
        }
    }

    async fn dispatch_selected(&mut self, command: Command) -> Answer {
        if self.selected.is_none() {
            return Ok(Reply::Bad("select a mailbox first"));
        }
        match command {
            Command::Close => self.close(true).await,
            Command::Unselect => self.close(false).await,
            Command::Expunge { uids } => self.expunge(uids.as_ref()).await,
            Command::Search(search) => self.search(&search).await,
            Command::Fetch(fetch) => self.fetch(fetch).await,
            Command::Store(store) => self.store(&store).await,
            Command::Copy(copy) => self.copy(&copy, false).await,
            Command::Move(copy) => self.copy(&copy, true).await,
            _ => Ok(Reply::Bad("unknown command")),
        }
    }

    fn enable(&mut self, names: &[Bytes]) -> Reply {
        let condstore = names
            .iter()
            .any(|name| name.eq_ignore_ascii_case(b"CONDSTORE"));
        self.condstore |= condstore;
        self.wire.line(if condstore {
            "* ENABLED CONDSTORE"
        } else {
            "* ENABLED"
        });
        Reply::ok("done")
    }

    /// What a client calls `name`, read; a name that cannot be is one that does not exist.
    fn name(&self, name: &[u8]) -> Result<MailboxName, Reply> {
        MailboxName::from_external(&self.identity.user, name)
            .map_err(|error| Reply::No(format!("[NONEXISTENT] {error}")))
    }

    /// The mailbox, its place and this user's rights. Without the right to look it up it does not
    /// exist; without `needed` it is refused.
    async fn mailbox(
        &self,
        name: &[u8],
        needed: Rights,
    ) -> Result<(UnitPlace, MailboxRow, Rights), Reply> {
        let name = self.name(name)?;
        let (place, row) = self.backend.mailbox(&name).await?;
        let rights = rights(&row, &self.identity.user, self.identity.is_admin);
        if !rights.contains(Rights::LOOKUP) && !rights.intersects(needed) {
            return Err(BackendError::NoSuchMailbox.into());
        }
        if rights.contains(needed) {
            Ok((place, row, rights))
        } else {
            Err(Reply::no("[NOPERM] permission denied"))
        }
    }
}

/// Turns an early refusal into an answer.
macro_rules! granted {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(reply) => return Ok(reply.into()),
        }
    };
}
pub(in crate::backend::imap) use granted;
