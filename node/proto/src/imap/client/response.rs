//! One complete response, and the status responses among them (RFC 3501 7.1, RFC 4315).

use bytes::Bytes;
use murder_model::UidSet;

use super::data::{self, Data};
use crate::imap::parse::input::Input;
use crate::imap::response::Status;

/// A response that does not follow the grammar where it was looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("malformed IMAP response: {0}")]
pub struct Malformed(pub &'static str);

/// With what a response begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `+`.
    Continuation,
    /// `*`.
    Untagged,
    /// A tag.
    Tagged,
}

/// A complete response, literals included.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    raw: Bytes,
}

impl Response {
    /// A response from its bytes, line end included.
    pub(super) const fn new(raw: Bytes) -> Self {
        Self { raw }
    }

    /// Every byte of it, as received.
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// With what it begins.
    pub fn kind(&self) -> Kind {
        match self.raw.first() {
            Some(b'+') => Kind::Continuation,
            Some(b'*') => Kind::Untagged,
            _ => Kind::Tagged,
        }
    }

    /// Its tag, if it is tagged.
    pub fn tag(&self) -> Option<&[u8]> {
        match self.kind() {
            Kind::Tagged => Some(&self.raw[..self.first_word()]),
            Kind::Continuation | Kind::Untagged => None,
        }
    }

    /// What follows the tag, `*` or `+`, without the line end.
    pub fn text(&self) -> Bytes {
        let text = self.content();
        let end = text.strip_suffix(b"\n").unwrap_or(&text);
        let end = end.strip_suffix(b"\r").unwrap_or(end).len();
        text.slice(..end)
    }

    /// The status that it tells, if it is tagged or an untagged status response.
    pub fn status(&self) -> Option<StatusResponse> {
        match self.kind() {
            Kind::Continuation => None,
            Kind::Untagged | Kind::Tagged => StatusResponse::parse(&self.text()),
        }
    }

    /// The data of an untagged response.
    pub fn data(&self) -> Result<Data, Malformed> {
        if self.kind() != Kind::Untagged {
            return Err(Malformed("not an untagged response"));
        }
        if let Some(status) = self.status() {
            return Ok(Data::Status(status));
        }
        let content = self.content();
        let mut input = Input::new(&content);
        let data = data::parse(&mut input).map_err(Malformed)?;
        input.end().map_err(Malformed)?;
        Ok(data)
    }

    fn content(&self) -> Bytes {
        let word = self.first_word();
        let space = usize::from(self.raw.get(word) == Some(&b' '));
        self.raw.slice(word + space..)
    }

    fn first_word(&self) -> usize {
        let is_end = |byte: &u8| matches!(byte, b' ' | b'\r' | b'\n');
        self.raw.iter().position(is_end).unwrap_or(self.raw.len())
    }
}

/// The status that a word names.
pub(super) fn status_word(word: &[u8]) -> Option<Status> {
    [
        Status::Ok,
        Status::No,
        Status::Bad,
        Status::Bye,
        Status::PreAuth,
    ]
    .into_iter()
    .find(|status| word.eq_ignore_ascii_case(status.name().as_bytes()))
}

/// `OK`, `NO` and the like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusResponse {
    /// Which.
    pub status: Status,
    /// Response code.
    pub code: Option<ResponseCode>,
    /// Text for people.
    pub text: Bytes,
}

impl StatusResponse {
    fn parse(text: &Bytes) -> Option<Self> {
        let end = text
            .iter()
            .position(|byte| *byte == b' ')
            .unwrap_or(text.len());
        let status = status_word(&text[..end])?;
        let rest = text.slice((end + 1).min(text.len())..);
        let (code, rest) = match rest.first() {
            Some(b'[') => code(&rest).map_or((None, rest), |(code, rest)| (Some(code), rest)),
            _ => (None, rest),
        };
        Some(Self {
            status,
            code,
            text: rest,
        })
    }
}

/// A response code without its brackets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResponseCode {
    /// Its name as sent.
    pub name: Bytes,
    /// What follows the name and a space.
    pub arguments: Bytes,
}

/// What `COPYUID` tells (RFC 4315 section 3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CopiedUids {
    /// UIDVALIDITY of the destination.
    pub uid_validity: u32,
    /// UIDs at the source.
    pub from: UidSet,
    /// UIDs at the destination, the n-th for the n-th source.
    pub to: UidSet,
}

impl ResponseCode {
    /// Whether it is the code of that name.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// UIDVALIDITY and UID of `APPENDUID`.
    pub fn append_uid(&self) -> Option<(u32, u32)> {
        let mut input = self.arguments_of("APPENDUID")?;
        let uid_validity = input.nz_number().ok()?;
        input.space().ok()?;
        let uid = input.nz_number().ok()?;
        input.rest().is_empty().then_some((uid_validity, uid))
    }

    /// The sets of `COPYUID`.
    pub fn copy_uid(&self) -> Option<CopiedUids> {
        self.arguments_of("COPYUID")?;
        let text = std::str::from_utf8(&self.arguments).ok()?;
        let mut fields = text.split(' ');
        let copied = CopiedUids {
            uid_validity: fields.next()?.parse().ok()?,
            from: fields.next()?.parse().ok()?,
            to: fields.next()?.parse().ok()?,
        };
        fields.next().is_none().then_some(copied)
    }

    /// The number of `UIDVALIDITY`, `UIDNEXT`, `UNSEEN`, `HIGHESTMODSEQ` and the like.
    pub fn number(&self, name: &str) -> Option<u64> {
        let mut input = self.arguments_of(name)?;
        let number = input.number64().ok()?;
        input.rest().is_empty().then_some(number)
    }

    fn arguments_of(&self, name: &str) -> Option<Input<'_>> {
        self.is(name).then(|| Input::new(&self.arguments))
    }
}

/// Splits `[code] text`. Brackets inside of quotes do not count.
fn code(text: &Bytes) -> Option<(ResponseCode, Bytes)> {
    let mut quoted = false;
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        *byte == b']' && !quoted
    })?;
    let code = text.slice(1..end);
    let name = code
        .iter()
        .position(|byte| *byte == b' ')
        .unwrap_or(code.len());
    let code = ResponseCode {
        name: code.slice(..name),
        arguments: code.slice((name + 1).min(code.len())..),
    };
    let rest = text.slice(end + 1..);
    let space = usize::from(rest.first() == Some(&b' '));
    Some((code, rest.slice(space..)))
}
