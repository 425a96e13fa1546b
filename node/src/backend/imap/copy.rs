//! COPY and MOVE (RFC 3501 section 6.4.7, RFC 6851), with COPYUID (RFC 4315).

use murder_model::{MailboxId, Rights, SystemFlags, UidSet};
use murder_proto::imap::command::Copy;
use murder_store::engine::Tx;
use murder_store::mail::{
    CopiedUids, Effects, FlagChange, MailError, MailboxRow, Viewer, copy, expunge, move_messages,
    store_flags,
};

use super::selected::viewer;
use super::{Answer, BackendError, Reply, Session, UNAVAILABLE, granted};
use crate::backend::UnitPlace;
use crate::backend::forward::{Copying, ForwardError, is_being_moved, may_be_elsewhere};
use crate::backend::gate::Pass;
use crate::clock;

impl Session {
    pub(super) async fn copy(&mut self, command: &Copy, moving: bool) -> Answer {
        let Some(selected) = &self.selected else {
            return Ok(Reply::Bad("none selected"));
        };
        if !command.uid && selected.exceeds(&command.set) {
            return Ok(Reply::Bad("no such message number"));
        }
        if moving && selected.read_only {
            return Ok(Reply::no("[READ-ONLY] the mailbox is read-only"));
        }
        let needed = Rights::DELETE_MESSAGES.with(Rights::EXPUNGE);
        if moving && !selected.rights.contains(needed) {
            return Ok(Reply::no("[NOPERM] permission denied"));
        }
        let uids: UidSet = selected
            .resolve(&command.set, command.uid)
            .into_iter()
            .collect();
        let (from, source) = (selected.mailbox, selected.place.clone());
        let from_owner = selected.seen.is_none();
        let Ok(name) = self.name(&command.mailbox) else {
            return Ok(ForwardError::NoSuchMailbox.into());
        };
        let copying = Copying {
            user: self.identity.user.clone(),
            is_admin: self.identity.is_admin,
            place: source.clone(),
            from,
            owns_source: from_owner,
            to: name,
            moving,
        };
        let served = self.backend.place(&copying.to.root()).await;
        if served.is_err_and(|error| may_be_elsewhere(&error)) {
            return self.copy_elsewhere(&copying, uids).await;
        }
        let (place, row, _) = match self.mailbox(&command.mailbox, Rights::INSERT).await {
            Ok(found) => found,
            Err(Reply::No(text)) if text.starts_with("[NONEXISTENT]") => {
                return Ok(ForwardError::NoSuchMailbox.into());
            }
            Err(reply) => return Ok(reply),
        };
        if source.partition.name() != place.partition.name() {
            return self.copy_elsewhere(&copying, uids).await;
        }
        let copied = granted!(self.copy_here(copying, uids, &place, &row).await);
        Ok(self.copied(&copied, moving))
    }

    /// Within a partition: in one commit.
    async fn copy_here(
        &self,
        copying: Copying,
        uids: UidSet,
        place: &UnitPlace,
        row: &MailboxRow,
    ) -> Result<CopiedUids, Reply> {
        let Copying {
            user,
            place: source,
            from,
            owns_source,
            moving,
            ..
        } = copying;
        let owns_target = row.name.owner().as_ref() == Some(&user);
        let (unit, to) = (source.unit, row.id);
        let within_unit = unit == place.unit;
        // Nobody enters one gate twice: a freeze may be waiting between.
        let _source = if within_unit {
            None
        } else {
            Some(self.enter(&source).await?)
        };
        let copied = self.backend.write(place, move |tx| {
            if moving && is_being_moved(tx, &unit, &from, &uids)? {
                return Ok((Err(ForwardError::InUse), Effects::default()));
            }
            if moving && within_unit {
                let (moved, effects) = move_messages(tx, &from, &uids, &to, clock::now())?;
                return Ok((Ok(moved), effects));
            }
            let viewers = (viewer(owns_source, &user), viewer(owns_target, &user));
            let (copied, mut effects) = copy(tx, &from, &uids, &to, viewers, clock::now())?;
            if moving {
                let taken: UidSet = copied.source.iter().copied().collect();
                effects.extend(take_out(tx, &from, viewers.0, &taken)?);
            }
            Ok((Ok(copied), effects))
        });
        Ok(copied.await??)
    }

    /// Messages for another server, or another partition of this one. A MOVE of very many is done in
    /// several goes, each of them whole (RFC 6851 section 3.3).
    async fn copy_elsewhere(&mut self, copying: &Copying, uids: UidSet) -> Answer {
        let mut left = uids;
        loop {
            let (copied, rest) = granted!(copying.run(&self.backend, &left).await);
            let reply = self.copied(&copied, copying.moving);
            if rest.is_empty() {
                return Ok(reply);
            }
            left = rest;
        }
    }

    /// Both units of a copy must be served here while it runs.
    async fn enter(&self, place: &UnitPlace) -> Result<Pass, Reply> {
        let pass = place.gate.enter().await;
        pass.map_err(|phase| BackendError::Unavailable(phase).into())
    }

    fn copied(&mut self, copied: &CopiedUids, moving: bool) -> Reply {
        if copied.source.is_empty() {
            return Reply::ok("nothing to do");
        }
        let set = |uids: &[u32]| uids.iter().copied().collect::<UidSet>();
        let code = format!(
            "[COPYUID {} {} {}]",
            copied.uid_validity,
            set(&copied.source),
            set(&copied.destination)
        );
        if moving {
            self.wire.line(&format!("* OK {code} moved"));
            Reply::ok("done")
        } else {
            Reply::Ok(format!("{code} done"))
        }
    }
}

/// Why messages did not get there, as clients are told (RFC 5530).
impl From<ForwardError> for Reply {
    fn from(error: ForwardError) -> Self {
        match error {
            ForwardError::NoSuchMailbox => Self::no("[TRYCREATE] mailbox does not exist"),
            ForwardError::NotAllowed => Self::no("[NOPERM] permission denied"),
            ForwardError::Full => Self::no("[OVERQUOTA] the server is out of space"),
            ForwardError::Limit(text) => Self::No(format!("[LIMIT] {text}")),
            ForwardError::InUse => Self::no("[INUSE] some of the messages are being moved"),
            ForwardError::Unavailable => Self::no(UNAVAILABLE),
            ForwardError::Here(error) => error.into(),
        }
    }
}

/// The second half of a move from one unit to another, in the same commit as its first half.
fn take_out(
    tx: &mut Tx<'_>,
    from: &MailboxId,
    viewer: Viewer<'_>,
    taken: &UidSet,
) -> Result<Effects, MailError> {
    let deleted = SystemFlags::DELETED;
    let add = FlagChange::Add;
    let (_, mut effects) = store_flags(
        tx,
        from,
        viewer,
        taken,
        add,
        deleted,
        &[],
        deleted,
        false,
        None,
    )?;
    effects.extend(expunge(tx, from, Some(taken), clock::now())?.1);
    Ok(effects)
}
