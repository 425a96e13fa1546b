//! Workloads: a StatefulSet of one pod for each server, a Deployment for each Frontend.

use murder_api::settings::Role;
use serde_json::{Value, json};

use super::names::{self, Component, Port, SETTINGS_KEY};
use super::pod::Pod;
use super::settings::{NodeSettings, duration_ms};
use super::{
    Murder, Owner, RenderError, Workload, fingerprint, is_on, name_of, restarted_at, volumes,
};
use crate::crd::{Backend, Frontend, Topology};

/// Seconds that a server gets to end its sessions and close its store.
const SERVER_GRACE_SECONDS: u64 = 60;
/// Seconds that a Frontend gets beyond its drain timeout.
const FRONTEND_GRACE_SECONDS: u64 = 30;

/// What a workload is put together from.
#[derive(Debug)]
struct Parts<'a> {
    name: &'a str,
    owner: Owner<'a>,
    node: NodeSettings<'a>,
    pod: Pod<'a>,
    services: Vec<Value>,
    inputs: String,
}

impl Murder<'_> {
    /// The mupdate master.
    pub fn mupdate(&self) -> Result<Workload, RenderError> {
        let owner = self.owner()?;
        let name = names::mupdate(self.name());
        let ports = [names::MUPDATE, names::ADMIN, names::METRICS];
        let named = [names::MUPDATE, names::ADMIN];
        let service = self.headless_service(&name, Component::Mupdate, "", owner, &named);
        let parts = Parts {
            name: &name,
            owner,
            node: NodeSettings {
                role: Role::Mupdate,
                name: names::pod(&name),
                server: &name,
                advertise: None,
                ports: &ports,
                partitions: &[],
                lmtp_networks: &[],
                proxy_networks: &[],
                drain_seconds: None,
                public_tls: false,
            },
            pod: Pod {
                component: Component::Mupdate,
                member: "",
                config: &name,
                tls_secret: names::tls_secret(&name),
                public_tls_secret: None,
                claim: Some(names::claim(&name)),
                ports: &ports,
                grace_seconds: SERVER_GRACE_SECONDS,
                resources: None,
                topology_spread: &[],
                overlay: &self.cluster.spec.mupdate.pod_overlay,
                overlay_field: "spec.mupdate.podOverlay",
                restarted_at: restarted_at(self.cluster),
            },
            services: vec![service],
            inputs: self.mupdate_inputs()?,
        };
        self.workload(parts, |template, metadata, selector| {
            stateful_set(&name, template, metadata, selector)
        })
    }

    /// A server of mailboxes.
    pub fn backend(&self, backend: &Backend) -> Result<Workload, RenderError> {
        let owner = Owner::of(backend)?;
        let name = name_of(backend);
        let unified = self.cluster.spec.topology == Topology::Unified;
        let (role, ports): (_, &[Port]) = match unified {
            false => (Role::Backend, &BACKEND_PORTS),
            true => (Role::Unified, &UNIFIED_PORTS),
        };
        let named = [names::IMAPS, names::LMTP, names::TRANSFER, names::ADMIN];
        let mut services =
            vec![self.headless_service(name, Component::Backend, name, owner, &named)];
        if unified {
            services.push(self.unified_service(name, owner));
        }
        let restart = restarts(restarted_at(self.cluster), restarted_at(backend));
        let parts = Parts {
            name,
            owner,
            node: NodeSettings {
                role,
                name: names::pod(name),
                server: name,
                advertise: Some(names::pod_host(name, self.namespace)),
                ports,
                partitions: &backend.spec.partitions,
                lmtp_networks: &[],
                proxy_networks: &[],
                drain_seconds: None,
                public_tls: false,
            },
            pod: Pod {
                component: Component::Backend,
                member: name,
                config: name,
                tls_secret: names::tls_secret(name),
                public_tls_secret: None,
                claim: Some(volumes::backend_claim_name(backend)),
                ports,
                grace_seconds: SERVER_GRACE_SECONDS,
                resources: Some(&backend.spec.resources),
                topology_spread: &backend.spec.topology_spread,
                overlay: &backend.spec.pod_overlay,
                overlay_field: "spec.podOverlay",
                restarted_at: restart.as_deref(),
            },
            services,
            inputs: self.backend_inputs(backend)?,
        };
        self.workload(parts, |template, metadata, selector| {
            stateful_set(name, template, metadata, selector)
        })
    }

    /// A set of proxies.
    pub fn frontend(&self, frontend: &Frontend) -> Result<Workload, RenderError> {
        if !self.has_master() {
            let reason = format!(
                "MurderCluster {} has no mupdate master (mupdate.replicas is 0), which a Frontend needs to find mailboxes",
                self.name()
            );
            return Err(RenderError::new("spec.clusterRef", reason));
        }
        let owner = Owner::of(frontend)?;
        let name = name_of(frontend);
        let ports = frontend_ports(frontend);
        let drain = duration_ms(&frontend.spec.drain_timeout).ok_or_else(|| {
            let reason = format!(
                "{:?} is not a duration such as 5m",
                frontend.spec.drain_timeout
            );
            RenderError::new("spec.drainTimeout", reason)
        })?;
        let drain_seconds = drain.div_ceil(1000);
        let restart = restarts(restarted_at(self.cluster), restarted_at(frontend));
        let parts = Parts {
            name,
            owner,
            node: NodeSettings {
                role: Role::Frontend,
                name: name.to_owned(),
                server: name,
                advertise: None,
                ports: &ports,
                partitions: &[],
                lmtp_networks: &frontend.spec.lmtp_trusted_networks,
                proxy_networks: proxy_networks(frontend),
                drain_seconds: Some(drain_seconds),
                public_tls: public_tls_secret(frontend).is_some(),
            },
            pod: Pod {
                component: Component::Frontend,
                member: name,
                config: name,
                tls_secret: names::tls_secret(name),
                public_tls_secret: public_tls_secret(frontend),
                claim: None,
                ports: &ports,
                grace_seconds: drain_seconds + FRONTEND_GRACE_SECONDS,
                resources: Some(&frontend.spec.resources),
                topology_spread: &frontend.spec.topology_spread,
                overlay: &frontend.spec.pod_overlay,
                overlay_field: "spec.podOverlay",
                restarted_at: restart.as_deref(),
            },
            services: vec![self.frontend_service(frontend, owner, &ports)?],
            inputs: self.frontend_inputs(frontend)?,
        };
        let replicas = frontend.spec.replicas;
        self.workload(parts, |template, metadata, selector| {
            deployment(replicas, template, metadata, selector)
        })
    }

    fn workload(
        &self,
        parts: Parts<'_>,
        set: impl FnOnce(Value, Value, Value) -> Value,
    ) -> Result<Workload, RenderError> {
        let Parts { name, pod, .. } = &parts;
        let settings = self.settings(&parts.node)?;
        let mut template = self.template(pod)?;
        let revision = fingerprint::of_value(&json!([settings, template]));
        template["metadata"]["annotations"][names::REVISION_ANNOTATION] = revision.clone().into();
        let labels = self.labels(pod.component, pod.member);
        let metadata = self.metadata(name, labels, parts.owner);
        let config = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {SETTINGS_KEY: settings},
        });
        let mut annotated = metadata;
        annotated["annotations"] = json!({
            names::INPUTS_ANNOTATION: parts.inputs,
            names::REVISION_ANNOTATION: revision,
        });
        let selector = json!({"matchLabels": self.selector(pod.component, pod.member)});
        Ok(Workload {
            config,
            set: set(template, annotated, selector),
            services: parts.services,
            revision,
            inputs: parts.inputs,
        })
    }
}

