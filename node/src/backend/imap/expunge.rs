//! EXPUNGE and UID EXPUNGE (RFC 3501 section 6.4.3, RFC 4315 section 2.1).

use murder_model::{Rights, SequenceSet, UidSet};
use murder_store::mail::expunge;

use super::{Answer, Reply, Session, granted};
use crate::clock;

impl Session {
    pub(super) async fn expunge(&self, only: Option<&SequenceSet>) -> Answer {
        let Some(selected) = &self.selected else {
            return Ok(Reply::Bad("none selected"));
        };
        if selected.read_only {
            return Ok(Reply::no("[READ-ONLY] the mailbox is read-only"));
        }
        if !selected.rights.contains(Rights::EXPUNGE) {
            return Ok(Reply::no("[NOPERM] permission denied"));
        }
        let only: Option<UidSet> =
            only.map(|set| selected.resolve(set, true).into_iter().collect());
        let (id, place) = (selected.mailbox, selected.place.clone());
        let removed = self
            .backend
            .write(&place, move |tx| {
                expunge(tx, &id, only.as_ref(), clock::now())
            })
            .await;
        granted!(removed.map_err(Reply::from));
        Ok(Reply::ok("done"))
    }
}
