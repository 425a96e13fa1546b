//! `MurderCluster`: the murder as a whole, with its mupdate master and its pool of Backends.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{
    ConfigReference, NodeDrain, Overlay, Storage, Switch, Topology, VolumeRetention,
    duration_schema,
};

/// A murder. Its conditions are Ready, MupdateAvailable, Progressing, Degraded, Rebalanced, UpdatePending,
/// DeletionBlocked and Paused.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "murder.rs",
    version = "v1alpha1",
    kind = "MurderCluster",
    plural = "murderclusters",
    shortname = "mc",
    category = "murder",
    namespaced,
    status = "MurderClusterStatus",
    derive = "PartialEq",
    doc = "A group of mail servers that looks like one.",
    validation = Rule::new("size(self.metadata.name) <= 40").message("a MurderCluster's name has at most 40 characters"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("a MurderCluster's name is lower-case letters, digits and `-`, and begins with a letter"),
    validation = Rule::new("!has(self.spec.backends) || size(self.metadata.name) <= 36")
        .message("with a pool, a MurderCluster's name has at most 36 characters: its Backends' names are longer"),
    validation = Rule::new("self.spec.deletionPolicy != 'Abandon' || self.spec.confirmation == self.metadata.name")
        .message("deletionPolicy Abandon needs confirmation: the name of this MurderCluster"),
    scale(
        spec_replicas_path = ".spec.backends.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Backends", type_ = "string", json_path = ".status.backends"),
    printcolumn(name = "Draining", type_ = "integer", json_path = ".status.draining"),
    printcolumn(name = "Mupdate", type_ = "string", json_path = ".status.mupdatePrimary"),
    printcolumn(name = "Skew%", type_ = "integer", json_path = ".status.skewPercent"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Mailboxes", type_ = "integer", json_path = ".status.mailboxes", priority = 1),
    printcolumn(name = "Bytes", type_ = "integer", json_path = ".status.bytes", priority = 1),
    printcolumn(name = "Rebalance", type_ = "string", json_path = r#".status.conditions[?(@.type=="Rebalanced")].reason"#, priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.topology == 'Unified' || self.mupdate.replicas == 1")
    .message("mupdate.replicas 0 is for topology Unified with exactly one Backend"))]
#[x_kube(validation = Rule::new("self.mupdate.replicas == 1 || !has(self.backends) || self.backends.replicas <= 1")
    .message("mupdate.replicas 0 is for topology Unified with exactly one Backend"))]
pub struct MurderClusterSpec {
    /// Image of the mail nodes; empty is the operator's own.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub image: String,
    /// Whether the operator leaves the whole murder alone; its status is still written.
    #[serde(default)]
    pub paused: bool,
    /// What a node is. Immutable.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("topology cannot be changed"))]
    pub topology: Topology,
    /// Domains accepted in recipients; empty is any.
    #[serde(default)]
    #[schemars(length(max = 1000), inner(length(max = 253)))]
    pub domains: Vec<String>,
    /// The mupdate master.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self.replicas >= oldSelf.replicas")
        .message("mupdate.replicas cannot go back to 0"))]
    pub mupdate: Mupdate,
    /// A pool of equal Backends that the operator makes; absent if they are written out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backends: Option<Pool>,
    /// How many Backends are drained at a time.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub max_concurrent_drains: i32,
    /// Fewest Backends that stay active.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub min_active: i32,
    /// How mailboxes are moved.
    #[serde(default)]
    pub transfer: Transfer,
    /// What happens when machines are drained.
    #[serde(default)]
    pub disruption: Disruption,
    /// How mailboxes are spread again.
    #[serde(default)]
    pub rebalance: Rebalance,
    /// How a new version is rolled out.
    #[serde(default)]
    pub update: Update,
    /// Certificates.
    #[serde(default)]
    pub tls: Tls,
    /// Accounts.
    #[serde(default)]
    pub auth: Auth,
    /// What becomes of the mupdate master's volume.
    #[serde(default)]
    pub volume_retention: VolumeRetention,
    /// Whether the murder may be deleted while it holds mail.
    #[serde(default)]
    pub deletion_policy: ClusterDeletion,
    /// The MurderCluster's name; for deletionPolicy Abandon only.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub confirmation: String,
    /// Objects for monitoring.
    #[serde(default)]
    pub monitoring: Monitoring,
    /// Network policies.
    #[serde(default)]
    pub network_policy: NetworkPolicy,
}

const fn one() -> i32 {
    1
}

/// The mupdate master.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Mupdate {
    /// 1, or 0 for a single unified server.
    #[schemars(range(min = 0, max = 1))]
    pub replicas: i32,
    /// Its volume.
    pub storage: Storage,
    /// Parts of a pod template laid over the operator's.
    #[serde(skip_serializing_if = "Overlay::is_empty")]
    pub pod_overlay: Overlay,
}

