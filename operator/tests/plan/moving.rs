//! How units move between the simulated backends: a pass is queued, a pass is copied, then it is there.

use murder_api::admin::{TransferPhase, TransferStatus, UnitSummary};
use murder_model::{Epoch, MoveId, RootName};

use super::sim::Sim;

impl Sim {
    /// Transfers go on; says whether any runs.
    pub(crate) fn tick(&mut self) -> bool {
        let backends = self.world.backends.iter();
        let all = backends.flat_map(|b| b.transfers.iter().flatten().map(|t| (&b.name, t)));
        let running: Vec<(String, TransferStatus)> = all
            .filter(|(_, t)| matches!(t.phase, TransferPhase::Queued | TransferPhase::Copying))
            .map(|(name, transfer)| (name.clone(), transfer.clone()))
            .collect();
        for (source, transfer) in &running {
            let to = transfer.destination.as_str();
            let (phase, error) = match transfer.phase {
                TransferPhase::Queued if self.stage(source, to, &transfer.root) => {
                    (TransferPhase::Copying, None)
                }
                TransferPhase::Queued => {
                    let error = format!("{to} takes no units");
                    (TransferPhase::Failed, Some(error))
                }
                _ => {
                    self.flip(source, to, &transfer.root);
                    (TransferPhase::Done, None)
                }
            };
            let mut transfers = self.transfers(source).iter_mut();
            let found = transfers.find(|found| found.move_id == transfer.move_id);
            let found = found.unwrap();
            (found.phase, found.error) = (phase, error);
        }
        self.recount();
        !running.is_empty()
    }

    /// Withdraws a transfer, unless it has ended.
    pub(crate) fn cancel(&mut self, source: &str, move_id: MoveId) {
        let mut transfers = self.transfers(source).iter_mut();
        let found = transfers.find(|transfer| transfer.move_id == move_id);
        let found = found.unwrap();
        if !matches!(found.phase, TransferPhase::Queued | TransferPhase::Copying) {
            return;
        }
        found.phase = TransferPhase::Cancelled;
        let (to, root) = (found.destination.as_str().to_owned(), found.root.clone());
        let units = self.get(&to).units.get_or_insert_default();
        units.retain(|unit| unit.root != root || unit.state != "Staging");
        self.recount();
    }

    fn owned(&mut self, name: &str, root: &RootName) -> &mut UnitSummary {
        let mut units = self.get(name).units.as_mut().unwrap().iter_mut();
        let owned = units.find(|unit| unit.root == *root && unit.state == "Owner");
        owned.unwrap()
    }

    /// The destination makes room, if it takes units.
    fn stage(&mut self, source: &str, to: &str, root: &RootName) -> bool {
        let open = self.world.backends.iter().any(|backend| {
            let status = backend.status.as_ref();
            backend.name == to && status.is_some_and(|s| !s.cordoned && !s.deactivated)
        });
        if open {
            let staging = UnitSummary {
                state: "Staging".to_owned(),
                ..self.owned(source, root).clone()
            };
            let units = self.get(to).units.get_or_insert_default();
            units.retain(|unit| unit.root != *root);
            units.push(staging);
        }
        open
    }

    fn flip(&mut self, source: &str, to: &str, root: &RootName) {
        let left = self.owned(source, root);
        let epoch = Epoch::new(left.epoch.get() + 1);
        left.state = "Moved".to_owned();
        let mut units = self.get(to).units.as_mut().unwrap().iter_mut();
        let staged = units.find(|unit| unit.root == *root && unit.state == "Staging");
        let staged = staged.unwrap();
        (staged.state, staged.epoch) = ("Owner".to_owned(), epoch);
    }

    /// Makes the counts of nodes and master those of the units.
    pub(crate) fn recount(&mut self) {
        for index in 0..self.world.backends.len() {
            let backend = &mut self.world.backends[index];
            let in_state = |state: &str| -> Vec<u64> {
                let units = backend.units.iter().flatten();
                let found = units.filter(|unit| unit.state == state);
                found.map(|unit| unit.bytes).collect()
            };
            let (owned, staged) = (in_state("Owner"), in_state("Staging"));
            let Some(status) = &mut backend.status else {
                continue;
            };
            status.units = owned.len() as u64;
            status.units_staged = staged.len() as u64;
            status.bytes = owned.iter().sum();
            let name = backend.name.clone();
            self.recount_row(&name, owned.len() as u64);
        }
    }

    fn recount_row(&mut self, name: &str, owned: u64) {
        let id = self.volumes[name];
        let servers = self.world.mupdate.iter_mut();
        let mut rows = servers.flat_map(|mupdate| mupdate.servers.iter_mut().flatten());
        if let Some(row) = rows.find(|row| row.server_id == id) {
            row.units = owned;
        }
    }
}
