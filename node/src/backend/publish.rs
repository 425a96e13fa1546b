//! The outbox on its way to the master: rows in order, pipelined, acknowledged once they are applied.
//!
//! Rows are written in the commit of the change that they tell of, so none is forgotten; they are
//! told again until the master has them, and it passes over what it had before (O6).

use std::sync::Arc;
use std::time::Duration;

use murder_locations::name::Name;
use murder_locations::request::{Refusal, Request, Response, Row, RowOp};
use murder_model::{ServerName, UnitId};
use murder_store::mail::{
    Effects, OutboxOperation, OutboxRow, acknowledge_outbox, outbox_after, outbox_length,
    publish_names, unit,
};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::partition::PartitionHandle;
use super::{Backend, BackendError};
use crate::directory::{Directory, Unreachable};
use crate::stop::stopped;

/// Rows told in one go.
const STEP: usize = 256;
/// Wait after a failure.
const RETRY: Duration = Duration::from_millis(500);
/// How long the answer to one row may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long a frontend waits for names to be told.
const PUBLISHED_LIMIT: Duration = Duration::from_secs(2);

impl Backend {
    /// Waits until the master has been told all names that were changed before this call, or for a
    /// while: then names follow later.
    pub async fn published(&self) {
        let all = async {
            for partition in self.partitions() {
                partition.told().await;
            }
        };
        if timeout(PUBLISHED_LIMIT, all).await.is_err() {
            tracing::debug!(event = "names_follow_later");
        }
    }
}

impl PartitionHandle {
    /// Waits until its outbox is empty, or cannot be read.
    async fn told(&self) {
        let mut acknowledged = self.acknowledged().subscribe();
        while let Ok(1..) = self.read(|rows| outbox_length(rows, 1)).await {
            if acknowledged.changed().await.is_err() {
                return;
            }
        }
    }
}

/// What became of a row.
enum Told {
    /// The master has it, or has no use for it any more.
    Done,
    /// The restatement did not add up: state the unit's names again.
    Restate(UnitId),
    /// Not yet.
    Later,
}

/// Tells the master what one partition's outbox holds, until `stop`.
pub async fn run(
    backend: Arc<Backend>,
    partition: Arc<PartitionHandle>,
    directory: Directory,
    mut stop: watch::Receiver<bool>,
) {
    let mut reports = backend.membership.reports();
    tokio::select! {
        _ = reports.wait_for(|count| *count > 0) => {}
        () = stopped(&mut stop) => return,
    }
    loop {
        let pause = match step(&backend, &partition, &directory).await {
            Ok(true) => continue,
            Ok(false) => None,
            Err(error) => {
                tracing::warn!(event = "names_not_told", partition = %partition.name(), %error);
                Some(RETRY)
            }
        };
        tokio::select! {
            () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            () = partition.outbox().notified(), if pause.is_none() => {}
            _ = reports.changed() => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// A server without a master has nobody to tell: rows are dropped, and all names are told anew if it
/// joins a murder later.
pub async fn discard(partition: Arc<PartitionHandle>, mut stop: watch::Receiver<bool>) {
    loop {
        let rows = partition.read(|rows| outbox_after(rows, 0, STEP)).await;
        let last = rows
            .ok()
            .and_then(|rows| rows.last().map(|(last, _)| *last));
        if let Some(upto) = last {
            match acknowledge(&partition, upto).await {
                Ok(()) => continue,
                Err(error) => tracing::warn!(event = "outbox_not_emptied", %error),
            }
        }
        tokio::select! {
            () = partition.outbox().notified() => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// Tells one go of rows. True: there may be more.
async fn step(
    backend: &Backend,
    partition: &PartitionHandle,
    directory: &Directory,
) -> Result<bool, BackendError> {
    let rows = partition.read(|rows| outbox_after(rows, 0, STEP)).await?;
    if rows.is_empty() {
        return Ok(false);
    }
    let mut waiting = Vec::with_capacity(rows.len());
    for (position, row) in rows {
        let posted = directory.post(Request::Row(request(&row))).await;
        waiting.push((position, row, posted.map_err(unreachable)?));
    }
    let mut done = None;
    let mut restate = Vec::new();
    for (position, row, answer) in waiting {
        let answer = timeout(ANSWER_LIMIT, answer).await;
        let Ok(Ok(response)) = answer else { break };
        match judge(backend, partition, &row, response).await? {
            Told::Done => done = Some(position),
            Told::Restate(unit) => {
                restate.push(unit);
                done = Some(position);
            }
            Told::Later => {
                backend.membership.report_again();
                break;
            }
        }
    }
    for unit in restate {
        let stated =
            partition.write(move |tx| publish_names(tx, &unit).map(|effects| ((), effects)));
        stated.await?;
    }
    match done {
        Some(upto) => {
            acknowledge(partition, upto).await?;
            Ok(true)
        }
        None => Err(unreachable(Unreachable)),
    }
}

fn unreachable(error: Unreachable) -> BackendError {
    BackendError::Master(error.into())
}

async fn acknowledge(partition: &PartitionHandle, upto: u64) -> Result<(), BackendError> {
    let acknowledged =
        partition.write(move |tx| acknowledge_outbox(tx, upto).map(|()| ((), Effects::default())));
    acknowledged.await?;
    partition.acknowledged().send_replace(upto);
    Ok(())
}

async fn judge(
    backend: &Backend,
    partition: &PartitionHandle,
    row: &OutboxRow,
    response: Response,
) -> Result<Told, BackendError> {
    let refusal = match response {
        Response::RowsApplied { .. } => return Ok(Told::Done),
        Response::Refused(refusal) => refusal,
        _ => return Ok(Told::Later),
    };
    Ok(match refusal {
        Refusal::UnitDropped => Told::Done,
        Refusal::IncompleteRestatement { .. } => Told::Restate(row.unit),
        Refusal::Superseded(record) => {
            let id = row.unit;
            let here = partition.read(move |rows| unit(rows, &id)).await?;
            let epoch = here.map(|unit| unit.ownership.epoch);
            // A later epoch here has told its names anew; another owner tells them itself.
            let old = epoch.is_none_or(|epoch| epoch > row.epoch);
            if old || is_elsewhere(&record.server, backend) {
                Told::Done
            } else {
                Told::Later
            }
        }
        Refusal::BadName | Refusal::ForeignName => {
            tracing::error!(event = "name_refused_by_master", %refusal);
            Told::Done
        }
        _ => Told::Later,
    })
}

fn is_elsewhere(owner: &ServerName, backend: &Backend) -> bool {
    *owner != backend.settings.server
}

fn request(row: &OutboxRow) -> Row {
    let op = match &row.operation {
        OutboxOperation::Put {
            name,
            mailbox,
            acl,
            special_use,
        } => RowOp::Put {
            name: Name::from(name),
            mailbox: *mailbox,
            acl: acl.to_wire().into(),
            special_use: *special_use,
            selectable: true,
        },
        OutboxOperation::Delete { name } => RowOp::Delete {
            name: Name::from(name),
        },
        OutboxOperation::Restated { since, names } => RowOp::RestateEnd {
            since: *since,
            rows: *names,
        },
    };
    Row {
        unit: row.unit,
        epoch: row.epoch,
        number: row.number,
        op,
    }
}
