//! Whether a unit may come here: its owner of record asks, and there is room before the first byte.

use std::sync::Arc;

use murder_locations::request::{Request, Response, UnitRef};
use murder_model::ServerName;
use murder_store::mail::unit;

use super::message::{Begin, Reason};
use super::stage::{Reserved, move_of};
use super::{TransferError, Transfers};
use crate::backend::partition::PartitionHandle;

/// What a message takes beside its bytes, about.
const ROW_BYTES: u64 = 1024;

/// Why it may not, for programs and for people.
pub(super) type Refused = (Reason, String);

impl Transfers {
    /// Whether the unit may come, and where to.
    pub(super) async fn admit(
        &self,
        from: &ServerName,
        begin: &Begin,
    ) -> Result<Result<(Arc<PartitionHandle>, Reserved), Refused>, TransferError> {
        let refused = |reason, text: &str| Ok(Err((reason, text.to_owned())));
        let state = &self.backend.state;
        if state.is_cordoned() || state.is_deactivated() || self.backend.membership.is_blocked() {
            return refused(Reason::Cordoned, "no units are taken here");
        }
        let find = Request::FindUnit(UnitRef::Id(begin.unit));
        match self.directory()?.demand(find).await {
            Ok(Response::Unit(Some(record))) => {
                let owned = record.server == *from && record.epoch == begin.epoch;
                if !owned || record.root_name().as_ref() != Some(&begin.root) {
                    return refused(Reason::Stale, "another owner or epoch is on record");
                }
            }
            Ok(_) => return refused(Reason::Stale, "no such unit is on record"),
            Err(error) => return refused(Reason::Unavailable, &error.to_string()),
        }
        let mut known = None;
        for partition in self.backend.partitions() {
            let id = begin.unit;
            let row = partition.read(move |rows| unit(rows, &id)).await?;
            known = known.or_else(|| row.map(|row| (Arc::clone(partition), row)));
        }
        let (partition, reached) = match (known, &begin.partition) {
            // One record a unit and server, wherever it was made first.
            (Some((partition, row)), _) => {
                let kept = move_of(&row.ownership) == Some(begin.move_id);
                (partition, if kept { row.change } else { 0 })
            }
            (None, Some(wish)) => match self.backend.partition(wish.as_str()) {
                Some(partition) => (Arc::clone(partition), 0),
                None => return refused(Reason::NoSuchPartition, "no such partition"),
            },
            (None, None) => (Arc::clone(self.backend.roomiest_partition()), 0),
        };
        let all = begin
            .bytes
            .saturating_add(begin.messages.saturating_mul(ROW_BYTES));
        let left = u128::from(begin.change.saturating_sub(reached));
        let need = u128::from(all) * left / u128::from(begin.change.max(1));
        let need = u64::try_from(need).unwrap_or(u64::MAX);
        match self.room.reserve(&partition, need) {
            Some(room) => Ok(Ok((partition, room))),
            None => {
                let text = format!(
                    "{need} bytes are not free in partition {}",
                    partition.name()
                );
                Ok(Err((Reason::NoRoom, text)))
            }
        }
    }
}
