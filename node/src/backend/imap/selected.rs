//! The selected mailbox as this session's client knows it, and what it has yet to be told.

use std::collections::HashMap;
use std::sync::Arc;

use murder_model::{Keyword, MailboxId, ModSeq, Rights, SystemFlags, UidSet, UserName};
use murder_proto::imap::command::Fetch;
use murder_proto::imap::server::Event;
use murder_store::mail::{Entry, Viewer, effective_seen, mailbox};

use super::Session;
use crate::backend::UnitPlace;
use crate::backend::views::View;
use crate::imap::{End, write};

/// Seen state of a viewer who is not the owner.
#[derive(Debug, Default)]
pub(super) struct SeenState {
    pub(super) seen: UidSet,
    pub(super) changes: HashMap<u32, ModSeq>,
    pub(super) version: u64,
}

/// A selected mailbox.
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) place: UnitPlace,
    pub(super) mailbox: MailboxId,
    pub(super) rights: Rights,
    pub(super) read_only: bool,
    pub(super) view: Arc<View>,
    /// UIDs by message number, as the client knows them.
    pub(super) uids: Arc<Vec<u32>>,
    /// Messages from this UID up to `recent_end` are recent in this session.
    pub(super) recent_first: u32,
    pub(super) recent_end: u32,
    /// Keyword names by bit.
    pub(super) keywords: Vec<Keyword>,
    /// `None`: the owner, whose `\Seen` is in the entries.
    pub(super) seen: Option<SeenState>,
    /// The view's version that the client was told of.
    pub(super) told: u64,
    /// Flags changed after this have not been told.
    pub(super) told_mod_seq: ModSeq,
    /// Changes that the client made itself and knows of.
    pub(super) own: HashMap<u32, ModSeq>,
}

impl Selected {
    /// Message number of a UID.
    pub(super) fn number(&self, uid: u32) -> Option<usize> {
        self.uids.binary_search(&uid).ok().map(|index| index + 1)
    }

    /// Whether a message is recent in this session.
    pub(super) fn is_recent(&self, uid: u32) -> bool {
        (self.recent_first..self.recent_end).contains(&uid)
    }

    /// Flags and modification sequence as this viewer sees them.
    pub(super) fn effective(&self, entry: &Entry) -> (SystemFlags, ModSeq) {
        match &self.seen {
            None => (entry.flags, entry.mod_seq),
            Some(state) => {
                let flags = entry.flags.without(SystemFlags::SEEN);
                let flags = if state.seen.contains(entry.uid) {
                    flags.with(SystemFlags::SEEN)
                } else {
                    flags
                };
                let changed = state.changes.get(&entry.uid).copied().unwrap_or_default();
                (flags, entry.mod_seq.max(changed))
            }
        }
    }

    /// UIDs that a sequence set of the client means, ascending.
    pub(super) fn resolve(&self, set: &murder_model::SequenceSet, uid: bool) -> Vec<u32> {
        if uid {
            let set = set.resolve(self.uids.last().copied().unwrap_or(0));
            let mut found = Vec::new();
            for (first, last) in set.ranges() {
                let from = self.uids.partition_point(|uid| uid < first);
                let to = self.uids.partition_point(|uid| uid <= last);
                found.extend_from_slice(&self.uids[from..to]);
            }
            return found;
        }
        let set = set.resolve(u32::try_from(self.uids.len()).unwrap_or(u32::MAX));
        let count = self.uids.len();
        let numbers = set.iter().take_while(|number| *number as usize <= count);
        numbers
            .map(|number| self.uids[number as usize - 1])
            .collect()
    }

    /// Whether a set names a message number that does not exist (RFC 3501: `BAD`).
    pub(super) fn exceeds(&self, set: &murder_model::SequenceSet) -> bool {
        let last = u32::try_from(self.uids.len()).unwrap_or(u32::MAX);
        set.resolve(last).last().is_some_and(|number| number > last)
    }
}

