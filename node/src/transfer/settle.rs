//! The end of a move at its source: only the master says who owns a released unit.

use std::time::Duration;

use murder_locations::ownership::{OwnershipEvent, SettleAnswer};
use murder_locations::request::{Request, Response, UnitRecord};
use murder_model::{MoveId, OwnershipRecord, UnitState};
use tokio::time::sleep;

use super::{TransferError, Transfers};
use crate::backend::gate::Phase;
use crate::backend::{EventError, UnitPlace};
use crate::directory::AskError;

/// Wait before a question is asked again: the first, and the longest.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_LAST: Duration = Duration::from_secs(5);

impl Transfers {
    /// Asks the master, beginning with `flip` if the unit was released just now, until it has decided
    /// and the decision is durable here. Returns the record then. Bounded by nothing: there is no other
    /// way out of Released.
    pub(super) async fn settle(&self, place: &UnitPlace, flip: Option<Request>) -> OwnershipRecord {
        let mut pause = AGAIN_FIRST;
        let mut flip = flip;
        loop {
            match self.settle_once(place, flip.take()).await {
                Ok(Some(record)) => return record,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(event = "transfer_in_doubt", unit = %place.unit, %error);
                }
            }
            if matches!(pause, AGAIN_FIRST) {
                // The answer to a lost FLIP is most likely there already.
                sleep(pause).await;
            } else {
                self.pause(pause).await;
            }
            pause = (pause * 2).min(AGAIN_LAST);
        }
    }

    /// `None`: not decided.
    async fn settle_once(
        &self,
        place: &UnitPlace,
        flip: Option<Request>,
    ) -> Result<Option<OwnershipRecord>, TransferError> {
        let Some(record) = self.record(&place.partition, place.unit).await? else {
            return Err(TransferError::NotOwner);
        };
        let UnitState::Released { move_id, .. } = record.state else {
            return Ok(Some(record));
        };
        let spoken = self.backend.state.promised();
        let asked = match flip {
            Some(Request::Flip { term, .. }) if term != spoken => None,
            flip => flip,
        };
        let request = asked.unwrap_or_else(|| settle(&record, move_id, spoken));
        let answer = match self.directory()?.demand(request).await {
            Ok(Response::Flipped(found)) => SettleAnswer::Flipped {
                to: found.server,
                term: found.term,
                epoch: found.epoch,
            },
            Ok(Response::Raised(found) | Response::Unit(Some(found))) => on_record(found),
            Ok(_) => return Ok(None),
            Err(AskError::Refused(refusal)) => {
                tracing::info!(event = "transfer_not_settled", root = %record.root, %refusal);
                self.backend.membership.report_again();
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let event = OwnershipEvent::Settled { spoken, answer };
        let settled = self.apply_decision(&place.partition, place.unit, event);
        match settled.await {
            Ok(record) => Ok(Some(record)),
            Err(EventError::Refused(refusal)) => {
                tracing::info!(event = "transfer_not_settled", root = %record.root, %refusal);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Settles a unit that an earlier life of this server released.
    pub(super) async fn settle_old(&self, place: &UnitPlace) -> OwnershipRecord {
        let record = self.settle(place, None).await;
        if let Some(phase) = phase_of(&record) {
            self.leave_views(place, &phase).await;
            place.gate.set(phase).await;
        }
        let (root, state) = (&record.root, &record.state);
        tracing::info!(event = "transfer_settled", %root, ?state);
        record
    }

    /// Sessions that look at a unit which has moved away are ended by its gate; those that come with a
    /// later stay of the unit must not meet their views.
    pub(super) async fn leave_views(&self, place: &UnitPlace, phase: &Phase) {
        if phase.is_moved()
            && let Err(error) = self.forget_views(&place.partition, place.unit).await
        {
            tracing::warn!(event = "views_not_forgotten", unit = %place.unit, %error);
        }
    }
}

fn settle(record: &OwnershipRecord, move_id: MoveId, term: murder_model::Term) -> Request {
    Request::Settle {
        unit: record.unit,
        epoch: record.epoch,
        move_id,
        term,
    }
}

fn on_record(found: UnitRecord) -> SettleAnswer {
    SettleAnswer::Record {
        owner: found.server,
        term: found.term,
        epoch: found.epoch,
    }
}

/// What a settled record means for those who want the unit.
pub(super) fn phase_of(record: &OwnershipRecord) -> Option<Phase> {
    match &record.state {
        UnitState::Owner => Some(Phase::Active),
        UnitState::Moved { to, term, epoch } => Some(Phase::Moved {
            to: to.clone(),
            term: *term,
            epoch: *epoch,
        }),
        _ => None,
    }
}
