//! Which units are moved next, where to, and which were given up.

use murder_api::admin::{TransferPhase, TransferStatus, UnitSummary};
use murder_model::MoveId;

use super::holdings::{Part, awaited};
use super::report::{Blocked, DrainReport, DrainState};
use crate::core::observe::BackendView;
use crate::core::placement::{Placement, PlacementProblem, is_ours, is_running, move_id};
use crate::core::plan::{Action, Pass};

/// How soon a pass follows while units move: small ones take less than this.
const TRANSFER_POLL_MS: u64 = 200;

/// The next transfers of a cordoned backend, or what is in their way.
pub(super) fn transfer(
    pass: &mut Pass<'_>,
    backend: &BackendView,
    mut report: DrainReport,
) -> DrainReport {
    let world = pass.world;
    pass.wake_in(TRANSFER_POLL_MS);
    let (Some(units), Some(transfers)) = (&backend.units, &backend.transfers) else {
        let what = match &backend.units {
            None => "units",
            Some(_) => "transfers",
        };
        report.message = format!("the {what} of {} could not be read", backend.name);
        return report.is(DrainState::Planning);
    };
    let mut placement = Placement::new(world, backend);
    let attempts_max = world.cluster.attempts_max;
    let (given_up, open): (Vec<_>, Vec<_>) = resting(units, transfers)
        .into_iter()
        .partition(|unit| is_given_up(&failures(backend, unit), &placement, attempts_max));
    report.failed = given_up
        .into_iter()
        .filter_map(|unit| failure(backend, unit))
        .collect();
    let need = open.iter().map(|unit| unit.bytes).sum();
    if let Err(problem) = placement.check(need)
        && report.in_flight == 0
    {
        return no_room(report, problem);
    }
    let (started, misfits) = start(pass, backend, &open, &mut placement, &mut report);
    if started == 0 && report.in_flight == 0 {
        return stalled(pass, backend, report, misfits);
    }
    if report.message.is_empty() {
        report.message = hindrance(transfers);
    }
    report.is(DrainState::Transferring)
}

/// What goes wrong with a transfer that is still tried.
fn hindrance(transfers: &[TransferStatus]) -> String {
    let mut tried = transfers.iter().filter(|t| is_running(t.phase));
    let hindered = tried.find_map(|t| Some((t, t.error.as_ref()?)));
    let say = |(t, error): (&TransferStatus, &String)| {
        format!(
            "{} to {}: {error}; {} tries",
            t.root.as_str(),
            t.destination.as_str(),
            t.attempts
        )
    };
    hindered.map(say).unwrap_or_default()
}

/// Owned units that nothing moves; the largest first, so that no giant is left over when the room is gone.
fn resting<'a>(units: &'a [UnitSummary], transfers: &[TransferStatus]) -> Vec<&'a UnitSummary> {
    let is_moving = |unit: &UnitSummary| {
        let mut running = transfers.iter().filter(|t| is_running(t.phase));
        running.any(|transfer| transfer.root == unit.root)
    };
    let owned = units.iter().filter(|unit| Part::of(unit) == Part::Owned);
    let mut open: Vec<&UnitSummary> = owned.filter(|unit| !is_moving(unit)).collect();
    open.sort_by(|a, b| {
        let by_size = b.bytes.cmp(&a.bytes);
        by_size.then(a.root.as_str().cmp(b.root.as_str()))
    });
    open
}

/// Starts as many as may run; says how many those are, and how many units fit nowhere.
fn start(
    pass: &mut Pass<'_>,
    backend: &BackendView,
    open: &[&UnitSummary],
    placement: &mut Placement,
    report: &mut DrainReport,
) -> (usize, usize) {
    let limit = pass.world.cluster.parallel_per_backend;
    let limit = limit.saturating_sub(report.in_flight as usize);
    let (mut started, mut misfits) = (0, 0);
    for unit in open {
        if started >= limit || pass.transfers_left == 0 {
            break;
        }
        let failed = failures(backend, unit);
        let avoid: Vec<&str> = failed.iter().map(|t| t.destination.as_str()).collect();
        if let Some((root, tries, error)) = failure(backend, unit) {
            report.message = format!("{root}: {error}; try {} follows", tries + 1);
        }
        let Some(destination) = placement.choose(unit, &avoid) else {
            misfits += 1;
            continue;
        };
        let start = Action::StartTransfer {
            move_id: new_move_id(backend, unit, destination.as_str()),
            root: unit.root.clone(),
            destination,
        };
        pass.backend(backend, start);
        pass.transfers_left -= 1;
        started += 1;
    }
    (started, misfits)
}

