//! Reading what the master has committed, in bounded steps: lines for RFC 3656 and the stream
//! for replicas.
//!
//! No read transaction outlives a call. A snapshot is therefore read at many moments: its cursor
//! remembers where it began, and sends the changes since then at the end, so that the sum is the
//! state at one position.

use std::ops::Bound;
use std::sync::Arc;

use murder_model::{Term, UnitId};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};

use super::MasterError;
use super::tables::{Definition, META, META_KEY, Meta, NAMES, RING, ROOTS, SERVERS, UNITS, read};
use crate::name::Name;
use crate::record::{NameRecord, Position, ServerRecord, UnitRecord};
use crate::request::{Change, Line, StreamItem, decode};

/// Changes that one call hands out at most.
pub const CHANGES_PAGE_MAX: usize = 10_000;
/// Rows that one call of LIST looks at, at most.
pub const LIST_SCAN_MAX: usize = 10_000;

/// Reads committed state; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct MasterReader {
    pub(super) database: Arc<Database>,
}

/// What follows a position.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Since {
    /// The changes after it, in order; none if it is up to date.
    Changes(Vec<StreamItem>),
    /// It is of another reign, or older than the ring.
    SnapshotNeeded,
}

impl MasterReader {
    pub(super) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    pub(super) fn meta(tx: &ReadTransaction) -> Result<Meta, MasterError> {
        let meta = read(&tx.open_table(META)?, META_KEY)?;
        Ok(meta.expect("a master writes its row before it is opened"))
    }

    /// Where the stream is.
    pub fn position(&self) -> Result<Position, MasterError> {
        Ok(Self::meta(&self.database.begin_read()?)?.position())
    }

    /// At most `limit` changes after a position.
    pub fn changes_since(&self, after: Position, limit: usize) -> Result<Since, MasterError> {
        let tx = self.database.begin_read()?;
        let meta = Self::meta(&tx)?;
        if after.term != meta.term || after.seq < meta.ring_after || after.seq > meta.seq {
            return Ok(Since::SnapshotNeeded);
        }
        let ring = tx.open_table(RING)?;
        let low = after.seq.to_be_bytes();
        let bounds = (Bound::Excluded(low.as_slice()), Bound::Unbounded);
        let mut items = Vec::new();
        for (row, seq) in ring
            .range::<&[u8]>(bounds)?
            .take(limit.min(CHANGES_PAGE_MAX))
            .zip(1..)
        {
            let change = decode(row?.1.value())?;
            let position = Position {
                term: meta.term,
                seq: after.seq + seq,
            };
            items.push(StreamItem::Change { position, change });
        }
        Ok(Since::Changes(items))
    }

    /// Begins a snapshot.
    pub fn snapshot(&self) -> Result<Snapshot, MasterError> {
        Ok(Snapshot {
            reader: self.clone(),
            from: self.position()?,
            stage: Stage::Begin,
        })
    }

    /// RFC 3656 FIND.
    pub fn find(&self, name: &Name) -> Result<Option<Line>, MasterError> {
        let tx = self.database.begin_read()?;
        let units = tx.open_table(UNITS)?;
        find(
            &tx.open_table(NAMES)?,
            |unit| read(&units, unit.as_bytes()),
            name,
        )
    }

    /// RFC 3656 LIST: a page of lines whose location begins with `prefix`, byte-sorted, and where to
    /// go on.
    pub fn list(
        &self,
        prefix: &[u8],
        after: Option<&Name>,
        limit: usize,
    ) -> Result<(Vec<Line>, Option<Name>), MasterError> {
        let tx = self.database.begin_read()?;
        let units = tx.open_table(UNITS)?;
        let unit = |unit: UnitId| read(&units, unit.as_bytes());
        list(&tx.open_table(NAMES)?, unit, prefix, after, limit)
    }

    /// All servers.
    pub fn servers(&self) -> Result<Vec<ServerRecord>, MasterError> {
        let tx = self.database.begin_read()?;
        tx.open_table(SERVERS)?
            .iter()?
            .map(|row| Ok(decode(row?.1.value())?))
            .collect()
    }

