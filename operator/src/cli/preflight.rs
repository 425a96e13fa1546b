//! `murder-operator preflight …`: whether something may be done, for hooks.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;

use super::output;
use crate::crd::{Backend, Frontend, MurderCluster};

/// How long listing a kind may take.
const LIST_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);
/// Objects named in the answer.
const NAMED_MAX: usize = 20;

#[derive(Debug, Subcommand)]
pub(super) enum PreflightCommand {
    /// Whether the operator may be uninstalled: not while murders are left, whose drains it would no longer finish
    #[command(after_help = "Examples:
  murder-operator preflight uninstall
  murder-operator preflight uninstall --allow-with-resources")]
    Uninstall(UninstallArguments),
}

#[derive(Args, Debug)]
pub(super) struct UninstallArguments {
    /// Namespace to look at; may be given more than once [default: all]
    #[arg(
        long = "namespace",
        value_name = "NAME",
        env = "WATCH_NAMESPACES",
        value_delimiter = ','
    )]
    namespaces: Vec<String>,
    /// Say what is left, and succeed
    #[arg(long)]
    allow_with_resources: bool,
}

pub(super) fn run(command: PreflightCommand) -> anyhow::Result<ExitCode> {
    let PreflightCommand::Uninstall(arguments) = command;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(uninstall(&arguments))
}

async fn uninstall(arguments: &UninstallArguments) -> anyhow::Result<ExitCode> {
    let client = Client::try_default().await.context("find the API server")?;
    let mut left = Vec::new();
    let namespaces: Vec<&String> = arguments
        .namespaces
        .iter()
        .filter(|n| !n.is_empty())
        .collect();
    if namespaces.is_empty() {
        left.extend(names("MurderCluster", Api::<MurderCluster>::all(client.clone())).await?);
        left.extend(names("Backend", Api::<Backend>::all(client.clone())).await?);
        left.extend(names("Frontend", Api::<Frontend>::all(client)).await?);
    } else {
        for namespace in namespaces {
            let client = || client.clone();
            left.extend(
                names(
                    "MurderCluster",
                    Api::<MurderCluster>::namespaced(client(), namespace),
                )
                .await?,
            );
            left.extend(names("Backend", Api::<Backend>::namespaced(client(), namespace)).await?);
            left.extend(names("Frontend", Api::<Frontend>::namespaced(client(), namespace)).await?);
        }
    }
    if left.is_empty() {
        output::text("no MurderCluster, Backend or Frontend is left\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let count = left.len();
    left.truncate(NAMED_MAX);
    output::error(&format!("{count} objects are left: {}", left.join(", ")));
    if arguments.allow_with_resources {
        output::error(
            "uninstalled with --allow-with-resources: mail goes on, drains do not, until it is installed again",
        );
        return Ok(ExitCode::SUCCESS);
    }
    output::error(
        "delete them first, or uninstall with --no-hooks: mail goes on without an operator, drains do not",
    );
    Ok(ExitCode::FAILURE)
}

async fn names<K>(kind: &str, api: Api<K>) -> anyhow::Result<Vec<String>>
where
    K: kube::Resource + Clone + std::fmt::Debug + DeserializeOwned,
{
    let parameters = ListParams::default();
    let listed = tokio::time::timeout(LIST_LIMIT, api.list_metadata(&parameters));
    let list = listed.await.context("the API server does not answer")?;
    let items = match list {
        Ok(list) => list.items,
        // Without the definition there are no objects.
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("list {kind}")),
    };
    let one = |object: &kube::core::PartialObjectMeta<K>| {
        let namespace = object.namespace().unwrap_or_default();
        format!("{kind} {namespace}/{}", object.name_any())
    };
    Ok(items.iter().map(one).collect())
}
