//! Clients that read, flag, copy and idle while mail is delivered, and keep what they saw.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use blake3::Hash;
use tokio::time::sleep;

use super::World;
use super::experience::Waiting;
use super::mailbox::{INBOX, KEPT, Mailbox, SHARED, SHARED_KEPT};
use super::verify::content_of;
use crate::imap::{Failure, Session};
use crate::random::Random;

/// Longest IDLE.
const IDLE_LIMIT: Duration = Duration::from_millis(500);

/// Between a failure and the next attempt.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Flags that are set.
const FLAGS: [&str; 4] = ["\\Seen", "\\Flagged", "\\Answered", "$Important"];

/// Newest messages that are looked at in a round.
const WINDOW: u32 = 20;

/// Messages that are larger are not copied.
const COPY_BYTES_MAX: usize = 256 << 10;

/// One in so many rounds copies.
const COPY_EVERY: usize = 3;

/// Reads one user's mail until the load is over. A round that fails is repeated.
pub(super) async fn client(world: Arc<World>, user: usize) {
    let mut client = Client {
        random: Random::new(user as u64),
        world: &world,
        user,
        turn: user,
        session: None,
        waiting: Waiting::begin(),
    };
    while world.ledger.is_loaded() {
        let ended = match client.round().await {
            Ok(()) => client.idle().await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            client.complain(&error).await;
        }
    }
}

struct Client<'a> {
    world: &'a World,
    user: usize,
    /// Which frontend is used: another one after a connection broke.
    turn: usize,
    random: Random,
    session: Option<Session>,
    waiting: Waiting,
}

/// A message that was read in a round.
struct Read {
    uid: u32,
    hash: Hash,
    size: usize,
}

impl Client<'_> {
    async fn complain(&mut self, error: &anyhow::Error) {
        let failure = Failure::of(error);
        if failure.is_some_and(|failure| self.world.is_moved(failure)) {
            // What a client does then is to connect again.
            self.world.ledger.reading().moved += 1;
            self.session = None;
            return;
        }
        self.world.ledger.reading().fail(&error.to_string());
        if !matches!(failure, Some(Failure::Refused { .. })) {
            self.session = None;
            self.turn += 1;
        }
        sleep(RETRY_DELAY).await;
    }

    /// Something succeeded.
    fn succeed(&mut self, what: &'static str) {
        let took = self.waiting.lap();
        let phase = self.world.ledger.phase();
        self.world.ledger.reading().succeed(phase, what, took);
    }

    async fn idle(&mut self) -> Result<()> {
        if let Some(session) = &mut self.session {
            let idled = session.idle(IDLE_LIMIT).await;
            self.waiting = Waiting::begin();
            idled?;
        }
        Ok(())
    }

    /// Looks at the newest messages of one mailbox, reads one, flags it, and perhaps copies it.
    async fn round(&mut self) -> Result<()> {
        let is_shared = self.world.has_shared() && self.random.below(3) == 0;
        let name = if is_shared {
            *self.random.choose(&SHARED)
        } else {
            INBOX
        };
        let mailbox = Mailbox::of(self.user, name);
        let Some(uids) = self.look(&mailbox).await? else {
            return Ok(());
        };
        let uid = *self.random.choose(&uids);
        let read = self.read(&mailbox, uid).await?;
        // Only \Seen is for everybody to set in the shared folders.
        let flag = if is_shared {
            FLAGS[0]
        } else {
            *self.random.choose(&FLAGS)
        };
        self.flag(&mailbox, uid, flag).await?;
        if self.world.has_shared()
            && read.size <= COPY_BYTES_MAX
            && self.random.below(COPY_EVERY) == 0
            && (is_shared || self.world.may_post(self.user))
        {
            let to = if is_shared { KEPT } else { SHARED_KEPT };
            self.copy(&read, &Mailbox::of(self.user, to)).await?;
        }
        Ok(())
    }

    async fn session(&mut self) -> Result<&mut Session> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let session = self.world.login(self.user, self.turn).await?;
                self.succeed("LOGIN");
                session
            }
        };
        Ok(self.session.insert(session))
    }

    /// Selects; the UIDs of the newest messages, if there are any.
    async fn look(&mut self, mailbox: &Mailbox) -> Result<Option<Vec<u32>>> {
        let selected = self.session().await?.select(mailbox.name()).await?;
        self.succeed("SELECT");
        let is_same = self.world.ledger.note(mailbox, |seen| {
            seen.numbers(selected.uid_validity, selected.uid_next)
        });
        ensure!(is_same, "UIDVALIDITY changed");
        if selected.uid_next <= 1 {
            return Ok(None);
        }
        let low = selected.uid_next.saturating_sub(WINDOW).max(1);
        let mut uids = Vec::new();
        let newest = format!("{low}:{}", selected.uid_next - 1);
        self.session()
            .await?
            .fetch(&newest, "(UID FLAGS RFC822.SIZE ENVELOPE)", |items| {
                uids.push(items.uid().context("FETCH without UID")?);
                Ok(())
            })
            .await?;
        self.succeed("FETCH");
        Ok((!uids.is_empty()).then_some(uids))
    }

    async fn read(&mut self, mailbox: &Mailbox, uid: u32) -> Result<Read> {
        let mut content = None;
        self.session()
            .await?
            .fetch(&uid.to_string(), "(UID BODY.PEEK[])", |items| {
                content = Some(content_of(&items)?);
                Ok(())
            })
            .await?;
        self.succeed("FETCH BODY[]");
        let (hash, size) = content.with_context(|| format!("UID {uid} is gone"))?;
        let note = |seen: &mut super::seen::Seen| seen.content(uid, hash);
        self.world.ledger.note(mailbox, note);
        Ok(Read { uid, hash, size })
    }

    async fn flag(&mut self, mailbox: &Mailbox, uid: u32, flag: &str) -> Result<()> {
        let holder = mailbox.holder(self.user, flag);
        let ledger = &self.world.ledger;
        ledger.note(mailbox, |seen| seen.try_flag(uid, holder, flag));
        self.session()
            .await?
            .add_flags(&uid.to_string(), &format!("({flag})"))
            .await?;
        self.succeed("STORE");
        ledger.note(mailbox, |seen| seen.hold_flag(uid, holder, flag));
        Ok(())
    }

    async fn copy(&mut self, read: &Read, to: &Mailbox) -> Result<()> {
        let key = (to.clone(), read.hash);
        let session = self.session().await?;
        let copied = session.copy(&read.uid.to_string(), to.name()).await;
        let ledger = &self.world.ledger;
        match copied {
            Ok(copied) => {
                self.succeed("COPY");
                ledger.copies().entry(key).or_default().acknowledged += 1;
                let copied = copied.context("COPY told no COPYUID")?;
                let uid = copied.to.iter().next().context("an empty COPYUID")?;
                ledger.note(to, |seen| {
                    seen.content(uid, read.hash);
                    ensure!(
                        seen.numbers(copied.uid_validity, uid + 1),
                        "COPYUID tells another UIDVALIDITY"
                    );
                    Ok(())
                })
            }
            Err(error) => {
                // A refusal says that nothing was copied, unless the outcome is not known.
                let is_certain = match Failure::of(&error) {
                    Some(failure @ Failure::Refused { .. }) => !failure.has_code("UNAVAILABLE"),
                    _ => false,
                };
                if !is_certain {
                    ledger.copies().entry(key).or_default().unknown += 1;
                }
                Err(error)
            }
        }
    }
}
