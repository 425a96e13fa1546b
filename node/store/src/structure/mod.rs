//! Message structure: where the parts of a message lie, and what IMAP says about them.
//!
//! [`scan`] reads a message once, when it is delivered, and gives a [`Structure`]: ranges of every
//! part, MIME fields as they were written, envelopes as RFC 3501 section 7.4.2 wants them (still
//! encoded as RFC 2047). It is kept beside the message ([`encode`], [`decode`]), so that ENVELOPE,
//! BODY and BODYSTRUCTURE ([`write_envelope`], [`write_body`]) touch no message file and a body
//! section is one read of the range that [`locate`] names. [`search`] matches decoded text.
//!
//! Every message has a structure: what is broken is read as RFC 2045 section 5.2 reads a missing
//! field, and no byte of a message is outside of BODY[]. Nothing here panics on any input; time is
//! linear in the message; what can grow is bounded by the constants of this module.

mod address;
mod code;
mod date;
mod header;
mod lexer;
mod media;
mod scan;
pub mod search;
mod section;
mod text;
mod write;

#[cfg(test)]
mod tests;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use self::code::{StructureError, decode, encode};
pub use self::date::SentDate;
pub use self::header::{Field, Fields, fields, filter_header, unfold};
pub use self::media::parameter;
pub use self::scan::scan;
pub use self::section::{Section, SectionPath, SectionPlan, locate};
pub use self::text::{body_text, header_text};
pub use self::write::{write_body, write_envelope, write_string};

/// How deep parts are opened; a multipart or a message further down is shown as an opaque leaf.
pub const DEPTH_MAX: usize = 64;

/// How many parts a message has at most; what follows belongs to the last one.
pub const PARTS_MAX: usize = 10_000;

/// How many bytes of one header are interpreted. Its range covers all of it nevertheless.
pub const HEADER_BYTES_MAX: usize = 1 << 20;

/// How many bytes of all headers of a message are interpreted; later parts get default fields.
pub const HEADERS_BYTES_MAX: usize = 4 << 20;

/// How many addresses all envelopes of a message hold.
pub const ADDRESSES_MAX: usize = 50_000;

/// How many parameters a content type or disposition has, and languages a part.
pub const PARAMETERS_MAX: usize = 256;

/// The longest boundary that is looked for; RFC 2046 allows 70 bytes.
pub const BOUNDARY_BYTES_MAX: usize = 256;

/// What is known about a message without reading it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Structure {
    /// Bytes of the message: RFC822.SIZE.
    pub bytes: u64,
    /// Envelope of the message itself.
    pub envelope: Envelope,
    /// The `Date:` field, if it can be read.
    pub sent: Option<SentDate>,
    /// The message's own entity first; a child comes after its parent.
    pub parts: Vec<Part>,
}

impl Structure {
    /// The message's own entity: its header, and all that follows as body.
    pub fn root(&self) -> &Part {
        // Never empty: `scan` begins with it and `decode` refuses a list without it.
        &self.parts[0]
    }

    /// The `Message-ID:` field as written, if there is one with content.
    pub fn message_id(&self) -> Option<&[u8]> {
        self.envelope
            .message_id
            .as_deref()
            .filter(|id| !id.is_empty())
    }
}

/// One MIME entity (RFC 2045 section 2.4). Ranges count from the message's first byte.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Part {
    /// The header with its blank line.
    pub header: Range<u64>,
    /// The body; it ends before the line break that belongs to the next delimiter.
    pub body: Range<u64>,
    /// Line feeds in the body.
    pub lines: u64,
    /// Content type as written, or the default.
    pub media: Media,
    /// `Content-ID:`
    pub id: Option<Vec<u8>>,
    /// `Content-Description:`
    pub description: Option<Vec<u8>>,
    /// `Content-Transfer-Encoding:`; absent means 7BIT.
    pub encoding: Option<Vec<u8>>,
    /// `Content-MD5:`
    pub md5: Option<Vec<u8>>,
    /// `Content-Disposition:`
    pub disposition: Option<Disposition>,
    /// `Content-Language:`
    pub languages: Vec<Vec<u8>>,
    /// `Content-Location:`
    pub location: Option<Vec<u8>>,
    /// What is inside.
    pub content: Content,
}

/// A content type: RFC 2045 section 5.1.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Media {
    /// Type, in the sender's letters.
    pub kind: Vec<u8>,
    /// Subtype, in the sender's letters.
    pub subtype: Vec<u8>,
    /// Parameters as written: RFC 2231 continuations are not joined.
    pub parameters: Parameters,
}

impl Media {
    fn new(kind: &str, subtype: &str) -> Self {
        let (kind, subtype) = (kind.into(), subtype.into());
        Self {
            kind,
            subtype,
            parameters: Parameters::new(),
        }
    }

    /// Whether this is `kind`, whatever its subtype.
    pub fn is(&self, kind: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind.as_bytes())
    }

    /// Whether this is `kind/subtype`.
    pub fn is_exactly(&self, kind: &str, subtype: &str) -> bool {
        self.is(kind) && self.subtype.eq_ignore_ascii_case(subtype.as_bytes())
    }
}

impl Default for Media {
    fn default() -> Self {
        Self::new("TEXT", "PLAIN")
    }
}

/// Names and values in the order in which they were written.
pub type Parameters = Vec<(Vec<u8>, Vec<u8>)>;

/// `Content-Disposition:`, RFC 2183.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Disposition {
    /// `attachment`, `inline`, or another word.
    pub kind: Vec<u8>,
    /// Parameters as written.
    pub parameters: Parameters,
}

/// What is inside a part. Numbers are indices into [`Structure::parts`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Content {
    /// Bytes.
    #[default]
    Leaf,
    /// `multipart/*`; at least one child, since IMAP knows no empty multipart: one without parts
    /// holds a plain text of its whole body, or an empty one if it has a delimiter.
    Multipart(Vec<u32>),
    /// `message/rfc822`: a message with an entity of its own.
    Message {
        /// Its envelope.
        envelope: Box<Envelope>,
        /// Its entity.
        root: u32,
    },
}

/// ENVELOPE of RFC 3501 section 7.4.2. Texts are unfolded and otherwise as written.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Envelope {
    /// `Date:`
    pub date: Option<Vec<u8>>,
    /// `Subject:`
    pub subject: Option<Vec<u8>>,
    /// `From:`
    pub from: Vec<Address>,
    /// `Sender:`; empty means as `from`.
    pub sender: Vec<Address>,
    /// `Reply-To:`; empty means as `from`.
    pub reply_to: Vec<Address>,
    /// `To:`
    pub to: Vec<Address>,
    /// `Cc:`
    pub cc: Vec<Address>,
    /// `Bcc:`
    pub bcc: Vec<Address>,
    /// `In-Reply-To:`
    pub in_reply_to: Option<Vec<u8>>,
    /// `Message-ID:`
    pub message_id: Option<Vec<u8>>,
}

/// One address, or the begin (`mailbox` without `host`) or the end (neither) of a group.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Address {
    /// Phrase before the address, or the comment after it, without quotes.
    pub name: Option<Vec<u8>>,
    /// Source route, `@a,@b`.
    pub route: Option<Vec<u8>>,
    /// Local part without quotes.
    pub mailbox: Option<Vec<u8>>,
    /// Domain; empty if the sender gave none.
    pub host: Option<Vec<u8>>,
}
