//! What people and programs read on standard output and standard error.

use std::io::Write as _;

use crate::platform::local::protocol::{BackendLine, PodStatus, Status};

/// Text to standard output.
pub(super) fn text(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// A line to standard error.
pub(super) fn error(line: &str) {
    // Nothing is left to complain to when standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// A table with aligned columns.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter().fold(String::new(), |mut text, row| {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(line.join("   ").trim_end());
        text.push('\n');
        text
    })
}

/// The status as a table, as `kubectl get` would show it.
pub(super) fn status(status: &Status, wide: bool) -> String {
    let head = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let mut backends = vec![head(&[
        "BACKEND",
        "STATE",
        "READY",
        "DRAIN",
        "MOVED",
        "REMAINING",
        "MAILBOXES",
        "USED",
    ])];
    let mut pods = vec![head(&["POD", "READY", "RESTARTS", "PID"])];
    pods.extend(status.mupdate.iter().map(pod_row));
    if wide {
        backends[0].extend(head(&["SESSIONS", "SERVERID", "MESSAGE"]));
    }
    for backend in &status.backends {
        let mut row = backend_row(backend);
        if wide {
            row.push(backend.sessions.to_string());
            row.push(backend.server_id.clone().unwrap_or_default());
            row.push(backend.message.clone());
        }
        backends.push(row);
        pods.push(pod_row(&backend.pod));
    }
    for frontend in &status.frontends {
        pods.extend(frontend.pods.iter().map(pod_row));
    }
    let converged = if status.converged {
        "converged"
    } else {
        "converging"
    };
    let mut text = format!(
        "murder {}: {converged}\n\n{}\n{}",
        status.cluster,
        table(&backends),
        table(&pods)
    );
    for backend in status
        .backends
        .iter()
        .filter(|backend| !backend.message.is_empty() && !wide)
    {
        text.push_str(&format!(
            "\n{}: {}: {}\n",
            backend.name, backend.drain, backend.message
        ));
    }
    for problem in &status.problems {
        text.push_str(&format!("\n{problem}\n"));
    }
    text
}

fn backend_row(backend: &BackendLine) -> Vec<String> {
    vec![
        backend.name.clone(),
        backend.state.clone(),
        backend.pod.ready.to_string(),
        backend.drain.clone(),
        backend.moved.to_string(),
        backend.units.to_string(),
        backend.mailboxes.to_string(),
        bytes(backend.bytes),
    ]
}

fn pod_row(pod: &PodStatus) -> Vec<String> {
    vec![
        pod.name.clone(),
        pod.ready.to_string(),
        pod.restarts.to_string(),
        pod.pid.to_string(),
    ]
}

/// A size for people.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (count, 0);
    while value >= 10 * 1024 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024, unit + 1);
    }
    format!("{value} {}", UNITS[unit])
}

/// A time for people.
pub(super) fn seconds(count: u64) -> String {
    match count {
        0..=119 => format!("{count} s"),
        120..=7199 => format!("{} min", count / 60),
        _ => format!("{} h", count / 3600),
    }
}
