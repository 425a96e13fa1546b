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
