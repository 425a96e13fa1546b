//! `murder-operator local …`: commands for the supervisor of a murder on this machine.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};

use super::calls::{ask, default_folder, look, node_binary, start_supervisor};
use super::waiting::{Goal, wait};
use super::{BAD_INPUT, output};
use crate::platform::local::manifest::Manifests;
use crate::platform::local::protocol::{Answer, Change, Request};
use crate::platform::local::state::Folder;
use crate::platform::local::supervisor::Supervisor;

/// How often a supervisor that ends is looked for.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Subcommand)]
pub(super) enum LocalCommand {
    /// Make the murder on this machine equal to the given files
    ///
    /// A Backend that is absent from the files is drained and deleted. Follows until Ctrl-C, which stops the nodes
    /// and keeps the data; with --detach it returns when all is as the files say.
    #[command(after_help = "Examples:
  murder-operator local up -f examples/murder.yaml
  murder-operator local up -f examples/murder.yaml --users 20 --endpoints murder.json --detach")]
    Up(UpArguments),
    /// Give no new users to a Backend
    #[command(after_help = "Example:\n  murder-operator local cordon be-a")]
    Cordon(NameArguments),
    /// Move all users of a Backend to the others, and wait
    ///
    /// Exits with 0 once it is empty, with 1 if something must be solved first. Ctrl-C ends the waiting, not the
    /// drain; `uncordon` takes it back.
    #[command(after_help = "Example:\n  murder-operator local drain be-a --timeout 600")]
    Drain(NameArguments),
    /// Let a Backend serve and get users again; takes a drain back, too
    #[command(after_help = "Example:\n  murder-operator local uncordon be-a")]
    Uncordon(NameArguments),
    /// Drain a Backend, stop it and let it go; this cannot be taken back
    #[command(after_help = "Example:\n  murder-operator local delete be-a")]
    Delete(NameArguments),
    /// Show how things are
    #[command(
        after_help = "Examples:\n  murder-operator local status\n  murder-operator local status -o json"
    )]
    Status(StatusArguments),
    /// Show what was done since the supervisor started, oldest first
    #[command(after_help = "Example:\n  murder-operator local trace")]
    Trace(TraceArguments),
    /// Stop all nodes; the data stays
    #[command(
        after_help = "Examples:\n  murder-operator local down\n  murder-operator local down --purge"
    )]
    Down(DownArguments),
    /// Run the supervisor
    #[command(hide = true)]
    Supervise(SuperviseArguments),
}