    /// A unit of record.
    pub fn unit(&self, unit: UnitId) -> Result<Option<UnitRecord>, MasterError> {
        read(
            &self.database.begin_read()?.open_table(UNITS)?,
            unit.as_bytes(),
        )
    }

    /// The unit that has a root.
    pub fn unit_by_root(&self, root: &Name) -> Result<Option<UnitRecord>, MasterError> {
        let tx = self.database.begin_read()?;
        match read::<UnitId>(&tx.open_table(ROOTS)?, root.as_bytes())? {
            Some(unit) => read(&tx.open_table(UNITS)?, unit.as_bytes()),
            None => Ok(None),
        }
    }

    /// A page of the lines of one unit, for a Cyrus replica after the unit changed its owner.
    pub fn unit_lines(
        &self,
        record: &UnitRecord,
        after: Option<&Name>,
        limit: usize,
    ) -> Result<(Vec<Line>, Option<Name>), MasterError> {
        let tx = self.database.begin_read()?;
        let names = tx.open_table(NAMES)?;
        let low = after.unwrap_or(&record.root).as_bytes();
        let from = if after.is_some() {
            Bound::Excluded(low)
        } else {
            Bound::Included(low)
        };
        let (_, high) = record.root.children_range();
        let mut lines = Vec::new();
        let bounds = (from, Bound::Excluded(high.as_slice()));
        let limit = limit.clamp(1, LIST_SCAN_MAX);
        let mut next = None;
        for (row, looked_at) in names.range::<&[u8]>(bounds)?.take(limit).zip(1..) {
            let row: NameRecord = decode(row?.1.value())?;
            next = (looked_at == limit).then(|| row.name.clone());
            if row.unit == record.unit && row.name.is_under(&record.root) {
                lines.push(line(row, record));
            }
        }
        Ok((lines, next))
    }
}

type Units<'a> = dyn Fn(UnitId) -> Result<Option<UnitRecord>, MasterError> + 'a;

pub(super) fn find(
    names: &impl ReadableTable<&'static [u8], &'static [u8]>,
    unit: impl Fn(UnitId) -> Result<Option<UnitRecord>, MasterError>,
    name: &Name,
) -> Result<Option<Line>, MasterError> {
    match read::<NameRecord>(names, name.as_bytes())? {
        Some(row) => line_of(row, &unit),
        None => Ok(None),
    }
}

pub(super) fn list(
    names: &impl ReadableTable<&'static [u8], &'static [u8]>,
    unit: impl Fn(UnitId) -> Result<Option<UnitRecord>, MasterError>,
    prefix: &[u8],
    after: Option<&Name>,
    limit: usize,
) -> Result<(Vec<Line>, Option<Name>), MasterError> {
    let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.as_bytes()));
    let mut lines = Vec::new();
    for (row, looked_at) in names.range::<&[u8]>((from, Bound::Unbounded))?.zip(1..) {
        let row: NameRecord = decode(row?.1.value())?;
        let name = row.name.clone();
        if let Some(line) = line_of(row, &unit)?
            && line.location.starts_with(prefix)
        {
            lines.push(line);
        }
        if lines.len() >= limit.max(1) || looked_at == LIST_SCAN_MAX {
            return Ok((lines, Some(name)));
        }
    }
    Ok((lines, None))
}

fn line_of(row: NameRecord, unit: &Units<'_>) -> Result<Option<Line>, MasterError> {
    if row.cyrus.is_some() {
        return Ok(Some(cyrus_line(row)));
    }
    Ok(unit(row.unit)?.map(|record| line(row, &record)))
}

/// The line that Cyrus peers are told of a name.
fn line(row: NameRecord, record: &UnitRecord) -> Line {
    if row.cyrus.is_some() {
        return cyrus_line(row);
    }
    let partition = record
        .partition
        .as_ref()
        .map_or("", |partition| partition.as_str());
    let location = format!("{}!{partition}", record.server).into_bytes();
    Line {
        name: row.name,
        location,
        acl: row.acl,
        reserved: false,
    }
}

