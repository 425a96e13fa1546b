//! `make demo-k8s`: what `make demo` does, on a Kubernetes: the operator by Helm, the murder by `kubectl apply`, mail
//! through the Frontend's Service, and a Backend deleted under load.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use murder_e2e::console::Console;
use murder_e2e::kube::demo::{Options, run};
use murder_e2e::mail::Sources;

/// Installs the operator, applies examples/murder.yaml, delivers and reads mail through the Frontend's Service while a
/// Backend is deleted, and accounts for all of it. Exits 0 only if nothing was lost, doubled or changed.
#[derive(Debug, Parser)]
#[command(name = "murder-demo-k8s", version)]
struct Arguments {
    /// Mail to deliver in place of the repository's history: a Maildir, an mbox, a message or a folder of messages.
    #[arg(long, value_name = "PATH")]
    mail: Option<PathBuf>,
    /// Leave the murder up at the end.
    #[arg(long)]
    keep: bool,
    /// Messages in all; what real mail and samples leave missing is generated.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    messages: u32,
    /// Users.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    users: u32,
    /// Seed of the generated mail.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The Backend that is deleted.
    #[arg(long, default_value = "be-b", value_name = "NAME")]
    delete: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let console = Console::default();
    match demonstrate(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            console.say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn demonstrate(arguments: &Arguments) -> Result<bool> {
    let options = Options {
        sources: Sources {
            mail: arguments.mail.clone(),
            messages: arguments.messages as usize,
            seed: arguments.seed,
        },
        users: arguments.users as usize,
        backend: arguments.delete.clone(),
        keep: arguments.keep,
    };
    run(&options).await
}
