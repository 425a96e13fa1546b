//! The settings file of one node: YAML, every key known, checked as a whole before a socket opens.

mod check;
mod sections;

use std::path::{Path, PathBuf};

use murder_model::{ServerName, UserName};
use serde::{Deserialize, Serialize};

pub use check::parse_network;
pub use sections::*;

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
    #[serde(default = "sections::default_partitions")]
    pub partitions: Vec<Partition>,
    /// Where the node listens. A listener that is left out is off.
    pub listeners: Listeners,
    /// Host under which others reach this node, looked up anew for each connection. Default: the hosts of
    /// `listeners`.
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
    /// How the node ends once it is told to (SIGTERM or SIGINT).
    #[serde(default)]
    pub stop: Stop,
    /// Logs.
    #[serde(default)]
    pub logging: Logging,
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
    fn stopping_and_proxies_are_off_unless_asked_for() {
        let settings = parse(MINIMAL).unwrap();
        assert_eq!(
            (
                settings.stop.accept_seconds,
                settings.stop.session_seconds_max
            ),
            (0, 5)
        );
        assert!(settings.listeners.proxy_protocol.networks.is_empty());
        let text = MINIMAL.replace(
            "listeners:\n",
            "listeners:\n  proxyProtocol: {networks: [10.0.0.0/8, '::1']}\n",
        );
        let text = format!("{text}stop:\n  acceptSeconds: 5\n  sessionSecondsMax: 300\n");
        let settings = parse(&text).unwrap();
        assert_eq!(
            settings.listeners.proxy_protocol.networks,
            ["10.0.0.0/8", "::1"]
        );
        assert_eq!(
            (
                settings.stop.accept_seconds,
                settings.stop.session_seconds_max
            ),
            (5, 300)
        );
        assert_eq!(parse(&crate::yaml::write(&settings)), Ok(settings));
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
