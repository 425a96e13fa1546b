//! XFER and the form of RENAME that moves a user or shared root to another server, as Cyrus'
//! administrators know them. Unlike there, a failure is a tagged `NO`.

use murder_api::admin::TransferPhase;
use murder_model::{MoveId, PartitionName, RootName, ServerName};

use super::{Answer, Reply, Session};
use crate::clock;

impl Session {
    /// `location` is `server` or `server!partition`; a partition may also be named apart.
    pub(super) async fn xfer(
        &self,
        mailbox: &[u8],
        location: &[u8],
        partition: Option<&[u8]>,
    ) -> Answer {
        if !self.identity.is_admin {
            return Ok(Reply::no("[NOPERM] permission denied"));
        }
        let (root, server, partition) = match self.destination(mailbox, location, partition) {
            Ok(parsed) => parsed,
            Err(reply) => return Ok(reply),
        };
        if let Err(error) = self.backend.place(&root).await {
            return Ok(error.into());
        }
        let Some(transfers) = self.backend.transfers() else {
            return Ok(Reply::no("[CANNOT] this server has no others to move to"));
        };
        let id = MoveId::from_bytes(clock::random_id());
        if let Err(refusal) = transfers.start(id, root, server, partition) {
            return Ok(Reply::No(format!("[CANNOT] {refusal}")));
        }
        Ok(match transfers.wait(&id).await {
            Some(status) if status.phase == TransferPhase::Done => Reply::ok("moved"),
            Some(status) => {
                let why = status.error.unwrap_or_else(|| "withdrawn".to_owned());
                Reply::No(format!("[UNAVAILABLE] not moved: {why}"))
            }
            None => Reply::no("[UNAVAILABLE] not moved"),
        })
    }

    fn destination(
        &self,
        mailbox: &[u8],
        location: &[u8],
        partition: Option<&[u8]>,
    ) -> Result<(RootName, ServerName, Option<PartitionName>), Reply> {
        let name = self.name(mailbox)?;
        if !name.is_root() {
            return Err(Reply::no("[CANNOT] users and shared roots move as a whole"));
        }
        let location = String::from_utf8_lossy(location);
        let (server, in_location) = match location.split_once('!') {
            Some((server, partition)) => (server, Some(partition.to_owned())),
            None => (&*location, None),
        };
        let server = ServerName::parse(server)
            .map_err(|error| Reply::No(format!("[CANNOT] server: {error}")))?;
        let partition = partition
            .map(|partition| String::from_utf8_lossy(partition).into_owned())
            .or(in_location);
        let partition = partition
            .map(|partition| PartitionName::parse(&partition))
            .transpose()
            .map_err(|error| Reply::No(format!("[CANNOT] partition: {error}")))?;
        Ok((name.root(), server, partition))
    }
}