/// Nothing moves and nothing was started.
fn stalled(
    pass: &Pass<'_>,
    backend: &BackendView,
    mut report: DrainReport,
    misfits: usize,
) -> DrainReport {
    if misfits > 0 {
        let message = format!("{misfits} users fit on no single backend");
        return report.blocked(Blocked::InsufficientCapacity, message);
    }
    if let Some((root, _, error)) = report.failed.first() {
        let message = match report.failed.len() {
            1 => format!("{root} could not be moved: {error}"),
            count => format!("{count} users could not be moved, among them {root}: {error}"),
        };
        return report.blocked(Blocked::FailedMailboxes, message);
    }
    report.message = awaited(pass.world, backend);
    report.is(DrainState::Transferring)
}

/// An identity that no transfer has that the source remembers: asking again for an ended one starts nothing.
fn new_move_id(backend: &BackendView, unit: &UnitSummary, destination: &str) -> MoveId {
    let known = || backend.transfers.iter().flatten();
    let ended = known().filter(|transfer| transfer.root == unit.root);
    let mut attempt = ended.count();
    loop {
        let id = move_id(&backend.name, unit, destination, attempt);
        if !known().any(|transfer| transfer.move_id == id) {
            return id;
        }
        attempt += 1;
    }
}

fn no_room(report: DrainReport, problem: PlacementProblem) -> DrainReport {
    match problem {
        PlacementProblem::NoDestination => report.blocked(
            Blocked::NoDestination,
            "no other backend may take its users; add a Backend or uncordon one".to_owned(),
        ),
        PlacementProblem::InsufficientCapacity { need, have } => report.blocked(
            Blocked::InsufficientCapacity,
            format!("needs {need} bytes, the others have {have} after headroom"),
        ),
    }
}

/// Our transfers of a unit that ended and left it here, since the Backend was last told what to be.
fn failures<'a>(backend: &'a BackendView, unit: &UnitSummary) -> Vec<&'a TransferStatus> {
    let transfers = backend.transfers.iter().flatten();
    let ended = |phase| matches!(phase, TransferPhase::Cancelled | TransferPhase::Failed);
    transfers
        .filter(|transfer| transfer.root == unit.root && ended(transfer.phase))
        .filter(|transfer| is_ours(transfer.move_id))
        .filter(|transfer| !backend.forgiven.contains(&transfer.move_id))
        .collect()
}

/// Whether a unit is left alone for now: it failed often enough or, as a source tries more than once by itself, long
/// enough with every destination.
fn is_given_up(failed: &[&TransferStatus], placement: &Placement, attempts_max: usize) -> bool {
    let tries: u64 = failed.iter().map(|t| u64::from(t.attempts)).sum();
    let everywhere = || {
        let mut destinations = placement.destinations();
        destinations.all(|name| failed.iter().any(|t| t.destination.as_str() == name))
    };
    failed.len() >= attempts_max || (tries >= attempts_max as u64 && everywhere())
}

/// Root, tries and last error of a unit that failed.
fn failure(backend: &BackendView, unit: &UnitSummary) -> Option<(String, u32, String)> {
    let failed = failures(backend, unit);
    let last = failed.last()?;
    let attempts = failed.iter().map(|transfer| transfer.attempts).sum();
    let withdrawn = || "the transfer was withdrawn".to_owned();
    let error = last.error.clone().unwrap_or_else(withdrawn);
    Some((unit.root.as_str().to_owned(), attempts, error))
}
