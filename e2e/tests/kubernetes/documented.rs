//! The commands of the documents, run as they are written, one after another.
//!
//! A block of commands is fenced as `sh`. A comment before it says otherwise of it: `<!-- not run: why -->`, or
//! `<!-- refused: what is said -->` of a command that is to fail.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use murder_e2e::console::Console;
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

/// The first lines of what is not run, and why. Keep them few.
const NOT_RUN: [(&str, &str); 4] = [
    (
        "kubectl apply --server-side -f crds/",
        "here the release brings them",
    ),
    (
        "kubectl -n mail scale murdercluster/mc --replicas=3",
        "the Backends of the example are written out",
    ),
    (
        "for file in tls.crt tls.key ca.crt; do",
        "no volume was restored",
    ),
    (
        "kubectl delete crd murderclusters.murder.rs backends.murder.rs frontends.murder.rs",
        "others may have murders",
    ),
];

/// A block of commands.
#[derive(Debug)]
struct Block {
    /// File and line.
    place: String,
    commands: String,
    is: Is,
}

/// What becomes of a block.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Is {
    Run,
    Refused(String),
    NotRun(String),
}

/// The blocks of a document, or of one part of it.
fn blocks(file: &str, part: Option<&str>) -> Vec<Block> {
    let text = std::fs::read_to_string(repository().join(file)).unwrap();
    let mut found = Vec::new();
    let (mut is, mut inside) = (Is::Run, part.is_none());
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            inside = part.is_none_or(|part| part == heading);
        }
        let Some(language) = line.strip_prefix("```") else {
            is = marked(line).unwrap_or(is);
            continue;
        };
        let body = lines.by_ref().map(|(line, _)| line);
        let body: Vec<_> = body.take_while(|line| *line != "```").collect();
        let is = std::mem::replace(&mut is, Is::Run);
        if !inside {
            continue;
        }
        let place = format!("{file}:{number}");
        if language != "sh" {
            let is_command =
                |line: &&str| line.starts_with("kubectl ") || line.starts_with("helm ");
            assert!(!body.iter().any(is_command), "{place}: fence it as sh");
            continue;
        }
        let commands = body.join("\n");
        found.push(Block {
            place,
            commands,
            is,
        });
    }
    found
}

/// What a comment says of the block after it.
fn marked(line: &str) -> Option<Is> {
    let comment = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
    let not_run = comment.strip_prefix("not run: ");
    let refused = comment.strip_prefix("refused: ");
    let refused = refused.map(|said| Is::Refused(said.to_owned()));
    not_run.map(|why| Is::NotRun(why.to_owned())).or(refused)
}

/// The documents. One that begins with an installation finds nothing installed, others what the one before it left.
fn documents() -> [Vec<Block>; 3] {
    [
        blocks("README.md", Some("On Kubernetes")),
        blocks("docs/permissions.md", None),
        blocks("docs/kubernetes.md", None),
    ]
}

/// Nothing is skipped unseen. Needs no cluster.
#[test]
fn few_commands_of_the_documents_are_not_run() {
    let documents = documents();
    for blocks in &documents {
        assert!(!blocks.is_empty());
    }
    let all = documents.iter().flatten();
    let skipped = all.filter_map(|block| match &block.is {
        Is::NotRun(why) => Some((block.commands.lines().next()?, why.as_str())),
        Is::Run | Is::Refused(_) => None,
    });
    assert_eq!(skipped.collect::<Vec<_>>(), NOT_RUN);
}

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
    for blocks in documents() {
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
        if matches!(block.is, Is::NotRun(_)) {
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
        run(&commands, &block.is)
            .await
            .with_context(|| format!("{}:\n{commands}", block.place))?;
    }
    Ok(())
}

async fn run(commands: &str, is: &Is) -> Result<()> {
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
    match is {
        Is::Refused(expected) => {
            ensure!(!output.status.success(), "it was not refused: {said}");
            ensure!(said.contains(expected), "it was refused otherwise: {said}");
        }
        Is::Run | Is::NotRun(_) if !output.status.success() => {
            bail!("it ended with {}: {said}", output.status);
        }
        Is::Run | Is::NotRun(_) => {}
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
