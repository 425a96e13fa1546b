//! The usual settings of a node.

use std::path::Path;

use murder_api::settings::Role;
use serde_json::{Value, json};

use super::certificates::Files;
use super::{ADMIN, CLUSTER};
use crate::node::Addresses;

/// What differs between nodes.
pub(super) struct Facts<'a> {
    pub(super) role: Role,
    pub(super) name: &'a str,
    pub(super) server: &'a str,
    pub(super) data: &'a Path,
    pub(super) accounts: &'a Path,
    pub(super) addresses: Addresses,
    pub(super) files: &'a Files,
    /// Name and port of the master, if there is one and this is not it.
    pub(super) master: Option<(&'a str, u16)>,
    pub(super) is_unified: bool,
}

/// A role's word in settings and certificates.
pub(super) const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Backend => "backend",
        Role::Frontend => "frontend",
        Role::Mupdate => "mupdate",
        Role::Unified => "unified",
    }
}

/// Settings that allow plaintext on loopback, so that tests can speak line by line. What is logged is
/// for the variable MURDER_LOG to say.
pub(super) fn usual(facts: &Facts<'_>) -> Value {
    let level = std::env::var("MURDER_LOG").unwrap_or_else(|_| "info".to_owned());
    let mut settings = json!({
        "role": role_word(facts.role),
        "cluster": CLUSTER,
        "name": facts.name,
        "server": facts.server,
        "dataDir": facts.data,
        "listeners": listeners(facts.role, facts.addresses),
        "tls": {
            "certificate": facts.files.certificate,
            "key": facts.files.key,
            "ca": facts.files.ca,
        },
        "accounts": facts.accounts,
        "admins": [ADMIN],
        "insecureLoopback": true,
        "topology": if facts.is_unified { "Unified" } else { "Discrete" },
        "logging": { "format": "text", "level": level },
    });
    if let Some((name, port)) = facts.master {
        settings["mupdate"] = json!({ "host": "127.0.0.1", "port": port, "tlsName": name });
    }
    settings
}

fn listeners(role: Role, addresses: Addresses) -> Value {
    let mut listeners = json!({
        "admin": addresses.admin.to_string(),
        "metrics": addresses.metrics.to_string(),
    });
    if role == Role::Mupdate {
        listeners["mupdate"] = json!(addresses.mupdate.to_string());
        return listeners;
    }
    listeners["imap"] = json!(addresses.imap.to_string());
    listeners["imaps"] = json!(addresses.imaps.to_string());
    listeners["lmtp"] = json!(addresses.lmtp.to_string());
    if role.holds_mailboxes() {
        listeners["transfer"] = json!(addresses.transfer.to_string());
    }
    listeners
}
