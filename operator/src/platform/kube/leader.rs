//! Which operator acts: an election on a Lease.
//!
//! A holder acts until its own deadline, which is counted from the start of its last successful renewal and is a
//! tenth shorter than the Lease's duration. A candidate takes over once it has itself seen the Lease unchanged for
//! the whole duration. So the holder stops first, whatever the clocks of the two machines say. A stopped process
//! that goes on later finds its deadline past before it does anything else: every step asks [`Leadership::is_held`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::calls::{ApiError, call_within};

/// Name of the operator's Lease.
pub const LEASE_NAME: &str = "murder-operator";
/// How long a Lease holds without a renewal, if nothing else is asked for.
pub const DURATION_DEFAULT: Duration = Duration::from_secs(15);

/// What a candidate stands for.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Name of this process; no two processes may share it. See [`identity`].
    pub identity: String,
    /// How long the Lease holds without a renewal; whole seconds.
    pub duration: Duration,
}

/// A name for this process: the pod's, with a random part.
pub fn identity(pod: &str) -> Result<String, getrandom::Error> {
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes)?;
    let random: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{pod}_{random}"))
}

/// Why the Lease could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The API server refused or could not be reached.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl LeaseError {
    fn is_status(&self, test: fn(&kube::core::Status) -> bool) -> bool {
        let Self::Api(error) = self;
        error.status().is_some_and(test)
    }
}

/// How a reign ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// The Lease was given back; the next candidate takes it at once.
    Released,
    /// Another holds the Lease, or it could not be renewed in time.
    Lost,
}

#[derive(Clone, Copy, Debug)]
struct Reign {
    deadline: Instant,
    transitions: u64,
}

/// Whether this process leads; cheap to clone and to ask.
#[derive(Clone, Debug)]
pub struct Leadership {
    reign: Arc<Mutex<Option<Reign>>>,
    held: watch::Receiver<bool>,
}

impl Leadership {
    /// Whether this process may act now. Compares the time with the deadline, so that it is right also in a
    /// process that stood still.
    pub fn is_held(&self) -> bool {
        self.transitions().is_some()
    }

    /// The Lease's transitions in this reign, while it lasts.
    pub fn transitions(&self) -> Option<u64> {
        let reign = *self.reign.lock().unwrap_or_else(PoisonError::into_inner);
        reign
            .filter(|reign| Instant::now() < reign.deadline)
            .map(|reign| reign.transitions)
    }

    /// True while this process leads; false no later than at the deadline.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.held.clone()
    }

    /// Waits until this process leads no more.
    pub async fn lost(&self) {
        // An error says that the election is gone: then nobody renews.
        let _ = self.held.clone().wait_for(|held| !held).await;
    }
}

/// What was seen of another's Lease, and when first.
#[derive(Debug)]
struct Seen {
    version: Option<String>,
    since: Instant,
}

/// A candidate and, once it has acquired the Lease, its holder.
#[derive(Debug)]
pub struct Election {
    api: Api<Lease>,
    settings: LeaseSettings,
    reign: Arc<Mutex<Option<Reign>>>,
    held: watch::Sender<bool>,
    /// The Lease as this process wrote it last.
    lease: Option<Lease>,
    seen: Option<Seen>,
}

impl Election {
    /// A candidate that does not hold the Lease yet.
    pub fn new(client: Client, settings: LeaseSettings) -> Self {
        Self {
            api: Api::namespaced(client, &settings.namespace),
            settings,
            reign: Arc::default(),
            held: watch::Sender::new(false),
            lease: None,
            seen: None,
        }
    }

    /// What steps ask.
    pub fn leadership(&self) -> Leadership {
        Leadership {
            reign: Arc::clone(&self.reign),
            held: self.held.subscribe(),
        }
    }

