//! What each role starts, in order: stores, the master's word, listeners.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use murder_locations::master::{Master, MasterOptions};
use tokio::time::timeout;

use super::listen::{self, Mail, ended};
use super::{Base, Running, open_partitions};
use crate::admin::BackendPart;
use crate::backend::{Backend, forward, membership, publish};
use crate::directory::{Directory, replica};
use crate::frontend::{Frontend, Router};
use crate::maintenance;
use crate::mupdate::{self, Server, master};
use crate::net::listener;
use crate::stop::stopped;
use crate::transfer::Transfers;

/// A server that cannot reach the master serves after so long what its own records say it owns.
const MASTER_PATIENCE: Duration = Duration::from_secs(10);
/// A frontend that cannot reach the master serves after so long what its replica says.
const REPLICA_PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn mupdate(base: &Base, running: &mut Running) -> Result<()> {
    let settings = &base.settings;
    let Some(address) = &settings.listeners.mupdate else {
        bail!("the role mupdate needs `listeners.mupdate`");
    };
    let path = settings.data_dir.join("locations.redb");
    let opened = tokio::task::spawn_blocking({
        let path = path.clone();
        move || Master::open(&path, MasterOptions::default())
    });
    let database = opened
        .await?
        .with_context(|| format!("cannot open {}", path.display()))?;
    let (handle, thread, failure) = master::start(database, &base.metrics)?;
    running.master = Some(thread);
    running.master_failure = Some(failure);
    listen::admin(base, running, None, Some(handle.clone())).await?;
    let server = Arc::new(Server {
        settings: Arc::clone(settings),
        accounts: Some(Arc::clone(&base.accounts)),
        tls: base.tls.clone(),
        master: handle,
        metrics: Arc::clone(&base.metrics),
    });
    let socket = listener::bind("MUPDATE", address).await?;
    let refusal = b"* BYE \"too many sessions\"\r\n";
    let stopping = base.stopping.clone();
    running.tasks.spawn(listener::serve(
        socket,
        mupdate::SESSIONS_MAX,
        refusal,
        stopping,
        move |socket, _| {
            let server = Arc::clone(&server);
            async move { ended("mupdate", server.serve(socket).await) }
        },
    ));
    Ok(())
}

/// A backend of a murder, or what a unified node holds.
pub(super) async fn backend(base: &Base, running: &mut Running) -> Result<Arc<Backend>> {
    let directory = directory(base, None)?;
    let backend = open_backend(base, running, Some(directory.clone())).await?;
    join(base, running, &backend, directory).await?;
    listen::mail(base, running, Mail::Backend(Arc::clone(&backend))).await?;
    Ok(backend)
}

pub(super) async fn frontend(base: &Base, running: &mut Running) -> Result<()> {
    listen::admin(base, running, None, None).await?;
    let frontend = open_frontend(base, running, None).await?;
    listen::mail(base, running, Mail::Frontend(frontend)).await
}

pub(super) async fn unified(base: &Base, running: &mut Running) -> Result<()> {
    if base.settings.mupdate.is_none() {
        let backend = open_backend(base, running, None).await?;
        for partition in backend.partitions() {
            let (partition, stopping) = (Arc::clone(partition), base.stopping.clone());
            running.tasks.spawn(publish::discard(partition, stopping));
        }
        running
            .tasks
            .spawn(forward::resume(Arc::clone(&backend), base.stopping.clone()));
        let part = BackendPart {
            backend: Arc::clone(&backend),
            transfers: None,
        };
        listen::admin(base, running, Some(part), None).await?;
        return listen::mail(base, running, Mail::Backend(backend)).await;
    }
    let (handle, thread) = replica::start(&base.settings.data_dir)?;
    running.replica = Some(thread);
    let directory = directory(base, Some(handle.clone()))?;
    let backend = open_backend(base, running, Some(directory.clone())).await?;
    join(base, running, &backend, directory.clone()).await?;
    let router = Router::new(Arc::clone(&base.settings), directory, handle);
    let frontend = make_frontend(base, router, Some(Arc::clone(&backend))).await?;
    listen::mail(base, running, Mail::Unified(backend, frontend)).await
}

