//! Calls to the supervisor of a state folder, and its start.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::platform::local::protocol::{Answer, LINE_BYTES_MAX, Request, Status};
use crate::platform::local::state::Folder;

/// How often a new supervisor is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// How long a new supervisor may take to listen.
const START_MAX: Duration = Duration::from_secs(20);

/// Where the state is if nobody says.
pub(super) fn default_folder() -> anyhow::Result<PathBuf> {
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

/// The node program, if it is there.
pub(super) fn node_binary(given: Option<PathBuf>) -> anyhow::Result<Option<PathBuf>> {
    let path = match given {
        Some(path) => std::path::absolute(path)?,
        None => std::env::current_exe()?.with_file_name("murder-node"),
    };
    Ok(path.is_file().then_some(path))
}

/// Starts a supervisor if none runs.
pub(super) fn start_supervisor(folder: &Folder, binary: &Path) -> anyhow::Result<()> {
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
        std::thread::sleep(LOOK);
    }
    anyhow::bail!(
        "the supervisor did not start; see {}",
        folder.supervisor_log().display()
    )
}

/// One request and its answer.
pub(super) fn ask(folder: &Folder, request: &Request) -> anyhow::Result<Answer> {
    let mut stream = UnixStream::connect(folder.socket()).with_context(|| {
        let path = folder.path().display();
        format!("no supervisor runs on {path}; `murder-operator local up -f FILE` starts one")
    })?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut answer)?;
    serde_json::from_str(&answer).context("the supervisor's answer is not understood")
}

/// How things are.
pub(super) fn look(folder: &Folder) -> anyhow::Result<Status> {
    match ask(folder, &Request::Status)? {
        Answer::Status(status) => Ok(*status),
        other => anyhow::bail!("the supervisor answered {other:?}"),
    }
}
