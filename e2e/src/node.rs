//! A node as a process: settings, start, readiness, `kill -9`, start again.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
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
const LOG_TAIL_BYTES: usize = 2000;

/// Where a node listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// IMAP without TLS.
    pub imap: SocketAddr,
    /// LMTP.
    pub lmtp: SocketAddr,
    /// `/readyz` and metrics.
    pub metrics: SocketAddr,
}

impl Addresses {
    /// Free ports on loopback. Another program could take one before the node does.
    fn choose() -> Result<Self> {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let held = [bind()?, bind()?, bind()?];
        Ok(Self {
            imap: held[0].local_addr()?,
            lmtp: held[1].local_addr()?,
            metrics: held[2].local_addr()?,
        })
    }
}

/// One unified node without a master. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Node {
    binary: PathBuf,
    folder: PathBuf,
    addresses: Addresses,
    child: Option<Child>,
}

impl Node {
    /// Writes the settings of a node that keeps all it has in `folder`, which exists.
    pub fn prepare(binary: &Path, folder: &Path) -> Result<Self> {
        ensure!(
            binary.is_file(),
            "there is no node program at {} (see --node-binary)",
            binary.display()
        );
        let folder = folder
            .canonicalize()
            .with_context(|| format!("no folder {}", folder.display()))?;
        let node = Self {
            binary: binary.canonicalize()?,
            folder,
            addresses: Addresses::choose().context("no free ports on loopback")?,
            child: None,
        };
        fs::create_dir_all(node.folder.join("data"))?;
        let accounts = node.folder.join("accounts");
        if !accounts.exists() {
            File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&accounts)?;
        }
        let settings = json!({
            "role": "unified",
            "cluster": "mc",
            "name": "one-0",
            "server": "one",
            "dataDir": node.folder.join("data"),
            "listeners": {
                "imap": node.addresses.imap.to_string(),
                "lmtp": node.addresses.lmtp.to_string(),
                "metrics": node.addresses.metrics.to_string(),
            },
            "accounts": accounts,
            "admins": ["admin"],
            "insecureLoopback": true,
            "logging": { "format": "text", "level": "warn" },
        });
        fs::write(node.settings(), serde_yaml::to_string(&settings)?)
            .with_context(|| format!("cannot write {}", node.settings().display()))?;
        Ok(node)
    }

    /// Where it listens.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("node.log")
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("node.yaml")
    }

    /// Makes an account, or gives it another password.
    pub fn add_account(&self, user: &str, password: &str) -> Result<()> {
        let mut child = Command::new(&self.binary)
            .arg("passwd")
            .arg("-c")
            .arg(self.settings())
            .arg(user)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run the node program")?;
        if let Some(mut input) = child.stdin.take() {
            writeln!(input, "{password}")?;
        }
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "cannot make the account {user}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// Starts it and waits until it is ready; returns how long that took.
    pub async fn start(&mut self) -> Result<Duration> {
        ensure!(self.child.is_none(), "the node runs already");
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.log())
            .context("cannot open the node's log")?;
        let begun = Instant::now();
        let child = Command::new(&self.binary)
            .arg("run")
            .arg("-c")
            .arg(self.settings())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C at the terminal is for this program, which then ends the node itself.
            .process_group(0)
            .spawn()
            .context("cannot run the node program")?;
        self.child = Some(child);
        while !self.is_ready().await {
            if let Some(status) = self.ended()? {
                bail!(
                    "the node ended with {status} before it was ready:\n{}",
                    self.log_tail()
                );
            }
            ensure!(
                begun.elapsed() < READY_LIMIT,
                "the node was not ready in {} s:\n{}",
                READY_LIMIT.as_secs(),
                self.log_tail()
            );
            sleep(LOOK_INTERVAL).await;
        }
        Ok(begun.elapsed())
    }

    /// `kill -9`, and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the node does not run")?;
        child.kill().context("cannot kill the node")?;
        child.wait().context("cannot wait for the node")?;
        Ok(())
    }

    /// Ends it in order (SIGTERM); kills it if it does not end in time.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        let pid = self.pid().context("the node does not run")?;
        let sent = Command::new("kill")
            .args(["-TERM", &pid.to_string()])
            .status();
        ensure!(
            sent.context("cannot run kill")?.success(),
            "cannot stop the node {pid}"
        );
        let end = Instant::now() + STOP_LIMIT;
        while Instant::now() < end {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            sleep(LOOK_INTERVAL).await;
        }
        self.kill()?;
        bail!("the node did not stop in {} s", STOP_LIMIT.as_secs());
    }

    /// Lets it run on after this program's end; returns its process.
    pub fn leave(mut self) -> Option<u32> {
        self.child.take().map(|child| child.id())
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let status = child.try_wait().context("cannot look at the node")?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    async fn is_ready(&self) -> bool {
        let probe = probe(self.addresses.metrics);
        matches!(timeout(PROBE_LIMIT, probe).await, Ok(Ok(true)))
    }

    fn log_tail(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let start = log.len().saturating_sub(LOG_TAIL_BYTES);
        String::from_utf8_lossy(&log[start..]).into_owned()
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

async fn probe(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}
