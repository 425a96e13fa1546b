//! Names of users and mailboxes.
//!
//! Inside, a mailbox has the name that Cyrus' murder uses: components separated by `.`, a user's
//! tree below `user.NAME`, modified UTF-7 as clients send it, and a `.` of a component written `^`.
//! Clients see `/` as separator and three namespaces: their own mailboxes without a prefix (INBOX is
//! `user.NAME`), `Other Users/` and `Shared Folders/`. Byte order of the internal name is the one
//! total order of names.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::mutf7;

/// Longest user name in bytes.
pub const USER_NAME_BYTES_MAX: usize = 128;
/// Longest internal mailbox name in bytes.
pub const MAILBOX_NAME_BYTES_MAX: usize = 1024;
/// Deepest mailbox.
pub const MAILBOX_DEPTH_MAX: usize = 32;
/// Prefix of other users' mailboxes, as clients see it.
pub const OTHER_USERS: &str = "Other Users";
/// Prefix of shared mailboxes, as clients see it.
pub const SHARED_FOLDERS: &str = "Shared Folders";

/// Why a name is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all, or a component without characters.
    #[error("empty name or component")]
    Empty,
    /// Longer than the limit.
    #[error("name too long")]
    TooLong,
    /// More components than the limit.
    #[error("name too deep")]
    TooDeep,
    /// A control character, `*`, `%`, `^`, or another one that names may not have.
    #[error("character not allowed in a name")]
    Character,
    /// Not modified UTF-7 (RFC 3501 section 5.1.3).
    #[error("not modified UTF-7")]
    Encoding,
    /// A namespace's prefix where a mailbox is needed.
    #[error("names a namespace, not a mailbox")]
    Namespace,
}

/// A user's name: ASCII, lower-cased, without `/`, `^` and what IMAP and mail addresses reserve.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

impl UserName {
    /// Checks and lower-cases.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > USER_NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-=@".contains(&byte);
        // In any case: an access control list would read these as everybody.
        let reserved = ["anyone", "anonymous"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word));
        if !text.bytes().all(allowed) || reserved {
            return Err(NameError::Character);
        }
        if text.starts_with(['.', '-']) || text.ends_with('.') || text.contains("..") {
            return Err(NameError::Character);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a component of an internal name.
    pub fn component(&self) -> Cow<'_, str> {
        if self.0.contains('.') {
            Cow::Owned(self.0.replace('.', "^"))
        } else {
            Cow::Borrowed(&self.0)
        }
    }

    fn from_component(component: &str) -> Result<Self, NameError> {
        Self::parse(&component.replace('^', "."))
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for UserName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.0
    }
}

/// The root of a unit: `user.NAME` or one component of the shared namespace.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct RootName(String);

/// Whose tree a root is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RootKind {
    /// A user's INBOX and all below it.
    User(UserName),
    /// A shared tree.
    Shared,
}

impl RootName {
    /// Parses an internal name that is a root.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = MailboxName::parse_internal(text)?;
        if name.is_root() {
            Ok(Self(name.0))
        } else {
            Err(NameError::TooDeep)
        }
    }

    /// The root of a user's tree.
    pub fn user(user: &UserName) -> Self {
        Self(format!("user.{}", user.component()))
    }

    /// The internal name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The mailbox of that name.
    pub fn mailbox(&self) -> MailboxName {
        MailboxName(self.0.clone())
    }

    /// Whose tree it is.
    pub fn kind(&self) -> RootKind {
        match self.0.strip_prefix("user.").map(UserName::from_component) {
            Some(Ok(user)) => RootKind::User(user),
            _ => RootKind::Shared,
        }
    }
}

impl fmt::Display for RootName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RootName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<RootName> for String {
    fn from(name: RootName) -> Self {
        name.0
    }
}

/// A mailbox by its internal name.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct MailboxName(String);

