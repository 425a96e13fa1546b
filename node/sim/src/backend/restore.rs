//! A volume that is set back to an earlier copy (O8): the master notices, nothing is served until an
//! administrator confirms, then all UIDVALIDITYs rise.

use murder_locations::record::PartitionSpace;
use murder_locations::request::{Identity, Request, Role};
use murder_model::{Fence, Incarnation, Term, UnitId, UnitState};
use murder_store::engine::{MemoryDisk, PowerLoss};

use super::job::Work;
use super::link::{Purpose, partition};
use super::{Backend, Then};
use crate::context::Context;
use crate::message::{Address, Payload};
use crate::mutant::Mutant;

/// A copy of a volume.
pub(super) struct Copy {
    disk: MemoryDisk,
    incarnation: Incarnation,
    promised: Term,
    /// Its last log sequence number.
    lsn: u64,
    /// Units that were owned when it was made.
    owned: Vec<UnitId>,
}

impl Backend {
    fn owned(&self) -> Vec<UnitId> {
        let owned = self
            .records()
            .filter(|record| record.state == UnitState::Owner);
        owned.map(|record| record.unit).collect()
    }

    /// Somebody makes a snapshot of the volume.
    pub(crate) fn keep_copy(&mut self) {
        let lsn = self.last_lsn();
        if self.is_quiet() && !self.suspended {
            self.copy = Some(Copy {
                disk: self.disk.after(PowerLoss::LoseUnsynced),
                incarnation: self.incarnation,
                promised: self.promised,
                lsn,
                owned: self.owned(),
            });
        }
    }

    fn last_lsn(&self) -> u64 {
        let running = self.running.as_ref();
        running.map_or(0, |running| running.partition.last_lsn())
    }

    /// Tells the master how far the log is, so that it notices a volume that went back.
    pub(super) fn tell_space(&mut self, context: &mut Context) {
        let last_lsn = self.last_lsn();
        let request = Request::Space {
            server_id: self.id,
            partitions: vec![PartitionSpace {
                name: partition(),
                free_bytes: 1 << 30,
                total_bytes: 1 << 31,
                last_lsn,
            }],
        };
        self.ask(context, Purpose::Space(last_lsn), request);
    }

    /// Somebody puts the snapshot back, if no unit would be lost by that and the master can tell by
    /// the numbers: a copy that is younger than the last of them is not noticed. True: done.
    pub(crate) fn restore(&mut self, context: &mut Context) -> bool {
        let in_doubt = self.records().any(|record| {
            matches!(
                record.state,
                UnitState::Creating | UnitState::Released { .. } | UnitState::Prepared { .. }
            )
        });
        let owned = self.owned();
        let whole = |copy: &Copy| {
            copy.lsn < self.told_lsn && owned.iter().all(|unit| copy.owned.contains(unit))
        };
        if in_doubt || !self.is_up() || !self.copy.as_ref().is_some_and(whole) {
            return false;
        }
        let Some(copy) = self.copy.take() else {
            return false;
        };
        context.trace(|| format!("{}     is set back to an earlier copy", self.name));
        let roots = self
            .records()
            .filter(|record| record.state == UnitState::Owner);
        let roots: Vec<_> = roots.map(|record| record.root.clone()).collect();
        context.oracle.restored(self.index, &roots);
        self.running = None;
        self.disk = copy.disk;
        self.incarnation = copy.incarnation;
        self.promised = copy.promised;
        self.suspended = true;
        self.told_lsn = 0;
        self.syncs_fail = false;
        true
    }

    /// The master has noticed; sooner or later an administrator confirms.
    pub(super) fn blocked(&self, context: &mut Context) {
        if !context.random.chance(200) {
            return;
        }
        let id = context.unique();
        let who = Identity {
            name: "operator".to_owned(),
            role: Role::Operator,
        };
        let request = Request::Confirm {
            server_id: self.id,
            fence: Fence::new(1),
        };
        let payload = Payload::Ask { id, who, request };
        context.send(self.address(), Address::Master, payload);
    }

    /// A unit was granted anew: its UIDVALIDITYs rise.
    pub(super) fn raise(&mut self, context: &mut Context, unit: UnitId) {
        let floor = self
            .running
            .as_ref()
            .and_then(|running| running.link.raise_above);
        if let Some(floor) = floor.filter(|_| !Mutant::KeepUidValidities.is_on()) {
            self.enqueue(context, Work::Raise { unit, floor }, Then::Nothing);
        }
    }

    /// What had to rise is durable.
    pub(super) fn raised(&mut self, context: &mut Context) {
        let server_id = self.id;
        let request = Request::UidValidityRaised { server_id };
        self.ask(context, Purpose::Raised, request);
    }

    /// The master knows: units are served again.
    pub(super) fn resume(&mut self, context: &mut Context) {
        self.suspended = false;
        if let Some(running) = &mut self.running {
            running.link.reported = true;
        }
        let checked = context.oracle.resumed(self.index);
        context.check(checked);
    }
}
