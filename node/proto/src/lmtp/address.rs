//! Paths of MAIL and RCPT (RFC 5321 section 4.1.2, RFC 6531 section 3.3), and what the local part
//! of a recipient means in a murder.
//!
//! More is read than the grammar has where real senders need it: source routes (dropped), dots in
//! odd places, spaces inside an unquoted local part (`<+Shared Folders/x>`). What is written
//! follows the grammar.

use std::fmt;

use thiserror::Error;

/// Longest local part: a user name with a folder name.
pub const LOCAL_BYTES_MAX: usize = 1200;

/// Longest domain, RFC 5321 section 4.5.3.1.2.
pub const DOMAIN_BYTES_MAX: usize = 255;

/// Between user name and folder in a recipient's local part.
const DETAIL_DELIMITER: char = '+';

/// The namespace of folders that no user owns, as clients see it.
const SHARED_PREFIX: &str = "Shared Folders/";

/// Why a path is refused.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum PathError {
    /// No `<` or no `>`.
    #[error("path must be in angle brackets")]
    NoBrackets,
    /// The part before `@`.
    #[error("local part is malformed")]
    LocalPart,
    /// The part behind `@`.
    #[error("domain is malformed")]
    Domain,
    /// Octets above 127 without SMTPUTF8.
    #[error("non-ASCII address without SMTPUTF8")]
    NotAscii,
    /// Local part or domain is longer than allowed.
    #[error("address is too long")]
    TooLong,
}

/// A mailbox in the sense of RFC 5321: local part without its quotes, and domain.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Address {
    local: String,
    domain: Option<String>,
}

impl Address {
    /// An address that did not come over the wire. The local part is given without quotes.
    #[must_use]
    pub fn new(local: impl Into<String>, domain: Option<String>) -> Self {
        Self {
            local: local.into(),
            domain,
        }
    }

    /// The local part, unquoted.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain or address literal as sent.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// Whether it can be sent only with SMTPUTF8.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii() && self.domain.as_deref().is_none_or(str::is_ascii)
    }

    /// What the local part means as a recipient.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        let (user, folder) = match self.local.split_once(DETAIL_DELIMITER) {
            Some((user, folder)) => (user, Some(folder).filter(|folder| !folder.is_empty())),
            None => (&*self.local, None),
        };
        Recipient {
            user: user.to_owned(),
            folder: folder.map(str::to_owned),
            domain: self.domain.clone(),
        }
    }
}

/// Writes the address without angle brackets, the local part quoted where it has to be.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self
            .local
            .split('.')
            .all(|atom| !atom.is_empty() && atom.bytes().all(is_atom_octet));
        if plain {
            f.write_str(&self.local)?;
        } else {
            f.write_str("\"")?;
            for character in self.local.chars() {
                if matches!(character, '"' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{character}")?;
            }
            f.write_str("\"")?;
        }
        match &self.domain {
            Some(domain) => write!(f, "@{domain}"),
            None => Ok(()),
        }
    }
}

/// `user`, `user+folder` or `+Shared Folders/x`, each with or without a domain.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Recipient {
    /// The user as sent; empty for a shared folder.
    pub user: String,
    /// The folder behind the first `+`: below the user's INBOX, or the full external name of a
    /// shared one.
    pub folder: Option<String>,
    /// The domain as sent.
    pub domain: Option<String>,
}

impl Recipient {
    /// The folder below `Shared Folders/`, if this is one: no user, that prefix, a name.
    #[must_use]
    pub fn shared_folder(&self) -> Option<&str> {
        let folder = self.folder.as_deref().filter(|_| self.user.is_empty())?;
        folder
            .strip_prefix(SHARED_PREFIX)
            .filter(|name| !name.is_empty())
    }
}

/// Parses a path at the front of `input`; `None` is the null path `<>`. Returns what follows `>`.
pub fn parse_path(input: &[u8], utf8: bool) -> Result<(Option<Address>, &[u8]), PathError> {
    let rest = input.strip_prefix(b"<").ok_or(PathError::NoBrackets)?;
    if let Some(after) = rest.strip_prefix(b">") {
        return Ok((None, after));
    }
    let rest = without_route(rest)?;
    let (local, rest) = match rest.strip_prefix(b"\"") {
        Some(quoted) => quoted_local(quoted)?,
        None => plain_local(rest)?,
    };
    let (domain, after) = match rest {
        [b'>', after @ ..] => (None, after),
        [b'@', rest @ ..] => {
            let end = memchr::memchr(b'>', rest).ok_or(PathError::NoBrackets)?;
            (Some(domain(&rest[..end])?), &rest[end + 1..])
        }
        [] => return Err(PathError::NoBrackets),
        _ => return Err(PathError::LocalPart),
    };
    if local.len() > LOCAL_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    let local = String::from_utf8(local).map_err(|_| PathError::LocalPart)?;
    let address = Address { local, domain };
    if !utf8 && !address.is_ascii() {
        return Err(PathError::NotAscii);
    }
    Ok((Some(address), after))
}

