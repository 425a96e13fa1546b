//! The controllers of one scope: murders, and Backends and Frontends whose murder does not exist.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::Resource;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use tokio::sync::watch;

use super::context::Context;
use super::watch::Streams;
use super::{claims, orphans, pass};
use crate::crd::{Backend, Frontend, MurderCluster};

/// Murders looked at at a time.
const CONCURRENCY: u16 = 8;
/// How long changes that follow each other wait for one pass.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// How often an object without a murder is looked at.
const ORPHAN_REST: Duration = Duration::from_secs(60);
/// Longest pass: all calls in it have limits of their own, this one is for their sum.
const PASS_LIMIT: Duration = Duration::from_secs(300);

/// Why a pass failed, with its whole chain of causes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct PassError(String);

/// Runs the controllers until `ended` says so, then lets passes under way finish.
pub(super) async fn run(context: Arc<Context>, streams: Streams, ended: watch::Receiver<bool>) {
    let Streams {
        clusters,
        backends,
        frontends,
        triggers,
        orphaned: [gone_backends, gone_frontends],
    } = streams;
    let end = |mut ended: watch::Receiver<bool>| async move {
        // An error means that whoever could say so is gone.
        let _ = ended.wait_for(|ended| *ended).await;
    };
    let config = || {
        Config::default()
            .concurrency(CONCURRENCY)
            .debounce(DEBOUNCE)
    };
    let stores = &context.stores;
    let murders = Controller::for_stream(clusters, stores.clusters.clone())
        .with_config(config())
        .reconcile_on(triggers)
        .graceful_shutdown_on(end(ended.clone()))
        .run(murder, failed("MurderCluster"), Arc::clone(&context))
        .for_each(|_| std::future::ready(()));
    let backends = Controller::for_stream(backends, stores.backends.clone())
        .with_config(config())
        .reconcile_all_on(gone_backends)
        .graceful_shutdown_on(end(ended.clone()))
        .run(backend, failed("Backend"), Arc::clone(&context))
        .for_each(|_| std::future::ready(()));
    let frontends = Controller::for_stream(frontends, stores.frontends.clone())
        .with_config(config())
        .reconcile_all_on(gone_frontends)
        .graceful_shutdown_on(end(ended.clone()))
        .run(frontend, failed("Frontend"), Arc::clone(&context))
        .for_each(|_| std::future::ready(()));
    let sweeping = sweep(Arc::clone(&context), ended);
    tokio::join!(murders, backends, frontends, sweeping);
}

/// Looks now and then for claims that nobody looks after.
async fn sweep(context: Arc<Context>, mut ended: watch::Receiver<bool>) {
    loop {
        let look = async {
            tokio::time::sleep(ORPHAN_REST).await;
            claims::sweep(&context).await
        };
        let outcome = tokio::select! {
            _ = ended.wait_for(|ended| *ended) => return,
            outcome = look => outcome,
        };
        if let Err(error) = outcome {
            tracing::warn!(error = format!("{error:#}"), "claims_not_swept");
        }
    }
}

async fn murder(object: Arc<MurderCluster>, context: Arc<Context>) -> Result<Action, PassError> {
    let name = full_name(object.as_ref());
    let started = Instant::now();
    // Boxed: a pass is one large future, of which many wait.
    let pass = Box::pin(pass::pass(&context, object));
    let outcome = tokio::time::timeout(PASS_LIMIT, pass).await;
    context
        .metrics
        .reconciled("MurderCluster", started.elapsed());
    match outcome {
        Ok(Ok(rest)) => {
            context.succeeded("MurderCluster", &name);
            Ok(Action::requeue(rest))
        }
        Ok(Err(error)) => Err(PassError(format!("{error:#}"))),
        Err(_) => Err(PassError(format!("a pass took more than {PASS_LIMIT:?}"))),
    }
}

async fn backend(object: Arc<Backend>, context: Arc<Context>) -> Result<Action, PassError> {
    let outcome = orphans::backend(&context, &object).await;
    orphan_action(&context, "Backend", object.as_ref(), outcome)
}

async fn frontend(object: Arc<Frontend>, context: Arc<Context>) -> Result<Action, PassError> {
    let outcome = orphans::frontend(&context, &object).await;
    orphan_action(&context, "Frontend", object.as_ref(), outcome)
}

fn orphan_action(
    context: &Context,
    kind: &'static str,
    object: &impl kube::ResourceExt,
    outcome: anyhow::Result<bool>,
) -> Result<Action, PassError> {
    match outcome {
        Ok(orphan) => {
            context.succeeded(kind, &full_name(object));
            Ok(match orphan {
                true => Action::requeue(ORPHAN_REST),
                false => Action::await_change(),
            })
        }
        Err(error) => Err(PassError(format!("{error:#}"))),
    }
}

fn full_name(object: &impl kube::ResourceExt) -> String {
    let namespace = object.namespace().unwrap_or_default();
    format!("{namespace}/{}", object.name_any())
}

/// What follows a failed pass: the object rests, longer each time.
fn failed<K: Resource<DynamicType = ()>>(
    kind: &'static str,
) -> impl Fn(Arc<K>, &PassError, Arc<Context>) -> Action {
    move |object, error, context| {
        let name = full_name(object.as_ref());
        let rest = context.failed(kind, &name);
        context.metrics.failed(kind);
        tracing::warn!(kind, object = name, %error, rest = ?rest, "reconcile_failed");
        Action::requeue(rest)
    }
}
