//! What the admin interface and XFER ask of transfers.

use murder_api::admin::TransferStatus;
use murder_model::{MoveId, PartitionName, RootName, ServerName};

/// Transfers of units that leave this server. Ids are the caller's: a repeated call is recognised by
/// its id and is one transfer.
pub trait TransferCommands: Send + Sync + std::fmt::Debug {
    /// Queues a transfer, or tells where the one of that id is. May block for a file's sync.
    fn start(
        &self,
        id: MoveId,
        root: RootName,
        destination: ServerName,
        partition: Option<PartitionName>,
    ) -> Result<TransferStatus, TransferRefusal>;

    /// Transfers, running or lately ended, in the order of their start.
    fn list(&self) -> Vec<TransferStatus>;

    /// Withdraws a transfer that has not released its unit. One that is cancelled already is told
    /// again.
    fn cancel(&self, id: &MoveId) -> Result<TransferStatus, TransferRefusal>;

    /// Bounds what all transfers send together, in bytes a second; 0: not at all. It counts at once and
    /// until the node ends.
    fn set_rate(&self, bytes_per_second: u64);

    /// The bound that was set.
    fn rate(&self) -> u64;
}

/// Why a transfer is not started or cancelled; nothing was changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TransferRefusal {
    /// No transfer of that id, or no unit of that root here.
    #[error("no such transfer or unit")]
    NotFound,
    /// The unit is here, but not served here.
    #[error("the unit is not served here")]
    NotOwner,
    /// The unit has been released: only the master decides now.
    #[error("the unit has been given away already")]
    TooLate,
    /// The unit is being moved under another id.
    #[error("the unit is being moved as {0}")]
    OtherMove(MoveId),
    /// It is here already.
    #[error("the destination is this server")]
    SameServer,
    /// The node begins no transfers now: it is stopping, or its queue is full.
    #[error("no transfer can begin now")]
    Draining,
}
