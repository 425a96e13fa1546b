//! Settings of the nodes of a murder on Kubernetes.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use murder_api::settings::{
    Autocreate, Imap, Listeners, Lmtp, Logging, MupdateAddress, Partition, ProxyProtocol,
    PublicTlsFiles, Role, Settings, Stop, Store, TlsFiles, Topology, Transfer,
};
use murder_model::{PartitionName, ServerName, UserName};
use serde_json::{Map, Value, json};

use super::names::{self, ACCOUNTS_DIR, ACCOUNTS_KEY, DATA_DIR, PUBLIC_TLS_DIR, Port, TLS_DIR};
use super::{Murder, RenderError};
use crate::crd;

/// The account of the administrator.
pub(crate) const ADMIN: &str = "admin";

/// Units in flight from one server as far as the node is concerned. The operator starts no more than the MurderCluster
/// says, so that a change of `spec.transfer.parallelPerBackend` restarts no node.
const PARALLEL: usize = 64;

/// Seconds after which no machine sends a stopping pod new connections any more.
const ACCEPT_SECONDS: u64 = 5;

/// What the settings of one node depend on beside the murder.
#[derive(Debug)]
pub(super) struct NodeSettings<'a> {
    pub(super) role: Role,
    /// Name of the process.
    pub(super) name: String,
    /// Name of the server.
    pub(super) server: &'a str,
    /// Host under which other nodes reach it.
    pub(super) advertise: Option<String>,
    pub(super) ports: &'a [Port],
    pub(super) partitions: &'a [String],
    /// Networks that may deliver without login.
    pub(super) lmtp_networks: &'a [String],
    /// Networks of balancers that say by the PROXY protocol whom they pass on.
    pub(super) proxy_networks: &'a [String],
    /// How long sessions may last after the pod was told to stop, in seconds, if longer than a node's own measure.
    pub(super) drain_seconds: Option<u64>,
    /// Whether clients are shown another certificate than nodes.
    pub(super) public_tls: bool,
}

impl Murder<'_> {
    /// The text of a settings file, without what is at its default.
    pub(super) fn settings(&self, node: &NodeSettings<'_>) -> Result<String, RenderError> {
        let spec = &self.cluster.spec;
        let cluster = self.name();
        let master = names::mupdate(cluster);
        let has_master = spec.mupdate.replicas > 0 && node.role != Role::Mupdate;
        let settings = Settings {
            role: node.role,
            cluster: cluster.to_owned(),
            name: node.name.clone(),
            server: ServerName::parse(node.server)
                .map_err(|error| RenderError::new("metadata.name", error))?,
            data_dir: PathBuf::from(DATA_DIR),
            partitions: partitions(node.partitions)
                .map_err(|error| RenderError::new("spec.partitions", format!("{error:#}")))?,
            listeners: listeners(node.ports, node.proxy_networks),
            advertise: node.advertise.clone(),
            tls: Some(TlsFiles {
                certificate: Path::new(TLS_DIR).join("tls.crt"),
                key: Path::new(TLS_DIR).join("tls.key"),
                ca: Path::new(TLS_DIR).join("ca.crt"),
            }),
            public_tls: node.public_tls.then(|| PublicTlsFiles {
                certificate: Path::new(PUBLIC_TLS_DIR).join("tls.crt"),
                key: Path::new(PUBLIC_TLS_DIR).join("tls.key"),
            }),
            mupdate: has_master.then(|| MupdateAddress {
                host: names::pod_host(&master, self.namespace),
                port: names::MUPDATE.inside,
                tls_name: Some(names::pod(&master)),
            }),
            accounts: Path::new(ACCOUNTS_DIR).join(ACCOUNTS_KEY),
            admins: admins(&spec.auth.admins)
                .map_err(|error| RenderError::new("spec.auth.admins", format!("{error:#}")))?,
            lmtp_admins: admins(&[])
                .map_err(|error| RenderError::new("spec.auth.admins", format!("{error:#}")))?,
            domains: spec.domains.clone(),
            allow_plaintext_login: false,
            insecure_loopback: false,
            topology: topology(spec.topology),
            allow_all_subscribe: None,
            lmtp: Lmtp {
                trusted_networks: node.lmtp_networks.to_vec(),
                ..Lmtp::default()
            },
            imap: Imap::default(),
            stop: stop(node.drain_seconds),
            autocreate: Autocreate::default(),
            store: Store::default(),
            transfer: self.transfer(node.role)?,
            logging: Logging::default(),
        };
        checked(&settings)
    }

    fn transfer(&self, role: Role) -> Result<Transfer, RenderError> {
        if !role.holds_mailboxes() {
            return Ok(Transfer::default());
        }
        let transfer = &self.cluster.spec.transfer;
        let milliseconds = |field, text: &str| {
            duration_ms(text).ok_or_else(|| {
                RenderError::new(field, format!("{text:?} is not a duration such as 10m"))
            })
        };
        let grace = milliseconds("spec.transfer.gracePeriod", &transfer.grace_period)?;
        Ok(Transfer {
            parallel: PARALLEL,
            freeze_ms_max: milliseconds("spec.transfer.freezeTimeout", &transfer.freeze_timeout)?,
            grace_hours: grace.div_ceil(3_600_000),
            attempts_max: transfer.max_attempts.unsigned_abs(),
        })
    }
}

