//! Where a Backend is on its way to being empty, derived from the world, and the steps that bring it on.
//!
//! ```text
//! Queued → Cordoning → Planning → Transferring ⇄ Blocked → Verifying → Deactivating → Empty
//! Empty (deleted or scaled in) → StoppingPod → ReleasingVolume → gone
//! any before retirement, taken back → Aborting or Reactivating → NotRequested
//! ```

use murder_api::admin::{BackendStatus, TransferPhase, TransferStatus, UnitSummary};

use super::observe::{BackendView, VolumeView, Wish, World};
use super::placement::{Placement, PlacementProblem, accepts, is_running, move_id};
use super::plan::{Action, Pass, Reason};

/// How far apart the two proofs of emptiness are.
const PROOF_INTERVAL_MS: u64 = 1000;

/// How soon a pass follows while something is under way.
pub(super) const POLL_MS: u64 = 500;

/// Why a drain cannot go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Blocked {
    /// Some units were given up for now.
    FailedMailboxes,
    /// The others have too little room.
    InsufficientCapacity,
    /// The master does not answer.
    MupdateUnavailable,
    /// Nobody can take its units.
    NoDestination,
    /// The backend itself does not answer.
    SourceDown,
}

/// Where a drain is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DrainState {
    /// Nobody wants it empty.
    #[default]
    NotRequested,
    /// Waits for its turn.
    Queued,
    /// Is being told to take nothing new.
    Cordoning,
    /// Its units are being listed.
    Planning,
    /// Units move.
    Transferring,
    /// Something must be solved first.
    Blocked(Blocked),
    /// Looks empty; being proven.
    Verifying,
    /// Proven; is being told to serve nothing.
    Deactivating,
    /// Empty.
    Empty,
    /// Retired; its pod stops.
    StoppingPod,
    /// Its pod is gone; its volume is released or waits for the grace period.
    ReleasingVolume,
    /// Taken back; transfers are withdrawn.
    Aborting,
    /// Taken back when already empty.
    Reactivating,
}

impl DrainState {
    /// The reason in the condition Drained.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotRequested => "NotRequested",
            Self::Queued => "Queued",
            Self::Cordoning => "Cordoning",
            Self::Planning => "Planning",
            Self::Transferring => "Transferring",
            Self::Blocked(Blocked::FailedMailboxes) => "FailedMailboxes",
            Self::Blocked(Blocked::InsufficientCapacity) => "InsufficientCapacity",
            Self::Blocked(Blocked::MupdateUnavailable) => "MupdateUnavailable",
            Self::Blocked(Blocked::NoDestination) => "NoDestination",
            Self::Blocked(Blocked::SourceDown) => "SourceDown",
            Self::Verifying => "Verifying",
            Self::Deactivating => "Deactivating",
            Self::Empty => "Empty",
            Self::StoppingPod => "StopPod",
            Self::ReleasingVolume => "ReleaseVolume",
            Self::Aborting => "Aborting",
            Self::Reactivating => "Reactivating",
        }
    }
}

/// How far a drain is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DrainReport {
    /// The Backend.
    pub backend: String,
    /// Where it is.
    pub state: DrainState,
    /// What holds it up, or empty.
    pub message: String,
    /// Units moved.
    pub moved: u64,
    /// Units still here.
    pub remaining: u64,
    /// Mailboxes moved.
    pub mailboxes_moved: u64,
    /// Bytes moved.
    pub bytes_moved: u64,
    /// Bytes still to move, as far as known.
    pub bytes_remaining: u64,
    /// Units being moved now.
    pub in_flight: u64,
    /// Units given up for now: root, tries, last error.
    pub failed: Vec<(String, u32, String)>,
}

impl DrainReport {
    fn is(mut self, state: DrainState) -> Self {
        self.state = state;
        self
    }

    fn blocked(mut self, why: Blocked, message: String) -> Self {
        self.state = DrainState::Blocked(why);
        self.message = message;
        self
    }
}