    /// Waits until this process holds the Lease. May be dropped at any time; [`Self::resign`] then gives back what
    /// may have been acquired unnoticed.
    pub async fn acquire(&mut self) {
        loop {
            match self.try_acquire().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "cannot acquire the Lease"),
            }
            sleep(self.settings.duration / 8).await;
        }
    }

    /// Renews the Lease until `stop` ends, and gives it back then; nothing may be under way any more when `stop`
    /// ends. Returns at once if the Lease is lost. [`Self::acquire`] comes first.
    pub async fn run(&mut self, stop: impl Future<Output = ()>) -> Ending {
        let lost = tokio::select! {
            () = stop => false,
            () = self.renew_until_lost() => true,
        };
        if lost {
            self.end_reign();
            return Ending::Lost;
        }
        if let Err(error) = self.resign().await {
            tracing::warn!(%error, "cannot give the Lease back; it expires");
        }
        Ending::Released
    }

    /// Stops acting, then gives the Lease back if it is this process'.
    pub async fn resign(&mut self) -> Result<(), LeaseError> {
        self.end_reign();
        let lease = match self.lease.take() {
            Some(lease) => lease,
            None => match self.get().await? {
                Some(lease) => lease,
                None => return Ok(()),
            },
        };
        match self.release(lease).await {
            Err(error) if error.is_status(kube::core::Status::is_conflict) => {
                match self.get().await? {
                    Some(lease) => self.release(lease).await,
                    None => Ok(()),
                }
            }
            Err(error) if error.is_status(kube::core::Status::is_not_found) => Ok(()),
            result => result,
        }
    }

    async fn release(&self, mut lease: Lease) -> Result<(), LeaseError> {
        if !self.is_mine(&lease) {
            return Ok(());
        }
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        self.replace(&lease).await.map(drop)
    }

    /// One look at the Lease, and a try to take it if it is free.
    async fn try_acquire(&mut self) -> Result<bool, LeaseError> {
        let Some(found) = self.get().await? else {
            let lease = self.claim(Lease::default());
            let start = Instant::now();
            return match self.create(&lease).await {
                Ok(lease) => Ok(self.begin_reign(lease, start)),
                Err(error) if error.is_status(kube::core::Status::is_already_exists) => Ok(false),
                Err(error) => Err(error),
            };
        };
        if !self.is_free(&found) {
            return Ok(false);
        }
        let lease = self.claim(found);
        let start = Instant::now();
        match self.replace(&lease).await {
            Ok(lease) => Ok(self.begin_reign(lease, start)),
            Err(error)
                if error.is_status(kube::core::Status::is_conflict)
                    || error.is_status(kube::core::Status::is_not_found) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether nobody holds the Lease: released, our own, or seen unchanged for its whole duration.
    fn is_free(&mut self, lease: &Lease) -> bool {
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        if holder.is_empty() || holder == self.settings.identity {
            return true;
        }
        let noted = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
        let wait = self.settings.duration.max(Duration::from_secs(noted));
        let version = lease.metadata.resource_version.clone();
        // The Lease was written before it was seen, so the wait that begins here ends after the holder's.
        let now = Instant::now();
        match &self.seen {
            Some(seen) if seen.version == version => now.duration_since(seen.since) >= wait,
            _ => {
                self.seen = Some(Seen {
                    version,
                    since: now,
                });
                false
            }
        }
    }

    /// The Lease with this process as its new holder.
    fn claim(&self, found: Lease) -> Lease {
        let now = MicroTime(Timestamp::now());
        let before = found.spec.unwrap_or_default();
        let transitions = before.lease_transitions.map_or(0, |n| n.saturating_add(1));
        Lease {
            metadata: ObjectMeta {
                name: Some(self.settings.name.clone()),
                namespace: Some(self.settings.namespace.clone()),
                ..found.metadata
            },
            spec: Some(LeaseSpec {
                acquire_time: Some(now.clone()),
                holder_identity: Some(self.settings.identity.clone()),
                lease_duration_seconds: Some(self.seconds()),
                lease_transitions: Some(transitions),
                renew_time: Some(now),
                ..before
            }),
        }
    }

    fn seconds(&self) -> i32 {
        let whole = self.settings.duration.as_secs_f64().ceil();
        // Saturates: a duration of more than 68 years is as good as that.
        (whole as i32).max(1)
    }

    /// Begins to act, unless the answer came too late. Whether it did.
    fn begin_reign(&mut self, lease: Lease, start: Instant) -> bool {
        let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
        let transitions = u64::try_from(transitions.unwrap_or(0)).unwrap_or(0);
        self.seen = None;
        self.lease = Some(lease);
        self.set_reign(start, transitions);
        let is_held = self.deadline().is_some_and(|end| Instant::now() < end);
        if is_held {
            tracing::info!(identity = %self.settings.identity, transitions, "this operator leads");
            self.held.send_replace(true);
        }
        is_held
    }

    fn set_reign(&self, start: Instant, transitions: u64) {
        let deadline = start + self.settings.duration - self.settings.duration / 10;
        let mut reign = self.reign.lock().unwrap_or_else(PoisonError::into_inner);
        *reign = Some(Reign {
            deadline,
            transitions,
        });
    }

    fn deadline(&self) -> Option<Instant> {
        let reign = self.reign.lock().unwrap_or_else(PoisonError::into_inner);
        reign.map(|reign| reign.deadline)
    }

    fn end_reign(&self) {
        *self.reign.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if self.held.send_replace(false) {
            tracing::info!(identity = %self.settings.identity, "this operator leads no more");
        }
    }

    async fn renew_until_lost(&mut self) {
        let every = self.settings.duration / 3;
        let mut next = Instant::now() + every;
        while let Some(deadline) = self.deadline() {
            sleep_until(next.min(deadline)).await;
            if Instant::now() >= deadline {
                tracing::warn!("the Lease could not be renewed in time");
                return;
            }
            let renewal = timeout_at(deadline, self.renew()).await;
            next = Instant::now() + every;
            match renewal {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    tracing::warn!("another operator has the Lease");
                    return;
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot renew the Lease");
                    next = Instant::now() + every / 5;
                }
                Err(_) => {}
            }
        }
    }

    /// Whether the Lease is still this process'; an error leaves that open.
    async fn renew(&mut self) -> Result<bool, LeaseError> {
        let Some(mut lease) = self.lease.clone() else {
            return Ok(false);
        };
        let spec = lease.spec.get_or_insert_default();
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        spec.lease_duration_seconds = Some(self.seconds());
        let transitions = u64::try_from(spec.lease_transitions.unwrap_or(0)).unwrap_or(0);
        let start = Instant::now();
        match self.replace(&lease).await {
            Ok(lease) => {
                self.lease = Some(lease);
                self.set_reign(start, transitions);
                Ok(true)
            }
            Err(error) if error.is_status(kube::core::Status::is_not_found) => Ok(false),
            Err(error) if error.is_status(kube::core::Status::is_conflict) => {
                // Others may have edited it, or an earlier renewal arrived whose answer did not.
                match self.get().await? {
                    Some(found) if self.is_mine(&found) && is_same_reign(&found, &lease) => {
                        self.lease = Some(found);
                        Err(error)
                    }
                    _ => Ok(false),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn is_mine(&self, lease: &Lease) -> bool {
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
        holder == Some(&self.settings.identity)
    }

    async fn get(&self) -> Result<Option<Lease>, LeaseError> {
        self.limited("get", self.api.get_opt(&self.settings.name))
            .await
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        let parameters = PostParams::default();
        self.limited("create", self.api.create(&parameters, lease))
            .await
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        let parameters = PostParams::default();
        let replacing = self.api.replace(&self.settings.name, &parameters, lease);
        self.limited("write", replacing).await
    }

    async fn limited<T>(
        &self,
        verb: &str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, LeaseError> {
        let (limit, doing) = (self.settings.duration / 3, format!("{verb} Lease"));
        Ok(call_within(limit, &doing, &self.settings.name, call).await?)
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.end_reign();
    }
}

fn is_same_reign(one: &Lease, other: &Lease) -> bool {
    let transitions = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
    transitions(one) == transitions(other)
}

#[cfg(test)]
#[path = "leader_tests.rs"]
mod tests;
