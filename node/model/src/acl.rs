//! Access control lists (RFC 4314).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::UserName;

/// Most entries in one list.
pub const ACL_ENTRIES_MAX: usize = 1000;

/// A set of rights.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct Rights(u16);

/// Why rights, an identifier or a list cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AclError {
    /// A letter that is no right.
    #[error("unknown right {0:?}")]
    UnknownRight(char),
    /// Not a user, `anyone`, `anonymous` or `group:NAME`.
    #[error("not an identifier of an access control list")]
    Identifier,
    /// The wire form is not `identifier TAB rights TAB …`.
    #[error("malformed access control list")]
    Wire,
    /// More entries than the limit.
    #[error("more than {ACL_ENTRIES_MAX} entries in an access control list")]
    TooMany,
}

impl Rights {
    /// No right.
    pub const NONE: Self = Self(0);
    /// `l`: the mailbox is visible to LIST and may be subscribed to.
    pub const LOOKUP: Self = Self(1);
    /// `r`: SELECT, STATUS, FETCH.
    pub const READ: Self = Self(1 << 1);
    /// `s`: keep seen state.
    pub const SEEN: Self = Self(1 << 2);
    /// `w`: set flags other than `\Seen` and `\Deleted`.
    pub const WRITE: Self = Self(1 << 3);
    /// `i`: APPEND, COPY into.
    pub const INSERT: Self = Self(1 << 4);
    /// `p`: deliver to.
    pub const POST: Self = Self(1 << 5);
    /// `k`: create mailboxes below.
    pub const CREATE: Self = Self(1 << 6);
    /// `x`: delete and rename the mailbox.
    pub const DELETE_MAILBOX: Self = Self(1 << 7);
    /// `t`: set `\Deleted`.
    pub const DELETE_MESSAGES: Self = Self(1 << 8);
    /// `e`: EXPUNGE.
    pub const EXPUNGE: Self = Self(1 << 9);
    /// `a`: administer, GETACL and SETACL.
    pub const ADMINISTER: Self = Self(1 << 10);
    /// All rights.
    pub const ALL: Self = Self((1 << 11) - 1);

    /// Letters in canonical order.
    pub const LETTERS: &'static str = "lrswipkxtea";

    /// Parses letters. The obsolete `c` stands for `kx`, `d` for `xte` (RFC 4314 section 2.1.1).
    pub fn parse(text: &str) -> Result<Self, AclError> {
        text.chars().try_fold(Self::NONE, |rights, letter| {
            Ok(rights.with(match letter {
                'c' => Self::CREATE.with(Self::DELETE_MAILBOX),
                // Annotations (RFC 5464's predecessor): Cyrus grants it with the rest; it guards nothing here.
                'n' => Self::NONE,
                'd' => Self::DELETE_MAILBOX
                    .with(Self::DELETE_MESSAGES)
                    .with(Self::EXPUNGE),
                _ => {
                    let bit = Self::LETTERS
                        .find(letter)
                        .ok_or(AclError::UnknownRight(letter))?;
                    Self(1 << bit)
                }
            }))
        })
    }

    /// Whether all of `other` are granted.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is granted.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether none is granted.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The letters with the virtual `c` and `d` appended where any right that they stand for is
    /// granted, for answers to clients (RFC 4314 section 2.1.1).
    pub fn to_client(self) -> String {
        let mut text = self.to_string();
        if self.intersects(Self::CREATE.with(Self::DELETE_MAILBOX)) {
            text.push('c');
        }
        if self.intersects(
            Self::DELETE_MAILBOX
                .with(Self::DELETE_MESSAGES)
                .with(Self::EXPUNGE),
        ) {
            text.push('d');
        }
        text
    }
}

/// Letters in canonical order.
impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let granted = |(bit, letter)| (self.0 >> bit & 1 == 1).then_some(letter);
        let mut letters = Self::LETTERS.chars().enumerate().filter_map(granted);
        letters.try_for_each(|letter| write!(f, "{letter}"))
    }
}

/// Whom an entry is about.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Identifier {
    /// Everybody, logged in or not.
    Anyone,
    /// Sessions without a login.
    Anonymous,
    /// A group: `group:NAME`.
    Group(String),
    /// A user.
    User(UserName),
}

impl Identifier {
    /// Parses `anyone`, `anonymous`, `group:NAME` or a user's name.
    pub fn parse(text: &str) -> Result<Self, AclError> {
        if text.eq_ignore_ascii_case("anyone") {
            return Ok(Self::Anyone);
        }
        if text.eq_ignore_ascii_case("anonymous") {
            return Ok(Self::Anonymous);
        }
        if let Some(group) = text.strip_prefix("group:") {
            let printable = |byte: u8| byte > b' ' && byte < 0x7f;
            if group.is_empty() || group.len() > 128 || !group.bytes().all(printable) {
                return Err(AclError::Identifier);
            }
            return Ok(Self::Group(group.to_owned()));
        }
        UserName::parse(text)
            .map(Self::User)
            .map_err(|_| AclError::Identifier)
    }

    fn is(&self, user: &UserName, groups: &[String]) -> bool {
        match self {
            Self::Anyone => true,
            Self::Anonymous => false,
            Self::Group(group) => groups.contains(group),
            Self::User(other) => other == user,
        }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::Anonymous => f.write_str("anonymous"),
            Self::Group(group) => write!(f, "group:{group}"),
            Self::User(user) => user.fmt(f),
        }
    }
}

/// One entry; `negative` entries (`-identifier`) take rights away.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct AclEntry {
    /// Whom it is about.
    pub identifier: Identifier,
    /// Whether the rights are taken away rather than given.
    pub negative: bool,
    /// Which rights.
    pub rights: Rights,
}

