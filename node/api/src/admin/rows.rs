//! What the master has of record, unit by unit.

use murder_model::{Epoch, PartitionName, ServerId, ServerName, UnitId};
use serde::{Deserialize, Serialize};

/// Most units in one [`RowPage`].
pub const ROWS_PAGE_MAX: usize = 1000;

/// Some units of record, in order of their ids.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RowPage {
    /// The units.
    pub rows: Vec<UnitOfRecord>,
    /// Ask again with `after` set to this; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<UnitId>,
}

/// Where a unit is, by the master's word.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitOfRecord {
    /// The unit.
    pub unit: UnitId,
    /// Its root; what is not UTF-8 in a name of Cyrus is replaced.
    pub root: String,
    /// The owner.
    pub server: ServerName,
    /// The owner's identity; all zeros for a Cyrus server.
    pub server_id: ServerId,
    /// The owner's partition; absent for a unit of Cyrus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionName>,
    /// Version of the ownership.
    pub epoch: Epoch,
    /// `Owned`; `Released` by a server that a rebuilt master has not heard out yet; `Cyrus` if it was learned from a
    /// Cyrus server.
    pub state: String,
    /// Whether the owner was heard, or granted the unit, under the master's present term.
    pub confirmed: bool,
}
