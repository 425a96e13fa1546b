//! Nodes' admin interfaces, reached through the API server's port-forward.

use std::collections::BTreeMap;
use std::io;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, ResourceExt as _};
use murder_api::admin::{NodeStatus, ServerStatus, TransferStatus, UnitSummary};
use murder_api::settings::Role;
use murder_model::Fence;
use murder_operator::node_client::{CallError, Endpoint, NodeClient};
use tokio::io::DuplexStream;

use crate::access::Access;
use crate::murder::{self, Murder};

/// Port of the admin interface.
const ADMIN_PORT: u16 = 8443;
/// Nodes asked at a time.
const ASKED_MAX: usize = 16;

/// The admin interface of a pod.
pub(crate) struct PodEndpoint {
    pods: Api<Pod>,
    pod: String,
    tls_name: String,
}

impl std::fmt::Display for PodEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.pod)
    }
}

impl Endpoint for PodEndpoint {
    type Stream = DuplexStream;

    fn tls_name(&self) -> &str {
        &self.tls_name
    }

    async fn connect(&self) -> io::Result<DuplexStream> {
        let forward = self.pods.portforward(&self.pod, &[ADMIN_PORT]).await;
        let mut forward = forward.map_err(io::Error::other)?;
        let stream = forward.take_stream(ADMIN_PORT);
        stream.ok_or_else(|| io::Error::other("the API server forwards no port"))
    }
}

/// What one node said; none for what it was not asked or did not answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) status: Option<NodeStatus>,
    pub(crate) units: Option<Vec<UnitSummary>>,
    pub(crate) transfers: Option<Vec<TransferStatus>>,
    pub(crate) servers: Option<Vec<ServerStatus>>,
    /// Its certificate (DER).
    pub(crate) certificate: Option<Vec<u8>>,
    /// Why something could not be read.
    pub(crate) error: Option<String>,
}

/// What nodes said, by pod.
pub(crate) type Answers = BTreeMap<String, Heard>;

/// What nodes are asked beside their status.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Questions {
    /// Their units, one by one.
    pub(crate) units: bool,
    /// Their transfers and, of the master, its servers.
    pub(crate) murder: bool,
    /// Their certificates.
    pub(crate) certificates: bool,
}

/// All nodes of a murder.
pub(crate) struct Nodes {
    pub(crate) client: NodeClient,
    /// The client certificate and the authorities (PEM).
    pub(crate) certificate: Vec<u8>,
    pub(crate) authorities: Vec<u8>,
    pods: Api<Pod>,
}

impl Nodes {
    /// Reads the client certificate.
    pub(crate) async fn open(access: &Access, murder: &Murder) -> anyhow::Result<Self> {
        let name = format!("{}-admin-tls", murder.name());
        let what = format!("read Secret {name}, which holds the client certificate");
        let secrets = access.api::<Secret>();
        let secret = access.request(&what, secrets.get(&name)).await?;
        let data = secret.data.unwrap_or_default();
        let part = |key: &str| {
            let part = data.get(key).map(|part| part.0.clone());
            part.with_context(|| format!("Secret {name} has no {key}"))
        };
        let (certificate, key, authorities) = (part("tls.crt")?, part("tls.key")?, part("ca.crt")?);
        let fence = Fence::new(murder.fence().unwrap_or(0));
        let client = NodeClient::new(&certificate, &key, &authorities, fence, access.limit());
        Ok(Self {
            client: client.with_context(|| format!("Secret {name}"))?,
            certificate,
            authorities,
            pods: access.api(),
        })
    }

    /// The admin interface of a pod.
    pub(crate) fn endpoint(&self, pod: &Pod) -> PodEndpoint {
        PodEndpoint {
            pods: self.pods.clone(),
            pod: pod.name_any(),
            tls_name: murder::tls_name(pod),
        }
    }

    /// Asks all nodes that run.
    pub(crate) async fn ask(&self, murder: &Murder, questions: Questions) -> Answers {
        let running = murder.pods.iter().filter(|pod| murder::is_running(pod));
        let calls = running.map(|pod| async {
            let heard = self.hear(pod, questions).await;
            (pod.name_any(), heard)
        });
        let calls: Vec<_> = calls.collect();
        let answers = futures::stream::iter(calls).buffer_unordered(ASKED_MAX);
        answers.collect().await
    }

    /// Asks one node; none if it does not run.
    pub(crate) async fn ask_pod(
        &self,
        murder: &Murder,
        pod: &str,
        questions: Questions,
    ) -> Option<Heard> {
        let pod = murder.pod(pod).filter(|pod| murder::is_running(pod))?;
        Some(self.hear(pod, questions).await)
    }

    async fn hear(&self, pod: &Pod, questions: Questions) -> Heard {
        let mut heard = Heard::default();
        let endpoint = self.endpoint(pod);
        if let Err(error) = self.ask_one(&endpoint, questions, &mut heard).await {
            heard.error = Some(error.to_string());
        }
        heard
    }

    async fn ask_one(
        &self,
        endpoint: &PodEndpoint,
        questions: Questions,
        heard: &mut Heard,
    ) -> Result<(), CallError> {
        let client = &self.client;
        let role = heard.status.insert(client.status(endpoint).await?).role;
        if questions.certificates {
            heard.certificate = Some(client.certificate(endpoint).await?);
        }
        if role.holds_mailboxes() && questions.murder {
            heard.transfers = Some(client.transfers(endpoint).await?);
        }
        if role.holds_mailboxes() && questions.units {
            heard.units = Some(client.units(endpoint).await?);
        }
        if role == Role::Mupdate && questions.murder {
            heard.servers = Some(client.servers(endpoint).await?);
        }
        Ok(())
    }
}
