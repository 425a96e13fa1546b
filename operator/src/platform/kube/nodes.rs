//! What the nodes of a murder say: each asked once a pass, those that rest less often.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use murder_api::admin::{NodeStatus, ServerStatus, TransferStatus, UnitSummary};
use murder_api::settings::Role;

use crate::node_client::{NodeAddress, NodeClient};

/// Nodes asked at a time.
const ASKED_MAX: usize = 32;
/// How long what a resting node said is good enough for its status.
const REST: Duration = Duration::from_secs(30);

/// A pod to ask.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) pod: String,
    pub(super) address: SocketAddr,
    /// Name in its certificate.
    pub(super) tls_name: String,
    /// Whether decisions rest on its answer now.
    pub(super) fresh: bool,
    /// Whether its units are wanted one by one.
    pub(super) units: bool,
}

/// What one node said.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) status: Option<NodeStatus>,
    pub(super) transfers: Option<Vec<TransferStatus>>,
    pub(super) units: Option<Vec<UnitSummary>>,
    pub(super) servers: Option<Vec<ServerStatus>>,
    /// Why it did not answer.
    pub(super) error: Option<String>,
}

/// What nodes said, by pod.
#[derive(Debug, Default)]
pub(super) struct Reports {
    heard: BTreeMap<String, (Instant, SocketAddr, Report)>,
    /// Pods that were asked before and are not any more.
    forgotten: Vec<String>,
}

impl Reports {
    /// What a pod said when it was last asked.
    pub(super) fn of(&self, pod: &str) -> Option<&Report> {
        self.heard.get(pod).map(|(_, _, report)| report)
    }

    /// The status of a pod.
    pub(super) fn status(&self, pod: &str) -> Option<&NodeStatus> {
        self.of(pod)?.status.as_ref()
    }

    /// Every report, by pod.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Report)> {
        let heard = self.heard.iter();
        heard.map(|(pod, (_, _, report))| (pod.as_str(), report))
    }

    /// Pods that the last asking left out.
    pub(super) fn forgotten(&self) -> &[String] {
        &self.forgotten
    }

    /// Asks the given pods, and forgets all others.
    pub(super) async fn ask(&mut self, client: &NodeClient, pods: Vec<Asked>) {
        let now = Instant::now();
        let is_known = |asked: &Asked| {
            let last = self.heard.get(&asked.pod);
            last.is_some_and(|(at, address, report)| {
                !asked.fresh
                    && *address == asked.address
                    && now.duration_since(*at) < REST
                    && report.status.is_some()
            })
        };
        let names: BTreeSet<String> = pods.iter().map(|asked| asked.pod.clone()).collect();
        let (kept, due): (Vec<Asked>, Vec<Asked>) = pods.into_iter().partition(is_known);
        let kept: BTreeSet<String> = kept.into_iter().map(|asked| asked.pod).collect();
        let gone = self.heard.keys().filter(|pod| !names.contains(*pod));
        self.forgotten = gone.cloned().collect();
        self.heard.retain(|pod, _| kept.contains(pod));
        let calls = due.into_iter().map(|asked| {
            let client = client.clone();
            async move {
                let report = ask_one(&client, &asked).await;
                (asked.pod, asked.address, report)
            }
        });
        let mut calls = futures::stream::iter(calls).buffer_unordered(ASKED_MAX);
        while let Some((pod, address, report)) = calls.next().await {
            self.heard.insert(pod, (Instant::now(), address, report));
        }
    }
}

async fn ask_one(client: &NodeClient, asked: &Asked) -> Report {
    let address = NodeAddress {
        address: asked.address,
        tls_name: asked.tls_name.clone(),
    };
    let mut report = Report::default();
    let status = match client.status(&address).await {
        Ok(status) => status,
        Err(error) => {
            report.error = Some(error.to_string());
            return report;
        }
    };
    if status.role.holds_mailboxes() {
        report.transfers = client.transfers(&address).await.ok();
        if asked.units {
            report.units = client.units(&address).await.ok();
        }
    }
    if status.role == Role::Mupdate {
        report.servers = client.servers(&address).await.ok();
    }
    report.status = Some(status);
    report
}
