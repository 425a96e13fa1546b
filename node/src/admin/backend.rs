//! The part of a node with mailboxes: its units, its transfers, its cordon and its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{RawQuery, State};
use murder_api::admin::{
    BackendStatus, Fenced, NodeStatus, PartitionStatus, SetCordon, SetTransferRate, StartTransfer,
    TransferList, TransferStatus, UnitPage, UnitSummary,
};
use murder_model::{Fence, MoveId, PartitionName, UnitState};
use murder_store::mail::{MailError, UnitRow, unit};

use super::body::{Body, Segment};
use super::commands::TransferCommands;
use super::query::PageQuery;
use super::refusal::Refused;
use super::status::node_status;
use super::survey::{Place, Survey};
use super::{Admin, BackendPart};
use crate::backend::partition::PartitionHandle;
use crate::server_state::ServerState;

/// What `GET /v1/status` has of a node with mailboxes.
pub(super) fn status(part: &BackendPart, survey: &Survey) -> BackendStatus {
    let backend = &part.backend;
    let counts = survey.counts;
    BackendStatus {
        server_id: backend.state.server_id(),
        incarnation: backend.state.incarnation(),
        cordoned: backend.state.is_cordoned(),
        deactivated: backend.state.is_deactivated(),
        units: counts.owned,
        units_in_doubt: counts.in_doubt,
        units_staged: counts.staged,
        units_grace: counts.grace,
        mailboxes: counts.mailboxes,
        messages: counts.messages,
        bytes: counts.bytes,
        outbox: counts.outbox,
        held: backend.held.load(Ordering::Acquire),
        transfer_bytes_per_second: part
            .transfers
            .as_ref()
            .map_or(0, |transfers| transfers.rate()),
        partitions: backend.partitions().iter().map(partition_status).collect(),
    }
}

fn partition_status(partition: &Arc<PartitionHandle>) -> PartitionStatus {
    PartitionStatus {
        name: partition_name(partition),
        free_bytes: partition.free_bytes(),
        total_bytes: partition.total_bytes(),
        failed: partition.failed().map(str::to_owned),
    }
}

fn partition_name(partition: &PartitionHandle) -> PartitionName {
    PartitionName::parse(partition.name()).expect("settings name partitions well")
}

/// `GET /v1/units?after=ROOT&limit=N`. Units of one root are on one page. A unit that is here from
/// the first page to the last is on one of them.
pub(super) async fn units(
    State(admin): State<Arc<Admin>>,
    RawQuery(query): RawQuery,
) -> Result<Json<UnitPage>, Refused> {
    let PageQuery { after, limit } = PageQuery::parse(query.as_deref())?;
    let backend = &part(&admin)?.backend;
    let survey = match &after {
        None => admin.surveys.recent(backend).await?,
        Some(_) => admin.surveys.listing(backend).await?,
    };
    let begin = after.map_or(0, |after| {
        survey.places.partition_point(|place| place.root <= after)
    });
    let rest = &survey.places[begin..];
    let mut length = limit.min(rest.len());
    while length > 0
        && rest
            .get(length)
            .is_some_and(|next| next.root == rest[length - 1].root)
    {
        length += 1;
    }
    let page = &rest[..length];
    let next = page.last().filter(|_| length < rest.len());
    let next = next.map(|last| last.root.clone());
    let units = summaries(page).await?;
    Ok(Json(UnitPage { units, next }))
}

/// What the units at these places are now.
async fn summaries(places: &[Place]) -> Result<Vec<UnitSummary>, MailError> {
    let mut by_partition: HashMap<&str, (&Arc<PartitionHandle>, Vec<_>)> = HashMap::new();
    for (index, place) in places.iter().enumerate() {
        let (_, ids) = by_partition
            .entry(place.partition.name())
            .or_insert((&place.partition, Vec::new()));
        ids.push((index, place.unit));
    }
    let mut found = Vec::new();
    for (partition, ids) in by_partition.into_values() {
        let rows = partition.read(move |rows| {
            ids.into_iter()
                .map(|(index, id)| Ok((index, unit(rows, &id)?)))
                .collect::<Result<Vec<_>, MailError>>()
        });
        for (index, row) in rows.await? {
            let summary = row.and_then(|row| summary(row, partition_name(partition)));
            found.extend(summary.map(|summary| (index, summary)));
        }
    }
    found.sort_unstable_by_key(|(index, _)| *index);
    Ok(found.into_iter().map(|(_, summary)| summary).collect())
}

fn summary(row: UnitRow, partition: PartitionName) -> Option<UnitSummary> {
    let state = match row.ownership.state {
        UnitState::Creating => "Creating",
        UnitState::Owner => "Owner",
        UnitState::Released { .. } => "Released",
        UnitState::Staging { .. } => "Staging",
        UnitState::Prepared { .. } => "Prepared",
        UnitState::Moved { .. } => "Moved",
        UnitState::Gone => return None,
    };
    Some(UnitSummary {
        unit: row.ownership.unit,
        root: row.ownership.root,
        partition,
        state: state.to_owned(),
        epoch: row.ownership.epoch,
        mailboxes: row.mailboxes,
        messages: row.messages,
        bytes: row.bytes,
    })
}

