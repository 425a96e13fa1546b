//! The supervisor: observes, plans, acts, and takes commands on a socket.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use murder_model::{Fence, MoveId};
use tokio::net::UnixListener;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};

use super::accounts;
use super::certificates::{self, Identity};
use super::protocol::{Answer, Change, Objects, Request, Status};
use super::render;
use super::socket::accept;
use super::state::{Folder, State, StoredBackend, StoredFrontend, write_secret};
use crate::core::{Plan, Trace, World, plan};
use crate::crd::DesiredState;
use crate::node_client::NodeClient;

/// Time limit of an admin call.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// How often the world is looked at when nothing happens.
const REST: Duration = Duration::from_millis(500);
/// Shortest time between two looks.
const REST_MIN: Duration = Duration::from_millis(100);
/// Commands that may wait.
const COMMANDS_MAX: usize = 64;
/// How often a taken lock is tried again, and the wait in between.
const LOCK_TRIES_MAX: usize = 250;
const LOCK_REST: Duration = Duration::from_millis(20);
/// Passes without a running node after which `down` gives up.
const DOWN_PASSES_MAX: usize = 400;

/// The one that keeps the murder as wished.
pub struct Supervisor {
    pub(super) folder: Folder,
    pub(super) state: State,
    pub(super) binary: PathBuf,
    pub(super) client: NodeClient,
    pub(super) children: HashMap<u32, Child>,
    /// By pod: failed starts in a row, and when the next may be.
    pub(super) failures: BTreeMap<String, (u32, u64)>,
    /// By pod: when it was told to stop.
    pub(super) stopping: BTreeMap<String, u64>,
    pub(super) restarts: BTreeMap<String, u32>,
    pub(super) sessions: BTreeMap<String, u64>,
    /// By pod: transfers that had ended at the last look.
    pub(super) ended: BTreeMap<String, Vec<MoveId>>,
    generation: u64,
    problems: Vec<String>,
    trace: Trace,
    status: watch::Sender<Option<Status>>,
    /// Whoever holds it is the only supervisor of this folder.
    _lock: File,
}

