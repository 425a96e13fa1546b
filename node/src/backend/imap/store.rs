//! STORE and UID STORE (RFC 3501 section 6.4.6, RFC 7162 section 3.1.3).

use murder_model::{Flag, Keyword, ModSeq, Rights, SystemFlags, UidSet};
use murder_proto::imap::command::{Store, StoreMode};
use murder_store::mail::{FlagChange, store_flags};

use super::selected::{changeable, viewer};
use super::{Answer, Reply, Session, granted};
use crate::imap::write;

impl Session {
    pub(super) async fn store(&mut self, store: &Store) -> Answer {
        let Some(selected) = &self.selected else {
            return Ok(Reply::Bad("none selected"));
        };
        if selected.read_only {
            return Ok(Reply::no("[READ-ONLY] the mailbox is read-only"));
        }
        if !store.uid && selected.exceeds(&store.set) {
            return Ok(Reply::Bad("no such message number"));
        }
        let Some((flags, keywords)) = parse_flags(&store.flags) else {
            return Ok(Reply::Bad("not a flag that can be stored"));
        };
        self.condstore |= store.unchanged_since.is_some();
        let mask = changeable(selected.rights);
        let keywords_too = selected.rights.contains(Rights::WRITE);
        let touches_nothing = SystemFlags::from_bits(flags.bits() & mask.bits()).is_empty()
            && (keywords.is_empty() || !keywords_too);
        if touches_nothing && (store.mode != StoreMode::Replace || mask.is_empty()) {
            return Ok(if flags.is_empty() && keywords.is_empty() {
                Reply::ok("nothing to change")
            } else {
                Reply::no("[NOPERM] permission denied")
            });
        }
        let uids: UidSet = selected
            .resolve(&store.set, store.uid)
            .into_iter()
            .collect();
        let wanted = uids.len();
        let (id, user, is_owner) = (
            selected.mailbox,
            self.identity.user.clone(),
            selected.seen.is_none(),
        );
        let place = selected.place.clone();
        let change = match store.mode {
            StoreMode::Add => FlagChange::Add,
            StoreMode::Remove => FlagChange::Remove,
            StoreMode::Replace => FlagChange::Replace,
        };
        let unchanged_since = store.unchanged_since.map(ModSeq::new);
        let written = self.backend.write(&place, move |tx| {
            store_flags(
                tx,
                &id,
                viewer(is_owner, &user),
                &uids,
                change,
                flags,
                &keywords,
                mask,
                keywords_too,
                unchanged_since,
            )
        });
        let stored = granted!(written.await.map_err(Reply::from));
        self.remember_own(&stored);
        self.tell_stored(store, &stored);
        let done = stored.messages.len() as u64 + stored.modified.len();
        Ok(if !stored.modified.is_empty() {
            Reply::Ok(format!(
                "[MODIFIED {}] done in part",
                self.shown(store, &stored.modified)
            ))
        } else if done < wanted && !store.uid {
            Reply::no("[EXPUNGEISSUED] some messages are gone")
        } else {
            Reply::ok("done")
        })
    }

    /// `.SILENT` still tells modification sequences to a client that knows of them.
    fn tell_stored(&mut self, store: &Store, stored: &murder_store::mail::Stored) {
        let Some(selected) = &self.selected else {
            return;
        };
        if store.silent && !self.condstore {
            return;
        }
        for message in &stored.messages {
            let Some(number) = selected.number(message.uid) else {
                continue;
            };
            let out = &mut self.wire.out;
            out.extend_from_slice(b"* ");
            write::number(out, number as u64);
            out.extend_from_slice(b" FETCH (UID ");
            write::number(out, u64::from(message.uid));
            if !store.silent {
                out.extend_from_slice(b" FLAGS ");
                let recent = selected.is_recent(message.uid);
                write::flags(
                    out,
                    message.flags,
                    message.keywords,
                    &stored.keywords,
                    recent,
                );
            }
            if self.condstore {
                out.extend_from_slice(b" MODSEQ (");
                write::number(out, message.mod_seq.get());
                out.push(b')');
            }
            out.extend_from_slice(b")\r\n");
        }
    }

    /// The set in the client's terms: UIDs or message numbers.
    fn shown(&self, store: &Store, uids: &UidSet) -> UidSet {
        match &self.selected {
            Some(selected) if !store.uid => {
                let number = |uid| selected.number(uid).and_then(|n| u32::try_from(n).ok());
                uids.iter().filter_map(number).collect()
            }
            _ => uids.clone(),
        }
    }
}

/// Flags as sent; `None` if one of them cannot be stored.
pub(super) fn parse_flags(flags: &[bytes::Bytes]) -> Option<(SystemFlags, Vec<Keyword>)> {
    let mut system = SystemFlags::NONE;
    let mut keywords = Vec::new();
    for flag in flags {
        match Flag::parse(flag).ok()? {
            Flag::System(flag) => system = system.with(flag),
            Flag::Keyword(keyword) => keywords.push(keyword),
        }
    }
    Some((system, keywords))
}
