//! Blobs and structures by number, shared by all messages of a partition that have the same delivery.

use crate::mail::error::MailError;
use crate::mail::keys;
use crate::mail::row::{BlobRow, fields_of, to_fields};
use crate::rows::{BlobSource, Rows, RowsMut, Table};

const NEXT_BLOB: &[u8] = b"mail.next-blob";

pub(super) fn blob(rows: &dyn Rows, number: u64) -> Result<Option<BlobRow>, MailError> {
    let key = keys::number(number);
    match rows.read(Table::Blobs, &key)? {
        Some(value) => Ok(Some(BlobRow::decode(&key, &value)?)),
        None => Ok(None),
    }
}

pub(super) fn add_content(
    rows: &mut dyn RowsMut,
    content: BlobSource<'_>,
    structure: &[u8],
) -> Result<u64, MailError> {
    let place = rows.put_blob(content)?;
    let number = match rows.read(Table::Meta, NEXT_BLOB)? {
        Some(value) => fields_of(Table::Meta, NEXT_BLOB, &value)?,
        None => 1_u64,
    };
    rows.put(Table::Meta, NEXT_BLOB, &to_fields(&(number + 1)))?;
    let row = BlobRow {
        place,
        references: 1,
    };
    rows.put(Table::Blobs, &keys::number(number), &row.encode())?;
    rows.put(Table::Structures, &keys::number(number), structure)?;
    Ok(number)
}

/// One more message has the blob.
pub(super) fn share_blob(rows: &mut dyn RowsMut, number: u64) -> Result<(), MailError> {
    if let Some(mut row) = blob(rows, number)? {
        row.references += 1;
        rows.put(Table::Blobs, &keys::number(number), &row.encode())?;
    }
    Ok(())
}

pub(super) fn release_blob(rows: &mut dyn RowsMut, number: u64) -> Result<(), MailError> {
    let Some(mut row) = blob(rows, number)? else {
        return Ok(());
    };
    row.references -= 1;
    if row.references > 0 {
        rows.put(Table::Blobs, &keys::number(number), &row.encode())?;
        return Ok(());
    }
    rows.delete(Table::Blobs, &keys::number(number))?;
    rows.delete(Table::Structures, &keys::number(number))?;
    Ok(rows.release_blob(row.place)?)
}