impl Supervisor {
    /// A supervisor over a state folder, with a new fence.
    pub fn open(folder: Folder, binary: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder.path())?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700))?;
        // Before anything is read: what another supervisor is about to write would be lost.
        let lock = lock(&folder)?;
        let mut state = State::load(&folder)?;
        state.fence += 1;
        state.save(&folder)?;
        let client = client(&folder, &state)?;
        Ok(Self {
            folder,
            state,
            binary,
            client,
            children: HashMap::new(),
            failures: BTreeMap::new(),
            stopping: BTreeMap::new(),
            restarts: BTreeMap::new(),
            sessions: BTreeMap::new(),
            ended: BTreeMap::new(),
            generation: 0,
            problems: Vec::new(),
            trace: Trace::default(),
            status: watch::Sender::new(None),
            _lock: lock,
        })
    }

    /// Runs until `down`. Nodes go on when the supervisor dies.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let socket = self.folder.socket();
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket)
            .with_context(|| format!("listen on {}", socket.display()))?;
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
        let (commands, mut waiting) = mpsc::channel(COMMANDS_MAX);
        tokio::spawn(accept(listener, commands, self.status.subscribe()));
        loop {
            let rest = self.pass().await;
            let command = tokio::time::timeout(rest, waiting.recv()).await;
            let Ok(Some((request, answer))) = command else {
                continue;
            };
            if let Request::Down { purge } = request {
                let outcome = self.down(purge).await;
                let _ = answer.send(answer_of(outcome.map(|()| self.generation)));
                let _ = std::fs::remove_file(&socket);
                // The answer is on its way through another task.
                tokio::time::sleep(REST_MIN).await;
                return Ok(());
            }
            let outcome = match request {
                Request::Trace => Answer::Trace(self.trace.lines()),
                request => answer_of(self.take(request).await),
            };
            let _ = answer.send(outcome);
        }
    }

    /// Milliseconds since the Unix epoch.
    pub(super) fn now_ms(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// One pass; says how long to rest.
    async fn pass(&mut self) -> Duration {
        let generation = self.generation;
        if self.state.cluster.is_none() {
            self.status.send_replace(Some(Status::default()));
            return REST;
        }
        let before = self.state.clone();
        let world = match self.observe().await {
            Ok(world) => world,
            Err(error) => {
                tracing::error!(%error, "observe_failed");
                self.problems = vec![format!("{error:#}")];
                return REST;
            }
        };
        let plan = plan(&world);
        self.problems = self.restless();
        self.carry_out(&plan).await;
        if let Err(error) = self.write_endpoints(&world) {
            self.problems.push(format!("endpoints: {error:#}"));
        }
        if self.state != before
            && let Err(error) = self.state.save(&self.folder)
        {
            self.problems.push(format!("state: {error:#}"));
        }
        let mut status = self.describe(&world, &plan);
        status.generation = generation;
        status.converged &= self.problems.is_empty();
        self.status.send_replace(Some(status));
        let rest = plan.next_ms.map_or(REST, |at| {
            Duration::from_millis(at.saturating_sub(self.now_ms()))
        });
        rest.clamp(REST_MIN, REST)
    }

    /// Nodes that end again and again.
    fn restless(&self) -> Vec<String> {
        let again = self.failures.iter().filter(|(_, (count, _))| *count > 1);
        again
            .map(|(pod, (count, _))| {
                let log = self.folder.log(pod);
                format!("{pod} ended {count} times in a row; see {}", log.display())
            })
            .collect()
    }

    async fn carry_out(&mut self, plan: &Plan) {
        for step in &plan.steps {
            // One that is taken again and again until it works is one line.
            if self.trace.record(step) {
                tracing::info!(%step, "step_taken");
            }
            if let Err(error) = self.act(step).await {
                tracing::warn!(%step, error = format!("{error:#}"), "step_failed");
                self.problems.push(format!("{step}: {error:#}"));
            }
        }
    }

    async fn take(&mut self, request: Request) -> anyhow::Result<u64> {
        match request {
            Request::Up(objects) => self.up(*objects).await?,
            Request::Patch { name, change } => self.patch(&name, change)?,
            Request::Status | Request::Trace | Request::Down { .. } => {}
        }
        self.state.save(&self.folder)?;
        self.generation += 1;
        Ok(self.generation)
    }

    async fn up(&mut self, objects: Objects) -> anyhow::Result<()> {
        self.check_immutable(&objects)?;
        let state = &mut self.state;
        state.cluster = Some(objects.cluster);
        state.users = objects.users.unwrap_or(state.users);
        state.insecure_loopback = objects.insecure_loopback.unwrap_or(state.insecure_loopback);
        state.endpoints = objects.endpoints.or_else(|| state.endpoints.take());
        let names = |name: Option<String>| name.unwrap_or_default();
        let (mut wanted, mut asked_again) = (Vec::new(), Vec::new());
        for object in objects.backends {
            let name = names(object.metadata.name.clone());
            wanted.push(name.clone());
            match state.backends.get_mut(&name) {
                Some(stored) if stored.object == object => {}
                Some(stored) => {
                    stored.object = object;
                    asked_again.push(name);
                }
                None => {
                    state.backends.insert(name, StoredBackend::new(object));
                }
            }
        }
        for (name, stored) in &mut state.backends {
            if !wanted.contains(name) && !stored.deleting {
                stored.deleting = true;
                asked_again.push(name.clone());
            }
        }
        wanted.clear();
        for object in objects.frontends {
            let name = names(object.metadata.name.clone());
            wanted.push(name.clone());
            state.frontends.insert(
                name,
                StoredFrontend {
                    object,
                    deleting: false,
                },
            );
        }
        for (name, stored) in &mut state.frontends {
            stored.deleting |= !wanted.contains(name);
        }
        self.failures.clear();
        for name in asked_again {
            self.forgive(&name);
        }
        self.client = client(&self.folder, &self.state)?;
        // Accounts come before the first node, which reads them.
        let any = render::pods(&self.state)
            .into_iter()
            .next()
            .context("no pod is wanted")?;
        let text = render::settings(&self.folder, &mut self.state, &any)?;
        let path = self.folder.path().join("accounts-settings.yaml");
        write_secret(&path, text.as_bytes())?;
        accounts::ensure(&self.folder, &mut self.state, &self.binary, &path).await
    }

    fn check_immutable(&self, objects: &Objects) -> anyhow::Result<()> {
        if let Some(old) = &self.state.cluster {
            let new = &objects.cluster;
            anyhow::ensure!(
                old.metadata.name == new.metadata.name,
                "this state folder is of MurderCluster {}",
                old.metadata.name.as_deref().unwrap_or_default()
            );
            anyhow::ensure!(
                old.spec.topology == new.spec.topology,
                "topology cannot be changed"
            );
        }
        for backend in &objects.backends {
            let name = backend.metadata.name.as_deref().unwrap_or_default();
            let Some(old) = self.state.backends.get(name) else {
                continue;
            };
            anyhow::ensure!(
                !old.deleting,
                "Backend {name} is being deleted; wait until it is gone"
            );
        }
        Ok(())
    }

    fn patch(&mut self, name: &str, change: Change) -> anyhow::Result<()> {
        let known = self
            .state
            .backends
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        let stored = self
            .state
            .backends
            .get_mut(name)
            .with_context(|| format!("there is no Backend {name}; known: {known}"))?;
        let deleting = stored.deleting;
        let spec = &mut stored.object.spec;
        match change {
            Change::Delete => stored.deleting = true,
            _ if deleting => {
                anyhow::bail!("Backend {name} is being deleted, which cannot be taken back")
            }
            Change::Activate => spec.desired_state = DesiredState::Active,
            Change::Cordon => spec.desired_state = DesiredState::Cordoned,
            Change::Drain => spec.desired_state = DesiredState::Drained,
        }
        self.forgive(name);
        Ok(())
    }

    /// A Backend was told what to be: transfers that ended before say nothing of what comes.
    fn forgive(&mut self, name: &str) {
        let Some(stored) = self.state.backends.get_mut(name) else {
            return;
        };
        let ended = self.ended.get(&format!("{name}-0"));
        stored.forgiven = ended.cloned().unwrap_or_default();
    }

    /// Stops all nodes, frontends first, the master last.
    async fn down(&mut self, purge: bool) -> anyhow::Result<()> {
        let master = self
            .state
            .cluster
            .as_ref()
            .and_then(|c| c.metadata.name.as_deref());
        let master = render::mupdate_pod(master.unwrap_or_default());
        let is_backend = |pod: &str, state: &State| -> bool {
            pod.strip_suffix("-0")
                .is_some_and(|name| state.backends.contains_key(name))
        };
        let rank = |pod: &str, state: &State| {
            if pod == master {
                2
            } else {
                usize::from(is_backend(pod, state))
            }
        };
        for _ in 0..DOWN_PASSES_MAX {
            let now_ms = self.now_ms();
            self.forget_dead(now_ms);
            let state = &self.state;
            let Some(first) = state.pods.keys().map(|pod| rank(pod, state)).min() else {
                break;
            };
            let next = state.pods.keys().filter(|pod| rank(pod, state) == first);
            for pod in next.cloned().collect::<Vec<_>>() {
                self.stop(&pod).await;
            }
            tokio::time::sleep(REST_MIN).await;
        }
        let left: Vec<&str> = self.state.pods.keys().map(String::as_str).collect();
        anyhow::ensure!(left.is_empty(), "still running: {}", left.join(", "));
        self.state.save(&self.folder)?;
        if purge {
            std::fs::remove_dir_all(self.folder.path()).context("delete the state folder")?;
        }
        Ok(())
    }

    fn describe(&self, world: &World, plan: &Plan) -> Status {
        super::status::describe(&self.state, &self.sessions, &self.problems, world, plan)
    }

    fn write_endpoints(&self, world: &World) -> anyhow::Result<()> {
        let Some(path) = &self.state.endpoints else {
            return Ok(());
        };
        let Some(endpoints) = super::endpoints::endpoints(&self.folder, &self.state, world)? else {
            return Ok(());
        };
        let text = serde_json::to_vec_pretty(&endpoints)?;
        if std::fs::read(path).is_ok_and(|found| found == text) {
            return Ok(());
        }
        write_secret(path, &text)
    }
}

