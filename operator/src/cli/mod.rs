//! The command line of `murder-operator`. Exit codes: 0 done, 1 failed or blocked, 2 bad input.

mod calls;
mod local;
mod output;
mod preflight;
mod progress;
mod run;
mod waiting;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit code for bad input.
pub(crate) const BAD_INPUT: u8 = 2;

/// Runs murders: the custom resources, and the local platform
#[derive(Debug, Parser)]
#[command(name = "murder-operator", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  murder-operator local up -f examples/murder.yaml --users 20 --detach
  murder-operator local status -o wide
  murder-operator local drain be-b
  murder-operator local down
  murder-operator crds --out crds";

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the definitions of the custom resources
    #[command(after_help = "Examples:
  murder-operator crds | kubectl apply --server-side -f -
  murder-operator crds --out crds")]
    Crds {
        /// Folder to write them into, a file each; default: all to standard output
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// A murder on this machine, without Kubernetes
    #[command(subcommand)]
    Local(local::LocalCommand),
    /// Ask whether something may be done
    #[command(subcommand)]
    Preflight(preflight::PreflightCommand),
    /// Run the operator on Kubernetes
    #[command(after_help = "Examples:
  murder-operator run
  murder-operator run --namespace mail --watch-nodes=false")]
    Run(run::RunArguments),
}

/// Runs the command that was given.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Crds { out } => crds(out),
        Command::Local(command) => local::run(command),
        Command::Preflight(command) => preflight::run(command),
        Command::Run(arguments) => run::run(arguments),
    };
    outcome.unwrap_or_else(|error| {
        output::error(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

fn crds(out: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    use crate::crd::write;
    match out {
        Some(folder) => write::write_definitions(&folder)?,
        None => {
            let texts = write::rendered()?;
            let all: Vec<String> = texts
                .into_iter()
                .map(|(_, text)| format!("---\n{text}"))
                .collect();
            output::text(&all.concat())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
