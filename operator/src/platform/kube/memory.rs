//! What is remembered between two passes of a murder. Losing it costs another look or another proof, never mail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use kube::ResourceExt as _;
use murder_api::admin::{TransferPhase, TransferStatus};
use murder_model::{Fence, MoveId};

use super::apply::Applied;
use super::authority::SecretData;
use super::desired::RenderedBefore;
use super::growth::Stuck;
use super::known_leaf::KnownLeaf;
use super::nodes::Reports;
use super::observe::Bound;
use super::secrets::Secrets;
use crate::core::{Proof, Trace, is_running};
use crate::crd::{Backend, MurderCluster};
use crate::node_client::NodeClient;
use crate::status::DrainProgress;

/// What is remembered of a murder.
#[derive(Default)]
pub(super) struct Memory {
    /// The MurderCluster's, and its Backends' by name.
    uids: (String, BTreeMap<String, String>),
    /// Of our leadership, once it is written down.
    pub(super) fence: Option<Fence>,
    /// The client of that fence and certificate.
    pub(super) client: Option<(Vec<u8>, NodeClient)>,
    pub(super) applied: Applied,
    pub(super) rendered: RenderedBefore,
    pub(super) reports: Reports,
    pub(super) secrets: Secrets,
    /// Certificates that were found good, by Secret.
    pub(super) leaves: BTreeMap<String, KnownLeaf>,
    /// Certificates of an issuer and when they were read, by Secret.
    pub(super) issued: BTreeMap<String, (Instant, SecretData)>,
    pub(super) trace: Trace,
    /// By Backend.
    pub(super) drains: BTreeMap<String, DrainMemory>,
    /// The volumes behind claims, by the claim's uid.
    pub(super) volumes: BTreeMap<String, Bound>,
    /// When we were told that we may not read volumes.
    pub(super) volumes_refused: Option<Instant>,
    /// Claims that cannot be made as large as asked, by the claim's uid.
    pub(super) growth: BTreeMap<String, Stuck>,
    /// Backends that were not as wished after the last pass.
    pub(super) unsettled: BTreeSet<String>,
    /// Backends that were to be emptied in the last pass.
    pub(super) leaving: BTreeSet<String>,
    /// The uid of the MurderCluster once its namespace is on its way out.
    pub(super) ending: Option<String>,
}

impl Memory {
    /// Forgets what was another object's of the same name: a murder, or a Backend, that was deleted and made again.
    pub(super) fn meet(&mut self, cluster: &MurderCluster, backends: &[Arc<Backend>]) {
        let uid = cluster.uid().unwrap_or_default();
        if self.uids.0 != uid {
            *self = Self::default();
            self.uids.0 = uid;
        }
        let met = backends.iter().map(|backend| {
            let uid = backend.uid().unwrap_or_default();
            (backend.name_any(), uid)
        });
        let met: BTreeMap<String, String> = met.collect();
        self.drains
            .retain(|name, _| self.uids.1.get(name) == met.get(name));
        self.uids.1 = met;
    }
}

/// What is remembered of a Backend.
#[derive(Default)]
pub(super) struct DrainMemory {
    pub(super) proof: Option<Proof>,
    pub(super) last_flip_ms: Option<u64>,
    pub(super) progress: Option<DrainProgress>,
    /// Generation of the Backend for which the transfers that had ended are forgiven.
    generation: Option<i64>,
    forgiven: Vec<MoveId>,
    done: usize,
    units: u64,
}

impl DrainMemory {
    /// Notes what a node says of its transfers and units.
    ///
    /// The time of the last flip is rather too late than too early: the grace period begins with it.
    pub(super) fn note(&mut self, now_ms: u64, transfers: &[TransferStatus], units: u64) {
        let done = transfers
            .iter()
            .filter(|transfer| transfer.phase == TransferPhase::Done)
            .count();
        let running = transfers.iter().any(|transfer| is_running(transfer.phase));
        if running || done != self.done || units < self.units {
            self.last_flip_ms = Some(now_ms);
        }
        (self.done, self.units) = (done, units);
    }

    /// Transfers whose failures count no more: those that ended before the Backend was last told what to be.
    pub(super) fn forgiven(
        &mut self,
        generation: Option<i64>,
        transfers: &[TransferStatus],
    ) -> Vec<MoveId> {
        if self.generation != generation {
            // At the first look nobody was told anything new.
            if self.generation.is_some() {
                let ended = transfers.iter().filter(|t| !is_running(t.phase));
                self.forgiven = ended.map(|transfer| transfer.move_id).collect();
            }
            self.generation = generation;
        }
        self.forgiven.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::Memory;
    use crate::crd::{Backend, MurderCluster};

    fn cluster(uid: &str) -> MurderCluster {
        serde_json::from_value(json!({
            "apiVersion": "murder.rs/v1alpha1", "kind": "MurderCluster",
            "metadata": {"name": "mc", "namespace": "mail", "uid": uid}, "spec": {},
        }))
        .unwrap()
    }

    fn backend(uid: &str) -> Arc<Backend> {
        serde_json::from_value(json!({
            "apiVersion": "murder.rs/v1alpha1", "kind": "Backend",
            "metadata": {"name": "be-a", "namespace": "mail", "uid": uid},
            "spec": {"clusterRef": {"name": "mc"}, "storage": {"size": "1Gi"}},
        }))
        .map(Arc::new)
        .unwrap()
    }

    #[test]
    fn a_murder_that_is_made_again_under_its_name_is_another() {
        let mut memory = Memory::default();
        memory.meet(&cluster("1"), &[]);
        memory.unsettled.insert("be-a".to_owned());
        memory.meet(&cluster("1"), &[]);
        assert!(!memory.unsettled.is_empty());
        memory.meet(&cluster("2"), &[]);
        assert!(memory.unsettled.is_empty());
    }

    #[test]
    fn a_backend_that_is_made_again_under_its_name_is_another() {
        let mut memory = Memory::default();
        let mut noted = |uid| {
            memory.meet(&cluster("1"), &[backend(uid)]);
            let drain = memory.drains.entry("be-a".to_owned()).or_default();
            drain.note(7, &[], 1);
            drain.note(8, &[], 0);
            drain.last_flip_ms.take()
        };
        assert_eq!(noted("1"), Some(8));
        // Nothing is left on it: no news.
        memory.meet(&cluster("1"), &[backend("1")]);
        assert!(memory.drains.contains_key("be-a"));
        memory.meet(&cluster("1"), &[backend("2")]);
        assert!(!memory.drains.contains_key("be-a"));
    }
}
