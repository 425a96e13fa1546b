//! A node as a process: settings, start, readiness, `kill -9`, start again.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use murder_api::settings::{Role, Settings};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// How long a node may take until it is ready.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// How long a node may take to stop in order.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Time between two looks at a process.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long one answer of `/readyz` may take.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Bytes of a node's log that are shown when it ends unasked.
const LOG_TAIL_BYTES: u64 = 4000;

/// Where a node listens, if its role has that listener. The ports are its own in any case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Addresses {
    /// IMAP with STARTTLS.
    pub imap: SocketAddr,
    /// IMAP over TLS.
    pub imaps: SocketAddr,
    /// LMTP.
    pub lmtp: SocketAddr,
    /// Transfers between nodes with mailboxes.
    pub transfer: SocketAddr,
    /// MUPDATE of the master.
    pub mupdate: SocketAddr,
    /// The admin interface.
    pub admin: SocketAddr,
    /// `/readyz` and metrics.
    pub metrics: SocketAddr,
}

/// One node. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Node {
    pub(crate) binary: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
    pub(crate) server: String,
    pub(crate) role: Role,
    pub(crate) addresses: Addresses,
    pub(crate) settings: Value,
    pub(crate) environment: Vec<(String, OsString)>,
    pub(crate) child: Option<Child>,
}

impl Node {
    /// Name of the process, e.g. `be-a-0`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name in locations, e.g. `be-a`.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// What it does.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Where it listens.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Its log, of all its starts.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// Its settings file.
    #[must_use]
    pub fn settings_file(&self) -> PathBuf {
        self.folder.join(format!("{}.yaml", self.name))
    }

    /// Everything that it keeps.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// Changes its settings from the next start on: objects are merged, `null` takes a key away.
    pub fn change_settings(&mut self, patch: &Value) -> Result<()> {
        merge(&mut self.settings, patch);
        self.write_settings()
    }

    /// Variables of its process from the next start on.
    pub fn set_environment(&mut self, environment: Vec<(String, OsString)>) {
        self.environment = environment;
    }

    pub(crate) fn write_settings(&self) -> Result<()> {
        let path = self.settings_file();
        let text = serde_yaml::to_string(&self.settings)?;
        Settings::parse(&path, &text)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Starts it and waits until it is ready; returns how long that took.
    pub async fn start(&mut self) -> Result<Duration> {
        self.spawn()?;
        self.wait_ready().await
    }

    /// Starts its process.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.log())
            .with_context(|| format!("cannot open {}", self.log().display()))?;
        let child = Command::new(&self.binary)
            .arg("run")
            .arg("-c")
            .arg(self.settings_file())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C at the terminal is for this program, which then ends the node itself.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it is ready; returns how long that took.
    pub async fn wait_ready(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        while !self.is_ready().await {
            if let Some(status) = self.ended()? {
                bail!(
                    "{} ended with {status} before it was ready:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            ensure!(
                self.child.is_some() && begun.elapsed() < READY_LIMIT,
                "{} was not ready in {} s:\n{}",
                self.name,
                READY_LIMIT.as_secs(),
                self.log_tail()
            );
            sleep(LOOK_INTERVAL).await;
        }
        Ok(begun.elapsed())
    }

    /// `kill -9`, and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.take()?;
        child
            .kill()
            .and_then(|()| child.wait())
            .with_context(|| format!("cannot kill {}", self.name))?;
        Ok(())
    }

    /// Ends it in order (SIGTERM); kills it if it does not end in time.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        match self.wait_end(STOP_LIMIT).await {
            Ok(status) => Ok(status),
            Err(error) => {
                self.kill()?;
                Err(error)
            }
        }
    }

    /// Waits until it ends by itself, or by something that was asked of it.
    pub async fn wait_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            sleep(LOOK_INTERVAL).await;
        }
        bail!(
            "{} did not end in {} s:\n{}",
            self.name,
            limit.as_secs(),
            self.log_tail()
        )
    }

    /// Stands it still (SIGSTOP): its sockets stay open and nobody answers.
    pub fn pause(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// Lets it run on after [`Node::pause`].
    pub fn resume(&self) -> Result<()> {
        self.signal("CONT")
    }

    /// Lets it run on after this program's end; returns its process.
    pub fn leave(mut self) -> Option<u32> {
        self.child.take().map(|child| child.id())
    }

    /// Whether it says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let probe = probe(self.addresses.metrics);
        self.child.is_some() && matches!(timeout(PROBE_LIMIT, probe).await, Ok(Ok(true)))
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            use std::os::unix::fs::FileExt as _;
            let file = File::open(self.log())?;
            let start = file.metadata()?.len().saturating_sub(LOG_TAIL_BYTES);
            let mut tail = vec![0; usize::try_from(LOG_TAIL_BYTES).unwrap_or(usize::MAX)];
            let count = file.read_at(&mut tail, start)?;
            tail.truncate(count);
            Ok(tail)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }

    fn take(&mut self) -> Result<Child> {
        let child = self.child.take();
        child.with_context(|| format!("{} does not run", self.name))
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let pid = self
            .pid()
            .with_context(|| format!("{} does not run", self.name))?;
        // Nobody else waits for this child, so the number is still its own.
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &pid.to_string()])
            .status();
        ensure!(
            sent.context("cannot run kill")?.success(),
            "cannot send {signal} to {}",
            self.name
        );
        Ok(())
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let status = child
            .try_wait()
            .with_context(|| format!("cannot look at {}", self.name))?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It is this program's own child, so the process is still that one.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// JSON merge patch (RFC 7386).
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

/// The node program, which must be there.
pub(crate) fn checked_binary(binary: &Path) -> Result<PathBuf> {
    ensure!(
        binary.is_file(),
        "there is no node program at {}",
        binary.display()
    );
    Ok(binary.canonicalize()?)
}

async fn probe(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::merge;

    #[test]
    fn a_patch_merges_objects_and_null_takes_away() {
        let mut settings = json!({"imap": {"sessionsMax": 1, "lineBytesMax": 2}, "name": "a"});
        merge(
            &mut settings,
            &json!({"imap": {"sessionsMax": 3}, "name": null, "tls": {"ca": "c"}}),
        );
        let expected = json!({"imap": {"sessionsMax": 3, "lineBytesMax": 2}, "tls": {"ca": "c"}});
        assert_eq!(settings, expected);
    }
}
