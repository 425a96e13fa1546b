//! `Backend`: one server, its pod and its volume.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{ClusterRef, NodeDrain, Overlay, Storage, VolumeRetention, time_schema};

/// One server of a murder. Its conditions are Ready, Serving, Schedulable, Drained, DrainStalled, VolumeHealthy,
/// NodeDraining, UpdatePending and DeletionBlocked; the reason of Drained tells where a drain is.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "murder.rs",
    version = "v1alpha1",
    kind = "Backend",
    plural = "backends",
    shortname = "mbe",
    category = "murder",
    namespaced,
    status = "BackendStatus",
    derive = "PartialEq",
    doc = "One server of a murder, with its pod and its volume.",
    selectable = ".spec.clusterRef.name",
    validation = Rule::new("size(self.metadata.name) <= 40").message("a Backend's name has at most 40 characters"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("a Backend's name is lower-case letters, digits and `-`, and begins with a letter"),
    validation = Rule::new("!self.metadata.name.endsWith('-mupdate') && !self.metadata.name.endsWith('-mail')")
        .message("a Backend's name does not end with -mupdate or -mail: other objects are named so"),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(name = "State", type_ = "string", json_path = ".spec.desiredState"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Drain", type_ = "string", json_path = r#".status.conditions[?(@.type=="Drained")].reason"#),
    printcolumn(name = "Moved", type_ = "integer", json_path = ".status.drain.moved"),
    printcolumn(name = "Remaining", type_ = "integer", json_path = ".status.drain.remaining"),
    printcolumn(name = "Mailboxes", type_ = "integer", json_path = ".status.mailboxes"),
    printcolumn(name = "Used", type_ = "integer", json_path = ".status.usedBytes"),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.nodeName"),
    printcolumn(name = "Rate", type_ = "integer", json_path = ".status.drain.rateBps", priority = 1),
    printcolumn(name = "ETA", type_ = "string", json_path = ".status.drain.eta", priority = 1),
    printcolumn(name = "Connections", type_ = "integer", json_path = ".status.connections", priority = 1),
    printcolumn(name = "Movable", type_ = "boolean", json_path = ".status.volume.movable", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.deletionPolicy != 'Abandon' || size(self.confirmation) > 0")
    .message("deletionPolicy Abandon needs confirmation: the serverID whose mail may be lost"))]
#[x_kube(validation = Rule::new("has(self.adoptVolume) == has(oldSelf.adoptVolume) \
    && (!has(self.adoptVolume) || self.adoptVolume == oldSelf.adoptVolume)")
    .message("adoptVolume cannot be changed"))]
pub struct BackendSpec {
    /// The murder that the server belongs to. Immutable.
    #[x_kube(validation = Rule::new("self == oldSelf").message("clusterRef cannot be changed"))]
    pub cluster_ref: ClusterRef,
    /// Active serves and gets new users; Cordoned serves and gets none; Drained is emptied. Reversible.
    #[serde(default)]
    pub desired_state: DesiredState,
    /// Share of the users that drains of other backends bring here, relative to the others' weights; 0 takes none.
    #[serde(default = "default_weight")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: i32,
    /// The volume.
    #[serde(default)]
    pub storage: Storage,
    /// Names of the partitions on the volume. More may be added; none can be taken away.
    #[serde(default = "default_partitions")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 40)))]
    #[x_kube(validation = Rule::new("self.all(p, p.matches('^[A-Za-z0-9_-]+$'))")
        .message("partitions: each is letters, digits, `-` and `_`"))]
    #[x_kube(validation = Rule::new("self.all(p, self.exists_one(q, q == p))")
        .message("partitions: each is named once"))]
    #[x_kube(validation = Rule::new("oldSelf.all(p, p in self)")
        .message("partitions may be added, never removed"))]
    pub partitions: Vec<String>,
    /// What happens when the machine below is drained (`kubectl drain`).
    #[serde(default)]
    pub node_drain: NodeDrain,
    /// Where mailboxes may go when this backend is drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destinations: Option<Destinations>,
    /// What becomes of the volume when the Backend is deleted.
    #[serde(default)]
    pub volume_retention: VolumeRetention,
    /// An existing volume to start on, e.g. one that an earlier Backend left. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt_volume: Option<AdoptVolume>,
    /// What deletion does: Drain empties the backend before it goes; Abandon gives its mail up.
    #[serde(default)]
    pub deletion_policy: BackendDeletion,
    /// The serverID whose mail may be lost; for deletionPolicy Abandon only.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub confirmation: String,
    /// Topology spread constraints, as in a pod.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub topology_spread: Vec<Overlay>,
    /// Resources of the mail container, as in a pod.
    #[serde(default, skip_serializing_if = "Overlay::is_empty")]
    pub resources: Overlay,
    /// Parts of a pod template laid over the operator's.
    #[serde(default, skip_serializing_if = "Overlay::is_empty")]
    pub pod_overlay: Overlay,
    /// Whether the operator leaves this object and what belongs to it alone; its status is still written.
    #[serde(default)]
    pub paused: bool,
}

