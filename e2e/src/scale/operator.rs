//! The operator's process, and what it needs.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Where it serves its metrics.
const METRICS: &str = "127.0.0.1:9190";
/// Ticks of a processor's time in a second, on every Linux.
const TICKS: f64 = 100.0;

/// A running operator; it ends with this value.
pub(super) struct Operator {
    child: Child,
    pid: u32,
}

/// Memory in KiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// What is resident now.
    pub(super) now: u64,
    /// The most that was.
    pub(super) most: u64,
}

impl Operator {
    /// Starts the program outside of any pod.
    pub(super) fn start(program: &Path, kubeconfig: &Path, log: &Path) -> Result<Self> {
        let log = File::create(log).with_context(|| format!("write {}", log.display()))?;
        let child = Command::new(program)
            .args(["run", "--identity", "scale", "--lease-namespace"])
            .args([crate::kube::OPERATOR_NAMESPACE, "--metrics-listen", METRICS])
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let pid = child.id().context("the operator ended at once")?;
        Ok(Self { child, pid })
    }

    /// Fails if it has ended.
    pub(super) fn is_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("the operator ended: {status}"),
        }
    }

    fn proc(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        std::fs::read_to_string(&path).with_context(|| format!("read {path}"))
    }

    /// Its memory.
    pub(super) fn memory(&self) -> Result<Memory> {
        let status = self.proc("status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.with_context(|| format!("no {name} in its status"))
        };
        Ok(Memory {
            now: field("VmRSS:")?,
            most: field("VmHWM:")?,
        })
    }

    /// Seconds of processors that it has used.
    pub(super) fn cpu(&self) -> Result<f64> {
        let stat = self.proc("stat")?;
        // The name before the last parenthesis may have spaces.
        let (_, fields) = stat.rsplit_once(')').context("its stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |index: usize| -> Result<f64> {
            Ok(fields.get(index).context("its stat is short")?.parse()?)
        };
        Ok((ticks(11)? + ticks(12)?) / TICKS)
    }

    /// Passes of murders so far, and the seconds that they took.
    pub(super) async fn passes(&self) -> Result<(f64, f64)> {
        let mut stream = TcpStream::connect(METRICS).await?;
        let request =
            format!("GET /metrics HTTP/1.1\r\nhost: {METRICS}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let of = |name: &str| -> f64 {
            let begin =
                format!("murder_operator_reconcile_seconds_{name}{{kind=\"MurderCluster\"}} ");
            let line = answer.lines().find_map(|line| line.strip_prefix(&begin));
            line.and_then(|text| text.parse().ok()).unwrap_or(0.0)
        };
        Ok((of("count"), of("sum")))
    }
}
