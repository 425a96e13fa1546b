//! The mupdate master: who owns which unit, where names are, in one durable database.
//!
//! [`Master::batch`] answers many requests with one durable commit, and nothing it answers is
//! undone by a crash. There is one master and no standby here. A database that is created anew or
//! recovered from a copy begins a new term, and until the servers have reported it grants and
//! answers only what rule O5 allows (`docs/ownership.md`). A database that finds in a report that it
//! has lost something does the same by itself.

mod count;
mod cyrus;
mod operator;
mod own;
mod reader;
mod report;
pub(crate) mod tables;
mod units;

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use murder_model::{Fence, ServerName, Term};
use redb::backends::InMemoryBackend;
use redb::{Database, StorageBackend};

use self::tables::{META, META_KEY, Meta, Tables};
use crate::record::{Position, ServerRecord, Standing, UnitRecord};
use crate::request::{DecodeError, Identity, Refusal, Request, Response, Role, UnitRef, encode};

pub use count::NameCount;
pub use reader::{CHANGES_PAGE_MAX, LIST_SCAN_MAX, MasterReader, Since, Snapshot};

/// How a master is opened.
#[derive(Clone, Debug)]
pub struct MasterOptions {
    /// Memory for pages of the database, in bytes; it does not grow with the rows.
    pub cache_bytes: usize,
    /// Changes kept for replicas that come back; older ones take a snapshot.
    pub ring_changes_max: u64,
    /// Servers that may hold mail: a database made anew grants no root before they have reported.
    /// Empty for a new murder. Of no effect on a database that exists.
    pub awaited: Vec<ServerName>,
    /// The database is an older copy of itself: begin a new term.
    pub recovered: bool,
}

impl Default for MasterOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 * 1024 * 1024,
            ring_changes_max: 100_000,
            awaited: Vec::new(),
            recovered: false,
        }
    }
}

