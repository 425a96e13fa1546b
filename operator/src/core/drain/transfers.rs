//! Which units are moved next, where to, and which were given up.

use murder_api::admin::{TransferPhase, TransferStatus, UnitSummary};

use super::POLL_MS;
use super::report::{Blocked, DrainReport, DrainState};
use crate::core::observe::BackendView;
use crate::core::placement::{Placement, PlacementProblem, is_running, move_id};
use crate::core::plan::{Action, Pass};

pub(super) fn transfer(
    pass: &mut Pass<'_>,
    backend: &BackendView,
    mut report: DrainReport,
) -> DrainReport {
    let world = pass.world;
    pass.wake_in(POLL_MS);
    let Some(units) = &backend.units else {
        return report.is(DrainState::Planning);
    };
    let is_moving = |unit: &UnitSummary| {
        let mut transfers = backend.transfers.iter();
        transfers.any(|transfer| transfer.root == unit.root && is_running(transfer.phase))
    };
    let mut open: Vec<&UnitSummary> = units
        .iter()
        .filter(|unit| unit.state == "Owner" && !is_moving(unit))
        .collect();
    let parked = |unit: &UnitSummary| failures(backend, unit).len() >= world.cluster.attempts_max;
    let given_up: Vec<&UnitSummary> = open.iter().copied().filter(|unit| parked(unit)).collect();
    report.failed = given_up.iter().map(|unit| failure(backend, unit)).collect();
    open.retain(|unit| !parked(unit));
    // Largest first: no giant is left over when the room is gone.
    open.sort_by(|a, b| {
        b.bytes
            .cmp(&a.bytes)
            .then(a.root.as_str().cmp(b.root.as_str()))
    });

    let mut placement = Placement::new(world, backend);
    let need = open.iter().map(|unit| unit.bytes).sum();
    if let Err(problem) = placement.check(need)
        && report.in_flight == 0
    {
        return no_room(report, problem);
    }
    let limit = world
        .cluster
        .parallel_per_backend
        .saturating_sub(report.in_flight as usize);
    let mut misfits = 0;
    let mut started = 0;
    for unit in open {
        if started >= limit || pass.transfers_left == 0 {
            break;
        }
        let failed = failures(backend, unit);
        let avoid: Vec<&str> = failed.iter().map(|t| t.destination.as_str()).collect();
        let Some(destination) = placement.choose(unit, &avoid) else {
            misfits += 1;
            continue;
        };
        let move_id = move_id(&backend.name, unit, destination.as_str(), failed.len());
        let root = unit.root.clone();
        pass.backend(
            backend,
            Action::StartTransfer {
                move_id,
                root,
                destination,
            },
        );
        pass.transfers_left -= 1;
        started += 1;
    }
    if started == 0 && report.in_flight == 0 {
        if misfits > 0 {
            let message = format!("{misfits} users fit on no single backend");
            return report.blocked(Blocked::InsufficientCapacity, message);
        }
        if !report.failed.is_empty() {
            let message = format!("{} users could not be moved", report.failed.len());
            return report.blocked(Blocked::FailedMailboxes, message);
        }
    }
    report.is(DrainState::Transferring)
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

fn failures<'a>(backend: &'a BackendView, unit: &UnitSummary) -> Vec<&'a TransferStatus> {
    let ended = backend.transfers.iter();
    ended
        .filter(|t| t.root == unit.root && matches!(t.phase, TransferPhase::Failed))
        .collect()
}

fn failure(backend: &BackendView, unit: &UnitSummary) -> (String, u32, String) {
    let failed = failures(backend, unit);
    let attempts = failed.iter().map(|transfer| transfer.attempts).sum();
    let error = failed.last().and_then(|transfer| transfer.error.clone());
    (
        unit.root.as_str().to_owned(),
        attempts,
        error.unwrap_or_default(),
    )
}