/// How nodes are spread, in the words of settings.
fn topology(topology: crd::Topology) -> Topology {
    match topology {
        crd::Topology::Discrete => Topology::Discrete,
        crd::Topology::Unified => Topology::Unified,
    }
}

/// The administrator's account and others, each once.
pub(crate) fn admins(more: &[String]) -> anyhow::Result<Vec<UserName>> {
    let names = more
        .iter()
        .map(String::as_str)
        .filter(|name| *name != ADMIN);
    let all = std::iter::once(ADMIN).chain(names);
    all.map(|name| UserName::parse(name).with_context(|| format!("user name {name}")))
        .collect()
}

/// Partitions in their usual places; one if none is named.
pub(crate) fn partitions(names: &[String]) -> anyhow::Result<Vec<Partition>> {
    let names = if names.is_empty() {
        &["default".to_owned()][..]
    } else {
        names
    };
    names
        .iter()
        .map(|name| {
            let name = PartitionName::parse(name).with_context(|| format!("partition {name}"))?;
            Ok(Partition {
                name,
                path: None,
                index_path: None,
            })
        })
        .collect()
}

/// With a drain timeout new connections are taken until every machine knows that the pod has left its Service.
fn stop(drain_seconds: Option<u64>) -> Stop {
    match drain_seconds {
        Some(seconds) => Stop {
            accept_seconds: ACCEPT_SECONDS.min(seconds),
            session_seconds_max: seconds,
        },
        None => Stop::default(),
    }
}

fn listeners(ports: &[Port], proxy_networks: &[String]) -> Listeners {
    let at = |port: Port| {
        let is_open = ports.contains(&port);
        is_open.then(|| format!("0.0.0.0:{}", port.inside))
    };
    Listeners {
        imap: at(names::IMAP),
        imaps: at(names::IMAPS),
        lmtp: at(names::LMTP),
        transfer: at(names::TRANSFER),
        mupdate: at(names::MUPDATE),
        admin: at(names::ADMIN),
        metrics: at(names::METRICS),
        proxy_protocol: ProxyProtocol {
            networks: proxy_networks.to_vec(),
        },
    }
}

/// Milliseconds of a duration such as `10m`.
pub(crate) fn duration_ms(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// The text of settings that a node accepts. What is at its default is left out, so that a node of another version
/// finds no key that it does not know.
fn checked(settings: &Settings) -> Result<String, RenderError> {
    let required = json!({
        "role": settings.role,
        "cluster": settings.cluster,
        "name": settings.name,
        "server": settings.server,
        "dataDir": settings.data_dir,
        "listeners": {},
        "accounts": settings.accounts,
    });
    let plain = |error| RenderError::new("settings", error);
    let bare: Settings = serde_json::from_value(required.clone()).map_err(plain)?;
    let bare = serde_json::to_value(bare).map_err(plain)?;
    let full = serde_json::to_value(settings).map_err(plain)?;
    let Value::Object(mut written) = difference(&full, &bare) else {
        return Err(RenderError::new("settings", "not an object"));
    };
    for (key, value) in required.as_object().into_iter().flatten() {
        written.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let text = murder_api::yaml::write(&written);
    match Settings::parse(Path::new(names::SETTINGS_KEY), &text) {
        Ok(_) => Ok(text),
        Err(problems) => {
            let first = problems.0.first().map_or("", |problem| &problem.message);
            let (key, reason) = first.split_once(": ").unwrap_or(("", first));
            Err(RenderError::new(spec_field(key), reason))
        }
    }
}

/// The field of a custom resource that a key of the settings comes from.
fn spec_field(key: &str) -> &str {
    match key {
        "domains" => "spec.domains",
        "listeners.proxyProtocol" => "spec.service.proxyProtocolNetworks",
        "lmtp.trustedNetworks" => "spec.lmtpTrustedNetworks",
        "partitions" => "spec.partitions",
        "stop.sessionSecondsMax" => "spec.drainTimeout",
        "transfer.attemptsMax" => "spec.transfer.maxAttempts",
        "transfer.freezeMsMax" => "spec.transfer.freezeTimeout",
        "" => "settings",
        other => other,
    }
}

/// What of `full` is not in `base`, without nulls.
fn difference(full: &Value, base: &Value) -> Value {
    match (full, base) {
        (Value::Object(full), Value::Object(base)) => {
            let mut found = Map::new();
            for (key, value) in full {
                let other = base.get(key).unwrap_or(&Value::Null);
                if value != other && !value.is_null() {
                    found.insert(key.clone(), difference(value, other));
                }
            }
            Value::Object(found)
        }
        (full, _) => without_nulls(full),
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}
