//! Response codes (RFC 3501 7.1, RFC 4315, RFC 5530, RFC 6154, RFC 7162).

use bytes::BufMut;
use murder_model::{Keyword, SystemFlags, UidSet};

use super::text::{flag_list, number, parenthesized, uid_set};

/// What a status response says to the client's program, between brackets.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "a variant is the code of the same name")]
pub enum Code<'a> {
    Alert,
    AlreadyExists,
    AppendUid {
        uid_validity: u32,
        uid: u32,
    },
    AuthenticationFailed,
    AuthorizationFailed,
    BadCharset,
    Cannot,
    /// Capabilities, as in the untagged response.
    Capability(&'a [&'a str]),
    ClientBug,
    Closed,
    ContactAdmin,
    CopyUid {
        uid_validity: u32,
        from: &'a UidSet,
        to: &'a UidSet,
    },
    Corruption,
    Expired,
    ExpungeIssued,
    HasChildren,
    HighestModSeq(u64),
    InUse,
    Limit,
    /// Messages that `UNCHANGEDSINCE` spared: numbers, or UIDs for `UID STORE`.
    Modified(&'a UidSet),
    NoModSeq,
    NonExistent,
    NoPerm,
    OverQuota,
    Parse,
    /// Flags that can be kept; `any_keyword` says that new keywords can be made (`\*`).
    PermanentFlags {
        system: SystemFlags,
        keywords: &'a [Keyword],
        any_keyword: bool,
    },
    PrivacyRequired,
    ReadOnly,
    ReadWrite,
    ServerBug,
    TooBig,
    TryCreate,
    UidNext(u32),
    UidNotSticky,
    UidValidity(u32),
    Unavailable,
    Unseen(u32),
    UseAttr,
    /// Any other, without its brackets.
    Other(&'a str),
}

impl Code<'_> {
    /// Writes the code with its brackets.
    pub fn write(&self, out: &mut impl BufMut) {
        out.put_u8(b'[');
        out.put_slice(self.name().as_bytes());
        match self {
            Self::AppendUid { uid_validity, uid } => {
                argument(out, *uid_validity);
                argument(out, *uid);
            }
            Self::Capability(capabilities) => {
                for capability in *capabilities {
                    out.put_u8(b' ');
                    out.put_slice(capability.as_bytes());
                }
            }
            Self::CopyUid {
                uid_validity,
                from,
                to,
            } => {
                argument(out, *uid_validity);
                out.put_u8(b' ');
                uid_set(out, from);
                out.put_u8(b' ');
                uid_set(out, to);
            }
            Self::HighestModSeq(mod_seq) => argument(out, *mod_seq),
            Self::Modified(set) => {
                out.put_u8(b' ');
                uid_set(out, set);
            }
            Self::PermanentFlags {
                system,
                keywords,
                any_keyword,
            } => {
                out.put_u8(b' ');
                permanent_flags(out, *system, keywords, *any_keyword);
            }
            Self::UidNext(value) | Self::UidValidity(value) | Self::Unseen(value) => {
                argument(out, *value);
            }
            _ => {}
        }
        out.put_u8(b']');
    }

    const fn name(&self) -> &str {
        match self {
            Self::Alert => "ALERT",
            Self::AlreadyExists => "ALREADYEXISTS",
            Self::AppendUid { .. } => "APPENDUID",
            Self::AuthenticationFailed => "AUTHENTICATIONFAILED",
            Self::AuthorizationFailed => "AUTHORIZATIONFAILED",
            Self::BadCharset => "BADCHARSET",
            Self::Cannot => "CANNOT",
            Self::Capability(_) => "CAPABILITY",
            Self::ClientBug => "CLIENTBUG",
            Self::Closed => "CLOSED",
            Self::ContactAdmin => "CONTACTADMIN",
            Self::CopyUid { .. } => "COPYUID",
            Self::Corruption => "CORRUPTION",
            Self::Expired => "EXPIRED",
            Self::ExpungeIssued => "EXPUNGEISSUED",
            Self::HasChildren => "HASCHILDREN",
            Self::HighestModSeq(_) => "HIGHESTMODSEQ",
            Self::InUse => "INUSE",
            Self::Limit => "LIMIT",
            Self::Modified(_) => "MODIFIED",
            Self::NoModSeq => "NOMODSEQ",
            Self::NonExistent => "NONEXISTENT",
            Self::NoPerm => "NOPERM",
            Self::OverQuota => "OVERQUOTA",
            Self::Parse => "PARSE",
            Self::PermanentFlags { .. } => "PERMANENTFLAGS",
            Self::PrivacyRequired => "PRIVACYREQUIRED",
            Self::ReadOnly => "READ-ONLY",
            Self::ReadWrite => "READ-WRITE",
            Self::ServerBug => "SERVERBUG",
            Self::TooBig => "TOOBIG",
            Self::TryCreate => "TRYCREATE",
            Self::UidNext(_) => "UIDNEXT",
            Self::UidNotSticky => "UIDNOTSTICKY",
            Self::UidValidity(_) => "UIDVALIDITY",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unseen(_) => "UNSEEN",
            Self::UseAttr => "USEATTR",
            Self::Other(text) => text,
        }
    }
}

fn argument(out: &mut impl BufMut, value: impl itoa::Integer) {
    out.put_u8(b' ');
    number(out, value);
}

fn permanent_flags<'a>(
    out: &mut impl BufMut,
    system: SystemFlags,
    keywords: &'a [Keyword],
    any_keyword: bool,
) {
    if any_keyword {
        let system = system.names().map(|name| -> &'a str { name });
        let keywords = keywords.iter().map(Keyword::as_str);
        parenthesized(out, system.chain(keywords).chain(["\\*"]));
    } else {
        flag_list(out, false, system, keywords);
    }
}