fn default_weight() -> i32 {
    100
}

fn default_partitions() -> Vec<String> {
    vec!["default".to_owned()]
}

/// What a Backend should be.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum DesiredState {
    /// Serves and gets new users.
    #[default]
    Active,
    /// Serves and gets no new users.
    Cordoned,
    /// Gives all its users to other backends.
    Drained,
}

/// What deletion does.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum BackendDeletion {
    /// Gives the mail up.
    Abandon,
    /// Empties the backend first.
    #[default]
    Drain,
}

/// Where mailboxes may go.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("size(self.allow) == 0 || size(self.deny) == 0")
    .message("destinations has allow or deny, not both"))]
pub struct Destinations {
    /// Only these Backends; empty is all.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(max = 40)))]
    pub allow: Vec<String>,
    /// None of these Backends.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(max = 40)))]
    pub deny: Vec<String>,
}

/// An existing volume.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AdoptVolume {
    /// Name of the claim.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
    /// The serverID that must be found on it.
    #[serde(rename = "serverID")]
    #[schemars(length(min = 1, max = 64))]
    pub server_id: String,
}

/// What is seen of a Backend.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    /// The generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Identity of the server, written once into its volume and verified ever after.
    #[serde(default, rename = "serverID", skip_serializing_if = "Option::is_none")]
    pub server_id: Option<String>,
    /// Its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// The machine that the pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Its volume claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_name: Option<String>,
    /// Identity of the claim.
    #[serde(default, rename = "claimUID", skip_serializing_if = "Option::is_none")]
    pub claim_uid: Option<String>,
    /// What is seen of the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeStatus>,
    /// Mailboxes served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailboxes: Option<i64>,
    /// Bytes of messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<i64>,
    /// Size of the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<i64>,
    /// Open IMAP and LMTP sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<i64>,
    /// How far a drain is; absent if none is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
    /// Observations, one of each type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Option<Vec<Condition>>,
}

/// What is seen of a volume.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeStatus {
    /// Phase of the claim: Pending, Bound or Lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Whether the volume can follow its pod to another machine; absent while that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub movable: Option<bool>,
    /// Size that the claim has now, as a Kubernetes quantity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// What the growth of the volume waits for; absent if it does not grow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<String>,
}

/// How far a drain is. Derived from the nodes at each pass.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DrainStatus {
    /// Why: Spec, ScaleIn, NodeDrain or Delete.
    pub reason: String,
    /// When it was first seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub started_at: Option<String>,
    /// When a byte or a user was last seen to move.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub last_progress_at: Option<String>,
    /// Users and shared roots to move in all.
    pub total: i64,
    /// Moved so far.
    pub moved: i64,
    /// Still here.
    pub remaining: i64,
    /// Bytes to move in all, as far as known.
    pub bytes_total: i64,
    /// Bytes moved so far.
    pub bytes_moved: i64,
    /// Bytes moved each second lately; absent until it can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<i64>,
    /// When all will have moved at this rate; absent until it can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub eta: Option<String>,
    /// Being moved now.
    pub in_flight: i64,
    /// How many were given up for now.
    pub failed_count: i64,
    /// The first of them.
    #[schemars(length(max = 10))]
    pub failed: Vec<FailedMove>,
}

/// A user or shared root that could not be moved.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FailedMove {
    /// Root of the unit, e.g. `user.alice`.
    #[serde(default)]
    pub root: String,
    /// Tries so far.
    #[serde(default)]
    pub attempts: i32,
    /// What the last try said.
    #[serde(default)]
    pub last_error: String,
}