impl MailboxName {
    /// Parses an internal name such as `user.alice.Archive^2024`.
    pub fn parse_internal(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAILBOX_NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        let mut depth = 0;
        for component in text.split('.') {
            depth += 1;
            check_component(component, true)?;
        }
        if depth > MAILBOX_DEPTH_MAX {
            return Err(NameError::TooDeep);
        }
        if text == "user" {
            return Err(NameError::Namespace);
        }
        if let Some(below) = text.strip_prefix("user.") {
            let mut below = below.split('.');
            let user = below.next().unwrap_or_default();
            // The owner would know these by a name that means something else.
            if below.next().is_some_and(is_reserved_folder) {
                return Err(NameError::Namespace);
            }
            let normal = UserName::from_component(user)?;
            if normal.component() != user {
                return Err(NameError::Character);
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// A user's INBOX.
    pub fn inbox(user: &UserName) -> Self {
        Self(format!("user.{}", user.component()))
    }

    /// What `viewer` calls `name`, read: see the module.
    pub fn from_external(viewer: &UserName, name: &[u8]) -> Result<Self, NameError> {
        let name = std::str::from_utf8(name).map_err(|_| NameError::Encoding)?;
        if name.eq_ignore_ascii_case("INBOX") {
            return Ok(Self::inbox(viewer));
        }
        let mut components = name.split('/');
        let first = components.next().unwrap_or(name);
        let mut internal = String::with_capacity(name.len() + 8 + viewer.as_str().len());
        if first == OTHER_USERS {
            let user = UserName::parse(components.next().ok_or(NameError::Namespace)?)?;
            internal.push_str("user.");
            internal.push_str(&user.component());
        } else if first == SHARED_FOLDERS {
            let root = components.next().ok_or(NameError::Namespace)?;
            check_component(root, false)?;
            if root == "user" {
                return Err(NameError::Namespace);
            }
            internal.push_str(&root.replace('.', "^"));
        } else {
            if first.eq_ignore_ascii_case("INBOX") {
                return Err(NameError::Namespace);
            }
            internal.push_str("user.");
            internal.push_str(&viewer.component());
            components = name.split('/');
        }
        for component in components {
            check_component(component, false)?;
            internal.push('.');
            internal.push_str(&component.replace('.', "^"));
        }
        Self::parse_internal(&internal)
    }

    /// What `viewer` calls this mailbox.
    pub fn to_external(&self, viewer: &UserName) -> String {
        let mut components = self.0.split('.');
        let first = components.next().unwrap_or_default();
        let mut external = String::with_capacity(self.0.len() + SHARED_FOLDERS.len() + 1);
        if first == "user" {
            let user = components.next().unwrap_or_default();
            if user == viewer.component() {
                let Some(top) = components.next() else {
                    return "INBOX".to_owned();
                };
                push_component(&mut external, top);
            } else {
                external.push_str(OTHER_USERS);
                external.push('/');
                push_component(&mut external, user);
            }
        } else {
            external.push_str(SHARED_FOLDERS);
            external.push('/');
            push_component(&mut external, first);
        }
        for component in components {
            external.push('/');
            push_component(&mut external, component);
        }
        external
    }

    /// The internal name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The root of the unit that it belongs to.
    pub fn root(&self) -> RootName {
        RootName(self.0[..self.root_length()].to_owned())
    }

    /// Whether it is a root itself.
    pub fn is_root(&self) -> bool {
        self.root_length() == self.0.len()
    }

    /// The user in whose tree it is.
    pub fn owner(&self) -> Option<UserName> {
        match self.root().kind() {
            RootKind::User(user) => Some(user),
            RootKind::Shared => None,
        }
    }

    /// The mailbox above it within its unit.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        self.0.rfind('.').map(|dot| Self(self.0[..dot].to_owned()))
    }

    /// The mailbox `component` below it; `component` is as a client writes it.
    pub fn child(&self, component: &str) -> Result<Self, NameError> {
        check_component(component, false)?;
        Self::parse_internal(&format!("{}.{}", self.0, component.replace('.', "^")))
    }

    /// Whether it lies below `other`, at any depth.
    pub fn is_under(&self, other: &Self) -> bool {
        self.0
            .strip_prefix(other.as_str())
            .is_some_and(|rest| rest.starts_with('.'))
    }

    /// The name with the part `from` replaced by `to`; `None` if it is neither `from` nor below it.
    pub fn renamed(&self, from: &Self, to: &Self) -> Option<Result<Self, NameError>> {
        let rest = self.0.strip_prefix(from.as_str())?;
        (rest.is_empty() || rest.starts_with('.'))
            .then(|| Self::parse_internal(&format!("{}{rest}", to.0)))
    }

    /// The components from the top, in internal form.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    fn root_length(&self) -> usize {
        let user = if self.0.starts_with("user.") {
            "user.".len()
        } else {
            0
        };
        self.0[user..]
            .find('.')
            .map_or(self.0.len(), |dot| user + dot)
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for MailboxName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse_internal(&text)
    }
}

impl From<MailboxName> for String {
    fn from(name: MailboxName) -> Self {
        name.0
    }
}

/// Whether a folder beside INBOX could not be told from INBOX or from a namespace.
fn is_reserved_folder(component: &str) -> bool {
    component.eq_ignore_ascii_case("INBOX")
        || component == OTHER_USERS
        || component == SHARED_FOLDERS
}

fn push_component(external: &mut String, component: &str) {
    external.extend(component.chars().map(|c| if c == '^' { '.' } else { c }));
}

fn check_component(component: &str, internal: bool) -> Result<(), NameError> {
    if component.is_empty() {
        return Err(NameError::Empty);
    }
    let wrong = |byte: u8| {
        !(0x20..0x7f).contains(&byte)
            || matches!(byte, b'*' | b'%' | b'/')
            || (byte == b'^' && !internal)
            || (byte == b'.' && internal)
    };
    if component.bytes().any(wrong) {
        return Err(NameError::Character);
    }
    if component.contains('&') && !mutf7::is_valid(component) {
        return Err(NameError::Encoding);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MailboxName, NameError, RootKind, RootName, UserName};

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    #[test]
    fn clients_and_the_murder_name_the_same_mailbox() {
        let alice = user("Alice");
        for (external, internal) in [
            ("INBOX", "user.alice"),
            ("inbox", "user.alice"),
            ("Work", "user.alice.Work"),
            ("Work/a.b", "user.alice.Work.a^b"),
            ("Other Users/bob", "user.bob"),
            ("Other Users/j.doe/Sent", "user.j^doe.Sent"),
            ("Shared Folders/projects", "projects"),
            ("Shared Folders/projects/x.y", "projects.x^y"),
            ("Entw&APw-rfe", "user.alice.Entw&APw-rfe"),
        ] {
            let name = MailboxName::from_external(&alice, external.as_bytes()).unwrap();
            assert_eq!(name.as_str(), internal);
            let back = name.to_external(&alice);
            assert_eq!(
                back,
                if external == "inbox" {
                    "INBOX"
                } else {
                    external
                }
            );
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused_with_the_reason() {
        let alice = user("alice");
        for (external, error) in [
            ("", NameError::Empty),
            ("a//b", NameError::Empty),
            ("a/", NameError::Empty),
            ("a^b", NameError::Character),
            ("a*", NameError::Character),
            ("a\u{7f}", NameError::Character),
            ("\u{e9}", NameError::Character),
            ("&Jjo", NameError::Encoding),
            ("Other Users", NameError::Namespace),
            ("Shared Folders", NameError::Namespace),
            ("Shared Folders/user/x", NameError::Namespace),
            ("INBOX/x", NameError::Namespace),
        ] {
            assert_eq!(
                MailboxName::from_external(&alice, external.as_bytes()),
                Err(error),
                "{external}"
            );
        }
    }

    #[test]
    fn a_name_knows_its_root_parent_and_owner() {
        let name = MailboxName::parse_internal("user.j^doe.Work.Sub").unwrap();
        assert_eq!(name.root(), RootName::parse("user.j^doe").unwrap());
        assert_eq!(name.root().kind(), RootKind::User(user("j.doe")));
        assert_eq!(name.owner(), Some(user("j.doe")));
        assert_eq!(name.parent().unwrap().as_str(), "user.j^doe.Work");
        let shared = MailboxName::parse_internal("projects.alpha").unwrap();
        assert_eq!(shared.root().as_str(), "projects");
        assert_eq!(shared.owner(), None);
        assert!(shared.is_under(&shared.parent().unwrap()));
        assert!(shared.parent().unwrap().is_root());
        assert_eq!(shared.parent().unwrap().parent(), None);
    }

    #[test]
    fn renaming_carries_the_children_along() {
        let parse = |name| MailboxName::parse_internal(name).unwrap();
        let (from, to) = (parse("user.a.x"), parse("user.a.y.z"));
        assert_eq!(
            parse("user.a.x.1").renamed(&from, &to),
            Some(Ok(parse("user.a.y.z.1")))
        );
        assert_eq!(parse("user.a.x").renamed(&from, &to), Some(Ok(to.clone())));
        assert_eq!(parse("user.a.xy").renamed(&from, &to), None);
    }

    proptest! {
        #[test]
        fn what_a_client_may_name_comes_back(
            components in prop::collection::vec("[A-Za-z0-9 ._-]{1,12}", 1..5),
        ) {
            let alice = user("alice");
            let external = components.join("/");
            prop_assume!(!external.eq_ignore_ascii_case("inbox"));
            prop_assume!(!components[0].eq_ignore_ascii_case("inbox"));
            let name = MailboxName::from_external(&alice, external.as_bytes()).unwrap();
            prop_assert_eq!(name.to_external(&alice), external);
            prop_assert_eq!(MailboxName::parse_internal(name.as_str()), Ok(name));
        }

        #[test]
        fn garbage_is_refused_or_round_trips(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let alice = user("alice");
            if let Ok(name) = MailboxName::from_external(&alice, &bytes) {
                let external = name.to_external(&alice);
                prop_assert_eq!(MailboxName::from_external(&alice, external.as_bytes()), Ok(name));
            }
        }
    }
}
