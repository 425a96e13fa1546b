//! One pass of a murder: look, decide, act, say.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::Pod;
use kube::api::Patch;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt as _};
use murder_model::Fence;
use serde_json::json;

use super::act::Acting;
use super::apply::{Outcome, merge};
use super::budgets;
use super::calls::{self, NamespaceEnds};
use super::changes;
use super::context::{Context, Key};
use super::desired::{Desired, Rendered, keep_template};
use super::growth;
use super::identity;
use super::memory::Memory;
use super::objects::{Objects, SERVED, SERVER_ID, is_ready};
use super::observe::{self, Sight};
use super::packed::{Packed, unpack};
use super::pool;
use super::problems::Problems;
use super::publish::{self, Pass};
use super::teardown::Progress;
use super::watch::{BACKEND_LABEL, FRONTEND_LABEL};
use super::{call, reign, teardown};
use crate::core::{Action, DrainReport, DrainState, Kind, Plan, VolumeView, World, plan};
use crate::crd::{Frontend, MurderCluster};
use crate::node_client::CallError;
use crate::resources::Murder;

/// How often a murder is looked at when nothing happens.
const REST: Duration = Duration::from_secs(30);
/// Longest rest while nodes are asked of which nobody waits for an answer.
const REST_ASKED: Duration = Duration::from_secs(5);
/// Longest rest while something is not as wished.
const REST_MAX: Duration = Duration::from_secs(2);
/// How long a pass waits for the first complete list of every kind.
const LISTS_LIMIT: Duration = Duration::from_secs(20);
/// Rest while there is no certificate of ours: Secrets are not watched.
const REST_UNREADY: Duration = Duration::from_secs(5);
/// Shortest rest while something is under way.
const REST_MIN: Duration = Duration::from_millis(500);

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Does one pass; says when the next is due at the latest.
pub(super) async fn pass(
    context: &Context,
    cluster: Arc<MurderCluster>,
) -> anyhow::Result<Duration> {
    anyhow::ensure!(context.leadership.is_held(), "no longer the leader");
    let key = Key {
        namespace: cluster.namespace().unwrap_or_default(),
        name: cluster.name_any(),
    };
    let lock = context.memory(&key);
    let mut memory = lock.lock().await;
    // A pod or claim that is not listed yet would be taken for one that is not there.
    context.stores.ready_within(LISTS_LIMIT).await?;
    let objects = Objects::gather(&context.stores, &key, cluster);
    memory.meet(&objects.cluster, &objects.backends);
    if teardown::namespace_ends(context, &objects, &memory).await? {
        return teardown::end_with_namespace(context, &objects, &mut memory).await;
    }
    // Boxed: it is one large future.
    match Box::pin(look_and_act(context, &objects, &mut memory)).await {
        Err(error) if calls::namespace_ends(&error) => {
            teardown::end_with_namespace(context, &objects, &mut memory).await
        }
        outcome => outcome,
    }
}

