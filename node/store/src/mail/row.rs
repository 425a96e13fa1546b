//! What rows hold, and how: `kind`, then for a live row its change number and fields in postcard's
//! format, then what is local to this partition; for a mark its change number and time.

use murder_model::{
    Acl, EmailId, Guid, InternalDate, Keyword, MailboxId, MailboxName, ModSeq, SpecialUse,
    SystemFlags, Timestamp, UidValidity, UnitId,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::rows::{BlobPlace, StoreError, Table};

/// Most keywords of one mailbox: bits of [`MessageRow::keywords`].
pub(super) const KEYWORDS_MAX: usize = 128;

const LIVE: u8 = 0;
const MARK: u8 = 1;

/// A mailbox.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct MailboxRow {
    /// For life.
    pub id: MailboxId,
    /// The unit that it belongs to.
    pub unit: UnitId,
    /// Its name now.
    pub name: MailboxName,
    /// Validity of its UIDs.
    pub uid_validity: UidValidity,
    /// The UID that the next message gets.
    pub uid_next: u32,
    /// Highest change number of its messages, expunges included.
    pub highest_mod_seq: ModSeq,
    /// Messages in it.
    pub exists: u32,
    /// Messages without `\Seen` in their own row.
    pub unseen: u32,
    /// Messages with `\Deleted`.
    pub deleted: u32,
    /// Bytes of its messages.
    pub bytes: u64,
    /// The first UID that no session has been told as recent.
    pub recent_uid: u32,
    /// Names of the keyword bits; only ever grows.
    pub keywords: Vec<Keyword>,
    /// Who may do what.
    pub acl: Acl,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
}

/// A message in a mailbox.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct MessageRow {
    /// Hash of its bytes.
    pub guid: Guid,
    /// Shared by its copies.
    pub email_id: EmailId,
    /// Bytes.
    pub size: u32,
    /// System flags; `\Seen` is the owner's of the unit, others have rows of their own.
    pub flags: SystemFlags,
    /// Bits of the mailbox' keywords.
    pub keywords: u128,
    /// Internal date.
    pub internal_date: InternalDate,
    /// When it came into this mailbox.
    pub saved: Timestamp,
    /// Change number of its creation.
    pub created: u64,
    /// Change number of its last change. Not in the row's fields but in its head.
    #[serde(skip)]
    pub mod_seq: ModSeq,
    /// Number of its blob in this partition. Local.
    #[serde(skip)]
    pub blob: u64,
}

/// A blob: content in the log, shared by the messages that have it. The value begins with the
/// encoded place, by which the engine counts what is alive in a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlobRow {
    /// Where it is.
    pub place: BlobPlace,
    /// Messages that have it.
    pub references: u32,
}

impl BlobRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut value = self.place.encode().to_vec();
        value.extend_from_slice(&self.references.to_be_bytes());
        value
    }

    pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Self, StoreError> {
        let wrong = || malformed(Table::Blobs, key, "not a place and a count");
        let (place, references) = value
            .split_at_checked(BlobPlace::ENCODED)
            .ok_or_else(wrong)?;
        Ok(Self {
            place: BlobPlace::decode(place).ok_or_else(wrong)?,
            references: u32::from_be_bytes(references.try_into().map_err(|_| wrong())?),
        })
    }
}

/// A row of a unit, taken apart.
pub(super) enum Row<'a> {
    Live {
        change: u64,
        fields: &'a [u8],
        local: &'a [u8],
    },
    Mark {
        change: u64,
        time: Timestamp,
    },
}

impl Row<'_> {
    pub(super) fn change(&self) -> u64 {
        match self {
            Self::Live { change, .. } | Self::Mark { change, .. } => *change,
        }
    }
}

/// Bytes at the end of a live row that mean something in this partition only.
pub(super) fn local_length(table: Table) -> usize {
    if table == Table::Messages { 8 } else { 0 }
}

pub(super) fn encode_live(change: u64, fields: &[u8], local: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(9 + fields.len() + local.len());
    value.push(LIVE);
    value.extend_from_slice(&change.to_be_bytes());
    value.extend_from_slice(fields);
    value.extend_from_slice(local);
    value
}

pub(super) fn encode_mark(change: u64, time: Timestamp) -> Vec<u8> {
    let mut value = Vec::with_capacity(17);
    value.push(MARK);
    value.extend_from_slice(&change.to_be_bytes());
    value.extend_from_slice(&time.as_millis().to_be_bytes());
    value
}

pub(super) fn decode<'a>(table: Table, key: &[u8], value: &'a [u8]) -> Result<Row<'a>, StoreError> {
    let (kind, rest) = value
        .split_first()
        .ok_or_else(|| malformed(table, key, "empty"))?;
    let (change, rest) = rest
        .split_first_chunk::<8>()
        .ok_or_else(|| malformed(table, key, "no change number"))?;
    let change = u64::from_be_bytes(*change);
    match *kind {
        LIVE => {
            let end = rest
                .len()
                .checked_sub(local_length(table))
                .ok_or_else(|| malformed(table, key, "no local part"))?;
            let (fields, local) = rest.split_at(end);
            Ok(Row::Live {
                change,
                fields,
                local,
            })
        }
        MARK => {
            let time: [u8; 8] = rest
                .try_into()
                .map_err(|_| malformed(table, key, "a mark without time"))?;
            Ok(Row::Mark {
                change,
                time: Timestamp::from_millis(i64::from_be_bytes(time)),
            })
        }
        _ => Err(malformed(table, key, "unknown kind")),
    }
}

/// The fields of a live row; `None` for a mark.
pub(super) fn live<T: DeserializeOwned>(
    table: Table,
    key: &[u8],
    value: &[u8],
) -> Result<Option<T>, StoreError> {
    match decode(table, key, value)? {
        Row::Live { fields, .. } => fields_of(table, key, fields).map(Some),
        Row::Mark { .. } => Ok(None),
    }
}

/// A live message with its head and local part; `None` for a mark.
pub(super) fn live_message(key: &[u8], value: &[u8]) -> Result<Option<MessageRow>, StoreError> {
    match decode(Table::Messages, key, value)? {
        Row::Live {
            change,
            fields,
            local,
        } => {
            let mut row: MessageRow = fields_of(Table::Messages, key, fields)?;
            row.mod_seq = ModSeq::new(change);
            row.blob = u64::from_be_bytes(local.try_into().expect("split off with eight bytes"));
            Ok(Some(row))
        }
        Row::Mark { .. } => Ok(None),
    }
}

pub(super) fn fields_of<T: DeserializeOwned>(
    table: Table,
    key: &[u8],
    fields: &[u8],
) -> Result<T, StoreError> {
    postcard::from_bytes(fields).map_err(|error| malformed(table, key, &error.to_string()))
}

pub(super) fn to_fields<T: Serialize>(row: &T) -> Vec<u8> {
    postcard::to_allocvec(row).expect("our rows have known lengths and memory grows")
}

pub(super) fn malformed(table: Table, key: &[u8], reason: &str) -> StoreError {
    let key = key.iter().map(|byte| format!("{byte:02x}")).collect();
    StoreError::Malformed {
        table,
        key,
        reason: reason.to_owned(),
    }
}
