//! Contents of messages off the wire, hashed and compared with what their rows say.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use murder_model::Guid;
use murder_store::mail::{MessageRow, TransferContent, TransferRow};
use murder_store::rows::{BlobSource, Table};
use murder_store::structure;

use super::TransferError;
use super::stage::Arrived;
use crate::backend::spool::{Spool, Spooled};
use crate::peer::{CONTENT_BYTES_MAX, Link};

/// A message's content that has arrived.
#[derive(Debug)]
pub(super) enum Content {
    Whole { bytes: Bytes, structure: Vec<u8> },
    Spooled(Box<Spooled>),
}

impl Content {
    pub(super) fn source(&self) -> TransferContent<'_> {
        match self {
            Self::Whole { bytes, structure } => (BlobSource::Bytes(bytes), structure),
            Self::Spooled(spooled) => (spooled.source(), &spooled.structure),
        }
    }
}

/// A content off the wire.
pub(super) enum Received {
    Whole(Bytes),
    Spooled(Box<Spooled>),
}

/// Hashes what came and compares it with what the rows say.
pub(super) fn check(
    rows: Vec<TransferRow>,
    received: Vec<Option<Received>>,
    covered: u64,
) -> Result<Arrived, &'static str> {
    let mut contents = Vec::with_capacity(rows.len());
    for (row, content) in rows.iter().zip(received) {
        let Some(content) = content else {
            contents.push(None);
            continue;
        };
        let fields = row
            .value
            .get(9..)
            .filter(|_| row.table == Table::Messages as u8);
        let message = fields.and_then(|fields| postcard::from_bytes::<MessageRow>(fields).ok());
        let message = message.ok_or("a content without a message")?;
        let (guid, content) = match content {
            Received::Whole(bytes) => {
                let guid = Guid::from_bytes(*blake3::hash(&bytes).as_bytes());
                let structure = structure::encode(&structure::scan(&bytes));
                (guid, Content::Whole { bytes, structure })
            }
            Received::Spooled(spooled) => (spooled.guid, Content::Spooled(spooled)),
        };
        if guid != message.guid {
            return Err("a message's bytes are not those of its row");
        }
        contents.push(Some(content));
    }
    Ok(Arrived {
        rows,
        contents,
        covered,
    })
}

/// Reads one content from the wire; a long one goes to a file in `directory`.
pub(super) async fn receive(
    link: &mut Link,
    directory: &Path,
    length: u64,
) -> Result<Received, TransferError> {
    if length <= CONTENT_BYTES_MAX as u64 {
        let mut bytes = BytesMut::new();
        while (bytes.len() as u64) < length {
            let piece = link.receive_content().await?;
            if bytes.is_empty() && piece.len() as u64 == length {
                return Ok(Received::Whole(piece));
            }
            bytes.extend_from_slice(&piece);
        }
        return if bytes.len() as u64 == length {
            Ok(Received::Whole(bytes.freeze()))
        } else {
            Err(TransferError::Unfit)
        };
    }
    let mut spool = Spool::new(directory);
    let mut left = length;
    while left > 0 {
        let piece = link.receive_content().await?;
        left = left
            .checked_sub(piece.len() as u64)
            .filter(|_| !piece.is_empty())
            .ok_or(TransferError::Unfit)?;
        spool.push(&piece).await?;
    }
    Ok(Received::Spooled(Box::new(spool.finish().await?)))
}
