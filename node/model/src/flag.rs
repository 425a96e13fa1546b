//! Flags of messages and uses of mailboxes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest keyword in bytes.
pub const KEYWORD_BYTES_MAX: usize = 100;

/// System flags that are stored (RFC 3501 section 2.3.2); `\Recent` is a session's, never stored.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct SystemFlags(u8);

impl SystemFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// `\Answered`
    pub const ANSWERED: Self = Self(1);
    /// `\Flagged`
    pub const FLAGGED: Self = Self(2);
    /// `\Deleted`
    pub const DELETED: Self = Self(4);
    /// `\Seen`
    pub const SEEN: Self = Self(8);
    /// `\Draft`
    pub const DRAFT: Self = Self(16);

    /// All of them with their names, in the order of RFC 3501.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::ANSWERED, "\\Answered"),
        (Self::FLAGGED, "\\Flagged"),
        (Self::DELETED, "\\Deleted"),
        (Self::SEEN, "\\Seen"),
        (Self::DRAFT, "\\Draft"),
    ];

    /// From bits; unknown bits are dropped.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 31)
    }

    /// The bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether all of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
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

    /// Whether none is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(flag, _)| self.contains(*flag))
            .map(|(_, name)| name)
    }

    /// The flag of that name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name))
            .map(|(flag, _)| *flag)
    }
}

/// A keyword: an atom, kept as written, compared without case.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Keyword(String);

/// A text is not a flag.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FlagError {
    /// A backslash and an unknown name.
    #[error("no such system flag")]
    UnknownSystem,
    /// Not an atom, or too long.
    #[error("not a keyword")]
    Keyword,
}

impl Keyword {
    /// Checks that it is an atom of at most [`KEYWORD_BYTES_MAX`] bytes.
    pub fn parse(text: &str) -> Result<Self, FlagError> {
        let atom = |byte: u8| byte > b' ' && byte < 0x7f && !b"(){%*\"\\]".contains(&byte);
        if text.is_empty() || text.len() > KEYWORD_BYTES_MAX || !text.bytes().all(atom) {
            return Err(FlagError::Keyword);
        }
        Ok(Self(text.to_owned()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Keyword {
    type Error = FlagError;

    fn try_from(text: String) -> Result<Self, FlagError> {
        Self::parse(&text)
    }
}

impl From<Keyword> for String {
    fn from(keyword: Keyword) -> Self {
        keyword.0
    }
}

/// A flag that a client may set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Flag {
    /// One system flag.
    System(SystemFlags),
    /// A keyword.
    Keyword(Keyword),
}

impl Flag {
    /// Parses `\Seen` or a keyword. `\Recent` and unknown system flags are refused.
    pub fn parse(text: &[u8]) -> Result<Self, FlagError> {
        let text = std::str::from_utf8(text).map_err(|_| FlagError::Keyword)?;
        if text.starts_with('\\') {
            SystemFlags::from_name(text)
                .map(Self::System)
                .ok_or(FlagError::UnknownSystem)
        } else {
            Keyword::parse(text).map(Self::Keyword)
        }
    }
}

/// What a mailbox is for (RFC 6154, RFC 8457).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum SpecialUse {
    /// `\All`
    All,
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Flagged`
    Flagged,
    /// `\Important`
    Important,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl SpecialUse {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::All,
        Self::Archive,
        Self::Drafts,
        Self::Flagged,
        Self::Important,
        Self::Junk,
        Self::Sent,
        Self::Trash,
    ];

    /// The attribute as LIST shows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "\\All",
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Flagged => "\\Flagged",
            Self::Important => "\\Important",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }

    /// The use of that name, with its backslash, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|special| special.as_str().eq_ignore_ascii_case(text))
    }
}

#[cfg(test)]
mod tests {
    use super::{Flag, FlagError, Keyword, SpecialUse, SystemFlags};

    #[test]
    fn flags_are_read_in_any_case_and_recent_is_refused() {
        assert_eq!(Flag::parse(b"\\seen"), Ok(Flag::System(SystemFlags::SEEN)));
        assert_eq!(Flag::parse(b"\\Recent"), Err(FlagError::UnknownSystem));
        assert_eq!(
            Flag::parse(b"$Junk"),
            Ok(Flag::Keyword(Keyword::parse("$junk").unwrap()))
        );
        for text in ["", "a b", "a(", "a\"", "a\\b", "a]", "\u{e9}"] {
            assert_eq!(
                Flag::parse(text.as_bytes()),
                Err(FlagError::Keyword),
                "{text}"
            );
        }
    }

    #[test]
    fn system_flags_are_named_in_the_order_of_the_rfc() {
        let flags = SystemFlags::SEEN.with(SystemFlags::ANSWERED);
        assert_eq!(flags.names().collect::<Vec<_>>(), ["\\Answered", "\\Seen"]);
        assert_eq!(flags.without(SystemFlags::SEEN), SystemFlags::ANSWERED);
    }

    #[test]
    fn every_special_use_is_read_as_written() {
        for special in SpecialUse::ALL {
            assert_eq!(
                SpecialUse::parse(&special.as_str().to_lowercase()),
                Some(special)
            );
        }
    }
}
