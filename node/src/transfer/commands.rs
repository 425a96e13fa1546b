//! Transfers as the admin interface orders them.

use murder_api::admin::TransferStatus;
use murder_model::{MoveId, PartitionName, RootName, ServerName};

use super::{TransferRefusal, Transfers};
use crate::admin::commands::{self, TransferCommands};

impl TransferCommands for Transfers {
    fn start(
        &self,
        id: MoveId,
        root: RootName,
        destination: ServerName,
        partition: Option<PartitionName>,
    ) -> Result<TransferStatus, commands::TransferRefusal> {
        Self::start(self, id, root, destination, partition).map_err(refusal)
    }

    fn list(&self) -> Vec<TransferStatus> {
        Self::list(self)
    }

    fn cancel(&self, id: &MoveId) -> Result<TransferStatus, commands::TransferRefusal> {
        Self::cancel(self, id).map_err(refusal)
    }

    fn set_rate(&self, bytes_per_second: u64) {
        Self::set_rate(self, bytes_per_second);
    }

    fn rate(&self) -> u64 {
        Self::rate(self)
    }
}

fn refusal(refusal: TransferRefusal) -> commands::TransferRefusal {
    use commands::TransferRefusal as Refusal;
    match refusal {
        TransferRefusal::NotFound => Refusal::NotFound,
        TransferRefusal::NotOwner => Refusal::NotOwner,
        TransferRefusal::ToItself => Refusal::SameServer,
        TransferRefusal::TooLate => Refusal::TooLate,
        TransferRefusal::OtherMove(id) => Refusal::OtherMove(id),
        TransferRefusal::Full => Refusal::Draining,
    }
}
