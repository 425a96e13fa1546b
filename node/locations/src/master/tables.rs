//! The tables of the location database, and one batch's view of them.
//!
//! Keys are octets in the order they are wanted in; values are encoded as on the wire. Every
//! change of a server, unit or name is also appended to a ring from which replicas catch up.

use std::ops::Bound;

use murder_model::{Epoch, Fence, OutboxNumber, ServerId, ServerName, Term, UnitId};
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{MasterError, Stop};
use crate::name::Name;
use crate::record::{NameRecord, Position, ServerRecord, UnitRecord};
use crate::request::{Change, Refusal, decode, encode};

pub(crate) type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;
type Bytes<'t> = Table<'t, &'static [u8], &'static [u8]>;

pub(crate) const META: Definition = TableDefinition::new("meta");
pub(crate) const SERVERS: Definition = TableDefinition::new("servers");
const SERVER_NAMES: Definition = TableDefinition::new("server_names");
pub(crate) const UNITS: Definition = TableDefinition::new("units");
pub(crate) const ROOTS: Definition = TableDefinition::new("roots");
const CYRUS_UNITS: Definition = TableDefinition::new("cyrus_units");
pub(crate) const OWNED: Definition = TableDefinition::new("owned");
const OUTBOX: Definition = TableDefinition::new("outbox");
const ASKED: Definition = TableDefinition::new("asked");
const HEARD: Definition = TableDefinition::new("heard");
const DROPPED: Definition = TableDefinition::new("dropped");
pub(crate) const NAMES: Definition = TableDefinition::new("names");
pub(crate) const RING: Definition = TableDefinition::new("ring");

/// The single row of the table `meta`.
pub(crate) const META_KEY: &[u8] = b"master";

/// What the master knows beside its rows.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Meta {
    /// Its reign.
    pub(crate) term: Term,
    /// Changes so far.
    pub(crate) seq: u64,
    /// The ring holds the changes after this one.
    pub(crate) ring_after: u64,
    /// Highest UIDVALIDITY that was ever named (O7).
    pub(super) uidvalidity_max: u32,
    /// Highest fence seen.
    pub(super) fence: Fence,
    /// Servers that must report before a root is granted (O5).
    pub(super) awaited: Vec<ServerName>,
    /// Number of the last unit made for Cyrus.
    pub(super) cyrus_units: u64,
}

impl Meta {
    pub(crate) fn position(&self) -> Position {
        Position {
            term: self.term,
            seq: self.seq,
        }
    }
}

/// A unit of Cyrus: its id and its rows.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct CyrusUnit {
    pub(super) unit: UnitId,
    pub(super) rows: u64,
}

/// A later epoch of a unit than the master has of record, which a server without the unit reported:
/// somebody was granted it, and until that server reports nothing may be said of the unit.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Heard {
    pub(super) epoch: Epoch,
    pub(super) by: ServerName,
    /// The reporter had, or took part in, that epoch, and holds nothing now.
    pub(super) gone: bool,
    /// The reporter gave the unit to this server at that epoch.
    pub(super) moved_to: Option<ServerName>,
}

/// The tables during one batch.
pub(super) struct Tables<'t> {
    pub(super) meta: Meta,
    meta_before: Meta,
    meta_table: Bytes<'t>,
    servers: Bytes<'t>,
    server_names: Bytes<'t>,
    units: Bytes<'t>,
    roots: Bytes<'t>,
    cyrus_units: Bytes<'t>,
    owned: Bytes<'t>,
    outbox: Bytes<'t>,
    dropped: Bytes<'t>,
    heard: Bytes<'t>,
    asked: Bytes<'t>,
    pub(super) names: Bytes<'t>,
    ring: Bytes<'t>,
    changes: Vec<Change>,
    touched: bool,
}

/// Reads and decodes one value.
pub(crate) fn read<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<T>, MasterError> {
    match table.get(key)? {
        Some(value) => Ok(Some(decode(value.value())?)),
        None => Ok(None),
    }
}

