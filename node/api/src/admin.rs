//! The admin interface: JSON over HTTP/1.1 and mutual TLS, for the operator's certificate.
//!
//! | method and path | body | answer | on |
//! |---|---|---|---|
//! | GET /v1/status | – | [`NodeStatus`] | all |
//! | GET /v1/units?after=ROOT&limit=N | – | [`UnitPage`] | backends |
//! | GET /v1/transfers | – | [`TransferList`] | backends |
//! | POST /v1/transfers | [`StartTransfer`] | [`TransferStatus`] | source |
//! | POST /v1/transfers/ID/cancel | [`Fenced`] | [`TransferStatus`] | source |
//! | POST /v1/transfer-rate | [`SetTransferRate`] | [`NodeStatus`] | source |
//! | POST /v1/cordon | [`SetCordon`] | [`NodeStatus`] | backends |
//! | POST /v1/deactivate | [`Fenced`] | [`NodeStatus`] | backends |
//! | GET /v1/servers | – | [`ServerList`] | mupdate |
//! | GET /v1/rows?after=UNIT&limit=N, or ?root=NAME | – | [`RowPage`] | mupdate |
//! | POST /v1/servers/NAME/cordon | [`SetCordon`] | [`ServerStatus`] | mupdate |
//! | POST /v1/servers/NAME/retire | [`Retire`] | [`ServerStatus`] | mupdate |
//! | POST /v1/servers/NAME/confirm | [`Confirm`] | [`ServerStatus`] | mupdate |
//!
//! A refused call has a status of 4xx or 5xx and an [`ErrorBody`].
//!
//! What a drain rests on:
//!
//! - `POST /v1/deactivate` cordons the node, too. `POST /v1/cordon` with `cordoned: false` undoes both: the node serves
//!   and takes new units again. With `cordoned: true` it leaves `deactivated` as it is.
//! - A deactivated or retired node still answers here.
//! - `GET /v1/units` lists the units of every state, not only those served.
//! - `GET /v1/transfers` keeps some thousands of those that ended while the node runs, failed and withdrawn ones, too,
//!   so that a drain sees why a unit stays. One that is tried again has its last `error`.
//! - Transfers started here keep their caller's `moveId` in the list; an administrator's (XFER) have one of the node's.
//! - A server is meant by its name and its `serverId`: the master lists retired ones as well, and a living one may have
//!   the name of a retired one.

mod rows;

use murder_model::{
    Epoch, Fence, Incarnation, MoveId, PartitionName, RootName, ServerId, ServerName, Term, UnitId,
};
use serde::{Deserialize, Serialize};

pub use self::rows::{ROWS_PAGE_MAX, RowPage, UnitOfRecord};
use crate::settings::Role;

/// Most units in one [`UnitPage`].
pub const UNITS_PAGE_MAX: usize = 1000;

/// Why a call was refused.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// One CamelCase word for programs, e.g. `Fenced`, `NotFound`, `Unavailable`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// A call that only carries the caller's leadership.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Fenced {
    /// Refused if lower than the highest that the node has seen.
    pub fence: Fence,
}

/// What a node says of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Name of the process.
    pub name: String,
    /// Name in locations.
    pub server: ServerName,
    /// What it does.
    pub role: Role,
    /// Version of the program.
    pub version: String,
    /// Whether it serves.
    pub ready: bool,
    /// Highest fence seen.
    pub fence: Fence,
    /// Highest term promised or, on the master, its own.
    pub term: Term,
    /// Open IMAP and LMTP sessions.
    pub sessions: u64,
    /// What a node with mailboxes adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendStatus>,
}

/// What a node with mailboxes says of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    /// The volume's identity.
    pub server_id: ServerId,
    /// Starts on this volume.
    pub incarnation: Incarnation,
    /// Whether new units are refused.
    pub cordoned: bool,
    /// Whether it serves nothing any more; only a cordoned one is.
    pub deactivated: bool,
    /// Units served here: those whose state is `Owner`.
    pub units: u64,
    /// Units released whose outcome is not known.
    pub units_in_doubt: u64,
    /// Units being copied here.
    pub units_staged: u64,
    /// Copies kept for the grace period.
    pub units_grace: u64,
    /// Mailboxes in the units served.
    pub mailboxes: u64,
    /// Messages in them.
    pub messages: u64,
    /// Bytes of those messages.
    pub bytes: u64,
    /// Name changes not yet acknowledged by the master.
    pub outbox: u64,
    /// Deliveries held for a unit that moves.
    pub held: u64,
    /// Most bytes a second that all transfers from here may send together; 0: no limit.
    #[serde(default)]
    pub transfer_bytes_per_second: u64,
    /// The partitions.
    pub partitions: Vec<PartitionStatus>,
}

/// A partition's room.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStatus {
    /// Its name.
    pub name: PartitionName,
    /// Bytes free on its volume beyond the reserve.
    pub free_bytes: u64,
    /// Size of its volume.
    pub total_bytes: u64,
    /// Why it stopped taking writes, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// Some units of a backend, in order of their roots.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitPage {
    /// The units.
    pub units: Vec<UnitSummary>,
    /// Ask again with `after` set to this; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<RootName>,
}

