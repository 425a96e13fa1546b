//! The run: make a murder of the wished size, wait until it serves, let it rest, change it, and say what that took.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::admin::{Certificates, serve};
use super::api::Api;
use super::audit::{Audit, Requests};
use super::board::{Board, condition};
use super::kubelet::Kubelet;
use super::nodes::Nodes;
use super::operator::{Memory, Operator};
use super::trials::{self, Trial, backend, frontend, is_at_rest};
use crate::console::Console;
use crate::kube::OPERATOR_NAMESPACE;

/// Where the murder is made.
const NAMESPACE: &str = "mail";
/// Name of the murder.
pub(super) const CLUSTER: &str = "mc";
/// Time between two looks at how far the murder is.
const LOOK: Duration = Duration::from_secs(1);

/// Longest that a change may take.
const CHANGE_MAX: Duration = Duration::from_secs(1);
/// Most memory of the operator, in KiB.
const MEMORY_MAX: u64 = 150 << 10;
/// Most requests each second at rest.
const REQUESTS_MAX: f64 = 1.0;

/// What is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Backends.
    pub backends: usize,
    /// Frontends.
    pub frontends: usize,
    /// Pods of each Frontend.
    pub replicas: u32,
    /// Users on each Backend.
    pub units: usize,
    /// Tries of each change.
    pub tries: usize,
    /// How long the murder rests while requests are counted.
    pub rest: Duration,
    /// How long it may take until all serves.
    pub limit: Duration,
    /// The operator's program.
    pub operator: PathBuf,
    /// Kubeconfig of the operator.
    pub operator_kubeconfig: PathBuf,
    /// Kubeconfig of the one who plays all others.
    pub kubeconfig: PathBuf,
    /// First two numbers of the pods' addresses.
    pub network: [u8; 2],
    /// The audit log of the API server, which has the operator's requests.
    pub audit_log: PathBuf,
    /// Folder of logs.
    pub logs: PathBuf,
}

/// What a trial needs.
pub(super) struct Stage {
    pub(super) api: Api,
    pub(super) board: Arc<Board>,
    pub(super) nodes: Arc<Nodes>,
    pub(super) backends: usize,
    pub(super) frontends: usize,
    pub(super) replicas: u32,
}

impl Stage {
    /// A number in an object's spec.
    pub(super) fn number(&self, kind: &'static str, name: &str, field: &str) -> u64 {
        let mut number = 0;
        self.board.holds(kind, name, |object| {
            number = object["spec"][field].as_u64().unwrap_or(0);
            true
        });
        number
    }

    /// Path of the custom resources.
    pub(super) fn resources(&self) -> String {
        format!("/apis/murder.rs/v1alpha1/namespaces/{NAMESPACE}")
    }
}

/// What the operator does when nothing happens.
struct Rest {
    seconds: f64,
    requests: Requests,
    calls: u64,
    cpu: f64,
    passes: (f64, f64),
}

/// Runs; true if the operator kept within its limits.
pub async fn run(options: &Options) -> Result<bool> {
    let console = Console::default();
    let stage = prepare(options).await?;
    let begun = Instant::now();
    let log = options.logs.join("operator.log");
    let mut operator = Operator::start(&options.operator, &options.operator_kubeconfig, &log)?;
    converge(&console, &stage, &mut operator, options.limit).await?;
    let converged = begun.elapsed();
    let after_start = operator.memory()?;
    console.say(&format!(
        "all serves after {:.1} s",
        converged.as_secs_f64()
    ));
    // What the last changes have set going ends first.
    sleep(options.rest / 2).await;
    let rest = at_rest(&stage, &operator, options).await?;
    let passes = operator.passes().await?;
    let trials = trials::all(&stage, options.tries).await?;
    let passes_after = operator.passes().await?;
    let in_trials = (passes_after.0 - passes.0, passes_after.1 - passes.1);
    operator.is_alive()?;
    let memory = operator.memory()?;
    report(
        &console,
        options,
        converged,
        after_start,
        memory,
        &rest,
        &trials,
    );
    let mean = in_trials.1 / in_trials.0.max(1.0);
    console.say(&format!(
        "passes during the changes: {:.0}, {:.0} ms each",
        in_trials.0,
        mean * 1000.0
    ));
    let slow = trials.iter().any(|trial| trial.worst() > CHANGE_MAX);
    let large = memory.most > MEMORY_MAX;
    let busy = rest.requests.count() as f64 / rest.seconds > REQUESTS_MAX;
    for (missed, what) in [
        (slow, "a change took more than a second"),
        (large, "the operator took more than 150 MiB"),
        (busy, "more than one request a second at rest"),
    ] {
        if missed {
            console.say(&format!("MISSED: {what}"));
        }
    }
    Ok(!(slow || large || busy))
}

