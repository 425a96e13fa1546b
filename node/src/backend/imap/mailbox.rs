//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 3501 sections 6.3.3 to 6.3.7, RFC 6154).

use murder_model::{Acl, MailboxName, Rights, SpecialUse};
use murder_proto::imap::command::{Create, Rename};
use murder_store::mail::{create_mailbox, delete_mailbox, rename_mailbox, subscribe, unsubscribe};

use super::{Answer, BackendError, Reply, Session, granted};
use crate::backend::{UnitPlace, rights};
use crate::clock;

impl Session {
    pub(super) async fn create(&self, create: &Create) -> Answer {
        if create.partition.is_some() {
            return Ok(Reply::no("[CANNOT] partitions are chosen by the server"));
        }
        // A trailing separator only says that names below are to come (RFC 3501 section 6.3.3).
        let name = create.mailbox.strip_suffix(b"/").unwrap_or(&create.mailbox);
        let name = match self.name(name) {
            Ok(name) => name,
            Err(Reply::No(text)) => return Ok(Reply::No(text.replace("NONEXISTENT", "CANNOT"))),
            Err(reply) => return Ok(reply),
        };
        let special_use = match create.special_use.as_slice() {
            [] => None,
            [one] => match std::str::from_utf8(one).ok().and_then(SpecialUse::parse) {
                Some(special_use) => Some(special_use),
                None => return Ok(Reply::no("[USEATTR] no such special use")),
            },
            _ => return Ok(Reply::no("[USEATTR] one special use a mailbox")),
        };
        if name.is_root() {
            return self.create_unit(&name).await;
        }
        let (place, acl) = granted!(self.parent(&name).await);
        let unit = place.unit;
        let created = self.backend.write(&place, move |tx| {
            create_mailbox(tx, &unit, &name, &acl, special_use, &mut clock::random_id)
        });
        granted!(created.await.map_err(Reply::from));
        Ok(Reply::ok("done"))
    }

    /// Users and shared roots are made by administrators, and a user's own by the frontend that was
    /// told to make it at the first login.
    async fn create_unit(&self, name: &MailboxName) -> Answer {
        let root = name.root();
        match self.backend.place(&root).await {
            Ok(_) => return Ok(Reply::no("[ALREADYEXISTS] mailbox exists already")),
            Err(BackendError::NoSuchMailbox | BackendError::Elsewhere) => {}
            Err(error) => return Ok(error.into()),
        }
        let is_own = name.owner().as_ref() == Some(&self.identity.user);
        let autocreates = is_own && self.identity.via.is_some();
        if !self.identity.is_admin && !autocreates {
            return Ok(Reply::no("[NOPERM] permission denied"));
        }
        granted!(self.backend.create_root(&root).await.map_err(Reply::from));
        Ok(Reply::ok("done"))
    }

    /// The unit of a new name, and the rights that it inherits from the closest mailbox above it,
    /// where this user must have the right to create.
    async fn parent(&self, name: &MailboxName) -> Result<(UnitPlace, Acl), Reply> {
        let mut above = name.parent();
        while let Some(parent) = above {
            match self.backend.mailbox(&parent).await {
                Ok((place, row)) => {
                    let rights = rights(&row, &self.identity.user, self.identity.is_admin);
                    if rights.contains(Rights::CREATE) {
                        return Ok((place, row.acl));
                    }
                    return Err(Reply::no("[NOPERM] permission denied"));
                }
                Err(BackendError::NoSuchMailbox) => above = parent.parent(),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Reply::no("[NOPERM] permission denied"))
    }

    pub(super) async fn delete(&mut self, name: &[u8]) -> Answer {
        let (place, row, _) = granted!(self.mailbox(name, Rights::DELETE_MAILBOX).await);
        if row.name.is_root() {
            return Ok(Reply::no(
                "[CANNOT] an INBOX or shared root is not deleted this way",
            ));
        }
        let id = row.id;
        if self
            .selected
            .as_ref()
            .is_some_and(|selected| selected.mailbox == id)
        {
            self.selected = None;
            self.wire.line("* OK [CLOSED] the mailbox is being deleted");
        }
        let deleted = self.backend.write(&place, move |tx| {
            delete_mailbox(tx, &id, clock::now()).map(|effects| ((), effects))
        });
        granted!(deleted.await.map_err(Reply::from));
        Ok(Reply::ok("done"))
    }

    pub(super) async fn rename(&self, rename: &Rename) -> Answer {
        if let Some(location) = &rename.location {
            if rename.from != rename.to {
                return Ok(Reply::no("[CANNOT] a move keeps the name"));
            }
            return self.xfer(&rename.from, location, None).await;
        }
        let to = granted!(self.name(&rename.to));
        let (place, from) = granted!(self.rename_source(&rename.from).await);
        let (_, _) = granted!(self.parent(&to).await);
        if to.root() != from.root() {
            return Ok(Reply::no(
                "[CANNOT] a mailbox cannot leave its user or shared root",
            ));
        }
        let unit = place.unit;
        let renamed = self.backend.write(&place, move |tx| {
            let now = clock::now();
            rename_mailbox(tx, &unit, &from, &to, &mut clock::random_id, now)
                .map(|effects| ((), effects))
        });
        granted!(renamed.await.map_err(Reply::from));
        Ok(Reply::ok("done"))
    }

    async fn rename_source(&self, name: &[u8]) -> Result<(UnitPlace, MailboxName), Reply> {
        let (place, row, _) = self.mailbox(name, Rights::DELETE_MAILBOX).await?;
        Ok((place, row.name))
    }

    pub(super) async fn subscribe(&self, name: &[u8]) -> Answer {
        let name = granted!(self.name(name));
        if !self.backend.settings.allows_all_subscribe() {
            let found = self.backend.mailbox(&name).await;
            let (_, row) = granted!(found.map_err(Reply::from));
            let rights = rights(&row, &self.identity.user, self.identity.is_admin);
            if !rights.contains(Rights::LOOKUP) {
                return Ok(BackendError::NoSuchMailbox.into());
            }
        }
        let place = granted!(self.home().await);
        let unit = place.unit;
        let written = self.backend.write(&place, move |tx| {
            subscribe(tx, &unit, &name).map(|effects| ((), effects))
        });
        granted!(written.await.map_err(Reply::from));
        Ok(Reply::ok("done"))
    }

    pub(super) async fn unsubscribe(&self, name: &[u8]) -> Answer {
        let name = granted!(self.name(name));
        let place = granted!(self.home().await);
        let unit = place.unit;
        let written = self.backend.write(&place, move |tx| {
            unsubscribe(tx, &unit, &name, clock::now())
        });
        let was = granted!(written.await.map_err(Reply::from));
        Ok(if was {
            Reply::ok("done")
        } else {
            Reply::no("[NONEXISTENT] not subscribed")
        })
    }

    /// The user's own unit, where subscriptions are.
    pub(super) async fn home(&self) -> Result<UnitPlace, Reply> {
        let unit = self.backend.user_unit(&self.identity.user, false).await?;
        unit.ok_or_else(|| Reply::no("[NONEXISTENT] the user has no mailboxes"))
    }
}
