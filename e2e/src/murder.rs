//! A murder of real node processes on loopback, without an operator: authority, certificates,
//! settings, accounts, start, failures.
//!
//! Nodes are named by their process (`be-a-0`) or by their server (`be-a`, which means its first
//! process). Everything is killed when a [`Murder`] is dropped; what the nodes logged is shown if a
//! test is failing then, and kept with all data if `MURDER_KEEP` is set.

mod certificates;
mod plan;
mod ports;
mod settings;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use murder_api::admin::{NodeStatus, SetCordon, StartTransfer, TransferStatus, UnitSummary};
use murder_api::settings::Role;
use murder_model::{Fence, MoveId, RootName, ServerName};
use rustls::ClientConfig;
use tempfile::TempDir;

use self::ports::Ports;
use crate::admin::{Admin, CallError};
use crate::node::{Addresses, Node};

pub use certificates::{Authority, Files, mail_client};
pub use plan::Plan;

/// The murder's name.
pub const CLUSTER: &str = "mc";

/// The administrator's account.
pub const ADMIN: &str = "admin";

/// The password of every account, unless the plan names another.
pub const PASSWORD: &str = "secret";

/// Node processes that belong together.
#[derive(Debug)]
pub struct Murder {
    // Killed before their folder goes.
    nodes: Vec<Node>,
    admin: Admin,
    authority: Authority,
    password: String,
    fence: Fence,
    folder: PathBuf,
    temporary: Option<TempDir>,
    _ports: Ports,
}

impl Murder {
    /// All nodes, the master first.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node by the name of its process or of its server.
    pub fn node(&self, name: &str) -> Result<&Node> {
        let index = self.index(name)?;
        Ok(&self.nodes[index])
    }

    /// A node by the name of its process or of its server.
    pub fn node_mut(&mut self, name: &str) -> Result<&mut Node> {
        let index = self.index(name)?;
        Ok(&mut self.nodes[index])
    }

    fn index(&self, name: &str) -> Result<usize> {
        let position = |is: fn(&Node) -> &str| self.nodes.iter().position(|n| is(n) == name);
        let index = position(Node::name).or_else(|| position(Node::server));
        index.with_context(|| format!("no node is named {name}"))
    }

    /// Where a node listens.
    pub fn addresses(&self, name: &str) -> Result<Addresses> {
        Ok(self.node(name)?.addresses())
    }

    /// Its files; each node keeps its own in a folder with its process' name.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The authority, for identities of a test's own.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// TLS of a mail client.
    pub fn mail_client(&self) -> Result<Arc<ClientConfig>> {
        mail_client(&self.authority.certificate())
    }

    /// The accounts' password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Makes an account, or gives it another password. Running nodes see it.
    pub fn add_account(&self, user: &str, password: &str) -> Result<()> {
        let node = self.nodes.first().context("a murder without nodes")?;
        let mut child = Command::new(&node.binary)
            .arg("passwd")
            .arg("-c")
            .arg(node.settings_file())
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

    /// Starts all nodes that do not run, the master before the others, and waits until all are ready.
    pub async fn start_all(&mut self) -> Result<()> {
        for is_master in [true, false] {
            let mut started = Vec::new();
            for (index, node) in self.nodes.iter_mut().enumerate() {
                if (node.role() == Role::Mupdate) == is_master && node.pid().is_none() {
                    node.spawn()?;
                    started.push(index);
                }
            }
            for index in started {
                self.nodes[index].wait_ready().await?;
            }
        }
        Ok(())
    }

    /// Starts a node and waits until it is ready; returns how long that took.
    pub async fn start(&mut self, name: &str) -> Result<Duration> {
        self.node_mut(name)?.start().await
    }

    /// `kill -9` of a node.
    pub fn kill(&mut self, name: &str) -> Result<()> {
        self.node_mut(name)?.kill()
    }

    /// Ends a node in order.
    pub async fn stop(&mut self, name: &str) -> Result<ExitStatus> {
        self.node_mut(name)?.stop().await
    }

    /// Stands a node still: its sockets stay open and nobody answers.
    pub fn pause(&self, name: &str) -> Result<()> {
        self.node(name)?.pause()
    }

    /// Lets a node run on.
    pub fn resume(&self, name: &str) -> Result<()> {
        self.node(name)?.resume()
    }

    /// Ends all nodes in order, the master last.
    pub async fn stop_all(&mut self) -> Result<()> {
        for node in self.nodes.iter_mut().rev() {
            if node.pid().is_some() {
                node.stop().await?;
            }
        }
        Ok(())
    }

    /// Lets all nodes run on after this program's end, and keeps their files.
    pub fn leave(mut self) {
        for node in std::mem::take(&mut self.nodes) {
            let _pid = node.leave();
        }
        if let Some(folder) = self.temporary.take() {
            let _path = folder.keep();
        }
    }

    /// The operator's client of the admin interface.
    #[must_use]
    pub const fn admin(&self) -> &Admin {
        &self.admin
    }

    /// The fence of the calls below.
    #[must_use]
    pub const fn fence(&self) -> Fence {
        self.fence
    }

    /// Another operator takes over.
    pub const fn raise_fence(&mut self) {
        self.fence = self.fence.next();
    }

    /// What a node says of itself.
    pub async fn status(&self, name: &str) -> Result<NodeStatus, CallError> {
        self.admin.status(self.addresses(name)?.admin).await
    }

    /// All units of a node.
    pub async fn units(&self, name: &str) -> Result<Vec<UnitSummary>, CallError> {
        self.admin.units(self.addresses(name)?.admin).await
    }

    /// Transfers from a node.
    pub async fn transfers(&self, name: &str) -> Result<Vec<TransferStatus>, CallError> {
        self.admin.transfers(self.addresses(name)?.admin).await
    }

    /// Starts the transfer of a root (`user.alice`) from a node to a server. `number` is its
    /// identity: the same number again is the same transfer.
    pub async fn start_transfer(
        &self,
        source: &str,
        root: &str,
        destination: &str,
        number: u64,
    ) -> Result<TransferStatus, CallError> {
        let mut move_id = [0; 16];
        move_id[8..].copy_from_slice(&number.to_be_bytes());
        let transfer = StartTransfer {
            fence: self.fence,
            move_id: MoveId::from_bytes(move_id),
            root: RootName::parse(root).context("not a root")?,
            destination: ServerName::parse(destination).context("not a server")?,
            partition: None,
        };
        let address = self.addresses(source)?.admin;
        self.admin.start_transfer(address, &transfer).await
    }

    /// Turns refusal of new units on or off, at the master and at the node itself.
    pub async fn cordon(&self, name: &str, cordoned: bool) -> Result<NodeStatus, CallError> {
        let cordon = SetCordon {
            fence: self.fence,
            cordoned,
        };
        let node = self.node(name)?;
        if let Some(master) = self.nodes.iter().find(|node| node.role() == Role::Mupdate) {
            let master = master.addresses().admin;
            self.admin
                .cordon_server(master, node.server(), &cordon)
                .await?;
        }
        self.admin.cordon(node.addresses().admin, &cordon).await
    }
}

impl Drop for Murder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                tell(&format!(
                    "--- log of {} ends:\n{}",
                    node.name(),
                    node.log_tail()
                ));
            }
        }
        self.nodes.clear();
        if std::env::var_os("MURDER_KEEP").is_some()
            && let Some(folder) = self.temporary.take()
        {
            tell(&format!("kept: {}", folder.keep().display()));
        }
    }
}

#[expect(clippy::print_stderr, reason = "what a failing test shows")]
fn tell(text: &str) {
    eprintln!("{text}");
}
