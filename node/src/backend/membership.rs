//! A server among the servers of a murder: it reports to each master it connects to what it holds.
//!
//! A report is a promise to refuse lower terms, durable before it counts (O5). A master that finds
//! the server's numbers gone back blocks it: it serves nothing until an administrator has
//! confirmed, and then with new UIDVALIDITYs (O8).

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use murder_locations::ownership::{Here, OwnershipEvent, next};
use murder_locations::request::{
    Addresses, HostPort, PartitionSpace, Refusal, Report, ReportedUnit, Request, Response,
    UnitRecord, Verdict,
};
use murder_model::{PartitionName, Term, UnitId, UnitState};
use murder_store::mail::{
    Effects, MailError, UnitRow, mailboxes, outbox_after, ownership, publish_names, put_ownership,
    raise_uid_validities, units,
};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{interval, sleep, timeout};

use super::gate::Phase;
use super::partition::PartitionHandle;
use super::{Backend, BackendError, EventError};
use crate::directory::{AskError, Directory, Unreachable};
use crate::stop::stopped;

/// Wait after a report that did not come to its end.
const RETRY: Duration = Duration::from_millis(500);
/// Wait for an administrator's confirmation.
const BLOCKED_RETRY: Duration = Duration::from_secs(2);
/// How often free space is told.
const SPACE_INTERVAL: Duration = Duration::from_secs(10);
/// Unit reports under way at once.
const UNITS_STEP: usize = 256;
/// How long the answer to one of them may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Promises that one report may lead to.
const PROMISES_MAX: usize = 4;

/// Where a server stands with the master.
#[derive(Debug)]
pub struct Membership {
    reported: watch::Sender<u64>,
    blocked: AtomicBool,
    again: Notify,
}

impl Default for Membership {
    fn default() -> Self {
        Self {
            reported: watch::channel(0).0,
            blocked: AtomicBool::new(false),
            again: Notify::new(),
        }
    }
}

impl Membership {
    /// Counts complete reports: 0 before the first.
    pub fn reports(&self) -> watch::Receiver<u64> {
        self.reported.subscribe()
    }

    /// Whether an administrator must confirm a restored volume first.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Acquire)
    }

    /// The master refused something that a report puts right.
    pub fn report_again(&self) {
        self.again.notify_one();
    }
}

/// Why a report did not come to its end.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error("cannot keep a promise: {0}")]
    State(#[from] std::io::Error),
    #[error("the master refused the report: {0}")]
    Refused(Refusal),
    #[error("the master's term changes too often")]
    Unsettled,
    #[error("blocked: incarnation or log went back; an administrator must confirm the volume")]
    Blocked,
}

impl From<MailError> for ReportError {
    fn from(error: MailError) -> Self {
        Self::Backend(error.into())
    }
}

/// Reports at each new connection and whenever it is needed, and tells free space, until `stop`.
pub async fn run(backend: Arc<Backend>, directory: Directory, mut stop: watch::Receiver<bool>) {
    let mut connections = directory.connections();
    let mut space = interval(SPACE_INTERVAL);
    let mut due = false;
    loop {
        if due && *connections.borrow_and_update() > 0 {
            due = !try_report(&backend, &directory).await;
            let pause = if backend.membership.is_blocked() {
                BLOCKED_RETRY
            } else {
                RETRY
            };
            if due {
                tokio::select! {
                    () = sleep(pause) => {}
                    () = stopped(&mut stop) => return,
                }
                continue;
            }
        }
        tokio::select! {
            changed = connections.changed() => {
                if changed.is_err() {
                    return;
                }
                due = true;
            }
            () = backend.membership.again.notified() => due = true,
            _ = space.tick() => {
                let request = Request::Space {
                    server_id: backend.state.server_id(),
                    partitions: spaces(&backend),
                };
                // The next tick tells it again; a master that refuses wants a report.
                due |= matches!(directory.ask(request).await, Ok(Response::Refused(_)));
            }
            () = stopped(&mut stop) => return,
        }
    }
}

async fn try_report(backend: &Arc<Backend>, directory: &Directory) -> bool {
    let outcome = report(backend, directory).await;
    let blocked = matches!(outcome, Err(ReportError::Blocked));
    let was = backend.membership.blocked.swap(blocked, Ordering::AcqRel);
    match outcome {
        Ok(units) => {
            let term = backend.state.promised().get();
            tracing::info!(event = "reported", units, term);
            backend.membership.reported.send_modify(|count| *count += 1);
            true
        }
        Err(error) => {
            if !blocked || !was {
                tracing::warn!(event = "report_failed", %error);
            }
            false
        }
    }
}

fn spaces(backend: &Backend) -> Vec<PartitionSpace> {
    let space = |partition: &Arc<PartitionHandle>| PartitionSpace {
        name: partition_name(partition),
        free_bytes: partition.free_bytes(),
        total_bytes: partition.total_bytes(),
        last_lsn: partition.last_lsn(),
    };
    backend.partitions().iter().map(space).collect()
}

