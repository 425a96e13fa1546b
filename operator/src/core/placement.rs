//! Where a unit goes: largest first, to the destination with the most room by weight, of equal ones to that with the
//! fewest units.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use murder_api::admin::{BackendStatus, TransferPhase, UnitSummary};
use murder_model::{MoveId, ServerName};

use super::observe::{BackendView, Record, Wish, World};

/// Most that a drain leaves free on a destination, whatever its share: a large volume that is shared with others may
/// never have more.
const HEADROOM_BYTES_MAX: u64 = 8 << 30;

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
    rooms: BTreeMap<String, Room>,
}

#[derive(Clone, Copy, Debug)]
struct Room {
    free: u64,
    total: u64,
    weight: u64,
    units: u64,
}

impl Room {
    /// Whole hundredths that are free, by weight: smaller differences are noise where volumes share a filesystem.
    fn hundredths(&self) -> u64 {
        self.free / (self.total / 100).max(1) * self.weight
    }

    /// Units for each unit of weight.
    fn load(&self) -> u64 {
        self.units * 1000 / self.weight.max(1)
    }
}

impl Placement {
    /// The destinations for units of `source`.
    pub fn new(world: &World, source: &BackendView) -> Self {
        let rooms = world
            .backends
            .iter()
            .filter(|backend| backend.name != source.name && accepts(world, backend))
            .filter(|backend| source.allow.is_empty() || source.allow.contains(&backend.name))
            .filter(|backend| !source.deny.contains(&backend.name))
            .map(|backend| (backend.name.clone(), room_of(world, backend)))
            .collect();
        let mut placement = Self { rooms };
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
        self.rooms.keys().map(String::as_str)
    }

    /// Whether `bytes` can fit at all, before the first is sent.
    pub fn check(&self, bytes: u64) -> Result<(), PlacementProblem> {
        if self.rooms.is_empty() {
            return Err(PlacementProblem::NoDestination);
        }
        let have = self.rooms.values().map(|room| room.free).sum();
        if have < bytes {
            return Err(PlacementProblem::InsufficientCapacity { need: bytes, have });
        }
        Ok(())
    }

    /// Picks a destination for a unit and uses up its room; those in `avoid` come last.
    pub fn choose(&mut self, unit: &UnitSummary, avoid: &[&str]) -> Option<ServerName> {
        let fits = self
            .rooms
            .iter()
            .filter(|(_, room)| room.free >= unit.bytes);
        let best = fits.max_by_key(|(name, room)| {
            let is_new = !avoid.contains(&name.as_str());
            (
                is_new,
                room.hundredths(),
                Reverse(room.load()),
                Reverse(*name),
            )
        });
        let best = best?.0.clone();
        self.take(&best, unit.bytes);
        ServerName::parse(&best).ok()
    }

    fn take(&mut self, name: &str, bytes: u64) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.free = room.free.saturating_sub(bytes);
            room.units += 1;
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

/// Bytes of room for units from others.
pub(super) fn free_bytes(world: &World, backend: &BackendView) -> u64 {
    room_of(world, backend).free
}

/// The room in the roomiest partition.
fn room_of(world: &World, backend: &BackendView) -> Room {
    let partitions = backend.status.iter().flat_map(|status| &status.partitions);
    let rooms = partitions
        .filter(|partition| partition.failed.is_none())
        .map(|partition| {
            let share = partition.total_bytes / 100 * world.cluster.headroom_percent;
            let headroom = share.min(HEADROOM_BYTES_MAX);
            (
                partition.free_bytes.saturating_sub(headroom),
                partition.total_bytes,
            )
        });
    let (free, total) = rooms.max().unwrap_or_default();
    Room {
        free,
        total,
        weight: u64::from(backend.weight),
        units: backend.status.as_ref().map_or(0, |status| status.units),
    }
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
