//! A copy of the location database, for routing, placement and listing.
//!
//! It applies the master's stream in order. A gap or a new term makes it ask for what it lacks; a
//! snapshot is staged beside what is shown and replaces it in one commit, so nothing is ever deleted
//! on the word of a list that did not come to its end. A replica can be thrown away at any time.
//!
//! In memory or in a file: in a file its memory is the cache, whatever the number of names.

mod index;
mod lookup;
mod place;
mod tables;
mod visible;

use std::path::Path;
use std::sync::Arc;

use murder_model::Term;
use redb::backends::InMemoryBackend;
use redb::{Database, Durability, StorageBackend};

use self::tables::{Generation, META, META_KEY, Meta};
use crate::record::Position;
use crate::request::{DecodeError, StreamItem, encode};

pub use lookup::{ReplicaReader, Route};
pub use place::{Placement, PlacementLimits};
pub use visible::Viewer;

/// How a replica is opened.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// Memory for pages of the database, in bytes.
    pub cache_bytes: usize,
    /// Changes between two commits that reach the disk; a crash costs a catch-up from the last.
    pub changes_per_sync: u64,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 32 * 1024 * 1024,
            changes_per_sync: 1000,
        }
    }
}

/// Why a replica cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The database failed.
    #[error("cannot use location replica: {0}")]
    Database(#[from] Box<redb::Error>),
    /// A row is damaged.
    #[error("cannot decode row of location replica: {0}")]
    Row(#[from] DecodeError),
}

macro_rules! database_error {
    ($($error:ty),*) => {$(
        impl From<$error> for ReplicaError {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        }
    )*};
}
database_error!(
    redb::CommitError,
    redb::DatabaseError,
    redb::SetDurabilityError,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError
);

/// What a replica lacks after it was fed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// Nothing: go on.
    Nothing,
    /// The changes after its position; a snapshot if they are no longer to be had.
    CatchUp {
        /// Where it is.
        after: Position,
    },
}

/// A replica; the one place where it is written.
#[derive(Debug)]
pub struct Replica {
    database: Arc<Database>,
    meta: Meta,
    /// Reign of the snapshot that is being staged.
    staging: Option<Term>,
    changes_per_sync: u64,
    unsynced: u64,
}

impl Replica {
    /// Opens or creates a replica in a file.
    pub fn open(path: &Path, options: &ReplicaOptions) -> Result<Self, ReplicaError> {
        let database = Database::builder()
            .set_cache_size(options.cache_bytes)
            .create(path)?;
        Self::with_database(database, options)
    }

    /// A replica on a backend.
    pub fn with_backend(
        backend: impl StorageBackend,
        options: &ReplicaOptions,
    ) -> Result<Self, ReplicaError> {
        let database = Database::builder()
            .set_cache_size(options.cache_bytes)
            .create_with_backend(backend)?;
        Self::with_database(database, options)
    }

    /// A replica in memory.
    pub fn in_memory(options: &ReplicaOptions) -> Result<Self, ReplicaError> {
        Self::with_backend(InMemoryBackend::new(), options)
    }

    fn with_database(database: Database, options: &ReplicaOptions) -> Result<Self, ReplicaError> {
        let tx = database.begin_write()?;
        let meta = {
            let mut table = tx.open_table(META)?;
            let found = tables::read::<Meta>(&table, META_KEY)?;
            let meta = found.unwrap_or_default();
            table.insert(META_KEY, encode(&meta).as_slice())?;
            for generation in [0, 1] {
                Generation::open(&tx, generation)?;
            }
            meta
        };
        tx.commit()?;
        Ok(Self {
            database: Arc::new(database),
            meta,
            staging: None,
            changes_per_sync: options.changes_per_sync,
            unsynced: 0,
        })
    }

    /// Everything up to here is applied.
    pub fn position(&self) -> Position {
        self.meta.position
    }

    /// Looks things up, from any thread.
    pub fn reader(&self) -> ReplicaReader {
        ReplicaReader::new(Arc::clone(&self.database))
    }

    /// Applies what came from the master, in one commit. Changes that were applied before are passed
    /// over; what cannot follow is left out and asked for.
    pub fn apply(&mut self, items: Vec<StreamItem>) -> Result<Need, ReplicaError> {
        let mut tx = self.database.begin_write()?;
        let mut meta = self.meta.clone();
        let mut staging = self.staging;
        let mut need = Need::Nothing;
        self.unsynced += items.len() as u64;
        let mut sync = self.unsynced >= self.changes_per_sync;
        for run in runs(items) {
            match run {
                Run::Changes(changes) => {
                    let mut tables = Generation::open(&tx, meta.active)?;
                    for (position, change) in changes {
                        let here = meta.position;
                        if position.term == here.term && position.seq <= here.seq {
                            continue;
                        }
                        if !follows(here, position) {
                            need = Need::CatchUp { after: here };
                            break;
                        }
                        tables.apply(change)?;
                        meta.position = position;
                    }
                }
                Run::Begin(term) => {
                    Generation::clear(&tx, staged(&meta))?;
                    staging = Some(term);
                }
                Run::Part(changes) if staging.is_some() => {
                    let mut tables = Generation::open(&tx, staged(&meta))?;
                    for change in changes {
                        tables.apply(change)?;
                    }
                }
                Run::End(position) if staging == Some(position.term) => {
                    let active = staged(&meta);
                    meta = Meta { active, position };
                    Generation::clear(&tx, 1 - active)?;
                    staging = None;
                    need = Need::Nothing;
                    sync = true;
                }
                Run::Part(_) | Run::End(_) => {
                    need = Need::CatchUp {
                        after: meta.position,
                    }
                }
            }
        }
        tx.open_table(META)?
            .insert(META_KEY, encode(&meta).as_slice())?;
        if sync {
            self.unsynced = 0;
        } else {
            tx.set_durability(Durability::None)?;
        }
        tx.commit()?;
        self.meta = meta;
        self.staging = staging;
        Ok(need)
    }
}

/// The generation that takes a snapshot: never the one that is shown.
fn staged(meta: &Meta) -> usize {
    #[cfg(feature = "mutants")]
    if crate::mutant::is(crate::mutant::Fault::DeleteOnPartialList) {
        return meta.active;
    }
    1 - meta.active
}

/// Whether a change comes right after what is applied.
fn follows(here: Position, change: Position) -> bool {
    #[cfg(feature = "mutants")]
    if crate::mutant::is(crate::mutant::Fault::ReplicaIgnoresGaps) {
        return change.term == here.term;
    }
    change.term == here.term && change.seq == here.seq + 1
}

/// Items of one kind in a row, so that tables are opened once for many.
enum Run {
    Changes(Vec<(Position, crate::request::Change)>),
    Begin(Term),
    Part(Vec<crate::request::Change>),
    End(Position),
}

fn runs(items: Vec<StreamItem>) -> Vec<Run> {
    let mut runs = Vec::new();
    for item in items {
        match item {
            StreamItem::Change { position, change } => match runs.last_mut() {
                Some(Run::Changes(changes)) => changes.push((position, change)),
                _ => runs.push(Run::Changes(vec![(position, change)])),
            },
            StreamItem::SnapshotBegin { term } => runs.push(Run::Begin(term)),
            StreamItem::SnapshotPart(changes) => runs.push(Run::Part(changes)),
            StreamItem::SnapshotEnd { position } => runs.push(Run::End(position)),
        }
    }
    runs
}
