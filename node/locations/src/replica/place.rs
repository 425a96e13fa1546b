//! Choosing a server for a new unit: at random, in proportion to free space.

use murder_model::{PartitionName, ServerName};

use super::ReplicaError;
use super::lookup::ReplicaReader;
use crate::record::ServerRecord;

/// What a partition must have to be chosen.
#[derive(Clone, Debug, Default)]
pub struct PlacementLimits {
    /// Partitions with less free space than this take no new unit, in bytes.
    pub free_bytes_min: u64,
    /// Servers not to choose, such as one that just refused.
    pub exclude: Vec<ServerName>,
}

/// Where to put a new unit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Placement {
    /// The server.
    pub server: ServerRecord,
    /// The partition.
    pub partition: PartitionName,
}

impl ReplicaReader {
    /// A server and partition for a new unit: each partition of a server that is ready, not cordoned
    /// and not draining has a chance in proportion to its free space. `random` is uniform over its
    /// whole range. `None` if there is no room anywhere.
    pub fn place(
        &self,
        random: u64,
        limits: &PlacementLimits,
    ) -> Result<Option<Placement>, ReplicaError> {
        Ok(choose(self.servers()?, random, limits))
    }
}

fn choose(
    mut servers: Vec<ServerRecord>,
    random: u64,
    limits: &PlacementLimits,
) -> Option<Placement> {
    servers.retain(|server| {
        server.ready
            && !server.flags.cordoned
            && server.flags.drain_epoch == 0
            && !limits.exclude.contains(&server.server)
    });
    for server in &mut servers {
        server
            .partitions
            .retain(|space| space.free_bytes > limits.free_bytes_min);
    }
    // KiB, so that 2^64 times the sum fits.
    let weight = |free_bytes: u64| u128::from((free_bytes >> 10).max(1));
    let spaces = servers.iter().flat_map(|server| &server.partitions);
    let total: u128 = spaces.map(|space| weight(space.free_bytes)).sum();
    let mut point = (u128::from(random) * total) >> 64;
    for server in servers {
        for space in &server.partitions {
            let weight = weight(space.free_bytes);
            if point < weight {
                let partition = space.name.clone();
                return Some(Placement { server, partition });
            }
            point -= weight;
        }
    }
    None
}
