//! STATUS (RFC 3501 section 6.3.10).

use murder_model::Rights;
use murder_proto::imap::command::StatusItem;
use murder_store::mail::{MailboxRow, effective_seen};

use super::{Answer, BackendError, Reply, Session, granted};
use crate::backend::UnitPlace;
use crate::imap::write;

impl Session {
    pub(super) async fn status(&mut self, name: &[u8], items: &[StatusItem]) -> Answer {
        if items.contains(&StatusItem::Size) {
            return Ok(Reply::Bad("STATUS=SIZE is not offered"));
        }
        let (place, row, _) = granted!(self.mailbox(name, Rights::READ).await);
        self.condstore |= items.contains(&StatusItem::HighestModSeq);
        let unseen = granted!(self.unseen(&place, &row).await);
        let out = &mut self.wire.out;
        out.extend_from_slice(b"* STATUS ");
        write::string(out, name);
        out.extend_from_slice(b" (");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(item.name().as_bytes());
            out.push(b' ');
            let value = match item {
                StatusItem::Messages => u64::from(row.exists),
                StatusItem::Recent => u64::from(row.uid_next - row.recent_uid),
                StatusItem::UidNext => u64::from(row.uid_next),
                StatusItem::UidValidity => u64::from(row.uid_validity.get()),
                StatusItem::Unseen => unseen,
                StatusItem::HighestModSeq => row.highest_mod_seq.get(),
                StatusItem::Size => row.bytes,
            };
            write::number(out, value);
        }
        out.extend_from_slice(b")\r\n");
        Ok(Reply::ok("done"))
    }

    async fn unseen(&self, place: &UnitPlace, row: &MailboxRow) -> Result<u64, Reply> {
        if row.name.owner().as_ref() == Some(&self.identity.user) {
            return Ok(u64::from(row.unseen));
        }
        let (id, user) = (row.id, self.identity.user.clone());
        let read = place
            .partition
            .read(move |rows| effective_seen(rows, &id, &user))
            .await;
        let (seen, _) = read.map_err(|error| Reply::from(BackendError::Read(error)))?;
        Ok(u64::from(row.exists).saturating_sub(seen.len()))
    }
}
