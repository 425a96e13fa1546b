//! The truth: what clients were promised, and who served what. Every answer is held against it.

mod answers;
mod listing;
mod owners;

use std::collections::{BTreeMap, BTreeSet};

use murder_model::{
    Epoch, Guid, ModSeq, OwnershipRecord, RootName, ServerName, SystemFlags, Term, UnitId, UserName,
};

use crate::message::{Folder, Millis};

/// A rule that was broken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Which.
    pub rule: &'static str,
    /// How.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(rule: &'static str, what: impl Into<String>) -> Self {
        Self {
            rule,
            what: what.into(),
        }
    }
}

type Checked = Result<(), Violation>;

fn broken(rule: &'static str, what: impl Into<String>) -> Checked {
    Err(Violation::new(rule, what))
}

/// Whether a message may be gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Removal {
    /// Nobody asked for it.
    No,
    /// Somebody asked; nobody knows.
    Asked,
    /// It was acknowledged at this time.
    Done(Millis),
}

/// What is known of a message.
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    pub(crate) root: RootName,
    pub(crate) folder: Folder,
    /// Validity and UID, and when they were first told to anybody.
    pub(crate) place: Option<(u32, u32, Millis)>,
    /// When it was acknowledged or seen.
    pub(crate) known_at: Option<Millis>,
    /// Its sender knows that it is there.
    acknowledged: bool,
    /// It is sent again until it is acknowledged.
    repeated: bool,
    /// Somebody moved it, or tried: it is in one of the root's mailboxes.
    pub(crate) wandering: bool,
    pub(crate) removal: Removal,
    /// Flags that were acknowledged, with the time.
    pub(crate) flags: Vec<(SystemFlags, Millis)>,
    /// Who was told that it has seen it.
    pub(crate) seen: BTreeMap<UserName, Millis>,
}

/// What is known of a mailbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mailbox {
    /// Highest that anybody was told.
    pub(crate) marks: Marks,
    /// An unknown outcome makes everything in it uncertain.
    pub(crate) tainted: bool,
    /// Acknowledged as there (true) or gone; `None` if unknown.
    pub(crate) exists: Option<bool>,
}

/// What was known of a mailbox when a call was sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Marks {
    /// When.
    pub(crate) at: Millis,
    /// Highest UIDVALIDITY that anybody was told.
    pub(crate) validity: u32,
    /// Highest UID in it.
    pub(crate) uid: u32,
    /// Highest modification sequence in it.
    pub(crate) mod_seq: ModSeq,
}

/// Promises and facts.
#[derive(Default)]
pub(crate) struct Oracle {
    pub(crate) fates: BTreeMap<u64, Fate>,
    tokens: BTreeMap<Guid, u64>,
    places: BTreeMap<(RootName, Folder, u32, u32), u64>,
    pub(crate) mailboxes: BTreeMap<(RootName, Folder), Mailbox>,
    /// Roots that somebody was told of, and when.
    pub(crate) roots: BTreeMap<RootName, Millis>,
    /// Roots whose deletion is under way, or whose outcome nobody knows.
    doubtful: BTreeSet<RootName>,
    /// When roots were last deleted.
    removed: BTreeMap<RootName, Millis>,
    /// Backends that serve nothing since their volume was set back.
    suspended: BTreeSet<usize>,
    /// How often the master lost all it had.
    pub(crate) masters_lost: u64,
    /// Units that the master dropped.
    pub(crate) dropped: BTreeSet<UnitId>,
    /// Durable records of each unit, by backend.
    records: BTreeMap<UnitId, BTreeMap<usize, OwnershipRecord>>,
    versions: BTreeMap<(UnitId, Term, Epoch), ServerName>,
    /// The latest acknowledged version of each unit.
    pub(crate) granted: BTreeMap<UnitId, (Term, Epoch)>,
    pub(crate) acknowledged: u64,
    /// Grants of units that had another owner before.
    pub(crate) moved: u64,
}

impl Oracle {
    /// A message is about to be sent for the first time.
    pub(crate) fn born(
        &mut self,
        (token, repeated): (u64, bool),
        guid: Guid,
        root: &RootName,
        folder: Folder,
    ) {
        let tainted = self.mailbox(root, folder).tainted || self.doubtful.contains(root);
        self.tokens.insert(guid, token);
        self.fates.insert(
            token,
            Fate {
                root: root.clone(),
                folder,
                place: None,
                known_at: None,
                acknowledged: false,
                repeated,
                wandering: false,
                removal: if tainted { Removal::Asked } else { Removal::No },
                flags: Vec::new(),
                seen: BTreeMap::new(),
            },
        );
    }