const BACKEND_PORTS: [Port; 5] = [
    names::IMAPS,
    names::LMTP,
    names::TRANSFER,
    names::ADMIN,
    names::METRICS,
];
const UNIFIED_PORTS: [Port; 6] = [
    names::IMAP,
    names::IMAPS,
    names::LMTP,
    names::TRANSFER,
    names::ADMIN,
    names::METRICS,
];

fn stateful_set(service: &str, template: Value, metadata: Value, selector: Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            "serviceName": service,
            "selector": selector,
            "updateStrategy": {"type": "OnDelete"},
            "template": template,
        },
    })
}

fn deployment(replicas: i32, template: Value, metadata: Value, selector: Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": selector,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0},
            },
            "template": template,
        },
    })
}

/// The wishes for a restart of a murder and of one object as one text that changes with each.
fn restarts(cluster: Option<&str>, own: Option<&str>) -> Option<String> {
    match (cluster, own) {
        (None, None) => None,
        (Some(at), None) | (None, Some(at)) => Some(at.to_owned()),
        (Some(cluster), Some(own)) => Some(format!("{cluster} {own}")),
    }
}

fn frontend_ports(frontend: &Frontend) -> Vec<Port> {
    let protocols = &frontend.spec.protocols;
    let mut ports = Vec::new();
    for (switch, port) in [
        (protocols.imap, names::IMAP),
        (protocols.imaps, names::IMAPS),
        (protocols.lmtp, names::LMTP),
    ] {
        if is_on(switch) {
            ports.push(port);
        }
    }
    ports.extend([names::ADMIN, names::METRICS]);
    ports
}

/// The Secret with the certificate that clients see, if it is not the one that nodes see.
fn public_tls_secret(frontend: &Frontend) -> Option<&str> {
    let secret = frontend.spec.tls.secret_ref.as_ref();
    secret.map(|secret| secret.name.as_str())
}

/// Networks whose connections begin with a PROXY header; without the switch none.
fn proxy_networks(frontend: &Frontend) -> &[String] {
    let service = &frontend.spec.service;
    match is_on(service.proxy_protocol) {
        true => &service.proxy_protocol_networks,
        false => &[],
    }
}
