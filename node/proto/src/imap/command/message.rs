//! Commands on messages of the selected mailbox (RFC 3501 6.4).

use bytes::Bytes;
use murder_model::{Day, SequenceSet};

/// Arguments of `SEARCH`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Search {
    /// `UID SEARCH`: answer with UIDs.
    pub uid: bool,
    /// `CHARSET` as sent.
    pub charset: Option<Bytes>,
    /// Keys, all of which must match; never empty.
    pub keys: Vec<SearchKey>,
}

/// A search key (RFC 3501 6.4.4), nested at most [`SEARCH_DEPTH_MAX`] deep. Strings are in the
/// search's charset.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each variant is the key of the same name")]
pub enum SearchKey {
    Sequence(SequenceSet),
    All,
    Answered,
    Bcc(Bytes),
    Before(Day),
    Body(Bytes),
    Cc(Bytes),
    Deleted,
    Draft,
    Flagged,
    From(Bytes),
    /// Field name and the text to look for; any such field if the text is empty.
    Header(Bytes, Bytes),
    Keyword(Bytes),
    Larger(u64),
    /// `MODSEQ`: at least this (RFC 7162 3.1.5). An entry name is read and dropped: entries share
    /// one modification sequence here.
    ModSeq(u64),
    New,
    Not(Box<Self>),
    Old,
    On(Day),
    Or(Box<Self>, Box<Self>),
    Recent,
    Seen,
    SentBefore(Day),
    SentOn(Day),
    SentSince(Day),
    Since(Day),
    Smaller(u64),
    Subject(Bytes),
    Text(Bytes),
    To(Bytes),
    Uid(SequenceSet),
    Unanswered,
    Undeleted,
    Undraft,
    Unflagged,
    Unkeyword(Bytes),
    Unseen,
    /// A parenthesized list: all must match.
    And(Vec<Self>),
}

/// How deep `NOT`, `OR` and parentheses may nest in a search.
pub const SEARCH_DEPTH_MAX: usize = 64;

/// Arguments of `FETCH`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fetch {
    /// `UID FETCH`: the set holds UIDs and each answer names its UID.
    pub uid: bool,
    /// Messages asked for.
    pub set: SequenceSet,
    /// Items, macros expanded, in the client's order.
    pub items: Vec<FetchItem>,
    /// `CHANGEDSINCE` (RFC 7162 3.1.4.1).
    pub changed_since: Option<u64>,
    /// `VANISHED` (RFC 7162 3.2.6).
    pub vanished: bool,
}

/// A data item of `FETCH` (RFC 3501 6.4.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FetchItem {
    /// `BODY` without a section: the structure without extension data.
    Body,
    /// `BODY[…]` or `BODY.PEEK[…]`.
    BodySection {
        /// `PEEK`: do not set `\Seen`.
        peek: bool,
        /// Which part.
        section: Section,
        /// Which bytes of it.
        partial: Option<Partial>,
    },
    /// `BODYSTRUCTURE`.
    BodyStructure,
    /// `ENVELOPE`.
    Envelope,
    /// `FLAGS`.
    Flags,
    /// `INTERNALDATE`.
    InternalDate,
    /// `MODSEQ` (RFC 7162 3.1.4.2).
    ModSeq,
    /// `RFC822`: as `BODY[]`, but named so.
    Rfc822,
    /// `RFC822.HEADER`: as `BODY.PEEK[HEADER]`, but named so.
    Rfc822Header,
    /// `RFC822.SIZE`.
    Rfc822Size,
    /// `RFC822.TEXT`: as `BODY[TEXT]`, but named so.
    Rfc822Text,
    /// `UID`.
    Uid,
}

/// What stands between the brackets of `BODY[…]`; the whole message if both are empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Section {
    /// Part numbers from outside in, at most [`SECTION_DEPTH_MAX`], each at least 1.
    pub path: Vec<u32>,
    /// What of that part; its content if absent.
    pub text: Option<SectionText>,
}

/// How many part numbers a section may have.
pub const SECTION_DEPTH_MAX: usize = 64;

/// What of a part is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SectionText {
    /// `HEADER`.
    Header,
    /// `HEADER.FIELDS (…)`: names as sent; never empty.
    HeaderFields(Vec<Bytes>),
    /// `HEADER.FIELDS.NOT (…)`: names as sent; never empty.
    HeaderFieldsNot(Vec<Bytes>),
    /// `TEXT`.
    Text,
    /// `MIME`; the path is not empty.
    Mime,
}

/// `<offset.length>` after a section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Partial {
    /// First byte.
    pub offset: u32,
    /// Bytes at most, at least 1.
    pub length: u32,
}

/// Arguments of `STORE`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Store {
    /// `UID STORE`.
    pub uid: bool,
    /// Messages to change.
    pub set: SequenceSet,
    /// What to do with the flags.
    pub mode: StoreMode,
    /// `.SILENT`: do not answer with the new flags.
    pub silent: bool,
    /// Flags as sent; may be empty.
    pub flags: Vec<Bytes>,
    /// `UNCHANGEDSINCE` (RFC 7162 3.1.3).
    pub unchanged_since: Option<u64>,
}

/// What `STORE` does with its flags.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreMode {
    /// `FLAGS`: these and no others.
    Replace,
    /// `+FLAGS`.
    Add,
    /// `-FLAGS`.
    Remove,
}

/// Arguments of `COPY` and `MOVE`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Copy {
    /// `UID COPY` or `UID MOVE`.
    pub uid: bool,
    /// Messages to copy or move.
    pub set: SequenceSet,
    /// Destination.
    pub mailbox: Bytes,
}
