//! APPEND (RFC 3501 section 6.3.11), with APPENDUID (RFC 4315). The message is streamed.

use std::sync::Arc;

use bytes::Bytes;
use murder_model::{
    DeliveryId, EmailId, InternalDate, Keyword, MailboxName, Rights, SystemFlags, UidValidity,
};
use murder_proto::imap::command::Append;
use murder_proto::imap::server::{AppendReceived, Event};
use murder_store::mail::{MailboxRow, NewMessage, append_as};

use super::selected::{changeable, viewer};
use super::store::parse_flags;
use super::{Reply, Session};
use crate::backend::UnitPlace;
use crate::backend::forward::{Content, ForwardError, Held, PassedOn, may_be_elsewhere};
use crate::backend::spool::{Spool, Spooled};
use crate::clock;
use crate::imap::End;
use crate::imap::login::bad;
use crate::peer::append::{self, Author, Item};

/// Most keywords of one message: a mailbox has no more bits.
const KEYWORDS_MAX: usize = 128;

impl Session {
    pub(super) async fn append(&mut self, received: AppendReceived) -> Result<(), End> {
        let AppendReceived { tag, append, .. } = received;
        let reply = match self.append_target(&append).await {
            Ok(target) => match self.append_message(&tag, &append, target).await? {
                Some(reply) => reply,
                None => return Ok(()),
            },
            Err(reply) => {
                self.wire.reader.refuse_append();
                reply
            }
        };
        self.sync(true).await?;
        self.tagged(&tag, reply);
        Ok(())
    }

    async fn append_target(
        &self,
        append: &Append,
    ) -> Result<(UnitPlace, MailboxRow, Rights), Reply> {
        match self.mailbox(&append.mailbox, Rights::INSERT).await {
            Err(Reply::No(text)) if text.starts_with("[NONEXISTENT]") => {
                Err(Reply::no("[TRYCREATE] mailbox does not exist"))
            }
            Ok((place, row, rights)) => {
                if append.size > place.partition.free_bytes() {
                    return Err(Reply::no("[OVERQUOTA] the server is out of space"));
                }
                if parse_flags(&append.flags).is_none() {
                    return Err(Reply::Bad("not a flag that can be stored"));
                }
                Ok((place, row, rights))
            }
            other => other,
        }
    }

    /// `None`: the command was broken off and answered.
    async fn append_message(
        &mut self,
        tag: &Bytes,
        command: &Append,
        (place, row, rights): (UnitPlace, MailboxRow, Rights),
    ) -> Result<Option<Reply>, End> {
        self.wire.reader.accept_append();
        let mut spool = Spool::new(&self.backend.settings.data_dir.join("spool"));
        let mut failed = None;
        loop {
            match self.wire.event().await? {
                Event::Continue => self.wire.line("+ go on"),
                Event::Literal(bytes) if failed.is_none() => {
                    failed = spool.push(&bytes).await.err();
                }
                Event::Literal(_) => {}
                Event::AppendEnd(_) => break,
                Event::Bad { tag, text } => {
                    bad(&mut self.wire, tag.as_ref(), text);
                    return Ok(None);
                }
                Event::Fatal { text } => {
                    self.wire.line(&format!("* BYE {text}"));
                    return Err(End::Logout);
                }
                _ => {
                    self.wire.tagged(tag, "BAD unexpected");
                    return Ok(None);
                }
            }
        }
        let spooled = match failed {
            None => spool.finish().await,
            Some(error) => Err(error),
        };
        let spooled = match spooled {
            Ok(spooled) => spooled,
            Err(error) => {
                tracing::error!(event = "spool_failed", %error);
                return Ok(Some(Reply::no(
                    "[OVERQUOTA] the server cannot spool the message",
                )));
            }
        };
        let (flags, keywords) = parse_flags(&command.flags).unwrap_or_default();
        let flags = SystemFlags::from_bits(flags.bits() & changeable(rights).bits());
        let keywords = if rights.contains(Rights::WRITE) {
            keywords
        } else {
            Vec::new()
        };
        let id = row.id;
        let date = command.date;
        let date = date.unwrap_or_else(|| InternalDate::from_timestamp(clock::now()));
        let email_id = EmailId::from_bytes(clock::random_id());
        let spooled = Arc::new(spooled);
        let accepted = Accepted {
            mailbox: row.name.clone(),
            item: Item {
                uid: 1,
                length: spooled.length,
                guid: spooled.guid,
                email_id,
                flags,
                keywords: 0,
                internal_date: date,
            },
            keywords: keywords.clone(),
            content: Arc::clone(&spooled),
        };
        let user = self.identity.user.clone();
        let is_owner = row.name.owner().as_ref() == Some(&user);
        let written = self.backend.write(&place, move |tx| {
            let now = clock::now();
            let message = NewMessage {
                content: spooled.source(),
                guid: spooled.guid,
                email_id,
                flags,
                keywords: &keywords,
                internal_date: date,
                structure: &spooled.structure,
            };
            append_as(tx, &id, viewer(is_owner, &user), &message, now)
        });
        Ok(Some(match written.await {
            Ok(appended) => done(appended.uid_validity, appended.uid.get()),
            // It moved while the message came in.
            Err(error) if may_be_elsewhere(&error) => self.append_elsewhere(accepted).await,
            Err(error) => error.into(),
        }))
    }

    async fn append_elsewhere(&self, accepted: Accepted) -> Reply {
        let keywords = accepted.keywords;
        if keywords.len() > KEYWORDS_MAX {
            return Reply::no("[LIMIT] too many keywords");
        }
        let bits = u128::MAX.checked_shr(128 - u32::try_from(keywords.len()).unwrap_or(0));
        let request = append::Append {
            id: DeliveryId::from_bytes(clock::random_id()),
            mailbox: accepted.mailbox,
            author: Author::User {
                name: self.identity.user.clone(),
                is_admin: self.identity.is_admin,
            },
            keywords,
            messages: vec![Item {
                keywords: bits.unwrap_or(0),
                ..accepted.item
            }],
        };
        let content = Content::Spooled(accepted.content);
        let _held = Held::count(&self.backend);
        match self.backend.pass_on(request, content).await {
            Ok(PassedOn::Appended(uids)) => {
                let uid = uids.destination.first().copied().unwrap_or_default();
                done(uids.uid_validity, uid)
            }
            Ok(PassedOn::Delivered { .. }) => ForwardError::Unavailable.into(),
            Err(error) => error.into(),
        }
    }
}

/// A message that is here, and the mailbox it was accepted for.
struct Accepted {
    mailbox: MailboxName,
    item: Item,
    keywords: Vec<Keyword>,
    content: Arc<Spooled>,
}

fn done(uid_validity: UidValidity, uid: u32) -> Reply {
    Reply::Ok(format!("[APPENDUID {uid_validity} {uid}] done"))
}
