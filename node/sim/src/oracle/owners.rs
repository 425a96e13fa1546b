//! Who has which unit: one owner a root (O2), each version granted once (O3).

use murder_model::{Epoch, OwnershipRecord, RootName, ServerName, Term, UnitId, UnitState};

use super::{Checked, Marks, Oracle, Removal, broken, server_name};

impl Oracle {
    /// A backend's durable record of a unit.
    pub(crate) fn recorded(&mut self, backend: usize, record: &OwnershipRecord) -> Checked {
        let held = self.records.entry(record.unit).or_default();
        held.insert(backend, record.clone());
        let mut owners = Vec::new();
        for (unit, held) in &self.records {
            for (backend, other) in held {
                if self.suspended.contains(backend) {
                    continue;
                }
                if other.state == UnitState::Owner && other.root == record.root {
                    owners.push((*backend, *unit, other.epoch));
                }
            }
        }
        if owners.len() > 1 {
            return broken(
                "2 a mailbox has one owner",
                format!("{} is served at {owners:?}", record.root),
            );
        }
        if let [(backend, unit, epoch)] = owners[..] {
            let server = server_name(backend);
            let key = (unit, record.term, epoch);
            if unit == record.unit && record.state == UnitState::Owner {
                return self.version(key, &server);
            }
        }
        Ok(())
    }

    /// What a backend finds when it starts replaces what was known of it.
    pub(crate) fn recovered(&mut self, backend: usize, records: &[OwnershipRecord]) -> Checked {
        for (unit, held) in &mut self.records {
            if let Some(before) = held.remove(&backend)
                && !self.suspended.contains(&backend)
                && !records.iter().any(|record| {
                    record.unit == *unit
                        && (record.term, record.epoch) >= (before.term, before.epoch)
                })
            {
                return broken(
                    "O2 serving needs a durable grant",
                    format!("backend {backend} forgot {before:?}"),
                );
            }
        }
        records
            .iter()
            .try_for_each(|record| self.recorded(backend, record))
    }

    /// A backend's volume was set back: mail that came since is lost, and clients must notice.
    pub(crate) fn restored(&mut self, backend: usize, roots: &[RootName]) {
        self.suspended.insert(backend);
        for root in roots {
            self.in_doubt(root);
            for fate in self.fates.values_mut().filter(|fate| fate.root == *root) {
                fate.removal = Removal::Asked;
            }
            for ((of, _), mailbox) in &mut self.mailboxes {
                if of == root && mailbox.marks.validity > 0 {
                    mailbox.tainted = true;
                    mailbox.marks = Marks {
                        validity: mailbox.marks.validity + 1,
                        ..Marks::default()
                    };
                }
            }
        }
    }

    /// It serves again.
    pub(crate) fn resumed(&mut self, backend: usize) -> Checked {
        self.suspended.remove(&backend);
        let records: Vec<_> = self
            .records
            .values()
            .filter_map(|held| held.get(&backend).cloned())
            .collect();
        records
            .iter()
            .try_for_each(|record| self.recorded(backend, record))
    }

    /// Each version of a unit is granted once (O3).
    fn version(&mut self, key: (UnitId, Term, Epoch), server: &ServerName) -> Checked {
        let known = self.versions.entry(key).or_insert_with(|| server.clone());
        if known != server {
            return broken(
                "O3 each version is granted once",
                format!("{key:?} is of {known} and of {server}"),
            );
        }
        Ok(())
    }

    /// What the master acknowledged is to be found with the servers now.
    pub(crate) fn master_lost(&mut self) {
        self.granted.clear();
        self.masters_lost += 1;
    }

    /// The master said that a server has a unit.
    pub(crate) fn granted(
        &mut self,
        unit: UnitId,
        term: Term,
        epoch: Epoch,
        server: &ServerName,
    ) -> Checked {
        let known = self.granted.entry(unit).or_insert((term, epoch));
        if epoch > known.1 {
            self.moved += 1;
        }
        *known = (*known).max((term, epoch));
        self.version((unit, term, epoch), server)
    }
}