/// Drops `@a,@b:`, which RFC 5321 section 4.1.1.3 asks servers to ignore.
fn without_route(rest: &[u8]) -> Result<&[u8], PathError> {
    if !rest.starts_with(b"@") {
        return Ok(rest);
    }
    let end = rest
        .iter()
        .position(|octet| matches!(octet, b':' | b'>' | b'"'))
        .ok_or(PathError::NoBrackets)?;
    match rest[end] {
        b':' => Ok(&rest[end + 1..]),
        _ => Err(PathError::LocalPart),
    }
}

/// A quoted local part behind its first quote.
fn quoted_local(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), PathError> {
    let mut local = Vec::new();
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Ok((local, after)),
            [b'\\', octet @ b' '..=b'~', after @ ..] => {
                local.push(*octet);
                after
            }
            [b'\\', ..] => return Err(PathError::LocalPart),
            [octet @ (b' '..=b'~' | 0x80..), after @ ..] => {
                local.push(*octet);
                after
            }
            _ => return Err(PathError::LocalPart),
        };
    }
}

/// An unquoted local part: up to `@` or `>`.
fn plain_local(rest: &[u8]) -> Result<(Vec<u8>, &[u8]), PathError> {
    let end = memchr::memchr2(b'@', b'>', rest).ok_or(PathError::NoBrackets)?;
    let (local, rest) = rest.split_at(end);
    let allowed = |&octet: &u8| is_atom_octet(octet) || matches!(octet, b'.' | b' ');
    let spaced = local.first() == Some(&b' ') || local.last() == Some(&b' ');
    if local.is_empty() || spaced || !local.iter().all(allowed) {
        return Err(PathError::LocalPart);
    }
    Ok((local.to_vec(), rest))
}

/// Labels, or an address literal in square brackets.
fn domain(octets: &[u8]) -> Result<String, PathError> {
    if octets.len() > DOMAIN_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    let fine = match octets {
        [b'[', literal @ .., b']'] => {
            let allowed = |&o: &u8| o.is_ascii_alphanumeric() || matches!(o, b'.' | b':' | b'-');
            !literal.is_empty() && literal.iter().all(allowed)
        }
        _ => octets.split(|&octet| octet == b'.').all(|label| {
            let allowed = |&o: &u8| o.is_ascii_alphanumeric() || matches!(o, b'-' | b'_' | 0x80..);
            !label.is_empty() && label.iter().all(allowed)
        }),
    };
    let text = std::str::from_utf8(octets).map_err(|_| PathError::Domain)?;
    fine.then(|| text.to_owned()).ok_or(PathError::Domain)
}