fn partition_name(partition: &PartitionHandle) -> PartitionName {
    PartitionName::parse(partition.name()).expect("settings name partitions well")
}

/// How others reach this server.
pub fn addresses(settings: &murder_api::Settings) -> Addresses {
    let at = |listener: &Option<String>| {
        let (host, port) = listener
            .as_deref()
            .and_then(|address| address.rsplit_once(':'))
            .unwrap_or(("", "0"));
        let host = settings.advertise.as_deref().unwrap_or(host);
        HostPort {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.parse().unwrap_or(0),
        }
    };
    let listeners = &settings.listeners;
    Addresses {
        imap: at(&listeners.imap),
        imaps: listeners.imaps.is_some().then(|| at(&listeners.imaps)),
        lmtp: at(&listeners.lmtp),
        transfer: at(&listeners.transfer),
        admin: at(&listeners.admin),
    }
}

async fn report(backend: &Arc<Backend>, directory: &Directory) -> Result<usize, ReportError> {
    let state = &backend.state;
    for _ in 0..PROMISES_MAX {
        let request = Request::Report(Report {
            server_id: state.server_id(),
            incarnation: state.incarnation(),
            start_id: state.start_id(),
            addresses: addresses(&backend.settings),
            partitions: spaces(backend),
            promised_term: state.promised(),
        });
        let raise_above = match directory.ask(request).await? {
            Response::Welcome {
                raise_uidvalidity_above,
                ..
            } => raise_uidvalidity_above,
            Response::Promise { term } => {
                state.promise(term)?;
                continue;
            }
            Response::Refused(Refusal::Blocked) => return Err(ReportError::Blocked),
            Response::Refused(refusal) => return Err(ReportError::Refused(refusal)),
            _ => return Err(AskError::Unfit.into()),
        };
        match report_units(backend, directory, raise_above).await? {
            Units::Told(units) => return Ok(units),
            Units::Promise(term) => state.promise(term)?,
        }
    }
    Err(ReportError::Unsettled)
}

/// What telling the units came to.
enum Units {
    Told(usize),
    Promise(Term),
}

async fn report_units(
    backend: &Arc<Backend>,
    directory: &Directory,
    raise_above: Option<u32>,
) -> Result<Units, ReportError> {
    let (server_id, incarnation) = (backend.state.server_id(), backend.state.incarnation());
    let mut told = 0;
    for partition in backend.partitions() {
        let rows = partition.read(held).await?;
        for step in rows.chunks(UNITS_STEP) {
            let mut waiting: Vec<(&Held, oneshot::Receiver<Response>)> = Vec::new();
            for held in step {
                let request = Request::ReportUnit(ReportedUnit {
                    server_id,
                    incarnation,
                    unit: held.row.ownership.unit,
                    root: held.row.ownership.root.clone(),
                    partition: partition_name(partition),
                    term: held.row.ownership.term,
                    epoch: held.row.ownership.epoch,
                    state: held.row.ownership.state.clone(),
                    uidvalidity_max: held.uidvalidity_max,
                });
                waiting.push((held, directory.post(request).await?));
            }
            for (held, answer) in waiting {
                let answer = timeout(ANSWER_LIMIT, answer).await;
                let response = answer.map_err(|_| Unreachable)?.map_err(|_| Unreachable)?;
                match response {
                    Response::Verdict(verdict) => {
                        let judged = Judged {
                            backend,
                            partition,
                            held,
                            raise_above,
                        };
                        judged.take(verdict).await?;
                    }
                    Response::Promise { term } => return Ok(Units::Promise(term)),
                    Response::Refused(Refusal::Blocked) => return Err(ReportError::Blocked),
                    Response::Refused(refusal) => {
                        let root = &held.row.ownership.root;
                        tracing::error!(event = "unit_refused", %root, %refusal);
                        close(backend, held).await;
                    }
                    _ => return Err(AskError::Unfit.into()),
                }
                told += 1;
            }
        }
    }
    let done = Request::ReportDone {
        server_id,
        incarnation,
    };
    directory.demand(done).await?;
    if raise_above.is_some() {
        directory
            .demand(Request::UidValidityRaised { server_id })
            .await?;
        // Only now may the server write at the master: one more report makes it so.
        backend.membership.report_again();
    }
    Ok(Units::Told(told))
}

/// One unit as it is reported.
struct Held {
    row: UnitRow,
    uidvalidity_max: u32,
    /// Outbox number up to which the master has acknowledged.
    acknowledged: u64,
}

