//! Names, labels, annotations, ports and paths of a murder's objects.

use std::fmt;

/// Name of the program, in `app.kubernetes.io/managed-by` and as the field manager.
pub const OPERATOR: &str = "murder-operator";
/// Value of `app.kubernetes.io/name` of all that belongs to mail nodes.
pub const NODE: &str = "murder-node";
/// Name of the container with the mail node.
pub const CONTAINER: &str = "node";

/// Label with the MurderCluster's name.
pub const CLUSTER_LABEL: &str = "murder.rs/cluster";
/// Label with the Backend's name.
pub const BACKEND_LABEL: &str = "murder.rs/backend";
/// Label with the Frontend's name.
pub const FRONTEND_LABEL: &str = "murder.rs/frontend";
/// Label of Backends that a MurderCluster's pool made, with its name.
pub const POOL_LABEL: &str = "murder.rs/pool";
/// Label with what a pod is.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// Label with the program's name.
pub const NAME_LABEL: &str = "app.kubernetes.io/name";

/// The finalizer of our kinds, and of volume claims.
pub const FINALIZER: &str = "murder.rs/murder";

/// Annotation with the hash of settings and pod template.
pub const REVISION_ANNOTATION: &str = "murder.rs/revision";
/// Annotation with the hash of what the user asked for.
pub const INPUTS_ANNOTATION: &str = "murder.rs/inputs";
/// Annotation by which a user asks for a restart.
pub const RESTARTED_ANNOTATION: &str = "murder.rs/restartedAt";

/// Key of the settings in their ConfigMap.
pub const SETTINGS_KEY: &str = "node.yaml";
/// Key of the accounts in their Secret.
pub const ACCOUNTS_KEY: &str = "accounts";

pub(super) const SETTINGS_DIR: &str = "/etc/murder";
pub(super) const TLS_DIR: &str = "/etc/murder-tls";
pub(super) const PUBLIC_TLS_DIR: &str = "/etc/murder-public-tls";
pub(super) const ACCOUNTS_DIR: &str = "/etc/murder-accounts";
pub(super) const DATA_DIR: &str = "/var/lib/murder";
pub(super) const SCRATCH_DIR: &str = "/tmp";

/// Part of a murder.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Component {
    /// Holds mailboxes.
    Backend,
    /// Faces clients.
    Frontend,
    /// Knows where mailboxes are.
    Mupdate,
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backend => "backend",
            Self::Frontend => "frontend",
            Self::Mupdate => "mupdate",
        })
    }
}

/// A port of a mail node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Port {
    /// Its name in the pod and in Services.
    pub name: &'static str,
    /// Its number in the pod.
    pub inside: u16,
    /// Its number in Services that clients use.
    pub outside: u16,
}

const fn port(name: &'static str, inside: u16, outside: u16) -> Port {
    Port {
        name,
        inside,
        outside,
    }
}

/// IMAP with STARTTLS.
pub const IMAP: Port = port("imap", 1143, 143);
/// IMAP over TLS.
pub const IMAPS: Port = port("imaps", 1993, 993);
/// LMTP.
pub const LMTP: Port = port("lmtp", 2003, 24);
/// Transfers between backends.
pub const TRANSFER: Port = port("transfer", 2006, 2006);
/// MUPDATE.
pub const MUPDATE: Port = port("mupdate", 3905, 3905);
/// The admin interface.
pub const ADMIN: Port = port("admin", 8443, 8443);
/// Metrics and health.
pub const METRICS: Port = port("metrics", 9090, 9090);

/// Name of the mupdate master's StatefulSet, Services, settings, budget and server.
pub fn mupdate(cluster: &str) -> String {
    format!("{cluster}-mupdate")
}

/// Name of the only pod of a StatefulSet.
pub fn pod(set: &str) -> String {
    format!("{set}-0")
}

/// Name of the Secret with the certificate of a server, of the mupdate master or of a Frontend.
pub fn tls_secret(server: &str) -> String {
    format!("{server}-tls")
}

/// Name of the volume claim that the operator makes for a server.
pub fn claim(server: &str) -> String {
    format!("{server}-data")
}

/// Name of the Secret with accounts, unless the MurderCluster names another.
pub fn accounts_secret(cluster: &str) -> String {
    format!("{cluster}-accounts")
}

/// Name of the Service by which clients reach a unified Backend.
pub fn client_service(backend: &str) -> String {
    format!("{backend}-mail")
}

/// Name under which the only pod of a StatefulSet is reached in the whole Kubernetes.
pub fn pod_host(set: &str, namespace: &str) -> String {
    format!("{}.{set}.{namespace}.svc", pod(set))
}
