//! The world as seen on this machine: processes, their health, and what nodes report.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use murder_api::admin::{NodeStatus, ServerStatus, TransferPhase, TransferStatus, UnitSummary};
use murder_api::settings::Role;
use murder_model::ServerId;
use tokio::task::JoinSet;

use super::process;
use super::render::{self, mupdate_pod};
use super::state::{Seen, State, StoredVolume, loopback};
use super::supervisor::{Supervisor, client};
use crate::core::{
    BackendView, ClusterView, FrontendView, MupdateView, PodView, VolumeView, Wish, World,
    is_running,
};
use crate::crd::{BackendDeletion, DesiredState, MurderCluster, VolumeRetention};
use crate::node_client::{NodeAddress, is_ready};
use crate::resources::settings::duration_ms;

/// How long a health probe may take.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// What nodes said, by pod.
#[derive(Default)]
struct Reports {
    ready: BTreeMap<String, bool>,
    status: BTreeMap<String, NodeStatus>,
    transfers: BTreeMap<String, Vec<TransferStatus>>,
    units: BTreeMap<String, Vec<UnitSummary>>,
    servers: Option<Vec<ServerStatus>>,
}

fn cluster_view(cluster: &MurderCluster) -> anyhow::Result<ClusterView> {
    let spec = &cluster.spec;
    Ok(ClusterView {
        name: cluster.metadata.name.clone().unwrap_or_default(),
        paused: spec.paused,
        max_concurrent_drains: spec.max_concurrent_drains.unsigned_abs() as usize,
        min_active: spec.min_active.unsigned_abs() as usize,
        parallel_per_backend: spec.transfer.parallel_per_backend.unsigned_abs() as usize,
        parallel_total: spec.transfer.parallel_total.unsigned_abs() as usize,
        attempts_max: spec.transfer.max_attempts.unsigned_abs() as usize,
        grace_ms: duration_ms(&spec.transfer.grace_period).context("gracePeriod")?,
        // All volumes lie on one filesystem, of which a move takes nothing for good; each node keeps its reserve.
        headroom_percent: 0,
    })
}

/// The admin interface of a pod.
pub(super) fn admin_address(state: &State, pod: &str) -> NodeAddress {
    let port = state.ports.get(pod).map_or(0, |ports| ports.admin);
    NodeAddress {
        address: loopback(port),
        tls_name: pod.to_owned(),
    }
}

impl Supervisor {
    /// Looks at everything once.
    pub(super) async fn observe(&mut self) -> anyhow::Result<World> {
        let now_ms = self.now_ms();
        self.forget_dead(now_ms);
        let reports = self.ask_nodes().await;
        self.outrank(&reports)?;
        for (pod, ready) in &reports.ready {
            if let Some(record) = self.state.pods.get_mut(pod) {
                record.was_ready |= *ready;
            }
            if *ready {
                self.failures.remove(pod);
                if let Some(ports) = self.state.ports.get_mut(pod) {
                    ports.proven = true;
                }
            }
        }
        let mut revisions = BTreeMap::new();
        for pod in render::pods(&self.state) {
            let text = render::settings(&self.folder, &mut self.state, &pod)?;
            revisions.insert(pod.name, render::revision(&text));
        }
        self.note_flips(&reports, now_ms);
        let Some(cluster) = &self.state.cluster else {
            return Ok(World {
                now_ms,
                ..World::default()
            });
        };
        let name = cluster.metadata.name.clone().unwrap_or_default();
        let mupdate = (cluster.spec.mupdate.replicas > 0).then(|| {
            let pod = mupdate_pod(&name);
            MupdateView {
                revision: revisions.get(&pod).cloned().unwrap_or_default(),
                volume: self.state.mupdate_volume,
                pod: self.pod_view(&pod, &reports),
                servers: reports.servers.clone(),
                pod_name: pod,
            }
        });
        let backends = self.state.backends.keys();
        let backends = backends.map(|name| self.backend_view(name, &reports, &revisions));
        let frontends = self.state.frontends.keys();
        let frontends = frontends.map(|name| self.frontend_view(name, &reports, &revisions));
        Ok(World {
            now_ms,
            cluster: cluster_view(cluster)?,
            mupdate,
            backends: backends.collect(),
            frontends: frontends.collect(),
        })
    }