fn directory(base: &Base, replica: Option<replica::ReplicaHandle>) -> Result<Directory> {
    let tls = base
        .tls
        .as_ref()
        .context("a node of a murder needs `tls`")?;
    let stopping = base.stopping.clone();
    let started = Directory::start(&base.settings, tls, replica.clone(), stopping);
    let directory = started.context("a node of a murder needs `mupdate`")?;
    // A node has one of each.
    let _first = base.sources.directory.set(directory.clone());
    if let Some(replica) = replica {
        let _first = base.sources.replica.set(replica);
    }
    Ok(directory)
}

/// The mailboxes of this node, and the task that forgets what is old.
async fn open_backend(
    base: &Base,
    running: &mut Running,
    directory: Option<Directory>,
) -> Result<Arc<Backend>> {
    let spool = base.settings.data_dir.join("spool");
    std::fs::create_dir_all(&spool).with_context(|| format!("cannot make {}", spool.display()))?;
    let partitions = open_partitions(base, running).await?;
    let backend = Backend::open(
        Arc::clone(&base.settings),
        Arc::clone(&base.accounts),
        Arc::clone(&base.metrics),
        Arc::clone(&base.state),
        directory,
        partitions,
    )?;
    let backend = Arc::new(backend);
    let _first = base.sources.backend.set(Arc::clone(&backend));
    let stopping = base.stopping.clone();
    running
        .tasks
        .spawn(maintenance::run(Arc::clone(&backend), stopping));
    Ok(backend)
}

/// Reports to the master and keeps it told. A restored volume is noticed before it is served, as long
/// as the master can be reached.
async fn join(
    base: &Base,
    running: &mut Running,
    backend: &Arc<Backend>,
    directory: Directory,
) -> Result<()> {
    let stopping = || base.stopping.clone();
    running.tasks.spawn(membership::run(
        Arc::clone(backend),
        directory.clone(),
        stopping(),
    ));
    for partition in backend.partitions() {
        let (backend, partition) = (Arc::clone(backend), Arc::clone(partition));
        let directory = directory.clone();
        running
            .tasks
            .spawn(publish::run(backend, partition, directory, stopping()));
    }
    let tls = base.tls.clone().context("a backend needs `tls`")?;
    backend.forwarding.set_tls(tls.clone());
    let transfers = Transfers::new(Arc::clone(backend), tls);
    backend.set_transfers(&transfers);
    running.tasks.spawn(Arc::clone(&transfers).run(stopping()));
    running
        .tasks
        .spawn(forward::resume(Arc::clone(backend), stopping()));
    listen::peers(base, running, backend, &transfers).await?;
    let part = BackendPart {
        backend: Arc::clone(backend),
        transfers: Some(transfers),
    };
    listen::admin(base, running, Some(part), None).await?;
    let mut reports = backend.membership.reports();
    let reported = reports.wait_for(|count| *count > 0);
    if timeout(MASTER_PATIENCE, reported).await.is_err() {
        if backend.membership.is_blocked() {
            tracing::error!(event = "serving_nothing_until_confirmed");
        } else {
            tracing::warn!(event = "serving_without_master");
        }
    }
    Ok(())
}

async fn open_frontend(
    base: &Base,
    running: &mut Running,
    local: Option<Arc<Backend>>,
) -> Result<Arc<Frontend>> {
    let (handle, thread) = replica::start(&base.settings.data_dir)?;
    running.replica = Some(thread);
    let directory = directory(base, Some(handle.clone()))?;
    let router = Router::new(Arc::clone(&base.settings), directory, handle);
    make_frontend(base, router, local).await
}

/// A frontend, once its replica is complete: a new one waits for that as long as it takes, an old one
/// is used as it is if the master cannot be reached.
async fn make_frontend(
    base: &Base,
    router: Router,
    local: Option<Arc<Backend>>,
) -> Result<Arc<Frontend>> {
    let mut stopping = base.stopping.clone();
    let replica = router.replica().clone();
    let mut positions = replica.positions();
    tokio::select! {
        complete = positions.wait_for(|position| position.term.get() > 0) => {
            complete.context("the replica has stopped")?;
        }
        () = stopped(&mut stopping) => bail!("stopped before the replica was complete"),
    }
    // Whatever happened while this node was down is heard of first, if it can be.
    if timeout(REPLICA_PATIENCE, router.refresh()).await.is_err() {
        tracing::warn!(event = "serving_without_master");
    }
    Ok(Arc::new(Frontend {
        settings: Arc::clone(&base.settings),
        accounts: Arc::clone(&base.accounts),
        metrics: Arc::clone(&base.metrics),
        tls: base.tls.clone().context("a frontend needs `tls`")?,
        router,
        local,
    }))
}
