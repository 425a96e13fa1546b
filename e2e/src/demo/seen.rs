//! What clients saw in a mailbox, and what they were promised: it must be so forever.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use blake3::Hash;

use super::mailbox::Mailbox;

/// A flag of a message: UID, whose it is (everybody's, mostly), its name in lower case.
type Flag = (u32, Option<usize>, String);

/// A message as it is in a mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// UID.
    pub uid: u32,
    /// Of its content, if that was read.
    pub hash: Option<Hash>,
    /// Bytes of its content.
    pub size: usize,
    /// INTERNALDATE as it was told.
    pub date: String,
    /// Flags as they were told.
    pub flags: Vec<String>,
}

/// What SELECT and FETCH told about a mailbox.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// UIDNEXT.
    pub uid_next: u32,
    /// All messages.
    pub messages: Vec<Found>,
}

/// What is known of a mailbox.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    uid_validity: Option<u32>,
    uid_next: u32,
    contents: BTreeMap<u32, Hash>,
    dates: BTreeMap<u32, String>,
    held: BTreeSet<Flag>,
    tried: BTreeSet<Flag>,
}

impl Seen {
    /// A client saw these; false if they cannot be after what was seen before.
    #[must_use]
    pub fn numbers(&mut self, uid_validity: u32, uid_next: u32) -> bool {
        let is_same = *self.uid_validity.get_or_insert(uid_validity) == uid_validity;
        // Two clients may look at the same time, so a lower number proves nothing yet.
        self.uid_next = self.uid_next.max(uid_next);
        is_same
    }

    /// A client read a message.
    pub fn content(&mut self, uid: u32, hash: Hash) {
        self.contents.insert(uid, hash);
    }

    /// A client is about to set a flag.
    pub fn try_flag(&mut self, uid: u32, holder: Option<usize>, flag: &str) {
        self.tried.insert((uid, holder, flag.to_ascii_lowercase()));
    }

    /// It was acknowledged.
    pub fn hold_flag(&mut self, uid: u32, holder: Option<usize>, flag: &str) {
        self.held.insert((uid, holder, flag.to_ascii_lowercase()));
    }

    /// Takes everything that `user` sees as known.
    pub fn learn(&mut self, mailbox: &Mailbox, user: usize, view: &View) {
        self.uid_validity.get_or_insert(view.uid_validity);
        self.uid_next = self.uid_next.max(view.uid_next);
        for found in &view.messages {
            if let Some(hash) = found.hash {
                self.contents.insert(found.uid, hash);
            }
            self.dates.insert(found.uid, found.date.clone());
            for flag in found.flags.iter().filter(|flag| !is_recent(flag)) {
                self.hold_flag(found.uid, mailbox.holder(user, flag), flag);
            }
        }
    }

    /// What differs from what is known, in what `user` sees now.
    pub fn differences(&self, mailbox: &Mailbox, user: usize, view: &View) -> Vec<String> {
        let mut differences = Vec::new();
        if let Some(known) = self.uid_validity
            && known != view.uid_validity
        {
            differences.push(format!("UIDVALIDITY {} was {known}", view.uid_validity));
        }
        if view.uid_next < self.uid_next {
            let text = format!("UIDNEXT {} was {}", view.uid_next, self.uid_next);
            differences.push(text);
        }
        let by_uid: HashMap<_, _> = view.messages.iter().map(|m| (m.uid, m)).collect();
        for (uid, hash) in &self.contents {
            match by_uid.get(uid) {
                None => differences.push(format!("UID {uid} is gone")),
                Some(found) if found.hash.is_some_and(|found| found != *hash) => {
                    differences.push(format!("UID {uid} has another content"));
                }
                Some(_) => {}
            }
        }
        for (uid, date) in &self.dates {
            if let Some(found) = by_uid.get(uid).filter(|found| found.date != *date) {
                differences.push(format!("UID {uid} is of {} and was of {date}", found.date));
            }
        }
        for (uid, holder, flag) in &self.held {
            let is_visible = holder.is_none_or(|holder| holder == user);
            let has = |found: &&Found| found.flags.iter().any(|f| f.eq_ignore_ascii_case(flag));
            if is_visible && !by_uid.get(uid).is_some_and(has) {
                differences.push(format!("UID {uid} has lost {flag}"));
            }
        }
        differences.extend(self.foreign_flags(mailbox, user, view));
        differences
    }

