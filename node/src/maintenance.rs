//! Forgetting what was kept for a time: marks of removals, ids of deliveries, results of APPENDs and COPYs
//! that came from other servers.
//!
//! What is due is looked for in snapshots, beside all other work; only what was found is then removed, in
//! small operations among the others of its partition. A unit that is being transferred is passed over:
//! source and destination must hold the same rows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use murder_api::Settings;
use murder_model::{RootName, Timestamp, UnitId, UnitState};
use murder_store::engine::Snapshot;
use murder_store::mail::{
    Effects, MailError, UnitRow, first_mark, has_old_deliveries, has_old_results, ownership,
    prune_delivered, prune_marks, prune_results, units_after,
};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at};

use crate::backend::Backend;
use crate::backend::partition::{PartitionHandle, WriteError};
use crate::clock;
use crate::stop::stopped;

/// How often all units are gone through.
const INTERVAL: Duration = Duration::from_secs(300);
/// How long results are remembered: whoever waits for one has given up by then.
const RESULT_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Units read at once.
const UNITS_STEP: usize = 200;
/// A snapshot is let go after so long.
const SNAPSHOT_TIME: Duration = Duration::from_millis(5);
/// Rows of one kind removed in one operation.
const ROWS_STEP: usize = 200;

/// Whether the unit of a root is being transferred.
pub type IsMoving = dyn Fn(&RootName) -> bool + Send + Sync;

/// Times before which things may go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Horizons {
    /// Marks.
    pub marks: Timestamp,
    /// Ids of deliveries.
    pub deliveries: Timestamp,
    /// Results.
    pub results: Timestamp,
}

impl Horizons {
    /// As the settings say, at the time `now`.
    pub fn new(settings: &Settings, now: Timestamp) -> Self {
        let hours = |hours: u64| Duration::from_secs(hours.saturating_mul(3600));
        let before = |age: Duration| {
            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            Timestamp::from_millis(now.as_millis().saturating_sub(age))
        };
        Self {
            marks: before(hours(settings.store.mark_retention_hours)),
            deliveries: before(hours(settings.lmtp.duplicate_suppression_hours)),
            results: before(RESULT_AGE),
        }
    }
}

/// Goes through all units every few minutes, until `stop`.
pub async fn run(backend: Arc<Backend>, mut stop: watch::Receiver<bool>) {
    let transfers = Arc::downgrade(&backend);
    let is_moving: Arc<IsMoving> = Arc::new(move |root| {
        let transfers = transfers.upgrade().and_then(|backend| backend.transfers());
        transfers.is_some_and(|transfers| transfers.is_moving(root))
    });
    let mut maintenance = Maintenance::new(Arc::clone(&backend), is_moving);
    let begin = tokio::time::Instant::now() + INTERVAL;
    let mut ticks = interval_at(begin, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stopped(&mut stop) => return,
        }
        let horizons = Horizons::new(&backend.settings, clock::now());
        tokio::select! {
            () = maintenance.pass(horizons) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// The task's memory between its passes.
pub struct Maintenance {
    backend: Arc<Backend>,
    is_moving: Arc<IsMoving>,
    /// Changes of a unit below this one have no marks, and never will: a removal is a new change.
    looked_at: HashMap<UnitId, u64>,
}

impl std::fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maintenance")
            .field("units", &self.looked_at.len())
            .finish_non_exhaustive()
    }
}

/// A unit with something to forget.
struct Due {
    unit: UnitId,
    root: RootName,
    marks_from: Option<u64>,
    deliveries: bool,
    results: bool,
}

/// What one look at some units found.
struct Looked {
    due: Vec<Due>,
    looked_at: Vec<(UnitId, u64)>,
    /// Units that the time was not enough for.
    rest: Vec<(UnitRow, u64)>,
}

impl Maintenance {
    /// Nothing is done before [`Self::pass`].
    pub fn new(backend: Arc<Backend>, is_moving: Arc<IsMoving>) -> Self {
        Self {
            backend,
            is_moving,
            looked_at: HashMap::new(),
        }
    }

    /// Goes through all units once. What fails is told in the log and tried again by the next pass.
    pub async fn pass(&mut self, horizons: Horizons) {
        if self.backend.membership.is_blocked() {
            return;
        }
        let before = std::mem::take(&mut self.looked_at);
        let backend = Arc::clone(&self.backend);
        for partition in backend.partitions() {
            if partition.failed().is_some() {
                continue;
            }
            if let Err(error) = self.partition(partition, horizons, &before).await {
                let partition = partition.name();
                tracing::warn!(event = "maintenance_failed", %partition, %error);
            }
        }
    }

