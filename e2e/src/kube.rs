//! A Kubernetes that tests and the demonstration drive with `kubectl` and `helm`, as a person would.
//!
//! Both come from PATH, with the cluster of KUBECONFIG. Service addresses must be reachable from here: for the cluster of
//! this repository run the program by `e2e/cluster/enter`. For others, `E2E_REACH=forward` reaches Services by
//! `kubectl port-forward`.

pub mod demo;
mod forward;
mod machine;
mod murder;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::sleep;

pub use machine::Frozen;
pub use murder::{KubeMurder, USERS};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// How long one call of a program may take, if it does not wait for something.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// Namespace of the operator.
pub const OPERATOR_NAMESPACE: &str = "murder-system";
/// Name of the operator's release, and of its Deployment.
pub const RELEASE: &str = "murder-operator";

/// A cluster.
#[derive(Clone, Debug, Default)]
pub struct Kube {
    _private: (),
}

/// The repository that this program was built from.
pub fn repository() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

async fn run(program: &str, arguments: &[&str], input: Option<&str>) -> Result<String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let mut stdin = child.stdin.take().context("the program has no input")?;
    // A program that does not read is told by its exit code.
    let _ = stdin.write_all(input.unwrap_or_default().as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        text(&output.stderr).trim()
    );
    Ok(text(&output.stdout))
}

impl Kube {
    /// Finds the cluster.
    pub async fn connect() -> Result<Self> {
        let kube = Self::default();
        kube.kubectl(&["get", "--raw", "/readyz"]).await.context(
            "no cluster: run `make cluster-up`, and this program by `e2e/cluster/enter`",
        )?;
        Ok(kube)
    }