/// All units of a partition, whatever their state.
fn held(rows: &murder_store::engine::Snapshot) -> Result<Vec<Held>, MailError> {
    let mut found = Vec::new();
    units(rows, &mut |row| {
        found.push(row);
        ControlFlow::Continue(())
    })?;
    let mut waiting: HashMap<UnitId, u64> = HashMap::new();
    let mut after = 0;
    loop {
        let page = outbox_after(rows, after, 1000)?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for (_, row) in page {
            let number = row.number.get();
            waiting.entry(row.unit).or_insert(number);
        }
    }
    let mut held = Vec::with_capacity(found.len());
    for row in found {
        let names = mailboxes(rows, &row.ownership.unit)?;
        // The floor has risen with each mailbox that ever was, those that are gone included.
        let uidvalidity_max = names
            .iter()
            .filter_map(|(_, row)| row.as_ref())
            .map(|row| row.uid_validity.get())
            .fold(row.uid_validity_floor, u32::max);
        let acknowledged = match waiting.get(&row.ownership.unit) {
            Some(first) => first - 1,
            None => row.outbox,
        };
        held.push(Held {
            row,
            uidvalidity_max,
            acknowledged,
        });
    }
    Ok(held)
}

/// A unit that the master has spoken about.
struct Judged<'a> {
    backend: &'a Arc<Backend>,
    partition: &'a Arc<PartitionHandle>,
    held: &'a Held,
    raise_above: Option<u32>,
}

impl Judged<'_> {
    async fn take(&self, verdict: Verdict) -> Result<(), ReportError> {
        let ownership = &self.held.row.ownership;
        let owned = ownership.state == UnitState::Owner;
        match verdict {
            Verdict::Agreed { applied } => {
                if owned && applied.get() < self.held.acknowledged {
                    let unit = ownership.unit;
                    let told = self
                        .partition
                        .write(move |tx| publish_names(tx, &unit).map(|effects| ((), effects)));
                    told.await.map_err(BackendError::from)?;
                }
            }
            Verdict::Record(record) => self.yield_to(record).await,
            Verdict::Regranted(record) => self.regranted(record).await?,
            Verdict::Dropped => {
                tracing::warn!(event = "unit_dropped_at_master", root = %ownership.root);
            }
            Verdict::RootTaken(record) => {
                let (root, by) = (&ownership.root, &record.server);
                tracing::error!(event = "root_taken", %root, %by);
                close(self.backend, self.held).await;
            }
        }
        Ok(())
    }

    /// The record is ahead. A unit in the middle of a move is left to those who settle moves, one
    /// that is wanted to the next who wants it.
    async fn yield_to(&self, record: UnitRecord) {
        let ownership = &self.held.row.ownership;
        let in_a_move = matches!(
            ownership.state,
            UnitState::Released { .. } | UnitState::Prepared { .. } | UnitState::Creating
        );
        if in_a_move || record.server == self.backend.settings.server {
            return;
        }
        let event = OwnershipEvent::SeenElsewhere {
            owner: record.server.clone(),
            term: record.term,
            epoch: record.epoch,
        };
        let unit = ownership.unit;
        match self.backend.apply_event(self.partition, unit, event).await {
            Ok(_) => {
                if let Some(place) = self.backend.unit(&ownership.root)
                    && place.unit == unit
                {
                    let moved = Phase::Moved {
                        to: record.server,
                        term: record.term,
                        epoch: record.epoch,
                    };
                    place.gate.set(moved).await;
                }
            }
            Err(EventError::Refused(refusal)) => {
                tracing::debug!(event = "record_passed_over", root = %ownership.root, %refusal);
            }
            Err(error) => tracing::error!(event = "record_not_kept", %error),
        }
    }

    /// The restored volume's unit is this server's again, under UIDVALIDITYs that nobody has seen.
    async fn regranted(&self, record: UnitRecord) -> Result<(), ReportError> {
        let (unit, floor) = (record.unit, self.raise_above.unwrap_or(0));
        let server = self.backend.settings.server.clone();
        let promised = self.backend.state.promised();
        let (term, epoch) = (record.term, record.epoch);
        let raised = self.partition.write(move |tx| {
            let before = ownership(tx, &unit)?;
            let here = Here {
                server: &server,
                promised,
            };
            let event = OwnershipEvent::Regranted { term, epoch };
            let after = match next(here, before.as_ref(), event) {
                Ok(after) => after,
                Err(refusal) => return Ok((Err(refusal), Effects::default())),
            };
            put_ownership(tx, &after)?;
            let mut effects = raise_uid_validities(tx, &unit, floor)?;
            effects.extend(publish_names(tx, &unit)?);
            Ok((Ok(()), effects))
        });
        raised
            .await
            .map_err(BackendError::from)?
            .map_err(|refusal| BackendError::Ownership(refusal).into())
    }
}

/// The unit is not served until an administrator decides.
async fn close(backend: &Backend, held: &Held) {
    let ownership = &held.row.ownership;
    if let Some(place) = backend.unit(&ownership.root)
        && place.unit == ownership.unit
    {
        place.gate.set(Phase::Absent).await;
    }
}
