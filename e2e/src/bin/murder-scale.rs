//! `make e2e-scale`: a thousand Backends and a hundred Frontends on a real API server under the real operator; kubelets
//! and mail nodes are played.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use murder_e2e::console::Console;
use murder_e2e::scale::{Options, run};

/// Makes a large murder and says how the operator does: how soon a change is seen, how much memory it takes, what it
/// asks when nothing happens. Exits 0 only if it keeps within its limits. Run by e2e/cluster/scale.
#[derive(Debug, Parser)]
#[command(name = "murder-scale", version)]
struct Arguments {
    /// Backends.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=9999))]
    backends: u32,
    /// Frontends.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=999))]
    frontends: u32,
    /// Pods of each Frontend.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    replicas: u32,
    /// Users on each Backend.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    users: u32,
    /// Tries of each change.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    tries: u32,
    /// Seconds for which requests at rest are counted.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    rest_seconds: u64,
    /// Seconds until all must serve.
    #[arg(long, default_value_t = 1200)]
    limit_seconds: u64,
    /// The operator's program.
    #[arg(long, value_name = "FILE")]
    operator: PathBuf,
    /// Kubeconfig of the operator.
    #[arg(long, value_name = "FILE")]
    operator_kubeconfig: PathBuf,
    /// Kubeconfig of the one who plays all others.
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// First two numbers of the pods' addresses, which must be local.
    #[arg(long, default_value = "10.244", value_name = "A.B")]
    pod_network: String,
    /// The API server's audit log, with the operator's requests.
    #[arg(long, value_name = "FILE")]
    audit_log: PathBuf,
    /// Folder of the operator's log.
    #[arg(long, value_name = "FOLDER")]
    logs: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            Console::default().say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: Arguments) -> Result<bool> {
    let network = arguments.pod_network.split_once('.');
    let (a, b) = network.context("--pod-network: two numbers, such as 10.244")?;
    let options = Options {
        backends: arguments.backends as usize,
        frontends: arguments.frontends as usize,
        replicas: arguments.replicas,
        units: arguments.users as usize,
        tries: arguments.tries as usize,
        rest: Duration::from_secs(arguments.rest_seconds),
        limit: Duration::from_secs(arguments.limit_seconds),
        operator: arguments.operator,
        operator_kubeconfig: arguments.operator_kubeconfig,
        kubeconfig: arguments.kubeconfig,
        network: [a.parse()?, b.parse()?],
        audit_log: arguments.audit_log,
        logs: arguments.logs,
    };
    run(&options).await
}
