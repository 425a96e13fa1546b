//! `make demo`: delivers and reads real mail while a backend is drained and another one is killed, and
//! accounts for all of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use murder_e2e::console::Console;
use murder_e2e::demo::{self, Local, Options};
use murder_e2e::mail::{Sources, repository};
use murder_e2e::murder::Murder;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// Delivers and reads real mail while a backend is drained and another one is killed, and accounts
/// for all of it. Exits 0 only if nothing was lost, doubled or changed.
#[derive(Debug, Parser)]
#[command(name = "murder-demo", version)]
struct Arguments {
    /// Mail to deliver in place of the repository's history: a Maildir, an mbox, a message or a
    /// folder of messages.
    #[arg(long, value_name = "PATH")]
    mail: Option<PathBuf>,
    /// One node in place of a murder; it is killed twice.
    #[arg(long)]
    single: bool,
    /// Leave everything up at the end and print how to connect.
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
    /// The operator's program. Default: murder-operator beside this one.
    #[arg(long, value_name = "FILE", env = "MURDER_OPERATOR")]
    operator_binary: Option<PathBuf>,
    /// The murder. Default: examples/murder.yaml of the repository.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Empty or new folder for settings and data. Default: a new one below the folder
    /// for temporary files, removed at the end unless --keep is given.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let console = Console::default();
    let mut terminate = signal(SignalKind::terminate())?;
    // Dropping the run ends the nodes that it has started.
    tokio::select! {
        result = demonstrate(&arguments, &console) => Ok(result.unwrap_or_else(|error| {
            console.say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        })),
        _ = tokio::signal::ctrl_c() => {
            console.say("interrupted; the nodes are stopped");
            Ok(ExitCode::from(INTERRUPTED))
        }
        _ = terminate.recv() => Ok(ExitCode::from(INTERRUPTED)),
    }
}

async fn demonstrate(arguments: &Arguments, console: &Console) -> Result<ExitCode> {
    let Some(folder) = &arguments.state else {
        let temporary = tempfile::Builder::new().prefix("murder-demo-").tempdir()?;
        let outcome = demonstrate_in(arguments, console, temporary.path()).await;
        let is_good = matches!(outcome, Ok(ExitCode::SUCCESS));
        if arguments.keep || !is_good {
            let kept = temporary.keep();
            if !is_good {
                console.say(&format!("logs and data are kept in {}", kept.display()));
            }
        }
        return outcome;
    };
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    // Mail of an earlier run would be taken for mail that nobody sent.
    ensure!(
        std::fs::read_dir(folder)?.next().is_none(),
        "{} is not empty",
        folder.display()
    );
    demonstrate_in(arguments, console, folder).await
}

async fn demonstrate_in(
    arguments: &Arguments,
    console: &Console,
    state: &Path,
) -> Result<ExitCode> {
    let manifest = match &arguments.manifest {
        Some(path) => path.clone(),
        None => repository()
            .unwrap_or_default()
            .join("examples/murder.yaml"),
    };
    let options = Options {
        sources: Sources {
            mail: arguments.mail.clone(),
            messages: arguments.messages as usize,
            seed: arguments.seed,
        },
        users: arguments.users as usize,
        node: beside(arguments.node_binary.as_ref(), "murder-node")?,
        operator: beside(arguments.operator_binary.as_ref(), "murder-operator")?,
        manifest,
        state: state.to_owned(),
    };
    let report = if arguments.single {
        let (report, mut murder) = Box::pin(demo::run_single(&options)).await?;
        console.say(&report.to_string());
        if arguments.keep {
            tell_how_to_connect(console, &options, murder)?;
        } else {
            murder.stop_all().await?;
        }
        report
    } else {
        let (report, local) = Box::pin(demo::run_murder(&options)).await?;
        console.say(&report.to_string());
        if arguments.keep {
            tell_how_to_use(console, local)?;
        } else {
            local.down().await?;
        }
        report
    };
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn beside(given: Option<&PathBuf>, name: &str) -> Result<PathBuf> {
    match given {
        Some(path) => Ok(path.clone()),
        None => Ok(std::env::current_exe()
            .context("cannot tell where this program lies")?
            .with_file_name(name)),
    }
}

fn tell_how_to_use(console: &Console, local: Local) -> Result<()> {
    let endpoints = local.endpoints()?;
    let frontends = endpoints.frontends.iter();
    let mut doors = frontends.map(|one| (&one.imap, &one.imaps, &one.lmtp));
    let backends = endpoints.backends.iter();
    let mut others = backends.map(|one| (&one.imap, &one.imaps, &one.lmtp));
    let (imap, imaps, lmtp) = doors
        .next()
        .or_else(|| others.next())
        .context("no node is there to connect to")?;
    let user = endpoints.users.first().context("there are no users")?;
    let password = user.password_file.display();
    console.say(&format!(
        "\nThe murder stays up (state in {}).\n\
         Connect a mail client to IMAP at {} without TLS, or at {} with TLS and the authority in\n\
         {}, as {} and the others; their password is in {password}. For example:\n\
         \x20 curl -u \"{}:$(cat {password})\" 'imap://{}/INBOX;MAILINDEX=1'\n\
         LMTP listens at {}. Look at it with: {}\n\
         End it with: {} --purge",
        local.state().display(),
        imap,
        imaps,
        endpoints.ca.display(),
        user.user,
        user.user,
        imap,
        lmtp,
        local.command_line("status"),
        local.command_line("down"),
    ));
    local.leave();
    Ok(())
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