/// `GET /v1/transfers`.
pub(super) async fn transfers(
    State(admin): State<Arc<Admin>>,
) -> Result<Json<TransferList>, Refused> {
    let transfers = match &part(&admin)?.transfers {
        Some(transfers) => transfers.list(),
        None => Vec::new(),
    };
    Ok(Json(TransferList { transfers }))
}

/// `POST /v1/transfers`.
pub(super) async fn start(
    State(admin): State<Arc<Admin>>,
    Body(call): Body<StartTransfer>,
) -> Result<Json<TransferStatus>, Refused> {
    let transfers = commands(&admin)?;
    let state = Arc::clone(&part(&admin)?.backend.state);
    let command = blocking(move || {
        admit(&state, call.fence)?;
        let (root, destination) = (call.root, call.destination);
        Ok(transfers.start(call.move_id, root, destination, call.partition)?)
    });
    admin.in_turn(command).await.map(Json)
}

/// `POST /v1/transfers/ID/cancel`.
pub(super) async fn cancel(
    State(admin): State<Arc<Admin>>,
    Segment(id): Segment,
    Body(call): Body<Fenced>,
) -> Result<Json<TransferStatus>, Refused> {
    let id: MoveId = id.parse().map_err(bad_id)?;
    let transfers = commands(&admin)?;
    let state = Arc::clone(&part(&admin)?.backend.state);
    let command = blocking(move || {
        admit(&state, call.fence)?;
        Ok(transfers.cancel(&id)?)
    });
    admin.in_turn(command).await.map(Json)
}

fn bad_id(error: murder_model::IdError) -> Refused {
    Refused::bad_request(error.to_string())
}

/// `POST /v1/transfer-rate`.
pub(super) async fn transfer_rate(
    State(admin): State<Arc<Admin>>,
    Body(call): Body<SetTransferRate>,
) -> Result<Json<NodeStatus>, Refused> {
    let transfers = commands(&admin)?;
    let state = Arc::clone(&part(&admin)?.backend.state);
    let command = blocking(move || {
        admit(&state, call.fence)?;
        transfers.set_rate(call.bytes_per_second);
        tracing::info!(
            event = "transfer_rate_set",
            bytes_per_second = call.bytes_per_second
        );
        Ok(())
    });
    admin.in_turn(command).await?;
    node_status(&admin).await.map(Json)
}

/// `POST /v1/cordon`.
pub(super) async fn cordon(
    State(admin): State<Arc<Admin>>,
    Body(call): Body<SetCordon>,
) -> Result<Json<NodeStatus>, Refused> {
    let state = Arc::clone(&part(&admin)?.backend.state);
    let command = blocking(move || {
        admit(&state, call.fence)?;
        state.set_cordoned(call.cordoned).map_err(not_recorded)
    });
    admin.in_turn(command).await?;
    node_status(&admin).await.map(Json)
}

/// `POST /v1/deactivate`.
pub(super) async fn deactivate(
    State(admin): State<Arc<Admin>>,
    Body(call): Body<Fenced>,
) -> Result<Json<NodeStatus>, Refused> {
    let commanded = Arc::clone(&admin);
    let command = async move {
        let part = part(&commanded)?;
        let backend = &part.backend;
        let state = Arc::clone(&backend.state);
        blocking(move || admit(&state, call.fence)).await?;
        let survey = commanded.surveys.now(backend).await?;
        still_holds(&status(part, &survey))?;
        let state = Arc::clone(&backend.state);
        blocking(move || state.deactivate().map_err(not_recorded)).await
    };
    admin.in_turn(command).await?;
    node_status(&admin).await.map(Json)
}

/// Nothing that is served, promised or owed may be left.
fn still_holds(status: &BackendStatus) -> Result<(), Refused> {
    let held = [
        (status.units, "units"),
        (status.units_in_doubt, "units in doubt"),
        (status.units_staged, "units staged"),
        (status.outbox, "names to tell the master"),
        (status.held, "held deliveries"),
    ];
    let held: Vec<_> = held
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if held.is_empty() {
        return Ok(());
    }
    let message = format!("the server still has {}", held.join(", "));
    Err(Refused::conflict(message))
}

fn part(admin: &Admin) -> Result<&BackendPart, Refused> {
    let part = admin.context.backend.as_ref();
    part.ok_or_else(|| Refused::not_found("this node has no mailboxes"))
}

fn commands(admin: &Admin) -> Result<Arc<dyn TransferCommands>, Refused> {
    let commands = part(admin)?.transfers.as_ref().map(Arc::clone);
    commands.ok_or_else(|| Refused::conflict("a single server has nobody to transfer to"))
}

/// The fence first, durably: a caller that was replaced changes nothing.
fn admit(state: &ServerState, fence: Fence) -> Result<(), Refused> {
    Ok(state.admit(fence).map_err(not_recorded)??)
}

fn not_recorded(error: std::io::Error) -> Refused {
    Refused::unavailable(format!("cannot record it: {error}"))
}

/// Runs what waits for files on a thread that may block.
async fn blocking<T: Send + 'static>(
    command: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    tokio::task::spawn_blocking(command)
        .await
        .unwrap_or_else(|_| {
            let message = "the command ended early; whether it was done is unknown";
            Err(Refused::unavailable(message))
        })
}