/// Whose seen state counts for `user` in a mailbox.
pub(super) fn viewer<'a>(is_owner: bool, user: &'a UserName) -> Viewer<'a> {
    if is_owner {
        Viewer::Owner
    } else {
        Viewer::Other(user)
    }
}

impl Session {
    /// The client's next event. Once the selected mailbox is served elsewhere the session ends, after
    /// its last answer. Cancel-safe.
    pub(super) async fn next_event(&mut self) -> Result<Event, End> {
        let Some(selected) = &self.selected else {
            return self.wire.event().await;
        };
        tokio::select! {
            biased;
            () = selected.place.gate.moved() => {}
            event = self.wire.event() => return event,
        }
        self.wire
            .line("* BYE [UNAVAILABLE] the mailbox has moved, connect again");
        Err(End::Logout)
    }

    /// Tells the client what changed since it was told last. Without `expunge_allowed` messages that
    /// are gone keep their numbers until the next time.
    pub(super) async fn sync(&mut self, expunge_allowed: bool) -> Result<(), End> {
        let Some(selected) = &self.selected else {
            return Ok(());
        };
        let (version, seen_version, deleted, unknown_keyword) = {
            let state = selected.view.state();
            let bits = state
                .entries
                .iter()
                .fold(0, |bits, entry| bits | entry.keywords);
            let known = selected.keywords.len();
            let unknown = known < 128 && bits >> known != 0;
            (state.version, state.seen_version, state.deleted, unknown)
        };
        if deleted {
            self.wire
                .line("* BYE [NONEXISTENT] the mailbox was deleted");
            return Err(End::Logout);
        }
        if version == selected.told {
            return Ok(());
        }
        if unknown_keyword {
            self.reload_keywords().await;
        }
        let stale = self
            .selected
            .as_ref()
            .and_then(|selected| selected.seen.as_ref());
        if stale.is_some_and(|seen| seen.version != seen_version) {
            self.reload_seen(seen_version).await;
        }
        self.tell_membership(expunge_allowed);
        self.tell_flags();
        self.wire.flush_if_full().await
    }

    async fn reload_keywords(&mut self) {
        let Some(selected) = &mut self.selected else {
            return;
        };
        let id = selected.mailbox;
        let row = selected
            .place
            .partition
            .read(move |rows| mailbox(rows, &id))
            .await;
        if let Ok(Some(row)) = row {
            selected.keywords = row.keywords;
            self.write_flags_line();
        }
    }

    async fn reload_seen(&mut self, version: u64) {
        let Some(selected) = &mut self.selected else {
            return;
        };
        let (id, user) = (selected.mailbox, self.identity.user.clone());
        let read = selected
            .place
            .partition
            .read(move |rows| effective_seen(rows, &id, &user));
        if let Ok((seen, changes)) = read.await {
            selected.seen = Some(SeenState {
                seen,
                changes: changes.into_iter().collect(),
                version,
            });
        }
    }

    fn tell_membership(&mut self, expunge_allowed: bool) {
        let Some(selected) = &mut self.selected else {
            return;
        };
        let current = Arc::clone(&selected.view.state().uids);
        if Arc::ptr_eq(&current, &selected.uids) {
            return;
        }
        let before = selected.uids.len();
        let known_last = selected.uids.last().copied().unwrap_or(0);
        let new = current.len() - current.partition_point(|uid| *uid <= known_last);
        let kept = if expunge_allowed {
            let mut number = 1;
            for uid in selected.uids.iter() {
                if current.binary_search(uid).is_ok() {
                    number += 1;
                } else {
                    self.wire.out.extend_from_slice(b"* ");
                    write::number(&mut self.wire.out, number);
                    self.wire.out.extend_from_slice(b" EXPUNGE\r\n");
                }
            }
            selected.uids = current;
            selected.uids.len() - new
        } else {
            if new > 0 {
                let mut uids = selected.uids.to_vec();
                uids.extend_from_slice(&current[current.len() - new..]);
                selected.uids = Arc::new(uids);
            }
            before
        };
        if new > 0 {
            self.wire.out.extend_from_slice(b"* ");
            write::number(&mut self.wire.out, (kept + new) as u64);
            self.wire.out.extend_from_slice(b" EXISTS\r\n");
        }
    }

