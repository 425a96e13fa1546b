//! Text search keys of RFC 3501 section 6.4.4: BCC, BODY, CC, FROM, HEADER, SUBJECT, TEXT, TO.
//!
//! Decoded text is searched for a substring without regard to case. BODY looks into text parts,
//! into the headers of attached messages and into the MIME headers of parts (names of files);
//! other parts are neither read nor searched. TEXT is BODY and the message's header.

use std::ops::Range;

use memchr::memmem::Finder;

use super::header::fields;
use super::text::{body_text, header_text, known_charset_text};
use super::{Address, Content, Envelope, Part, Structure};

/// How many bytes of one text part are searched.
pub const PART_BYTES_MAX: u64 = 64 << 20;

/// A string to look for.
#[derive(Clone, Debug)]
pub struct Needle {
    finder: Finder<'static>,
}

impl Needle {
    /// A needle of text.
    pub fn new(text: &str) -> Self {
        Self {
            finder: Finder::new(fold(text).as_bytes()).into_owned(),
        }
    }

    /// A needle of bytes in the charset of a SEARCH command; `None` if the charset is unknown,
    /// which RFC 3501 answers with `NO [BADCHARSET]`.
    pub fn with_charset(charset: &[u8], bytes: &[u8]) -> Option<Self> {
        known_charset_text(charset, bytes).map(|text| Self::new(&text))
    }

    /// Whether `text` holds the needle. Every text holds an empty one.
    pub fn is_in(&self, text: &str) -> bool {
        self.finder.find(fold(text).as_bytes()).is_some()
    }

    fn is_empty(&self) -> bool {
        self.finder.needle().is_empty()
    }
}

/// Lower case, letter by letter, so that a part of a text folds as it does within the text.
fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // Both small sigmas are one letter.
    let one = |letter: char| if letter == 'ς' { 'σ' } else { letter };
    text.chars().flat_map(char::to_lowercase).map(one).collect()
}

/// What of an envelope is searched; this needs no byte of the message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EnvelopeKey {
    /// BCC
    Bcc,
    /// CC
    Cc,
    /// FROM
    From,
    /// SUBJECT
    Subject,
    /// TO
    To,
}

/// BCC, CC, FROM, SUBJECT and TO. Addresses are searched as `Name <mailbox@host>`.
pub fn envelope_contains(envelope: &Envelope, key: EnvelopeKey, needle: &Needle) -> bool {
    let list = match key {
        EnvelopeKey::Bcc => &envelope.bcc,
        EnvelopeKey::Cc => &envelope.cc,
        EnvelopeKey::From => &envelope.from,
        EnvelopeKey::To => &envelope.to,
        EnvelopeKey::Subject => {
            let subject = envelope.subject.as_deref();
            return subject.is_some_and(|subject| needle.is_in(&header_text(subject)));
        }
    };
    list.iter()
        .any(|address| needle.is_in(&address_text(address)))
}

fn address_text(address: &Address) -> String {
    let text = |bytes: &Option<Vec<u8>>| header_text(bytes.as_deref().unwrap_or_default());
    let (name, mailbox, host) = (
        text(&address.name),
        text(&address.mailbox),
        text(&address.host),
    );
    match address.host.is_some() {
        true => format!("{name} <{mailbox}@{host}>"),
        false => mailbox,
    }
}

/// HEADER: whether a field of `header` has this name and holds the needle; with an empty needle,
/// whether there is a field of the name.
pub fn header_contains(header: &[u8], name: &[u8], needle: &Needle) -> bool {
    let mut named = fields(header).filter(|field| field.is(name));
    named.any(|field| needle.is_empty() || needle.is_in(&header_text(field.value)))
}

/// BODY. `read` gives bytes of the message; it is asked for what is searched, piece by piece.
pub fn body_contains<B, E>(
    structure: &Structure,
    needle: &Needle,
    mut read: impl FnMut(Range<u64>) -> Result<B, E>,
) -> Result<bool, E>
where
    B: AsRef<[u8]>,
{
    for (index, part) in structure.parts.iter().enumerate() {
        // The first header is the message's own.
        if index > 0 && !part.header.is_empty() {
            let header = read(part.header.clone())?;
            if any_field_contains(header.as_ref(), needle) {
                return Ok(true);
            }
        }
        if is_searched(part) {
            let end = part
                .body
                .end
                .min(part.body.start.saturating_add(PART_BYTES_MAX));
            let body = read(part.body.start..end)?;
            if needle.is_in(&body_text(part, body.as_ref())) {
                return Ok(true);
            }
        }
    }
    Ok(needle.is_empty())
}

/// TEXT. See [`body_contains`].
pub fn text_contains<B, E>(
    structure: &Structure,
    needle: &Needle,
    mut read: impl FnMut(Range<u64>) -> Result<B, E>,
) -> Result<bool, E>
where
    B: AsRef<[u8]>,
{
    let header = read(structure.root().header.clone())?;
    if any_field_contains(header.as_ref(), needle) {
        return Ok(true);
    }
    body_contains(structure, needle, read)
}

fn is_searched(part: &Part) -> bool {
    part.media.is("text") && matches!(part.content, Content::Leaf) && !part.body.is_empty()
}

/// Searches whole fields, names included.
fn any_field_contains(header: &[u8], needle: &Needle) -> bool {
    fields(header).any(|field| needle.is_in(&header_text(field.raw)))
}
