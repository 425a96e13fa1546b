//! One operation within a batch: it reads what earlier operations of the batch wrote, and leaves
//! nothing behind if it fails.

use std::io;

use redb::ReadableTable;

use super::batch::{first_record, push_delete, push_put};
use super::counts::Tally;
use super::index::{self, RowsTable, index_error};
use super::log::{Log, Mark};
use super::volume::Volume;
use crate::rows::{
    BlobPlace, BlobSource, Row, Rows, RowsMut, StoreError, Table, Visit, require_place,
};

/// What a batch has gathered so far. Its buffers are used again by the next batch.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// The records, as they will stand in the log.
    pub(crate) records: Vec<u8>,
    pub(crate) count: u32,
    pub(crate) tally: Tally,
    /// What the present operation did.
    undo: Vec<Undo>,
    /// Stored values that it replaced, one behind the other.
    old_values: Vec<u8>,
    /// Bytes that new data may take in this batch; `None` before anybody asked.
    available: Option<u64>,
    /// Why this batch must not be committed.
    pub(crate) broken: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Undo {
    /// Where the record begins.
    record: usize,
    /// Where the replaced value ends in `old_values`; `None` if there was none.
    old: Option<(usize, usize)>,
}

/// Largest buffer that is kept for the next batch.
const KEPT_BYTES_MAX: usize = 4 << 20;

impl Work {
    pub(crate) fn clear(&mut self) {
        for buffer in [&mut self.records, &mut self.old_values] {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES_MAX);
        }
        self.count = 0;
        self.tally.clear();
        self.undo.clear();
        self.available = None;
        self.broken = None;
    }
}

/// A place in the batch where an operation began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    log: Mark,
    records: usize,
    count: u32,
}

/// One operation of a batch.
pub struct Tx<'a> {
    pub(crate) rows: RowsTable<'a>,
    pub(crate) log: &'a mut Log,
    pub(crate) work: &'a mut Work,
    pub(crate) volume: &'a Volume,
}

impl std::fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx")
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}

impl Tx<'_> {
    pub(crate) fn start(&mut self) -> Start {
        self.work.undo.clear();
        self.work.old_values.clear();
        Start {
            log: self.log.mark(),
            records: self.work.records.len(),
            count: self.work.count,
        }
    }

    /// Takes back all that happened since `start`, last first.
    pub(crate) fn undo(&mut self, start: Start) -> Result<(), StoreError> {
        let segment = self.log.segment();
        while let Some(undo) = self.work.undo.pop() {
            let (record, _) = first_record(&self.work.records[undo.record..])
                .ok_or_else(|| StoreError::Index("undo list names no record".into()))?;
            let old = undo.old.map(|(from, to)| &self.work.old_values[from..to]);
            self.work.tally.undo(&record, segment, old);
            match old {
                Some(old) => drop(self.rows.insert(record.key, old).map_err(index_error)?),
                None => drop(self.rows.remove(record.key).map_err(index_error)?),
            }
        }
        self.work.records.truncate(start.records);
        self.work.count = start.count;
        self.log.rewind(start.log);
        Ok(())
    }

    /// Applies the record that begins at `from` and remembers how to take it back.
    fn apply(&mut self, from: usize) -> Result<(), StoreError> {
        let segment = self.log.segment();
        let Work {
            records,
            tally,
            undo,
            old_values,
            ..
        } = &mut *self.work;
        let (record, _) = first_record(&records[from..]).expect("a record that was just built");
        index::apply(&mut self.rows, &record, |old| {
            tally.apply(&record, segment, old);
            let old = old.map(|old| {
                let start = old_values.len();
                old_values.extend_from_slice(old);
                (start, old_values.len())
            });
            undo.push(Undo { record: from, old });
        })?;
        self.work.count += 1;
        Ok(())
    }

    /// Drops the record at `from` if it could not be applied.
    fn settle(&mut self, from: usize, applied: Result<(), StoreError>) -> Result<(), StoreError> {
        if applied.is_err() {
            self.work.records.truncate(from);
        }
        applied
    }
}

impl Rows for Tx<'_> {
    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        index::read(&self.rows, table, key)
    }

    fn scan(
        &self,
        table: Table,
        low: &[u8],
        high: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        index::scan(&self.rows, table, low, high, visit)
    }

    fn last(&self, table: Table, low: &[u8], high: &[u8]) -> Result<Option<Row>, StoreError> {
        index::last(&self.rows, table, low, high)
    }
}

impl RowsMut for Tx<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        refuse_engine_table(table)?;
        require_place(table, key, value)?;
        let from = self.work.records.len();
        push_put(
            &mut self.work.records,
            table,
            key,
            self.log.segment(),
            value,
        )?;
        let applied = self.apply(from);
        self.settle(from, applied)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        refuse_engine_table(table)?;
        let present = index::with_key(table, key, |key| {
            self.rows
                .get(key)
                .map(|stored| stored.is_some())
                .map_err(index_error)
        })?;
        if !present {
            // Whatever older segments hold for this key is already removed by a tombstone.
            return Ok(());
        }
        let from = self.work.records.len();
        push_delete(&mut self.work.records, table, key)?;
        let applied = self.apply(from);
        self.settle(from, applied)
    }

    fn put_blob(&mut self, content: BlobSource<'_>) -> Result<BlobPlace, StoreError> {
        let need = content.len();
        self.require_space(need)?;
        match self.log.put_blob(content) {
            Ok(place) => Ok(place),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                Err(StoreError::Full { need, free: 0 })
            }
            Err(source) => Err(StoreError::Io {
                what: format!("write a blob to segment {:08x}", self.log.segment()),
                source,
            }),
        }
    }

    fn require_space(&mut self, bytes: u64) -> Result<(), StoreError> {
        let available = match self.work.available {
            Some(available) => available,
            None => self.volume.available()?,
        };
        self.work.available = Some(available);
        let taken = self.log.pending_bytes() + self.work.records.len() as u64;
        let free = available.saturating_sub(taken);
        if bytes > free {
            return Err(StoreError::Full { need: bytes, free });
        }
        Ok(())
    }
}

fn refuse_engine_table(table: Table) -> Result<(), StoreError> {
    match table {
        Table::Segments => Err(StoreError::Index(
            "table segments is the engine's own".into(),
        )),
        _ => Ok(()),
    }
}
