//! The definitions of our kinds: complete, kept up to date, and no trap.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use murder_e2e::kube::{Kube, KubeMurder, OPERATOR_NAMESPACE, RELEASE, condition, repository};
use serde_json::Value;

use crate::{backend, kube, manifests};

const LIMIT: Duration = Duration::from_secs(60);

const NAMES: [&str; 3] = [
    "backends.murder.rs",
    "frontends.murder.rs",
    "murderclusters.murder.rs",
];

async fn definition(kube: &Kube, name: &str) -> Value {
    let found = kube.get("default", "crd", name).await.unwrap();
    found.unwrap_or_else(|| unreachable!("there is no definition {name}"))
}

/// Fields below a schema that have no description.
fn undescribed(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        // The API server describes these by itself.
        let is_common = path.is_empty() && ["apiVersion", "kind", "metadata"].contains(&&**name);
        let field_path = format!("{path}.{name}");
        if !is_common && field["description"].as_str().is_none_or(str::is_empty) {
            found.push(field_path.clone());
        }
        undescribed(field, &field_path, found);
    }
    for part in ["items", "additionalProperties"] {
        if schema[part].is_object() {
            undescribed(&schema[part], &format!("{path}.{part}"), found);
        }
    }
}

/// Rows 1 and 2: they apply on the server's side without a warning, and `kubectl explain` explains every field.
#[tokio::test]
async fn definitions_apply_without_a_warning_and_explain_every_field() {
    let kube = kube().await;
    let folder = repository().join("crds");
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--warnings-as-errors",
        "-f",
        folder.to_str().unwrap(),
    ];
    kube.kubectl(&apply).await.unwrap();
    for name in NAMES {
        let definition = definition(&kube, name).await;
        let mut found = Vec::new();
        for version in definition["spec"]["versions"].as_array().unwrap() {
            undescribed(&version["schema"]["openAPIV3Schema"], "", &mut found);
        }
        assert_eq!(found, Vec::<String>::new(), "{name}");
    }
    let explained = kube.kubectl(&["explain", "backend.spec.weight"]).await;
    let explained = explained.unwrap();
    assert!(explained.contains("Share of the users"), "{explained}");
}

/// The operator's chart with another definition of a kind, installed until this is dropped.
struct OtherDefinition;

impl OtherDefinition {
    /// Replaces a part of a definition.
    async fn install(kube: &Kube, file: &str, part: &str, other: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let chart = folder.path().join("murder-operator");
        let mut copy = std::process::Command::new("cp");
        copy.arg("-r").args([&ours(), &chart]);
        assert!(copy.status().unwrap().success());
        let file = chart.join("files/crds").join(file);
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.matches(part).count(), 1, "{part}");
        std::fs::write(&file, text.replace(part, other)).unwrap();
        let installed = Self;
        kube.helm(&upgrade(chart.to_str().unwrap())).await.unwrap();
        installed
    }
}

impl Drop for OtherDefinition {
    fn drop(&mut self) {
        let chart = ours();
        let chart = chart.to_str().unwrap();
        let mut helm = std::process::Command::new("helm");
        let done = helm.args(upgrade(chart)).status();
        assert!(done.is_ok_and(|done| done.success()), "it stays changed");
    }
}

fn ours() -> PathBuf {
    repository().join("charts/murder-operator")
}

/// Arguments of Helm that change nothing but the chart.
fn upgrade(chart: &str) -> [&str; 9] {
    [
        "upgrade",
        RELEASE,
        chart,
        "--namespace",
        OPERATOR_NAMESPACE,
        "--reuse-values",
        "--wait",
        "--timeout",
        "120s",
    ]
}

/// Row 43: `helm upgrade` brings definitions to those of its chart; an annotation tells which those are.
#[tokio::test]
async fn definitions_follow_the_chart() {
    let kube = kube().await;
    let name = "frontends.murder.rs";
    let file = "murder.rs_frontends.yaml";
    let before = definition(&kube, name).await;
    let part = "description: How many pods.";
    let other = "description: Number of pods.";
    let other = OtherDefinition::install(&kube, file, part, other).await;
    let changed = definition(&kube, name).await;
    drop(other);
    let after = definition(&kube, name).await;

    let described =
        "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/replicas/description";
    assert_eq!(changed.pointer(described).unwrap(), "Number of pods.");
    let hash =
        |definition: &Value| definition["metadata"]["annotations"]["murder.rs/schema-hash"].clone();
    assert!(hash(&before).is_string(), "{}", before["metadata"]);
    assert_ne!(hash(&changed), hash(&before));
    assert_eq!(hash(&after), hash(&before));
    assert_eq!(after["spec"], before["spec"]);
}

/// The rule for a Backend's weight, and one that lets any text pass.
const WEIGHT: &str = "\
                format: int32
                maximum: 1000.0
                minimum: 0.0
                type: integer
            required:
";
const ANY_WEIGHT: &str = "\
                x-kubernetes-int-or-string: true
            required:
";

/// Row 55: an object that the operator cannot read holds up nothing but itself, and is named in the log.
#[tokio::test]
async fn an_object_that_cannot_be_read_holds_up_nothing_else() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-unreadable", &text, 1)
        .await
        .unwrap();
    let namespace = &murder.namespace;
    let odd = backend("be-odd", "shared", "1Gi") + "  weight: heavy\n";
    let refused = kube.apply(namespace, &odd).await.unwrap_err();
    assert!(format!("{refused:#}").contains("weight"), "{refused:#}");
    let file = "murder.rs_backends.yaml";
    let other = OtherDefinition::install(&kube, file, WEIGHT, ANY_WEIGHT).await;
    kube.until("the API server takes be-odd", LIMIT, async || {
        kube.apply(namespace, &odd).await.map(|_| true)
    })
    .await
    .unwrap();
    murder.desire("be-b", "Cordoned").await.unwrap();
    let cordoned = "condition=Schedulable=False";
    kube.wait_for(namespace, "backend/be-b", cordoned, LIMIT)
        .await
        .unwrap();
    murder.ready(LIMIT).await.unwrap();
    kube.until("the log names be-odd", LIMIT, async || {
        let lines = operator_log(&kube).await?;
        Ok(lines
            .iter()
            .any(|line| line["message"] == "object_not_understood" && line["name"] == "be-odd"))
    })
    .await
    .unwrap();
    let ignored = murder.get("backend", "be-odd").await.unwrap();
    assert_eq!(condition(&ignored, "Ready").0, "", "{ignored}");
    drop(other);

    let delete = [
        "-n",
        namespace,
        "delete",
        "backend",
        "be-odd",
        "--timeout=60s",
    ];
    kube.kubectl_waiting(&delete).await.unwrap();
    murder.desire("be-b", "Active").await.unwrap();
    let schedulable = "condition=Schedulable";
    kube.wait_for(namespace, "backend/be-b", schedulable, LIMIT)
        .await
        .unwrap();
    murder.down().await.unwrap();
}

/// Lines of the operator's log.
async fn operator_log(kube: &Kube) -> anyhow::Result<Vec<Value>> {
    let selector = "app.kubernetes.io/name=murder-operator";
    let arguments = [
        "-n",
        OPERATOR_NAMESPACE,
        "logs",
        "-l",
        selector,
        "--tail=-1",
    ];
    let text = kube.kubectl(&arguments).await?;
    let lines = text.lines().map(|line| {
        let line = serde_json::from_str(line);
        line.context("the log is not JSON")
    });
    lines.collect()
}
