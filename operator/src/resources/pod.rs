//! The pods: one container with a mail node, its directories, probes and rights.

use k8s_openapi::api::core::v1::{ResourceRequirements, TopologySpreadConstraint};
use serde_json::{Map, Value, json};

use super::names::{
    self, ACCOUNTS_DIR, ACCOUNTS_KEY, CONTAINER, Component, DATA_DIR, PUBLIC_TLS_DIR, Port,
    SCRATCH_DIR, SETTINGS_DIR, SETTINGS_KEY, TLS_DIR,
};
use super::{Murder, RenderError, overlay};
use crate::crd::Overlay;

/// User and group of the node, as in its image.
const USER: u32 = 10_001;
/// Secrets are for the node's group to read and for nobody else.
const SECRET_MODE: u32 = 0o440;
/// How long an index may take to be rebuilt at a start, in seconds.
const START_SECONDS: u32 = 30 * 60;

/// Volumes that an overlay cannot change.
pub(super) const PROTECTED_VOLUMES: &[&str] =
    &["accounts", "data", "public-tls", "settings", "tls"];
/// Directories that an overlay can mount nothing at, in or above.
pub(super) const PROTECTED_DIRS: &[&str] = &[
    ACCOUNTS_DIR,
    DATA_DIR,
    PUBLIC_TLS_DIR,
    SETTINGS_DIR,
    TLS_DIR,
];

/// What the pods of one workload are made of.
#[derive(Debug)]
pub(super) struct Pod<'a> {
    pub(super) component: Component,
    /// Name of the Backend or Frontend.
    pub(super) member: &'a str,
    /// Name of the ConfigMap with the settings.
    pub(super) config: &'a str,
    pub(super) tls_secret: String,
    /// Secret with the certificate that clients see.
    pub(super) public_tls_secret: Option<&'a str>,
    /// Claim of the volume; scratch space if there is none.
    pub(super) claim: Option<String>,
    pub(super) ports: &'a [Port],
    pub(super) grace_seconds: u64,
    pub(super) resources: Option<&'a Overlay>,
    pub(super) topology_spread: &'a [Overlay],
    pub(super) overlay: &'a Overlay,
    /// Where the overlay stands in the spec.
    pub(super) overlay_field: &'static str,
    pub(super) restarted_at: Option<&'a str>,
}

impl Murder<'_> {
    /// The template without the annotation of its revision.
    pub(super) fn template(&self, pod: &Pod<'_>) -> Result<Value, RenderError> {
        let mut template = json!({
            "metadata": {"labels": self.labels(pod.component, pod.member)},
            "spec": {
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "securityContext": {
                    "runAsNonRoot": true,
                    "runAsUser": USER,
                    "runAsGroup": USER,
                    "fsGroup": USER,
                    "fsGroupChangePolicy": "OnRootMismatch",
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "terminationGracePeriodSeconds": pod.grace_seconds,
                "containers": [self.container(pod)?],
                "volumes": self.volumes(pod),
            },
        });
        if let Some(at) = pod.restarted_at {
            template["metadata"]["annotations"] = json!({names::RESTARTED_ANNOTATION: at});
        }
        if pod.component != Component::Mupdate {
            let peers = match pod.component {
                Component::Frontend => self.selector(pod.component, pod.member),
                Component::Backend | Component::Mupdate => self.selector(pod.component, ""),
            };
            template["spec"]["affinity"] = affinity(&peers);
            template["spec"]["topologySpreadConstraints"] =
                spread(pod.topology_spread, &peers)?.into();
        }
        overlay::lay(template, &pod.overlay.0, pod.overlay_field)
    }

    fn container(&self, pod: &Pod<'_>) -> Result<Value, RenderError> {
        let ports: Vec<Value> = pod
            .ports
            .iter()
            .map(|port| json!({"name": port.name, "containerPort": port.inside, "protocol": "TCP"}))
            .collect();
        let mut container = json!({
            "name": CONTAINER,
            "image": self.image(),
            "command": ["/usr/local/bin/murder-node"],
            "args": ["run", "--config", format!("{SETTINGS_DIR}/{SETTINGS_KEY}")],
            "ports": ports,
            "resources": resources(pod.resources)?,
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": true,
                "runAsNonRoot": true,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            // Looked at often, so that a node that starts fast serves soon; an index may take its time.
            "startupProbe": probe("/healthz", 1, 5, START_SECONDS),
            // A busy disk is no reason for a restart, which would make it busier.
            "livenessProbe": probe("/healthz", 10, 5, 6),
            "readinessProbe": probe("/readyz", 2, 2, 2),
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": mounts(pod),
        });
        if !self.defaults.pull_policy.is_empty() {
            container["imagePullPolicy"] = self.defaults.pull_policy.clone().into();
        }
        Ok(container)
    }

    /// The image of this murder's nodes.
    pub fn image(&self) -> &str {
        match self.cluster.spec.image.as_str() {
            "" => &self.defaults.image,
            image => image,
        }
    }

    fn volumes(&self, pod: &Pod<'_>) -> Vec<Value> {
        let accounts = match &self.cluster.spec.auth.secret_ref {
            Some(secret) => secret.name.clone(),
            None => names::accounts_secret(self.name()),
        };
        let accounts_key = json!([{"key": ACCOUNTS_KEY, "path": ACCOUNTS_KEY}]);
        let data = match &pod.claim {
            Some(claim) => json!({"name": "data", "persistentVolumeClaim": {"claimName": claim}}),
            None => json!({"name": "data", "emptyDir": {}}),
        };
        let secret = |name: &str, secret: &str| json!({"name": name, "secret": {"secretName": secret, "defaultMode": SECRET_MODE}});
        let mut accounts = secret("accounts", &accounts);
        accounts["secret"]["items"] = accounts_key;
        let mut volumes = vec![
            json!({"name": "settings", "configMap": {"name": pod.config}}),
            secret("tls", &pod.tls_secret),
            accounts,
            data,
            json!({"name": "scratch", "emptyDir": {}}),
        ];
        if let Some(name) = pod.public_tls_secret {
            volumes.push(secret("public-tls", name));
        }
        volumes
    }
}