    async fn partition(
        &mut self,
        partition: &Arc<PartitionHandle>,
        horizons: Horizons,
        before: &HashMap<UnitId, u64>,
    ) -> Result<(), WriteError> {
        let mut after = None;
        loop {
            let rows = partition
                .read(move |rows| units_after(rows, after.as_ref(), UNITS_STEP))
                .await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = Some(last.ownership.unit);
            let owned = rows
                .into_iter()
                .filter(|row| row.ownership.state == UnitState::Owner);
            let mut rest: Vec<_> = owned
                .map(|row| {
                    let from = before.get(&row.ownership.unit).copied().unwrap_or(0);
                    (row, from)
                })
                .collect();
            while !rest.is_empty() {
                let looked = partition
                    .read(move |rows| Ok(look(rows, rest, horizons)))
                    .await?;
                self.looked_at.extend(looked.looked_at);
                for due in looked.due {
                    let unit = due.unit;
                    match self.forget(partition, due, horizons).await {
                        Ok(()) => {}
                        Err(WriteError::Refused(error)) => not_maintained(&unit, &error),
                        Err(error) => return Err(error),
                    }
                }
                rest = looked.rest;
            }
        }
    }

    /// Removes what is due in one unit, little by little.
    async fn forget(
        &self,
        partition: &PartitionHandle,
        due: Due,
        horizons: Horizons,
    ) -> Result<(), WriteError> {
        let due = Arc::new(due);
        loop {
            let (due, is_moving) = (Arc::clone(&due), Arc::clone(&self.is_moving));
            let more = partition.write(move |tx| {
                // Here and not before: a transfer may have begun while this waited.
                let owned = ownership(tx, &due.unit)?
                    .is_some_and(|ownership| ownership.state == UnitState::Owner);
                if !owned || is_moving(&due.root) {
                    return Ok((false, Effects::default()));
                }
                let (unit, mut more) = (&due.unit, false);
                if let Some(from) = due.marks_from {
                    more |= prune_marks(tx, unit, from, horizons.marks, ROWS_STEP)?;
                }
                if due.deliveries {
                    more |= prune_delivered(tx, unit, horizons.deliveries, ROWS_STEP)?;
                }
                if due.results {
                    more |= prune_results(tx, unit, horizons.results, ROWS_STEP)?;
                }
                Ok((more, Effects::default()))
            });
            if !more.await? {
                return Ok(());
            }
        }
    }
}

/// Looks for what is due in units, as many as there is time for but at least in one.
fn look(rows: &Snapshot, units: Vec<(UnitRow, u64)>, horizons: Horizons) -> Looked {
    let began = Instant::now();
    let mut looked = Looked {
        due: Vec::new(),
        looked_at: Vec::new(),
        rest: Vec::new(),
    };
    let mut units = units.into_iter();
    for (row, from) in units.by_ref() {
        let unit = row.ownership.unit;
        match look_at(rows, row, from, horizons) {
            Ok((due, begin)) => {
                looked.due.extend(due);
                looked.looked_at.push((unit, begin));
            }
            // A damaged row must not keep the others from being looked at.
            Err(error) => not_maintained(&unit, &error),
        }
        if began.elapsed() > SNAPSHOT_TIME {
            break;
        }
    }
    looked.rest = units.collect();
    looked
}

/// What is due in one unit, and from which change on it may have marks.
fn look_at(
    rows: &Snapshot,
    row: UnitRow,
    from: u64,
    horizons: Horizons,
) -> Result<(Option<Due>, u64), MailError> {
    let unit = row.ownership.unit;
    let mark = first_mark(rows, &unit, from)?;
    let due = Due {
        marks_from: mark
            .filter(|(_, time)| *time < horizons.marks)
            .map(|(change, _)| change),
        deliveries: has_old_deliveries(rows, &unit, horizons.deliveries)?,
        results: has_old_results(rows, &unit, horizons.results)?,
        root: row.ownership.root,
        unit,
    };
    let begin = mark.map_or(row.change, |(change, _)| change);
    let is_due = due.marks_from.is_some() || due.deliveries || due.results;
    Ok((is_due.then_some(due), begin))
}

fn not_maintained(unit: &UnitId, error: &MailError) {
    tracing::warn!(event = "unit_not_maintained", %unit, %error);
}
