//! A backend: a real partition, and what the node does around it.
//!
//! Operations queue, become durable together, and are answered then. Everything in [`Running`] is
//! memory: a crash leaves the disk and what `server.json` would hold, nothing else.

mod calls;
mod commit;
mod destination;
mod job;
mod link;
mod ops;
mod outbox;
mod report;
mod restore;
mod rounds;
mod source;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use murder_model::{
    Incarnation, MoveId, OwnershipRecord, RootName, ServerId, ServerName, Term, UnitId, UnitState,
    UserName,
};
use murder_store::engine::{
    self, MemoryDisk, Partition, PartitionOptions, PowerLoss, Snapshot, Snapshots,
};
use murder_store::mail;

pub(crate) use self::ops::{look, name as name_of};

use self::destination::Staging;
use self::job::{Job, Work};
use self::link::Link;
use self::source::Move;
use crate::context::{Context, Event, Timer};
use crate::message::{Address, Millis, Op, Payload};
use crate::oracle::server_name;
use crate::plan::MARKS_KEPT;

/// A call that waits for the end of a freeze or of a doubt.
struct Held {
    from: Address,
    id: u64,
    user: UserName,
    root: RootName,
    op: Op,
    since: Millis,
}

/// What follows once a job is durable.
#[derive(Debug)]
enum Then {
    /// Nothing but the record.
    Nothing,
    /// A call is answered; the unit's pass is given back.
    Answer { to: Address, id: u64, unit: UnitId },
    /// A call was answered before (a fault); the unit's pass is given back.
    Quiet { unit: UnitId },
    /// The destination answers a step of its move.
    Peer {
        to: Address,
        unit: UnitId,
        move_id: MoveId,
        reply: destination::Reply,
    },
    /// The source has let go: now the master is asked to flip.
    Released,
    /// All UIDVALIDITYs are above the floor: the master is told.
    Raised,
}

/// Memory of a running backend.
struct Running {
    partition: Partition,
    snapshots: Snapshots,
    start: u64,
    queue: Vec<(Job, Then)>,
    commit_is_due: bool,
    /// Durable records, as of the last commit.
    units: BTreeMap<UnitId, OwnershipRecord>,
    /// Writes under way by unit: a freeze waits for them.
    passes: BTreeMap<UnitId, u32>,
    held: Vec<Held>,
    /// Who waits for a root to be granted.
    creating: BTreeMap<UnitId, Vec<(Address, u64)>>,
    link: Link,
    moves: BTreeMap<UnitId, Move>,
    stagings: BTreeMap<UnitId, Staging>,
    /// Moves begun since the start.
    serial: u32,
    /// Since when units are in their present state.
    since: BTreeMap<UnitId, Millis>,
}

/// A backend's machine: its volume, and the process while it runs.
pub(crate) struct Backend {
    pub(crate) index: usize,
    pub(crate) name: ServerName,
    id: ServerId,
    disk: MemoryDisk,
    /// Every sync of the disk fails from some time on.
    syncs_fail: bool,
    identity: [u8; 16],
    incarnation: Incarnation,
    promised: Term,
    /// A copy of the volume, taken earlier.
    copy: Option<restore::Copy>,
    /// The volume was set back to the copy: nothing is served until an administrator has confirmed
    /// and every UIDVALIDITY has risen.
    suspended: bool,
    /// The last log sequence number that the master has heard of.
    told_lsn: u64,
    running: Option<Running>,
}

impl Backend {
    pub(crate) fn new(index: usize, context: &mut Context) -> Self {
        let id = ServerId::from_bytes(context.random.id());
        context.plan.servers.push(id);
        Self {
            index,
            name: server_name(index),
            id,
            disk: MemoryDisk::new(),
            syncs_fail: false,
            identity: context.random.id(),
            incarnation: Incarnation::new(0),
            promised: Term::new(0),
            copy: None,
            suspended: false,
            told_lsn: 0,
            running: None,
        }
    }

    const fn address(&self) -> Address {
        Address::Backend(self.index)
    }

    fn options(&self) -> PartitionOptions {
        PartitionOptions {
            segment_bytes: 6000,
            cache_bytes: 1 << 20,
            drop_after_checkpoints: 1,
            open_segments_max: 4,
            identity: Some(self.identity),
            ..PartitionOptions::new("spool")
        }
    }

