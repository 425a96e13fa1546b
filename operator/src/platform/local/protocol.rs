//! Requests and answers on the supervisor's socket: one JSON line each way.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::crd::{Backend, Frontend, MurderCluster};

/// Longest line either way, in bytes.
pub const LINE_BYTES_MAX: u64 = 16 << 20;

/// What the supervisor is asked.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Make the world equal to these objects.
    Up(Box<Objects>),
    /// Change a Backend.
    Patch {
        /// Its name.
        name: String,
        /// What to change.
        change: Change,
    },
    /// How things are.
    Status,
    /// What was done so far.
    Trace,
    /// Stop all nodes and then yourself.
    Down {
        /// Whether to delete all data.
        purge: bool,
    },
}

/// All objects that there should be.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Objects {
    /// The murder.
    pub cluster: MurderCluster,
    /// Its Backends.
    pub backends: Vec<Backend>,
    /// Its Frontends.
    pub frontends: Vec<Frontend>,
    /// Accounts to make.
    pub users: Option<u32>,
    /// Whether plaintext is allowed; none leaves it as it was.
    pub insecure_loopback: Option<bool>,
    /// Where to write the endpoints.
    pub endpoints: Option<PathBuf>,
}

/// A change of a Backend.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Change {
    /// desiredState Active.
    Activate,
    /// desiredState Cordoned.
    Cordon,
    /// Deletion.
    Delete,
    /// desiredState Drained.
    Drain,
}

/// What the supervisor answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// Taken up; a status of this generation or later knows of it.
    Accepted {
        /// The generation.
        generation: u64,
    },
    /// How things are.
    Status(Box<Status>),
    /// The steps taken, oldest first.
    Trace(Vec<String>),
    /// Not done, and nothing changed.
    Refused {
        /// Why.
        message: String,
    },
}

/// How things are.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Changes known to this status.
    pub generation: u64,
    /// Whether all is as wished.
    pub converged: bool,
    /// What the last pass could not do.
    pub problems: Vec<String>,
    /// The murder's name.
    pub cluster: String,
    /// The mupdate master, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mupdate: Option<PodStatus>,
    /// The Backends.
    pub backends: Vec<BackendLine>,
    /// The Frontends.
    pub frontends: Vec<FrontendLine>,
}

/// A node process.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Its name.
    pub name: String,
    /// Its process, 0 if it does not run.
    pub pid: u32,
    /// Whether it serves.
    pub ready: bool,
    /// How often it was started again.
    pub restarts: u32,
}

/// A Backend.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendLine {
    /// Its name.
    pub name: String,
    /// What it is told to be; `Deleting` if it was deleted.
    pub state: String,
    /// Where its drain is.
    pub drain: String,
    /// Whether the drain needs help.
    pub blocked: bool,
    /// What holds it up.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Its pod.
    pub pod: PodStatus,
    /// Whether new units are refused.
    pub cordoned: bool,
    /// Users and shared roots.
    pub units: u64,
    /// Mailboxes.
    pub mailboxes: u64,
    /// Bytes of messages.
    pub bytes: u64,
    /// Units moved away.
    pub moved: u64,
    /// Mailboxes moved away.
    pub mailboxes_moved: u64,
    /// Bytes moved away.
    pub bytes_moved: u64,
    /// Users that could not be moved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedUnit>,
    /// Whether it is as wished, by its own word and the master's.
    pub settled: bool,
    /// Seconds until its volume is deleted, once nothing else is left to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u64>,
    /// Units being moved.
    pub in_flight: u64,
    /// Open sessions.
    pub sessions: u64,
    /// Identity of its volume.
    #[serde(rename = "serverID", default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<String>,
}

/// A user or shared root that could not be moved.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedUnit {
    /// Its root.
    pub root: String,
    /// Tries so far.
    pub attempts: u32,
    /// Why the last one failed.
    pub error: String,
}

/// A Frontend.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendLine {
    /// Its name.
    pub name: String,
    /// How many there should be.
    pub replicas: u64,
    /// Its pods.
    pub pods: Vec<PodStatus>,
}
