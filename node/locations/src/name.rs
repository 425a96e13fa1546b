//! Names as the location database keeps them: octets of the internal form.
//!
//! A real Cyrus accepts any octets as a mailbox name, so rows learned from one may hold names
//! that our own rules would refuse. The database therefore keys by octets, byte-sorted, and
//! converts to [`MailboxName`] only where our own rules apply.

use std::fmt;

use murder_model::{MailboxName, RootName};
use serde::{Deserialize, Serialize};

/// Longest name that the database takes, in octets; Cyrus' own buffer is about as long.
pub const NAME_BYTES_MAX: usize = 1024;

/// A mailbox or root name in internal form, as octets.
#[derive(Clone, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Name(Vec<u8>);

impl Name {
    /// Takes octets as they came from the wire.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The octets, as written to the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as one of our own, if our rules allow it.
    pub fn to_mailbox(&self) -> Option<MailboxName> {
        MailboxName::parse_internal(std::str::from_utf8(&self.0).ok()?).ok()
    }

    /// The name as a root of our own, if it is one.
    pub fn to_root(&self) -> Option<RootName> {
        RootName::parse(std::str::from_utf8(&self.0).ok()?).ok()
    }

    /// The name one level up; `None` for a name without a separator.
    pub fn parent(&self) -> Option<Self> {
        let dot = self.0.iter().rposition(|&octet| octet == SEPARATOR)?;
        Some(Self(self.0[..dot].to_vec()))
    }

    /// The root that the name lies under: `user.alice` of `user.alice.Work`, `shared` of
    /// `shared.a`, with a leading `domain!` or `DELETED.` of a Cyrus row kept as part of it.
    pub fn root(&self) -> Self {
        let bytes = &self.0;
        let domain = bytes.iter().position(|&octet| octet == b'!');
        let mut start = domain.map_or(0, |bang| bang + 1);
        if bytes[start..].starts_with(b"DELETED.") {
            start += b"DELETED.".len();
        }
        let components = if bytes[start..].starts_with(b"user.") {
            2
        } else {
            1
        };
        let end = bytes[start..]
            .iter()
            .enumerate()
            .filter(|(_, octet)| **octet == SEPARATOR)
            .nth(components - 1)
            .map_or(bytes.len(), |(at, _)| start + at);
        Self(bytes[..end].to_vec())
    }

    /// Whether the name is `other` or lies under it.
    pub fn is_under(&self, other: &Self) -> bool {
        self.0
            .strip_prefix(other.as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest[0] == SEPARATOR)
    }

    /// The half-open range of keys of everything under the name, without the name itself.
    pub fn children_range(&self) -> (Vec<u8>, Vec<u8>) {
        let mut low = self.0.clone();
        low.push(SEPARATOR);
        let mut high = self.0.clone();
        high.push(SEPARATOR + 1);
        (low, high)
    }
}

/// Separates the components of an internal name.
const SEPARATOR: u8 = b'.';

impl From<&MailboxName> for Name {
    fn from(name: &MailboxName) -> Self {
        Self(name.as_str().as_bytes().to_vec())
    }
}

impl From<&RootName> for Name {
    fn from(name: &RootName) -> Self {
        Self(name.as_str().as_bytes().to_vec())
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Self(name.as_bytes().to_vec())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_two_components_of_a_user_and_one_of_anything_else() {
        for (name, root) in [
            ("user.alice", "user.alice"),
            ("user.alice.Work.Sub", "user.alice"),
            ("shared", "shared"),
            ("shared.a.b", "shared"),
            ("user", "user"),
            ("ex.com!user.bob.Sent", "ex.com!user.bob"),
            ("DELETED.user.bob.Old.5f", "DELETED.user.bob"),
        ] {
            assert_eq!(Name::from(name).root(), Name::from(root), "{name}");
        }
    }

    #[test]
    fn a_name_is_under_another_only_at_a_separator() {
        assert!(Name::from("user.al.x").is_under(&Name::from("user.al")));
        assert!(!Name::from("user.alice").is_under(&Name::from("user.al")));
        assert_eq!(Name::from("a.b.c").parent(), Some(Name::from("a.b")));
    }
}