impl Default for Mupdate {
    fn default() -> Self {
        Self {
            replicas: 1,
            storage: Storage::default(),
            pod_overlay: Overlay::default(),
        }
    }
}

/// A pool of equal Backends.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Pool {
    /// How many; fewer drains the surplus first.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// Which Backend goes first; before it those with the annotation `murder.rs/remove-first: "true"`.
    pub removal_preference: RemovalPreference,
    /// What each is made of.
    pub template: PoolTemplate,
}

/// Which Backend of a pool goes first; before it those with the annotation `murder.rs/remove-first: "true"`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RemovalPreference {
    /// The one with the highest number.
    Annotated,
    /// The one with the fewest bytes.
    #[default]
    LeastData,
    /// The youngest.
    Newest,
}

/// What each Backend of a pool is made of.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PoolTemplate {
    /// Share of the users that drains of other backends bring here, relative to the others' weights; 0 takes none.
    #[schemars(range(min = 0, max = 1000))]
    pub weight: i32,
    /// The volume.
    pub storage: Storage,
    /// What becomes of a volume after a scale-in.
    pub volume_retention: VolumeRetention,
    /// What happens when the machine below is drained (`kubectl drain`).
    pub node_drain: NodeDrain,
    /// Topology spread constraints, as in a pod.
    #[schemars(length(max = 16))]
    pub topology_spread: Vec<Overlay>,
    /// Resources of the mail container, as in a pod.
    #[serde(skip_serializing_if = "Overlay::is_empty")]
    pub resources: Overlay,
    /// Parts of a pod template laid over the operator's.
    #[serde(skip_serializing_if = "Overlay::is_empty")]
    pub pod_overlay: Overlay,
}

impl Default for PoolTemplate {
    fn default() -> Self {
        Self {
            weight: 100,
            storage: Storage::default(),
            volume_retention: VolumeRetention::DeleteWhenEmpty,
            node_drain: NodeDrain::default(),
            topology_spread: Vec::new(),
            resources: Overlay::default(),
            pod_overlay: Overlay::default(),
        }
    }
}

/// How mailboxes are moved.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Transfer {
    /// Users moved at a time from one backend.
    #[schemars(range(min = 1, max = 64))]
    pub parallel_per_backend: i32,
    /// Users moved at a time in all.
    #[schemars(range(min = 1, max = 1000))]
    pub parallel_total: i32,
    /// Most bytes that one backend sends each second; 0 is no limit. A change holds at once. However low it is, each
    /// running move sends 17 KiB a second, so that its destination knows it alive.
    #[schemars(range(min = 0))]
    pub bytes_per_second_per_backend: i64,
    /// Most bytes that all backends send each second, shared evenly by those that send; 0 is no limit. A change
    /// holds at once.
    #[schemars(range(min = 0))]
    pub bytes_per_second_total: i64,
    /// Longest time that writes wait at the end of a move.
    #[schemars(schema_with = "duration_schema")]
    pub freeze_timeout: String,
    /// Tries before a move is given up for now.
    #[schemars(range(min = 1, max = 100))]
    pub max_attempts: i32,
    /// How long the source keeps its copy.
    #[schemars(schema_with = "duration_schema")]
    pub grace_period: String,
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            parallel_per_backend: 4,
            parallel_total: 16,
            bytes_per_second_per_backend: 0,
            bytes_per_second_total: 0,
            freeze_timeout: "1s".to_owned(),
            max_attempts: 8,
            grace_period: "24h".to_owned(),
        }
    }
}

/// What happens when machines are drained.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Disruption {
    /// For Backends that say Inherit.
    pub node_drain: NodeDrain,
    /// Whether PodDisruptionBudgets are made.
    pub pdb: Switch,
}

/// How mailboxes are spread again.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rebalance {
    /// Whether moves are proposed. None is made by itself: see `status.rebalance` and `kubectl murder move`.
    pub mode: RebalanceMode,
    /// Skew from which on moves are proposed.
    #[schemars(range(min = 1, max = 1000))]
    pub threshold_percent: i32,
    /// What is evened out.
    pub target: RebalanceTarget,
    /// Most moves in a proposal.
    #[schemars(range(min = 1, max = 100000))]
    pub max_moves_per_run: i32,
}

impl Default for Rebalance {
    fn default() -> Self {
        Self {
            mode: RebalanceMode::default(),
            threshold_percent: 20,
            target: RebalanceTarget::default(),
            max_moves_per_run: 1000,
        }
    }
}

/// Whether it is proposed to spread mailboxes again.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RebalanceMode {
    /// No. Not named Off, which YAML reads as false.
    #[default]
    Disabled,
    /// Yes, in `status.rebalance`; nothing moves by itself.
    Propose,
}

