//! What is known of a murder, put together: the objects and what the nodes say themselves.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use murder_operator::crd::{Backend, Frontend};
use serde::Serialize;

use super::Certificate;
use super::alerts::{self, Alert};
use crate::murder::{self, Murder, condition, count};
use crate::nodes::{Answers, Heard};

/// Everything that was looked at.
pub(super) struct Picture {
    /// Seconds since 1970.
    pub(super) now: i64,
    pub(super) murder: Murder,
    pub(super) answers: Answers,
    pub(super) certificates: Vec<Certificate>,
    /// Why no node was asked.
    pub(super) silence: Option<String>,
}

/// A murder as it is now.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusReport {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) ready: bool,
    /// Why it is not ready.
    pub(super) message: String,
    pub(super) topology: String,
    pub(super) paused: bool,
    /// Versions that nodes run, each once.
    pub(super) versions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mupdate: Option<MasterLine>,
    pub(super) backends: Vec<BackendLine>,
    pub(super) frontends: Vec<FrontendLine>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) alerts: Vec<Alert>,
    /// When this was seen, in seconds since 1970.
    pub(super) seen_at: i64,
}

/// The mupdate master.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MasterLine {
    pub(super) pod: String,
    pub(super) ready: bool,
    pub(super) term: Option<u64>,
    /// Units of which it knows the owner.
    pub(super) units: Option<u64>,
    pub(super) version: Option<String>,
    pub(super) node: Option<String>,
}

/// A Backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BackendLine {
    pub(super) name: String,
    pub(super) desired_state: String,
    pub(super) deleting: bool,
    pub(super) ready: bool,
    /// Where a drain is; empty if none is wanted.
    pub(super) drain: String,
    pub(super) moved: u64,
    pub(super) remaining: u64,
    pub(super) users: Option<u64>,
    pub(super) mailboxes: Option<u64>,
    pub(super) mail_bytes: Option<u64>,
    pub(super) volume_used_bytes: Option<u64>,
    pub(super) volume_bytes: Option<u64>,
    pub(super) sessions: Option<u64>,
    pub(super) version: Option<String>,
    pub(super) node: Option<String>,
    pub(super) server_id: Option<String>,
}

/// A Frontend.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FrontendLine {
    pub(super) name: String,
    pub(super) replicas: u64,
    pub(super) ready_replicas: u64,
    pub(super) sessions: Option<u64>,
    /// Versions that its pods run, each once.
    pub(super) versions: Vec<String>,
}

/// Puts the picture together.
pub(super) fn report(picture: &Picture) -> StatusReport {
    let murder = &picture.murder;
    let status = murder.cluster.status.as_ref();
    let ready = condition(status.and_then(|s| s.conditions.as_ref()), "Ready");
    let message = match ready {
        None => "the operator has not looked at it yet".to_owned(),
        Some(ready) if ready.status == "True" => String::new(),
        Some(ready) => format!("{}: {}", ready.reason, ready.message),
    };
    StatusReport {
        name: murder.name(),
        namespace: murder.cluster.namespace().unwrap_or_default(),
        ready: ready.is_some_and(|ready| ready.status == "True"),
        message,
        topology: format!("{:?}", murder.cluster.spec.topology),
        paused: murder.cluster.spec.paused,
        versions: versions(picture.answers.values()),
        mupdate: murder.master_pod().map(|pod| master(picture, pod)),
        backends: murder
            .backends
            .iter()
            .map(|be| backend(picture, be))
            .collect(),
        frontends: murder
            .frontends
            .iter()
            .map(|fe| frontend(picture, fe))
            .collect(),
        certificates: picture.certificates.clone(),
        alerts: alerts::alerts(picture),
        seen_at: picture.now,
    }
}

fn master(picture: &Picture, pod: String) -> MasterLine {
    let heard = picture.answers.get(&pod);
    let status = heard.and_then(|heard| heard.status.as_ref());
    let servers = heard.and_then(|heard| heard.servers.as_ref());
    let object = picture.murder.pod(&pod);
    MasterLine {
        ready: object.is_some_and(murder::is_ready),
        term: status.map(|status| status.term.get()),
        units: servers.map(|servers| servers.iter().map(|server| server.units).sum()),
        version: status.map(|status| status.version.clone()),
        node: object.and_then(machine),
        pod,
    }
}

fn backend(picture: &Picture, backend: &Backend) -> BackendLine {
    let name = backend.name_any();
    let written = backend.status.clone().unwrap_or_default();
    let drained = condition(written.conditions.as_ref(), "Drained");
    let drain = written.drain.clone().unwrap_or_default();
    let pod = picture.murder.pod(&murder::pod_of(&name));
    let status = picture
        .answers
        .get(&murder::pod_of(&name))
        .and_then(|heard| heard.status.as_ref());
    // What the node says is newer than what the operator wrote.
    let own = status.and_then(|status| status.backend.as_ref());
    let volume = own.map(|own| {
        let partitions = own.partitions.iter();
        let sizes = partitions.map(|p| (p.total_bytes, p.total_bytes.saturating_sub(p.free_bytes)));
        // Partitions of one volume have the same size and the same room.
        sizes.max().unwrap_or_default()
    });
    BackendLine {
        desired_state: format!("{:?}", backend.spec.desired_state),
        deleting: backend.metadata.deletion_timestamp.is_some(),
        ready: pod.is_some_and(murder::is_ready),
        drain: drained
            .map(|drained| drained.reason.clone())
            .filter(|reason| reason != "NotRequested")
            .unwrap_or_default(),
        moved: count(drain.moved),
        remaining: count(drain.remaining),
        users: own.map(|own| own.units),
        mailboxes: own
            .map(|own| own.mailboxes)
            .or_else(|| written.mailboxes.map(count)),
        mail_bytes: own
            .map(|own| own.bytes)
            .or_else(|| written.used_bytes.map(count)),
        volume_used_bytes: volume.map(|(_, used)| used),
        volume_bytes: volume
            .map(|(total, _)| total)
            .or_else(|| written.capacity_bytes.map(count)),
        sessions: status
            .map(|s| s.sessions)
            .or_else(|| written.connections.map(count)),
        version: status.map(|status| status.version.clone()),
        node: pod.and_then(machine).or(written.node_name),
        server_id: own
            .map(|own| own.server_id.to_string())
            .or(written.server_id),
        name,
    }
}

fn frontend(picture: &Picture, frontend: &Frontend) -> FrontendLine {
    let name = frontend.name_any();
    let pods: Vec<&Pod> = picture.murder.pods_of_frontend(&name).collect();
    let heard = pods
        .iter()
        .filter_map(|pod| picture.answers.get(&pod.name_any()));
    let heard: Vec<&Heard> = heard.collect();
    let sessions = heard
        .iter()
        .filter_map(|heard| Some(heard.status.as_ref()?.sessions));
    let ready = pods.iter().filter(|pod| murder::is_ready(pod)).count();
    FrontendLine {
        replicas: count(i64::from(frontend.spec.replicas)),
        ready_replicas: ready as u64,
        // A part of them would look like all.
        sessions: (heard.len() == pods.len() && heard.iter().all(|heard| heard.status.is_some()))
            .then(|| sessions.sum()),
        versions: versions(heard.into_iter()),
        name,
    }
}

fn versions<'a>(heard: impl Iterator<Item = &'a Heard>) -> Vec<String> {
    let versions = heard.filter_map(|heard| Some(heard.status.as_ref()?.version.clone()));
    let versions: std::collections::BTreeSet<String> = versions.collect();
    versions.into_iter().collect()
}

fn machine(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}
