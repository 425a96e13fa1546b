//! Intents that were left: by a crash, by a destination out of reach, or by the server that had the
//! unit before.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use murder_model::{RootName, UnitState};
use murder_store::mail::{intents, units};
use tokio::sync::watch;
use tokio::time::sleep;

use super::copy::settle;
use super::{AtWork, ForwardError, Forwarding};
use crate::backend::partition::PartitionHandle;
use crate::backend::{Backend, BackendError, UnitPlace};
use crate::stop::stopped;

/// How often it is tried, while there are any.
const INTERVAL: Duration = Duration::from_secs(3);

impl Forwarding {
    /// As [`Self::look_at`], for a unit whose root is not at hand.
    pub(super) fn look_at_unit(&self, backend: &Backend, place: &UnitPlace) {
        if let Some((root, _)) = backend.unit_by_id(&place.unit) {
            self.look_at(root);
        }
    }
}

/// Settles the intents of units that are served here, those of an earlier life of the server first,
/// until `stop`.
pub async fn resume(backend: Arc<Backend>, mut stop: watch::Receiver<bool>) {
    for partition in backend.partitions() {
        match roots(partition).await {
            Ok(roots) => backend.forwarding.lock_left().extend(roots),
            Err(error) => {
                let partition = partition.name();
                tracing::error!(event = "intents_not_read", %partition, %error);
            }
        }
    }
    loop {
        tokio::select! {
            () = round(&backend) => {}
            () = stopped(&mut stop) => return,
        }
        let idle = backend.forwarding.lock_left().is_empty();
        tokio::select! {
            () = backend.forwarding.wake.notified(), if idle => {}
            () = sleep(INTERVAL), if !idle => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// Roots of the units in a partition that hold intents.
async fn roots(partition: &PartitionHandle) -> Result<Vec<RootName>, BackendError> {
    let read = partition.read(|rows| {
        let mut found = Vec::new();
        units(rows, &mut |row| {
            if row.ownership.state == UnitState::Owner {
                found.push((row.ownership.unit, row.ownership.root));
            }
            ControlFlow::Continue(())
        })?;
        let mut roots = Vec::new();
        for (unit, root) in found {
            if !intents(rows, &unit)?.is_empty() {
                roots.push(root);
            }
        }
        Ok(roots)
    });
    Ok(read.await?)
}

async fn round(backend: &Arc<Backend>) {
    let roots = backend.forwarding.lock_left().clone();
    for root in roots {
        // Whoever writes one from here on says so again.
        backend.forwarding.lock_left().remove(&root);
        match settle_all(backend, &root).await {
            Ok(()) => {}
            Err(error) => {
                tracing::debug!(event = "intents_wait", %root, %error);
                backend.forwarding.lock_left().insert(root);
            }
        }
    }
}

async fn settle_all(backend: &Arc<Backend>, root: &RootName) -> Result<(), ForwardError> {
    let place = match backend.place(root).await {
        Ok(place) => place,
        // Its new owner does it; if the unit comes back, it is looked at again.
        Err(BackendError::NoSuchMailbox | BackendError::Elsewhere) => return Ok(()),
        Err(BackendError::Unavailable(phase)) if phase.is_moved() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let unit = place.unit;
    let read = place.partition.read(move |rows| intents(rows, &unit));
    let mut waiting = None;
    for (id, intent) in read.await.map_err(BackendError::Read)? {
        // A session settles its own, unless it comes to a sudden end.
        let Some(_at_work) = AtWork::on(&backend.forwarding, id) else {
            waiting = Some(ForwardError::InUse);
            continue;
        };
        match settle(backend, &place, id, &intent.destination).await {
            Ok(done) => {
                let done = done.is_some();
                tracing::info!(event = "intent_settled", %id, %root, done);
            }
            Err(error) => waiting = Some(error),
        }
    }
    waiting.map_or(Ok(()), Err)
}
