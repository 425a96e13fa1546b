//! SELECT, EXAMINE, CLOSE, UNSELECT (RFC 3501 sections 6.3.1, 6.3.2, 6.4.2; RFC 3691; RFC 7162).

use std::collections::HashMap;
use std::sync::Arc;

use murder_model::{ModSeq, Rights};
use murder_proto::imap::command::Select;
use murder_store::mail::{effective_seen, expunge, take_recent};

use super::selected::{SeenState, Selected};
use super::{Answer, Reply, Session, granted};
use crate::clock;

impl Session {
    pub(super) async fn select(&mut self, select: &Select, examine: bool) -> Answer {
        if self.selected.take().is_some() {
            self.wire.line("* OK [CLOSED] the other mailbox is closed");
        }
        if select.qresync.is_some() {
            return Ok(Reply::Bad("QRESYNC is not enabled"));
        }
        self.condstore |= select.condstore;
        let (place, row, rights) = granted!(self.mailbox(&select.mailbox, Rights::READ).await);
        let may_write = rights.intersects(
            Rights::SEEN
                .with(Rights::WRITE)
                .with(Rights::DELETE_MESSAGES)
                .with(Rights::EXPUNGE)
                .with(Rights::INSERT),
        );
        let read_only = examine || !may_write;
        let id = row.id;
        let recent_first = if read_only {
            row.recent_uid
        } else {
            let taken = self
                .backend
                .write(&place, move |tx| take_recent(tx, &id))
                .await;
            granted!(taken.map_err(Reply::from))
        };
        let opened = place
            .partition
            .views()
            .open(id, place.partition.snapshots())
            .await;
        let view = granted!(opened.map_err(|error| Reply::from(super::BackendError::Read(error))));
        let is_owner = row.name.owner().as_ref() == Some(&self.identity.user);
        let seen = if is_owner {
            None
        } else {
            let (user, version) = (self.identity.user.clone(), view.state().seen_version);
            let read = place
                .partition
                .read(move |rows| effective_seen(rows, &id, &user))
                .await;
            let (seen, changes) =
                granted!(read.map_err(|error| Reply::from(super::BackendError::Read(error))));
            Some(SeenState {
                seen,
                changes: changes.into_iter().collect(),
                version,
            })
        };
        let (uids, told) = {
            let state = view.state();
            (Arc::clone(&state.uids), state.version)
        };
        let mut selected = Selected {
            place,
            mailbox: id,
            rights,
            read_only,
            view,
            uids,
            recent_first,
            recent_end: row.uid_next,
            keywords: row.keywords,
            seen,
            told,
            told_mod_seq: ModSeq::default(),
            own: HashMap::new(),
        };
        let (unseen, highest) = first_unseen(&selected);
        selected.told_mod_seq = highest.max(row.highest_mod_seq);
        // What came between the row and the view is recent too if nobody else was told.
        let next = selected
            .uids
            .last()
            .map_or(row.uid_next, |uid| row.uid_next.max(uid + 1));
        selected.recent_end = next;
        let highest = selected.told_mod_seq;
        let exists = selected.uids.len();
        let recent = selected
            .uids
            .iter()
            .filter(|uid| selected.is_recent(**uid))
            .count();
        self.selected = Some(selected);
        self.write_flags_line();
        self.wire
            .line(&format!("* {exists} EXISTS\r\n* {recent} RECENT"));
        if let Some(number) = unseen {
            self.wire
                .line(&format!("* OK [UNSEEN {number}] first unseen message"));
        }
        self.wire.line(&format!(
            "* OK [UIDVALIDITY {}] UIDs valid\r\n* OK [UIDNEXT {next}] next UID\r\n\
             * OK [HIGHESTMODSEQ {highest}] highest",
            row.uid_validity
        ));
        Ok(Reply::ok(if read_only {
            "[READ-ONLY] selected"
        } else {
            "[READ-WRITE] selected"
        }))
    }

    pub(super) async fn close(&mut self, expunging: bool) -> Answer {
        let Some(selected) = self.selected.take() else {
            return Ok(Reply::Bad("none selected"));
        };
        if expunging && !selected.read_only && selected.rights.contains(Rights::EXPUNGE) {
            let id = selected.mailbox;
            let removed = self
                .backend
                .write(&selected.place, move |tx| {
                    expunge(tx, &id, None, clock::now())
                })
                .await;
            granted!(removed.map_err(Reply::from));
        }
        Ok(Reply::ok("closed"))
    }
}

/// Number of the first message without `\Seen`, and the highest modification sequence.
fn first_unseen(selected: &Selected) -> (Option<usize>, ModSeq) {
    let state = selected.view.state();
    let mut unseen = None;
    let mut highest = ModSeq::default();
    for (index, entry) in state.entries.iter().enumerate() {
        let (flags, mod_seq) = selected.effective(entry);
        highest = highest.max(mod_seq);
        if unseen.is_none() && !flags.contains(murder_model::SystemFlags::SEEN) {
            unseen = Some(index + 1);
        }
    }
    (unseen, highest)
}
