//! What becomes of a copy: the master's grant makes its holder the owner; a later owner, or a source
//! that has given the move up, makes it worthless.

use std::sync::Arc;
use std::time::Duration;

use murder_locations::ownership::OwnershipEvent;
use murder_locations::request::{Request, Response, UnitRecord, UnitRef};
use murder_model::{Attempt, MoveId, OwnershipRecord, ServerName, UnitId, UnitState};
use murder_store::mail::mailboxes;

use super::message::{Outcome, ToDestination, ToSource};
use super::stage::Holding;
use super::{TransferError, Transfers, copy};
use crate::backend::gate::{Gate, Phase};
use crate::backend::partition::PartitionHandle;
use crate::backend::{EventError, UnitPlace};
use crate::peer::{self, Link, Service};

/// Wait between two looks at a copy that nobody writes to: the first, and the longest.
const LOOK_FIRST: Duration = Duration::from_millis(200);
const LOOK_LAST: Duration = Duration::from_secs(30);

impl Transfers {
    /// Asks the master what became of a prepared unit, and acts on the answer.
    pub(super) async fn decide(
        &self,
        partition: &Arc<PartitionHandle>,
        unit: UnitId,
    ) -> Result<Outcome, TransferError> {
        let Some(record) = self.record(partition, unit).await? else {
            return Ok(Outcome::Undecided);
        };
        match record.state {
            UnitState::Owner => {
                let place = self.backend.unit(&record.root);
                if place.is_none_or(|place| place.unit != unit || place.gate.has_moved()) {
                    self.serve_unit(partition, &record).await?;
                }
                let (term, epoch) = (record.term, record.epoch);
                return Ok(Outcome::Serving { term, epoch });
            }
            UnitState::Prepared { .. } | UnitState::Staging { .. } => {}
            _ => return Ok(Outcome::Undecided),
        }
        let Some(found) = self.on_record(unit).await else {
            return Ok(Outcome::Undecided);
        };
        if found.epoch <= record.epoch {
            return Ok(Outcome::Undecided);
        }
        match self
            .apply_decision(partition, unit, news(&found, self))
            .await
        {
            Ok(after) if after.state == UnitState::Owner => {
                self.serve_unit(partition, &after).await?;
                let (term, epoch) = (after.term, after.epoch);
                Ok(Outcome::Serving { term, epoch })
            }
            Ok(_) => Ok(Outcome::Elsewhere {
                owner: found.server,
            }),
            Err(EventError::Refused(refusal)) => {
                let root = &record.root;
                tracing::info!(event = "transfer_record_passed_over", %root, %refusal);
                Ok(Outcome::Undecided)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What the master says of a unit; `None`: nothing now.
    async fn on_record(&self, unit: UnitId) -> Option<UnitRecord> {
        let find = Request::FindUnit(UnitRef::Id(unit));
        match self.backend.directory.as_ref()?.demand(find).await {
            Ok(Response::Unit(found)) => found,
            // A rebuilt master, or none: it will know later.
            Ok(_) | Err(_) => None,
        }
    }

    /// From now on the unit is served here. Its rows were written without telling anybody, so views
    /// from an earlier stay are forgotten first.
    async fn serve_unit(
        &self,
        partition: &Arc<PartitionHandle>,
        record: &OwnershipRecord,
    ) -> Result<(), TransferError> {
        self.forget_views(partition, record.unit).await?;
        let place = UnitPlace {
            unit: record.unit,
            partition: Arc::clone(partition),
            gate: Gate::new(Phase::Active),
        };
        self.backend.put_unit(record.root.clone(), place);
        let (root, epoch) = (&record.root, record.epoch.get());
        tracing::info!(event = "transfer_arrived", %root, epoch);
        Ok(())
    }

    pub(super) async fn forget_views(
        &self,
        partition: &PartitionHandle,
        unit: UnitId,
    ) -> Result<(), TransferError> {
        let named = partition.read(move |rows| mailboxes(rows, &unit)).await?;
        let ids: Vec<_> = named
            .into_iter()
            .filter_map(|(_, row)| row.map(|row| row.id))
            .collect();
        partition.views().forget(&ids);
        Ok(())
    }

    /// Sees a copy through to its end, unless a source goes on with it first.
    pub(super) fn see_through_later(
        self: &Arc<Self>,
        holding: Holding,
        partition: Arc<PartitionHandle>,
        unit: UnitId,
    ) {
        let transfers = Arc::clone(self);
        self.spawn(async move {
            tokio::select! {
                () = transfers.see_through(&partition, unit) => {}
                () = holding.displaced() => {}
            }
        });
    }

    async fn see_through(&self, partition: &Arc<PartitionHandle>, unit: UnitId) {
        let mut pause = LOOK_FIRST;
        loop {
            match self.look(partition, unit).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(event = "transfer_copy_undecided", %unit, %error);
                }
            }
            self.pause(pause).await;
            pause = (pause * 2).min(LOOK_LAST);
        }
    }

    /// Looks once what is to be done with a copy. True: nothing any more.
    async fn look(
        &self,
        partition: &Arc<PartitionHandle>,
        unit: UnitId,
    ) -> Result<bool, TransferError> {
        let Some(record) = self.record(partition, unit).await? else {
            return Ok(true);
        };
        let (move_id, from) = match &record.state {
            UnitState::Staging { move_id, from, .. }
            | UnitState::Prepared { move_id, from, .. } => (*move_id, from.clone()),
            UnitState::Owner => {
                // Whoever learned of the grant may have been turned out before it was served.
                self.decide(partition, unit).await?;
                return Ok(true);
            }
            UnitState::Gone => {
                while self.clear_gone(partition, unit).await? {}
                return Ok(true);
            }
            _ => return Ok(true),
        };
        if self.decide(partition, unit).await? != Outcome::Undecided {
            return Ok(false);
        }
        // Only what the source says, and the master does not contradict, ends a move.
        let found = self.on_record(unit).await;
        let with_source = found.is_some_and(|found| found.server == from);
        if !with_source || !self.ask_is_over(&from, unit, move_id).await? {
            return Ok(false);
        }
        let attempt = Attempt::new(u32::MAX);
        let event = OwnershipEvent::DropStaging { move_id, attempt };
        self.backend.apply_event(partition, unit, event).await?;
        tracing::info!(event = "transfer_copy_dropped", root = %record.root, %from);
        Ok(false)
    }

    /// Asks a source whether a move of it is over for good.
    async fn ask_is_over(
        &self,
        from: &ServerName,
        unit: UnitId,
        move_id: MoveId,
    ) -> Result<bool, TransferError> {
        let server = self.directory()?.server(from).await?;
        let Some(server) = server else {
            return Ok(false);
        };
        let mut link = self.connect(from, &server.addresses.transfer).await?;
        let question = ToDestination::IsOver { unit, move_id };
        link.send(&question).await?;
        link.flush().await?;
        match copy::answer(&mut link).await? {
            ToSource::Over(over) => Ok(over),
            other => Err(copy::unfit(other)),
        }
    }

    pub(super) async fn connect(
        &self,
        server: &ServerName,
        address: &murder_locations::request::HostPort,
    ) -> Result<Link, TransferError> {
        let settings = &self.backend.settings;
        Ok(peer::connect(settings, &self.tls, server, address, Service::Transfer).await?)
    }

    /// Answers a destination. A move that no job is at was given up, and is never taken up again, if
    /// the unit is still owned here.
    pub(super) async fn answer_is_over(
        &self,
        mut link: Link,
        unit: UnitId,
        move_id: MoveId,
    ) -> Result<(), TransferError> {
        let running = self.lock_jobs().is_moving(&move_id);
        let mut owned = false;
        for partition in self.backend.partitions() {
            let record = self.record(partition, unit).await?;
            owned |= record.is_some_and(|record| record.state == UnitState::Owner);
        }
        link.send(&ToSource::Over(owned && !running)).await?;
        link.flush().await?;
        // The asker hangs up; waiting for it keeps the answer from being cut off.
        let _gone = tokio::time::timeout(LOOK_LAST, link.receive_content()).await;
        Ok(())
    }
}

fn news(found: &UnitRecord, transfers: &Transfers) -> OwnershipEvent {
    match found.last_move {
        Some(last) if found.server_id == transfers.backend.state.server_id() => {
            OwnershipEvent::GrantArrived {
                term: found.term,
                epoch: found.epoch,
                move_id: last.move_id,
                attempt: last.attempt,
            }
        }
        _ => OwnershipEvent::SeenElsewhere {
            owner: found.server.clone(),
            term: found.term,
            epoch: found.epoch,
        },
    }
}
