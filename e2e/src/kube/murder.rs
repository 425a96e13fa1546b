//! A murder in a namespace of its own, with users and clients.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::Kube;
use super::forward::Forward;
use crate::demo::{Door, Party, TlsDoor};

/// Users of a murder.
pub const USERS: usize = 8;

/// The administrator.
const ADMIN: &str = "admin";
/// Everybody's password: nobody else is in this network.
const PASSWORD: &str = "correct horse battery staple";
/// How long a namespace may take to end: Kubernetes looks again only after half the time that its pods may take, and that of a
/// Frontend is 5 minutes unless it says otherwise.
const ENDS: &str = "--timeout=420s";
/// How long a murder may take to serve.
const UP_LIMIT: Duration = Duration::from_secs(180);

/// A murder on Kubernetes.
#[derive(Debug)]
pub struct KubeMurder {
    /// The cluster.
    pub kube: Kube,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    users: Vec<String>,
    forwards: Mutex<Vec<Forward>>,
}

impl KubeMurder {
    /// Makes a fresh namespace with accounts, applies manifests there, and waits until the murder is ready.
    ///
    /// The MurderCluster's name is `mc`, its Frontend's `fe`.
    pub async fn up(kube: &Kube, namespace: &str, manifests: &str, users: usize) -> Result<Self> {
        let murder = Self::prepare(kube, namespace, users).await?;
        kube.apply(namespace, manifests).await?;
        murder.ready(UP_LIMIT).await?;
        Ok(murder)
    }

    /// Makes a fresh namespace with accounts.
    pub async fn prepare(kube: &Kube, namespace: &str, users: usize) -> Result<Self> {
        let arguments = ["delete", "namespace", namespace, "--ignore-not-found", ENDS];
        kube.kubectl_waiting(&arguments).await?;
        kube.kubectl(&["create", "namespace", namespace]).await?;
        let level = "pod-security.kubernetes.io/enforce=restricted";
        kube.kubectl(&["label", "namespace", namespace, level])
            .await?;
        let users: Vec<String> = (1..=users)
            .map(|number| format!("user{number:04}"))
            .collect();
        let accounts = accounts(&users).await?;
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mc-accounts"},
            "stringData": {"accounts": accounts},
        });
        kube.apply(namespace, &secret.to_string()).await?;
        Ok(Self {
            kube: kube.clone(),
            namespace: namespace.to_owned(),
            name: "mc".to_owned(),
            users,
            forwards: Mutex::default(),
        })
    }

    /// Waits until the murder says that it is ready.
    pub async fn ready(&self, limit: Duration) -> Result<()> {
        let object = format!("murdercluster/{}", self.name);
        let waited = self
            .kube
            .wait_for(&self.namespace, &object, "condition=Ready", limit)
            .await;
        match waited {
            Ok(()) => Ok(()),
            Err(error) => {
                let seen = self.kube.describe(&self.namespace).await;
                Err(error.context(seen))
            }
        }
    }

    /// Name in the operator's log.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// An object of the murder.
    pub async fn get(&self, kind: &str, name: &str) -> Result<Value> {
        let found = self.kube.get(&self.namespace, kind, name).await?;
        found.with_context(|| format!("there is no {kind} {name}"))
    }

    /// Changes a Backend's wish.
    pub async fn desire(&self, backend: &str, state: &str) -> Result<()> {
        let patch = format!(r#"{{"spec":{{"desiredState":"{state}"}}}}"#);
        self.kube
            .patch(&self.namespace, "backend", backend, &patch)
            .await
    }

    /// Who takes part in a load, through the Frontend's Service.
    pub async fn party(&self) -> Result<Party> {
        self.party_at("fe", &format!("fe.{}.svc", self.namespace))
            .await
    }

    /// The same through another Service; its servers' certificate has this name.
    pub async fn party_at(&self, service: &str, name: &str) -> Result<Party> {
        let door = Door {
            imap: self.service(service, 993).await?,
            lmtp: self.service(service, 24).await?,
            tls: Some(TlsDoor {
                config: self.tls().await?,
                name: name.to_owned(),
            }),
        };
        Ok(Party {
            doors: vec![door],
            users: self.users.clone(),
            password: PASSWORD.to_owned(),
            admin: Some((ADMIN.to_owned(), PASSWORD.to_owned())),
        })
    }

    /// Where a port of a Service is reached.
    async fn service(&self, name: &str, port: u16) -> Result<SocketAddr> {
        if Forward::is_wanted() {
            let forward = Forward::start(&self.kube, &self.namespace, name, port).await?;
            let address = forward.address();
            let forwards = self.forwards.lock();
            forwards
                .unwrap_or_else(PoisonError::into_inner)
                .push(forward);
            return Ok(address);
        }
        let service = self.get("service", name).await?;
        let address = service["spec"]["clusterIP"].as_str();
        let address = address.context("the Service has no address")?;
        Ok(SocketAddr::new(address.parse()?, port))
    }

    /// TLS that trusts the murder's authority.
    async fn tls(&self) -> Result<Arc<ClientConfig>> {
        let secret = self
            .get("secret", &format!("{}-admin-tls", self.name))
            .await?;
        let text = secret["data"]["ca.crt"]
            .as_str()
            .context("Secret without ca.crt")?;
        let pem = base64::engine::general_purpose::STANDARD.decode(text)?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }

    /// Deletes the namespace and waits until it is gone.
    pub async fn down(self) -> Result<()> {
        let arguments = ["delete", "namespace", &self.namespace, ENDS];
        self.kube.kubectl_waiting(&arguments).await.map(|_| ())
    }
}

/// An accounts file, made with the node's own program.
async fn accounts(users: &[String]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("accounts");
    let program = node_program()?;
    for user in users.iter().map(String::as_str).chain([ADMIN]) {
        add_account(&program, &path, user).await?;
    }
    std::fs::read_to_string(&path).context("read the accounts")
}

/// The node program beside this one, or below the folder of test programs.
fn node_program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("MURDER_NODE") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let folders = own.ancestors().skip(1).take(2);
    let mut programs = folders.map(|folder| folder.join("murder-node"));
    let found = programs.find(|path| path.is_file());
    found.context("murder-node is not beside this program; set MURDER_NODE")
}

async fn add_account(program: &Path, path: &Path, user: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(["passwd", "--accounts"])
        .arg(path)
        .arg(user)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let mut input = child.stdin.take().context("the program has no input")?;
    let _ = input.write_all(PASSWORD.as_bytes()).await;
    drop(input);
    let output = child.wait_with_output().await?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "account {user}: {}", error.trim());
    Ok(())
}
