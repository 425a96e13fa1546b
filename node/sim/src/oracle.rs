//! The truth: what clients were promised, and who served what. Every answer is held against it.

use std::collections::{BTreeMap, BTreeSet};

use murder_model::{
    Epoch, Guid, ModSeq, OwnershipRecord, RootName, ServerName, SystemFlags, Term, UnitId,
    UnitState, UserName,
};

use crate::message::{Folder, Listing, Millis, Op, Outcome};

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
            let meant = fate.root == *root && fate.folder == folder;
            if meant && (at.is_none() || only == Some(*token)) && fate.removal == Removal::No {
                fate.removal = Removal::Asked;
            }
        }
    }

    /// The root is about to be deleted: until that is answered, nothing is known of it.
    pub(crate) fn removing_root(&mut self, root: &RootName) {
        self.roots.remove(root);
        self.doubtful.insert(root.clone());
        for fate in self.fates.values_mut() {
            if fate.root == *root && fate.removal == Removal::No {
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

    /// A client has its answer.
    pub(crate) fn answered(
        &mut self,
        (root, user): (&RootName, &UserName),
        op: &Op,
        sent: &Marks,
        outcome: &Outcome,
        now: Millis,
    ) -> Checked {
        match (op, outcome) {
            (_, Outcome::Unknown) => {
                if let Op::MakeFolder { folder } | Op::DropFolder { folder } = op {
                    let mailbox = self.mailbox(root, folder);
                    mailbox.tainted = true;
                    mailbox.exists = None;
                }
            }
            (Op::Append { folder, .. } | Op::Look { folder, .. }, Outcome::Refused(reason)) => {
                let known_root = self.roots.get(root).is_some_and(|known| *known < sent.at);
                let mailbox = self.mailbox(root, folder);
                let there = if folder.is_empty() {
                    known_root
                } else {
                    mailbox.exists == Some(true) && !mailbox.tainted
                };
                if there {
                    return broken(
                        "1 a reply is a promise",
                        format!("{root}/{folder} was made and is not there: {reason}"),
                    );
                }
            }
            (Op::Create, Outcome::Created) => {
                self.acknowledged += 1;
                if !self.doubtful.contains(root) && !self.was_removed(root, sent) {
                    self.roots.entry(root.clone()).or_insert(now);
                }
            }
            (Op::DropRoot, Outcome::Done) => {
                self.acknowledged += 1;
                self.removed.insert(root.clone(), now);
                self.root_removed(root, sent, now);
            }
            // Refused: nothing happened.
            (Op::DropRoot, Outcome::NoSuchRoot | Outcome::Unavailable | Outcome::Refused(_)) => {
                self.doubtful.remove(root);
            }
            (_, Outcome::NoSuchRoot)
                if self.roots.get(root).is_some_and(|known| *known < sent.at) =>
            {
                return broken(
                    "7 stale is never permanent",
                    format!("{root} was refused for good and exists"),
                );
            }
            (
                Op::Deliver { token } | Op::Append { token, .. },
                Outcome::Stored {
                    validity,
                    uid,
                    mod_seq,
                },
            ) => {
                self.acknowledged += 1;
                self.stored(*token, (*validity, *uid), *mod_seq, sent, now)?;
                self.fate(*token)?.acknowledged = true;
                if !self.doubtful.contains(root) && !self.was_removed(root, sent) {
                    self.roots.entry(root.clone()).or_insert(now);
                }
            }
            (Op::Deliver { token }, Outcome::Duplicate) => {
                self.acknowledged += 1;
                let fate = self.fate(*token)?;
                fate.acknowledged = true;
                fate.known_at.get_or_insert(now);
            }
            (
                Op::Flag {
                    folder,
                    validity,
                    uid,
                    flags,
                },
                Outcome::Done,
            ) => {
                self.acknowledged += 1;
                if let Some(token) = self.token_at(root, folder, (*validity, *uid)) {
                    let fate = self.fate(token)?;
                    if flags.contains(SystemFlags::SEEN) {
                        fate.seen.entry(user.clone()).or_insert(now);
                    }
                    fate.flags.push((flags.without(SystemFlags::SEEN), now));
                }
            }
            (
                Op::Expunge {
                    folder,
                    validity,
                    uid,
                },
                Outcome::Done,
            ) => {
                self.acknowledged += 1;
                if let Some(token) = self.token_at(root, folder, (*validity, *uid)) {
                    self.fate(token)?.removal = Removal::Done(now);
                }
            }
            (Op::MakeFolder { folder }, Outcome::FolderMade { validity }) => {
                self.acknowledged += 1;
                let mailbox = self.mailbox(root, folder);
                if *validity <= sent.validity {
                    return broken(
                        "O7 UIDVALIDITY rises",
                        format!(
                            "{root}/{folder} was made with {validity}, had {}",
                            sent.validity
                        ),
                    );
                }
                mailbox.exists = Some(true);
                mailbox.marks = Marks {
                    validity: *validity,
                    ..Marks::default()
                };
            }
            (Op::DropFolder { folder }, Outcome::Done) => {
                self.acknowledged += 1;
                self.mailbox(root, folder).exists = Some(false);
                for fate in self.fates.values_mut() {
                    if fate.root == *root && fate.folder == *folder {
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

    fn fate(&mut self, token: u64) -> Result<&mut Fate, Violation> {
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
        self.placed(token, at, now)?;
        let fate = self.fate(token)?;
        let (root, folder) = (fate.root.clone(), fate.folder);
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
    fn placed(&mut self, token: u64, at: (u32, u32), now: Millis) -> Checked {
        let fate = self.fate(token)?;
        if let Some((validity, _, _)) = fate.place
            && validity != at.0
            && fate.removal != Removal::No
        {
            // It came again into a root that was deleted meanwhile.
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
        let key = (fate.root.clone(), fate.folder, at.0, at.1);
        let other = *self.places.entry(key).or_insert(token);
        if other != token {
            return broken(
                "3 UIDs never lie",
                format!("{at:?} names message {other} and message {token}"),
            );
        }
        Ok(())
    }

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
        if validity == sent.validity
            && (listing.highest < sent.mod_seq || listing.uid_next <= sent.uid)
        {
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
            self.placed(token, (validity, message.uid), now)?;
            let fate = self.fate(token)?;
            if fate.root != *root || fate.folder != folder {
                return broken("1 once", format!("message {token} is in {root}/{folder}"));
            }
            if matches!(fate.removal, Removal::Done(when) if when < sent.at) {
                return broken(
                    "1 a reply is a promise",
                    format!("message {token} was removed and is there"),
                );
            }
            let settled = fate.removal == Removal::No;
            for (flags, when) in &fate.flags {
                if settled && *when < sent.at && !message.flags.contains(*flags) {
                    return broken(
                        "1 a reply is a promise",
                        format!("message {token} lost {flags:?}"),
                    );
                }
            }
            if settled
                && fate.seen.get(user).is_some_and(|when| *when < sent.at)
                && !message.flags.contains(SystemFlags::SEEN)
            {
                return broken(
                    "1 a reply is a promise",
                    format!("message {token} is unseen again for {user}"),
                );
            }
            if message.uid >= listing.uid_next || message.mod_seq > listing.highest {
                return broken(
                    "3 UIDs never lie",
                    format!("UID {} is not below UIDNEXT", message.uid),
                );
            }
        }
        for (token, fate) in &self.fates {
            let due = fate.root == *root
                && fate.folder == folder
                && fate.removal == Removal::No
                && fate.known_at.is_some_and(|when| when < sent.at);
            if due && !found.contains(token) {
                return broken(
                    "1 a reply is a promise",
                    format!("message {token} was acknowledged and is not in {root}/{folder}"),
                );
            }
        }
        self.raise(
            root,
            folder,
            (validity, listing.uid_next - 1),
            listing.highest,
        );
        Ok(())
    }

    /// A backend's durable record of a unit.
    pub(crate) fn recorded(&mut self, backend: usize, record: &OwnershipRecord) -> Checked {
        let held = self.records.entry(record.unit).or_default();
        held.insert(backend, record.clone());
        let mut owners = Vec::new();
        for (unit, held) in &self.records {
            for (backend, other) in held {
                if other.state == UnitState::Owner && other.root == record.root {
                    owners.push((*backend, *unit, other.epoch));
                }
            }
        }
        if owners.len() > 1 {
            return broken(
                "2 a mailbox has one owner",
                format!("{} is served at {owners:?}", record.root),
            );
        }
        if let [(backend, unit, epoch)] = owners[..] {
            let server = server_name(backend);
            let key = (unit, record.term, epoch);
            if unit == record.unit && record.state == UnitState::Owner {
                return self.version(key, &server);
            }
        }
        Ok(())
    }

    /// What a backend finds when it starts replaces what was known of it.
    pub(crate) fn recovered(&mut self, backend: usize, records: &[OwnershipRecord]) -> Checked {
        for (unit, held) in &mut self.records {
            if let Some(before) = held.remove(&backend)
                && !records.iter().any(|record| {
                    record.unit == *unit
                        && (record.term, record.epoch) >= (before.term, before.epoch)
                })
            {
                return broken(
                    "O2 serving needs a durable grant",
                    format!("backend {backend} forgot {before:?}"),
                );
            }
        }
        records
            .iter()
            .try_for_each(|record| self.recorded(backend, record))
    }

    /// Each version of a unit is granted once (O3).
    fn version(&mut self, key: (UnitId, Term, Epoch), server: &ServerName) -> Checked {
        let known = self.versions.entry(key).or_insert_with(|| server.clone());
        if known != server {
            return broken(
                "O3 each version is granted once",
                format!("{key:?} is of {known} and of {server}"),
            );
        }
        Ok(())
    }

    /// What the master acknowledged is to be found with the servers now.
    pub(crate) fn master_lost(&mut self) {
        self.granted.clear();
        self.masters_lost += 1;
    }

    /// The master said that a server has a unit.
    pub(crate) fn granted(
        &mut self,
        unit: UnitId,
        term: Term,
        epoch: Epoch,
        server: &ServerName,
    ) -> Checked {
        let known = self.granted.entry(unit).or_insert((term, epoch));
        if epoch > known.1 {
            self.moved += 1;
        }
        *known = (*known).max((term, epoch));
        self.version((unit, term, epoch), server)
    }
}

/// Name of a backend.
pub(crate) fn server_name(backend: usize) -> ServerName {
    ServerName::parse(&format!("be-{backend}")).expect("letters, a hyphen and digits")
}