#[derive(Args, Debug)]
pub(super) struct StateArguments {
    /// State folder [default: /var/lib/murder-local for root, else murder-local below $XDG_STATE_HOME]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct UpArguments {
    #[command(flatten)]
    state: StateArguments,
    /// Manifests
    #[arg(short, long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// Write the addresses of all nodes into this file whenever they change
    #[arg(long, value_name = "FILE")]
    endpoints: Option<PathBuf>,
    /// Return when all is as the files say
    #[arg(long)]
    detach: bool,
    /// Make accounts user0001 to userN, all with one password
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    users: Option<u32>,
    /// Allow plaintext IMAP, LMTP and MUPDATE, for tests and tools; stays so until =false is given
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    insecure_loopback: Option<bool>,
    /// The node program [default: murder-node beside this program]
    #[arg(long, value_name = "FILE", env = "MURDER_NODE")]
    node_binary: Option<PathBuf>,
    /// Seconds to wait until all is as the files say
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

#[derive(Args, Debug)]
pub(super) struct NameArguments {
    #[command(flatten)]
    state: StateArguments,
    /// Name of a Backend
    name: String,
    /// Seconds to wait [default: 3600 for drain and delete, else 60]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

#[derive(Args, Debug)]
pub(super) struct TraceArguments {
    #[command(flatten)]
    state: StateArguments,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Json,
    Wide,
    Yaml,
}

#[derive(Args, Debug)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    state: StateArguments,
    /// Format
    #[arg(short, long)]
    output: Option<Format>,
}

#[derive(Args, Debug)]
pub(super) struct DownArguments {
    #[command(flatten)]
    state: StateArguments,
    /// Delete all data, mail included
    #[arg(long)]
    purge: bool,
    /// Seconds to wait
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

#[derive(Args, Debug)]
pub(super) struct SuperviseArguments {
    #[command(flatten)]
    state: StateArguments,
    #[arg(long)]
    node_binary: PathBuf,
}

pub(super) fn run(command: LocalCommand) -> anyhow::Result<ExitCode> {
    match command {
        LocalCommand::Up(arguments) => up(arguments),
        LocalCommand::Cordon(arguments) => change(&arguments, Change::Cordon),
        LocalCommand::Drain(arguments) => change(&arguments, Change::Drain),
        LocalCommand::Uncordon(arguments) => change(&arguments, Change::Activate),
        LocalCommand::Delete(arguments) => change(&arguments, Change::Delete),
        LocalCommand::Status(arguments) => status(&arguments),
        LocalCommand::Trace(arguments) => trace(&arguments),
        LocalCommand::Down(arguments) => down(&arguments),
        LocalCommand::Supervise(arguments) => supervise(arguments),
    }
}

fn folder(arguments: &StateArguments) -> anyhow::Result<Folder> {
    let path = match &arguments.state {
        Some(path) => path.clone(),
        None => default_folder()?,
    };
    Ok(Folder::new(std::path::absolute(path)?))
}

fn up(arguments: UpArguments) -> anyhow::Result<ExitCode> {
    let mut manifests = Manifests::default();
    for file in &arguments.files {
        manifests.read(file);
    }
    let mut objects = match manifests.objects() {
        Ok(objects) => objects,
        Err(problems) => {
            output::error(&problems.to_string());
            return Ok(ExitCode::from(BAD_INPUT));
        }
    };
    objects.users = arguments.users;
    objects.insecure_loopback = arguments.insecure_loopback;
    objects.endpoints = arguments.endpoints.map(std::path::absolute).transpose()?;
    let Some(binary) = node_binary(arguments.node_binary)? else {
        output::error(
            "murder-node is neither beside this program nor named by --node-binary or MURDER_NODE",
        );
        return Ok(ExitCode::from(BAD_INPUT));
    };
    let folder = folder(&arguments.state)?;
    start_supervisor(&folder, &binary)?;
    let generation = match ask(&folder, &Request::Up(Box::new(objects)))? {
        Answer::Accepted { generation } => generation,
        Answer::Refused { message } => {
            output::error(&format!("error: {message}"));
            return Ok(ExitCode::from(BAD_INPUT));
        }
        other => anyhow::bail!("the supervisor answered {other:?}"),
    };
    let limit = Duration::from_secs(arguments.timeout);
    if arguments.detach {
        return wait(&folder, generation, limit, &Goal::All);
    }
    follow(&folder, generation, limit)
}

/// Waits for convergence, then until Ctrl-C, and stops the nodes.
fn follow(folder: &Folder, generation: u64, limit: Duration) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (stop, stopped) = std::sync::mpsc::channel();
    let watched = folder.clone();
    std::thread::spawn(move || {
        let outcome = wait(&watched, generation, limit, &Goal::All);
        let ready = matches!(outcome, Ok(code) if code == ExitCode::SUCCESS);
        if ready && stopped.try_recv().is_err() {
            output::error("ready; Ctrl-C stops the nodes and keeps the data");
        }
    });
    runtime.block_on(tokio::signal::ctrl_c())?;
    let _ = stop.send(());
    stop_all(folder, false, Duration::from_secs(60))
}

fn change(arguments: &NameArguments, change: Change) -> anyhow::Result<ExitCode> {
    let folder = folder(&arguments.state)?;
    let name = arguments.name.clone();
    let goal = Goal::Of(name.clone(), change);
    let generation = match ask(&folder, &Request::Patch { name, change })? {
        Answer::Accepted { generation } => generation,
        Answer::Refused { message } => {
            output::error(&format!("error: {message}"));
            return Ok(ExitCode::from(BAD_INPUT));
        }
        other => anyhow::bail!("the supervisor answered {other:?}"),
    };
    let limit = arguments.timeout.unwrap_or(match change {
        Change::Activate | Change::Cordon => 60,
        Change::Delete | Change::Drain => 3600,
    });
    wait(&folder, generation, Duration::from_secs(limit), &goal)
}

fn status(arguments: &StatusArguments) -> anyhow::Result<ExitCode> {
    let status = look(&folder(&arguments.state)?)?;
    let text = match arguments.output {
        Some(Format::Json) => serde_json::to_string_pretty(&status)? + "\n",
        Some(Format::Yaml) => murder_api::yaml::write(&status),
        Some(Format::Wide) => output::status(&status, true),
        None => output::status(&status, false),
    };
    output::text(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn trace(arguments: &TraceArguments) -> anyhow::Result<ExitCode> {
    match ask(&folder(&arguments.state)?, &Request::Trace)? {
        Answer::Trace(lines) => {
            let lines: Vec<String> = lines.into_iter().map(|line| line + "\n").collect();
            output::text(&lines.concat())?;
            Ok(ExitCode::SUCCESS)
        }
        other => anyhow::bail!("the supervisor answered {other:?}"),
    }
}

fn down(arguments: &DownArguments) -> anyhow::Result<ExitCode> {
    let folder = folder(&arguments.state)?;
    if UnixStream::connect(folder.socket()).is_err() {
        // Nodes of a supervisor that died are found again by a new one.
        if !folder.path().join("state.json").exists() {
            return Ok(ExitCode::SUCCESS);
        }
        start_supervisor(&folder, Path::new("murder-node"))?;
    }
    stop_all(
        &folder,
        arguments.purge,
        Duration::from_secs(arguments.timeout),
    )
}

fn stop_all(folder: &Folder, purge: bool, limit: Duration) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    match ask(folder, &Request::Down { purge })? {
        Answer::Refused { message } => anyhow::bail!("{message}"),
        Answer::Accepted { .. } | Answer::Status(_) | Answer::Trace(_) => {}
    }
    while UnixStream::connect(folder.socket()).is_ok() {
        anyhow::ensure!(started.elapsed() < limit, "the supervisor did not end");
        std::thread::sleep(LOOK);
    }
    Ok(ExitCode::SUCCESS)
}

fn supervise(arguments: SuperviseArguments) -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt()
        .json()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("MURDER_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let supervisor = Supervisor::open(folder(&arguments.state)?, arguments.node_binary)?;
    runtime.block_on(Box::pin(supervisor.run()))?;
    Ok(ExitCode::SUCCESS)
}