/// Which leaving Backends may be worked on: those already cordoned first, then by name.
pub(super) fn turns(world: &World) -> Vec<String> {
    let mut waiting: Vec<(bool, &str)> = world
        .backends
        .iter()
        .filter(|backend| {
            backend.is_leaving() && !backend.abandon && holds_something(world, backend)
        })
        .map(|backend| {
            let begun = backend
                .status
                .as_ref()
                .is_some_and(|status| status.cordoned);
            (!begun, backend.name.as_str())
        })
        .collect();
    waiting.sort_unstable();
    waiting.truncate(world.cluster.max_concurrent_drains);
    waiting
        .into_iter()
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// Steps of a Backend that is to be emptied.
pub(super) fn leave(pass: &mut Pass<'_>, backend: &BackendView, turn: bool) -> DrainReport {
    let world = pass.world;
    let report = figures(backend);
    let row_retired = world.row(backend).is_some_and(|row| row.retired);
    if backend.deleting || backend.scale_in {
        if let VolumeView::Retired { delete_after_ms } = backend.volume {
            return release(pass, backend, report, delete_after_ms);
        }
        if backend.volume == VolumeView::Absent && backend.pod.is_none() {
            pass.backend(backend, Action::RemoveFinalizer);
            return report.is(DrainState::ReleasingVolume);
        }
        if row_retired || backend.abandon {
            retire_volume(pass, backend);
            return report.is(DrainState::StoppingPod);
        }
    }
    if world
        .mupdate
        .as_ref()
        .is_some_and(|mupdate| mupdate.servers.is_none())
    {
        let message = "the mupdate master does not answer".to_owned();
        return report.blocked(Blocked::MupdateUnavailable, message);
    }
    let Some(status) = &backend.status else {
        let message = format!("{} does not answer", backend.pod_name());
        return report.blocked(Blocked::SourceDown, message);
    };
    if !holds_something(world, backend) && is_cordoned(world, backend, status) {
        return finish(pass, backend, status, report);
    }
    if !turn && holds_something(world, backend) {
        return report.is(DrainState::Queued);
    }
    if holds_something(world, backend)
        && let Some(message) = too_few(world, backend)
    {
        return report.blocked(Blocked::NoDestination, message);
    }
    if cordon(pass, backend, status, true) {
        pass.wake_in(POLL_MS);
        return report.is(DrainState::Cordoning);
    }
    transfer(pass, backend, report)
}

/// Steps of a Backend that is to serve: whatever a drain did is taken back.
pub(super) fn stay(pass: &mut Pass<'_>, backend: &BackendView) -> DrainReport {
    let report = DrainReport {
        backend: backend.name.clone(),
        ..DrainReport::default()
    };
    let Some(status) = &backend.status else {
        return report;
    };
    let ours: Vec<_> = backend
        .transfers
        .iter()
        .filter(|transfer| is_running(transfer.phase) && status.cordoned)
        .collect();
    for transfer in &ours {
        // What is released can only go forward.
        if transfer.phase != TransferPhase::Released {
            let move_id = transfer.move_id;
            pass.step(
                backend,
                Action::CancelTransfer { move_id },
                Reason::TakenBack,
            );
        }
    }
    if !ours.is_empty() {
        pass.wake_in(POLL_MS);
        return figures(backend).is(DrainState::Aborting);
    }
    if status.deactivated {
        pass.step(backend, Action::Reactivate, Reason::TakenBack);
        return report.is(DrainState::Reactivating);
    }
    if pass
        .world
        .mupdate
        .as_ref()
        .is_some_and(|mupdate| mupdate.servers.is_none())
    {
        return report;
    }
    cordon(pass, backend, status, backend.wish == Wish::Cordoned);
    report
}

/// Brings the cordon at the master and at the node to `wanted`; says whether something was to be done.
fn cordon(
    pass: &mut Pass<'_>,
    backend: &BackendView,
    status: &BackendStatus,
    wanted: bool,
) -> bool {
    let reason = if wanted {
        Pass::reason(backend)
    } else {
        Reason::TakenBack
    };
    let at_master = pass
        .world
        .row(backend)
        .is_some_and(|row| row.cordoned != wanted);
    let at_node = status.cordoned != wanted;
    // The master first when closing, last when opening: it never places where the node refuses.
    if at_master && wanted {
        pass.step(backend, Action::CordonServer { cordoned: wanted }, reason);
    }
    if at_node {
        pass.step(backend, Action::CordonNode { cordoned: wanted }, reason);
    }
    if at_master && !wanted {
        pass.step(backend, Action::CordonServer { cordoned: wanted }, reason);
    }
    at_master || at_node
}

fn is_cordoned(world: &World, backend: &BackendView, status: &BackendStatus) -> bool {
    status.cordoned && world.row(backend).is_none_or(|row| row.cordoned)
}

/// Whether anything says that the backend is not empty. Silence is no proof, so an unseen node holds something.
fn holds_something(world: &World, backend: &BackendView) -> bool {
    let Some(status) = &backend.status else {
        return backend.volume == VolumeView::Present;
    };
    let here =
        status.units + status.units_in_doubt + status.units_staged + status.outbox + status.held;
    let running = backend
        .transfers
        .iter()
        .any(|transfer| is_running(transfer.phase));
    here > 0
        || running
        || world
            .row(backend)
            .is_some_and(|row| row.units > 0 || row.names > 0)
}

/// Whether too few backends would be left.
fn too_few(world: &World, backend: &BackendView) -> Option<String> {
    let left = world
        .backends
        .iter()
        .filter(|other| other.name != backend.name && accepts(world, other))
        .count();
    let needed = world.cluster.min_active.max(1);
    (left < needed).then(|| {
        format!(
            "{left} other backends are ready to take its users, {needed} must be; add a Backend"
        )
    })
}

fn transfer(pass: &mut Pass<'_>, backend: &BackendView, mut report: DrainReport) -> DrainReport {
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

/// Two proofs, deactivation, and for a Backend that goes away its retirement.
fn finish(
    pass: &mut Pass<'_>,
    backend: &BackendView,
    status: &BackendStatus,
    report: DrainReport,
) -> DrainReport {
    let now = pass.world.now_ms;
    let proof = backend
        .proof
        .filter(|proof| proof.server_id == status.server_id);
    let Some(proof) = proof else {
        pass.backend(
            backend,
            Action::RecordProof {
                server_id: status.server_id,
            },
        );
        pass.wake_in(PROOF_INTERVAL_MS);
        return report.is(DrainState::Verifying);
    };
    let due = proof.at_ms + PROOF_INTERVAL_MS;
    if now < due {
        pass.wake_in(due - now);
        return report.is(DrainState::Verifying);
    }
    if !status.deactivated {
        pass.backend(backend, Action::Deactivate);
        pass.wake_in(POLL_MS);
        return report.is(DrainState::Deactivating);
    }
    if backend.deleting || backend.scale_in {
        // Terminal from here on; until now the Backend could be taken back.
        if pass.world.row(backend).is_some() {
            pass.backend(
                backend,
                Action::Retire {
                    server_id: status.server_id,
                },
            );
            pass.wake_in(POLL_MS);
        } else {
            retire_volume(pass, backend);
        }
    }
    report.is(DrainState::Empty)
}

fn retire_volume(pass: &mut Pass<'_>, backend: &BackendView) {
    let last_flip = backend.last_flip_ms.unwrap_or(pass.world.now_ms);
    // Mail that was given up is never deleted by us.
    let delete = backend.delete_volume && !backend.abandon;
    let delete_after_ms = delete.then_some(last_flip + pass.world.cluster.grace_ms);
    pass.backend(backend, Action::RetireVolume { delete_after_ms });
    pass.wake_in(POLL_MS);
}

fn release(
    pass: &mut Pass<'_>,
    backend: &BackendView,
    report: DrainReport,
    delete_after_ms: Option<u64>,
) -> DrainReport {
    pass.wake_in(POLL_MS);
    if let Some(pod) = &backend.pod {
        pass.backend(
            backend,
            Action::StopPod {
                pod: pod.name.clone(),
            },
        );
        return report.is(DrainState::StoppingPod);
    }
    match delete_after_ms {
        None => pass.backend(backend, Action::ReleaseVolume),
        Some(at) if at <= pass.world.now_ms => pass.backend(backend, Action::DeleteVolume),
        Some(at) => pass.wake_in(at - pass.world.now_ms),
    }
    report.is(DrainState::ReleasingVolume)
}

/// The figures that the node's own journal gives.
fn figures(backend: &BackendView) -> DrainReport {
    let mut report = DrainReport {
        backend: backend.name.clone(),
        ..DrainReport::default()
    };
    for transfer in &backend.transfers {
        if transfer.phase == TransferPhase::Done {
            report.moved += 1;
            report.mailboxes_moved += transfer.mailboxes;
            report.bytes_moved += transfer.bytes_sent;
        } else if is_running(transfer.phase) {
            report.in_flight += 1;
            report.bytes_moved += transfer.bytes_sent;
        }
    }
    if let Some(status) = &backend.status {
        report.remaining = status.units + status.units_in_doubt;
        report.bytes_remaining = status.bytes;
    }
    report
}
