//! What is remembered between two passes of a murder. Losing it costs another look or another proof, never mail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use murder_api::admin::{TransferPhase, TransferStatus};
use murder_model::{Fence, MoveId};

use super::apply::Applied;
use super::authority::SecretData;
use super::nodes::Reports;
use super::observe::Bound;
use super::secrets::Secrets;
use crate::core::{Proof, Trace, is_running};
use crate::node_client::NodeClient;
use crate::status::DrainProgress;

/// What is remembered of a murder.
#[derive(Default)]
pub(super) struct Memory {
    /// Of our leadership, once it is written down.
    pub(super) fence: Option<Fence>,
    /// The client of that fence and certificate.
    pub(super) client: Option<(Vec<u8>, NodeClient)>,
    pub(super) applied: Applied,
    pub(super) reports: Reports,
    pub(super) secrets: Secrets,
    /// Certificates of an issuer and when they were read, by Secret.
    pub(super) issued: BTreeMap<String, (Instant, SecretData)>,
    pub(super) trace: Trace,
    /// By Backend.
    pub(super) drains: BTreeMap<String, DrainMemory>,
    /// The volumes behind claims, by the claim's uid.
    pub(super) volumes: BTreeMap<String, Bound>,
    /// Backends that were to be emptied in the last pass.
    pub(super) leaving: BTreeSet<String>,
    /// Whether all was as wished after the last pass.
    pub(super) settled: bool,
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
