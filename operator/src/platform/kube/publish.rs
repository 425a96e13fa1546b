//! What custom resources say of themselves after a pass. A status is written only if it differs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt as _};
use serde_json::json;

use super::call;
use super::changes;
use super::claims;
use super::context::Context;
use super::desired::Desired;
use super::growth;
use super::memory::Memory;
use super::objects::{Objects, REVISION, is_ready};
use super::observe::Place;
use super::problems::Problems;
use crate::core::{
    DrainReport, Kind, Plan, RebalanceState, RebalanceWish, Target, World, rebalance,
};
use crate::crd::{
    API_VERSION, Backend, Frontend, MurderCluster, ProposedMove, RebalanceMode, RebalanceStatus,
    RebalanceTarget,
};
use crate::resources::names::POOL_LABEL;
use crate::status::{
    BackendInput, ClusterInput, DrainProgress, FrontendInput, backend_status, cluster_status,
    frontend_status,
};

/// Who we are to the API server when we write a status.
pub(super) const STATUS_MANAGER: &str = "murder-operator-status";
/// Moves of a proposal that are shown.
const MOVES_SHOWN_MAX: usize = 50;

/// What one pass saw and decided.
pub(super) struct Pass<'a> {
    pub(super) objects: &'a Objects,
    pub(super) desired: &'a Desired,
    pub(super) places: &'a BTreeMap<String, Place>,
    pub(super) world: &'a World,
    pub(super) plan: &'a Plan,
    pub(super) problems: &'a Problems,
    /// How many Backends would leave if fewer were needed.
    pub(super) kept: usize,
    /// Why a deleted murder stays.
    pub(super) deletion: Option<super::teardown::Stays>,
    /// When certificates end, by Secret, in seconds since the Unix epoch.
    pub(super) expiries: &'a [(String, i64)],
}

/// Says why nothing can be done for a murder.
pub(super) async fn publish_unready(
    context: &Context,
    objects: &Objects,
    problems: &Problems,
) -> anyhow::Result<()> {
    let input = ClusterInput {
        problems: problems.of(Kind::MurderCluster, &objects.key.name),
        selector: selector(objects, "backend"),
        ..ClusterInput::default()
    };
    let world = World::default();
    let status = cluster_status(
        &objects.cluster,
        &world,
        &Plan::default(),
        &input,
        Timestamp::now(),
    );
    write::<MurderCluster>(
        context,
        objects,
        Kind::MurderCluster,
        &objects.key.name,
        &status,
    )
    .await
}

/// Writes all statuses, events and metrics of a pass. One that is refused keeps no other back.
pub(super) async fn publish(
    context: &Context,
    pass: &Pass<'_>,
    memory: &mut Memory,
) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let mut troubled = Vec::new();
    let mut unwritten = Problems::default();
    for view in &pass.world.backends {
        let Some(object) = pass.objects.backend(&view.name) else {
            continue;
        };
        let nothing = DrainReport::default();
        let report = pass
            .plan
            .drains
            .iter()
            .find(|drain| drain.backend == view.name);
        let report = report.unwrap_or(&nothing);
        let drain = memory.drains.entry(view.name.clone()).or_default();
        let progress = drain.progress.get_or_insert_with(|| {
            let before = object
                .status
                .as_ref()
                .and_then(|status| status.drain.as_ref());
            DrainProgress::resume(before)
        });
        if !pass.objects.cluster.spec.paused && !object.spec.paused {
            progress.observe(now, report);
        }
        let progress = progress.clone();
        let input = backend_input(pass, memory, object);
        if let Some(first) = input.problems.first() {
            troubled.push(format!("Backend {}: {first}", view.name));
        }
        let status = backend_status(object, pass.world, view, report, &progress, &input, now);
        let stalled = progress.stalled_for(now).is_some();
        super::metering::backend(context, pass.objects, view, report, &progress, stalled);
        let name = &view.name;
        let written = write::<Backend>(context, pass.objects, Kind::Backend, name, &status).await;
        unwritten.tried(Kind::Backend, name, written);
    }
    for frontend in &pass.objects.frontends {
        let name = frontend.name_any();
        let input = frontend_input(pass, memory, frontend);
        if let Some(first) = input.problems.first() {
            troubled.push(format!("Frontend {name}: {first}"));
        }
        let status = frontend_status(frontend, &input, now);
        let written =
            write::<Frontend>(context, pass.objects, Kind::Frontend, &name, &status).await;
        unwritten.tried(Kind::Frontend, &name, written);
    }
    troubled.extend(claims::of_master(pass.objects));
    troubled.extend(growth::of_master(pass.objects, memory));
    let input = cluster_input(pass, memory, troubled);
    let status = cluster_status(&pass.objects.cluster, pass.world, pass.plan, &input, now);
    let name = &pass.objects.key.name;
    let kind = Kind::MurderCluster;
    let written = write::<MurderCluster>(context, pass.objects, kind, name, &status).await;
    unwritten.tried(kind, name, written);
    super::metering::murder(context, pass.objects, pass.world, memory, pass.expiries);
    unwritten.end()
}