async fn look_and_act(
    context: &Context,
    objects: &Objects,
    memory: &mut Memory,
) -> anyhow::Result<Duration> {
    let paused = objects.cluster.spec.paused;
    let mut problems = Problems::default();
    if !paused {
        hold(context, objects, &mut problems).await?;
        problems.check()?;
    }
    let desired = Desired::render(
        objects,
        &context.stores,
        &context.defaults,
        &mut memory.rendered,
    );
    note_unrendered(objects, &desired, &mut problems);
    let Some(credentials) = identity::ensure(context, objects, memory, &mut problems).await? else {
        publish::publish_unready(context, objects, &problems).await?;
        problems.end()?;
        return Ok(REST_UNREADY);
    };
    let client = reign::node_client(context, objects, memory, &credentials).await?;
    let going = objects.cluster.metadata.deletion_timestamp.is_some();
    let judged = going && !teardown::is_decided(objects);
    let asked = observe::asked(objects, judged, memory);
    memory.reports.ask(&client, asked).await;
    let client = reign::outrank(context, objects, memory, &credentials, client).await?;
    // Nodes may have taken their time.
    anyhow::ensure!(context.leadership.is_held(), "no longer the leader");
    let places = observe::places(&context.client, &context.stores, objects, memory).await;
    let pool = pool::apply(context, objects, memory, &mut problems).await;
    problems.check()?;
    let sight = Sight {
        objects,
        desired: &desired,
        places: &places,
        stores: &context.stores,
        surplus: &pool.leave,
        now_ms: now_ms(),
    };
    let world = sight.world(memory)?;
    let deletion = going.then(|| teardown::verdict(objects, &world));
    let ends = matches!(deletion, Some(Ok(_)));
    let mut stays = None;
    match deletion {
        Some(Ok(ending)) => {
            match teardown::tear_down(context, objects, &world, &client, ending).await? {
                Progress::Gone => {
                    context.forget(&objects.key);
                    return Ok(REST);
                }
                Progress::GoesOn => {}
                Progress::Stays(why) => stays = Some(why),
            }
        }
        Some(Err(why)) => stays = Some(why),
        None => {}
    }
    let mut plan = plan(&world);
    plan.steps
        .retain(|step| !objects.is_paused(step.kind, &step.object));
    if ends {
        plan.steps.clear();
    }
    // Before anything can fail: what is asked of nodes in the next pass follows from it.
    let leaving = world.backends.iter().filter(|view| view.is_leaving());
    memory.leaving = leaving.map(|view| view.name.clone()).collect();
    memory.unsettled = unsettled(&plan);
    if !paused {
        note_served(context, objects, &world, &mut problems).await;
        plan.steps
            .retain(|step| !problems.blocks(step.kind, &step.object));
    }
    // What ends is not made again.
    if !paused && !ends {
        growth::apply(context, objects, memory).await;
        apply_all(context, objects, &desired, &world, memory, &mut problems).await;
        budgets::apply(
            context,
            objects,
            &world,
            &plan,
            &places,
            memory,
            &mut problems,
        )
        .await;
        problems.check()?;
        let mut acting = Acting {
            context,
            objects,
            desired: &desired,
            world: &world,
            node_client: &client,
            memory: &mut *memory,
        };
        super::rates::apply(&acting).await;
        carry_out(&mut acting, &plan, &mut problems).await?;
        problems.check()?;
    }
    let said = Pass {
        objects,
        desired: &desired,
        places: &places,
        world: &world,
        plan: &plan,
        problems: &problems,
        kept: pool.kept,
        deletion: stays,
        expiries: &credentials.expiries,
    };
    let published = publish::publish(context, &said, memory).await;
    if let Err(error) = problems.end().and(published) {
        // A drain under way does not share the growing rest of an object that refuses.
        let is_whole = calls::namespace_ends(&error) || !context.leadership.is_held();
        if is_whole || !plan.drains.iter().any(is_at_work) {
            return Err(error);
        }
        tracing::warn!(murder = %objects.key, error = format!("{error:#}"), "drains_go_on");
    }
    let settled = plan.converged && problems.is_empty();
    let mut rest = rest(&plan, &world, settled);
    if memory.reports.is_waiting() {
        rest = rest.min(REST_ASKED);
    }
    if ends {
        rest = rest.min(teardown::SOON);
    }
    Ok(credentials
        .look_again
        .map_or(rest, |due| rest.min(due.max(REST_MIN))))
}

/// Backends that are not as wished, or were told something.
fn unsettled(plan: &Plan) -> BTreeSet<String> {
    let drains = plan.drains.iter().filter(|drain| !drain.settled);
    let drains = drains.map(|drain| drain.backend.clone());
    let steps = plan.steps.iter().filter(|step| step.kind == Kind::Backend);
    drains
        .chain(steps.map(|step| step.object.clone()))
        .collect()
}

fn is_at_work(drain: &DrainReport) -> bool {
    !matches!(
        drain.state,
        DrainState::NotRequested | DrainState::Blocked(_)
    )
}

fn rest(plan: &Plan, world: &World, settled: bool) -> Duration {
    let due = plan.next_ms.map(|at| at.saturating_sub(world.now_ms));
    let due = due.map_or(REST, Duration::from_millis);
    if settled {
        due.clamp(REST_MIN, REST)
    } else if plan.drains.iter().any(is_at_work) {
        due.clamp(REST_MIN, REST_MAX)
    } else {
        // What starts or is stuck tells by itself, by its watch.
        due.clamp(REST_MAX, REST_MAX)
    }
}

