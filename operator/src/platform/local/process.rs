//! Node processes: start, recognise, stop.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use tokio::process::{Child, Command};

/// Starts a node that outlives us, with its output in a log file. Gives the child and its start time.
pub(super) fn start(
    binary: &Path,
    settings: &Path,
    log: &Path,
) -> anyhow::Result<(Child, u32, u64)> {
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(log)
        .with_context(|| format!("write {}", log.display()))?;
    let child = Command::new(binary)
        .arg("run")
        .arg("-c")
        .arg(settings)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {}", binary.display()))?;
    let pid = child.id().context("the node ended at once")?;
    Ok((child, pid, start_time(pid).unwrap_or(0)))
}

/// Whether the process runs, is the one that was started then, and runs with these settings.
pub(super) fn is_running(pid: u32, started: u64, settings: &Path) -> bool {
    if pid == 0 || start_time(pid) != Some(started) {
        return false;
    }
    let wanted = settings.as_os_str().as_encoded_bytes();
    // Empty while another program takes the process over, as a script's interpreter does.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
        line.is_empty()
            || line
                .split(|byte| *byte == 0)
                .any(|argument| argument == wanted)
    })
}

/// Start time of a living process in clock ticks since boot; none for a dead or dying one.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold anything; fields begin after its closing parenthesis.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next(), Some("Z" | "X" | "x")) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Sends a signal by name, e.g. `TERM`.
pub(super) async fn signal(pid: u32, name: &str) {
    let command = format!("kill -{name} {pid}");
    let sent = Command::new("sh")
        .args(["-c", &command])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    if let Err(error) = sent {
        tracing::warn!(pid, signal = name, %error, "signal_failed");
    }
}