    /// Runs `kubectl`; gives what it wrote.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let call = run("kubectl", arguments, None);
        let limit = tokio::time::timeout(CALL_LIMIT, call).await;
        limit.with_context(|| format!("kubectl {} takes too long", arguments.join(" ")))?
    }

    /// Runs `kubectl` that waits for something, as long as its own time limit says.
    pub async fn kubectl_waiting(&self, arguments: &[&str]) -> Result<String> {
        run("kubectl", arguments, None).await
    }

    /// Runs `helm`; gives what it wrote.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        run("helm", arguments, None).await
    }

    /// Applies manifests in a namespace.
    pub async fn apply(&self, namespace: &str, manifests: &str) -> Result<String> {
        let arguments = ["-n", namespace, "apply", "-f", "-"];
        run("kubectl", &arguments, Some(manifests)).await
    }

    /// An object; none if it is not there.
    pub async fn get(&self, namespace: &str, kind: &str, name: &str) -> Result<Option<Value>> {
        let arguments = [
            "-n",
            namespace,
            "get",
            kind,
            name,
            "-o",
            "json",
            "--ignore-not-found",
        ];
        let text = self.kubectl(&arguments).await?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&text)?))
    }

    /// All objects of a kind.
    pub async fn list(&self, namespace: &str, kind: &str) -> Result<Vec<Value>> {
        let text = self
            .kubectl(&["-n", namespace, "get", kind, "-o", "json"])
            .await?;
        let list: Value = serde_json::from_str(&text)?;
        let items = list["items"].as_array().cloned();
        Ok(items.unwrap_or_default())
    }

    /// Changes an object by a merge patch.
    pub async fn patch(&self, namespace: &str, kind: &str, name: &str, patch: &str) -> Result<()> {
        let arguments = [
            "-n", namespace, "patch", kind, name, "--type", "merge", "-p", patch,
        ];
        self.kubectl(&arguments).await.map(|_| ())
    }

    /// Waits until something holds; says what was waited for if it takes too long.
    pub async fn until<F>(&self, what: &str, limit: Duration, mut holds: F) -> Result<()>
    where
        F: AsyncFnMut() -> Result<bool>,
    {
        let begun = Instant::now();
        let mut last = None;
        while begun.elapsed() < limit {
            match holds().await {
                Ok(true) => return Ok(()),
                Ok(false) => last = None,
                Err(error) => last = Some(error),
            }
            sleep(LOOK).await;
        }
        match last {
            Some(error) => Err(error.context(format!("{what}: not within {limit:?}"))),
            None => bail!("{what}: not within {limit:?}"),
        }
    }

    /// Waits for a condition of an object, as `kubectl wait` does.
    pub async fn wait_for(
        &self,
        namespace: &str,
        object: &str,
        condition: &str,
        limit: Duration,
    ) -> Result<()> {
        let (condition, limit) = (
            format!("--for={condition}"),
            format!("--timeout={}s", limit.as_secs()),
        );
        let arguments = ["-n", namespace, "wait", object, &condition, &limit];
        self.kubectl_waiting(&arguments).await.map(|_| ())
    }

    /// Installs the operator from its chart, or brings it to these values.
    pub async fn install_operator(&self, values: &[&str]) -> Result<()> {
        let chart = repository().join("charts/murder-operator");
        let chart = chart.to_string_lossy().into_owned();
        let mut arguments = vec![
            "upgrade",
            "--install",
            RELEASE,
            &chart,
            "-n",
            OPERATOR_NAMESPACE,
            "--create-namespace",
            "--wait",
            "--timeout",
            "120s",
            "--set",
            "image.tag=dev,nodeImage.tag=dev,leaseSeconds=5",
        ];
        for value in values {
            arguments.extend(["--set", value]);
        }
        self.helm(&arguments).await.map(|_| ())
    }

    /// Goes on with a release whose uninstallation was refused: until then Helm does not upgrade it.
    pub async fn keep_operator(&self) -> Result<()> {
        let history = [
            "history",
            RELEASE,
            "-n",
            OPERATOR_NAMESPACE,
            "--max",
            "1",
            "-o",
            "json",
        ];
        let history: Value = serde_json::from_str(&self.helm(&history).await?)?;
        let revision = history[0]["revision"].to_string();
        let rollback = [
            "rollback",
            RELEASE,
            &revision,
            "-n",
            OPERATOR_NAMESPACE,
            "--wait",
            "--timeout",
            "120s",
        ];
        self.helm(&rollback).await.map(|_| ())
    }

    /// The steps that the operator took for a murder, oldest first, as its pods' logs have them.
    pub async fn steps(&self, murder: &str) -> Result<Vec<String>> {
        let selector = "app.kubernetes.io/name=murder-operator";
        let arguments = [
            "-n",
            OPERATOR_NAMESPACE,
            "logs",
            "-l",
            selector,
            "--tail=-1",
        ];
        let text = self.kubectl(&arguments).await?;
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let steps =
            lines.filter(|line| line["message"] == "step_taken" && line["murder"] == murder);
        Ok(steps
            .filter_map(|line| Some(line["step"].as_str()?.to_owned()))
            .collect())
    }

    /// What helps to understand a failure: objects, events, the end of the operator's log.
    pub async fn describe(&self, namespace: &str) -> String {
        let selector = "app.kubernetes.io/name=murder-operator";
        let mut text = String::new();
        for arguments in [
            &[
                "-n",
                namespace,
                "get",
                "mc,mbe,mfe,pods,pvc,pdb",
                "-o",
                "wide",
            ][..],
            &[
                "-n",
                namespace,
                "get",
                "mc,mbe",
                "-o",
                "jsonpath={range .items[*]}{.metadata.name}: {range .status.conditions[*]}{.type}={.status}({.reason}: {.message}) {end}{\"\\n\"}{end}",
            ],
            &["-n", namespace, "get", "events", "--sort-by=.lastTimestamp"],
            &[
                "-n",
                OPERATOR_NAMESPACE,
                "logs",
                "-l",
                selector,
                "--tail=40",
            ],
        ] {
            let part = self.kubectl(arguments).await;
            text += &part.unwrap_or_else(|error| format!("{error:#}"));
            text.push('\n');
        }
        text
    }
}

/// A condition of an object: its status, reason and message.
pub fn condition(object: &Value, kind: &str) -> (String, String, String) {
    let conditions = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let found = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind);
    let part = |key: &str| {
        let value = found.and_then(|condition| condition[key].as_str());
        value.unwrap_or_default().to_owned()
    };
    (part("status"), part("reason"), part("message"))
}
