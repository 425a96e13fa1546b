//! What is wrong with settings beyond their types: keys that do not fit together, names, ranges.

use std::net::IpAddr;

use murder_model::{MailboxName, UserName};

use super::{Role, Settings};

/// Problems as (key path, what is allowed).
type Found = Vec<(&'static str, String)>;

impl Settings {
    /// Everything that is wrong beyond the types, as (key path, what is allowed).
    pub(super) fn problems(&self) -> Found {
        let mut found = Vec::new();
        self.check_roles(&mut found);
        self.check_listeners(&mut found);
        self.check_names(&mut found);
        self.check_numbers(&mut found);
        found
    }

    fn check_roles(&self, found: &mut Found) {
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
        if self.role == Role::Mupdate {
            if self.mupdate.is_some() {
                wrong("mupdate", "is not for the master itself");
            }
            if self.listeners.mupdate.is_none() {
                wrong("listeners", "the master needs `listeners.mupdate`");
            }
            if self.tls.is_none() {
                wrong(
                    "role",
                    "the master needs `tls`: nodes log in by certificate",
                );
            }
        }
        if self.role.holds_mailboxes() && self.mupdate.is_some() {
            let listeners = &self.listeners;
            let all = [&listeners.imaps, &listeners.lmtp, &listeners.transfer];
            if all.iter().any(|listener| listener.is_none()) {
                wrong(
                    "listeners",
                    "with a master a server of mailboxes needs `imaps`, `lmtp` and `transfer`",
                );
            }
        }
        if self.public_tls.is_some() && self.tls.is_none() {
            wrong("publicTls", "needs `tls` beside it");
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

    fn check_listeners(&self, found: &mut Found) {
        for (key, address) in self.listeners.all() {
            let Some(address) = address else { continue };
            let host = match address.rsplit_once(':') {
                Some((host, port)) if port.parse::<u16>().is_ok() && is_host(host) => host,
                _ => {
                    let message = format!("{address:?} is not `host:port` or `[address]:port`");
                    found.push((key, message));
                    continue;
                }
            };
            let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
            let loopback =
                host == "localhost" || address.is_ok_and(|address| address.is_loopback());
            if self.insecure_loopback && !loopback {
                let message = "`insecureLoopback` allows loopback addresses only".to_owned();
                found.push((key, message));
            }
        }
        if let Some(host) = self.advertise.as_deref().filter(|host| !is_host(host)) {
            let message = format!("{host:?} is not a host; ports are those of `listeners`");
            found.push(("advertise", message));
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
        self.check_networks(found);
    }

    fn check_networks(&self, found: &mut Found) {
        let proxies = &self.listeners.proxy_protocol.networks;
        if !proxies.is_empty() && !self.role.routes() {
            found.push((
                "listeners.proxyProtocol",
                "is for frontends and unified nodes, which clients connect to".to_owned(),
            ));
        }
        for network in proxies {
            if parse_network(network).is_none() {
                found.push((
                    "listeners.proxyProtocol",
                    format!("{network:?} is not `address/prefix`"),
                ));
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

    fn check_names(&self, found: &mut Found) {
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
        if !is_filter(&self.logging.level) {
            found.push((
                "logging.level",
                format!(
                    "{:?} is not a list of LEVEL or MODULE=LEVEL; levels are off, error, warn, info, \
                     debug and trace",
                    self.logging.level
                ),
            ));
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

    fn check_numbers(&self, found: &mut Found) {
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
        range(
            "stop.sessionSecondsMax",
            self.stop.session_seconds_max,
            0,
            86_400,
        );
        range(
            "stop.acceptSeconds",
            self.stop.accept_seconds,
            0,
            self.stop.session_seconds_max.min(3600),
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

/// Whether a host may stand before a port: an address of version 6 is in brackets.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(address) => address
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => !host.is_empty() && !host.contains([':', ']']),
    }
}

/// Whether a text says what is logged: `info`, `warn,murder_node=debug`.
fn is_filter(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    text.split(',').all(|directive| {
        let (module, level) = directive
            .rsplit_once('=')
            .unwrap_or(("murder_node", directive));
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
        !module.is_empty() && module.bytes().all(letter) && LEVELS.contains(&level)
    })
}

/// Parses `address/prefix` (or an address alone).
pub fn parse_network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= longest)?,
        None => longest,
    };
    Some((address, prefix))
}