impl<'t> Tables<'t> {
    pub(super) fn open(tx: &'t WriteTransaction, meta: &Meta) -> Result<Self, MasterError> {
        Ok(Self {
            meta: meta.clone(),
            meta_before: meta.clone(),
            meta_table: tx.open_table(META)?,
            servers: tx.open_table(SERVERS)?,
            server_names: tx.open_table(SERVER_NAMES)?,
            units: tx.open_table(UNITS)?,
            roots: tx.open_table(ROOTS)?,
            cyrus_units: tx.open_table(CYRUS_UNITS)?,
            owned: tx.open_table(OWNED)?,
            outbox: tx.open_table(OUTBOX)?,
            dropped: tx.open_table(DROPPED)?,
            heard: tx.open_table(HEARD)?,
            asked: tx.open_table(ASKED)?,
            names: tx.open_table(NAMES)?,
            ring: tx.open_table(RING)?,
            changes: Vec::new(),
            touched: false,
        })
    }

    /// Writes the batch's changes to the ring; answers whether there is anything to commit.
    pub(super) fn finish(&mut self, ring_changes_max: u64) -> Result<bool, MasterError> {
        if self.meta.term != self.meta_before.term {
            self.ring.retain(|_, _| false)?;
            self.meta.ring_after = self.meta.seq;
        }
        for change in self.changes.drain(..) {
            self.meta.seq += 1;
            let key = self.meta.seq.to_be_bytes();
            self.ring
                .insert(key.as_slice(), encode(&change).as_slice())?;
        }
        while self.meta.seq - self.meta.ring_after > ring_changes_max {
            self.meta.ring_after += 1;
            self.ring
                .remove(self.meta.ring_after.to_be_bytes().as_slice())?;
        }
        let changed = self.meta != self.meta_before;
        if changed {
            self.meta_table
                .insert(META_KEY, encode(&self.meta).as_slice())?;
        }
        Ok(changed || self.touched)
    }

    /// Where the stream is after the batch so far.
    pub(super) fn position(&self) -> Position {
        let seq = self.meta.seq + self.changes.len() as u64;
        Position {
            term: self.meta.term,
            seq,
        }
    }

    pub(super) fn server(&self, id: ServerId) -> Result<Option<ServerRecord>, MasterError> {
        read(&self.servers, id.as_bytes())
    }

    pub(super) fn server_by_name(
        &self,
        name: &ServerName,
    ) -> Result<Option<ServerRecord>, MasterError> {
        match read::<ServerId>(&self.server_names, name.as_str().as_bytes())? {
            Some(id) => self.server(id),
            None => Ok(None),
        }
    }

    pub(super) fn put_server(&mut self, mut record: ServerRecord) -> Result<(), MasterError> {
        record.ready = !record.retired
            && record.restored == crate::record::Restored::No
            && record.reported_term == self.meta.term;
        self.servers.insert(
            record.server_id.as_bytes().as_slice(),
            encode(&record).as_slice(),
        )?;
        if !record.retired || self.server_by_name(&record.server)?.is_none() {
            let id = encode(&record.server_id);
            self.server_names
                .insert(record.server.as_str().as_bytes(), id.as_slice())?;
        }
        self.changes.push(Change::Server(record));
        Ok(())
    }

    pub(super) fn all_servers(&self) -> Result<Vec<ServerRecord>, MasterError> {
        self.servers
            .iter()?
            .map(|row| Ok(decode(row?.1.value())?))
            .collect()
    }

    /// Names of the servers that have yet to report to this term (O5).
    pub(super) fn awaited(&self) -> Result<Vec<ServerName>, MasterError> {
        let mut names = self.meta.awaited.clone();
        for server in self.all_servers()? {
            if !server.retired
                && server.reported_term != self.meta.term
                && !names.contains(&server.server)
            {
                names.push(server.server);
            }
        }
        Ok(names)
    }

    pub(super) fn unit(&self, unit: UnitId) -> Result<Option<UnitRecord>, MasterError> {
        read(&self.units, unit.as_bytes())
    }