    pub(crate) fn start(&mut self, context: &mut Context) {
        self.incarnation = self.incarnation.next();
        let disk = Arc::new(self.disk.clone());
        if self.incarnation.get() > 1 && context.random.chance(150) {
            self.check_partition(context);
        }
        let rebuild = self.incarnation.get() > 1 && context.random.chance(50);
        let opened = if rebuild {
            Partition::rebuild(disk, self.options())
        } else {
            Partition::open(disk, self.options())
        };
        let Some((partition, report)) =
            context.expect("4 a backend recovers", "open partition", opened)
        else {
            return;
        };
        if !report.damage.is_empty() {
            context.violate(
                "1 a reply is a promise",
                format!("damage after a power loss: {:?}", report.damage),
            );
        }
        let snapshots = partition.snapshots();
        let mut units = BTreeMap::new();
        let read = snapshots
            .read()
            .map_err(mail::MailError::from)
            .and_then(|rows| {
                mail::units(&rows, &mut |unit| {
                    units.insert(unit.ownership.unit, unit.ownership);
                    ControlFlow::Continue(())
                })
            });
        context.expect("4 a backend recovers", "read units", read);
        context.trace(|| {
            format!(
                "{}     starts as {} with {:?}",
                self.name,
                self.incarnation.get(),
                units
                    .values()
                    .map(|unit| (unit.root.as_str(), unit.epoch.get(), &unit.state))
                    .collect::<Vec<_>>()
            )
        });
        let records: Vec<_> = units.values().cloned().collect();
        let recovered = context.oracle.recovered(self.index, &records);
        context.check(recovered);
        let start = self.incarnation.get();
        context.timer(self.address(), start, 10, Timer::Tick);
        let since = units.keys().map(|unit| (*unit, context.now)).collect();
        self.running = Some(Running {
            partition,
            snapshots,
            start,
            queue: Vec::new(),
            commit_is_due: false,
            units,
            passes: BTreeMap::new(),
            held: Vec::new(),
            creating: BTreeMap::new(),
            link: Link::default(),
            moves: BTreeMap::new(),
            stagings: BTreeMap::new(),
            serial: 0,
            since,
        });
    }

