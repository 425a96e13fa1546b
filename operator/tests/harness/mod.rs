//! A murder of the local platform in a folder of its own, driven through the program as a person would.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use murder_api::endpoints::Endpoints;
use serde_json::Value;

/// Far longer than anything here takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Last lines of the supervisor's log that a failed test shows.
const LOG_LINES: usize = 20;
/// Last lines of each node's log that it shows.
const NODE_LOG_LINES: usize = 6;

/// A murder and its state folder; all of it goes when it is dropped.
pub(crate) struct Local {
    pub(crate) folder: tempfile::TempDir,
    node: PathBuf,
    traced: std::cell::Cell<usize>,
}

impl Local {
    /// A murder whose nodes are this program.
    pub(crate) fn new(node: PathBuf) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            node,
            traced: std::cell::Cell::new(0),
        }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_murder-operator"));
        command.arg("local").args(arguments);
        command.arg("--state").arg(self.state());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn up(&self, manifest: &Path, more: &[&str]) -> Output {
        let endpoints = self.endpoints_path();
        let mut arguments = vec!["up", "--detach", "--timeout", "120"];
        arguments.extend(["--filename", manifest.to_str().unwrap()]);
        arguments.extend(["--endpoints", endpoints.to_str().unwrap()]);
        arguments.extend(["--node-binary", self.node.to_str().unwrap()]);
        arguments.extend(more);
        self.run(&arguments)
    }

    /// Writes a manifest beside the state folder.
    pub(crate) fn manifest(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn endpoints_path(&self) -> PathBuf {
        self.folder.path().join("endpoints.json")
    }

    pub(crate) fn endpoints(&self) -> Endpoints {
        serde_json::from_slice(&std::fs::read(self.endpoints_path()).unwrap()).unwrap()
    }

    pub(crate) fn status(&self) -> Value {
        let output = self.run(&["status", "--output", "json"]);
        assert_code(&output, 0);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The line of a Backend in the status; null if there is none.
    pub(crate) fn backend(&self, name: &str) -> Value {
        let status = self.status();
        let mut backends = status["backends"].as_array().unwrap().iter();
        let found = backends.find(|backend| backend["name"] == name);
        found.cloned().unwrap_or_default()
    }

    /// The steps taken since the last call.
    pub(crate) fn new_steps(&self) -> Vec<String> {
        let output = self.run(&["trace"]);
        assert_code(&output, 0);
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let known = self.traced.replace(lines.len());
        lines[known..].to_vec()
    }

    pub(crate) fn kill_supervisor(&self) {
        let pid = std::fs::read_to_string(self.state().join("supervisor.lock")).unwrap();
        kill(pid.trim().parse().unwrap());
        self.traced.set(0);
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        self.run(&["down", "--purge"]);
    }
}

impl Local {
    /// What led to a failure, before it is deleted.
    fn tell(&self) {
        let log = std::fs::read_to_string(self.state().join("supervisor.log"));
        let log = log.unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        let mut text = last.join("\n");
        for node in std::fs::read_dir(self.state().join("nodes"))
            .into_iter()
            .flatten()
        {
            let path = node.unwrap().path().join("log");
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(NODE_LOG_LINES)..];
            text.push_str(&format!("\n\n{}\n{}", path.display(), last.join("\n")));
        }
        let status = self.run(&["status", "--output", "wide"]).stdout;
        text.push_str(&format!("\n\n{}", String::from_utf8_lossy(&status)));
        // Nothing is left to tell where that fails.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// Looks again and again until it is so.
pub(crate) fn until(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < LIMIT, "{what} never happens");
        std::thread::yield_now();
    }
}

pub(crate) fn assert_code(output: &Output, code: i32) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
}

/// `kill -9`
pub(crate) fn kill(pid: u32) {
    let command = format!("kill -KILL {pid}");
    let status = Command::new("sh").args(["-c", &command]).status();
    assert!(status.unwrap().success());
}

pub(crate) fn pids(endpoints: &Endpoints) -> Vec<u32> {
    let backends = endpoints.backends.iter().map(|backend| backend.pid);
    let frontends = endpoints.frontends.iter().map(|frontend| frontend.pid);
    backends
        .chain(frontends)
        .chain(endpoints.mupdate.iter().map(|m| m.pid))
        .collect()
}

/// Whether a process runs. One that ended and that nobody waits for has no command line.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}
