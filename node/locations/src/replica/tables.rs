//! The tables of a replica, twice: one generation is shown, the other takes a snapshot.

use murder_model::UnitId;
use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ReplicaError, index};
use crate::name::Name;
use crate::record::{NameRecord, Position, UnitRecord};
use crate::request::{Change, decode, encode};

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;
type Bytes<'t> = Table<'t, &'static [u8], &'static [u8]>;

/// A table that is read.
pub(super) type ReadTable = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

pub(super) const META: Definition = TableDefinition::new("meta");
pub(super) const META_KEY: &[u8] = b"replica";

const SERVERS: [Definition; 2] = both("servers.0", "servers.1");
const UNITS: [Definition; 2] = both("units.0", "units.1");
const ROOTS: [Definition; 2] = both("roots.0", "roots.1");
const NAMES: [Definition; 2] = both("names.0", "names.1");
const VISIBLE: [Definition; 2] = both("visible.0", "visible.1");

const fn both(first: &'static str, second: &'static str) -> [Definition; 2] {
    [TableDefinition::new(first), TableDefinition::new(second)]
}

/// Which generation is shown, and up to where it is applied.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Meta {
    pub(super) active: usize,
    pub(super) position: Position,
}

/// Reads and decodes one value.
pub(super) fn read<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<T>, ReplicaError> {
    match table.get(key)? {
        Some(value) => Ok(Some(decode(value.value())?)),
        None => Ok(None),
    }
}

/// One generation, being written.
pub(super) struct Generation<'t> {
    servers: Bytes<'t>,
    units: Bytes<'t>,
    roots: Bytes<'t>,
    names: Bytes<'t>,
    visible: Bytes<'t>,
}

impl<'t> Generation<'t> {
    pub(super) fn open(tx: &'t WriteTransaction, which: usize) -> Result<Self, ReplicaError> {
        Ok(Self {
            servers: tx.open_table(SERVERS[which])?,
            units: tx.open_table(UNITS[which])?,
            roots: tx.open_table(ROOTS[which])?,
            names: tx.open_table(NAMES[which])?,
            visible: tx.open_table(VISIBLE[which])?,
        })
    }

    /// Empties a generation, leaving its tables.
    pub(super) fn clear(tx: &WriteTransaction, which: usize) -> Result<(), ReplicaError> {
        for tables in [SERVERS, UNITS, ROOTS, NAMES, VISIBLE] {
            tx.delete_table(tables[which])?;
            tx.open_table(tables[which])?;
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, change: Change) -> Result<(), ReplicaError> {
        match change {
            Change::Server(record) => {
                let key = record.server_id;
                self.servers
                    .insert(key.as_bytes().as_slice(), encode(&record).as_slice())?;
            }
            Change::Unit(record) => {
                let key = record.unit.as_bytes().as_slice();
                self.units.insert(key, encode(&record).as_slice())?;
                if !record.is_cyrus() {
                    self.roots
                        .insert(record.root.as_bytes(), encode(&record.unit).as_slice())?;
                }
            }
            Change::UnitGone(unit) => self.unit_gone(unit)?,
            Change::Name(record) => {
                self.name_gone(&record.name)?;
                for identifier in index::identifiers(&record.name, &record.acl) {
                    let key = index::key(&identifier, record.name.as_bytes());
                    self.visible.insert(key.as_slice(), [].as_slice())?;
                }
                self.names
                    .insert(record.name.as_bytes(), encode(&record).as_slice())?;
            }
            Change::NameGone(name) => self.name_gone(&name)?,
        }
        Ok(())
    }

    fn name_gone(&mut self, name: &Name) -> Result<(), ReplicaError> {
        let before = match self.names.remove(name.as_bytes())? {
            Some(before) => decode::<NameRecord>(before.value())?,
            None => return Ok(()),
        };
        for identifier in index::identifiers(name, &before.acl) {
            self.visible
                .remove(index::key(&identifier, name.as_bytes()).as_slice())?;
        }
        Ok(())
    }

    /// A unit goes with all its names.
    fn unit_gone(&mut self, unit: UnitId) -> Result<(), ReplicaError> {
        let Some(record) = read::<UnitRecord>(&self.units, unit.as_bytes())? else {
            return Ok(());
        };
        self.units.remove(unit.as_bytes().as_slice())?;
        if read::<UnitId>(&self.roots, record.root.as_bytes())? == Some(unit) {
            self.roots.remove(record.root.as_bytes())?;
        }
        let mut names: Vec<_> = read::<NameRecord>(&self.names, record.root.as_bytes())?
            .into_iter()
            .collect();
        let (low, high) = record.root.children_range();
        for row in self.names.range(low.as_slice()..high.as_slice())? {
            names.push(decode(row?.1.value())?);
        }
        for name in names.into_iter().filter(|name| name.unit == unit) {
            self.name_gone(&name.name)?;
        }
        Ok(())
    }
}

/// The generation that is shown, being read.
pub(super) struct Shown {
    pub(super) position: Position,
    pub(super) servers: ReadTable,
    pub(super) units: ReadTable,
    pub(super) roots: ReadTable,
    pub(super) names: ReadTable,
    pub(super) visible: ReadTable,
}

impl Shown {
    pub(super) fn open(tx: &ReadTransaction) -> Result<Self, ReplicaError> {
        let meta: Meta = read(&tx.open_table(META)?, META_KEY)?.unwrap_or_default();
        Ok(Self {
            position: meta.position,
            servers: tx.open_table(SERVERS[meta.active])?,
            units: tx.open_table(UNITS[meta.active])?,
            roots: tx.open_table(ROOTS[meta.active])?,
            names: tx.open_table(NAMES[meta.active])?,
            visible: tx.open_table(VISIBLE[meta.active])?,
        })
    }
}