/// Writes a status if it differs from the one that the watch has, and notes what changed.
async fn write<K>(
    context: &Context,
    objects: &Objects,
    kind: Kind,
    name: &str,
    status: &impl serde::Serialize,
) -> anyhow::Result<()>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let status = serde_json::to_value(status)?;
    let known = match kind {
        Kind::MurderCluster => json!(objects.cluster.status),
        Kind::Backend => json!(objects.backend(name).and_then(|b| b.status.clone())),
        Kind::Frontend => json!(objects.frontend(name).and_then(|f| f.status.clone())),
    };
    if known == status {
        return Ok(());
    }
    // Without an API server each call takes its time, but the Lease ends soon.
    anyhow::ensure!(context.leadership.is_held(), "no longer the leader");
    changes::note_changes(context, objects, kind, name, &known, &status);
    let object = json!({
        "apiVersion": API_VERSION,
        "kind": K::kind(&()),
        "metadata": {"name": name},
        "status": status,
    });
    let api: Api<K> = Api::namespaced(context.client.clone(), &objects.key.namespace);
    let parameters = PatchParams::apply(STATUS_MANAGER).force();
    let (doing, patch) = (
        format!("patch the status of {}", K::kind(&())),
        Patch::Apply(&object),
    );
    super::is_absent(call(&doing, name, api.patch_status(name, &parameters, &patch)).await)
}

fn selector(objects: &Objects, component: &str) -> String {
    format!(
        "app.kubernetes.io/component={component},murder.rs/cluster={}",
        objects.key.name
    )
}

fn backend_input(pass: &Pass<'_>, memory: &Memory, object: &Backend) -> BackendInput {
    let name = object.name_any();
    let pod_name = format!("{name}-0");
    let claim_name = pass.objects.claim_of(&name);
    let claim = pass.objects.claims.get(&claim_name);
    let pod = pass.objects.pods.get(&pod_name);
    let place = pass.places.get(&name).cloned().unwrap_or_default();
    let rendered = pass
        .desired
        .backends
        .get(&name)
        .and_then(|r| r.as_ref().ok());
    let view = pass.world.backends.iter().find(|view| view.name == name);
    let mut problems = pass.problems.of(Kind::Backend, &name);
    problems.extend(pod.and_then(|pod| pod_problem(pod)));
    problems.extend(identity_problem(memory, view, &pod_name));
    let status = memory.reports.status(&pod_name);
    BackendInput {
        machine: place.machine.clone(),
        machine_closed: place.closed,
        holds_until_empty: place.holds_until_empty(),
        policy: place.policy,
        claim_uid: claim.and_then(|claim| claim.uid()),
        claim_deleted: claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_some()),
        volume: claim.map(|claim| growth::volume_status(claim, place.movable)),
        resize: claim.and_then(|claim| growth::of_claim(claim, memory)),
        connections: status.map(|s| i64::try_from(s.sessions).unwrap_or(i64::MAX)),
        update_pending: rendered.and_then(|rendered| rendered.held.clone()),
        updating: rendered.zip(pod).is_some_and(|(rendered, pod)| {
            pod.annotations().get(REVISION) != Some(&rendered.revision)
        }),
        claim: claim_name,
        problems,
    }
}

/// A volume that has another identity than the one ever seen on it.
fn identity_problem(
    memory: &Memory,
    view: Option<&crate::core::BackendView>,
    pod: &str,
) -> Option<String> {
    let seen = memory.reports.status(pod)?.backend.as_ref()?.server_id;
    let known = view?.server_id?;
    (seen != known).then(|| {
        format!(
            "IdentityMismatch: the volume holds server {seen}, this Backend is server {known}; nothing is done with it"
        )
    })
}

/// Why a pod does not run, if the kubelet or the scheduler says so.
fn pod_problem(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let name = pod.name_any();
    for container in status.container_statuses.iter().flatten() {
        let Some(waiting) = container.state.as_ref().and_then(|s| s.waiting.as_ref()) else {
            continue;
        };
        let message = waiting.message.clone().unwrap_or_default();
        match waiting.reason.as_deref() {
            Some(
                "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull",
            ) => {
                let image = &container.image;
                return Some(format!(
                    "ImageNotAvailable: {name}: image {image}: {message}"
                ));
            }
            Some("CrashLoopBackOff") => {
                return Some(format!(
                    "{name} ended {} times; see `kubectl logs {name}`",
                    container.restart_count
                ));
            }
            Some("CreateContainerConfigError" | "CreateContainerError") => {
                return Some(format!("{name}: {message}"));
            }
            _ => {}
        }
    }
    let mut conditions = status.conditions.iter().flatten();
    let unscheduled = conditions.find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    let message = unscheduled.message.clone().unwrap_or_default();
    Some(format!("Unschedulable: {name}: {message}"))
}

