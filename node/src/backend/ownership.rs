//! This server's records of who owns what, changed only by the rules of ownership.

use murder_locations::ownership::{Here, OwnershipEvent, OwnershipRefusal, next};
use murder_model::{OwnershipRecord, UnitId};
use murder_store::mail::{Effects, MailError, ownership, put_ownership};

use super::partition::{PartitionHandle, WriteError};
use super::{Backend, UnitPlace};

/// Why a record stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] OwnershipRefusal),
    /// The store refuses it or failed.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Backend {
    /// This server's record of a unit, if it has any in this partition.
    pub async fn record(
        &self,
        partition: &PartitionHandle,
        unit: UnitId,
    ) -> Result<Option<OwnershipRecord>, MailError> {
        partition.read(move |rows| ownership(rows, &unit)).await
    }

    /// Applies an event to the record of a unit and makes it durable. Nothing may be said or done
    /// on the strength of the event before this returns. Gates are the caller's.
    pub async fn apply_event(
        &self,
        partition: &PartitionHandle,
        unit: UnitId,
        event: OwnershipEvent,
    ) -> Result<OwnershipRecord, EventError> {
        let server = self.settings.server.clone();
        let promised = self.state.promised();
        let applied = partition.write(move |tx| {
            let here = Here {
                server: &server,
                promised,
            };
            let before = ownership(tx, &unit)?;
            let outcome = next(here, before.as_ref(), event);
            if let Ok(after) = &outcome
                && before.as_ref() != Some(after)
            {
                put_ownership(tx, after)?;
            }
            Ok((outcome, Effects::default()))
        });
        Ok(applied.await??)
    }

    /// As [`Self::apply_event`], for a unit whose place is known.
    pub async fn apply_to(
        &self,
        place: &UnitPlace,
        event: OwnershipEvent,
    ) -> Result<OwnershipRecord, EventError> {
        self.apply_event(&place.partition, place.unit, event).await
    }
}