fn mounts(pod: &Pod<'_>) -> Vec<Value> {
    let read = |name: &str, path: &str| json!({"name": name, "mountPath": path, "readOnly": true});
    let write = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    let mut mounts = vec![
        read("settings", SETTINGS_DIR),
        read("tls", TLS_DIR),
        read("accounts", ACCOUNTS_DIR),
        write("data", DATA_DIR),
        write("scratch", SCRATCH_DIR),
    ];
    if pod.public_tls_secret.is_some() {
        mounts.push(read("public-tls", PUBLIC_TLS_DIR));
    }
    mounts
}

fn probe(path: &str, period: u32, timeout: u32, failures: u32) -> Value {
    json!({
        "httpGet": {"path": path, "port": names::METRICS.name, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    })
}

/// Pods of the same kind rather on different machines.
fn affinity(peers: &Map<String, Value>) -> Value {
    json!({
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{
                "weight": 100,
                "podAffinityTerm": {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": peers},
                },
            }],
        },
    })
}

/// The constraints that the user names, about our pods if they do not say which; else rather all zones.
fn spread(wished: &[Overlay], peers: &Map<String, Value>) -> Result<Vec<Value>, RenderError> {
    if wished.is_empty() {
        return Ok(vec![json!({
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": peers},
        })]);
    }
    let mut constraints = Vec::new();
    for (index, constraint) in wished.iter().enumerate() {
        let mut constraint = constraint.0.clone();
        constraint
            .entry("labelSelector")
            .or_insert_with(|| json!({"matchLabels": peers}));
        let constraint = Value::Object(constraint);
        let field = || format!("spec.topologySpread[{index}]");
        for key in ["maxSkew", "topologyKey", "whenUnsatisfiable"] {
            if constraint.get(key).is_none() {
                return Err(RenderError::new(field(), format!("{key} is missing")));
            }
        }
        serde_json::from_value::<TopologySpreadConstraint>(constraint.clone())
            .map_err(|error| RenderError::new(field(), error))?;
        constraints.push(constraint);
    }
    Ok(constraints)
}

/// What the user says; where nothing is said of CPU or memory, a modest request.
fn resources(wished: Option<&Overlay>) -> Result<Value, RenderError> {
    let mut resources = wished.map(|wished| wished.0.clone()).unwrap_or_default();
    serde_json::from_value::<ResourceRequirements>(resources.clone().into())
        .map_err(|error| RenderError::new("spec.resources", error))?;
    let limits = resources.get("limits").cloned().unwrap_or_default();
    let mut requests = match resources.remove("requests") {
        Some(Value::Object(requests)) => requests,
        _ => Map::new(),
    };
    for (name, quantity) in [("cpu", "100m"), ("memory", "256Mi")] {
        // A limit alone is also the request: a default above it would be refused.
        if limits.get(name).is_none() {
            requests.entry(name).or_insert_with(|| quantity.into());
        }
    }
    resources.insert("requests".to_owned(), requests.into());
    Ok(resources.into())
}
