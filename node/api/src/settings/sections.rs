//! The parts of a settings file, with their defaults.

use std::path::PathBuf;

use murder_model::{PartitionName, SpecialUse};
use serde::{Deserialize, Serialize};

/// A partition of a backend.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Partition {
    /// Its name in locations. Required.
    pub name: PartitionName,
    /// Its directory. Default: `dataDir/partitions/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Directory of its index, if on another volume. Default: its directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_path: Option<PathBuf>,
}

/// Addresses as `host:port`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Listeners {
    /// IMAP with STARTTLS. In the pod 1143.
    pub imap: Option<String>,
    /// IMAP over TLS. In the pod 1993.
    pub imaps: Option<String>,
    /// LMTP. In the pod 2003.
    pub lmtp: Option<String>,
    /// Transfers between backends, mutual TLS. In the pod 2006.
    pub transfer: Option<String>,
    /// MUPDATE. In the pod 3905.
    pub mupdate: Option<String>,
    /// The admin interface, mutual TLS. In the pod 8443.
    pub admin: Option<String>,
    /// Metrics and health, without TLS. In the pod 9090.
    pub metrics: Option<String>,
    /// Proxies that say on `imap`, `imaps` and `lmtp` whom they pass on. Default: none.
    #[serde(skip_serializing_if = "ProxyProtocol::is_off")]
    pub proxy_protocol: ProxyProtocol,
}

impl Listeners {
    pub(super) fn all(&self) -> [(&'static str, Option<&str>); 7] {
        [
            ("listeners.imap", self.imap.as_deref()),
            ("listeners.imaps", self.imaps.as_deref()),
            ("listeners.lmtp", self.lmtp.as_deref()),
            ("listeners.transfer", self.transfer.as_deref()),
            ("listeners.mupdate", self.mupdate.as_deref()),
            ("listeners.admin", self.admin.as_deref()),
            ("listeners.metrics", self.metrics.as_deref()),
        ]
    }
}

/// The PROXY protocol, versions 1 and 2, on the mail listeners of frontends and unified nodes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ProxyProtocol {
    /// Networks (`address/prefix`) whose connections must begin with a PROXY header; nobody else's
    /// may. Default: none.
    pub networks: Vec<String>,
}

impl ProxyProtocol {
    /// Whether nobody sends a header.
    pub fn is_off(&self) -> bool {
        self.networks.is_empty()
    }
}

/// PEM files for node-to-node traffic.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TlsFiles {
    /// Certificate chain; the node's name and role are in its URI. Required.
    pub certificate: PathBuf,
    /// Private key. Required.
    pub key: PathBuf,
    /// The murder's own authority. Required.
    pub ca: PathBuf,
}

/// PEM files shown to mail clients.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PublicTlsFiles {
    /// Certificate chain. Required.
    pub certificate: PathBuf,
    /// Private key. Required.
    pub key: PathBuf,
}

/// Where the mupdate master is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MupdateAddress {
    /// Name or address. Required.
    pub host: String,
    /// Port. Default: 3905.
    #[serde(default = "default_mupdate_port")]
    pub port: u16,
    /// Name in the master's certificate. Default: `host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_name: Option<String>,
}

/// Limits and habits of LMTP.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Lmtp {
    /// Networks (`address/prefix`) that may deliver without login. Default: none.
    pub trusted_networks: Vec<String>,
    /// Largest message in bytes. Default: 52428800.
    pub message_bytes_max: u64,
    /// Most recipients of one message. Default: 1000.
    pub recipients_max: usize,
    /// Most sessions at once. Default: 500.
    pub sessions_max: usize,
    /// Longest command line in bytes. Default: 4096.
    pub line_bytes_max: usize,
    /// A client that is silent for so many seconds is dropped. Default: 300.
    pub idle_seconds_max: u64,
    /// How long a repeated delivery is recognised, in hours; 0: never. Default: 72.
    pub duplicate_suppression_hours: u64,
    /// How long a frontend waits for a new connection to a backend, in seconds. Default: 5.
    pub backend_open_seconds_max: u64,
    /// How long it waits for a backend's answer about a recipient, in seconds. Default: 10.
    pub backend_reply_seconds_max: u64,
    /// How long a backend may take no content, or keep the others of one message waiting, in
    /// seconds. Default: 10.
    pub backend_stall_seconds_max: u64,
    /// How long a frontend waits for a backend's answers to a whole message, in seconds.
    /// Default: 30.
    pub backend_delivery_seconds_max: u64,
    /// Idle connections that a frontend keeps to each backend. Default: 32.
    pub backend_connections_idle_max: usize,
}

impl Default for Lmtp {
    fn default() -> Self {
        Self {
            trusted_networks: Vec::new(),
            message_bytes_max: 50 << 20,
            recipients_max: 1000,
            sessions_max: 500,
            line_bytes_max: 4096,
            idle_seconds_max: 300,
            duplicate_suppression_hours: 72,
            backend_open_seconds_max: 5,
            backend_reply_seconds_max: 10,
            backend_stall_seconds_max: 10,
            backend_delivery_seconds_max: 30,
            backend_connections_idle_max: 32,
        }
    }
}

