//! The demonstration on a Kubernetes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use tokio::time::sleep;

use super::{Kube, KubeMurder, condition, repository};
use crate::console::Console;
use crate::demo::{Moved, Phase, Trial};
use crate::mail::Sources;

/// Where the murder is.
const NAMESPACE: &str = "mail";

/// Percent of the messages that are delivered before the deletion, and at most until its end.
const PERCENT_BEFORE: usize = 40;
const PERCENT_DELETING: usize = 85;

/// Time between two looks at the drain.
const LOOK: Duration = Duration::from_millis(500);

/// How long the murder may take to be as it is wished.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// How long the deletion may take.
const DELETE_LIMIT: Duration = Duration::from_secs(300);

/// Who may deliver without login is for each site to say; here everybody in the cluster.
const TRUSTED: &str = r#"{"spec":{"lmtpTrustedNetworks":["10.0.0.0/8","127.0.0.0/8"]}}"#;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The mail.
    pub sources: Sources,
    /// Users.
    pub users: usize,
    /// The Backend that is deleted.
    pub backend: String,
    /// Whether the murder stays.
    pub keep: bool,
}

/// Runs it; whether every message is accounted for.
pub async fn run(options: &Options) -> Result<bool> {
    let begun = Instant::now();
    let console = Console::default();
    let kube = Kube::connect().await?;
    console.say("$ helm upgrade --install murder-operator charts/murder-operator -n murder-system");
    kube.install_operator(&["replicas=1"]).await?;
    let murder = KubeMurder::prepare(&kube, NAMESPACE, options.users).await?;
    console.say(&format!(
        "$ kubectl -n {NAMESPACE} apply -f examples/murder.yaml"
    ));
    let manifests = std::fs::read_to_string(repository().join("examples/murder.yaml"))?;
    kube.apply(NAMESPACE, &manifests).await?;
    console.say(&format!(
        "$ kubectl -n {NAMESPACE} patch frontend fe --type merge -p '{TRUSTED}'"
    ));
    kube.patch(NAMESPACE, "frontend", "fe", TRUSTED).await?;
    murder.ready(READY_LIMIT).await?;
    for kind in ["backend", "frontend"] {
        let all = [
            "-n",
            NAMESPACE,
            "wait",
            kind,
            "--all",
            "--for=condition=Ready",
            "--timeout=180s",
        ];
        kube.kubectl_waiting(&all).await?;
    }
    let took = begun.elapsed().as_secs_f64();
    console.say(&format!("murder up {took:.1} s after the start"));
    console.say(
        kube.kubectl(&["-n", NAMESPACE, "get", "mc,mbe,mfe"])
            .await?
            .trim_end(),
    );

    let report = under_load(options, &murder, begun, console).await;
    if !options.keep {
        murder.down().await?;
    }
    report
}

async fn under_load(
    options: &Options,
    murder: &KubeMurder,
    begun: Instant,
    console: Console,
) -> Result<bool> {
    let mut trial = Trial::prepare(murder.party().await?, &options.sources, console).await?;
    trial.begun(begun);
    let before = trial.ledger().messages.len() * PERCENT_BEFORE / 100;
    trial.ledger().release(before);
    trial.start();
    let ledger = trial.ledger();
    ledger.reached(ledger.deliveries_of(before)).await;
    let learned = trial.learn().await?;
    trial.console().say(&format!(
        "{learned} messages are there, and known by UID, content, date and flags"
    ));
    trial.enter(Phase::Draining);
    let deletion = delete(trial.console(), murder, &options.backend);
    let moved = trial.meanwhile(PERCENT_DELETING, deletion).await?;
    let report = trial.finish(Some(&moved)).await?;
    Console::default().say(&report.to_string());
    Ok(report.is_good())
}

/// Deletes a Backend and shows how far its drain is.
async fn delete(console: &Console, murder: &KubeMurder, name: &str) -> Result<Moved> {
    let (kube, namespace) = (&murder.kube, &murder.namespace);
    // The status of a server at rest is a little old: the most that was seen is what it had.
    let mut mailboxes = 0;
    console.say(&format!("$ kubectl -n {namespace} delete backend {name}"));
    let begun = Instant::now();
    kube.kubectl(&["-n", namespace, "delete", "backend", name, "--wait=false"])
        .await?;
    console.begin("drain", 1);
    let mut last = Value::Null;
    while let Some(backend) = kube.get(namespace, "backend", name).await? {
        ensure!(
            begun.elapsed() < DELETE_LIMIT,
            "{name} is not gone after {} s:\n{}",
            DELETE_LIMIT.as_secs(),
            kube.describe(namespace).await
        );
        show(console, &backend);
        mailboxes = mailboxes.max(backend["status"]["mailboxes"].as_u64().unwrap_or_default());
        if backend["status"]["drain"].is_object() {
            last = backend["status"]["drain"].clone();
        }
        sleep(LOOK).await;
    }
    console.end();
    let took = begun.elapsed();
    console.say(&format!("{name} is gone after {:.1} s", took.as_secs_f64()));
    let number = |field: &str| last[field].as_u64().unwrap_or_default();
    Ok(Moved {
        backend: name.to_owned(),
        units: number("moved"),
        mailboxes,
        bytes: number("bytesMoved"),
        took,
    })
}

fn show(console: &Console, backend: &Value) {
    let drain = &backend["status"]["drain"];
    let number = |field: &str| drain[field].as_u64().unwrap_or_default();
    console.set_total("drain", number("total").max(1));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    // It is known after some seconds only.
    let rate = drain["rateBps"].as_u64().filter(|rate| *rate > 0);
    let rate = rate.map_or_else(String::new, |rate| format!("{:.1} MiB/s, ", mib(rate)));
    let detail = format!(
        "users and shared roots, {:.1} of {:.1} MiB, {rate}{}",
        mib(number("bytesMoved")),
        mib(number("bytesTotal")),
        condition(backend, "Drained").1,
    );
    console.progress("drain", number("moved"), &detail);
}
