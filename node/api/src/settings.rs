//! The settings file of one node: YAML, every key known, checked as a whole before a socket opens.

use std::path::{Path, PathBuf};

use murder_model::{MailboxName, PartitionName, ServerName, SpecialUse, UserName};
use serde::{Deserialize, Serialize};

use crate::yaml::{Problem, Problems};

/// What a node does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Holds mailboxes.
    Backend,
    /// Authenticates clients and routes them.
    Frontend,
    /// Knows where each mailbox is.
    Mupdate,
    /// Frontend and backend in one; without `mupdate` a single server.
    Unified,
}

impl Role {
    /// Whether the node has partitions.
    pub fn holds_mailboxes(self) -> bool {
        matches!(self, Self::Backend | Self::Unified)
    }

    /// Whether clients of the whole murder connect to it.
    pub fn routes(self) -> bool {
        matches!(self, Self::Frontend | Self::Unified)
    }
}

/// How frontends and backends are spread over nodes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Topology {
    /// Frontends and backends are different nodes.
    #[default]
    Discrete,
    /// Every node is both.
    Unified,
}

/// Settings of one node.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// What the node does: `backend`, `frontend`, `mupdate` or `unified`. Required.
    pub role: Role,
    /// The murder's name, which is in all its certificates. Required.
    pub cluster: String,
    /// The process' name, e.g. `be-a-0`. Required.
    pub name: String,
    /// The server's name in locations, e.g. `be-a`. Required.
    pub server: ServerName,
    /// Directory of everything that the node keeps. Required.
    pub data_dir: PathBuf,
    /// Partitions of a backend. Default: one, `default`, in `dataDir/partitions/default`.
    #[serde(default = "default_partitions")]
    pub partitions: Vec<Partition>,
    /// Where the node listens. A listener that is left out is off.
    pub listeners: Listeners,
    /// How others reach this node. Default: the addresses of `listeners`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// Certificate, key and authority for node-to-node traffic. Without them the node serves alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// Certificate and key shown to mail clients. Default: those of `tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_tls: Option<PublicTlsFiles>,
    /// The mupdate master. Default: none, which only a `unified` node may do (a single server).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mupdate: Option<MupdateAddress>,
    /// The accounts file, edited by `murder-node passwd`. Required.
    pub accounts: PathBuf,
    /// Accounts that may do everything and act for others. Default: none.
    #[serde(default)]
    pub admins: Vec<UserName>,
    /// Accounts that may deliver over LMTP. Default: none.
    #[serde(default)]
    pub lmtp_admins: Vec<UserName>,
    /// Domains that recipients may have. Default: none, which accepts any.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Whether passwords may cross the network unencrypted. Default: false.
    #[serde(default)]
    pub allow_plaintext_login: bool,
    /// Plain IMAP, LMTP and MUPDATE with PLAIN, and LMTP without login, for tests and tools; all
    /// listeners must be on loopback. Default: false.
    #[serde(default)]
    pub insecure_loopback: bool,
    /// How nodes are spread. Default: `Discrete`.
    #[serde(default)]
    pub topology: Topology,
    /// Whether a mailbox that does not exist may be subscribed to. Default: true if `Discrete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_all_subscribe: Option<bool>,
    /// Limits and habits of LMTP.
    #[serde(default)]
    pub lmtp: Lmtp,
    /// Limits and habits of IMAP.
    #[serde(default)]
    pub imap: Imap,
    /// What a new user gets, and when.
    #[serde(default)]
    pub autocreate: Autocreate,
    /// The store of a backend.
    #[serde(default)]
    pub store: Store,
    /// Transfers of units.
    #[serde(default)]
    pub transfer: Transfer,
    /// Logs.
    #[serde(default)]
    pub logging: Logging,
}

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
}