/// Puts our finalizer on the murder, its Frontends and its claims. That of a Backend is a step of its own.
async fn hold(context: &Context, objects: &Objects, problems: &mut Problems) -> anyhow::Result<()> {
    let namespace = &objects.key.namespace;
    let api: Api<MurderCluster> = Api::namespaced(context.client.clone(), namespace);
    super::finalizers::add(&api, objects.cluster.as_ref()).await?;
    let api: Api<Frontend> = Api::namespaced(context.client.clone(), namespace);
    for frontend in &objects.frontends {
        let added = super::finalizers::add(&api, frontend.as_ref()).await;
        let held = super::finalizers::unless_changed(added).map(|_| ());
        problems.tried(Kind::Frontend, &frontend.name_any(), held);
    }
    if objects.cluster.metadata.deletion_timestamp.is_none() {
        super::claims::hold(context, objects, problems).await;
    }
    Ok(())
}

fn note_unrendered(objects: &Objects, desired: &Desired, problems: &mut Problems) {
    if let Some(Err(error)) = &desired.mupdate {
        problems.note(Kind::MurderCluster, &objects.key.name, error.clone());
    }
    for (kind, all) in [
        (Kind::Backend, &desired.backends),
        (Kind::Frontend, &desired.frontends),
    ] {
        for (name, rendered) in all {
            if let Err(error) = rendered {
                problems.note(kind, name, error.clone());
            }
        }
    }
}

/// Notes on pods that served once, so that a later operator knows it, too, and identities on claims.
async fn note_served(context: &Context, objects: &Objects, world: &World, problems: &mut Problems) {
    let namespace = &objects.key.namespace;
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let patch = json!({"metadata": {"annotations": {SERVED: "true"}}});
    for pod in objects.pods.values() {
        if is_ready(pod) && !pod.annotations().contains_key(SERVED) {
            let name = pod.name_any();
            let (parameters, patch) = (merge(), Patch::Merge(&patch));
            let patching = pods.patch(&name, &parameters, &patch);
            let noted = super::is_absent(call("patch Pod", &name, patching).await);
            let (kind, owner) = owner_of(objects, pod);
            problems.tried(kind, &owner, noted);
        }
    }
    let claims: Api<k8s_openapi::api::core::v1::PersistentVolumeClaim> =
        Api::namespaced(context.client.clone(), namespace);
    for view in &world.backends {
        let Some(claim) = objects.claims.get(&objects.claim_of(&view.name)) else {
            continue;
        };
        if let Some(status) = &view.status
            && !claim.annotations().contains_key(SERVER_ID)
        {
            let id = status.server_id.to_string();
            let patch = json!({"metadata": {"uid": claim.uid(), "annotations": {SERVER_ID: id}}});
            let name = claim.name_any();
            let (parameters, patch) = (merge(), Patch::Merge(&patch));
            let patching = claims.patch(&name, &parameters, &patch);
            let noted = call("patch PersistentVolumeClaim", &name, patching).await;
            problems.tried(
                Kind::Backend,
                &view.name,
                noted.map(|_| ()).map_err(Into::into),
            );
        }
    }
}

/// The object that a pod is one of.
fn owner_of(objects: &Objects, pod: &Pod) -> (Kind, String) {
    let label = |key| pod.labels().get(key).cloned();
    let backend = label(BACKEND_LABEL).map(|name| (Kind::Backend, name));
    let frontend = || label(FRONTEND_LABEL).map(|name| (Kind::Frontend, name));
    let of_murder = || (Kind::MurderCluster, objects.key.name.clone());
    backend.or_else(frontend).unwrap_or_else(of_murder)
}

/// Applies what is always there: settings, Services, policies, and the workloads that run already.
async fn apply_all(
    context: &Context,
    objects: &Objects,
    desired: &Desired,
    world: &World,
    memory: &mut Memory,
    problems: &mut Problems,
) {
    let retired = |name: &str| {
        let view = world.backends.iter().find(|view| view.name == name);
        view.is_some_and(|view| matches!(view.volume, VolumeView::Retired { .. }))
    };
    let mut wanted: Vec<(Kind, String, &Rendered)> = Vec::new();
    if let Some(Ok(rendered)) = &desired.mupdate {
        wanted.push((Kind::MurderCluster, objects.key.name.clone(), rendered));
    }
    for (kind, all) in [
        (Kind::Backend, &desired.backends),
        (Kind::Frontend, &desired.frontends),
    ] {
        for (name, rendered) in all {
            if let Ok(rendered) = rendered
                && !objects.is_paused(kind, name)
                && !(kind == Kind::Backend && retired(name))
            {
                wanted.push((kind, name.clone(), rendered));
            }
        }
    }
    for (kind, name, rendered) in wanted {
        let config = due_config(context, objects, rendered);
        let set = running_set(context, objects, kind, rendered);
        let all = rendered.workload.services.iter().chain(config);
        for object in all.chain(set.as_deref()) {
            apply_one(context, objects, kind, &name, object, memory, problems).await;
        }
    }
    let murder = Murder {
        cluster: &objects.cluster,
        namespace: &objects.key.namespace,
        defaults: &context.defaults,
    };
    let name = objects.key.name.clone();
    let extras = [murder.network_policies(), murder.monitoring()];
    for extra in extras {
        match extra {
            Ok(extra) => {
                for object in &extra {
                    let (kind, object) = (Kind::MurderCluster, Packed::of(object));
                    apply_one(context, objects, kind, &name, &object, memory, problems).await;
                }
            }
            Err(error) => problems.note(Kind::MurderCluster, &name, error.to_string()),
        }
    }
}

