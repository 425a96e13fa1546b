//! `kubectl port-forward`, started again whenever its pod goes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Result;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::Kube;

/// Before it is started again.
const AGAIN: Duration = Duration::from_millis(200);

/// How long it may take to listen.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);

/// A port of this machine that leads to one of a Service, as long as this value lives.
#[derive(Debug)]
pub(super) struct Forward {
    address: SocketAddr,
    keeper: JoinHandle<()>,
}

impl Forward {
    /// Whether Services of the cluster are reached so: `E2E_REACH=forward`.
    pub(super) fn is_wanted() -> bool {
        std::env::var_os("E2E_REACH").is_some_and(|reach| reach == "forward")
    }

    pub(super) async fn start(
        kube: &Kube,
        namespace: &str,
        service: &str,
        port: u16,
    ) -> Result<Self> {
        // If somebody else takes the port in between, what is there answers in other words and the test says so.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let ports = format!("{}:{port}", address.port());
        let (namespace, target) = (namespace.to_owned(), format!("service/{service}"));
        let keeper = tokio::spawn(async move {
            loop {
                let mut command = Command::new("kubectl");
                command
                    .args(["-n", &namespace, "port-forward", &target, &ports])
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .kill_on_drop(true);
                let _ended = command.status().await;
                sleep(AGAIN).await;
            }
        });
        let forward = Self { address, keeper };
        kube.until("port-forward listens", LISTEN_LIMIT, async || {
            Ok(TcpStream::connect(address).await.is_ok())
        })
        .await?;
        Ok(forward)
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}