/// Limits and habits of IMAP.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Imap {
    /// Most sessions at once. Default: 10000.
    pub sessions_max: usize,
    /// Longest command line without literals, in bytes. Default: 65536.
    pub line_bytes_max: usize,
    /// Largest literal other than APPEND's message, in bytes. Default: 1048576.
    pub literal_bytes_max: usize,
    /// Largest message that APPEND takes, in bytes. Default: 52428800.
    pub append_bytes_max: u64,
    /// A client that is silent for so many seconds is logged out; RFC 3501 wants 1800 at least.
    /// Default: 1860.
    pub idle_seconds_max: u64,
    /// A client that has not logged in after so many seconds is dropped. Default: 60.
    pub login_seconds_max: u64,
    /// Bad commands after which a session ends. Default: 20.
    pub bad_commands_max: u32,
    /// Failed logins after which a session ends. Default: 3.
    pub login_failures_max: u32,
    /// How long the answer to a failed login waits, in milliseconds. Default: 2000.
    pub login_failure_delay_ms: u64,
}

impl Default for Imap {
    fn default() -> Self {
        Self {
            sessions_max: 10_000,
            line_bytes_max: 64 << 10,
            literal_bytes_max: 1 << 20,
            append_bytes_max: 50 << 20,
            idle_seconds_max: 1860,
            login_seconds_max: 60,
            bad_commands_max: 20,
            login_failures_max: 3,
            login_failure_delay_ms: 2000,
        }
    }
}

/// What a new user gets, and when.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Autocreate {
    /// Make INBOX at the first login. Default: true.
    pub on_login: bool,
    /// Make INBOX at the first delivery to an account that exists. Default: true.
    pub on_delivery: bool,
    /// Folders made and subscribed beside INBOX. Default: Drafts, Sent, Trash, Junk, Archive.
    pub folders: Vec<AutocreateFolder>,
}

impl Default for Autocreate {
    fn default() -> Self {
        let folder = |name: &str, special_use| AutocreateFolder {
            name: name.to_owned(),
            special_use: Some(special_use),
        };
        Self {
            on_login: true,
            on_delivery: true,
            folders: vec![
                folder("Drafts", SpecialUse::Drafts),
                folder("Sent", SpecialUse::Sent),
                folder("Trash", SpecialUse::Trash),
                folder("Junk", SpecialUse::Junk),
                folder("Archive", SpecialUse::Archive),
            ],
        }
    }
}

/// A folder that every new user gets.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AutocreateFolder {
    /// Its name as the user sees it. Required.
    pub name: String,
    /// What it is for. Default: nothing special.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub special_use: Option<SpecialUse>,
}

/// The store of a backend.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Store {
    /// Time between durable checkpoints of the index, in milliseconds. Default: 1000.
    pub checkpoint_interval_ms: u64,
    /// Log bytes after which a checkpoint comes early. Default: 67108864.
    pub checkpoint_bytes: u64,
    /// Size at which a new log segment begins, in bytes. Default: 67108864.
    pub segment_bytes: u64,
    /// Share of the volume that new mail may not fill, in percent. Default: 1.
    pub reserve_percent: u8,
    /// Bytes of the volume that new mail may not fill, if more. Default: 268435456.
    pub reserve_bytes: u64,
    /// How long removals are remembered for clients that were away, in hours. Default: 24.
    pub mark_retention_hours: u64,
    /// Memory for each partition's index pages, in bytes. Default: 67108864.
    pub index_cache_bytes: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            checkpoint_interval_ms: 1000,
            checkpoint_bytes: 64 << 20,
            segment_bytes: 64 << 20,
            reserve_percent: 1,
            reserve_bytes: 256 << 20,
            mark_retention_hours: 24,
            index_cache_bytes: 64 << 20,
        }
    }
}

/// Transfers of units.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Transfer {
    /// Units in flight from this server at once. Default: 4.
    pub parallel: usize,
    /// How long a unit's writes may wait in the last step, in milliseconds. Default: 1000.
    pub freeze_ms_max: u64,
    /// How long a moved unit's copy is kept at the source, in hours. Default: 24.
    pub grace_hours: u64,
    /// Tries before a transfer is given up. Default: 8.
    pub attempts_max: u32,
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            parallel: 4,
            freeze_ms_max: 1000,
            grace_hours: 24,
            attempts_max: 8,
        }
    }
}

/// How the node ends once it is told to (SIGTERM or SIGINT).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Stop {
    /// How long new mail connections are still taken, in seconds, though the node is not ready any
    /// more. Default: 0.
    pub accept_seconds: u64,
    /// How long after the signal sessions may go on, in seconds; those left are told to come back.
    /// Default: 5.
    pub session_seconds_max: u64,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            accept_seconds: 0,
            session_seconds_max: 5,
        }
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Logs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Logging {
    /// `json` or `text`. Default: `json`.
    pub format: LogFormat,
    /// What is logged, e.g. `info` or `warn,murder_node=debug`. Default: `info`.
    pub level: String,
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            level: "info".to_owned(),
        }
    }
}

pub(super) fn default_partitions() -> Vec<Partition> {
    let name = PartitionName::parse("default").expect("a valid partition name");
    vec![Partition {
        name,
        path: None,
        index_path: None,
    }]
}

fn default_mupdate_port() -> u16 {
    3905
}
