//! One view a mailbox, shared by all sessions that look at it, dropped when nobody does.
//!
//! A view is registered before its rows are read, and what is published in between waits; applying
//! an effect twice, or one that the rows had already, changes nothing. So no change is missed
//! between the read and the first publication.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use murder_model::MailboxId;
use murder_store::engine::Snapshots;
use murder_store::mail::{Effect, Effects, Entry, MailError, view_entries};
use tokio::sync::{OnceCell, watch};

/// All views of a partition.
#[derive(Debug, Default)]
pub struct Views {
    open: Mutex<HashMap<MailboxId, Weak<View>>>,
}

/// What sessions share of a mailbox.
#[derive(Debug)]
pub struct View {
    state: Mutex<State>,
    filled: OnceCell<()>,
    version: watch::Sender<u64>,
}

/// A view's content; hold the lock briefly.
#[derive(Debug, Default)]
pub struct State {
    /// The messages, ascending by UID.
    pub entries: Vec<Entry>,
    /// Their UIDs; sessions that are up to date share this one array.
    pub uids: Arc<Vec<u32>>,
    /// Rises with each change.
    pub version: u64,
    /// Rises when somebody's own seen state changed.
    pub seen_version: u64,
    /// The mailbox is gone.
    pub deleted: bool,
    /// Effects published before the rows were read.
    waiting: Option<Vec<Effect>>,
}

impl Views {
    /// The view of a mailbox, read if nobody has it open.
    pub async fn open(
        &self,
        mailbox: MailboxId,
        snapshots: &Snapshots,
    ) -> Result<Arc<View>, MailError> {
        let view = self.register(mailbox);
        view.filled
            .get_or_try_init(|| async {
                let snapshots = snapshots.clone();
                let entries =
                    tokio::task::spawn_blocking(move || view_entries(&snapshots.read()?, &mailbox));
                view.fill(entries.await.expect("reading rows does not panic")?);
                Ok::<(), MailError>(())
            })
            .await?;
        Ok(view)
    }

    /// Tells views what changed; called by the partition's thread, in the order of commits.
    pub fn publish(&self, effects: Effects) {
        for (mailbox, effect) in effects.mailboxes {
            let view = self.lock().get(&mailbox).and_then(Weak::upgrade);
            if let Some(view) = view {
                view.publish(effect);
            }
        }
    }

    /// Forgets the views of these mailboxes, whose rows will change, or have changed, without being
    /// published: whoever opens one from now on reads the rows again.
    pub fn forget(&self, mailboxes: &[MailboxId]) {
        let mut open = self.lock();
        for mailbox in mailboxes {
            open.remove(mailbox);
        }
    }

    fn register(&self, mailbox: MailboxId) -> Arc<View> {
        let mut open = self.lock();
        if let Some(view) = open.get(&mailbox).and_then(Weak::upgrade) {
            return view;
        }
        open.retain(|_, view| view.strong_count() > 0);
        let state = State {
            waiting: Some(Vec::new()),
            ..State::default()
        };
        let view = Arc::new(View {
            state: Mutex::new(state),
            filled: OnceCell::new(),
            version: watch::Sender::new(0),
        });
        open.insert(mailbox, Arc::downgrade(&view));
        view
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MailboxId, Weak<View>>> {
        self.open.lock().expect("no holder panics")
    }
}

impl View {
    /// The content now.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Hears of each change.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn fill(&self, entries: Vec<Entry>) {
        let mut state = self.state();
        let waiting = state.waiting.take().unwrap_or_default();
        state.entries = entries;
        state.renumber();
        for effect in waiting {
            state.apply(effect);
        }
    }

    fn publish(&self, effect: Effect) {
        let mut state = self.state();
        match &mut state.waiting {
            Some(waiting) => waiting.push(effect),
            None => {
                state.apply(effect);
                let version = state.version;
                drop(state);
                self.version.send_replace(version);
            }
        }
    }
}

impl State {
    fn apply(&mut self, effect: Effect) {
        self.version += 1;
        match effect {
            Effect::Appended(entries) => {
                for entry in entries {
                    let place = self.entries.partition_point(|known| known.uid < entry.uid);
                    if self
                        .entries
                        .get(place)
                        .is_none_or(|known| known.uid != entry.uid)
                    {
                        self.entries.insert(place, entry);
                    }
                }
                self.renumber();
            }
            Effect::Flags(entries) => {
                for entry in entries {
                    let place = self.entries.partition_point(|known| known.uid < entry.uid);
                    if let Some(known) = self.entries.get_mut(place)
                        && known.uid == entry.uid
                        && known.mod_seq < entry.mod_seq
                    {
                        *known = entry;
                    }
                }
            }
            Effect::Expunged(uids, _) => {
                self.entries.retain(|entry| !uids.contains(entry.uid));
                self.renumber();
            }
            Effect::Seen => self.seen_version += 1,
            Effect::Deleted => self.deleted = true,
            Effect::Renamed => {}
        }
    }

    fn renumber(&mut self) {
        self.uids = Arc::new(self.entries.iter().map(|entry| entry.uid).collect());
    }
}

#[cfg(test)]
mod tests {
    use murder_model::{ModSeq, SystemFlags, UidSet};
    use murder_store::mail::{Effect, Entry};

    use super::{State, Views};
    use murder_model::MailboxId;

    fn entry(uid: u32, mod_seq: u64) -> Entry {
        Entry {
            keywords: 0,
            mod_seq: ModSeq::new(mod_seq),
            created: mod_seq,
            uid,
            size: 1,
            flags: SystemFlags::NONE,
        }
    }

    fn uids(state: &State) -> Vec<u32> {
        state.uids.to_vec()
    }

    #[test]
    fn what_is_published_while_rows_are_read_is_applied_once() {
        let views = Views::default();
        let view = views.register(MailboxId::from_bytes([1; 16]));
        view.publish(Effect::Appended(vec![entry(2, 5)]));
        view.publish(Effect::Appended(vec![entry(3, 6)]));
        view.publish(Effect::Expunged(UidSet::range(3, 3), 7));
        // The rows were read after the second append and before the expunge.
        view.fill(vec![entry(1, 1), entry(2, 5), entry(3, 6)]);
        assert_eq!(uids(&view.state()), [1, 2]);
    }

    #[test]
    fn an_older_flag_change_does_not_undo_a_younger_row() {
        let views = Views::default();
        let view = views.register(MailboxId::from_bytes([1; 16]));
        view.publish(Effect::Flags(vec![entry(1, 3)]));
        let mut young = entry(1, 9);
        young.flags = SystemFlags::SEEN;
        view.fill(vec![young]);
        assert_eq!(view.state().entries[0].flags, SystemFlags::SEEN);
    }

    #[test]
    fn a_view_is_dropped_with_its_last_session() {
        let views = Views::default();
        let id = MailboxId::from_bytes([1; 16]);
        drop(views.register(id));
        assert!(views.lock().get(&id).unwrap().upgrade().is_none());
    }

    #[test]
    fn a_forgotten_view_is_read_again_by_the_next_session() {
        let views = Views::default();
        let id = MailboxId::from_bytes([1; 16]);
        let old = views.register(id);
        views.forget(&[id]);
        let new = views.register(id);
        assert!(!std::sync::Arc::ptr_eq(&old, &new));
    }
}