fn frontend_input(pass: &Pass<'_>, memory: &Memory, object: &Frontend) -> FrontendInput {
    let name = object.name_any();
    let rendered = pass
        .desired
        .frontends
        .get(&name)
        .and_then(|r| r.as_ref().ok());
    let newest = rendered.map(|rendered| rendered.workload.revision.as_str());
    let pods = pass
        .objects
        .frontend_pods(&name, newest.unwrap_or_default());
    let count = |wanted: &dyn Fn(&Pod) -> bool| {
        let count = pods.iter().filter(|pod| wanted(pod)).count();
        i32::try_from(count).unwrap_or(i32::MAX)
    };
    let mut problems = pass.problems.of(Kind::Frontend, &name);
    problems.extend(pods.iter().find_map(|pod| pod_problem(pod)));
    let sessions = pods
        .iter()
        .filter_map(|pod| memory.reports.status(&pod.name_any()));
    let sessions: u64 = sessions.map(|status| status.sessions).sum();
    let is_new = |pod: &Pod| pod.annotations().get(REVISION).map(String::as_str) == newest;
    FrontendInput {
        replicas: count(&|_| true),
        ready: count(&is_ready),
        updated: count(&is_new),
        selector: format!(
            "{},murder.rs/frontend={name}",
            selector(pass.objects, "frontend")
        ),
        connections: i64::try_from(sessions).unwrap_or(i64::MAX),
        update_pending: rendered.and_then(|rendered| rendered.held.clone()),
        problems,
    }
}

fn cluster_input(pass: &Pass<'_>, memory: &Memory, troubled: Vec<String>) -> ClusterInput {
    let spec = &pass.objects.cluster.spec;
    let name = &pass.objects.key.name;
    let pool = pass.objects.backends.iter().filter(|backend| {
        backend.labels().get(POOL_LABEL) == Some(name)
            && backend.metadata.deletion_timestamp.is_none()
    });
    let revisions: BTreeSet<&str> = pass
        .desired
        .all()
        .map(|r| r.workload.revision.as_str())
        .collect();
    let is_new = |pod: &std::sync::Arc<Pod>| {
        let own = pod.annotations().get(REVISION);
        own.is_some_and(|own| revisions.contains(own.as_str()))
    };
    let held = pass
        .desired
        .all()
        .find_map(|rendered| rendered.held.clone());
    let versions = memory
        .reports
        .all()
        .filter_map(|(_, report)| report.status.as_ref());
    let mut problems = pass.problems.of(Kind::MurderCluster, name);
    let master = pass.objects.pods.get(&format!("{name}-mupdate-0"));
    problems.extend(master.and_then(|pod| pod_problem(pod)));
    let wish = RebalanceWish {
        propose: spec.rebalance.mode == RebalanceMode::Propose,
        threshold_percent: u64::from(spec.rebalance.threshold_percent.unsigned_abs()),
        target: match spec.rebalance.target {
            RebalanceTarget::Bytes => Target::Bytes,
            RebalanceTarget::Mailboxes => Target::Mailboxes,
        },
        moves_max: spec.rebalance.max_moves_per_run.unsigned_abs() as usize,
    };
    let units = pass.world.backends.iter();
    let units = units.filter_map(|view| Some((view.name.clone(), view.units.clone()?)));
    let balance = rebalance(pass.world, wish, &units.collect());
    ClusterInput {
        pool: i32::try_from(pool.count()).unwrap_or(i32::MAX),
        selector: selector(pass.objects, "backend"),
        update_revision: pass.desired.update_revision.clone(),
        up_to_date: pass.objects.pods.values().all(is_new),
        update_pending: held,
        versions: versions.map(|status| status.version.clone()).collect(),
        kept: pass.kept,
        deletion: pass.deletion.clone(),
        rebalanced: rebalanced(&balance.state),
        rebalance: proposal(&balance.state),
        skew_percent: balance
            .skew_percent
            .map_or(0, |skew| i32::try_from(skew).unwrap_or(i32::MAX)),
        problems,
        troubled,
    }
}

fn rebalanced(state: &RebalanceState) -> Option<(bool, &'static str, String)> {
    let reason = state.reason();
    Some(match state {
        RebalanceState::Disabled => return None,
        RebalanceState::Balanced => (true, reason, "even enough".to_owned()),
        RebalanceState::Paused(why) => (false, reason, why.clone()),
        RebalanceState::UnitsNeeded(names) => (
            false,
            reason,
            format!("lists the users of {}", names.join(", ")),
        ),
        RebalanceState::NoBenefit => (false, reason, "uneven, but no move would help".to_owned()),
        RebalanceState::ProposalReady(proposal) => {
            let count = proposal.moves.len();
            let message = format!("{count} moves would even it out; see status.rebalance");
            (false, reason, message)
        }
    })
}

fn proposal(state: &RebalanceState) -> Option<RebalanceStatus> {
    let RebalanceState::ProposalReady(proposal) = state else {
        return None;
    };
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let first = proposal.moves.iter().take(MOVES_SHOWN_MAX);
    Some(RebalanceStatus {
        plan_hash: proposal.hash.clone(),
        moves: count(proposal.moves.len() as u64),
        bytes: count(proposal.bytes),
        skew_percent_after: i32::try_from(proposal.skew_percent_after).unwrap_or(i32::MAX),
        first: first
            .map(|one| ProposedMove {
                root: one.root.clone(),
                from: one.from.clone(),
                to: one.to.clone(),
                bytes: count(one.bytes),
            })
            .collect(),
    })
}
