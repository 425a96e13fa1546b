//! What a backend still holds, by two sources: itself and the mupdate master.
//!
//! What was not read is unknown, never nothing: a backend is empty only if its status, its units and its transfers
//! were read and say so, and the master, if there is one, answered and lists its server (name and identity) with
//! nothing, or has never heard of it.

use murder_api::admin::{BackendStatus, UnitSummary};

use crate::core::observe::{BackendView, Record, VolumeView, World};
use crate::core::placement::is_running;

/// What a backend holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Holdings {
    /// Both sources say nothing at all.
    Nothing,
    /// Some source names something.
    Something,
    /// Nothing is named, but not everything was read.
    Unknown,
}

/// A server's part in a unit, from the word in [`UnitSummary::state`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// A copy kept for the grace period, or only the memory of one.
    Grace,
    /// Being copied here.
    Incoming,
    /// Released; whether it left is not known.
    InDoubt,
    /// Served here.
    Owned,
    /// Asked for, and not granted yet.
    Reserved,
    /// A word that we do not know: it counts as held.
    Strange,
}

impl Part {
    pub(super) fn of(unit: &UnitSummary) -> Self {
        match unit.state.as_str() {
            "Creating" => Self::Reserved,
            "Gone" | "Moved" => Self::Grace,
            "Owner" => Self::Owned,
            "Prepared" | "Staging" => Self::Incoming,
            "Released" => Self::InDoubt,
            _ => Self::Strange,
        }
    }
}

/// What both sources say together.
pub(super) fn holdings(world: &World, backend: &BackendView) -> Holdings {
    let sources = [by_master(world, backend), by_node(backend)];
    if sources.contains(&Holdings::Something) {
        Holdings::Something
    } else if sources.contains(&Holdings::Unknown) {
        Holdings::Unknown
    } else {
        Holdings::Nothing
    }
}

/// What the backend says of itself.
pub(super) fn by_node(backend: &BackendView) -> Holdings {
    let Some(status) = &backend.status else {
        return match backend.volume {
            VolumeView::Absent => Holdings::Nothing,
            VolumeView::Present | VolumeView::Retired { .. } => Holdings::Unknown,
        };
    };
    let held = |unit: &UnitSummary| Part::of(unit) != Part::Grace;
    let units = backend.units.iter().flatten().any(held);
    let transfers = backend.transfers.iter().flatten();
    let running = transfers.map(|t| t.phase).any(is_running);
    if counted(status) > 0 || units || running {
        Holdings::Something
    } else if backend.units.is_none() || backend.transfers.is_none() {
        Holdings::Unknown
    } else {
        Holdings::Nothing
    }
}

fn by_master(world: &World, backend: &BackendView) -> Holdings {
    match world.record(backend) {
        Record::NoMaster | Record::Absent => Holdings::Nothing,
        Record::Silent | Record::Foreign(_) => Holdings::Unknown,
        Record::Listed(row) if row.units > 0 || row.names > 0 => Holdings::Something,
        Record::Listed(_) => Holdings::Nothing,
    }
}

fn counted(status: &BackendStatus) -> u64 {
    status.units + status.units_in_doubt + status.units_staged + status.outbox + status.held
}

/// What else must leave or settle when no unit is left to move, for people.
pub(super) fn awaited(world: &World, backend: &BackendView) -> String {
    let mut waits = Vec::new();
    let mut say = |count: u64, one: &str, many: &str| match count {
        0 => {}
        1 => waits.push(format!("1 {one}")),
        _ => waits.push(format!("{count} {many}")),
    };
    let of = |part: Part| {
        let units = backend.units.iter().flatten();
        units.filter(|unit| Part::of(unit) == part).count() as u64
    };
    say(of(Part::InDoubt), "unit in doubt", "units in doubt");
    say(of(Part::Incoming), "unit arriving", "units arriving");
    say(of(Part::Reserved), "unit being made", "units being made");
    let strange = of(Part::Strange);
    say(
        strange,
        "unit in an unknown state",
        "units in unknown states",
    );
    if let Some(status) = &backend.status {
        let (one, many) = (
            "name that the master has yet to hear",
            "names that the master has yet to hear",
        );
        say(status.outbox, one, many);
        say(status.held, "delivery held", "deliveries held");
    }
    let owned = of(Part::Owned);
    if let Record::Listed(row) = world.record(backend)
        && owned == 0
    {
        say(
            row.units,
            "unit by the master's list",
            "units by the master's list",
        );
        say(
            row.names,
            "name by the master's list",
            "names by the master's list",
        );
    }
    if waits.is_empty() {
        return String::new();
    }
    format!("waits for {}", waits.join(", "))
}
