//! What the API server has of the custom resources, as its watches tell it, and waiting for something to be so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::sync::watch;

use super::api::{Api, Event};

/// Objects by kind and name.
pub(super) struct Board {
    objects: Mutex<HashMap<(&'static str, String), Value>>,
    told: watch::Sender<u64>,
}

/// State and reason of a condition.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<(&'a str, &'a str)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|c| c["type"] == kind)?;
    Some((found["status"].as_str()?, found["reason"].as_str()?))
}

/// Whether the operator has seen the object's present spec.
pub(super) fn is_observed(object: &Value) -> bool {
    let seen = &object["status"]["observedGeneration"];
    seen.is_number() && *seen == object["metadata"]["generation"]
}

impl Board {
    /// Follows kinds of a namespace: each as its plural and the path of its list.
    pub(super) fn follow(api: &Api, kinds: &[(&'static str, String)]) -> Arc<Self> {
        let board = Arc::new(Self {
            objects: Mutex::default(),
            told: watch::Sender::new(0),
        });
        for (kind, path) in kinds {
            let (board, kind) = (Arc::clone(&board), *kind);
            let mut events = api.follow(path);
            tokio::spawn(async move {
                while let Some(event) = events.recv().await {
                    board.take(kind, event);
                }
            });
        }
        board
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(&'static str, String), Value>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, kind: &'static str, event: Event) {
        let name = |object: &Value| {
            object["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        match event {
            Event::Applied(object) => self.lock().insert((kind, name(&object)), object),
            Event::Gone(object) => self.lock().remove(&(kind, name(&object))),
        };
        self.told.send_modify(|count| *count += 1);
    }

    /// Whether something holds of an object that is there.
    pub(super) fn holds(
        &self,
        kind: &'static str,
        name: &str,
        what: impl FnOnce(&Value) -> bool,
    ) -> bool {
        let objects = self.lock();
        objects.get(&(kind, name.to_owned())).is_some_and(what)
    }

    /// How many objects of a kind something holds of.
    pub(super) fn count(&self, kind: &'static str, what: impl Fn(&Value) -> bool) -> usize {
        let objects = self.lock();
        let of_kind = objects.iter().filter(|((k, _), _)| *k == kind);
        of_kind.filter(|(_, object)| what(object)).count()
    }

    /// Waits until something holds; says when it was seen to.
    pub(super) async fn until(
        &self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> Result<Instant> {
        let mut told = self.told.subscribe();
        let wait = async {
            loop {
                told.mark_unchanged();
                if holds(self) {
                    return Instant::now();
                }
                // The sender is ours. What nodes were told is on no watch, so it is looked at in any case.
                let _ = tokio::time::timeout(Duration::from_millis(10), told.changed()).await;
            }
        };
        let seen = tokio::time::timeout(limit, wait).await;
        seen.with_context(|| format!("after {} s still waiting for: {what}", limit.as_secs()))
    }
}