    fn frontend_view(
        &self,
        name: &str,
        reports: &Reports,
        revisions: &BTreeMap<String, String>,
    ) -> FrontendView {
        let stored = &self.state.frontends[name];
        let prefix = format!("{name}-");
        let is_mine = |pod: &&String| {
            pod.strip_prefix(&prefix)
                .is_some_and(|index| index.parse::<u32>().is_ok())
        };
        let pods = self.state.pods.keys().filter(is_mine);
        let pods = pods.filter_map(|pod| self.pod_view(pod, reports));
        // A process' settings name it, so each pod of a Frontend has its own revision: what differs is told by
        // comparing it with its own.
        let compared = pods.map(|mut pod| {
            let is_new = revisions.get(&pod.name) == Some(&pod.revision);
            pod.revision = if is_new { "" } else { "old" }.to_owned();
            pod
        });
        FrontendView {
            name: name.to_owned(),
            replicas: stored.object.spec.replicas.unsigned_abs() as usize,
            deleting: stored.deleting,
            revision: String::new(),
            pods: compared.collect(),
        }
    }

    fn backend_view(
        &self,
        name: &str,
        reports: &Reports,
        revisions: &BTreeMap<String, String>,
    ) -> BackendView {
        let stored = &self.state.backends[name];
        let spec = &stored.object.spec;
        let pod = format!("{name}-0");
        let (allow, deny) = spec
            .destinations
            .clone()
            .map(|d| (d.allow, d.deny))
            .unwrap_or_default();
        let server_id: Option<ServerId> = stored.server_id.as_ref().and_then(|id| id.parse().ok());
        BackendView {
            name: name.to_owned(),
            wish: match spec.desired_state {
                DesiredState::Active => Wish::Active,
                DesiredState::Cordoned => Wish::Cordoned,
                DesiredState::Drained => Wish::Drained,
            },
            deleting: stored.deleting,
            finalizer: stored.finalizer,
            scale_in: false,
            evacuate: false,
            abandon: stored.deleting
                && spec.deletion_policy == BackendDeletion::Abandon
                && Some(&spec.confirmation) == stored.server_id.as_ref(),
            delete_volume: spec.volume_retention == VolumeRetention::DeleteWhenEmpty,
            weight: spec.weight.unsigned_abs(),
            allow,
            deny,
            revision: revisions.get(&pod).cloned().unwrap_or_default(),
            pod: self.pod_view(&pod, reports),
            volume: match stored.volume {
                StoredVolume::Absent => VolumeView::Absent,
                StoredVolume::Present => VolumeView::Present,
                StoredVolume::Retired { delete_after_ms } => {
                    VolumeView::Retired { delete_after_ms }
                }
            },
            server_id,
            status: reports
                .status
                .get(&pod)
                .and_then(|status| status.backend.clone()),
            units: reports.units.get(&pod).cloned(),
            transfers: reports.transfers.get(&pod).cloned(),
            forgiven: stored.forgiven.clone(),
            proof: stored.proof,
            last_flip_ms: stored.last_flip_ms,
        }
    }

    fn pod_view(&self, pod: &str, reports: &Reports) -> Option<PodView> {
        let record = self.state.pods.get(pod)?;
        Some(PodView {
            name: pod.to_owned(),
            revision: record.revision.clone(),
            ready: reports.ready.get(pod).copied().unwrap_or(false)
                && !self.stopping.contains_key(pod),
            was_ready: record.was_ready,
        })
    }

    /// Drops records of processes that ended, and lets them wait before the next start.
    pub(super) fn forget_dead(&mut self, now_ms: u64) {
        for child in self.children.values_mut() {
            let _ = child.try_wait();
        }
        let dead: Vec<String> = self
            .state
            .pods
            .iter()
            .filter(|(pod, record)| {
                let settings = self.folder.settings(pod);
                !process::is_running(record.pid, record.start_time, &settings)
            })
            .map(|(pod, _)| pod.clone())
            .collect();
        for pod in dead {
            let Some(record) = self.state.pods.remove(&pod) else {
                continue;
            };
            self.children.remove(&record.pid);
            self.restarts.insert(pod.clone(), record.restarts + 1);
            if self.stopping.remove(&pod).is_none() {
                tracing::warn!(pod, pid = record.pid, "node_ended");
                self.back_off(&pod, now_ms);
                // Somebody else may have taken one since it was found free.
                if self
                    .state
                    .ports
                    .get(&pod)
                    .is_some_and(|ports| !ports.proven)
                {
                    self.state.ports.remove(&pod);
                }
            }
        }
    }

