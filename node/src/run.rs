//! A node from its settings to its end.

mod leave;
mod listen;
mod roles;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use murder_api::Settings;
use murder_api::settings::Role;
use murder_locations::master::MasterError;
use murder_store::engine::{Partition, PartitionOptions, RealDisk};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::accounts::{Accounts, FileAccounts};
use crate::backend::partition;
use crate::backend::partition::{PartitionHandle, PartitionThread};
use crate::directory::replica::ReplicaThread;
use crate::mupdate::master::MasterThread;
use crate::net::tls::TlsFiles;
use crate::net::{Tls, listener};
use crate::server_state::ServerState;
use crate::stop::{Phase, Sessions};
use crate::telemetry::{Health, Metrics, Sources, health};
use crate::volume;
use leave::{Signals, leave};

/// How long what runs in the background may take to end, once no session is left.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What all roles have.
struct Base {
    settings: Arc<Settings>,
    accounts: Arc<dyn Accounts>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    sources: Arc<Sources>,
    state: Arc<ServerState>,
    tls: Option<Tls>,
    /// For mail: whether connections are taken, whether sessions go on.
    phase: watch::Receiver<Phase>,
    sessions: Sessions,
    /// For everything else, when nobody is served any more.
    stopping: watch::Receiver<bool>,
}

/// What runs until the node is told to stop.
#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    partitions: Vec<PartitionThread>,
    replica: Option<ReplicaThread>,
    master: Option<MasterThread>,
    master_failure: Option<oneshot::Receiver<MasterError>>,
}

