//! What all passes share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;

use super::events::Events;
use super::leader::Leadership;
use super::memory::Memory;
use super::watch::Stores;
use crate::resources::Defaults;
use crate::telemetry::Metrics;

/// A murder: its namespace and name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// Namespace.
    pub namespace: String,
    /// Name of the MurderCluster.
    pub name: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What passes of one scope share.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) stores: Stores,
    pub(super) defaults: Defaults,
    pub(super) leadership: Leadership,
    pub(super) events: Events,
    pub(super) metrics: Arc<Metrics>,
    /// One lock a murder: its passes follow each other.
    murders: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<Memory>>>>,
    /// Failed passes in a row, by kind and object.
    failures: Mutex<HashMap<(&'static str, String), u32>>,
}

/// Rest after the first failure of an object; it doubles with each further one.
const BACK_OFF: Duration = Duration::from_secs(1);
/// Longest rest after failures.
const BACK_OFF_MAX: Duration = Duration::from_secs(120);

impl Context {
    pub(super) fn new(
        client: Client,
        stores: Stores,
        defaults: Defaults,
        leadership: Leadership,
        events: Events,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            client,
            stores,
            defaults,
            leadership,
            events,
            metrics,
            murders: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    /// What is remembered of a murder while we lead. Losing it costs time, never mail.
    pub(super) fn memory(&self, key: &Key) -> Arc<tokio::sync::Mutex<Memory>> {
        let mut murders = self.murders.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(murders.entry(key.clone()).or_default())
    }

    /// Forgets a murder that is gone.
    pub(super) fn forget(&self, key: &Key) {
        let mut murders = self.murders.lock().unwrap_or_else(PoisonError::into_inner);
        murders.remove(key);
    }

    /// Notes a success.
    pub(super) fn succeeded(&self, kind: &'static str, object: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&(kind, object.to_owned()));
    }

    /// Notes a failure; says how long the object rests.
    pub(super) fn failed(&self, kind: &'static str, object: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry((kind, object.to_owned())).or_default();
        *count += 1;
        let doubled = BACK_OFF.saturating_mul(1 << (*count - 1).min(10));
        doubled.min(BACK_OFF_MAX)
    }
}