/// Plays the rest of the cluster, and makes the objects of the murder.
async fn prepare(options: &Options) -> Result<Stage> {
    let api = Api::of(&options.kubeconfig)?;
    let nodes = Arc::new(Nodes::default());
    let certificates = Arc::new(Certificates::default());
    serve(Arc::clone(&nodes), Arc::clone(&certificates)).await?;
    for name in [NAMESPACE, OPERATOR_NAMESPACE] {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        api.create("/api/v1/namespaces", &namespace).await?;
        let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        // Without it the first pods are refused.
        while api.get(&account).await?.is_none() {
            sleep(Duration::from_millis(100)).await;
        }
    }
    let kubelet = Kubelet::new(
        api.clone(),
        NAMESPACE,
        options.network,
        options.units,
        Arc::clone(&nodes),
        certificates,
    );
    kubelet.start().await?;
    let custom = format!("/apis/murder.rs/v1alpha1/namespaces/{NAMESPACE}");
    let mut kinds = ["murderclusters", "backends", "frontends"]
        .map(|kind| (kind, format!("{custom}/{kind}")))
        .to_vec();
    let deployments = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
    kinds.push(("deployments", deployments));
    let board = Board::follow(&api, &kinds);
    let stage = Stage {
        api,
        board,
        nodes,
        backends: options.backends,
        frontends: options.frontends,
        replicas: options.replicas,
    };
    make(&stage).await?;
    Ok(stage)
}

async fn make(stage: &Stage) -> Result<()> {
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "murder.rs/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let path = stage.resources();
    let cluster = object("MurderCluster", CLUSTER, json!({}));
    let clusters = format!("{path}/murderclusters");
    stage.api.create(&clusters, &cluster).await?;
    let of = json!({"name": CLUSTER});
    for index in 0..stage.backends {
        let object = object("Backend", &backend(index), json!({"clusterRef": of}));
        stage
            .api
            .create(&format!("{path}/backends"), &object)
            .await?;
    }
    for index in 0..stage.frontends {
        let spec = json!({"clusterRef": of, "replicas": stage.replicas});
        let object = object("Frontend", &frontend(index), spec);
        stage
            .api
            .create(&format!("{path}/frontends"), &object)
            .await?;
    }
    Ok(())
}

async fn converge(
    console: &Console,
    stage: &Stage,
    operator: &mut Operator,
    limit: Duration,
) -> Result<()> {
    let begun = Instant::now();
    let total = stage.backends + stage.frontends;
    let is_ready = |object: &Value| condition(object, "Ready").is_some_and(|(is, _)| is == "True");
    console.begin("ready", total as u64);
    loop {
        operator.is_alive()?;
        let (backends, frontends) = (
            stage.board.count("backends", is_ready),
            stage.board.count("frontends", is_ready),
        );
        let memory = operator.memory()?;
        let detail = format!(
            "after {} s, {} MiB",
            begun.elapsed().as_secs(),
            memory.now >> 10
        );
        console.progress("ready", (backends + frontends) as u64, &detail);
        // What an earlier run left is believed once this operator has looked.
        let looked = operator.passes().await.is_ok_and(|(count, _)| count >= 1.0);
        if looked && backends + frontends == total && is_at_rest(&stage.board) {
            console.end();
            return Ok(());
        }
        let left = limit.checked_sub(begun.elapsed());
        left.with_context(|| format!("{backends} Backends and {frontends} Frontends are ready"))?;
        sleep(LOOK).await;
    }
}

async fn at_rest(stage: &Stage, operator: &Operator, options: &Options) -> Result<Rest> {
    let audit = Audit::from_now(&options.audit_log)?;
    let (calls, cpu) = (stage.nodes.calls(), operator.cpu()?);
    let passes = operator.passes().await?;
    let begun = Instant::now();
    sleep(options.rest).await;
    let passes_after = operator.passes().await?;
    Ok(Rest {
        seconds: begun.elapsed().as_secs_f64(),
        requests: audit.requests()?,
        calls: stage.nodes.calls() - calls,
        cpu: operator.cpu()? - cpu,
        passes: (passes_after.0 - passes.0, passes_after.1 - passes.1),
    })
}

fn report(
    console: &Console,
    options: &Options,
    converged: Duration,
    after_start: Memory,
    memory: Memory,
    rest: &Rest,
    trials: &[Trial],
) {
    let row = |what: &str, value: String| console.say(&format!("{what:<44} {value}"));
    let each_second = |count: u64| format!("{:.2}/s", count as f64 / rest.seconds);
    let (backends, frontends) = (options.backends, options.frontends);
    console.say("");
    row("Backends, Frontends", format!("{backends}, {frontends}"));
    row(
        "time until all serves",
        format!("{:.1} s", converged.as_secs_f64()),
    );
    let mib = |kib: u64| format!("{:.0} MiB", kib as f64 / 1024.0);
    row("memory once all serves", mib(after_start.now));
    row("memory at the end", mib(memory.now));
    row("most memory", format!("{} (limit 150)", mib(memory.most)));
    row(
        "at rest: requests to the API server",
        format!("{} (limit 1)", each_second(rest.requests.count())),
    );
    for (what, count) in &rest.requests.others {
        row(&format!("  {what}"), each_second(*count));
    }
    row("  renewals of the Lease", each_second(rest.requests.leases));
    row("  watches begun anew", each_second(rest.requests.watches));
    row("at rest: calls of nodes", each_second(rest.calls));
    row(
        "at rest: processor",
        format!("{:.1} % of one core", rest.cpu / rest.seconds * 100.0),
    );
    row(
        "at rest: passes",
        format!(
            "{:.0} in {:.0} s, {:.0} ms each",
            rest.passes.0,
            rest.seconds,
            rest.passes.1 / rest.passes.0.max(1.0) * 1000.0
        ),
    );
    for trial in trials {
        let text = format!(
            "median {} ms, worst {} ms of {} (limit 1000)",
            trial.median().as_millis(),
            trial.worst().as_millis(),
            trial.times.len()
        );
        row(trial.what, text);
    }
}
