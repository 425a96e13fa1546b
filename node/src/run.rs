//! A node from its settings to its end.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use murder_api::Settings;
use murder_api::settings::Role;
use murder_proto::imap::server::Limits;
use murder_store::engine::{Partition, PartitionOptions, RealDisk};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::accounts::FileAccounts;
use crate::backend::partition::{PartitionHandle, PartitionThread};
use crate::backend::{Backend, imap, lmtp, partition};
use crate::imap::login::LoginContext;
use crate::imap::{End, Wire, login};
use crate::net::tls::TlsFiles;
use crate::net::{Stream, Tls, listener};
use crate::server_state::ServerState;
use crate::telemetry::{Health, Metrics, health};
use crate::volume;

/// How long sessions may finish what they are doing once the node is told to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Runs a node until it is told to stop (SIGTERM or SIGINT).
pub async fn run(settings: Settings) -> Result<()> {
    if settings.role != Role::Unified || settings.mupdate.is_some() {
        bail!(
            "role {:?} with a mupdate master is not in this version",
            settings.role
        );
    }
    let settings = Arc::new(settings);
    let (stop, stopping) = watch::channel(false);
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::default());
    let tls = load_tls(&settings)?;
    let accounts = Arc::new(FileAccounts::open(&settings.accounts)?);
    std::fs::create_dir_all(settings.data_dir.join("spool"))
        .with_context(|| format!("cannot make {}", settings.data_dir.join("spool").display()))?;
    let mut tasks = JoinSet::new();
    if let Some(address) = &settings.listeners.metrics {
        let listener = listener::bind("metrics", address).await?;
        tasks.spawn(flatten(health::serve(
            listener,
            Arc::clone(&metrics),
            Arc::clone(&health),
            stopping.clone(),
        )));
    }
    let state = Arc::new(ServerState::open(&settings.data_dir)?);
    let (partitions, threads) = open_partitions(&settings, &metrics).await?;
    let backend = Backend::open(
        Arc::clone(&settings),
        Arc::clone(&accounts),
        Arc::clone(&metrics),
        state,
        None,
        partitions,
    )?;
    let node = Arc::new(Node {
        backend: Arc::new(backend),
        login: LoginContext {
            settings: Arc::clone(&settings),
            accounts,
            tls: tls.clone(),
            metrics: Arc::clone(&metrics),
        },
        tls,
    });
    listen(&settings, &node, &stopping, &mut tasks).await?;
    health.set_ready(true);
    tracing::info!(event = "node_ready", name = %settings.name, role = ?settings.role);
    wait_for_signal().await?;
    tracing::info!(event = "node_stopping", name = %settings.name);
    health.set_ready(false);
    // Nobody listens any more if all tasks ended by themselves.
    let _ended = stop.send(true);
    let ended = tokio::time::timeout(STOP_PATIENCE, async {
        while tasks.join_next().await.is_some() {}
    });
    let _patience = ended.await;
    tokio::task::spawn_blocking(move || threads.into_iter().for_each(PartitionThread::stop))
        .await?;
    tracing::info!(event = "node_stopped", name = %settings.name);
    Ok(())
}

/// What sessions share.
struct Node {
    backend: Arc<Backend>,
    login: LoginContext,
    tls: Option<Tls>,
}

async fn listen(
    settings: &Settings,
    node: &Arc<Node>,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<()> {
    if let Some(address) = &settings.listeners.lmtp {
        let socket = listener::bind("LMTP", address).await?;
        let (node, max) = (Arc::clone(node), settings.lmtp.sessions_max);
        let refusal = b"421 4.3.2 too many sessions\r\n";
        tasks.spawn(listener::serve(
            socket,
            max,
            refusal,
            stopping.clone(),
            move |socket, peer| {
                let node = Arc::clone(&node);
                async move {
                    let backend = Arc::clone(&node.backend);
                    let stream = Stream::Plain(socket);
                    let served = lmtp::serve(backend, node.tls.clone(), stream, Some(peer), None);
                    ended("lmtp", served.await);
                }
            },
        ));
    }
    for (address, encrypted) in [
        (&settings.listeners.imap, false),
        (&settings.listeners.imaps, true),
    ] {
        let Some(address) = address else { continue };
        let socket = listener::bind("IMAP", address).await?;
        let (node, max) = (Arc::clone(node), settings.imap.sessions_max);
        let refusal = b"* BYE [UNAVAILABLE] too many sessions\r\n";
        tasks.spawn(listener::serve(
            socket,
            max,
            refusal,
            stopping.clone(),
            move |socket, _| {
                let node = Arc::clone(&node);
                async move { ended("imap", serve_imap(&node, socket, encrypted).await) }
            },
        ));
    }
    Ok(())
}

async fn serve_imap(node: &Node, socket: TcpStream, encrypted: bool) -> Result<(), End> {
    let _counted = node.backend.metrics.session("imap");
    let settings = &node.login.settings;
    let patience = Duration::from_secs(settings.imap.login_seconds_max);
    let (stream, identity) = match (&node.tls, encrypted) {
        (Some(tls), true) => tokio::time::timeout(patience, tls.accept_public(socket))
            .await
            .map_err(|_| End::Idle)??,
        (None, true) => return Err(End::Closed),
        (_, false) => (Stream::Plain(socket), None),
    };
    let mut wire = Wire::new(stream, Limits::BEFORE_LOGIN, patience);
    let logged_in =
        tokio::time::timeout(patience, login(&mut wire, &node.login, identity.as_ref()));
    let identity = match logged_in.await {
        Ok(Ok(identity)) => identity,
        Ok(Err(end)) => {
            wire.close().await;
            return Err(end);
        }
        Err(_) => {
            wire.bye("log in sooner").await;
            return Err(End::Idle);
        }
    };
    wire.silence_max = Duration::from_secs(settings.imap.idle_seconds_max);
    imap::serve(Arc::clone(&node.backend), wire, identity).await
}

fn ended(protocol: &'static str, end: Result<(), End>) {
    match end {
        Ok(()) | Err(End::Closed | End::Logout | End::Idle) => {}
        Err(error) => tracing::debug!(event = "session_failed", protocol, %error),
    }
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

type Partitions = (Vec<Arc<PartitionHandle>>, Vec<PartitionThread>);

async fn open_partitions(settings: &Settings, metrics: &Metrics) -> Result<Partitions> {
    let mut handles = Vec::new();
    let mut threads = Vec::new();
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
        let (handle, thread) = partition::start(setting.name.as_str(), partition, metrics)?;
        handles.push(handle);
        threads.push(thread);
    }
    Ok((handles, threads))
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

async fn wait_for_signal() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
