//! The commands of the documents, run as they are written, one after another.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use murder_e2e::console::Console;
use murder_e2e::documents::{Block, Outcome, documents};
use murder_e2e::kube::{Kube, OPERATOR_NAMESPACE, RELEASE, repository};
use tokio::process::Command;
use tokio::time::timeout;

use crate::definitions::{define, forget};

/// How long a block may take.
const LIMIT: Duration = Duration::from_secs(900);

/// What is written in documents, and what it is here: the images have another tag than released ones.
const CHART: (&str, &str) = (
    "charts/murder-operator",
    "charts/murder-operator --set image.tag=dev,nodeImage.tag=dev",
);
/// A machine in the documents; here one that has something to lose.
const MACHINE: &str = "node2";

/// Row 56: an administrator can go through the documents from the installation to the end, with the runbook of what does
/// not end on the way.
#[tokio::test]
async fn every_command_of_the_documents_works() {
    let kube = Kube::connect().await.unwrap();
    // For the part about monitoring.
    let kinds = ["_podmonitors.yaml", "_prometheusrules.yaml"];
    let made = define(&kube, &kinds).await;
    let mut machine = None;
    let mut outcome = Ok(());
    for blocks in documents().unwrap() {
        if blocks[0].commands.contains("helm install") {
            clear(&kube).await;
        }
        outcome = follow(&kube, &blocks, &mut machine).await;
        if outcome.is_err() {
            break;
        }
    }
    let seen = match &outcome {
        Ok(()) => String::new(),
        Err(_) => kube.describe("mail").await,
    };
    if let Some(machine) = machine {
        kube.kubectl(&["uncordon", &machine]).await.unwrap();
    }
    clear(&kube).await;
    kube.install_operator(&["replicas=1"]).await.unwrap();
    forget(&kube, &made).await;
    if let Err(error) = outcome {
        unreachable!("{error:#}\n{seen}");
    }
}

/// Runs blocks, each in a shell of its own.
async fn follow(kube: &Kube, blocks: &[Block], machine: &mut Option<String>) -> Result<()> {
    for block in blocks {
        if matches!(block.outcome, Outcome::NotRun(_)) {
            continue;
        }
        let mut commands = block.commands.replace(CHART.0, CHART.1);
        if commands.contains(MACHINE) {
            if machine.is_none() {
                let format = "jsonpath={.spec.nodeName}";
                let arguments = ["-n", "mail", "get", "pod", "be-a-0", "-o", format];
                *machine = Some(kube.kubectl(&arguments).await?);
            }
            let found = machine.as_deref().context("no machine")?;
            commands = commands.replace(MACHINE, found);
        }
        Console::default().say(&format!("# {}\n{commands}", block.place));
        run(&commands, &block.outcome)
            .await
            .with_context(|| format!("{}:\n{commands}", block.place))?;
    }
    Ok(())
}

async fn run(commands: &str, expected: &Outcome) -> Result<()> {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", commands])
        .current_dir(repository())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, output)
        .await
        .context("it takes too long")??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    match expected {
        Outcome::Refused(words) => {
            ensure!(!output.status.success(), "it was not refused: {said}");
            ensure!(said.contains(words), "it was refused otherwise: {said}");
        }
        Outcome::Done | Outcome::NotRun(_) if !output.status.success() => {
            bail!("it ended with {}: {said}", output.status);
        }
        Outcome::Done | Outcome::NotRun(_) => {}
    }
    Ok(())
}

/// Takes the operator and the murder away, however they are.
async fn clear(kube: &Kube) {
    let uninstall = [
        "uninstall",
        RELEASE,
        "-n",
        OPERATOR_NAMESPACE,
        "--no-hooks",
        "--ignore-not-found",
        "--wait",
        "--timeout",
        "60s",
    ];
    kube.helm(&uninstall).await.unwrap();
    // Without an operator a murder does not end.
    kube.install_operator(&["replicas=1"]).await.unwrap();
    let delete = [
        "delete",
        "namespace",
        "mail",
        "--ignore-not-found",
        "--timeout=180s",
    ];
    kube.kubectl_waiting(&delete).await.unwrap();
    kube.helm(&uninstall).await.unwrap();
}
