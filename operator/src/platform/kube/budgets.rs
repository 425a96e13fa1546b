//! Whether a pod may be evicted: one PodDisruptionBudget for each Backend, for life, of 1 or 0.
//!
//! 0 answers an eviction with 429, which `kubectl drain` tries again every five seconds: that is how it waits until
//! the mailboxes are elsewhere, and then ends by itself.

use std::collections::BTreeMap;

use kube::ResourceExt as _;

use super::context::Context;
use super::memory::Memory;
use super::objects::Objects;
use super::observe::Place;
use super::packed::Packed;
use super::pass::apply_one;
use super::problems::Problems;
use crate::core::{BackendView, DrainState, Kind, Plan, World};
use crate::crd::{NodeDrain, Switch};
use crate::resources::Murder;

/// How many pods of a Backend may be away: 1 or 0.
pub(super) fn allowed(
    world: &World,
    plan: &Plan,
    backend: &BackendView,
    place: &Place,
    claim_goes: bool,
) -> i32 {
    if claim_goes || place.policy == NodeDrain::Hold {
        return 0;
    }
    let mut drains = plan.drains.iter();
    let report = drains.find(|report| report.backend == backend.name);
    let empty = report.is_some_and(|report| report.state == DrainState::Empty);
    if empty {
        return 1;
    }
    if place.holds_until_empty() {
        return 0;
    }
    let is_up = |view: &BackendView| view.pod.as_ref().is_some_and(|pod| pod.ready);
    let others = world
        .backends
        .iter()
        .filter(|other| other.name != backend.name);
    // One that was emptied serves nothing that could be missed.
    let silent = |view: &BackendView| view.status.as_ref().is_some_and(|s| s.deactivated);
    let mut down = others.filter(|other| !is_up(other) && !silent(other) && !other.is_going());
    i32::from(!is_up(backend) || down.next().is_none())
}

/// Applies all budgets of a murder.
pub(super) async fn apply(
    context: &Context,
    objects: &Objects,
    world: &World,
    plan: &Plan,
    places: &BTreeMap<String, Place>,
    memory: &mut Memory,
    problems: &mut Problems,
) {
    if objects.cluster.spec.disruption.pdb == Switch::Disabled {
        return;
    }
    let murder = Murder {
        cluster: &objects.cluster,
        namespace: &objects.key.namespace,
        defaults: &context.defaults,
    };
    let nowhere = Place::default();
    let mut budgets = Vec::new();
    for view in &world.backends {
        let Some(backend) = objects.backend(&view.name) else {
            continue;
        };
        let claim = objects.claims.get(&objects.claim_of(&view.name));
        let claim_goes = claim.is_some_and(|c| c.metadata.deletion_timestamp.is_some());
        let place = places.get(&view.name).unwrap_or(&nowhere);
        let count = allowed(world, plan, view, place, claim_goes);
        budgets.push((
            Kind::Backend,
            view.name.clone(),
            murder.backend_budget(backend, count),
        ));
    }
    for frontend in &objects.frontends {
        let budget = murder.frontend_budget(frontend, 1);
        budgets.push((Kind::Frontend, frontend.name_any(), budget));
    }
    if world.mupdate.is_some() {
        let budget = murder.mupdate_budget(1);
        budgets.push((Kind::MurderCluster, objects.key.name.clone(), budget));
    }
    for (kind, name, budget) in budgets {
        match budget {
            Ok(Some(budget)) => {
                let budget = Packed::of(&budget);
                apply_one(context, objects, kind, &name, &budget, memory, problems).await;
            }
            Ok(None) => {}
            Err(error) => problems.note(kind, &name, error.to_string()),
        }
    }
}
