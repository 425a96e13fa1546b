//! What clients were answered, held against what was promised before.

use murder_model::{ModSeq, RootName, SystemFlags, UserName};

use super::{Checked, Fate, Marks, Oracle, Removal, Violation, broken};
use crate::message::{Millis, Op, Outcome};

impl Oracle {
    /// A client has its answer.
    pub(crate) fn answered(
        &mut self,
        (root, user): (&RootName, &UserName),
        op: &Op,
        sent: &Marks,
        outcome: &Outcome,
        now: Millis,
    ) -> Checked {
        let known_root = self.roots.get(root).is_some_and(|known| *known < sent.at);
        match (op, outcome) {
            (_, Outcome::Unknown) => {
                if let Op::MakeFolder { folder } | Op::DropFolder { folder } = op {
                    let mailbox = self.mailbox(root, folder);
                    mailbox.tainted = true;
                    mailbox.exists = None;
                }
                return Ok(());
            }
            (Op::Append { folder, .. } | Op::Look { folder, .. }, Outcome::Refused(reason)) => {
                let mailbox = self.mailbox(root, folder);
                let there = match *folder {
                    "" => known_root,
                    _ => mailbox.exists == Some(true) && !mailbox.tainted,
                };
                if there {
                    return broken(
                        "1 a reply is a promise",
                        format!("{root}/{folder} was made and is not there: {reason}"),
                    );
                }
                return Ok(());
            }
            // Refused: nothing happened.
            (Op::DropRoot, Outcome::NoSuchRoot | Outcome::Unavailable | Outcome::Refused(_)) => {
                self.doubtful.remove(root);
                return Ok(());
            }
            (_, Outcome::NoSuchRoot) if known_root => {
                return broken(
                    "7 stale is never permanent",
                    format!("{root} was refused for good and exists"),
                );
            }
            (
                _,
                Outcome::Created
                | Outcome::Stored { .. }
                | Outcome::Duplicate
                | Outcome::FolderMade { .. }
                | Outcome::Done,
            ) => self.acknowledged += 1,
            _ => return Ok(()),
        }
        match op {
            Op::Create => self.root_is_there(root, sent, now),
            Op::DropRoot => {
                self.removed.insert(root.clone(), now);
                self.root_removed(root, sent, now);
            }
            Op::Deliver { .. } | Op::Append { .. } => {
                self.root_is_there(root, sent, now);
                self.message_answered(op, sent, outcome, now)?;
            }
            Op::Flag { .. } | Op::Expunge { .. } => self.change_answered((root, user), op, now)?,
            Op::MakeFolder { .. } | Op::DropFolder { .. } => {
                self.folder_answered(root, op, sent, outcome, now)?;
            }
            Op::Look { .. } | Op::Shift { .. } => {}
        }
        Ok(())
    }

    /// Somebody knows that the root is there, unless it is being deleted.
    fn root_is_there(&mut self, root: &RootName, sent: &Marks, now: Millis) {
        if !self.doubtful.contains(root) && !self.was_removed(root, sent) {
            self.roots.entry(root.clone()).or_insert(now);
        }
    }

    fn message_answered(
        &mut self,
        op: &Op,
        sent: &Marks,
        outcome: &Outcome,
        now: Millis,
    ) -> Checked {
        let (Op::Deliver { token } | Op::Append { token, .. }) = op else {
            return Ok(());
        };
        if let Outcome::Stored {
            validity,
            uid,
            mod_seq,
        } = outcome
        {
            self.stored(*token, (*validity, *uid), *mod_seq, sent, now)?;
        }
        let fate = self.fate(*token)?;
        fate.acknowledged = true;
        fate.known_at.get_or_insert(now);
        Ok(())
    }

    fn change_answered(
        &mut self,
        (root, user): (&RootName, &UserName),
        op: &Op,
        now: Millis,
    ) -> Checked {
        match op {
            Op::Flag {
                folder,
                validity,
                uid,
                flags,
            } => {
                if let Some(token) = self.token_at(root, folder, (*validity, *uid)) {
                    let fate = self.fate(token)?;
                    if flags.contains(SystemFlags::SEEN) {
                        fate.seen.entry(user.clone()).or_insert(now);
                    }
                    fate.flags.push((flags.without(SystemFlags::SEEN), now));
                }
            }
            Op::Expunge {
                folder,
                validity,
                uid,
            } => {
                if let Some(token) = self.token_at(root, folder, (*validity, *uid)) {
                    let fate = self.fate(token)?;
                    // If it had been moved before, nothing was removed.
                    if !fate.wandering {
                        fate.removal = Removal::Done(now);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn folder_answered(
        &mut self,
        root: &RootName,
        op: &Op,
        sent: &Marks,
        outcome: &Outcome,
        now: Millis,
    ) -> Checked {
        match (op, outcome) {
            (Op::MakeFolder { folder }, Outcome::FolderMade { validity }) => {
                if *validity <= sent.validity {
                    let had = sent.validity;
                    return broken(
                        "O7 UIDVALIDITY rises",
                        format!("{root}/{folder} was made with {validity}, had {had}"),
                    );
                }
                let mailbox = self.mailbox(root, folder);
                mailbox.exists = Some(true);
                mailbox.marks = Marks {
                    validity: *validity,
                    ..Marks::default()
                };
            }
            (Op::DropFolder { folder }, Outcome::Done) => {
                self.mailbox(root, folder).exists = Some(false);
                for fate in self.fates.values_mut() {
                    if fate.root == *root && fate.folder == *folder && !fate.wandering {
                        fate.removal = Removal::Done(now);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What was asked before a deletion was answered says nothing of what came after.
    fn was_removed(&self, root: &RootName, sent: &Marks) -> bool {
        self.removed.get(root).is_some_and(|when| *when >= sent.at)
    }

    pub(super) fn fate(&mut self, token: u64) -> Result<&mut Fate, Violation> {
        self.fates
            .get_mut(&token)
            .ok_or_else(|| Violation::new("1 a reply is a promise", "a message from nowhere"))
    }

    fn stored(
        &mut self,
        token: u64,
        at: (u32, u32),
        mod_seq: ModSeq,
        sent: &Marks,
        now: Millis,
    ) -> Checked {
        let fate = self.fate(token)?;
        let (root, folder) = (fate.root.clone(), fate.folder);
        self.placed(token, folder, at, now)?;
        let late = sent.validity == at.0 && (at.1 <= sent.uid || mod_seq <= sent.mod_seq);
        if at.0 < sent.validity || late {
            return broken(
                "3 UIDs never lie",
                format!("{root}/{folder}: {at:?} {mod_seq} was told after {sent:?}"),
            );
        }
        self.raise(&root, folder, at, mod_seq);
        Ok(())
    }
}