/// An access control list, in the order in which identifiers were first named.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Acl {
    entries: Vec<AclEntry>,
}

impl Acl {
    /// Nobody may do anything.
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// What a user has on mailboxes of their own: everything.
    pub fn owner_default(user: &UserName) -> Self {
        let mut acl = Self::new();
        acl.entries.push(AclEntry {
            identifier: Identifier::User(user.clone()),
            negative: false,
            rights: Rights::ALL,
        });
        acl
    }

    /// The entries.
    pub fn entries(&self) -> &[AclEntry] {
        &self.entries
    }

    /// Sets the rights of an identifier; no right removes its entry.
    pub fn set(
        &mut self,
        identifier: Identifier,
        negative: bool,
        rights: Rights,
    ) -> Result<(), AclError> {
        let same = |entry: &AclEntry| entry.identifier == identifier && entry.negative == negative;
        match self.entries.iter().position(same) {
            Some(index) if rights.is_empty() => {
                self.entries.remove(index);
            }
            Some(index) => self.entries[index].rights = rights,
            None if rights.is_empty() => {}
            None if self.entries.len() == ACL_ENTRIES_MAX => return Err(AclError::TooMany),
            None => self.entries.push(AclEntry {
                identifier,
                negative,
                rights,
            }),
        }
        Ok(())
    }

    /// The rights in the entry of an identifier.
    pub fn entry(&self, identifier: &Identifier, negative: bool) -> Rights {
        let same =
            |entry: &&AclEntry| entry.identifier == *identifier && entry.negative == negative;
        self.entries
            .iter()
            .find(same)
            .map_or(Rights::NONE, |entry| entry.rights)
    }

    /// What `user`, a member of `groups`, may do: all that entries give less all that they take.
    pub fn rights_for(&self, user: &UserName, groups: &[String]) -> Rights {
        let (mut given, mut taken) = (Rights::NONE, Rights::NONE);
        for entry in self
            .entries
            .iter()
            .filter(|entry| entry.identifier.is(user, groups))
        {
            if entry.negative {
                taken = taken.with(entry.rights);
            } else {
                given = given.with(entry.rights);
            }
        }
        given.without(taken)
    }

    /// `identifier TAB rights TAB …`, as MUPDATE carries it.
    pub fn to_wire(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            let minus = if entry.negative { "-" } else { "" };
            text.push_str(&format!("{minus}{}\t{}\t", entry.identifier, entry.rights));
        }
        text
    }

    /// Reads the wire form; the last TAB may be missing.
    pub fn parse_wire(text: &str) -> Result<Self, AclError> {
        let mut acl = Self::new();
        let mut fields = text.strip_suffix('\t').unwrap_or(text).split('\t');
        if text.is_empty() {
            return Ok(acl);
        }
        while let Some(identifier) = fields.next() {
            let rights = Rights::parse(fields.next().ok_or(AclError::Wire)?)?;
            let (negative, identifier) = match identifier.strip_prefix('-') {
                Some(identifier) => (true, identifier),
                None => (false, identifier),
            };
            acl.set(Identifier::parse(identifier)?, negative, rights)?;
        }
        Ok(acl)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Acl, AclError, Identifier, Rights};
    use crate::UserName;

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    #[test]
    fn obsolete_rights_stand_for_what_replaced_them() {
        assert_eq!(Rights::parse("lrcd").unwrap().to_string(), "lrkxte");
        assert_eq!(Rights::parse("te").unwrap().to_client(), "ted");
        assert_eq!(Rights::parse("k").unwrap().to_client(), "kc");
        assert_eq!(Rights::parse("lz"), Err(AclError::UnknownRight('z')));
    }

    #[test]
    fn negative_entries_take_away() {
        let acl = Acl::parse_wire("anyone\tlrs\t-bob\ts\talice\tlrswipkxtea\tgroup:staff\tw\t");
        let acl = acl.unwrap();
        assert_eq!(acl.rights_for(&user("bob"), &[]).to_string(), "lr");
        assert_eq!(acl.rights_for(&user("alice"), &[]), Rights::ALL);
        assert_eq!(
            acl.rights_for(&user("eve"), &["staff".into()]).to_string(),
            "lrsw"
        );
    }

    #[test]
    fn the_wire_form_of_cyrus_is_read_and_written() {
        let text = "alice\tlrswipkxtea\tbob\tlr\t";
        assert_eq!(Acl::parse_wire(text).unwrap().to_wire(), text);
        let cyrus = Acl::parse_wire("alice\tlrswipkxtecdan\t").unwrap();
        assert_eq!(cyrus, Acl::owner_default(&user("alice")));
        assert_eq!(Acl::parse_wire("alice"), Err(AclError::Wire));
        assert_eq!(Acl::parse_wire("").unwrap(), Acl::new());
    }

    #[test]
    fn no_right_removes_the_entry() {
        let mut acl = Acl::owner_default(&user("alice"));
        let identifier = Identifier::User(user("alice"));
        acl.set(identifier, false, Rights::NONE).unwrap();
        assert_eq!(acl, Acl::new());
    }

    proptest! {
        #[test]
        fn lists_round_trip(entries in prop::collection::vec(("[a-z]{1,8}", any::<bool>(), 1_u16..2048), 0..8)) {
            let mut acl = Acl::new();
            for (name, negative, bits) in entries {
                let identifier = Identifier::parse(&name).unwrap();
                acl.set(identifier, negative, Rights(bits)).unwrap();
            }
            prop_assert_eq!(Acl::parse_wire(&acl.to_wire()), Ok(acl));
        }
    }
}