/// `atext` of RFC 5322 section 3.2.3, with all of UTF-8 as in RFC 6532.
const fn is_atom_octet(octet: u8) -> bool {
    match octet {
        b'"' | b'(' | b')' | b',' | b'.' | b':' | b';' | b'<' | b'>' | b'@' | b'[' | b'\\'
        | b']' => false,
        b'!'..=b'~' => true,
        _ => octet >= 0x80,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(path: &str) -> Result<String, PathError> {
        let (address, rest) = parse_path(path.as_bytes(), true)?;
        let rest = String::from_utf8_lossy(rest);
        Ok(match address {
            Some(address) => format!("{}|{:?}|{rest}", address.local(), address.domain()),
            None => format!("null|{rest}"),
        })
    }

    #[test]
    fn paths_are_read() {
        for (path, expected) in [
            ("<>", "null|"),
            ("<> SIZE=1", "null| SIZE=1"),
            ("<alice>", "alice|None|"),
            ("<a.b@ex.org> X", "a.b|Some(\"ex.org\")| X"),
            ("<@a.org,@b.org:c@d.org>", "c|Some(\"d.org\")|"),
            ("<\"a b\\\"c\\\\\"@d>", "a b\"c\\|Some(\"d\")|"),
            ("<\"a@b>c\"@d>", "a@b>c|Some(\"d\")|"),
            ("<\"\"@d>", "|Some(\"d\")|"),
            ("<a@[192.0.2.1]>", "a|Some(\"[192.0.2.1]\")|"),
            ("<a@[IPv6:2001:db8::1]>", "a|Some(\"[IPv6:2001:db8::1]\")|"),
            ("<josé@exämple.org>", "josé|Some(\"exämple.org\")|"),
            (
                "<+Shared Folders/x@ex.org>",
                "+Shared Folders/x|Some(\"ex.org\")|",
            ),
            ("<.odd..dots.@ex.org>", ".odd..dots.|Some(\"ex.org\")|"),
        ] {
            assert_eq!(parsed(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn malformed_paths_are_refused() {
        for (path, error) in [
            ("alice", PathError::NoBrackets),
            ("<alice", PathError::NoBrackets),
            ("<alice@b", PathError::NoBrackets),
            ("<@a.org", PathError::NoBrackets),
            ("<@a.org>", PathError::LocalPart),
            ("<@b>", PathError::LocalPart),
            ("<\"a>", PathError::LocalPart),
            ("<\"a\\", PathError::LocalPart),
            ("<\"a\"b@c>", PathError::LocalPart),
            ("<\"a\tb\"@c>", PathError::LocalPart),
            ("<a b >", PathError::LocalPart),
            ("<a(b)@c>", PathError::LocalPart),
            ("<a<b@c>", PathError::LocalPart),
            ("<a@>", PathError::Domain),
            ("<a@b@c>", PathError::Domain),
            ("<a@b..c>", PathError::Domain),
            ("<a@b c>", PathError::Domain),
            ("<a@[]>", PathError::Domain),
        ] {
            assert_eq!(parsed(path), Err(error), "{path}");
        }
        let long = "x".repeat(LOCAL_BYTES_MAX + 1);
        assert_eq!(parsed(&format!("<{long}@a>")), Err(PathError::TooLong));
        let long = "x".repeat(DOMAIN_BYTES_MAX + 1);
        assert_eq!(parsed(&format!("<a@{long}>")), Err(PathError::TooLong));
    }

    #[test]
    fn eight_bit_addresses_need_smtputf8_and_must_be_utf8() {
        let refused = |path: &[u8], utf8| parse_path(path, utf8).map(drop);
        assert_eq!(
            refused("<josé>".as_bytes(), false),
            Err(PathError::NotAscii)
        );
        assert_eq!(
            refused("<a@exä.org>".as_bytes(), false),
            Err(PathError::NotAscii)
        );
        assert_eq!(refused(b"<a\xff>", true), Err(PathError::LocalPart));
        assert_eq!(refused(b"<\"a\xff\">", true), Err(PathError::LocalPart));
        assert_eq!(refused(b"<a@b\xff>", true), Err(PathError::Domain));
    }

    #[test]
    fn local_parts_name_users_folders_and_shared_folders() {
        for (local, user, folder, shared) in [
            ("alice", "alice", None, None),
            ("alice+Work/Plan B", "alice", Some("Work/Plan B"), None),
            ("alice+", "alice", None, None),
            ("alice+a+b", "alice", Some("a+b"), None),
            (
                "+Shared Folders/x/y",
                "",
                Some("Shared Folders/x/y"),
                Some("x/y"),
            ),
            ("+Shared Folders/", "", Some("Shared Folders/"), None),
            (
                "alice+Shared Folders/x",
                "alice",
                Some("Shared Folders/x"),
                None,
            ),
            ("+x", "", Some("x"), None),
        ] {
            let recipient = Address::new(local, Some("ex.org".to_owned())).recipient();
            assert_eq!(recipient.user, user);
            assert_eq!(recipient.folder.as_deref(), folder);
            assert_eq!(recipient.shared_folder(), shared);
            assert_eq!(recipient.domain.as_deref(), Some("ex.org"));
        }
    }

    #[test]
    fn local_parts_are_quoted_where_the_grammar_needs_it() {
        for (local, written) in [
            ("a.b", "a.b@d"),
            ("a+b/c", "a+b/c@d"),
            ("", "\"\"@d"),
            ("a..b", "\"a..b\"@d"),
            ("+Shared Folders/x", "\"+Shared Folders/x\"@d"),
            ("a\"\\b", "\"a\\\"\\\\b\"@d"),
        ] {
            let address = Address::new(local, Some("d".to_owned()));
            assert_eq!(address.to_string(), written);
        }
    }

    proptest! {
        #[test]
        fn written_addresses_read_back(local in "[ -~é]{0,20}", domain in prop::option::of("[a-z0-9-]{1,9}(\\.[a-zä]{1,4}){0,2}")) {
            let address = Address::new(local, domain);
            let written = format!("<{address}> rest");
            let (read, rest) = parse_path(written.as_bytes(), true).unwrap();
            prop_assert_eq!((read, rest), (Some(address), &b" rest"[..]));
        }

        #[test]
        fn any_octets_are_survived(octets in prop::collection::vec(any::<u8>(), 0..40), utf8: bool) {
            let _ = parse_path(&octets, utf8);
            let _ = parse_path(&[&b"<"[..], &octets, b">"].concat(), utf8);
        }
    }
}
