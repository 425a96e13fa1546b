//! Where a local murder listens: the JSON that `murder-operator local up --endpoints FILE` writes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A socket address.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Address {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The whole murder.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// Frontends, by name.
    pub frontends: Vec<FrontendEndpoint>,
    /// Backends, by name.
    pub backends: Vec<BackendEndpoint>,
    /// The mupdate master; absent for a single server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mupdate: Option<MupdateEndpoint>,
    /// The murder's authority, PEM.
    pub ca: PathBuf,
    /// The administrator.
    pub admin: Account,
    /// Accounts made by `--users`.
    pub users: Vec<Account>,
}

/// A frontend.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendEndpoint {
    /// The pod's name, e.g. `fe-0`.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// IMAP with STARTTLS.
    pub imap: Address,
    /// IMAP over TLS.
    pub imaps: Address,
    /// LMTP.
    pub lmtp: Address,
    /// Admin interface, mutual TLS.
    pub admin: Address,
    /// Metrics and health.
    pub metrics: Address,
}

/// A backend.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendEndpoint {
    /// The pod's name, e.g. `be-a-0`.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// IMAP with STARTTLS.
    pub imap: Address,
    /// IMAP over TLS.
    pub imaps: Address,
    /// LMTP.
    pub lmtp: Address,
    /// Admin interface, mutual TLS.
    pub admin: Address,
    /// Metrics and health.
    pub metrics: Address,
    /// Transfers, mutual TLS.
    pub transfer: Address,
    /// Its volume.
    pub data_dir: PathBuf,
}

/// The mupdate master.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MupdateEndpoint {
    /// Name or address.
    pub host: String,
    /// MUPDATE's port.
    pub port: u16,
    /// Its process.
    pub pid: u32,
    /// Admin interface, mutual TLS.
    pub admin: Address,
    /// Metrics and health.
    pub metrics: Address,
}

/// An account and where its password is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The login.
    pub user: String,
    /// File with the password and nothing else.
    pub password_file: PathBuf,
}