/// One unit.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitSummary {
    /// The unit.
    pub unit: UnitId,
    /// Its root.
    pub root: RootName,
    /// Its partition.
    pub partition: PartitionName,
    /// This server's part: `Creating` (asked for, not granted yet), `Owner`, `Released` (in doubt), `Staging` or
    /// `Prepared` (arriving), `Moved` or `Gone` (a copy for the grace period, or the memory of one).
    pub state: String,
    /// Highest epoch known.
    pub epoch: Epoch,
    /// Its mailboxes.
    pub mailboxes: u64,
    /// Its messages.
    pub messages: u64,
    /// Bytes of its messages.
    pub bytes: u64,
}

/// Starts the transfer of a unit; the same call twice is one transfer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StartTransfer {
    /// The caller's leadership.
    pub fence: Fence,
    /// The transfer's identity, chosen by the caller.
    pub move_id: MoveId,
    /// Root of the unit.
    pub root: RootName,
    /// Where to.
    pub destination: ServerName,
    /// Partition there. Default: the destination chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionName>,
}

/// Where a transfer is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum TransferPhase {
    /// Waits for its turn.
    Queued,
    /// Rows and bodies are being copied.
    Copying,
    /// Changes since are being copied.
    CatchingUp,
    /// Writes wait for the last changes.
    Frozen,
    /// Given away; the master decides.
    Released,
    /// Served by the destination.
    Done,
    /// Given up; served by the source.
    Failed,
    /// Withdrawn; served by the source.
    Cancelled,
}

/// A transfer, running or lately ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TransferStatus {
    /// The transfer.
    pub move_id: MoveId,
    /// Root of the unit.
    pub root: RootName,
    /// Where to.
    pub destination: ServerName,
    /// Where it is.
    pub phase: TransferPhase,
    /// Tries so far.
    pub attempts: u32,
    /// Mailboxes of the unit.
    pub mailboxes: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes to send as far as known.
    pub bytes_total: u64,
    /// How long writes waited in the last step, in milliseconds.
    pub freeze_ms: u64,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Transfers, running or lately ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TransferList {
    /// In order of their start.
    pub transfers: Vec<TransferStatus>,
}

/// Bounds what all transfers from a node may send together, those under way, too. It is forgotten when
/// the node starts anew.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SetTransferRate {
    /// The caller's leadership.
    pub fence: Fence,
    /// Bytes a second; 0: no limit. As much as keeps destinations from taking silence for death, some
    /// 17 KiB/s for each of `transfer.parallel`, is always allowed.
    pub bytes_per_second: u64,
}

/// Turns refusal of new units on or off.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SetCordon {
    /// The caller's leadership.
    pub fence: Fence,
    /// Whether new units are refused.
    pub cordoned: bool,
}

/// Ends a server for ever; refused while the master knows a unit of it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Retire {
    /// The caller's leadership.
    pub fence: Fence,
    /// The identity that ends; another one of the same name is not touched.
    pub server_id: ServerId,
}

/// Takes a server back into service whose volume went back in time, for example because it was
/// restored from a snapshot: all its UIDVALIDITYs rise, and clients read everything anew.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Confirm {
    /// The caller's leadership.
    pub fence: Fence,
    /// The identity that is confirmed.
    pub server_id: ServerId,
}

/// What the master knows of a server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatus {
    /// Its name.
    pub server: ServerName,
    /// Its volume's identity.
    pub server_id: ServerId,
    /// Starts on this volume.
    pub incarnation: Incarnation,
    /// Whether it gets no new units.
    pub cordoned: bool,
    /// Whether it ended for ever.
    pub retired: bool,
    /// Whether its volume went back in time and must be confirmed before it serves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blocked: bool,
    /// Units of which it is the owner of record.
    pub units: u64,
    /// Mailbox names there.
    pub names: u64,
}

/// All servers that the master knows.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerList {
    /// In order of their names.
    pub servers: Vec<ServerStatus>,
}

#[cfg(test)]
mod tests {
    use murder_model::{Fence, MoveId, RootName};

    use super::StartTransfer;

    #[test]
    fn a_transfer_is_started_with_readable_json() {
        let text = r#"{"fence":7,"moveId":"000102030405060708090a0b0c0d0e0f","root":"user.alice","destination":"be-b"}"#;
        let start: StartTransfer = serde_json::from_str(text).unwrap();
        assert_eq!(start.fence, Fence::new(7));
        assert_eq!(start.root, RootName::parse("user.alice").unwrap());
        assert_eq!(
            start.move_id,
            MoveId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
        );
        assert_eq!(serde_json::to_string(&start).unwrap(), text);
        assert!(serde_json::from_str::<StartTransfer>(r#"{"fence":7}"#).is_err());
    }
}