/// The lock of a state folder, with our process in it for people.
fn lock(folder: &Folder) -> anyhow::Result<File> {
    let mut lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.lock())
        .context("make the lock")?;
    // One that is ending has told its caller so, and needs a moment to be gone.
    for _ in 0..LOCK_TRIES_MAX {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_REST),
            locked => {
                locked.context("take the lock")?;
                lock.set_len(0)?;
                writeln!(lock, "{}", std::process::id())?;
                return Ok(lock);
            }
        }
    }
    anyhow::bail!("another supervisor has this state folder")
}

/// A client with the operator's certificate and the present fence.
pub(super) fn client(folder: &Folder, state: &State) -> anyhow::Result<NodeClient> {
    // Before the first `up` the murder has no name, and nothing to call.
    let cluster = state
        .cluster
        .as_ref()
        .and_then(|c| c.metadata.name.as_deref());
    let Some(cluster) = cluster else {
        return certificates::throwaway(Fence::new(state.fence), CALL_LIMIT);
    };
    let identity = Identity {
        cluster,
        role: "operator",
        server: "operator",
        pod: "operator",
    };
    let files = certificates::ensure(&folder.tls(), identity)?;
    let read =
        |path: &PathBuf| std::fs::read(path).with_context(|| format!("read {}", path.display()));
    let client = NodeClient::new(
        &read(&files.certificate)?,
        &read(&files.key)?,
        &read(&files.authority)?,
        Fence::new(state.fence),
        CALL_LIMIT,
    )?;
    Ok(client)
}

fn answer_of(outcome: anyhow::Result<u64>) -> Answer {
    match outcome {
        Ok(generation) => Answer::Accepted { generation },
        Err(error) => Answer::Refused {
            message: format!("{error:#}"),
        },
    }
}
