//! Writes what a partition's files hold as lines of JSON, for people and scripts.

use std::io::Write;
use std::sync::Arc;

use super::batch::{Records, split_value};
use super::check::{hex, view_index};
use super::disk::Disk;
use super::index::index_error;
use super::partition::PartitionOptions;
use super::place::{OpenError, Place, io_error};
use super::scan::{Located, SegmentReader};
use super::segment::FIRST_BATCH;
use crate::rows::{StoreError, Table};

/// Writes one line a segment, batch and record of the log, then one a row of the index. Keys and
/// values are in hexadecimal; contents of blobs are left out. Refuses while somebody has the
/// partition open; changes nothing.
pub fn dump(
    disk: Arc<dyn Disk>,
    options: PartitionOptions,
    out: &mut dyn Write,
) -> Result<(), OpenError> {
    let place = Place::lock(disk, options, false)?;
    for segment in &place.segments {
        dump_segment(&place, *segment, out)?;
    }
    dump_index(&place, out)
}

fn dump_segment(place: &Place, segment: u32, out: &mut dyn Write) -> Result<(), OpenError> {
    let read = || io_error(format!("read segment {segment:08x}"));
    let identity = place.identity()?.unwrap_or_default();
    let file = place.files.get(segment).map_err(read())?;
    let mut reader = SegmentReader::new(file, identity, segment).map_err(read())?;
    let length = reader.length();
    match place.files.header(segment).map_err(read())? {
        Some(header) => writeln!(
            out,
            r#"{{"segment":{segment},"length":{length},"version":{},"identity":"{}","firstBatch":{},"firstLsn":{}}}"#,
            header.version,
            hex(&header.identity),
            header.first_batch,
            header.first_lsn
        ),
        None => writeln!(
            out,
            r#"{{"segment":{segment},"length":{length},"damage":"the header is damaged"}}"#
        ),
    }
    .map_err(io_error("write the dump"))?;
    let mut end = FIRST_BATCH;
    for located in reader.locate(FIRST_BATCH).map_err(read())? {
        dump_gap(segment, end, located.offset, out)?;
        end = located.end();
        dump_batch(&mut reader, &located, out)?;
    }
    dump_gap(segment, end, length, out)
}

fn dump_gap(segment: u32, start: u64, end: u64, out: &mut dyn Write) -> Result<(), OpenError> {
    if start >= end {
        return Ok(());
    }
    writeln!(
        out,
        r#"{{"segment":{segment},"start":{start},"end":{end},"damage":"no batch can be read"}}"#
    )
    .map_err(io_error("write the dump"))
}

fn dump_batch(
    reader: &mut SegmentReader,
    located: &Located,
    out: &mut dyn Write,
) -> Result<(), OpenError> {
    let Located {
        segment,
        offset,
        header,
    } = *located;
    let read = || io_error(format!("read segment {segment:08x}"));
    let write = || io_error("write the dump");
    writeln!(
        out,
        r#"{{"batch":{},"segment":{segment},"offset":{offset},"bytes":{},"firstLsn":{},"records":{},"blobs":{}}}"#,
        header.number,
        header.size(),
        header.first_lsn,
        header.records,
        header.blobs
    )
    .map_err(write())?;
    let records = reader.records(located).map_err(read())?;
    for damage in reader
        .blob_damage(located, records.as_deref())
        .map_err(read())?
    {
        let (start, end, reason) = (damage.start, damage.end, damage.reason);
        writeln!(
            out,
            r#"{{"segment":{segment},"start":{start},"end":{end},"damage":"{reason}"}}"#
        )
        .map_err(write())?;
    }
    let Some(records) = records else {
        let batch = header.number;
        return writeln!(
            out,
            r#"{{"batch":{batch},"damage":"the records are lost"}}"#
        )
        .map_err(write());
    };
    for (lsn, record) in (header.first_lsn..).zip(Records::new(&records)) {
        let table = record.table().map_or("unknown", Table::name);
        let key = hex(&record.key[1..]);
        match record.value.and_then(split_value) {
            Some((_, value)) => writeln!(
                out,
                r#"{{"lsn":{lsn},"put":"{table}","key":"{key}","value":"{}"}}"#,
                hex(value)
            ),
            None => writeln!(out, r#"{{"lsn":{lsn},"delete":"{table}","key":"{key}"}}"#),
        }
        .map_err(write())?;
    }
    Ok(())
}

fn dump_index(place: &Place, out: &mut dyn Write) -> Result<(), OpenError> {
    let write = || io_error("write the dump");
    let opened = view_index(place).and_then(|index| {
        let (engine, rows) = (index.engine_rows()?, index.rows()?);
        Ok((engine, rows, index))
    });
    // The index must stay open while its rows are read.
    let (engine, rows, _index) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            // Quotes and backslashes are all that a reason could break a line with.
            let reason = error.to_string().replace(['"', '\\', '\n'], "'");
            return writeln!(out, r#"{{"index":"unusable","damage":"{reason}"}}"#).map_err(write());
        }
    };
    if let Some(position) = engine.position {
        writeln!(
            out,
            r#"{{"index":"position","batch":{},"nextLsn":{},"segment":{},"end":{}}}"#,
            position.batch, position.next_lsn, position.segment, position.end
        )
        .map_err(write())?;
    }
    for (number, counts) in &engine.counts {
        writeln!(
            out,
            r#"{{"index":"segment","segment":{number},"rows":{},"blobBytes":{},"tombstones":{}}}"#,
            counts.rows, counts.blob_bytes, counts.tombstones
        )
        .map_err(write())?;
    }
    for entry in rows.range::<&[u8]>(..).map_err(index_error)? {
        let (key, stored) = entry.map_err(index_error)?;
        let key = key.value();
        let table = Table::from_number(key[0]).map_or("unknown", Table::name);
        let (segment, value) = split_value(stored.value())
            .ok_or_else(|| StoreError::Index("row without a segment number".into()))?;
        writeln!(
            out,
            r#"{{"row":"{table}","key":"{}","value":"{}","segment":{segment}}}"#,
            hex(&key[1..]),
            hex(value)
        )
        .map_err(write())?;
    }
    Ok(())
}
