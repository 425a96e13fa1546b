//! What every pod has: no rights that it does not need, no token, places to run.

use serde_json::{Value, json};

use crate::{backend, frontend, with_murder};

/// The pod templates of a discrete and of a unified murder.
fn templates() -> Vec<Value> {
    let mut found = Vec::new();
    for topology in ["Discrete", "Unified"] {
        with_murder(json!({"topology": topology}), |murder| {
            let sets = [
                murder.mupdate().unwrap(),
                murder.backend(&backend(json!({}))).unwrap(),
                murder.frontend(&frontend(json!({}))).unwrap(),
            ];
            found.extend(sets.map(|workload| workload.set["spec"]["template"].clone()));
        });
    }
    found
}

/// Row 39: each field that the level "restricted" of the pod security standards asks for.
#[test]
fn row_39_pods_are_restricted() {
    for template in templates() {
        let spec = &template["spec"];
        for host in [
            "hostNetwork",
            "hostPID",
            "hostIPC",
            "initContainers",
            "ephemeralContainers",
        ] {
            assert_eq!(spec[host], Value::Null, "{host}");
        }
        let allowed = ["configMap", "emptyDir", "persistentVolumeClaim", "secret"];
        for volume in spec["volumes"].as_array().unwrap() {
            let kinds = volume
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "name");
            let kinds: Vec<_> = kinds.collect();
            assert!(
                matches!(kinds[..], [kind] if allowed.contains(&kind.as_str())),
                "{volume}"
            );
        }
        let pod = &spec["securityContext"];
        let expected = json!({
            "runAsNonRoot": true,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        assert_eq!(*pod, expected);
        let containers = spec["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1);
        let expected = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        assert_eq!(containers[0]["securityContext"], expected);
        for port in containers[0]["ports"].as_array().unwrap() {
            assert!(port["containerPort"].as_i64().unwrap() >= 1024, "{port}");
            assert_eq!(port["hostPort"], Value::Null);
        }
    }
}

/// Row 41.
#[test]
fn row_41_the_root_is_read_only_and_no_token_is_mounted() {
    for template in templates() {
        let spec = &template["spec"];
        assert_eq!(spec["automountServiceAccountToken"], false);
        assert_eq!(spec["serviceAccountName"], Value::Null);
        let node = &spec["containers"][0];
        assert_eq!(node["securityContext"]["readOnlyRootFilesystem"], true);
        let mounts = node["volumeMounts"].as_array().unwrap();
        let writable: Vec<_> = mounts
            .iter()
            .filter(|mount| mount["readOnly"] != true)
            .map(|mount| mount["mountPath"].clone())
            .collect();
        assert_eq!(writable, ["/var/lib/murder", "/tmp"]);
    }
}

/// Row 48: an index may be rebuilt for half an hour; a node that does not serve leaves its Services and lives on.
#[test]
fn row_48_probes_tell_starting_from_serving_from_dead() {
    for template in templates() {
        let node = &template["spec"]["containers"][0];
        let path = |probe: &str| node[probe]["httpGet"]["path"].clone();
        assert_eq!(path("startupProbe"), "/healthz");
        assert_eq!(path("livenessProbe"), "/healthz");
        assert_eq!(path("readinessProbe"), "/readyz");
        let number = |key: &str| node["startupProbe"][key].as_u64().unwrap();
        assert_eq!(number("periodSeconds") * number("failureThreshold"), 1800);
    }
}

/// Row 62.
#[test]
fn row_62_backends_rather_lie_on_different_machines_and_in_all_zones() {
    let peers = json!({"matchLabels": {"app.kubernetes.io/component": "backend", "murder.rs/cluster": "mc"}});
    with_murder(json!({}), |murder| {
        let workload = murder.backend(&backend(json!({}))).unwrap();
        let spec = &workload.set["spec"]["template"]["spec"];
        let term = &spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
            [0];
        assert_eq!(
            term["podAffinityTerm"]["topologyKey"],
            "kubernetes.io/hostname"
        );
        assert_eq!(term["podAffinityTerm"]["labelSelector"], peers);
        let zones = json!([{
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": peers,
        }]);
        assert_eq!(spec["topologySpreadConstraints"], zones);
    });
}

/// Row 62.
#[test]
fn row_62_constraints_of_a_frontend_take_the_place_of_the_defaults() {
    let racks = json!({"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"});
    let others = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": "x"}}});
    with_murder(json!({}), |murder| {
        let spec = json!({"topologySpread": [racks, others]});
        let workload = murder.frontend(&frontend(spec)).unwrap();
        let found = &workload.set["spec"]["template"]["spec"]["topologySpreadConstraints"];
        let own = json!({"matchLabels": {
            "app.kubernetes.io/component": "frontend",
            "murder.rs/cluster": "mc",
            "murder.rs/frontend": "fe",
        }});
        assert_eq!(found[0]["topologyKey"], "rack");
        assert_eq!(found[0]["labelSelector"], own);
        assert_eq!(found[1], others);
    });
}

/// Row 66.
#[test]
fn row_66_resources_are_requested_unless_the_user_says_otherwise() {
    let resources = |wished: Value| {
        with_murder(json!({}), |murder| {
            let workload = murder
                .backend(&backend(json!({"resources": wished})))
                .unwrap();
            workload.set["spec"]["template"]["spec"]["containers"][0]["resources"].clone()
        })
    };
    let defaults = json!({"cpu": "100m", "memory": "256Mi"});
    assert_eq!(resources(json!({})), json!({"requests": defaults}));
    assert_eq!(
        resources(json!({"requests": {"cpu": "2"}})),
        json!({"requests": {"cpu": "2", "memory": "256Mi"}})
    );
    // A limit alone is the request too; a default above it would be refused.
    assert_eq!(
        resources(json!({"limits": {"memory": "128Mi"}})),
        json!({"limits": {"memory": "128Mi"}, "requests": {"cpu": "100m"}})
    );
}

#[test]
fn a_frontend_may_take_its_drain_timeout_to_end() {
    for (timeout, grace) in [("5m", 330), ("1500ms", 32), ("0s", 30), ("2h", 7230)] {
        with_murder(json!({}), |murder| {
            let workload = murder
                .frontend(&frontend(json!({"drainTimeout": timeout})))
                .unwrap();
            let spec = &workload.set["spec"]["template"]["spec"];
            assert_eq!(spec["terminationGracePeriodSeconds"], grace, "{timeout}");
        });
    }
}

#[test]
fn accounts_come_from_the_secret_that_is_named() {
    let secret = |spec: Value| {
        with_murder(spec, |murder| {
            let workload = murder.backend(&backend(json!({}))).unwrap();
            let volumes = &workload.set["spec"]["template"]["spec"]["volumes"];
            let volume = volumes
                .as_array()
                .unwrap()
                .iter()
                .find(|v| v["name"] == "accounts");
            volume.unwrap()["secret"]["secretName"].clone()
        })
    };
    assert_eq!(secret(json!({})), "mc-accounts");
    assert_eq!(
        secret(json!({"auth": {"secretRef": {"name": "users"}}})),
        "users"
    );
}

#[test]
fn the_administrator_is_always_one_and_once() {
    let spec = json!({"auth": {"admins": ["admin", "postmaster"]}});
    with_murder(spec, |murder| {
        let workload = murder.backend(&backend(json!({}))).unwrap();
        let text = workload.config["data"]["node.yaml"].as_str().unwrap();
        let settings: Value = serde_yaml::from_str(text).unwrap();
        assert_eq!(settings["admins"], json!(["admin", "postmaster"]));
        assert_eq!(settings["lmtpAdmins"], json!(["admin"]));
    });
}

/// Rows 48 and 49: a stopping Frontend takes connections until it has left its Service, and its sessions last.
#[test]
fn row_49_a_stopping_frontend_lets_sessions_end_within_its_drain_timeout() {
    for (timeout, accept, sessions) in
        [("5m", 5, 300), ("3s", 3, 3), ("2500ms", 3, 3), ("0s", 0, 0)]
    {
        with_murder(json!({}), |murder| {
            let workload = murder
                .frontend(&frontend(json!({"drainTimeout": timeout})))
                .unwrap();
            let text = workload.config["data"]["node.yaml"].as_str().unwrap();
            let settings = murder_api::Settings::parse("node.yaml".as_ref(), text).unwrap();
            assert_eq!(settings.stop.accept_seconds, accept, "{timeout}");
            assert_eq!(settings.stop.session_seconds_max, sessions, "{timeout}");
            let grace = &workload.set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
            assert!(grace.as_u64().unwrap() >= sessions + 15, "{timeout}");
        });
    }
}

#[test]
fn only_a_frontend_with_the_proxy_protocol_expects_its_headers() {
    for (switch, expected) in [("Enabled", vec!["198.51.100.0/24"]), ("Disabled", vec![])] {
        with_murder(json!({}), |murder| {
            let service =
                json!({"proxyProtocol": switch, "proxyProtocolNetworks": ["198.51.100.0/24"]});
            let workload = murder
                .frontend(&frontend(json!({"service": service})))
                .unwrap();
            let text = workload.config["data"]["node.yaml"].as_str().unwrap();
            let settings = murder_api::Settings::parse("node.yaml".as_ref(), text).unwrap();
            assert_eq!(settings.listeners.proxy_protocol.networks, expected);
        });
    }
}
