//! Definitions of others' custom resources, for clusters that do not have them.

use murder_e2e::kube::{Kube, repository};
use serde_json::Value;
use tokio::process::Command;

/// Defines the kinds of files of `e2e/cluster/definitions` whose names end so; gives the names of definitions that were
/// not there before.
pub(crate) async fn define(kube: &Kube, endings: &[&str]) -> Vec<String> {
    let script = repository().join("e2e/cluster/definitions");
    let output = Command::new(script).output().await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let mut made = Vec::new();
    for path in String::from_utf8(output.stdout).unwrap().lines() {
        if !endings.iter().any(|ending| path.ends_with(ending)) {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let definition: Value = serde_yaml::from_str(&text).unwrap();
        let name = definition["metadata"]["name"].as_str().unwrap();
        if kube.get("default", "crd", name).await.unwrap().is_some() {
            continue;
        }
        let apply = ["apply", "--server-side", "-f", path];
        kube.kubectl(&apply).await.unwrap();
        made.push(name.to_owned());
        let object = format!("crd/{name}");
        let established = [
            "wait",
            &object,
            "--for=condition=Established",
            "--timeout=30s",
        ];
        kube.kubectl_waiting(&established).await.unwrap();
    }
    made
}

/// Takes definitions away.
pub(crate) async fn forget(kube: &Kube, names: &[String]) {
    for name in names {
        let delete = ["delete", "crd", name, "--timeout=60s"];
        kube.kubectl_waiting(&delete).await.unwrap();
    }
}