    /// Flags that nobody set. Copies have the flags of their originals.
    fn foreign_flags(&self, mailbox: &Mailbox, user: usize, view: &View) -> Vec<String> {
        let mut foreign = Vec::new();
        if mailbox.is_for_copies() {
            return foreign;
        }
        for found in &view.messages {
            for flag in found.flags.iter().filter(|flag| !is_recent(flag)) {
                let holder = mailbox.holder(user, flag);
                let key = (found.uid, holder, flag.to_ascii_lowercase());
                if !self.tried.contains(&key) && !self.held.contains(&key) {
                    foreign.push(format!("UID {} has {flag}, which nobody set", found.uid));
                }
            }
        }
        foreign
    }

    /// Messages of which the content is known.
    #[must_use]
    pub fn contents_count(&self) -> usize {
        self.contents.len()
    }

    /// Flags that are known.
    #[must_use]
    pub fn flags_count(&self) -> usize {
        self.held.len()
    }

    /// Dates that are known.
    #[must_use]
    pub fn dates_count(&self) -> usize {
        self.dates.len()
    }
}

fn is_recent(flag: &str) -> bool {
    flag.eq_ignore_ascii_case("\\Recent")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::mailbox::{INBOX, SHARED};

    fn view(flags: &[&str]) -> View {
        let found = Found {
            uid: 7,
            hash: Some(blake3::hash(b"a")),
            size: 1,
            date: "24-Nov-2026 12:00:00 +0000".to_owned(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        };
        View {
            uid_validity: 1,
            uid_next: 8,
            messages: vec![found],
        }
    }

    #[test]
    fn what_was_seen_stays_so() {
        let inbox = Mailbox::of(0, INBOX);
        let mut seen = Seen::default();
        seen.learn(&inbox, 0, &view(&["\\Seen", "\\Recent"]));
        let same = view(&["\\seen"]);
        assert_eq!(seen.differences(&inbox, 0, &same), Vec::<String>::new());
        let mut other = view(&[]);
        other.uid_validity = 2;
        other.uid_next = 7;
        other.messages[0].hash = Some(blake3::hash(b"b"));
        other.messages[0].date = "24-Nov-2026 12:00:01 +0000".to_owned();
        assert_eq!(
            seen.differences(&inbox, 0, &other),
            [
                "UIDVALIDITY 2 was 1",
                "UIDNEXT 7 was 8",
                "UID 7 has another content",
                "UID 7 is of 24-Nov-2026 12:00:01 +0000 and was of 24-Nov-2026 12:00:00 +0000",
                "UID 7 has lost \\seen",
            ]
        );
        other.messages.clear();
        let gone = seen.differences(&inbox, 0, &other);
        assert!(gone.contains(&"UID 7 is gone".to_owned()), "{gone:?}");
    }

    #[test]
    fn a_flag_that_nobody_set_is_told() {
        let inbox = Mailbox::of(0, INBOX);
        let mut seen = Seen::default();
        seen.try_flag(7, None, "\\Flagged");
        let told = seen.differences(&inbox, 0, &view(&["\\Flagged", "\\Answered"]));
        assert_eq!(told, ["UID 7 has \\Answered, which nobody set"]);
    }

    #[test]
    fn what_one_has_read_in_a_shared_folder_is_unread_for_others() {
        let team = Mailbox::of(0, SHARED[0]);
        let mut seen = Seen::default();
        seen.hold_flag(7, team.holder(0, "\\Seen"), "\\Seen");
        assert_eq!(seen.differences(&team, 0, &view(&[])).len(), 1);
        assert_eq!(seen.differences(&team, 1, &view(&[])).len(), 0);
        assert_eq!(seen.differences(&team, 1, &view(&["\\Seen"])).len(), 1);
    }
}