fn cyrus_line(row: NameRecord) -> Line {
    let (location, reserved) = row
        .cyrus
        .map_or((Vec::new(), true), |cyrus| (cyrus.location, cyrus.reserved));
    Line {
        name: row.name,
        location,
        acl: row.acl,
        reserved,
    }
}

/// A snapshot being read; see the module.
#[derive(Debug)]
pub struct Snapshot {
    reader: MasterReader,
    from: Position,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Begin,
    Servers(Option<Vec<u8>>),
    Units(Option<Vec<u8>>),
    Names(Option<Vec<u8>>),
    CatchUp,
    Done,
}

impl Snapshot {
    /// The next items, of at most `limit` rows; `None` after the last. A snapshot that the ring has
    /// overtaken begins again by itself.
    pub fn step(&mut self, limit: usize) -> Result<Option<Vec<StreamItem>>, MasterError> {
        let limit = limit.clamp(1, CHANGES_PAGE_MAX);
        let stage = std::mem::replace(&mut self.stage, Stage::Done);
        let items = match stage {
            Stage::Begin => {
                self.from = self.reader.position()?;
                self.stage = Stage::Servers(None);
                vec![StreamItem::SnapshotBegin {
                    term: self.from.term,
                }]
            }
            Stage::Servers(after) => {
                let (part, last) = self.page(SERVERS, after, limit, Change::Server)?;
                self.stage = last.map_or(Stage::Units(None), |last| Stage::Servers(Some(last)));
                part
            }
            Stage::Units(after) => {
                let (part, last) = self.page(UNITS, after, limit, Change::Unit)?;
                self.stage = last.map_or(Stage::Names(None), |last| Stage::Units(Some(last)));
                part
            }
            Stage::Names(after) => {
                let (part, last) = self.page(NAMES, after, limit, Change::Name)?;
                self.stage = last.map_or(Stage::CatchUp, |last| Stage::Names(Some(last)));
                part
            }
            Stage::CatchUp => self.catch_up(limit)?,
            Stage::Done => return Ok(None),
        };
        Ok(Some(items))
    }

    /// Reign that the snapshot is of.
    pub fn term(&self) -> Term {
        self.from.term
    }

    fn page<T: serde::de::DeserializeOwned>(
        &self,
        table: Definition,
        after: Option<Vec<u8>>,
        limit: usize,
        change: fn(T) -> Change,
    ) -> Result<(Vec<StreamItem>, Option<Vec<u8>>), MasterError> {
        let table = self.reader.database.begin_read()?.open_table(table)?;
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut part = Vec::new();
        let mut last = None;
        for row in table.range::<&[u8]>((from, Bound::Unbounded))?.take(limit) {
            let row = row?;
            part.push(change(decode(row.1.value())?));
            last = Some(row.0.value().to_vec());
        }
        let last = last.filter(|_| part.len() == limit);
        let items = if part.is_empty() {
            vec![]
        } else {
            vec![StreamItem::SnapshotPart(part)]
        };
        Ok((items, last))
    }

    fn catch_up(&mut self, limit: usize) -> Result<Vec<StreamItem>, MasterError> {
        let items = match self.reader.changes_since(self.from, limit)? {
            Since::Changes(items) => items,
            Since::SnapshotNeeded => {
                self.stage = Stage::Begin;
                return Ok(Vec::new());
            }
        };
        let mut part = Vec::new();
        for item in items {
            if let StreamItem::Change { position, change } = item {
                self.from = position;
                part.push(change);
            }
        }
        if part.is_empty() {
            return Ok(vec![StreamItem::SnapshotEnd {
                position: self.from,
            }]);
        }
        self.stage = Stage::CatchUp;
        Ok(vec![StreamItem::SnapshotPart(part)])
    }
}
