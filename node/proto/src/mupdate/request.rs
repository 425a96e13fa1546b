//! What clients ask: verbs, their arguments, and the same written by a client.

use bytes::{Bytes, BytesMut};

use super::line::{Token, write_string};

/// Most servers that UPDATE may name, as in Cyrus.
pub const UPDATE_SERVERS_MAX: usize = 30;

/// Longest tag; RFC 3656 has 14.
pub const TAG_OCTETS_MAX: usize = 64;

/// The word of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    /// ACTIVATE.
    Activate,
    /// AUTHENTICATE.
    Authenticate,
    /// COMPRESS, which is refused.
    Compress,
    /// DEACTIVATE.
    Deactivate,
    /// DELETE.
    Delete,
    /// The extension's X.
    Extension,
    /// FIND.
    Find,
    /// LIST.
    List,
    /// LOGOUT.
    Logout,
    /// NOOP.
    Noop,
    /// RESERVE.
    Reserve,
    /// STARTTLS.
    StartTls,
    /// UPDATE.
    Update,
}

impl Verb {
    /// Every verb with its word.
    const WORDS: [(&'static str, Self); 13] = [
        ("ACTIVATE", Self::Activate),
        ("AUTHENTICATE", Self::Authenticate),
        ("COMPRESS", Self::Compress),
        ("DEACTIVATE", Self::Deactivate),
        ("DELETE", Self::Delete),
        ("X", Self::Extension),
        ("FIND", Self::Find),
        ("LIST", Self::List),
        ("LOGOUT", Self::Logout),
        ("NOOP", Self::Noop),
        ("RESERVE", Self::Reserve),
        ("STARTTLS", Self::StartTls),
        ("UPDATE", Self::Update),
    ];

    /// Finds a verb; case does not matter.
    #[must_use]
    pub fn parse(word: &[u8]) -> Option<Self> {
        let known = |&&(name, _): &&(&str, Self)| word.eq_ignore_ascii_case(name.as_bytes());
        Self::WORDS.iter().find(known).map(|&(_, verb)| verb)
    }
}

/// A command that a logged-in client may give.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// A mailbox is there: `OK "done"`.
    Activate {
        /// Internal name.
        name: Bytes,
        /// `server!partition`.
        location: Bytes,
        /// `identifier TAB rights TAB` …
        acl: Bytes,
    },
    /// A mailbox goes back to being reserved at `location`.
    Deactivate {
        /// Internal name.
        name: Bytes,
        /// `server!partition`.
        location: Bytes,
    },
    /// A row goes.
    Delete {
        /// Internal name.
        name: Bytes,
    },
    /// Our own command.
    Extension {
        /// Opaque here.
        payload: Bytes,
    },
    /// One row: its data line if there is one, then `OK "Search completed"`.
    Find {
        /// Internal name.
        name: Bytes,
    },
    /// All rows whose location starts with `prefix`, sorted by octets, then `OK "list complete"`.
    List {
        /// All rows if absent.
        prefix: Option<Bytes>,
    },
    /// Barrier: what was committed before is streamed before `OK "Noop done"`.
    Noop,
    /// A name is taken before its mailbox is there.
    Reserve {
        /// Internal name.
        name: Bytes,
        /// `server!partition`.
        location: Bytes,
    },
    /// All rows at these servers (none: at all), `OK "streaming starts"`, then changes for ever.
    Update {
        /// Server names.
        servers: Vec<Bytes>,
    },
}

/// Why arguments are refused; the texts are Cyrus'.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ArgumentError {
    /// Fewer than needed.
    Missing,
    /// More than allowed, or a bare word in place of a string.
    Extra,
}

impl ArgumentError {
    /// The text of the BAD.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Missing => "Missing arguments",
            Self::Extra => "Extra arguments",
        }
    }
}

/// Takes at least `least` and at most `most` strings.
pub(super) fn strings(
    arguments: &[Token],
    least: usize,
    most: usize,
) -> Result<Vec<Bytes>, ArgumentError> {
    let mut taken = Vec::with_capacity(arguments.len().min(most));
    for argument in arguments {
        match argument {
            Token::Atom(word) if word.is_empty() && taken.len() < least => {
                return Err(ArgumentError::Missing);
            }
            Token::String(string) if taken.len() < most => taken.push(string.clone()),
            Token::Atom(_) | Token::String(_) => return Err(ArgumentError::Extra),
        }
    }
    if taken.len() < least {
        Err(ArgumentError::Missing)
    } else {
        Ok(taken)
    }
}

fn exactly<const N: usize>(arguments: &[Token]) -> Result<[Bytes; N], ArgumentError> {
    let taken = strings(arguments, N, N)?;
    taken.try_into().map_err(|_| ArgumentError::Missing)
}

impl Request {
    /// Reads the arguments of a verb. `None`: it is none of these commands.
    pub(super) fn parse(verb: Verb, arguments: &[Token]) -> Option<Result<Self, ArgumentError>> {
        Some(match verb {
            Verb::Authenticate | Verb::Compress | Verb::Logout | Verb::StartTls => return None,
            Verb::Activate => exactly(arguments).map(|[name, location, acl]| Self::Activate {
                name,
                location,
                acl,
            }),
            Verb::Deactivate => {
                exactly(arguments).map(|[name, location]| Self::Deactivate { name, location })
            }
            Verb::Delete => exactly(arguments).map(|[name]| Self::Delete { name }),
            Verb::Extension => exactly(arguments).map(|[payload]| Self::Extension { payload }),
            Verb::Find => exactly(arguments).map(|[name]| Self::Find { name }),
            Verb::List => strings(arguments, 0, 1).map(|mut taken| Self::List {
                prefix: taken.pop(),
            }),
            Verb::Noop => exactly(arguments).map(|[]| Self::Noop),
            Verb::Reserve => {
                exactly(arguments).map(|[name, location]| Self::Reserve { name, location })
            }
            Verb::Update => {
                strings(arguments, 0, UPDATE_SERVERS_MAX).map(|servers| Self::Update { servers })
            }
        })
    }

    /// Appends the command as a client writes it.
    pub fn write(&self, tag: &str, out: &mut BytesMut) {
        let (word, arguments): (&str, Vec<&Bytes>) = match self {
            Self::Activate {
                name,
                location,
                acl,
            } => ("ACTIVATE", vec![name, location, acl]),
            Self::Deactivate { name, location } => ("DEACTIVATE", vec![name, location]),
            Self::Delete { name } => ("DELETE", vec![name]),
            Self::Extension { payload } => ("X", vec![payload]),
            Self::Find { name } => ("FIND", vec![name]),
            Self::List { prefix } => ("LIST", prefix.iter().collect()),
            Self::Noop => ("NOOP", Vec::new()),
            Self::Reserve { name, location } => ("RESERVE", vec![name, location]),
            Self::Update { servers } => ("UPDATE", servers.iter().collect()),
        };
        out.extend_from_slice(tag.as_bytes());
        out.extend_from_slice(b" ");
        out.extend_from_slice(word.as_bytes());
        for argument in arguments {
            write_string(out, argument);
        }
        out.extend_from_slice(b"\r\n");
    }
}