/// Why the master stops: it answers nothing more until it is opened again.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// The database failed.
    #[error("cannot use location database: {0}")]
    Database(#[from] Box<redb::Error>),
    /// A row is damaged.
    #[error("cannot decode row of location database: {0}")]
    Row(#[from] DecodeError),
}

macro_rules! database_error {
    ($($error:ty),*) => {$(
        impl From<$error> for MasterError {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        }
    )*};
}
database_error!(
    redb::CommitError,
    redb::DatabaseError,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError
);

/// Why a request ends early.
enum Stop {
    Refused(Refusal),
    Failed(MasterError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<E: Into<MasterError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

type Answer = Result<Response, Stop>;

/// The master of a murder.
#[derive(Debug)]
pub struct Master {
    database: Arc<Database>,
    meta: Meta,
    ring_changes_max: u64,
}

impl Master {
    /// Opens or creates the database in a file, whose name is durable when this returns.
    pub fn open(path: &Path, options: MasterOptions) -> Result<Self, MasterError> {
        if !path.exists() {
            create(path).map_err(redb::StorageError::Io)?;
        }
        let database = Database::builder()
            .set_cache_size(options.cache_bytes)
            .create(path)?;
        // A commit syncs the file's content; without its name a power loss would take all of it.
        sync_directory(path)?;
        Self::with_database(database, options)
    }

    /// Opens or creates the database on a backend, as simulations do.
    pub fn with_backend(
        backend: impl StorageBackend,
        options: MasterOptions,
    ) -> Result<Self, MasterError> {
        let database = Database::builder()
            .set_cache_size(options.cache_bytes)
            .create_with_backend(backend)?;
        Self::with_database(database, options)
    }

    /// A master whose memory is its only storage.
    pub fn in_memory(options: MasterOptions) -> Result<Self, MasterError> {
        Self::with_backend(InMemoryBackend::new(), options)
    }

    fn with_database(database: Database, options: MasterOptions) -> Result<Self, MasterError> {
        let tx = database.begin_write()?;
        let found = tables::read::<Meta>(&tx.open_table(META)?, META_KEY)?;
        let made_anew = Meta {
            term: Term::new(1),
            seq: 0,
            ring_after: 0,
            uidvalidity_max: 0,
            fence: Fence::new(0),
            awaited: options.awaited,
            cyrus_units: 0,
        };
        let mut tables = Tables::open(&tx, found.as_ref().unwrap_or(&made_anew))?;
        if found.is_some() && options.recovered {
            let term = tables.meta.term;
            tables.begin_term(term).map_err(|stop| match stop {
                Stop::Failed(error) => error,
                Stop::Refused(_) => redb::StorageError::Corrupted("no term is left".into()).into(),
            })?;
        }
        tables.finish(options.ring_changes_max)?;
        let meta = tables.meta.clone();
        drop(tables);
        tx.open_table(META)?
            .insert(META_KEY, encode(&meta).as_slice())?;
        tx.commit()?;
        let database = Arc::new(database);
        Ok(Self {
            database,
            meta,
            ring_changes_max: options.ring_changes_max,
        })
    }

    /// The reign.
    pub fn term(&self) -> Term {
        self.meta.term
    }

    /// Everything acknowledged lies at or before this place in the stream.
    pub fn position(&self) -> Position {
        self.meta.position()
    }

    /// Reads what is committed, from any thread.
    pub fn reader(&self) -> MasterReader {
        MasterReader::new(Arc::clone(&self.database))
    }

    /// Answers requests in order, each seeing what the ones before it wrote. When this returns, the
    /// answers are durable and may be sent; after an error none may be, and the outcome is unknown
    /// until the database is opened again.
    pub fn batch(
        &mut self,
        requests: Vec<(Identity, Request)>,
    ) -> Result<Vec<Response>, MasterError> {
        let tx = self.database.begin_write()?;
        #[cfg(feature = "mutants")]
        let tx = faulty(tx)?;
        let mut tables = Tables::open(&tx, &self.meta)?;
        let mut answers = Vec::with_capacity(requests.len());
        for (who, request) in requests {
            answers.push(match answer(&mut tables, &who, request) {
                Ok(response) => response,
                Err(Stop::Refused(refusal)) => Response::Refused(refusal),
                Err(Stop::Failed(error)) => return Err(error),
            });
        }
        let changed = tables.finish(self.ring_changes_max)?;
        let meta = tables.meta.clone();
        drop(tables);
        if changed {
            // COMMIT POINT of every answer in the batch.
            tx.commit()?;
            self.meta = meta;
        } else {
            tx.abort()?;
        }
        Ok(answers)
    }

    /// A batch of one.
    pub fn apply(&mut self, who: &Identity, request: Request) -> Result<Response, MasterError> {
        let mut answers = self.batch(vec![(who.clone(), request)])?;
        Ok(answers.pop().expect("a batch answers each request"))
    }
}

/// Makes a database without rows. It gets its name when it is whole: a file that was cut off in the
/// middle of its creation is none that could be opened again.
fn create(path: &Path) -> io::Result<()> {
    let new = path.with_extension("redb.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    drop(Database::create(&new).map_err(io::Error::other)?);
    File::open(&new)?.sync_all()?;
    fs::rename(&new, path)
}

fn sync_directory(path: &Path) -> Result<(), redb::StorageError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(redb::StorageError::Io)
}

/// A transaction that a crash may undo after it was answered, if that is the fault chosen.
#[cfg(feature = "mutants")]
fn faulty(mut tx: redb::WriteTransaction) -> Result<redb::WriteTransaction, MasterError> {
    if crate::mutant::is(crate::mutant::Fault::MasterSkipsSync) {
        let set = tx.set_durability(redb::Durability::None);
        set.map_err(|error| MasterError::Database(Box::new(error.into())))?;
    }
    Ok(tx)
}

fn answer(tables: &mut Tables<'_>, who: &Identity, request: Request) -> Answer {
    match request {
        Request::Report(report) => tables.report(who, report),
        Request::ReportUnit(unit) => tables.report_unit(who, unit),
        Request::ReportDone {
            server_id,
            incarnation,
        } => tables.report_done(who, server_id, incarnation),
        Request::Space {
            server_id,
            partitions,
        } => tables.space(who, server_id, partitions),
        Request::UidValidityRaised { server_id } => tables.uidvalidity_raised(who, server_id),
        Request::Grant {
            unit,
            root,
            partition,
            term,
        } => tables.grant(who, unit, &root, partition, term),
        Request::Flip {
            unit,
            from_epoch,
            destination,
            partition,
            move_id,
            attempt,
            term,
        } => {
            let flip = own::FlipAsk {
                from_epoch,
                destination,
                partition,
                move_id,
                attempt,
            };
            tables.flip(who, unit, term, flip)
        }
        Request::Settle {
            unit,
            epoch,
            move_id,
            term,
        } => tables.settle(who, unit, epoch, move_id, term),
        Request::Row(row) => tables.row(who, row),
        Request::DropUnit {
            unit,
            epoch,
            number: _,
            uidvalidity_max,
        } => tables.drop_owned(who, unit, epoch, uidvalidity_max),
        Request::FindUnit(unit) => find_unit(tables, &unit),
        Request::Find(name) => {
            let lines = reader::find(&tables.names, |unit| tables.unit(unit), &name)?;
            Ok(Response::Lines {
                lines: lines.into_iter().collect(),
                next: None,
            })
        }
        Request::List {
            prefix,
            after,
            limit,
        } => {
            let unit = |unit| tables.unit(unit);
            let page = reader::list(&tables.names, unit, &prefix, after.as_ref(), limit as usize)?;
            Ok(Response::Lines {
                lines: page.0,
                next: page.1,
            })
        }
        Request::Reserve { name, location } => tables.reserve(who, name, location),
        Request::Activate {
            name,
            location,
            acl,
        } => tables.activate(who, name, location, acl),
        Request::Deactivate { name, location } => tables.deactivate(who, &name, location),
        Request::Delete(name) => tables.delete(who, &name),
        Request::SetFlags {
            server,
            flags,
            fence,
        } => tables.set_flags(who, &server, flags, fence),
        Request::Retire { server_id, fence } => tables.retire(who, server_id, fence),
        Request::Confirm { server_id, fence } => tables.confirm(who, server_id, fence),
        Request::Raise { fence } => tables.raise_fence(who, fence),
        Request::Await { servers, fence } => tables.await_servers(who, servers, fence),
        Request::Servers => Ok(Response::Servers(tables.all_servers()?)),
        Request::Barrier => {
            complete(tables)?;
            Ok(Response::At(tables.position()))
        }
    }
}

fn find_unit(tables: &Tables<'_>, unit: &UnitRef) -> Answer {
    let record = match unit {
        UnitRef::Id(unit) => tables.unit(*unit)?,
        UnitRef::Root(root) => tables.unit_by_root(root)?,
    };
    match (&record, unit) {
        (Some(record), _) => answerable(tables, record)?,
        (None, UnitRef::Id(unit)) if tables.dropped(*unit)?.is_some() => {
            return Err(Refusal::UnitDropped.into());
        }
        (None, UnitRef::Id(unit)) => {
            if let Some(heard) = tables.heard(*unit)? {
                return Err(Refusal::AwaitingReports(vec![heard.by]).into());
            }
        }
        (None, UnitRef::Root(_)) => complete(tables)?,
    }
    Ok(Response::Unit(record))
}

/// O5: what is not on record was never granted only if every server has reported.
fn complete(tables: &Tables<'_>) -> Result<(), Stop> {
    let awaited = tables.awaited()?;
    #[cfg(feature = "mutants")]
    if crate::mutant::is(crate::mutant::Fault::ProofBeforeReports) {
        return Ok(());
    }
    if awaited.is_empty() {
        Ok(())
    } else {
        Err(Refusal::AwaitingReports(awaited).into())
    }
}

/// O5: the master speaks for a unit once its owner, and for a released one both sides, have reported.
fn answerable(tables: &Tables<'_>, record: &UnitRecord) -> Result<(), Stop> {
    if record.is_cyrus() {
        return Ok(());
    }
    if record.confirmed != tables.meta.term {
        return Err(Refusal::AwaitingReports(vec![record.server.clone()]).into());
    }
    if let Some(heard) = tables.heard(record.unit)?
        && heard.epoch > record.epoch
    {
        // The epoch after a released one was for the source or the destination. If both have reported
        // and neither has it, nobody took it, and nobody will under the term that granted it.
        let given_back = heard.epoch == record.epoch.next()
            && matches!(record.standing, Standing::Released { .. });
        if !given_back {
            return Err(Refusal::AwaitingReports(vec![heard.moved_to.unwrap_or(heard.by)]).into());
        }
    }
    if let Standing::Released { to } = &record.standing {
        let heard = tables
            .server_by_name(to)?
            .is_some_and(|server| server.retired || server.reported_term == tables.meta.term);
        if !heard {
            return Err(Refusal::AwaitingReports(vec![to.clone()]).into());
        }
    }
    Ok(())
}

/// The server that an identity speaks for, if it may write now.
fn backend(tables: &Tables<'_>, who: &Identity) -> Result<ServerRecord, Stop> {
    let name = server_name(who)?;
    let server = tables
        .server_by_name(&name)?
        .ok_or(Refusal::UnknownServer)?;
    if server.retired {
        return Err(Refusal::Retired.into());
    }
    if server.restored == crate::record::Restored::Blocked {
        return Err(Refusal::Blocked.into());
    }
    Ok(server)
}

/// The name of a backend's identity.
fn server_name(who: &Identity) -> Result<ServerName, Stop> {
    let denied = || Refusal::NotAllowed(who.name.clone());
    if who.role != Role::Backend {
        return Err(denied().into());
    }
    ServerName::parse(&who.name).map_err(|_| denied().into())
}

/// FLIP, SETTLE and grants carry the sender's promised term (O3).
fn same_term(tables: &Tables<'_>, theirs: Term) -> Result<(), Stop> {
    let ours = tables.meta.term;
    if theirs == ours {
        Ok(())
    } else {
        Err(Refusal::WrongTerm { theirs, ours }.into())
    }
}