/// What is evened out.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RebalanceTarget {
    /// Bytes of mail.
    #[default]
    Bytes,
    /// Number of mailboxes.
    Mailboxes,
}

/// How a new version is rolled out.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Update {
    /// By itself or on approval.
    pub strategy: UpdateStrategy,
    /// The revision that may be rolled out; for Supervised.
    #[schemars(length(max = 64))]
    pub approved_revision: String,
}

/// By itself or on approval.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum UpdateStrategy {
    /// By itself.
    #[default]
    Rolling,
    /// On approval.
    Supervised,
}

/// Certificates inside the murder; with neither reference the operator is its own authority.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.secretRef) || !has(self.issuerRef)")
    .message("tls has secretRef or issuerRef, not both"))]
pub struct Tls {
    /// Secret with `tls.crt`, `tls.key` and `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<ConfigReference>,
    /// Issuer of cert-manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<ConfigReference>,
    /// How long a certificate of a node is good for; not with secretRef.
    #[serde(default = "default_certificate_duration")]
    #[schemars(schema_with = "duration_schema")]
    pub certificate_duration: String,
    /// How long before its end a certificate is made anew, without a restart; at most two thirds of its duration; not
    /// with secretRef.
    #[serde(default = "default_renew_before")]
    #[schemars(schema_with = "duration_schema")]
    pub renew_before: String,
}

fn default_certificate_duration() -> String {
    "90d".to_owned()
}

fn default_renew_before() -> String {
    "30d".to_owned()
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            secret_ref: None,
            issuer_ref: None,
            certificate_duration: default_certificate_duration(),
            renew_before: default_renew_before(),
        }
    }
}

/// Accounts.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Auth {
    /// Secret with the accounts file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<ConfigReference>,
    /// Users that may act for others and administer.
    #[schemars(length(max = 100), inner(length(max = 128)))]
    pub admins: Vec<String>,
}

/// Whether a murder may be deleted while it holds mail.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ClusterDeletion {
    /// It may, with the confirmation.
    Abandon,
    /// It may not.
    #[default]
    Refuse,
}

/// Objects for monitoring.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Monitoring {
    /// Whether a PodMonitor is made.
    pub pod_monitor: Switch,
    /// Whether a PrometheusRule is made.
    pub rules: Switch,
}

impl Default for Monitoring {
    fn default() -> Self {
        Self {
            pod_monitor: Switch::Disabled,
            rules: Switch::Disabled,
        }
    }
}

/// Network policies.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Whether they are made.
    pub state: Switch,
}

/// What is seen of a murder.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MurderClusterStatus {
    /// The generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Backends of the pool.
    #[serde(default)]
    pub replicas: i32,
    /// Backends that serve.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Label selector of the backends' pods.
    #[serde(default)]
    pub selector: String,
    /// Backends that serve, of all, e.g. `3/3`.
    #[serde(default)]
    pub backends: String,
    /// Backends that are being emptied.
    #[serde(default)]
    pub draining: i32,
    /// The mupdate master's pod.
    #[serde(default)]
    pub mupdate_primary: String,
    /// Version that the nodes run; with several, the one that most run.
    #[serde(default)]
    pub version: String,
    /// Mailboxes in all.
    #[serde(default)]
    pub mailboxes: i64,
    /// Bytes of messages in all.
    #[serde(default)]
    pub bytes: i64,
    /// Difference between the fullest and the emptiest backend, by their mean.
    #[serde(default)]
    pub skew_percent: i32,
    /// The revision that runs.
    #[serde(default)]
    pub current_revision: String,
    /// The revision that should run.
    #[serde(default)]
    pub update_revision: String,
    /// Backends that wait for their turn to be drained.
    #[schemars(length(max = 1000))]
    #[serde(default)]
    pub drain_queue: Vec<String>,
    /// The proposal to spread mailboxes again; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebalance: Option<RebalanceStatus>,
    /// Observations, one of each type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Option<Vec<Condition>>,
}

/// A proposal to spread mailboxes again.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RebalanceStatus {
    /// Names the proposal by its content: it changes when the moves do.
    pub plan_hash: String,
    /// Moves in all.
    pub moves: i64,
    /// Bytes of them.
    pub bytes: i64,
    /// Difference between the fullest and the emptiest backend, by their mean, after all of them.
    pub skew_percent_after: i32,
    /// The first of them, those with the greatest effect first; `kubectl murder move` makes one.
    #[schemars(length(max = 50))]
    pub first: Vec<ProposedMove>,
}

/// A move that would even backends out.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProposedMove {
    /// Root of the unit, e.g. `user.alice`.
    pub root: String,
    /// The Backend that has it.
    pub from: String,
    /// The Backend that would get it.
    pub to: String,
    /// Its bytes.
    pub bytes: i64,
}