    pub(crate) fn mailbox(&mut self, root: &RootName, folder: Folder) -> &mut Mailbox {
        self.mailboxes.entry((root.clone(), folder)).or_default()
    }

    pub(crate) fn marks(&mut self, root: &RootName, folder: Folder, now: Millis) -> Marks {
        Marks {
            at: now,
            ..self.mailbox(root, folder).marks
        }
    }

    /// The token of a message whose place is known.
    pub(crate) fn token_at(&self, root: &RootName, folder: Folder, at: (u32, u32)) -> Option<u64> {
        self.places
            .get(&(root.clone(), folder, at.0, at.1))
            .copied()
    }

    /// A removal is about to be asked for.
    pub(crate) fn removing(&mut self, root: &RootName, folder: Folder, at: Option<(u32, u32)>) {
        let only = at.and_then(|at| self.token_at(root, folder, at));
        for (token, fate) in &mut self.fates {
            let meant = fate.root == *root && (fate.folder == folder || fate.wandering);
            if meant && (at.is_none() || only == Some(*token)) && fate.removal == Removal::No {
                fate.removal = Removal::Asked;
            }
        }
    }

    /// A message is about to be moved.
    pub(crate) fn moving(&mut self, root: &RootName, at: (u32, u32), to: Folder) {
        let token = self.token_at(root, "", at);
        let tainted = self.mailbox(root, to).tainted;
        if let Some(fate) = token.and_then(|token| self.fates.get_mut(&token)) {
            fate.wandering = true;
            // The folder may be deleted behind it.
            if tainted && fate.removal == Removal::No {
                fate.removal = Removal::Asked;
            }
        }
    }

    /// The message with these bytes.
    pub(crate) fn token_of(&self, guid: &Guid) -> Option<u64> {
        self.tokens.get(guid).copied()
    }

    /// The root is about to be deleted: until that is answered, nothing is known of it.
    pub(crate) fn removing_root(&mut self, root: &RootName) {
        self.roots.remove(root);
        self.doubtful.insert(root.clone());
        self.in_doubt(root);
    }

    /// Whatever was known of what is in the root need not hold any more.
    fn in_doubt(&mut self, root: &RootName) {
        for fate in self.fates.values_mut() {
            // What is sent again may come again, even if it was removed before.
            if fate.root == *root && (fate.removal == Removal::No || fate.repeated) {
                fate.removal = Removal::Asked;
            }
        }
        for ((of, _), mailbox) in &mut self.mailboxes {
            if of == root {
                mailbox.exists = None;
            }
        }
    }

    /// The root is gone; what was known in it before the question is, too.
    fn root_removed(&mut self, root: &RootName, sent: &Marks, now: Millis) {
        self.doubtful.remove(root);
        for fate in self.fates.values_mut() {
            // Of a delivery, which is repeated, an early copy may still be on its way.
            if fate.root == *root
                && fate.acknowledged
                && !fate.repeated
                && fate.known_at.is_some_and(|known| known < sent.at)
            {
                fate.removal = Removal::Done(now);
            }
        }
    }

    fn raise(&mut self, root: &RootName, folder: Folder, at: (u32, u32), mod_seq: ModSeq) {
        let marks = &mut self.mailbox(root, folder).marks;
        if at.0 > marks.validity {
            *marks = Marks {
                validity: at.0,
                ..Marks::default()
            };
        }
        if at.0 == marks.validity {
            marks.uid = marks.uid.max(at.1);
            marks.mod_seq = marks.mod_seq.max(mod_seq);
        }
    }

    /// Somebody was told that the message is at this place.
    fn placed(&mut self, token: u64, folder: Folder, at: (u32, u32), now: Millis) -> Checked {
        let fate = self.fate(token)?;
        if let Some((validity, _, _)) = fate.place
            && (validity != at.0 && fate.removal != Removal::No || fate.wandering)
        {
            // It was moved, or came again into a root that was deleted meanwhile.
            fate.place = None;
        }
        if let Some((validity, uid, _)) = fate.place
            && (validity, uid) != at
        {
            return broken(
                "1 once",
                format!("message {token} is at {at:?} and at {:?}", (validity, uid)),
            );
        }
        fate.place.get_or_insert((at.0, at.1, now));
        fate.known_at.get_or_insert(now);
        let key = (fate.root.clone(), folder, at.0, at.1);
        let other = *self.places.entry(key).or_insert(token);
        if other != token {
            return broken(
                "3 UIDs never lie",
                format!("{at:?} names message {other} and message {token}"),
            );
        }
        Ok(())
    }
}

/// Name of a backend.
pub(crate) fn server_name(backend: usize) -> ServerName {
    ServerName::parse(&format!("be-{backend}")).expect("letters, a hyphen and digits")
}