    pub(super) fn unit_by_root(&self, root: &Name) -> Result<Option<UnitRecord>, MasterError> {
        match read::<UnitId>(&self.roots, root.as_bytes())? {
            Some(unit) => self.unit(unit),
            None => Ok(None),
        }
    }

    /// Whether one of our own units has the root.
    pub(super) fn has_root(&self, root: &Name) -> Result<bool, MasterError> {
        Ok(self.roots.get(root.as_bytes())?.is_some())
    }

    /// Writes a unit, keeping the indexes by root and owner.
    pub(super) fn put_unit(&mut self, record: UnitRecord) -> Result<(), MasterError> {
        if self
            .heard(record.unit)?
            .is_some_and(|heard| heard.epoch <= record.epoch)
        {
            self.heard.remove(record.unit.as_bytes().as_slice())?;
        }
        if let Some(before) = self.unit(record.unit)?
            && before.server_id != record.server_id
        {
            self.owned
                .remove(owned_key(before.server_id, before.unit).as_slice())?;
        }
        self.units.insert(
            record.unit.as_bytes().as_slice(),
            encode(&record).as_slice(),
        )?;
        if !record.is_cyrus() {
            self.owned.insert(
                owned_key(record.server_id, record.unit).as_slice(),
                &[] as &[u8],
            )?;
            self.roots
                .insert(record.root.as_bytes(), encode(&record.unit).as_slice())?;
        }
        self.changes.push(Change::Unit(record));
        Ok(())
    }

    /// The term that this master last asked a server to promise.
    pub(super) fn asked(&self, server: ServerId) -> Result<Option<Term>, MasterError> {
        read(&self.asked, server.as_bytes())
    }

    pub(super) fn put_asked(&mut self, server: ServerId) -> Result<(), MasterError> {
        let term = encode(&self.meta.term);
        self.asked
            .insert(server.as_bytes().as_slice(), term.as_slice())?;
        self.touched = true;
        Ok(())
    }

    pub(super) fn heard(&self, unit: UnitId) -> Result<Option<Heard>, MasterError> {
        read(&self.heard, unit.as_bytes())
    }

    pub(super) fn put_heard(&mut self, unit: UnitId, heard: &Heard) -> Result<(), MasterError> {
        self.heard
            .insert(unit.as_bytes().as_slice(), encode(heard).as_slice())?;
        self.touched = true;
        Ok(())
    }

    /// Removes a unit and every name of it; its id and epoch stay known.
    pub(super) fn drop_unit(&mut self, record: &UnitRecord) -> Result<(), MasterError> {
        for name in self.names_of(record)? {
            self.names.remove(name.name.as_bytes())?;
        }
        self.remove_unit(record)?;
        self.put_dropped(record.unit, record.epoch)
    }

    /// A unit's id is never granted again.
    pub(super) fn put_dropped(&mut self, unit: UnitId, epoch: Epoch) -> Result<(), MasterError> {
        self.dropped
            .insert(unit.as_bytes().as_slice(), encode(&epoch).as_slice())?;
        self.touched = true;
        Ok(())
    }

    /// Removes a unit's row and its places in the indexes.
    pub(super) fn remove_unit(&mut self, record: &UnitRecord) -> Result<(), MasterError> {
        self.units.remove(record.unit.as_bytes().as_slice())?;
        self.outbox.remove(record.unit.as_bytes().as_slice())?;
        if !record.is_cyrus() {
            self.owned
                .remove(owned_key(record.server_id, record.unit).as_slice())?;
            self.roots.remove(record.root.as_bytes())?;
        }
        self.changes.push(Change::UnitGone(record.unit));
        Ok(())
    }

    pub(super) fn dropped(&self, unit: UnitId) -> Result<Option<Epoch>, MasterError> {
        read(&self.dropped, unit.as_bytes())
    }

    /// Units of record at a server.
    pub(super) fn owned_count(&self, server: ServerId) -> Result<u64, MasterError> {
        let low = owned_key(server, UnitId::from_bytes([0; 16]));
        let high = owned_key(server, UnitId::from_bytes([0xff; 16]));
        Ok(self.owned.range(low.as_slice()..=high.as_slice())?.count() as u64)
    }