/// The settings of a workload, if their turn has come before, or there are none.
fn due_config<'a>(
    context: &Context,
    objects: &Objects,
    rendered: &'a Rendered,
) -> Option<&'a Packed> {
    let config = &rendered.workload.config;
    let namespace = &objects.key.namespace;
    let found = context.stores.object("ConfigMap", namespace, &config.name);
    let due = found.is_none() || (rendered.applied && rendered.held.is_none());
    due.then_some(config)
}

/// A workload that is there already. It keeps its template until its turn, and a Deployment its count, too.
fn running_set<'a>(
    context: &Context,
    objects: &Objects,
    kind: Kind,
    rendered: &'a Rendered,
) -> Option<Cow<'a, Packed>> {
    let set = rendered.set();
    let namespace = &objects.key.namespace;
    let found = context.stores.object(&set.kind, namespace, &set.name)?;
    if found.metadata.deletion_timestamp.is_some() {
        return None;
    }
    if kind != Kind::Frontend && rendered.applied {
        return Some(Cow::Borrowed(set));
    }
    let found = unpack(&found);
    let mut set = set.value();
    keep_template(&mut set, &found);
    if kind == Kind::Frontend {
        set["spec"]["replicas"] = found.data.pointer("/spec/replicas")?.clone();
    }
    Some(Cow::Owned(Packed::of(&set)))
}

/// Applies one object; what fails is its owner's problem alone.
pub(super) async fn apply_one(
    context: &Context,
    objects: &Objects,
    kind: Kind,
    owner: &str,
    object: &Packed,
    memory: &mut Memory,
    problems: &mut Problems,
) {
    if problems.check().is_err() {
        return;
    }
    let namespace = &objects.key.namespace;
    let applied = memory
        .applied
        .apply(&context.client, &context.stores, namespace, object)
        .await;
    match applied {
        Ok(Outcome::PutBack) => {
            let what = format!(
                "{} {} was changed by somebody else and put back",
                object.kind, object.name,
            );
            let type_ = EventType::Warning;
            changes::event(context, objects, kind, owner, type_, "ForeignChange", &what);
        }
        Ok(_) => {}
        Err(error) => problems.failed(kind, owner, &error),
    }
}

async fn carry_out(
    acting: &mut Acting<'_>,
    plan: &Plan,
    problems: &mut Problems,
) -> anyhow::Result<()> {
    let murder = acting.objects.key.to_string();
    for step in &plan.steps {
        anyhow::ensure!(acting.context.leadership.is_held(), "no longer the leader");
        // One that is taken again and again until it works is one line.
        if acting.memory.trace.record(step) {
            let fence = acting.memory.fence.map_or(0, Fence::get);
            tracing::info!(murder, fence, %step, "step_taken");
        }
        if let Err(error) = acting.act(step).await {
            anyhow::ensure!(!calls::namespace_ends(&error), NamespaceEnds);
            let what = format!("{error:#}");
            tracing::warn!(murder, %step, error = what, "step_failed");
            let call = error.downcast_ref::<CallError>();
            if matches!(call, Some(CallError::Refused { reason, .. }) if reason == "Fenced") {
                acting.context.metrics.fenced();
            }
            // A transfer that could not be started is tried again; it shows only if it goes on.
            if !matches!(step.action, Action::StartTransfer { .. }) {
                problems.note(
                    step.kind,
                    &step.object,
                    format!("{}: {what}", step.action.name()),
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "pass_tests.rs"]
mod tests;
