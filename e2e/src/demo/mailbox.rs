//! The mailboxes of the demonstration.

use murder_proto::lmtp::address::Address;

/// The domain of all recipients.
const DOMAIN: &str = "demo.example";

/// Where every user's mail goes that names no folder.
pub(super) const INBOX: &str = "INBOX";

/// A folder that every user has.
pub(super) const ARCHIVE: &str = "Archive";

/// A folder that reading users make, for copies.
pub(super) const KEPT: &str = "Kept";

/// The shared folders that mail is delivered to.
pub(super) const SHARED: [&str; 3] = [
    "Shared Folders/team",
    "Shared Folders/team/plans",
    "Shared Folders/team/plans/next year",
];

/// The shared folder that users copy to.
pub(super) const SHARED_KEPT: &str = "Shared Folders/team/kept";

/// How shared folders begin.
const SHARED_PREFIX: &str = "Shared Folders/";

/// A mailbox, whoever looks at it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Mailbox {
    owner: Option<usize>,
    name: String,
}

impl Mailbox {
    /// A mailbox by the name that a user sees.
    #[must_use]
    pub fn of(user: usize, name: &str) -> Self {
        Self {
            owner: (!name.starts_with(SHARED_PREFIX)).then_some(user),
            name: name.to_owned(),
        }
    }

    /// Its name, as those see it who may.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose it is; nobody's, if it is shared.
    #[must_use]
    pub const fn owner(&self) -> Option<usize> {
        self.owner
    }

    /// Whether copies go there, and nothing else.
    #[must_use]
    pub fn is_for_copies(&self) -> bool {
        [KEPT, SHARED_KEPT].contains(&&*self.name)
    }

    /// For whom a flag that `user` sets counts: everybody, or only this one.
    #[must_use]
    pub fn holder(&self, user: usize, flag: &str) -> Option<usize> {
        let is_personal = self.owner.is_none() && flag.eq_ignore_ascii_case("\\Seen");
        is_personal.then_some(user)
    }

    /// Where mail for it is sent.
    #[must_use]
    pub fn address(&self, users: &[String]) -> Address {
        let local = match self.owner {
            None => format!("+{}", self.name),
            Some(user) if self.name == INBOX => users[user].clone(),
            Some(user) => format!("{}+{}", users[user], self.name),
        };
        Address::new(local, Some(DOMAIN.to_owned()))
    }

    /// For people.
    #[must_use]
    pub fn describe(&self, users: &[String]) -> String {
        match self.owner.and_then(|user| users.get(user)) {
            Some(user) => format!("{} of {user}", self.name),
            None => self.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_for_a_mailbox_has_an_address() {
        let users = ["ana".to_owned(), "bela".to_owned()];
        let address = |name| {
            let address = Mailbox::of(1, name).address(&users);
            (address.recipient().user, address.recipient().folder)
        };
        assert_eq!(address(INBOX), ("bela".to_owned(), None));
        assert_eq!(
            address(ARCHIVE),
            ("bela".to_owned(), Some(ARCHIVE.to_owned()))
        );
        assert_eq!(
            address(SHARED[1]),
            (String::new(), Some(SHARED[1].to_owned()))
        );
    }

    #[test]
    fn only_seen_in_shared_folders_is_personal() {
        assert_eq!(Mailbox::of(3, SHARED[0]).holder(3, "\\Seen"), Some(3));
        assert_eq!(Mailbox::of(3, SHARED[0]).holder(3, "\\Flagged"), None);
        assert_eq!(Mailbox::of(3, INBOX).holder(3, "\\Seen"), None);
        assert_eq!(Mailbox::of(3, SHARED[0]), Mailbox::of(4, SHARED[0]));
        assert_ne!(Mailbox::of(3, INBOX), Mailbox::of(4, INBOX));
    }
}