    pub(super) fn outbox(&self, unit: UnitId) -> Result<(Epoch, OutboxNumber), MasterError> {
        let none = (Epoch::new(0), OutboxNumber::new(0));
        Ok(read(&self.outbox, unit.as_bytes())?.unwrap_or(none))
    }

    pub(super) fn put_outbox(
        &mut self,
        unit: UnitId,
        epoch: Epoch,
        number: OutboxNumber,
    ) -> Result<(), MasterError> {
        let value = encode(&(epoch, number));
        self.outbox
            .insert(unit.as_bytes().as_slice(), value.as_slice())?;
        self.touched = true;
        Ok(())
    }

    pub(super) fn name(&self, name: &Name) -> Result<Option<NameRecord>, MasterError> {
        read(&self.names, name.as_bytes())
    }

    pub(super) fn put_name(&mut self, record: NameRecord) -> Result<(), MasterError> {
        self.names
            .insert(record.name.as_bytes(), encode(&record).as_slice())?;
        self.changes.push(Change::Name(record));
        Ok(())
    }

    pub(super) fn remove_name(&mut self, name: &Name) -> Result<(), MasterError> {
        if self.names.remove(name.as_bytes())?.is_some() {
            self.changes.push(Change::NameGone(name.clone()));
        }
        Ok(())
    }

    /// Every published name of a unit.
    pub(super) fn names_of(&self, record: &UnitRecord) -> Result<Vec<NameRecord>, MasterError> {
        let mut names: Vec<_> = self.name(&record.root)?.into_iter().collect();
        let (low, high) = record.root.children_range();
        for row in self.names.range(low.as_slice()..high.as_slice())? {
            names.push(decode(row?.1.value())?);
        }
        names.retain(|name| name.unit == record.unit);
        Ok(names)
    }

    /// Whether any name is the root or lies under it.
    pub(super) fn has_names_under(&self, root: &Name) -> Result<bool, MasterError> {
        let (low, high) = root.children_range();
        let bounds = (
            Bound::Included(low.as_slice()),
            Bound::Excluded(high.as_slice()),
        );
        Ok(self.names.get(root.as_bytes())?.is_some()
            || self.names.range::<&[u8]>(bounds)?.next().is_some())
    }

    pub(super) fn cyrus_unit(
        &self,
        root: &Name,
        server: &ServerName,
    ) -> Result<Option<CyrusUnit>, MasterError> {
        read(&self.cyrus_units, &cyrus_key(root, server))
    }

    pub(super) fn put_cyrus_unit(
        &mut self,
        root: &Name,
        server: &ServerName,
        unit: Option<CyrusUnit>,
    ) -> Result<(), MasterError> {
        let key = cyrus_key(root, server);
        match unit {
            Some(unit) => self
                .cyrus_units
                .insert(key.as_slice(), encode(&unit).as_slice())?,
            None => self.cyrus_units.remove(key.as_slice())?,
        };
        self.touched = true;
        Ok(())
    }

    /// The master's own record cannot be all there was: it begins a new reign, to which every server
    /// reports again (O5).
    pub(super) fn begin_term(&mut self, above: Term) -> Result<Term, Stop> {
        let term = Term::new(above.get().max(self.meta.term.get()).saturating_add(1));
        if term.get() == u64::MAX {
            return Err(Refusal::WrongTerm {
                theirs: above,
                ours: self.meta.term,
            }
            .into());
        }
        self.meta.term = term;
        for server in self.all_servers()? {
            self.put_server(server)?;
        }
        Ok(term)
    }
}

fn owned_key(server: ServerId, unit: UnitId) -> Vec<u8> {
    [server.as_bytes().as_slice(), unit.as_bytes().as_slice()].concat()
}

fn cyrus_key(root: &Name, server: &ServerName) -> Vec<u8> {
    [root.as_bytes(), b"\0", server.as_str().as_bytes()].concat()
}