    async fn ask_nodes(&mut self) -> Reports {
        let mut probes = JoinSet::new();
        let mut calls = JoinSet::new();
        for pod in self.state.pods.keys() {
            let Some(ports) = self.state.ports.get(pod) else {
                continue;
            };
            let (name, metrics): (_, SocketAddr) = (pod.clone(), loopback(ports.metrics));
            probes.spawn(async move { (name, is_ready(metrics, PROBE_LIMIT).await) });
            let (name, client) = (pod.clone(), self.client.clone());
            let address = admin_address(&self.state, pod);
            let wants_units = self.wants_units(pod);
            calls.spawn(async move {
                let status = client.status(&address).await;
                let mut transfers = None;
                let mut units = None;
                let mut servers = None;
                match &status {
                    Ok(status) if status.role.holds_mailboxes() => {
                        transfers = client.transfers(&address).await.ok();
                        if wants_units {
                            units = client.units(&address).await.ok();
                        }
                    }
                    Ok(status) if status.role == Role::Mupdate => {
                        servers = client.servers(&address).await.ok();
                    }
                    Ok(_) => {}
                    Err(error) => tracing::debug!(pod = name, %error, "status_unknown"),
                }
                (name, status.ok(), transfers, units, servers)
            });
        }
        let mut reports = Reports::default();
        while let Some(Ok((pod, ready))) = probes.join_next().await {
            reports.ready.insert(pod, ready);
        }
        while let Some(Ok((pod, status, transfers, units, servers))) = calls.join_next().await {
            if let Some(status) = status {
                reports.status.insert(pod.clone(), status);
            }
            if let Some(units) = units {
                reports.units.insert(pod.clone(), units);
            }
            if let Some(transfers) = transfers {
                reports.transfers.insert(pod, transfers);
            }
            reports.servers = reports.servers.or(servers);
        }
        self.ended = reports
            .transfers
            .iter()
            .map(|(pod, transfers)| {
                let ended = transfers.iter().filter(|t| !is_running(t.phase));
                (pod.clone(), ended.map(|t| t.move_id).collect())
            })
            .collect();
        self.sessions = reports
            .status
            .iter()
            .map(|(p, s)| (p.clone(), s.sessions))
            .collect();
        reports
    }

    fn wants_units(&self, pod: &str) -> bool {
        let name = pod.strip_suffix("-0").unwrap_or(pod);
        self.state.backends.get(name).is_some_and(|backend| {
            backend.deleting || backend.object.spec.desired_state == DesiredState::Drained
        })
    }

    /// Remembers identities and when units left.
    fn note_flips(&mut self, reports: &Reports, now_ms: u64) {
        for (name, stored) in &mut self.state.backends {
            let pod = format!("{name}-0");
            if let Some(backend) = reports.status.get(&pod).and_then(|s| s.backend.as_ref()) {
                stored
                    .server_id
                    .get_or_insert_with(|| backend.server_id.to_string());
            }
            let (Some(status), Some(transfers)) =
                (reports.status.get(&pod), reports.transfers.get(&pod))
            else {
                continue;
            };
            let count = |wanted: fn(TransferPhase) -> bool| {
                let phases = transfers.iter().map(|transfer| transfer.phase);
                phases.filter(|phase| wanted(*phase)).count()
            };
            let seen = Seen {
                done: count(|phase| phase == TransferPhase::Done),
                units: status.backend.as_ref().map_or(0, |backend| backend.units),
            };
            // Rather too late than too early: the grace period begins with it.
            let running = count(is_running) > 0;
            if running || seen.done != stored.seen.done || seen.units < stored.seen.units {
                stored.last_flip_ms = Some(now_ms);
            }
            stored.seen = seen;
        }
    }

    /// Takes a fence above all that nodes have seen: this folder's supervisor is the only one, so a higher fence
    /// means that the folder is an older copy.
    fn outrank(&mut self, reports: &Reports) -> anyhow::Result<()> {
        let seen = reports.status.values().map(|status| status.fence.get());
        let highest = seen.max().unwrap_or(0);
        if highest > self.state.fence {
            tracing::warn!(fence = highest, "fence_outranked");
            self.state.fence = highest + 1;
            self.state.save(&self.folder)?;
            self.client = client(&self.folder, &self.state)?;
        }
        Ok(())
    }
}
