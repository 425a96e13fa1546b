//! `make demo`: delivers and reads real mail while a node is killed, and accounts for all of it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use murder_e2e::console::Console;
use murder_e2e::demo::{self, Options};
use murder_e2e::mail::Sources;
use murder_e2e::murder::Murder;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// Delivers and reads real mail while a node is killed, and accounts for all of it. Exits 0 only
/// if nothing was lost or doubled.
#[derive(Debug, Parser)]
#[command(name = "murder-demo", version)]
struct Arguments {
    /// Mail to deliver in place of the repository's history: a Maildir, an mbox, a message or a
    /// folder of messages.
    #[arg(long, value_name = "PATH")]
    mail: Option<PathBuf>,
    /// Leave the node up at the end and print how to connect.
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
    /// The node program. Default: murder-node beside this one.
    #[arg(long, value_name = "FILE", env = "MURDER_NODE")]
    node_binary: Option<PathBuf>,
    /// Empty or new folder for the node's settings and data. Default: a new one below the folder
    /// for temporary files, removed at the end unless --keep is given.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let console = Console::default();
    let mut terminate = signal(SignalKind::terminate())?;
    // Dropping the run ends the node that it has started.
    tokio::select! {
        result = demonstrate(&arguments, &console) => result,
        _ = tokio::signal::ctrl_c() => {
            console.say("interrupted; the node is stopped");
            Ok(ExitCode::from(INTERRUPTED))
        }
        _ = terminate.recv() => Ok(ExitCode::from(INTERRUPTED)),
    }
}

async fn demonstrate(arguments: &Arguments, console: &Console) -> Result<ExitCode> {
    let temporary = match &arguments.state {
        Some(folder) => {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
            // Mail of an earlier run would be taken for mail that nobody sent.
            ensure!(
                std::fs::read_dir(folder)?.next().is_none(),
                "{} is not empty",
                folder.display()
            );
            None
        }
        None => Some(tempfile::Builder::new().prefix("murder-demo-").tempdir()?),
    };
    let state = match (&arguments.state, &temporary) {
        (Some(folder), _) => folder.clone(),
        (None, Some(folder)) => folder.path().to_owned(),
        (None, None) => std::env::temp_dir(),
    };
    let options = Options {
        sources: Sources {
            mail: arguments.mail.clone(),
            messages: arguments.messages as usize,
            seed: arguments.seed,
        },
        users: arguments.users as usize,
        node: node_binary(arguments)?,
        state,
    };
    let (report, mut murder) = Box::pin(demo::run(&options)).await?;
    console.say(&report.to_string());
    if arguments.keep {
        if let Some(folder) = temporary {
            let _ = folder.keep();
        }
        tell_how_to_connect(console, &options, murder)?;
    } else {
        murder.stop_all().await?;
    }
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn node_binary(arguments: &Arguments) -> Result<PathBuf> {
    match &arguments.node_binary {
        Some(path) => Ok(path.clone()),
        None => Ok(std::env::current_exe()
            .context("cannot tell where this program lies")?
            .with_file_name("murder-node")),
    }
}

fn tell_how_to_connect(console: &Console, options: &Options, murder: Murder) -> Result<()> {
    let node = murder.node(demo::NODE)?;
    let (addresses, log) = (node.addresses(), node.log());
    let pid = node.pid().context("the node does not run")?;
    let password = demo::password_file(&options.state);
    let state = options.state.display();
    console.say(&format!(
        "\nThe node stays up (process {pid}, state in {state}, log in {}).\n\
         Connect a mail client to IMAP at {} without TLS, as user0001 to user{:04};\n\
         their password is in {}. For example:\n\
         \x20 curl -u \"user0001:$(cat {})\" 'imap://{}/INBOX;MAILINDEX=1'\n\
         LMTP listens at {}. End it with: kill {pid}; rm -r {state}",
        log.display(),
        addresses.imap,
        options.users,
        password.display(),
        password.display(),
        addresses.imap,
        addresses.lmtp,
    ));
    murder.leave();
    Ok(())
}
