//! The local platform: `murder-operator local …`, as a person would type it.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use murder_api::endpoints::Endpoints;
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// How long the murder may take to come up.
const UP_LIMIT_S: &str = "120";

/// How long a drain or a deletion may take.
const CHANGE_LIMIT_S: &str = "120";

/// How long the nodes may take to stop.
const DOWN_LIMIT_S: &str = "60";

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// What `local status -o json` tells of it that is needed here.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// Whether all is as wished.
    pub converged: bool,
    /// The Backends.
    pub backends: Vec<Backend>,
}

/// A Backend.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Where its drain is.
    pub drain: String,
    /// Users and shared roots.
    pub units: u64,
    /// Mailboxes.
    pub mailboxes: u64,
    /// Bytes of messages.
    pub bytes: u64,
    /// Units moved away.
    pub moved: u64,
    /// Mailboxes moved away.
    pub mailboxes_moved: u64,
    /// Bytes moved away.
    pub bytes_moved: u64,
}

impl Status {
    /// A Backend.
    pub fn backend(&self, name: &str) -> Result<&Backend> {
        let backend = self.backends.iter().find(|backend| backend.name == name);
        backend.with_context(|| format!("no Backend is named {name}"))
    }
}

/// What it is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// The operator's program.
    pub operator: PathBuf,
    /// The node program.
    pub node: PathBuf,
    /// The manifests.
    pub manifest: PathBuf,
    /// An existing folder for everything.
    pub state: PathBuf,
    /// Accounts.
    pub users: usize,
}

/// A murder that the operator keeps up. Its nodes are stopped when this value is dropped.
#[derive(Debug)]
pub struct Local {
    options: Options,
    is_up: bool,
}

impl Local {
    /// Brings it up and waits until all is as the manifests say.
    pub async fn up(options: Options) -> Result<Self> {
        for program in [&options.operator, &options.node] {
            ensure!(
                program.is_file(),
                "there is no program {}",
                program.display()
            );
        }
        let users = options.users.to_string();
        let local = Self {
            options,
            is_up: true,
        };
        let mut command = local.command("up");
        command
            .arg("-f")
            .arg(&local.options.manifest)
            .arg("--endpoints")
            .arg(local.endpoints_file())
            .arg("--node-binary")
            .arg(&local.options.node)
            .args(["--users", &users, "--insecure-loopback", "--detach"])
            .args(["--timeout", UP_LIMIT_S]);
        run(command, "up").await?;
        Ok(local)
    }

    /// Where everything is.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.options.state
    }

    fn endpoints_file(&self) -> PathBuf {
        self.options.state.join("endpoints.json")
    }

    /// `murder-operator local NAME --state DIR`, for people.
    #[must_use]
    pub fn command_line(&self, name: &str) -> String {
        let operator = self.options.operator.display();
        let state = self.options.state.display();
        format!("{operator} local {name} --state {state}")
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.options.operator);
        command
            .args(["local", name, "--state"])
            .arg(&self.options.state)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Where all nodes are now.
    pub fn endpoints(&self) -> Result<Endpoints> {
        let path = self.endpoints_file();
        let text = std::fs::read(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", path.display()))
    }

    /// How things are.
    pub async fn status(&self) -> Result<Status> {
        let mut command = self.command("status");
        command.args(["-o", "json"]);
        let output = run(command, "status").await?;
        serde_json::from_slice(&output.stdout).context("the status is not understood")
    }

    /// Moves all units of a Backend to the others.
    pub async fn drain(&self, name: &str) -> Result<()> {
        self.change("drain", name).await
    }

    /// Drains a Backend, stops it and lets it go.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.change("delete", name).await
    }

    async fn change(&self, verb: &str, name: &str) -> Result<()> {
        let mut command = self.command(verb);
        command.args(["--timeout", CHANGE_LIMIT_S, name]);
        run(command, &format!("{verb} {name}")).await?;
        Ok(())
    }

    /// `kill -9` of a Backend's process.
    pub async fn kill(&self, name: &str) -> Result<u32> {
        let pid = self.pid(name)?;
        // The supervisor that waits for this process has not written its successor's number yet.
        let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
        ensure!(
            killed.await.context("cannot run kill")?.success(),
            "cannot kill {name}"
        );
        Ok(pid)
    }

    /// Waits until a killed Backend serves again; returns how long that took.
    pub async fn restarted(&self, name: &str, killed: u32, limit: Duration) -> Result<Duration> {
        let begun = Instant::now();
        // The endpoints are written again when all are ready.
        while self.pid(name)? == killed {
            ensure!(
                begun.elapsed() < limit,
                "{name} was not restarted in {} s",
                limit.as_secs()
            );
            sleep(LOOK).await;
        }
        Ok(begun.elapsed())
    }

    fn pid(&self, name: &str) -> Result<u32> {
        let pod = format!("{name}-0");
        let endpoints = self.endpoints()?;
        let backend = endpoints.backends.iter().find(|one| one.name == pod);
        Ok(backend
            .with_context(|| format!("no node is named {pod}"))?
            .pid)
    }

    /// Stops all nodes; the data stays.
    pub async fn down(mut self) -> Result<()> {
        let mut command = self.command("down");
        command.args(["--timeout", DOWN_LIMIT_S]);
        run(command, "down").await?;
        self.is_up = false;
        Ok(())
    }

    /// Lets all nodes run on after this program's end.
    pub fn leave(mut self) {
        self.is_up = false;
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if self.is_up {
            let mut down = std::process::Command::new(&self.options.operator);
            // Nothing is left to complain to.
            let _ended = down
                .args(["local", "down", "--timeout", DOWN_LIMIT_S, "--state"])
                .arg(&self.options.state)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

async fn run(mut command: Command, what: &str) -> Result<Output> {
    let output = command.output().await;
    let output = output.with_context(|| format!("cannot run murder-operator local {what}"))?;
    ensure!(
        output.status.success(),
        "murder-operator local {what} failed:\n{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output)
}
