//! Changes of ownership records, each with what must be durable in the same commit.

use murder_locations::ownership::{Here, OwnershipEvent, next};
use murder_model::{OwnershipRecord, Timestamp, UnitId, UnitState};
use murder_store::engine::Tx;
use murder_store::mail::{Effects, MailError, ownership, publish_names, put_ownership};
use murder_store::rows::{Rows, RowsMut as _, Table};

use super::Transfers;
use crate::backend::EventError;
use crate::backend::partition::PartitionHandle;
use crate::clock;

impl Transfers {
    /// Applies what the master decided. In the same commit a new owner tells all names again, and one
    /// that was notes the time from which its copy's grace counts.
    pub(super) async fn apply_decision(
        &self,
        partition: &PartitionHandle,
        unit: UnitId,
        event: OwnershipEvent,
    ) -> Result<OwnershipRecord, EventError> {
        let server = self.backend.settings.server.clone();
        let promised = self.backend.state.promised();
        let applied = partition.write(move |tx| {
            let here = Here {
                server: &server,
                promised,
            };
            let before = ownership(tx, &unit)?;
            let after = match next(here, before.as_ref(), event) {
                Ok(after) => after,
                Err(refusal) => return Ok((Err(refusal), Effects::default())),
            };
            if before.as_ref() == Some(&after) {
                return Ok((Ok(after), Effects::default()));
            }
            put_ownership(tx, &after)?;
            let mut effects = Effects::default();
            match after.state {
                UnitState::Owner => {
                    forget_moved(tx, &unit)?;
                    effects = publish_names(tx, &unit)?;
                }
                UnitState::Moved { .. } => {
                    let now = clock::now().as_millis().to_be_bytes();
                    tx.put(Table::Meta, &moved_key(&unit), &now)?;
                }
                _ => {}
            }
            Ok((Ok(after), effects))
        });
        Ok(applied.await??)
    }

    pub(super) async fn record(
        &self,
        partition: &PartitionHandle,
        unit: UnitId,
    ) -> Result<Option<OwnershipRecord>, MailError> {
        self.backend.record(partition, unit).await
    }
}

fn moved_key(unit: &UnitId) -> Vec<u8> {
    [b"transfer.moved:".as_slice(), unit.as_bytes()].concat()
}

/// When the unit moved away, if that is noted.
pub(super) fn moved_at(rows: &dyn Rows, unit: &UnitId) -> Result<Option<Timestamp>, MailError> {
    let value = rows.read(Table::Meta, &moved_key(unit))?;
    let millis = value.and_then(|value| value.try_into().ok());
    Ok(millis.map(|millis| Timestamp::from_millis(i64::from_be_bytes(millis))))
}

pub(super) fn forget_moved(tx: &mut Tx<'_>, unit: &UnitId) -> Result<(), MailError> {
    Ok(tx.delete(Table::Meta, &moved_key(unit))?)
}