    /// The index equals the log, and every digest its rows; on a disk that nobody has open.
    pub(crate) fn check_partition(&self, context: &mut Context) {
        let disk = self.disk.after(PowerLoss::KeepAll);
        let checked = engine::check(Arc::new(disk), self.options());
        let Some(report) = context.expect("4 a backend recovers", "check partition", checked)
        else {
            return;
        };
        if !report.is_sound() {
            context.violate(
                "index = log",
                format!(
                    "{}: {:?} {:?} {:?}",
                    self.name, report.damage, report.unreadable, report.differences
                ),
            );
        }
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// Loses power, or is killed.
    pub(crate) fn crash(&mut self, context: &mut Context, loss: PowerLoss) {
        context.trace(|| format!("{}     crashes: {loss:?}", self.name));
        let after = self.disk.after(loss);
        self.running = None;
        self.disk = after;
        self.syncs_fail = false;
    }

    /// Syncs fail, from the one after so many more on.
    pub(crate) fn fail_syncs(&mut self, after: u64) {
        self.disk.fail_syncs_after(after);
        self.syncs_fail = true;
    }

    /// A write failed. If that is the disk's fault, the partition has stopped, nobody is answered,
    /// and the process is started anew.
    fn write_failed(&mut self, context: &mut Context, error: &dyn std::fmt::Display) {
        if !self.syncs_fail {
            return context.violate("4 a backend answers", format!("write: {error}"));
        }
        let loss = match context.random.below(2) {
            0 => PowerLoss::KeepAll,
            _ => PowerLoss::Torn(context.random.bits()),
        };
        self.crash(context, loss);
        let back = context.now + context.random.between(50, 800);
        context.at(back, Event::Restart(self.address()));
    }

    /// Ends; in order, or by an error that drops everything where it stands.
    pub(crate) fn stop(&mut self, context: &mut Context, in_order: bool) {
        context.trace(|| format!("{}     stops, in order: {in_order}", self.name));
        if let Some(running) = self.running.take()
            && in_order
            && let Err(error) = running.partition.close()
            && !self.syncs_fail
        {
            context.violate("4 a backend stops", format!("close: {error}"));
        }
        if std::mem::take(&mut self.syncs_fail) {
            self.disk = self.disk.after(PowerLoss::KeepAll);
        }
    }

    /// The power will fail after so many more writes.
    pub(crate) fn arm(&self, writes: u64) {
        self.disk.capture_after(self.disk.changes() + writes);
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &OwnershipRecord> {
        self.running
            .iter()
            .flat_map(|running| running.units.values())
    }

    /// What is committed.
    pub(crate) fn snapshot(&self, context: &mut Context) -> Option<Snapshot> {
        let running = self.running.as_ref()?;
        context.expect("4 a backend answers", "read", running.snapshots.read())
    }

    /// Nothing waits to become durable, and the master has been told everything.
    pub(crate) fn is_quiet(&self) -> bool {
        self.running.as_ref().is_some_and(|running| {
            running.queue.is_empty()
                && running.held.is_empty()
                && running.moves.is_empty()
                && running.link.reported
        })
    }

    pub(crate) fn snapshots(&self) -> Option<&Snapshots> {
        self.running.as_ref().map(|running| &running.snapshots)
    }

    pub(crate) fn arrive(&mut self, context: &mut Context, from: Address, payload: Payload) {
        // Who may be behind the times says nothing of its units.
        let heard = !self.suspended || !matches!(payload, Payload::Peer { .. });
        if self.running.is_none() || !heard {
            return;
        }
        match payload {
            Payload::Call { id, user, root, op } => {
                let since = context.now;
                let call = Held {
                    from,
                    id,
                    user,
                    root,
                    op,
                    since,
                };
                self.call(context, call);
            }
            Payload::Told { id, response } => self.told(context, id, response),
            Payload::Peer {
                unit,
                move_id,
                message,
            } => self.peer(context, from, (unit, move_id), message),
            _ => {}
        }
    }

    pub(crate) fn timer(&mut self, context: &mut Context, start: u64, timer: Timer) {
        let address = self.address();
        let Some(running) = &mut self.running else {
            return;
        };
        if running.start != start {
            return;
        }
        match timer {
            Timer::Commit => {
                running.commit_is_due = false;
                self.commit(context);
            }
            Timer::Tick => {
                context.timer(address, start, 60, Timer::Tick);
                self.tick_link(context);
                self.tick_moves(context);
                self.tick_stagings(context);
                self.tick_held(context);
                self.tick_upkeep(context);
            }
        }
    }

    /// Checkpoints, marks and copies whose time is over.
    fn tick_upkeep(&mut self, context: &mut Context) {
        let Some(running) = &mut self.running else {
            return;
        };
        if context.random.chance(150) {
            let made = running.partition.checkpoint();
            if let Err(error) = made
                && self.disk.captured().is_none()
            {
                return self.write_failed(context, &error);
            }
        }
        let Some(running) = &self.running else {
            return;
        };
        let (mut due, mut over) = (Vec::new(), Vec::new());
        for (unit, record) in &running.units {
            let age = context.now - running.since.get(unit).copied().unwrap_or(0);
            match record.state {
                UnitState::Owner
                    if !running.moves.contains_key(unit) && context.random.chance(30) =>
                {
                    let before = context.now.saturating_sub(MARKS_KEPT + 500);
                    due.push(Work::Prune {
                        unit: *unit,
                        before,
                    });
                }
                UnitState::Moved { ref to, .. } if age > crate::plan::GRACE => {
                    over.push((*unit, to.clone()));
                }
                _ => {}
            }
        }
        for work in due {
            self.enqueue(context, work, Then::Nothing);
        }
        for (unit, to) in over {
            if let Some(to) = crate::backend_of(&to).filter(|_| context.random.chance(300)) {
                let payload = Payload::Peer {
                    unit,
                    move_id: MoveId::from_bytes([0; 16]),
                    message: crate::message::Peer::Flipped,
                };
                context.send(self.address(), Address::Backend(to), payload);
            }
        }
    }
}

/// A refusal by the rules, for the trace.
fn refused(refusal: &dyn std::fmt::Display) -> String {
    format!("refused: {refusal}")
}
