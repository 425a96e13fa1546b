//! Every object in full. `MURDER_WRITE_GOLDENS=1 cargo test` writes the files anew.

use std::path::Path;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use murder_operator::resources::Workload;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{backend, frontend, with_murder};

fn objects(workload: Workload) -> Vec<Value> {
    let Workload {
        config,
        services,
        set,
        ..
    } = workload;
    [config].into_iter().chain(services).chain([set]).collect()
}

fn check(file: &str, found: &[Value]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/resources")
        .join(file);
    if std::env::var_os("MURDER_WRITE_GOLDENS").is_some() {
        let text: Vec<String> = found
            .iter()
            .map(|object| serde_yaml::to_string(object).unwrap())
            .collect();
        std::fs::write(&path, text.join("---\n")).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let documents = murder_api::yaml::documents(&path, &text).unwrap();
    let expected: Vec<Value> = documents.into_iter().map(|(_, object)| object).collect();
    assert_eq!(found.len(), expected.len(), "{file}");
    for (found, expected) in found.iter().zip(&expected) {
        assert!(
            found == expected,
            "{file} differs:\n{}\ninstead of\n{}",
            serde_yaml::to_string(found).unwrap(),
            serde_yaml::to_string(expected).unwrap(),
        );
        fits_the_api(found);
    }
}

/// A typed object keeps every key: none is misspelt or misplaced.
fn fits_the_api(object: &Value) {
    fn keeps<T: DeserializeOwned + Serialize>(object: &Value) {
        let typed: T = serde_json::from_value(object.clone()).unwrap();
        contains(&serde_json::to_value(typed).unwrap(), object, "");
    }
    match object["kind"].as_str().unwrap() {
        "ConfigMap" => keeps::<ConfigMap>(object),
        "Deployment" => keeps::<Deployment>(object),
        "NetworkPolicy" => keeps::<NetworkPolicy>(object),
        "PersistentVolumeClaim" => keeps::<PersistentVolumeClaim>(object),
        "PodDisruptionBudget" => keeps::<PodDisruptionBudget>(object),
        "Service" => keeps::<Service>(object),
        "StatefulSet" => keeps::<StatefulSet>(object),
        // Kinds of the Prometheus operator have no types here.
        "PodMonitor" | "PrometheusRule" => {}
        kind => panic!("{kind} is not expected"),
    }
}

fn contains(all: &Value, part: &Value, path: &str) {
    match (all, part) {
        (Value::Object(all), Value::Object(part)) => {
            for (key, value) in part {
                let path = format!("{path}/{key}");
                let found = all.get(key).unwrap_or_else(|| panic!("{path} is unknown"));
                contains(found, value, &path);
            }
        }
        (Value::Array(all), Value::Array(part)) => {
            assert_eq!(all.len(), part.len(), "{path}");
            for (index, (all, part)) in all.iter().zip(part).enumerate() {
                contains(all, part, &format!("{path}/{index}"));
            }
        }
        _ => assert_eq!(all, part, "{path}"),
    }
}

#[test]
fn master() {
    with_murder(json!({}), |murder| {
        let mut found = objects(murder.mupdate().unwrap());
        found.push(murder.mupdate_claim());
        found.extend(murder.mupdate_budget(1).unwrap());
        check("mupdate.yaml", &found);
    });
}

#[test]
fn backend_of_a_discrete_murder() {
    with_murder(json!({}), |murder| {
        let backend = backend(json!({}));
        let mut found = objects(murder.backend(&backend).unwrap());
        found.push(murder.backend_claim(&backend));
        found.extend(murder.backend_budget(&backend, 0).unwrap());
        check("backend.yaml", &found);
    });
}

#[test]
fn backend_of_a_unified_murder() {
    with_murder(json!({"topology": "Unified"}), |murder| {
        let found = objects(murder.backend(&backend(json!({}))).unwrap());
        check("unified.yaml", &found);
    });
}

#[test]
fn single_unified_server_without_a_master() {
    let spec = json!({"topology": "Unified", "mupdate": {"replicas": 0}});
    with_murder(spec, |murder| {
        let found = objects(murder.backend(&backend(json!({}))).unwrap());
        check("single.yaml", &found[..1]);
        let policies = murder.network_policies().unwrap();
        let names: Vec<_> = policies
            .iter()
            .map(|p| p["metadata"]["name"].clone())
            .collect();
        assert_eq!(names, ["mc-backends", "mc-frontends"]);
    });
}

#[test]
fn frontend_with_defaults() {
    with_murder(json!({}), |murder| {
        let frontend = frontend(json!({"replicas": 2}));
        let mut found = objects(murder.frontend(&frontend).unwrap());
        found.extend(murder.frontend_budget(&frontend, 1).unwrap());
        check("frontend.yaml", &found);
    });
}

#[test]
fn frontend_with_everything() {
    with_murder(json!({"domains": ["example.org"]}), |murder| {
        let frontend = frontend(json!({
            "replicas": 3,
            "service": {
                "type": "LoadBalancer",
                "externalTrafficPolicy": "Local",
                "sourceRanges": ["192.0.2.0/24"],
                "proxyProtocol": "Enabled",
                "proxyProtocolNetworks": ["198.51.100.0/24"],
                "annotations": {"lb.example/kind": "internal"},
            },
            "protocols": {"imap": "Disabled"},
            "tls": {"secretRef": {"name": "mail-example-org"}},
            "lmtpTrustedNetworks": ["10.0.0.0/8"],
            "drainTimeout": "10m",
            "topologySpread": [
                {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"},
            ],
            "resources": {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
            "podOverlay": {"spec": {"priorityClassName": "mail"}},
        }));
        check(
            "frontend-full.yaml",
            &objects(murder.frontend(&frontend).unwrap()),
        );
    });
}

/// Row 63.
#[test]
fn network_policies_of_a_discrete_murder() {
    with_murder(json!({}), |murder| {
        check("policies.yaml", &murder.network_policies().unwrap());
    });
}

/// Row 63.
#[test]
fn network_policies_of_a_unified_murder() {
    with_murder(json!({"topology": "Unified"}), |murder| {
        check("policies-unified.yaml", &murder.network_policies().unwrap());
    });
}

#[test]
fn monitoring() {
    let spec = json!({"monitoring": {"podMonitor": "Enabled", "rules": "Enabled"}});
    with_murder(spec, |murder| {
        check("monitoring.yaml", &murder.monitoring().unwrap());
    });
}

#[test]
fn every_alert_of_a_murder_has_a_runbook() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/alerts.md");
    let runbooks = std::fs::read_to_string(path).unwrap();
    with_murder(json!({"monitoring": {"rules": "Enabled"}}), |murder| {
        let rules = murder.monitoring().unwrap()[0]["spec"]["groups"][0]["rules"].clone();
        let rules = rules.as_array().unwrap();
        assert_eq!(rules.len(), 7);
        for rule in rules {
            let name = rule["alert"].as_str().unwrap();
            assert!(runbooks.contains(&format!("\n### {name}\n")), "{name}");
        }
    });
}

#[test]
fn a_single_server_has_no_alerts_about_a_master() {
    let spec = json!({
        "topology": "Unified",
        "mupdate": {"replicas": 0},
        "monitoring": {"rules": "Enabled"},
    });
    with_murder(spec, |murder| {
        let rules = murder.monitoring().unwrap()[0]["spec"]["groups"][0]["rules"].clone();
        let names: Vec<_> = rules
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["alert"].clone())
            .collect();
        let expected = [
            "MurderNodeDown",
            "MurderPartitionFailed",
            "MurderVolumeNearlyFull",
            "MurderTransfersFail",
            "MurderNodeCertificateExpiry",
        ];
        assert_eq!(names, expected);
    });
}

#[test]
fn nothing_that_is_switched_off() {
    let spec = json!({"networkPolicy": {"state": "Disabled"}, "disruption": {"pdb": "Disabled"}});
    with_murder(spec, |murder| {
        assert_eq!(murder.network_policies().unwrap(), Vec::<Value>::new());
        assert_eq!(murder.monitoring().unwrap(), Vec::<Value>::new());
        assert_eq!(murder.mupdate_budget(1).unwrap(), None);
        assert_eq!(murder.backend_budget(&backend(json!({})), 1).unwrap(), None);
        assert_eq!(
            murder.frontend_budget(&frontend(json!({})), 1).unwrap(),
            None
        );
    });
}
