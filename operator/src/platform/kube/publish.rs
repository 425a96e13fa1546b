//! What custom resources say of themselves after a pass, and what the operator's metrics say of them.

use std::collections::BTreeMap;

use super::context::Context;
use super::desired::Desired;
use super::memory::Memory;
use super::objects::Objects;
use super::observe::Place;
use super::pass::Problems;
use kube::Resource as _;
use kube::runtime::events::EventType;

use crate::core::{Kind, Plan, World};

/// Who we are to the API server when we write a status.
pub(super) const STATUS_MANAGER: &str = "murder-operator-status";

/// What one pass saw and decided.
pub(super) struct Pass<'a> {
    pub(super) objects: &'a Objects,
    pub(super) desired: &'a Desired,
    pub(super) places: &'a BTreeMap<String, Place>,
    pub(super) world: &'a World,
    pub(super) plan: &'a Plan,
    pub(super) problems: &'a Problems,
    /// Why a deleted murder stays.
    pub(super) deletion: Option<String>,
    /// When certificates end, by Secret, in seconds since the Unix epoch.
    pub(super) expiries: &'a [(String, i64)],
}

pub(super) async fn publish_unready(
    _c: &Context,
    _o: &Objects,
    _p: &Problems,
) -> anyhow::Result<()> {
    Ok(())
}
pub(super) async fn publish(_c: &Context, _p: &Pass<'_>, _m: &mut Memory) -> anyhow::Result<()> {
    Ok(())
}

/// Notes something on an object of the murder.
pub(super) fn event(
    context: &Context,
    objects: &Objects,
    kind: Kind,
    name: &str,
    type_: EventType,
    reason: &str,
    note: &str,
) {
    let reference = match kind {
        Kind::MurderCluster => Some(objects.cluster.object_ref(&())),
        Kind::Backend => objects.backend(name).map(|backend| backend.object_ref(&())),
        Kind::Frontend => objects
            .frontend(name)
            .map(|frontend| frontend.object_ref(&())),
    };
    if let Some(reference) = reference {
        context.events.publish(&reference, type_, reason, note);
    }
}
