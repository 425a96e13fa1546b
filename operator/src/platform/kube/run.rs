//! From the options to the end: a Lease, then the controllers of each scope, until the Lease is lost or a signal comes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::context::Context;
use super::controller;
use super::events::Events;
use super::leader::{Election, LEASE_NAME, Leadership, LeaseSettings, identity};
use super::watch::{Scope, start};
use crate::resources::Defaults;
use crate::telemetry::{self, Metrics};

/// How often the process says that it is alive.
const BEAT: Duration = Duration::from_secs(10);
/// How long passes under way may take to end.
const FINISH: Duration = Duration::from_secs(20);

/// How the operator is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespaces to look after; empty is all.
    pub namespaces: Vec<String>,
    /// What MurderClusters leave open.
    pub defaults: Defaults,
    /// Who this process is; a random part is added.
    pub identity: Option<String>,
    /// Namespace of the Lease.
    pub lease_namespace: String,
    /// How long a leader leads without renewing.
    pub lease: Duration,
    /// Where metrics and health are served.
    pub metrics_listen: SocketAddr,
    /// Whether machines may be read.
    pub watch_nodes: bool,
}

/// Runs until SIGTERM or SIGINT. A Lease that was lost is sought again.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let config = Config::infer().await.context("find the API server")?;
    let client = Client::try_from(config).context("make a client of the API server")?;
    let metrics = Arc::new(Metrics::default());
    let listener = TcpListener::bind(options.metrics_listen)
        .await
        .with_context(|| format!("listen on {}", options.metrics_listen))?;
    let served = tokio::spawn(telemetry::serve(listener, Arc::clone(&metrics)));
    let (told, stopping) = watch::channel(false);
    tokio::spawn(async move {
        let outcome = wait_for_signal().await;
        if let Err(error) = outcome {
            tracing::error!(%error, "signals_unavailable");
        }
        told.send_replace(true);
    });
    metrics.beat();
    metrics.set_ready(true);
    let identity = identity(options.identity.as_deref().unwrap_or("murder-operator"))?;
    let settings = LeaseSettings {
        namespace: options.lease_namespace.clone(),
        name: LEASE_NAME.to_owned(),
        identity: identity.clone(),
        duration: options.lease,
    };
    let mut election = Election::new(client.clone(), settings);
    tracing::info!(identity, "operator_started");
    while !*stopping.borrow() {
        if !acquire(&mut election, &metrics, stopping.clone()).await {
            break;
        }
        metrics.set_leader(true);
        tracing::info!(identity, "leading");
        let leadership = election.leadership();
        let work = lead(
            &options,
            &client,
            &identity,
            &metrics,
            &leadership,
            stopping.clone(),
        );
        // Renewing goes on until the last pass has ended.
        let ending = election.run(work).await;
        metrics.set_leader(false);
        tracing::info!(identity, ?ending, "not_leading");
    }
    served.abort();
    Ok(())
}

/// Waits for the Lease; false if we are told to stop before.
async fn acquire(
    election: &mut Election,
    metrics: &Metrics,
    mut stopping: watch::Receiver<bool>,
) -> bool {
    loop {
        metrics.beat();
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => break,
            () = election.acquire() => return true,
            () = tokio::time::sleep(BEAT) => {}
        }
    }
    if let Err(error) = election.resign().await {
        tracing::warn!(%error, "lease_not_given_back");
    }
    false
}

/// Acts until the Lease is lost or we are told to stop, and lets passes under way finish.
async fn lead(
    options: &Options,
    client: &Client,
    identity: &str,
    metrics: &Arc<Metrics>,
    leadership: &Leadership,
    mut stopping: watch::Receiver<bool>,
) {
    let (end, ended) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut watches = JoinSet::new();
    let scopes = match &options.namespaces[..] {
        [] => vec![Scope(None)],
        namespaces => namespaces.iter().map(|n| Scope(Some(n.clone()))).collect(),
    };
    for scope in scopes {
        let (stores, streams) = start(client, &scope, options.watch_nodes, &mut watches);
        let context = Context::new(
            client.clone(),
            stores,
            options.defaults.clone(),
            leadership.clone(),
            Events::new(client.clone(), identity),
            Arc::clone(metrics),
        );
        tasks.spawn(controller::run(Arc::new(context), streams, ended.clone()));
    }
    let mut held = leadership.watch();
    loop {
        metrics.beat();
        tokio::select! {
            _ = held.wait_for(|held| !*held) => break,
            _ = stopping.wait_for(|stopping| *stopping) => break,
            () = tokio::time::sleep(BEAT) => {}
        }
    }
    end.send_replace(true);
    // A pass that does not hold the Lease any more ends at its next step.
    let finish = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(FINISH, finish).await.is_err() {
        tracing::warn!("passes_cut_off");
    }
    tasks.abort_all();
    watches.abort_all();
}

async fn wait_for_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