impl Listeners {
    fn all(&self) -> [(&'static str, Option<&str>); 7] {
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

fn default_partitions() -> Vec<Partition> {
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

impl Settings {
    /// Reads and checks a settings file. Relative paths are taken from the file's directory.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Problems::one(path, None, format!("cannot be read: {error}")))?;
        Self::parse(path, &text)
    }

    /// Checks the text of a settings file; `path` is for messages and relative paths.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problems> {
        let mut settings: Self = crate::yaml::parse(path, text)?;
        let problems: Vec<Problem> = settings
            .problems()
            .into_iter()
            .map(|(key, message)| Problem::at_key(path, text, key, message))
            .collect();
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        settings.resolve(base);
        Ok(settings)
    }

    /// Directory of a partition.
    pub fn partition_path(&self, partition: &Partition) -> PathBuf {
        match &partition.path {
            Some(path) => path.clone(),
            None => self
                .data_dir
                .join("partitions")
                .join(partition.name.as_str()),
        }
    }

    /// Whether a mailbox that does not exist may be subscribed to.
    pub fn allows_all_subscribe(&self) -> bool {
        self.allow_all_subscribe
            .unwrap_or(self.topology == Topology::Discrete)
    }

    fn resolve(&mut self, base: &Path) {
        let absolute = |path: &mut PathBuf| *path = base.join(&*path);
        absolute(&mut self.data_dir);
        absolute(&mut self.accounts);
        for partition in &mut self.partitions {
            partition.path.as_mut().map(absolute);
            partition.index_path.as_mut().map(absolute);
        }
        if let Some(tls) = &mut self.tls {
            absolute(&mut tls.certificate);
            absolute(&mut tls.key);
            absolute(&mut tls.ca);
        }
        if let Some(tls) = &mut self.public_tls {
            absolute(&mut tls.certificate);
            absolute(&mut tls.key);
        }
    }

    /// Everything that is wrong beyond the types, as (key path, what is allowed).
    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        self.check_roles(&mut found);
        self.check_listeners(&mut found);
        self.check_names(&mut found);
        self.check_numbers(&mut found);
        found
    }

    fn check_roles(&self, found: &mut Vec<(&'static str, String)>) {
        let mut wrong = |key, message: &str| found.push((key, message.to_owned()));
        if self.mupdate.is_none() && matches!(self.role, Role::Backend | Role::Frontend) {
            wrong(
                "role",
                "a backend or frontend needs `mupdate`; without a master use `unified`",
            );
        }
        if self.mupdate.is_some() && self.tls.is_none() {
            wrong(
                "mupdate",
                "needs `tls`: nodes know each other by their certificates",
            );
        }
        if self.role == Role::Mupdate && self.mupdate.is_some() {
            wrong("mupdate", "is not for the master itself");
        }
        if self.role.holds_mailboxes() {
            if self.partitions.is_empty() {
                wrong("partitions", "at least one is needed");
            }
            for (index, partition) in self.partitions.iter().enumerate() {
                if self.partitions[..index]
                    .iter()
                    .any(|other| other.name == partition.name)
                {
                    wrong("partitions", "two have the same name");
                }
            }
        }
        if self.name.is_empty() || self.cluster.is_empty() {
            wrong("name", "`name` and `cluster` may not be empty");
        }
    }

    fn check_listeners(&self, found: &mut Vec<(&'static str, String)>) {
        for (key, address) in self.listeners.all() {
            let Some(address) = address else { continue };
            let host = match address.rsplit_once(':') {
                Some((host, port)) if port.parse::<u16>().is_ok() && !host.is_empty() => host,
                _ => {
                    found.push((key, format!("{address:?} is not `host:port`")));
                    continue;
                }
            };
            let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            let loopback =
                host == "localhost" || address.is_ok_and(|address| address.is_loopback());
            if self.insecure_loopback && !loopback {
                let message = "`insecureLoopback` allows loopback addresses only".to_owned();
                found.push((key, message));
            }
        }
        let needs_tls = [
            ("listeners.imaps", &self.listeners.imaps),
            ("listeners.transfer", &self.listeners.transfer),
            ("listeners.admin", &self.listeners.admin),
        ];
        for (key, listener) in needs_tls {
            if listener.is_some() && self.tls.is_none() {
                found.push((key, "needs `tls`".to_owned()));
            }
        }
        for network in &self.lmtp.trusted_networks {
            if parse_network(network).is_none() {
                found.push((
                    "lmtp.trustedNetworks",
                    format!("{network:?} is not `address/prefix`"),
                ));
            }
        }
    }

    fn check_names(&self, found: &mut Vec<(&'static str, String)>) {
        for domain in &self.domains {
            let label = |label: &str| {
                let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
                !label.is_empty() && label.len() <= 63 && label.bytes().all(inner)
            };
            if domain.len() > 253 || !domain.split('.').all(label) {
                found.push((
                    "domains",
                    format!("{domain:?} is not a domain such as example.org"),
                ));
            }
        }
        let anybody = UserName::parse("u").expect("a valid user name");
        for folder in &self.autocreate.folders {
            let name = &folder.name;
            if let Err(error) = MailboxName::from_external(&anybody, name.as_bytes()) {
                found.push((
                    "autocreate.folders",
                    format!("{name:?} is not a folder: {error}"),
                ));
            }
        }
    }

    fn check_numbers(&self, found: &mut Vec<(&'static str, String)>) {
        let mut range = |key, value: u64, low: u64, high: u64| {
            if !(low..=high).contains(&value) {
                found.push((key, format!("{value} is not between {low} and {high}")));
            }
        };
        range(
            "lmtp.messageBytesMax",
            self.lmtp.message_bytes_max,
            1024,
            1 << 31,
        );
        range(
            "lmtp.recipientsMax",
            self.lmtp.recipients_max as u64,
            100,
            100_000,
        );
        range(
            "lmtp.lineBytesMax",
            self.lmtp.line_bytes_max as u64,
            1000,
            1 << 20,
        );
        range(
            "lmtp.sessionsMax",
            self.lmtp.sessions_max as u64,
            1,
            1_000_000,
        );
        for (key, seconds) in [
            (
                "lmtp.backendReplySecondsMax",
                self.lmtp.backend_reply_seconds_max,
            ),
            (
                "lmtp.backendStallSecondsMax",
                self.lmtp.backend_stall_seconds_max,
            ),
            (
                "lmtp.backendDeliverySecondsMax",
                self.lmtp.backend_delivery_seconds_max,
            ),
        ] {
            range(key, seconds, 1, 3600);
        }
        // Connecting and shaking hands end after 5 s each.
        range(
            "lmtp.backendOpenSecondsMax",
            self.lmtp.backend_open_seconds_max,
            1,
            10,
        );
        range(
            "lmtp.backendConnectionsIdleMax",
            self.lmtp.backend_connections_idle_max as u64,
            0,
            10_000,
        );
        range(
            "imap.sessionsMax",
            self.imap.sessions_max as u64,
            1,
            1_000_000,
        );
        range(
            "imap.lineBytesMax",
            self.imap.line_bytes_max as u64,
            8000,
            16 << 20,
        );
        range(
            "imap.literalBytesMax",
            self.imap.literal_bytes_max as u64,
            1024,
            64 << 20,
        );
        range(
            "imap.appendBytesMax",
            self.imap.append_bytes_max,
            1024,
            1 << 31,
        );
        range(
            "imap.idleSecondsMax",
            self.imap.idle_seconds_max,
            60,
            7 * 86_400,
        );
        range(
            "store.checkpointIntervalMs",
            self.store.checkpoint_interval_ms,
            10,
            60_000,
        );
        range(
            "store.segmentBytes",
            self.store.segment_bytes,
            1 << 20,
            1 << 30,
        );
        range(
            "store.checkpointBytes",
            self.store.checkpoint_bytes,
            1 << 20,
            1 << 30,
        );
        range(
            "store.reservePercent",
            u64::from(self.store.reserve_percent),
            0,
            50,
        );
        range(
            "store.markRetentionHours",
            self.store.mark_retention_hours,
            24,
            24 * 365,
        );
        range(
            "store.indexCacheBytes",
            self.store.index_cache_bytes,
            1 << 20,
            1 << 36,
        );
        range("transfer.parallel", self.transfer.parallel as u64, 1, 64);
        range(
            "transfer.freezeMsMax",
            self.transfer.freeze_ms_max,
            50,
            60_000,
        );
        range(
            "transfer.attemptsMax",
            u64::from(self.transfer.attempts_max),
            1,
            1000,
        );
    }
}

/// Parses `address/prefix` (or an address alone).
pub fn parse_network(text: &str) -> Option<(std::net::IpAddr, u8)> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: std::net::IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= longest)?,
        None => longest,
    };
    Some((address, prefix))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Role, Settings, parse_network};

    const MINIMAL: &str = "role: unified\n\
        cluster: mc\n\
        name: one-0\n\
        server: one\n\
        dataDir: data\n\
        listeners:\n  imap: 127.0.0.1:1143\n  lmtp: 127.0.0.1:2003\n\
        accounts: accounts\n\
        insecureLoopback: true\n";

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new("/etc/node.yaml"), text).map_err(|problems| problems.to_string())
    }

    #[test]
    fn defaults_fill_what_is_left_out() {
        let settings = parse(MINIMAL).unwrap();
        assert_eq!(settings.role, Role::Unified);
        assert_eq!(settings.data_dir, Path::new("/etc/data"));
        assert_eq!(settings.partitions.len(), 1);
        assert_eq!(settings.lmtp.message_bytes_max, 52_428_800);
        let partition = settings.partition_path(&settings.partitions[0]);
        assert_eq!(partition, Path::new("/etc/data/partitions/default"));
        assert!(settings.allows_all_subscribe());
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        let error = parse(&format!("{MINIMAL}imap:\n  sesionsMax: 3\n")).unwrap_err();
        assert!(error.starts_with("/etc/node.yaml:12: "), "{error}");
        assert!(
            error.contains("unknown field `sesionsMax`, expected one of `sessionsMax`"),
            "{error}"
        );
    }

    #[test]
    fn all_problems_are_told_at_once_with_their_lines() {
        let text = MINIMAL.replace("127.0.0.1:2003", "0.0.0.0:2003");
        let error = parse(&format!("{text}store:\n  reservePercent: 80\n")).unwrap_err();
        assert_eq!(
            error,
            "/etc/node.yaml:8: listeners.lmtp: `insecureLoopback` allows loopback addresses only\n\
             /etc/node.yaml:12: store.reservePercent: 80 is not between 0 and 50"
        );
    }

    #[test]
    fn a_backend_needs_a_master() {
        let error = parse(&MINIMAL.replace("unified", "backend")).unwrap_err();
        assert!(error.starts_with("/etc/node.yaml:1: role: "), "{error}");
    }

    #[test]
    fn settings_are_read_as_written() {
        let settings = parse(MINIMAL).unwrap();
        let text = crate::yaml::write(&settings);
        assert_eq!(parse(&text), Ok(settings));
    }

    #[test]
    fn networks_are_addresses_with_an_optional_prefix() {
        assert_eq!(
            parse_network("10.0.0.0/8"),
            Some(("10.0.0.0".parse().unwrap(), 8))
        );
        assert_eq!(parse_network("::1"), Some(("::1".parse().unwrap(), 128)));
        assert_eq!(parse_network("10.0.0.0/33"), None);
        assert_eq!(parse_network("localhost"), None);
    }
}
