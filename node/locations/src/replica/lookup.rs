//! Looking up names, units and servers in a replica.

use std::sync::Arc;

use murder_model::{Epoch, PartitionName, ServerName, Term, UnitId};
use redb::{Database, ReadableDatabase, ReadableTable};

use super::ReplicaError;
use super::tables::{Shown, read};
use crate::name::Name;
use crate::record::{NameRecord, Position, ServerRecord, UnitRecord};
use crate::request::decode;

/// Looks things up in what is committed; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct ReplicaReader {
    database: Arc<Database>,
}

/// Where a name is served, as far as this replica knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// The unit that the name belongs to, or would.
    pub unit: UnitRecord,
    /// The owner; `None` for a Cyrus server, which is known by name only.
    pub server: Option<ServerRecord>,
    /// The name's own row; `None` if only its root, or an ancestor, is known: its owner knows.
    pub row: Option<NameRecord>,
}

impl Route {
    /// Name of the owner.
    pub fn server_name(&self) -> &ServerName {
        &self.unit.server
    }

    /// Partition of the unit.
    pub fn partition(&self) -> Option<&PartitionName> {
        self.unit.partition.as_ref()
    }

    /// Whether a "moved to" with this term and epoch is news to the replica (O3).
    pub fn is_older_than(&self, term: Term, epoch: Epoch) -> bool {
        (self.unit.term, self.unit.epoch) < (term, epoch)
    }
}

impl ReplicaReader {
    pub(super) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    pub(super) fn shown(&self) -> Result<Shown, ReplicaError> {
        Shown::open(&self.database.begin_read()?)
    }

    /// Pages that lookups have read so far, from memory or disk: what they cost.
    pub fn pages_read(&self) -> u64 {
        let stats = self.database.cache_stats();
        stats.read_hits() + stats.read_misses()
    }

    /// Everything up to here is shown.
    pub fn position(&self) -> Result<Position, ReplicaError> {
        Ok(self.shown()?.position)
    }

    /// Whether all that the master had acknowledged at `barrier` (its answer to a NOOP) is shown. Only
    /// then may an unknown name be refused for good, and only if the barrier was asked for after the
    /// question came. Another reign proves nothing.
    pub fn fresh_as_of(&self, barrier: Position) -> Result<bool, ReplicaError> {
        let here = self.position()?;
        Ok(here.term == barrier.term && here.seq >= barrier.seq)
    }

    /// Where a name is served: by its own row, else by its longest known root. `None` is no proof
    /// that it does not exist; see [`Self::fresh_as_of`].
    pub fn route(&self, name: &Name) -> Result<Option<Route>, ReplicaError> {
        let shown = self.shown()?;
        let row = read::<NameRecord>(&shown.names, name.as_bytes())?;
        let root = read::<UnitId>(&shown.roots, name.root().as_bytes())?;
        let unit = match (root, &row) {
            (Some(unit), _) => unit,
            (None, Some(row)) => row.unit,
            (None, None) => match ancestor(&shown, name)? {
                Some(row) => row.unit,
                None => return Ok(None),
            },
        };
        let Some(unit) = read::<UnitRecord>(&shown.units, unit.as_bytes())? else {
            return Ok(None);
        };
        let server = read::<ServerRecord>(&shown.servers, unit.server_id.as_bytes())?;
        let row = row.filter(|row| row.unit == unit.unit);
        Ok(Some(Route { unit, server, row }))
    }

    /// The row of a name.
    pub fn name(&self, name: &Name) -> Result<Option<NameRecord>, ReplicaError> {
        read(&self.shown()?.names, name.as_bytes())
    }

    /// A unit.
    pub fn unit(&self, unit: UnitId) -> Result<Option<UnitRecord>, ReplicaError> {
        read(&self.shown()?.units, unit.as_bytes())
    }

    /// The unit that has a root.
    pub fn unit_by_root(&self, root: &Name) -> Result<Option<UnitRecord>, ReplicaError> {
        let shown = self.shown()?;
        match read::<UnitId>(&shown.roots, root.as_bytes())? {
            Some(unit) => read(&shown.units, unit.as_bytes()),
            None => Ok(None),
        }
    }

    /// All servers.
    pub fn servers(&self) -> Result<Vec<ServerRecord>, ReplicaError> {
        self.shown()?
            .servers
            .iter()?
            .map(|row| Ok(decode(row?.1.value())?))
            .collect()
    }

    /// The server that has a name, if it is not retired.
    pub fn server(&self, name: &ServerName) -> Result<Option<ServerRecord>, ReplicaError> {
        let servers = self.servers()?;
        Ok(servers
            .into_iter()
            .find(|server| server.server == *name && !server.retired))
    }

    /// Whether any name lies under this one, visible or not.
    pub fn has_children(&self, name: &Name) -> Result<bool, ReplicaError> {
        let (low, high) = name.children_range();
        let shown = self.shown()?;
        Ok(shown
            .names
            .range(low.as_slice()..high.as_slice())?
            .next()
            .is_some())
    }
}

/// The nearest name above that has a row: how unknown folders of Cyrus servers are routed.
fn ancestor(shown: &Shown, name: &Name) -> Result<Option<NameRecord>, ReplicaError> {
    let mut above = name.parent();
    while let Some(name) = above {
        if let Some(row) = read(&shown.names, name.as_bytes())? {
            return Ok(Some(row));
        }
        above = name.parent();
    }
    Ok(None)
}
