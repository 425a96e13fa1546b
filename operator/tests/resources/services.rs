//! Services that clients connect to.

use serde_json::{Value, json};

use crate::{frontend, with_murder};

fn service(spec: Value) -> Value {
    with_murder(json!({}), |murder| {
        let workload = murder.frontend(&frontend(spec)).unwrap();
        assert_eq!(workload.services.len(), 1);
        workload.services[0].clone()
    })
}

#[test]
fn only_protocols_that_are_served_have_ports() {
    let spec = json!({"protocols": {"imap": "Disabled", "lmtp": "Disabled"}});
    let ports = json!([{"name": "imaps", "port": 993, "targetPort": "imaps", "protocol": "TCP"}]);
    assert_eq!(service(spec.clone())["spec"]["ports"], ports);
    with_murder(json!({}), |murder| {
        let workload = murder.frontend(&frontend(spec)).unwrap();
        let text = workload.config["data"]["node.yaml"].as_str().unwrap();
        let settings: Value = serde_yaml::from_str(text).unwrap();
        let listeners = json!({
            "admin": "0.0.0.0:8443",
            "imaps": "0.0.0.0:1993",
            "metrics": "0.0.0.0:9090",
        });
        assert_eq!(settings["listeners"], listeners);
    });
}

#[test]
fn a_load_balancer_lets_in_the_networks_that_are_named() {
    let spec = json!({"service": {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "sourceRanges": ["192.0.2.0/24", "2001:db8::/32"],
        "annotations": {"lb.example/kind": "internal"},
    }});
    let found = service(spec);
    assert_eq!(
        found["metadata"]["annotations"],
        json!({"lb.example/kind": "internal"})
    );
    assert_eq!(found["spec"]["type"], "LoadBalancer");
    assert_eq!(found["spec"]["externalTrafficPolicy"], "Local");
    assert_eq!(
        found["spec"]["loadBalancerSourceRanges"],
        json!(["192.0.2.0/24", "2001:db8::/32"])
    );
}

#[test]
fn the_traffic_policy_is_for_services_that_are_reached_from_outside() {
    let policy = |kind: &str| {
        service(json!({"service": {"type": kind}}))["spec"]["externalTrafficPolicy"].clone()
    };
    assert_eq!(policy("ClusterIP"), Value::Null);
    assert_eq!(policy("NodePort"), "Cluster");
    assert_eq!(policy("LoadBalancer"), "Cluster");
}
