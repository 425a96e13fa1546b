//! Carries steps out.

use anyhow::{Context as _, bail};

use super::observe::admin_address;
use super::process;
use super::render::{self, mupdate_pod};
use super::state::{PodRecord, StoredVolume, write_secret};
use super::supervisor::Supervisor;
use crate::core::{Action, Kind, Proof, Step};

/// How long a node may take to stop before it is killed.
const STOP_LIMIT_MS: u64 = 20_000;
/// Wait before the second start of a node that ended; it doubles each time.
const BACK_OFF_MS: u64 = 200;
/// Longest such wait.
const BACK_OFF_MS_MAX: u64 = 10_000;

impl Supervisor {
    /// Carries one step out. Doing it again does no harm.
    pub(super) async fn act(&mut self, step: &Step) -> anyhow::Result<()> {
        let name = step.object.as_str();
        match &step.action {
            Action::StartPod { pod } => return self.start(pod),
            Action::StopPod { pod } | Action::RestartPod { pod } => {
                self.stop(pod).await;
                return Ok(());
            }
            Action::CreateVolume if step.kind == Kind::MurderCluster => {
                std::fs::create_dir_all(self.folder.volume(&format!("{name}-mupdate")))?;
                self.state.mupdate_volume = true;
                return Ok(());
            }
            Action::RemoveFinalizer if step.kind == Kind::Frontend => {
                self.state.frontends.remove(name);
                return Ok(());
            }
            Action::RemoveFinalizer => {
                self.state.backends.remove(name);
                return Ok(());
            }
            _ => {}
        }
        if self.act_on_volume(name, &step.action)? {
            return Ok(());
        }
        self.call(name, &step.action).await
    }

    fn act_on_volume(&mut self, name: &str, action: &Action) -> anyhow::Result<bool> {
        let now_ms = self.now_ms();
        let folder = self.folder.clone();
        let stored = self
            .state
            .backends
            .get_mut(name)
            .context("no such Backend")?;
        match action {
            Action::AddFinalizer => stored.finalizer = true,
            Action::CreateVolume => {
                std::fs::create_dir_all(folder.volume(name))?;
                stored.volume = StoredVolume::Present;
            }
            Action::RecordProof { server_id } => {
                stored.proof = Some(Proof {
                    at_ms: now_ms,
                    server_id: *server_id,
                });
            }
            Action::RetireVolume { delete_after_ms } => {
                stored.volume = StoredVolume::Retired {
                    delete_after_ms: *delete_after_ms,
                };
            }
            Action::ReleaseVolume => {
                let id = stored
                    .server_id
                    .clone()
                    .unwrap_or_else(|| "unknown".to_owned());
                let (from, to) = (folder.volume(name), folder.released_volume(name, &id));
                done_before(std::fs::rename(from, to)).context("set the volume aside")?;
                stored.forget_volume();
            }
            Action::DeleteVolume => {
                let deleted = std::fs::remove_dir_all(folder.volume(name));
                done_before(deleted).context("delete the volume")?;
                stored.forget_volume();
            }
            Action::DropProof => stored.proof = None,
            _ => return Ok(false),
        }
        Ok(true)
    }

    async fn call(&self, name: &str, action: &Action) -> anyhow::Result<()> {
        let node = admin_address(&self.state, &format!("{name}-0"));
        let cluster = self
            .state
            .cluster
            .as_ref()
            .and_then(|c| c.metadata.name.as_deref());
        let master = admin_address(&self.state, &mupdate_pod(cluster.unwrap_or_default()));
        let client = &self.client;
        match action {
            Action::CordonServer { cordoned } => {
                client.cordon_server(&master, name, *cordoned).await?;
            }
            Action::CordonNode { cordoned } => {
                client.cordon(&node, *cordoned).await?;
            }
            Action::StartTransfer {
                move_id,
                root,
                destination,
            } => {
                let (root, destination) = (root.clone(), destination.clone());
                client
                    .start_transfer(&node, *move_id, root, destination)
                    .await?;
            }
            Action::CancelTransfer { move_id } => {
                client.cancel_transfer(&node, *move_id).await?;
            }
            Action::Deactivate => {
                client.deactivate(&node).await?;
            }
            // Opening a node for new units also makes it serve again.
            Action::Reactivate => {
                client.cordon(&node, false).await?;
            }
            Action::Retire { server_id } => {
                client.retire(&master, name, *server_id).await?;
            }
            other => bail!("{} is not a call", other.name()),
        }
        Ok(())
    }

    fn start(&mut self, pod: &str) -> anyhow::Result<()> {
        let now_ms = self.now_ms();
        if self
            .failures
            .get(pod)
            .is_some_and(|(_, next_ms)| now_ms < *next_ms)
        {
            return Ok(());
        }
        let wanted = render::pods(&self.state)
            .into_iter()
            .find(|wanted| wanted.name == pod);
        let wanted = wanted.with_context(|| format!("{pod} is not wanted"))?;
        let settings = render::settings(&self.folder, &mut self.state, &wanted)?;
        let path = self.folder.settings(pod);
        write_secret(&path, settings.as_bytes())?;
        std::fs::create_dir_all(self.folder.scratch(pod))?;
        let (child, pid, start_time) = process::start(&self.binary, &path, &self.folder.log(pod))?;
        tracing::info!(pod, pid, "node_started");
        self.children.insert(pid, child);
        let restarts = self.restarts.get(pod).copied().unwrap_or(0);
        let revision = render::revision(&settings);
        let record = PodRecord {
            pid,
            start_time,
            revision,
            was_ready: false,
            restarts,
        };
        self.state.pods.insert(pod.to_owned(), record);
        // Kept at once: a supervisor that dies now must find the process again.
        self.state.save(&self.folder)
    }

    /// Asks a node to stop, and kills it when it takes too long.
    pub(super) async fn stop(&mut self, pod: &str) {
        let Some(record) = self.state.pods.get(pod).cloned() else {
            return;
        };
        if !process::is_running(record.pid, record.start_time, &self.folder.settings(pod)) {
            return;
        }
        let now_ms = self.now_ms();
        match self.stopping.get(pod) {
            None => {
                self.stopping.insert(pod.to_owned(), now_ms);
                process::signal(record.pid, "TERM").await;
            }
            Some(since) if now_ms > since + STOP_LIMIT_MS => {
                process::signal(record.pid, "KILL").await
            }
            Some(_) => {}
        }
    }

    /// Lets a node that ended wait before its next start.
    pub(super) fn back_off(&mut self, pod: &str, now_ms: u64) {
        let failures = self.failures.get(pod).map_or(0, |(failures, _)| *failures);
        // The first start follows at once: mail waits.
        let wait = match failures {
            0 => 0,
            _ => BACK_OFF_MS_MAX.min(BACK_OFF_MS << failures.min(10)),
        };
        self.failures
            .insert(pod.to_owned(), (failures + 1, now_ms + wait));
    }
}

/// What is not there any more was done by a supervisor that died before it could note so.
fn done_before(outcome: std::io::Result<()>) -> std::io::Result<()> {
    match outcome {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
