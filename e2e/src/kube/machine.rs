//! Processes of pods, where the machines of the cluster run on this one.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

/// The processes of a pod, stopped by SIGSTOP until this value is dropped.
#[derive(Debug)]
pub struct Frozen {
    pids: Vec<u32>,
}

impl Frozen {
    /// Stops all processes of a pod's containers; none if they are not visible from here.
    pub async fn stop(pod: &Value) -> Result<Option<Self>> {
        let statuses = pod["status"]["containerStatuses"].as_array();
        let mut pids = Vec::new();
        for status in statuses.context("the pod has no containers")? {
            let id = status["containerID"].as_str().unwrap_or_default();
            let id = id.rsplit('/').next().unwrap_or_default();
            ensure!(id.len() > 20, "a container without an id: {status}");
            pids.extend(processes(id)?);
        }
        if pids.is_empty() {
            return Ok(None);
        }
        let frozen = Self { pids };
        frozen.signal("-STOP").await?;
        Ok(Some(frozen))
    }

    /// Lets them go on.
    pub async fn resume(mut self) -> Result<()> {
        self.signal("-CONT").await?;
        self.pids.clear();
        Ok(())
    }

    async fn signal(&self, signal: &str) -> Result<()> {
        let pids = self.pids.iter().map(u32::to_string);
        let done = Command::new("kill").arg(signal).args(pids).status().await?;
        ensure!(done.success(), "kill {signal} failed");
        Ok(())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.pids {
            let mut kill = std::process::Command::new("kill");
            // It may be gone.
            let _ended = kill.args(["-CONT", &pid.to_string()]).status();
        }
    }
}

/// Processes in a control group that is named after a container.
fn processes(id: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process may have ended meanwhile.
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if groups.contains(id) {
            found.push(pid);
        }
    }
    Ok(found)
}