    fn tell_flags(&mut self) {
        let Some(selected) = &mut self.selected else {
            return;
        };
        let state = selected.view.state();
        let mut highest = selected.told_mod_seq;
        for entry in &state.entries {
            let (flags, mod_seq) = selected.effective(entry);
            if mod_seq <= selected.told_mod_seq {
                continue;
            }
            highest = highest.max(mod_seq);
            let is_new = entry.created > selected.told_mod_seq.get();
            if is_new || selected.own.get(&entry.uid) == Some(&mod_seq) {
                continue;
            }
            let Some(number) = selected.number(entry.uid) else {
                continue;
            };
            let out = &mut self.wire.out;
            out.extend_from_slice(b"* ");
            write::number(out, number as u64);
            out.extend_from_slice(b" FETCH (UID ");
            write::number(out, u64::from(entry.uid));
            out.extend_from_slice(b" FLAGS ");
            let recent = selected.is_recent(entry.uid);
            write::flags(out, flags, entry.keywords, &selected.keywords, recent);
            if self.condstore {
                out.extend_from_slice(b" MODSEQ (");
                write::number(out, mod_seq.get());
                out.push(b')');
            }
            out.extend_from_slice(b")\r\n");
        }
        let version = state.version;
        // While an expunge is held back the view stays to be told.
        let all_told = Arc::ptr_eq(&state.uids, &selected.uids)
            || state.uids.as_slice() == selected.uids.as_slice();
        drop(state);
        selected.told_mod_seq = highest;
        selected.own.clear();
        if all_told {
            selected.told = version;
        }
    }

    /// FLAGS and PERMANENTFLAGS, as SELECT and new keywords demand.
    pub(super) fn write_flags_line(&mut self) {
        let Some(selected) = &self.selected else {
            return;
        };
        let all = SystemFlags::from_bits(31);
        let out = &mut self.wire.out;
        out.extend_from_slice(b"* FLAGS ");
        write::flags(out, all, u128::MAX, &selected.keywords, false);
        out.extend_from_slice(b"\r\n* OK [PERMANENTFLAGS ");
        if selected.read_only {
            out.extend_from_slice(b"()");
        } else {
            let mask = changeable(selected.rights);
            let keywords = selected.rights.contains(Rights::WRITE);
            let bits = if keywords { u128::MAX } else { 0 };
            write::flags(out, mask, bits, &selected.keywords, false);
            if keywords && selected.keywords.len() < 128 {
                out.pop();
                out.extend_from_slice(if out.ends_with(b"(") {
                    b"\\*)"
                } else {
                    b" \\*)"
                });
            }
        }
        out.extend_from_slice(b"] flags that are kept\r\n");
    }
}

/// System flags that these rights allow to change (RFC 4314 section 4).
pub(super) fn changeable(rights: Rights) -> SystemFlags {
    let mut mask = SystemFlags::NONE;
    if rights.contains(Rights::SEEN) {
        mask = mask.with(SystemFlags::SEEN);
    }
    if rights.contains(Rights::DELETE_MESSAGES) {
        mask = mask.with(SystemFlags::DELETED);
    }
    if rights.contains(Rights::WRITE) {
        mask = mask
            .with(SystemFlags::ANSWERED)
            .with(SystemFlags::FLAGGED)
            .with(SystemFlags::DRAFT);
    }
    mask
}

/// Whether FETCH may set `\Seen`.
pub(super) fn sets_seen(fetch: &Fetch) -> bool {
    use murder_proto::imap::command::FetchItem;
    fetch.items.iter().any(|item| {
        matches!(
            item,
            FetchItem::BodySection { peek: false, .. } | FetchItem::Rfc822 | FetchItem::Rfc822Text
        )
    })
}
