//! `Frontend`: a set of equal proxies.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{ClusterRef, ConfigReference, Overlay, Switch, duration_schema, texts_schema};

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
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("a Frontend's name is lower-case letters, digits and `-`, and begins with a letter"),
    validation = Rule::new("!self.metadata.name.endsWith('-mupdate') && !self.metadata.name.endsWith('-mail')")
        .message("a Frontend's name does not end with -mupdate or -mail: other objects are named so"),
    validation = Rule::new("!has(self.spec.tls) || !has(self.spec.tls.secretRef) || self.spec.tls.secretRef.name != self.metadata.name + '-tls'")
        .message("tls.secretRef: the Secret named after the Frontend with -tls is the operator's own; give the public certificate's Secret another name, such as one with -public-tls"),
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
    /// How many pods.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// The Service in front.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self.proxyProtocol == 'Disabled' || size(self.proxyProtocolNetworks) > 0")
        .message("proxyProtocol Enabled needs proxyProtocolNetworks: the networks of the balancers"))]
    #[x_kube(validation = Rule::new("self.proxyProtocol == 'Enabled' || size(self.proxyProtocolNetworks) == 0")
        .message("proxyProtocolNetworks is for proxyProtocol Enabled"))]
    #[x_kube(validation = Rule::new("self.proxyProtocolNetworks.all(n, isCIDR(n))")
        .message("proxyProtocolNetworks: each is a network such as 10.0.0.0/8"))]
    #[x_kube(validation = Rule::new("self.sourceRanges.all(n, isCIDR(n))")
        .message("sourceRanges: each is a network such as 10.0.0.0/8"))]
    #[x_kube(validation = Rule::new("self.type == 'LoadBalancer' || size(self.sourceRanges) == 0")
        .message("sourceRanges is for type LoadBalancer"))]
    #[x_kube(validation = Rule::new("self.type != 'ClusterIP' || self.externalTrafficPolicy == 'Cluster'")
        .message("externalTrafficPolicy Local is for type LoadBalancer or NodePort"))]
    pub service: FrontendService,
    /// Which protocols are served.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self.imap == 'Enabled' || self.imaps == 'Enabled' || self.lmtp == 'Enabled'")
        .message("protocols: at least one is Enabled"))]
    pub protocols: FrontendProtocols,
    /// The certificate that clients see.
    #[serde(default)]
    pub tls: FrontendTls,
    /// Networks, as CIDR, whose hosts may deliver over LMTP without authentication; empty is none.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(max = 64)))]
    #[x_kube(validation = Rule::new("self.all(n, isCIDR(n))")
        .message("lmtpTrustedNetworks: each is a network such as 10.0.0.0/8"))]
    pub lmtp_trusted_networks: Vec<String>,
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
    /// Whether traffic from outside may be sent on to pods of other machines; Local keeps the client's address.
    pub external_traffic_policy: TrafficPolicy,
    /// Client networks that may connect, as CIDR; empty is all. For type LoadBalancer.
    #[schemars(length(max = 100), inner(length(max = 64)))]
    pub source_ranges: Vec<String>,
    /// Whether connections from the balancers begin with a PROXY protocol header, version 1 or 2.
    pub proxy_protocol: Switch,
    /// Networks of the balancers, as CIDR: only they may, and must, send that header.
    #[schemars(length(max = 100), inner(length(max = 64)))]
    pub proxy_protocol_networks: Vec<String>,
    /// Annotations of the Service.
    #[schemars(schema_with = "texts_schema")]
    pub annotations: Overlay,
}

impl Default for FrontendService {
    fn default() -> Self {
        Self {
            service_type: ServiceType::default(),
            external_traffic_policy: TrafficPolicy::default(),
            source_ranges: Vec::new(),
            proxy_protocol: Switch::Disabled,
            proxy_protocol_networks: Vec::new(),
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

/// Where traffic from outside the cluster may go.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum TrafficPolicy {
    /// To every pod.
    #[default]
    Cluster,
    /// To pods of the machine that it arrived at, with the client's address.
    Local,
}

/// The certificate that clients see.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FrontendTls {
    /// Secret with `tls.crt` and `tls.key`, read again when it changes; absent is a certificate of the murder's own
    /// authority. Not the Frontend's name with `-tls`: so the operator names the certificate that other nodes see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<ConfigReference>,
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