/// Runs a node until it is told to stop (SIGTERM or SIGINT).
pub async fn run(settings: Settings) -> Result<()> {
    let settings = Arc::new(settings);
    let mut signals = Signals::listen()?;
    let (phase_told, phase) = watch::channel(Phase::Serving);
    let (stop, stopping) = watch::channel(false);
    let state = ServerState::open(&settings.data_dir)
        .with_context(|| format!("cannot use {}", settings.data_dir.display()))?;
    let base = Base {
        accounts: Arc::new(FileAccounts::open(&settings.accounts)?),
        metrics: Arc::new(Metrics::of_node(&settings)),
        sources: Arc::default(),
        health: Arc::new(Health::default()),
        state: Arc::new(state),
        tls: load_tls(&settings)?,
        phase,
        sessions: Sessions::default(),
        stopping,
        settings,
    };
    let mut running = Running::default();
    // A node may be told to stop while it waits for the master.
    let started = tokio::select! {
        biased;
        () = signals.next() => Ok(false),
        started = start(&base, &mut running) => started.map(|()| true),
    };
    let outcome = match started {
        Ok(true) => serve(&base, &mut running, &mut signals).await,
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    let at_once = outcome.is_err() || base.settings.role == Role::Mupdate;
    let settings = base.settings.stop;
    leave(settings, &phase_told, &base.sessions, &mut signals, at_once).await;
    // Nobody listens any more if all tasks ended by themselves.
    let _ended = stop.send(true);
    running.stop().await?;
    tracing::info!(event = "node_stopped", name = %base.settings.name);
    outcome
}

async fn start(base: &Base, running: &mut Running) -> Result<()> {
    serve_metrics(base, running).await?;
    if let Some(tls) = &base.tls {
        // Nobody else sets it.
        let _first = base.sources.tls.set(tls.clone());
        let fresh = tls.clone().keep_fresh(base.stopping.clone());
        running.tasks.spawn(fresh);
    }
    match base.settings.role {
        Role::Mupdate => roles::mupdate(base, running).await,
        Role::Backend => roles::backend(base, running).await.map(|_| ()),
        Role::Frontend => roles::frontend(base, running).await,
        Role::Unified => roles::unified(base, running).await,
    }
}

/// Serves until the node is told to stop, or cannot go on.
async fn serve(base: &Base, running: &mut Running, signals: &mut Signals) -> Result<()> {
    let (name, role) = (&base.settings.name, base.settings.role);
    base.health.set_ready(true);
    tracing::info!(event = "node_ready", %name, ?role);
    let outcome = tokio::select! {
        () = signals.next() => Ok(()),
        error = failed(running.master_failure.take()) => {
            Err(error).context("the location database has failed; what it answers is worth nothing")
        }
    };
    tracing::info!(event = "node_stopping", %name);
    base.health.set_ready(false);
    outcome
}

/// Waits for the master to stop by itself; for ever where there is none.
async fn failed(failure: Option<oneshot::Receiver<MasterError>>) -> MasterError {
    if let Some(failure) = failure
        && let Ok(error) = failure.await
    {
        return error;
    }
    std::future::pending().await
}

impl Running {
    async fn stop(mut self) -> Result<()> {
        let ended = tokio::time::timeout(STOP_PATIENCE, async {
            while self.tasks.join_next().await.is_some() {}
        });
        let _patience = ended.await;
        self.tasks.abort_all();
        let threads = tokio::task::spawn_blocking(move || {
            self.partitions.into_iter().for_each(PartitionThread::stop);
            self.replica.into_iter().for_each(ReplicaThread::stop);
            self.master.into_iter().for_each(MasterThread::stop);
        });
        Ok(threads.await?)
    }
}

async fn serve_metrics(base: &Base, running: &mut Running) -> Result<()> {
    let Some(address) = &base.settings.listeners.metrics else {
        return Ok(());
    };
    let listener = listener::bind("metrics", address).await?;
    running.tasks.spawn(flatten(health::serve(
        listener,
        Arc::clone(&base.metrics),
        Arc::clone(&base.sources),
        Arc::clone(&base.health),
        base.stopping.clone(),
    )));
    Ok(())
}

async fn flatten(task: impl Future<Output = io::Result<()>>) {
    if let Err(error) = task.await {
        tracing::error!(event = "metrics_failed", %error);
    }
}

fn load_tls(settings: &Settings) -> Result<Option<Tls>> {
    let Some(files) = &settings.tls else {
        return Ok(None);
    };
    let node = TlsFiles {
        certificate: &files.certificate,
        key: &files.key,
        ca: &files.ca,
    };
    let public = settings
        .public_tls
        .as_ref()
        .map(|files| (files.certificate.as_path(), files.key.as_path()));
    Ok(Some(Tls::load(node, public)?))
}

async fn open_partitions(base: &Base, running: &mut Running) -> Result<Vec<Arc<PartitionHandle>>> {
    let settings = &base.settings;
    let mut handles = Vec::new();
    for setting in &settings.partitions {
        let path = settings.partition_path(setting);
        let options = options(settings, &path, setting.index_path.as_deref());
        let opened = tokio::task::spawn_blocking(move || {
            Partition::open(Arc::new(RealDisk::with_space_probe(volume::space)), options)
        });
        let (partition, report) = opened.await?.with_context(|| {
            format!(
                "cannot open partition {} in {}",
                setting.name,
                path.display()
            )
        })?;
        tracing::info!(event = "partition_opened", partition = %setting.name, ?report);
        let (handle, thread) = partition::start(setting.name.as_str(), partition, &base.metrics)?;
        handles.push(handle);
        running.partitions.push(thread);
    }
    Ok(handles)
}

fn options(settings: &Settings, path: &Path, index: Option<&Path>) -> PartitionOptions {
    let store = &settings.store;
    PartitionOptions {
        index_directory: index.map(Path::to_owned),
        segment_bytes: store.segment_bytes,
        checkpoint_interval: Duration::from_millis(store.checkpoint_interval_ms),
        checkpoint_bytes: store.checkpoint_bytes,
        cache_bytes: usize::try_from(store.index_cache_bytes).unwrap_or(usize::MAX),
        reserve_percent: store.reserve_percent,
        reserve_bytes: store.reserve_bytes,
        ..PartitionOptions::new(path)
    }
}
