//! What pods may do, who may talk to whom, and how many may be away.

use std::time::Duration;

use murder_e2e::kube::KubeMurder;
use serde_json::{Value, json};

use crate::{kube, manifests};

const LIMIT: Duration = Duration::from_secs(60);

/// Rows 39 and 41: every pod of a murder holds to the restricted standard, which its namespace enforces, and has no
/// token of the API.
#[tokio::test]
async fn every_pod_is_restricted() {
    let kube = kube().await;
    let text = manifests(&["be-a"]);
    let murder = KubeMurder::up(&kube, "e2e-restricted", &text, 1)
        .await
        .unwrap();
    let pods = kube.list(&murder.namespace, "pods").await.unwrap();
    assert_eq!(pods.len(), 4, "a master, a Backend, two of the Frontend");
    for pod in &pods {
        let (name, spec) = (&pod["metadata"]["name"], &pod["spec"]);
        assert_eq!(spec["automountServiceAccountToken"], false, "{name}");
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{name}");
        let container = &spec["containers"][0]["securityContext"];
        assert_eq!(container["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(container["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(container["capabilities"]["drop"], json!(["ALL"]), "{name}");
        assert_eq!(
            pod["metadata"]["ownerReferences"][0]["controller"], true,
            "{name}"
        );
    }
    murder.down().await.unwrap();
}

/// Rows 35 and 63: a NetworkPolicy for each component, which opens the admin port to nobody outside, and budgets that
/// can be met.
#[tokio::test]
async fn policies_and_budgets_are_there() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-policies", &text, 1)
        .await
        .unwrap();
    let policies = kube
        .list(&murder.namespace, "networkpolicies")
        .await
        .unwrap();
    for component in ["mupdate", "backend", "frontend"] {
        let policy = policies.iter().find(|policy| {
            let labels = &policy["spec"]["podSelector"]["matchLabels"];
            labels["murder.rs/cluster"] == "mc"
                && labels["app.kubernetes.io/component"] == component
        });
        let policy = policy.unwrap_or_else(|| unreachable!("none for {component}: {policies:?}"));
        let types = policy["spec"]["policyTypes"].as_array().unwrap();
        assert!(types.contains(&json!("Ingress")), "{policy}");
        for rule in policy["spec"]["ingress"].as_array().unwrap() {
            let from_all = rule["from"].as_array().is_none_or(Vec::is_empty);
            let opens = |port: &Value| [json!("admin"), json!(8443)].contains(&port["port"]);
            let ports = rule["ports"].as_array();
            let opens_admin = ports.is_none_or(|ports| ports.iter().any(opens));
            assert!(!(from_all && opens_admin), "{component}: {rule}");
        }
    }
    for name in ["be-a", "be-b", "mc-mupdate", "fe"] {
        kube.until(&format!("budget {name} allows one"), LIMIT, async || {
            let budget = murder.get("pdb", name).await?;
            Ok(budget["status"]["disruptionsAllowed"].as_i64() >= Some(1))
        })
        .await
        .unwrap();
    }
    murder.down().await.unwrap();
}

/// Row 53: the admin interface talks to nobody without a certificate of the murder.
#[tokio::test]
async fn the_admin_interface_wants_a_certificate() {
    let kube = kube().await;
    let text = manifests(&["be-a"]);
    let murder = KubeMurder::up(&kube, "e2e-admin", &text, 1).await.unwrap();
    let pod = murder.get("pod", "be-a-0").await.unwrap();
    let address = pod["status"]["podIP"].as_str().unwrap();
    let output = tokio::process::Command::new("curl")
        .args([
            "-sS",
            "-k",
            "--max-time",
            "10",
            &format!("https://{address}:8443/v1/status"),
        ])
        .output()
        .await
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    assert!(
        error.contains("certificate required") || error.contains("alert"),
        "{error}"
    );
    murder.down().await.unwrap();
}
