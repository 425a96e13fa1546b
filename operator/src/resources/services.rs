//! Services: one without an address for each server, and those that clients connect to.

use serde_json::{Map, Value, json};

use super::names::{self, Component, Port};
use super::{Murder, Owner, RenderError, name_of};
use crate::crd::{Frontend, ServiceType, TrafficPolicy};

impl Murder<'_> {
    /// The Service that gives a server's pod its name, also while the pod is not ready: nodes must reach a server that
    /// serves no clients.
    pub(super) fn headless_service(
        &self,
        name: &str,
        component: Component,
        member: &str,
        owner: Owner<'_>,
        ports: &[Port],
    ) -> Value {
        let labels = self.labels(component, member);
        let ports: Vec<Value> = ports
            .iter()
            .map(|port| service_port(port.name, port.inside))
            .collect();
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(name, labels, owner),
            "spec": {
                "type": "ClusterIP",
                "clusterIP": "None",
                "publishNotReadyAddresses": true,
                "selector": self.selector(component, member),
                "ports": ports,
            },
        })
    }

    /// The Service by which clients reach a unified Backend.
    pub(super) fn unified_service(&self, backend: &str, owner: Owner<'_>) -> Value {
        let ports = [names::IMAP, names::IMAPS, names::LMTP];
        let labels = self.labels(Component::Backend, backend);
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(&names::client_service(backend), labels, owner),
            "spec": {
                "type": "ClusterIP",
                "selector": self.selector(Component::Backend, backend),
                "ports": client_ports(&ports),
            },
        })
    }

    /// The Service in front of a Frontend.
    pub(super) fn frontend_service(
        &self,
        frontend: &Frontend,
        owner: Owner<'_>,
        ports: &[Port],
    ) -> Result<Value, RenderError> {
        let name = name_of(frontend);
        let wished = &frontend.spec.service;
        let mut metadata = self.metadata(name, self.labels(Component::Frontend, name), owner);
        if !wished.annotations.0.is_empty() {
            metadata["annotations"] = strings(&wished.annotations.0, "spec.service.annotations")?;
        }
        let kind = match wished.service_type {
            ServiceType::ClusterIP => "ClusterIP",
            ServiceType::LoadBalancer => "LoadBalancer",
            ServiceType::NodePort => "NodePort",
        };
        let mut spec = json!({
            "type": kind,
            "selector": self.selector(Component::Frontend, name),
            "ports": client_ports(ports),
        });
        if wished.service_type != ServiceType::ClusterIP {
            spec["externalTrafficPolicy"] = match wished.external_traffic_policy {
                TrafficPolicy::Cluster => "Cluster",
                TrafficPolicy::Local => "Local",
            }
            .into();
        }
        if !wished.source_ranges.is_empty() {
            if wished.service_type != ServiceType::LoadBalancer {
                let reason =
                    format!("only a Service of type LoadBalancer keeps others out, this is {kind}");
                return Err(RenderError::new("spec.service.sourceRanges", reason));
            }
            let wrong = |range: &&String| murder_api::settings::parse_network(range).is_none();
            if let Some(range) = wished.source_ranges.iter().find(wrong) {
                let reason = format!("{range:?} is not `address/prefix`");
                return Err(RenderError::new("spec.service.sourceRanges", reason));
            }
            spec["loadBalancerSourceRanges"] = wished.source_ranges.clone().into();
        }
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": spec,
        }))
    }
}

fn client_ports(ports: &[Port]) -> Vec<Value> {
    let client = [names::IMAP, names::IMAPS, names::LMTP];
    client
        .iter()
        .filter(|port| ports.contains(port))
        .map(|port| service_port(port.name, port.outside))
        .collect()
}

fn service_port(name: &str, number: u16) -> Value {
    json!({"name": name, "port": number, "targetPort": name, "protocol": "TCP"})
}

/// A map whose values are all text, as annotations are.
fn strings(map: &Map<String, Value>, field: &str) -> Result<Value, RenderError> {
    match map.iter().find(|(_, value)| !value.is_string()) {
        Some((key, value)) => Err(RenderError::new(
            format!("{field}[{key}]"),
            format!("{value} is not a string; write it in quotes"),
        )),
        None => Ok(map.clone().into()),
    }
}
