//! Where a unit goes: largest first, to the destination with the most room by weight.

use std::collections::BTreeMap;

use murder_api::admin::{BackendStatus, TransferPhase, UnitSummary};
use murder_model::{MoveId, ServerName};

use super::observe::{BackendView, Record, Wish, World};

/// Why no placement was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlacementProblem {
    /// No other backend may take anything.
    NoDestination,
    /// What is left to move exceeds the room.
    InsufficientCapacity {
        /// Bytes to move.
        need: u64,
        /// Bytes of room.
        have: u64,
    },
}

/// Room of the destinations of one source; each choice uses some up.
#[derive(Clone, Debug)]
pub struct Placement {
    room: BTreeMap<String, (u64, u64)>,
}

impl Placement {
    /// The destinations for units of `source`.
    pub fn new(world: &World, source: &BackendView) -> Self {
        let room = world
            .backends
            .iter()
            .filter(|backend| backend.name != source.name && accepts(world, backend))
            .filter(|backend| source.allow.is_empty() || source.allow.contains(&backend.name))
            .filter(|backend| !source.deny.contains(&backend.name))
            .map(|backend| {
                (
                    backend.name.clone(),
                    (room_of(world, backend), u64::from(backend.weight)),
                )
            })
            .collect();
        let mut placement = Self { room };
        for backend in &world.backends {
            for transfer in backend.transfers.iter().flatten() {
                if is_running(transfer.phase) {
                    let left = transfer.bytes_total.saturating_sub(transfer.bytes_sent);
                    placement.take(transfer.destination.as_str(), left);
                }
            }
        }
        placement
    }

    /// Names of the destinations, in order.
    pub fn destinations(&self) -> impl Iterator<Item = &str> {
        self.room.keys().map(String::as_str)
    }

    /// Whether `bytes` can fit at all, before the first is sent.
    pub fn check(&self, bytes: u64) -> Result<(), PlacementProblem> {
        if self.room.is_empty() {
            return Err(PlacementProblem::NoDestination);
        }
        let have = self.room.values().map(|(free, _)| free).sum();
        if have < bytes {
            return Err(PlacementProblem::InsufficientCapacity { need: bytes, have });
        }
        Ok(())
    }

    /// Picks a destination for a unit and uses up its room; those in `avoid` come last.
    pub fn choose(&mut self, unit: &UnitSummary, avoid: &[&str]) -> Option<ServerName> {
        let best = self
            .room
            .iter()
            .filter(|(_, (free, _))| *free >= unit.bytes)
            .max_by(|(a_name, a), (b_name, b)| {
                let key = |name: &String, (free, weight): &(u64, u64)| {
                    let avoided = avoid.contains(&name.as_str());
                    (!avoided, u128::from(*free) * u128::from(*weight))
                };
                key(a_name, a).cmp(&key(b_name, b)).then(b_name.cmp(a_name))
            })
            .map(|(name, _)| name.clone())?;
        // An empty unit counts as a page, so that many of them spread.
        self.take(&best, unit.bytes.max(4096));
        ServerName::parse(&best).ok()
    }

    fn take(&mut self, name: &str, bytes: u64) {
        if let Some((free, _)) = self.room.get_mut(name) {
            *free = free.saturating_sub(bytes);
        }
    }
}

/// Whether a backend takes units of others: both it and the master say so.
pub(super) fn accepts(world: &World, backend: &BackendView) -> bool {
    let Some(status) = &backend.status else {
        return false;
    };
    backend.wish == Wish::Active
        && !backend.is_leaving()
        && backend.weight > 0
        && backend.pod.as_ref().is_some_and(|pod| pod.ready)
        && is_open(world, backend, status)
}

/// Whether a server gets new units: its node says so and, if there is a master, that too.
pub(super) fn is_open(world: &World, backend: &BackendView, status: &BackendStatus) -> bool {
    let at_master = match world.record(backend) {
        Record::NoMaster => true,
        Record::Listed(row) => !row.cordoned && !row.retired,
        Record::Absent | Record::Foreign(_) | Record::Silent => false,
    };
    !status.cordoned && !status.deactivated && at_master
}

fn room_of(world: &World, backend: &BackendView) -> u64 {
    let partitions = backend.status.iter().flat_map(|status| &status.partitions);
    partitions
        .filter(|partition| partition.failed.is_none())
        .map(|partition| {
            let headroom = partition.total_bytes / 100 * world.cluster.headroom_percent;
            partition.free_bytes.saturating_sub(headroom)
        })
        .max()
        .unwrap_or(0)
}

/// Whether a transfer is still under way.
pub fn is_running(phase: TransferPhase) -> bool {
    use TransferPhase as P;
    match phase {
        P::Queued | P::Copying | P::CatchingUp | P::Frozen | P::Released => true,
        P::Done | P::Failed | P::Cancelled => false,
    }
}

/// How the ids of our transfers begin. Those that a node makes itself begin with its count of starts.
const OURS: [u8; 4] = *b"oper";

/// Whether a transfer was started by an operator.
pub fn is_ours(move_id: MoveId) -> bool {
    move_id.as_bytes().starts_with(&OURS)
}

/// The identity of a transfer: the same for the same try, so that starting it twice is starting it once.
pub fn move_id(source: &str, unit: &UnitSummary, destination: &str, attempt: usize) -> MoveId {
    move_id_of(
        source,
        unit.root.as_str(),
        unit.epoch.get(),
        destination,
        attempt,
    )
}

fn move_id_of(source: &str, root: &str, epoch: u64, destination: &str, attempt: usize) -> MoveId {
    // FNV-1a with 128 bits: no secret, only distinctness.
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let numbers = format!("{epoch}/{attempt}");
    for part in [source, root, destination, &numbers] {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u128::from(byte)).wrapping_mul(PRIME);
        }
    }
    let mut bytes = hash.to_be_bytes();
    bytes[..OURS.len()].copy_from_slice(&OURS);
    MoveId::from_bytes(bytes)
}
