//! A mailbox as somebody read it, held against what was promised.

use std::collections::BTreeSet;

use murder_model::{RootName, SystemFlags, UserName};

use super::{Checked, Fate, Marks, Oracle, Removal, broken};
use crate::message::{Folder, Listing, Millis, Seen};

impl Oracle {
    /// A mailbox was read: nothing that was acknowledged before the question may be missing.
    pub(crate) fn listed(
        &mut self,
        (root, user): (&RootName, &UserName),
        folder: Folder,
        sent: &Marks,
        listing: &Listing,
        now: Millis,
    ) -> Checked {
        let validity = listing.validity;
        if validity < sent.validity {
            return broken(
                "O7 UIDVALIDITY rises",
                format!("{root}/{folder} has {validity}, had {}", sent.validity),
            );
        }
        let back = listing.highest < sent.mod_seq || listing.uid_next <= sent.uid;
        if validity == sent.validity && back {
            return broken(
                "3 UIDs never lie",
                format!("{root}/{folder}: HIGHESTMODSEQ or UIDNEXT below {sent:?}"),
            );
        }
        let mut found = BTreeSet::new();
        for message in &listing.messages {
            let Some(token) = self.tokens.get(&message.guid).copied() else {
                return broken("1 a reply is a promise", "a message that nobody sent");
            };
            if !found.insert(token) {
                return broken("1 once", format!("message {token} is there twice"));
            }
            if message.uid >= listing.uid_next || message.mod_seq > listing.highest {
                return broken(
                    "3 UIDs never lie",
                    format!("UID {} is not below UIDNEXT", message.uid),
                );
            }
            self.placed(token, folder, (validity, message.uid), now)?;
            let fate = self.fate(token)?;
            if fate.root != *root || fate.folder != folder && !fate.wandering {
                return broken("1 once", format!("message {token} is in {root}/{folder}"));
            }
            fate.seen_as(token, message, user, sent.at)?;
        }
        for (token, fate) in &self.fates {
            let due = fate.root == *root
                && fate.folder == folder
                && !fate.wandering
                && fate.removal == Removal::No
                && fate.known_at.is_some_and(|when| when < sent.at);
            if due && !found.contains(token) {
                return broken(
                    "1 a reply is a promise",
                    format!("message {token} was acknowledged and is not in {root}/{folder}"),
                );
            }
        }
        let last = (validity, listing.uid_next - 1);
        self.raise(root, folder, last, listing.highest);
        Ok(())
    }
}

impl Fate {
    /// The message was read by somebody who asked at `asked`.
    fn seen_as(&self, token: u64, message: &Seen, user: &UserName, asked: Millis) -> Checked {
        let rule = "1 a reply is a promise";
        if matches!(self.removal, Removal::Done(when) if when < asked) {
            return broken(rule, format!("message {token} was removed and is there"));
        }
        if self.removal != Removal::No {
            return Ok(());
        }
        for (flags, when) in &self.flags {
            if *when < asked && !message.flags.contains(*flags) {
                return broken(rule, format!("message {token} lost {flags:?}"));
            }
        }
        let seen = self.seen.get(user).is_some_and(|when| *when < asked);
        if seen && !message.flags.contains(SystemFlags::SEEN) {
            return broken(rule, format!("message {token} is unseen again for {user}"));
        }
        Ok(())
    }
}
