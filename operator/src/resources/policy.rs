//! Who may reach the pods, and how many of them may go at a time.

use serde_json::{Map, Value, json};

use super::names::{self, Component, Port};
use super::{Murder, Owner, RenderError, is_on, name_of};
use crate::crd::{Backend, Frontend, Topology};

/// A PodDisruptionBudget. A pod that is not ready may always go: waiting for it helps nobody.
fn budget(metadata: Value, selector: Map<String, Value>, max_unavailable: i32) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {
            "maxUnavailable": max_unavailable,
            "selector": {"matchLabels": selector},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    })
}

impl Murder<'_> {
    /// The mupdate master's budget; none if the MurderCluster wants none.
    pub fn mupdate_budget(&self, max_unavailable: i32) -> Result<Option<Value>, RenderError> {
        let name = names::mupdate(self.name());
        self.member_budget(
            &name,
            Component::Mupdate,
            "",
            self.owner()?,
            max_unavailable,
        )
    }

    /// A Backend's budget; none if the MurderCluster wants none.
    pub fn backend_budget(
        &self,
        backend: &Backend,
        max_unavailable: i32,
    ) -> Result<Option<Value>, RenderError> {
        let (name, owner) = (name_of(backend), Owner::of(backend)?);
        self.member_budget(name, Component::Backend, name, owner, max_unavailable)
    }

    /// A Frontend's budget; none if the MurderCluster wants none.
    pub fn frontend_budget(
        &self,
        frontend: &Frontend,
        max_unavailable: i32,
    ) -> Result<Option<Value>, RenderError> {
        let (name, owner) = (name_of(frontend), Owner::of(frontend)?);
        self.member_budget(name, Component::Frontend, name, owner, max_unavailable)
    }

    fn member_budget(
        &self,
        name: &str,
        component: Component,
        member: &str,
        owner: Owner<'_>,
        max_unavailable: i32,
    ) -> Result<Option<Value>, RenderError> {
        if !is_on(self.cluster.spec.disruption.pdb) {
            return Ok(None);
        }
        let metadata = self.metadata(name, self.labels(component, member), owner);
        let selector = self.selector(component, member);
        Ok(Some(budget(metadata, selector, max_unavailable)))
    }

    /// One NetworkPolicy for each component; none if the MurderCluster wants none. What a pod sends is not restricted.
    pub fn network_policies(&self) -> Result<Vec<Value>, RenderError> {
        if !is_on(self.cluster.spec.network_policy.state) {
            return Ok(Vec::new());
        }
        let nodes = json!({"podSelector": {"matchLabels": {names::CLUSTER_LABEL: self.name()}}});
        let from_nodes = |ports: &[Port]| json!({"from": [nodes], "ports": tcp(ports)});
        let from_all = |ports: &[Port]| json!({"ports": tcp(ports)});
        let client = [names::IMAP, names::IMAPS, names::LMTP];
        let name = self.name();
        let backends = match self.cluster.spec.topology {
            Topology::Discrete => vec![from_nodes(&[names::IMAPS, names::LMTP, names::TRANSFER])],
            Topology::Unified => vec![from_all(&client), from_nodes(&[names::TRANSFER])],
        };
        let mut policies = Vec::new();
        if self.has_master() {
            let rules = vec![from_nodes(&[names::MUPDATE])];
            policies.push(self.policy(&names::mupdate(name), Component::Mupdate, rules)?);
        }
        let own = format!("{name}-backends");
        policies.push(self.policy(&own, Component::Backend, backends)?);
        let own = format!("{name}-frontends");
        policies.push(self.policy(&own, Component::Frontend, vec![from_all(&client)])?);
        Ok(policies)
    }

    fn policy(
        &self,
        name: &str,
        component: Component,
        mut rules: Vec<Value>,
    ) -> Result<Value, RenderError> {
        rules.push(json!({
            "from": [{
                "namespaceSelector": {},
                "podSelector": {"matchLabels": {names::NAME_LABEL: names::OPERATOR}},
            }],
            "ports": tcp(&[names::ADMIN]),
        }));
        rules.push(json!({
            "from": [{"namespaceSelector": {}}],
            "ports": tcp(&[names::METRICS]),
        }));
        let labels = self.labels(component, "");
        Ok(json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": self.metadata(name, labels, self.owner()?),
            "spec": {
                "podSelector": {"matchLabels": self.selector(component, "")},
                "policyTypes": ["Ingress"],
                "ingress": rules,
            },
        }))
    }
}

fn tcp(ports: &[Port]) -> Vec<Value> {
    ports
        .iter()
        .map(|port| json!({"port": port.inside, "protocol": "TCP"}))
        .collect()
}
