//! `murder-operator run`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Args};
use tracing_subscriber::EnvFilter;

use crate::platform::kube::{Options, run as run_on_kubernetes};
use crate::resources::Defaults;

#[derive(Args, Debug)]
pub(super) struct RunArguments {
    /// Namespace to look after; may be given more than once [default: all]
    #[arg(
        long = "namespace",
        value_name = "NAME",
        env = "WATCH_NAMESPACES",
        value_delimiter = ','
    )]
    namespaces: Vec<String>,
    /// Image of the mail nodes where a MurderCluster names none
    #[arg(long, value_name = "IMAGE", env = "NODE_IMAGE", default_value = DEFAULT_IMAGE)]
    node_image: String,
    /// Pull policy of that image
    #[arg(long, value_name = "POLICY", default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    node_image_pull_policy: String,
    /// Who this process is in the Lease [default: name of the pod and a random part]
    #[arg(long, value_name = "ID", env = "POD_NAME")]
    identity: Option<String>,
    /// Namespace of the Lease [default: that of the pod]
    #[arg(
        long,
        value_name = "NAME",
        env = "POD_NAMESPACE",
        default_value = "murder-system"
    )]
    lease_namespace: String,
    /// Seconds for which a leader leads without renewing
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=300))]
    lease_seconds: u64,
    /// Where metrics and health are served
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9090")]
    metrics_listen: SocketAddr,
    /// Whether machines may be read: without it `kubectl drain` is not noticed
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true,
        default_missing_value = "true", action = ArgAction::Set)]
    watch_nodes: bool,
    /// Log level, as in RUST_LOG
    #[arg(long, value_name = "LEVEL", env = "RUST_LOG", default_value = "info")]
    log_level: String,
}

const DEFAULT_IMAGE: &str = concat!("ghcr.io/murder-rs/node:", env!("CARGO_PKG_VERSION"));

pub(super) fn run(arguments: RunArguments) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_new(&arguments.log_level)
        .map_err(|error| anyhow::anyhow!("--log-level: {error}"))?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let namespaces = arguments.namespaces.into_iter();
    let options = Options {
        namespaces: namespaces.filter(|name| !name.is_empty()).collect(),
        defaults: Defaults {
            image: arguments.node_image,
            pull_policy: arguments.node_image_pull_policy,
        },
        identity: arguments.identity,
        lease_namespace: arguments.lease_namespace,
        lease: Duration::from_secs(arguments.lease_seconds),
        metrics_listen: arguments.metrics_listen,
        watch_nodes: arguments.watch_nodes,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run_on_kubernetes(options))?;
    Ok(ExitCode::SUCCESS)
}
