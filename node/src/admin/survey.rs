//! What a server holds, counted in bounded steps.
//!
//! A count looks at every unit that the server has a record of, also at those that are long gone. It
//! takes time in proportion to them, so it is used again for a while: not at all if it was quick, at
//! most [`AGE_MAX`] otherwise. Its memory, a place for each unit, is of the order of what the server
//! keeps for its units anyway.

use std::sync::Arc;
use std::time::{Duration, Instant};

use murder_model::{RootName, UnitId, UnitState};
use murder_store::mail::{MailError, UnitRow, outbox_length, units_after};
use tokio::sync::Mutex;

use crate::backend::Backend;
use crate::backend::partition::PartitionHandle;

/// Units looked at under one snapshot.
const STEP: usize = 1000;
/// The outbox of a partition is counted so far.
const OUTBOX_MAX: u64 = 10_000;
/// Counting takes at most one part of so many of the time.
const SHARE: u32 = 20;
/// A count is told at most so long.
const AGE_MAX: Duration = Duration::from_secs(2);
/// A listing of several pages goes on in one order of units for so long.
const LISTING_AGE_MAX: Duration = Duration::from_secs(30);

/// How much there is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    pub(crate) owned: u64,
    pub(crate) in_doubt: u64,
    pub(crate) staged: u64,
    pub(crate) grace: u64,
    /// Mailboxes, messages and bytes are of the units owned.
    pub(crate) mailboxes: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) outbox: u64,
}

/// Where a unit is.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) root: RootName,
    pub(crate) unit: UnitId,
    pub(crate) partition: Arc<PartitionHandle>,
}

/// One count.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) counts: Counts,
    /// All units but those that are gone, in the order of their roots.
    pub(crate) places: Vec<Place>,
    at: Instant,
    took: Duration,
}

/// The last count.
#[derive(Debug, Default)]
pub(crate) struct Surveys(Mutex<Option<Arc<Survey>>>);

impl Surveys {
    /// A count as of now.
    pub(crate) async fn now(&self, backend: &Backend) -> Result<Arc<Survey>, MailError> {
        self.survey(backend, |_| false).await
    }

    /// A count as of now, or of shortly before if counting is costly.
    pub(crate) async fn recent(&self, backend: &Backend) -> Result<Arc<Survey>, MailError> {
        let fits = |last: &Survey| last.at.elapsed() < (last.took * SHARE).min(AGE_MAX);
        self.survey(backend, fits).await
    }

    /// An order of the units in which a listing can go on.
    pub(crate) async fn listing(&self, backend: &Backend) -> Result<Arc<Survey>, MailError> {
        let fits = |last: &Survey| last.at.elapsed() < LISTING_AGE_MAX;
        self.survey(backend, fits).await
    }

    /// One caller counts, others wait for their turn.
    async fn survey(
        &self,
        backend: &Backend,
        fits: impl Fn(&Survey) -> bool,
    ) -> Result<Arc<Survey>, MailError> {
        let mut last = self.0.lock().await;
        if let Some(survey) = last.as_ref().filter(|survey| fits(survey)) {
            return Ok(Arc::clone(survey));
        }
        let survey = Arc::new(take(backend).await?);
        *last = Some(Arc::clone(&survey));
        Ok(survey)
    }
}

async fn take(backend: &Backend) -> Result<Survey, MailError> {
    let began = Instant::now();
    let mut counts = Counts::default();
    let mut places = Vec::new();
    for partition in backend.partitions() {
        let mut after = None;
        loop {
            let rows = partition
                .read(move |rows| units_after(rows, after.as_ref(), STEP))
                .await?;
            after = rows.last().map(|row| row.ownership.unit);
            let full = rows.len() == STEP;
            for row in rows {
                counts.add(&row);
                if row.ownership.state != UnitState::Gone {
                    places.push(Place {
                        root: row.ownership.root,
                        unit: row.ownership.unit,
                        partition: Arc::clone(partition),
                    });
                }
            }
            if !full {
                break;
            }
        }
        counts.outbox += partition
            .read(|rows| outbox_length(rows, OUTBOX_MAX))
            .await?;
    }
    places.sort_unstable_by(|a, b| (&a.root, a.unit).cmp(&(&b.root, b.unit)));
    Ok(Survey {
        counts,
        places,
        at: Instant::now(),
        took: began.elapsed(),
    })
}

impl Counts {
    fn add(&mut self, row: &UnitRow) {
        match row.ownership.state {
            UnitState::Owner => {
                self.owned += 1;
                self.mailboxes += row.mailboxes;
                self.messages += row.messages;
                self.bytes += row.bytes;
            }
            UnitState::Released { .. } => self.in_doubt += 1,
            UnitState::Staging { .. } | UnitState::Prepared { .. } => self.staged += 1,
            UnitState::Moved { .. } => self.grace += 1,
            UnitState::Creating | UnitState::Gone => {}
        }
    }
}
