//! `murder-operator local …`: commands for the supervisor of a murder on this machine.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};

use super::progress::Progress;
use super::{BAD_INPUT, output};
use crate::platform::local::manifest::Manifests;
use crate::platform::local::protocol::{
    Answer, BackendLine, Change, LINE_BYTES_MAX, Request, Status,
};
use crate::platform::local::state::Folder;
use crate::platform::local::supervisor::Supervisor;

/// How often a waiting command looks.
const LOOK: Duration = Duration::from_millis(200);
/// How long a drain may stay blocked before a waiting command gives up.
const BLOCKED_MAX: Duration = Duration::from_secs(10);
/// How long a new supervisor may take to listen.
const START_MAX: Duration = Duration::from_secs(20);

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
    /// Allow plaintext IMAP, LMTP and MUPDATE, for tests and tools
    #[arg(long)]
    insecure_loopback: bool,
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
    /// Seconds to wait
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,
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

fn default_folder() -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    // The owner of our own entry in /proc is the effective user.
    if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        return Ok("/var/lib/murder-local".into());
    }
    if let Some(base) = std::env::var_os("XDG_STATE_HOME").filter(|base| !base.is_empty()) {
        return Ok(Path::new(&base).join("murder-local"));
    }
    let home =
        std::env::var_os("HOME").context("neither XDG_STATE_HOME nor HOME is set; give --state")?;
    Ok(Path::new(&home).join(".local/state/murder-local"))
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
        Answer::Status(_) => anyhow::bail!("the supervisor answered something else"),
    };
    let limit = Duration::from_secs(arguments.timeout);
    if arguments.detach {
        return wait(&folder, generation, limit, None, |status| status.converged);
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
        let outcome = wait(&watched, generation, limit, None, |status| status.converged);
        let ready = matches!(outcome, Ok(code) if code == ExitCode::SUCCESS);
        if ready && stopped.try_recv().is_err() {
            output::error("ready; Ctrl-C stops the nodes and keeps the data");
        }
    });
    runtime.block_on(tokio::signal::ctrl_c())?;
    let _ = stop.send(());
    stop_all(folder, false, Duration::from_secs(60))
}

fn node_binary(given: Option<PathBuf>) -> anyhow::Result<Option<PathBuf>> {
    let path = match given {
        Some(path) => std::path::absolute(path)?,
        None => std::env::current_exe()?.with_file_name("murder-node"),
    };
    Ok(path.is_file().then_some(path))
}

fn start_supervisor(folder: &Folder, binary: &Path) -> anyhow::Result<()> {
    if UnixStream::connect(folder.socket()).is_ok() {
        return Ok(());
    }
    std::fs::create_dir_all(folder.path())
        .with_context(|| format!("make {}", folder.path().display()))?;
    let log = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.supervisor_log())?;
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .args(["local", "supervise", "--state"])
        .arg(folder.path())
        .arg("--node-binary")
        .arg(binary)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("start the supervisor")?;
    let started = Instant::now();
    while started.elapsed() < START_MAX {
        if UnixStream::connect(folder.socket()).is_ok() {
            return Ok(());
        }
        if child.try_wait()?.is_some() {
            break;
        }
        std::thread::sleep(LOOK / 10);
    }
    anyhow::bail!(
        "the supervisor did not start; see {}",
        folder.supervisor_log().display()
    )
}

fn ask(folder: &Folder, request: &Request) -> anyhow::Result<Answer> {
    let mut stream = UnixStream::connect(folder.socket())
        .with_context(|| format!("no supervisor runs on {}", folder.path().display()))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut answer)?;
    serde_json::from_str(&answer).context("the supervisor's answer is not understood")
}

fn look(folder: &Folder) -> anyhow::Result<Status> {
    match ask(folder, &Request::Status)? {
        Answer::Status(status) => Ok(*status),
        other => anyhow::bail!("the supervisor answered {other:?}"),
    }
}

/// Waits until `done`; shows the drain of a Backend or, without one, of all that leave.
fn wait(
    folder: &Folder,
    generation: u64,
    limit: Duration,
    name: Option<&str>,
    done: impl Fn(&Status) -> bool,
) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut blocked_since = None;
    let mut bars: std::collections::BTreeMap<String, Progress> = std::collections::BTreeMap::new();
    let outcome = loop {
        let status = look(folder)?;
        let current = status.generation >= generation;
        let watched = |backend: &&BackendLine| {
            let leaves = backend.drain != "NotRequested" && !backend.drain.is_empty();
            name.map_or(leaves, |name| name == backend.name)
        };
        for backend in status.backends.iter().filter(watched).filter(|_| current) {
            let bar = bars
                .entry(backend.name.clone())
                .or_insert_with(Progress::new);
            bar.show(backend);
        }
        if current && done(&status) {
            break None;
        }
        let blocked = status
            .backends
            .iter()
            .filter(watched)
            .find(|b| b.blocked && current);
        match blocked {
            None => blocked_since = None,
            Some(backend) => {
                let since = *blocked_since.get_or_insert_with(Instant::now);
                if since.elapsed() > BLOCKED_MAX {
                    break Some(format!(
                        "{}: {}: {}",
                        backend.name, backend.drain, backend.message
                    ));
                }
            }
        }
        if started.elapsed() > limit {
            let problems = status.problems.join("\n");
            let table = output::status(&status, false);
            break Some(format!(
                "not done in {} s\n{table}{problems}",
                limit.as_secs()
            ));
        }
        std::thread::sleep(LOOK);
    };
    for bar in bars.into_values() {
        bar.finish();
    }
    Ok(match outcome {
        None => ExitCode::SUCCESS,
        Some(message) => {
            output::error(&format!("error: {message}"));
            ExitCode::FAILURE
        }
    })
}

fn change(arguments: &NameArguments, change: Change) -> anyhow::Result<ExitCode> {
    let folder = folder(&arguments.state)?;
    let name = arguments.name.clone();
    let generation = match ask(
        &folder,
        &Request::Patch {
            name: name.clone(),
            change,
        },
    )? {
        Answer::Accepted { generation } => generation,
        Answer::Refused { message } => {
            output::error(&format!("error: {message}"));
            return Ok(ExitCode::from(BAD_INPUT));
        }
        Answer::Status(_) => anyhow::bail!("the supervisor answered something else"),
    };
    let limit = Duration::from_secs(arguments.timeout);
    wait(&folder, generation, limit, Some(&name), |status| {
        let backend = status.backends.iter().find(|backend| backend.name == name);
        match change {
            Change::Delete => backend.is_none(),
            Change::Drain => backend.is_some_and(|backend| backend.drain == "Empty"),
            Change::Cordon => backend.is_some_and(|b| b.cordoned && b.drain == "NotRequested"),
            Change::Activate => backend.is_some_and(|b| !b.cordoned && b.drain == "NotRequested"),
        }
    })
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
        Answer::Accepted { .. } | Answer::Status(_) => {}
    }
    while UnixStream::connect(folder.socket()).is_ok() {
        anyhow::ensure!(started.elapsed() < limit, "the supervisor did not end");
        std::thread::sleep(LOOK / 10);
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
