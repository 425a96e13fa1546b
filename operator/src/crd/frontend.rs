//! `Frontend`: a set of equal proxies.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{ClusterRef, Overlay, Switch, duration_schema};

/// A set of equal proxies that clients and mail servers connect to. Its conditions are Ready and Progressing.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "murder.rs",
    version = "v1alpha1",
    kind = "Frontend",
    plural = "frontends",
    shortname = "mfe",
    category = "murder",
    namespaced,
    status = "FrontendStatus",
    derive = "PartialEq",
    doc = "A set of equal proxies that mail clients and mail servers connect to.",
    selectable = ".spec.clusterRef.name",
    validation = Rule::new("size(self.metadata.name) <= 40").message("a Frontend's name has at most 40 characters"),
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Connections", type_ = "integer", json_path = ".status.connections"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct FrontendSpec {
    /// The murder whose mail is served. Immutable.
    #[x_kube(validation = Rule::new("self == oldSelf").message("clusterRef cannot be changed"))]
    pub cluster_ref: ClusterRef,
    /// How many.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// The Service in front.
    #[serde(default)]
    pub service: FrontendService,
    /// Which protocols are served.
    #[serde(default)]
    pub protocols: FrontendProtocols,
    /// How long sessions may last after a pod was told to stop.
    #[serde(default = "default_drain_timeout")]
    #[schemars(schema_with = "duration_schema")]
    pub drain_timeout: String,
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
}

fn default_replicas() -> i32 {
    2
}

fn default_drain_timeout() -> String {
    "5m".to_owned()
}

/// The Service in front of the proxies.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FrontendService {
    /// Kind of Service.
    #[serde(rename = "type")]
    pub service_type: ServiceType,
    /// Client networks that may connect, as CIDR; empty is all.
    #[schemars(length(max = 100), inner(length(max = 64)))]
    pub source_ranges: Vec<String>,
    /// Whether connections begin with a PROXY protocol header.
    pub proxy_protocol: Switch,
    /// Annotations of the Service.
    pub annotations: Overlay,
}

impl Default for FrontendService {
    fn default() -> Self {
        Self {
            service_type: ServiceType::default(),
            source_ranges: Vec::new(),
            proxy_protocol: Switch::Disabled,
            annotations: Overlay::default(),
        }
    }
}

/// Kind of Service.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ServiceType {
    /// Inside the cluster.
    #[default]
    ClusterIP,
    /// Through a load balancer.
    LoadBalancer,
    /// On a port of each machine.
    NodePort,
}

/// Which protocols are served.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FrontendProtocols {
    /// IMAP with STARTTLS.
    pub imap: Switch,
    /// IMAP over TLS.
    pub imaps: Switch,
    /// LMTP.
    pub lmtp: Switch,
}

/// What is seen of a Frontend.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendStatus {
    /// The generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that serve.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Label selector of the pods.
    #[serde(default)]
    pub selector: String,
    /// Open sessions.
    #[serde(default)]
    pub connections: i64,
    /// Observations, one of each type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Option<Vec<Condition>>,
}
