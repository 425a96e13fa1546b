//! The objects of one murder, as the API server has them.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use kube::api::ListParams;
use murder_operator::crd::{Backend, Frontend, MurderCluster};

use crate::BadInput;
use crate::access::Access;

/// Label of a pod: the murder that it belongs to.
const CLUSTER_LABEL: &str = "murder.rs/cluster";
/// Label of a pod: the Frontend that it belongs to.
const FRONTEND_LABEL: &str = "murder.rs/frontend";
/// Annotation of a MurderCluster: the leadership of its operator.
const FENCE: &str = "murder.rs/fence";

/// A murder with all that belongs to it, each list in order of names.
#[derive(Clone, Debug)]
pub(crate) struct Murder {
    pub(crate) cluster: MurderCluster,
    pub(crate) backends: Vec<Backend>,
    pub(crate) frontends: Vec<Frontend>,
    pub(crate) pods: Vec<Pod>,
}

impl Murder {
    /// Reads the murder of a name, or the only one.
    pub(crate) async fn load(access: &Access, name: Option<&str>) -> anyhow::Result<Self> {
        let clusters = access.api::<MurderCluster>();
        let cluster = match name {
            Some(name) => {
                access
                    .request("read the MurderCluster", clusters.get(name))
                    .await?
            }
            None => {
                let all = ListParams::default();
                let found = access.request("list MurderClusters", clusters.list(&all));
                only(found.await?.items, access.namespace())?
            }
        };
        Self::of(access, cluster).await
    }

    /// Reads what belongs to a murder.
    pub(crate) async fn of(access: &Access, cluster: MurderCluster) -> anyhow::Result<Self> {
        let name = cluster.name_any();
        let all = ListParams::default();
        let labelled = all.clone().labels(&format!("{CLUSTER_LABEL}={name}"));
        let (backends, frontends, pods) = (access.api(), access.api(), access.api());
        let (backends, frontends, pods) = tokio::try_join!(
            access.request("list Backends", backends.list(&all)),
            access.request("list Frontends", frontends.list(&all)),
            access.request("list pods", pods.list(&labelled)),
        )?;
        let mut murder = Self {
            cluster,
            backends: backends.items,
            frontends: frontends.items,
            pods: pods.items,
        };
        murder
            .backends
            .retain(|backend: &Backend| backend.spec.cluster_ref.name == name);
        murder
            .frontends
            .retain(|frontend: &Frontend| frontend.spec.cluster_ref.name == name);
        murder.backends.sort_by_key(Backend::name_any);
        murder.frontends.sort_by_key(Frontend::name_any);
        murder.pods.sort_by_key(|pod: &Pod| pod.name_any());
        Ok(murder)
    }

    /// The murder that a Backend belongs to, and the Backend.
    pub(crate) async fn of_backend(access: &Access, name: &str) -> anyhow::Result<(Self, Backend)> {
        let backends = access.api::<Backend>();
        let backend = access
            .request("read the Backend", backends.get(name))
            .await?;
        let murder = Self::load(access, Some(&backend.spec.cluster_ref.name)).await?;
        Ok((murder, backend))
    }

    /// Its name.
    pub(crate) fn name(&self) -> String {
        self.cluster.name_any()
    }

    /// Name of the master's pod; none if there is no master.
    pub(crate) fn master_pod(&self) -> Option<String> {
        let has_master = self.cluster.spec.mupdate.replicas > 0;
        has_master.then(|| format!("{}-mupdate-0", self.name()))
    }

    /// The Backend of this name.
    pub(crate) fn backend(&self, name: &str) -> Option<&Backend> {
        let mut backends = self.backends.iter();
        backends.find(|backend| backend.name_any() == name)
    }

    /// The pod of this name.
    pub(crate) fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.name_any() == name)
    }

    /// The pods of a Frontend.
    pub(crate) fn pods_of_frontend(&self, name: &str) -> impl Iterator<Item = &Pod> {
        let of = move |pod: &&Pod| {
            pod.labels()
                .get(FRONTEND_LABEL)
                .is_some_and(|of| of == name)
        };
        self.pods.iter().filter(of)
    }

    /// The leadership under which nodes take commands now.
    pub(crate) fn fence(&self) -> Option<u64> {
        self.cluster.annotations().get(FENCE)?.parse().ok()
    }
}

/// Name of a Backend's pod.
pub(crate) fn pod_of(backend: &str) -> String {
    format!("{backend}-0")
}

/// The name in the certificate of a pod's node.
pub(crate) fn tls_name(pod: &Pod) -> String {
    // All pods of a Frontend share a certificate.
    let frontend = pod.labels().get(FRONTEND_LABEL).cloned();
    frontend.unwrap_or_else(|| pod.name_any())
}

/// Whether a pod runs and is meant to go on.
pub(crate) fn is_running(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    phase == Some("Running")
}

/// Whether the kubelet says that a pod serves.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    pod.metadata.deletion_timestamp.is_none() && ready.any(|condition| condition.status == "True")
}

/// The condition of a type.
pub(crate) fn condition<'a>(
    conditions: Option<&'a Vec<Condition>>,
    name: &str,
) -> Option<&'a Condition> {
    conditions?.iter().find(|condition| condition.type_ == name)
}

/// A count that never was negative.
pub(crate) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn only(mut found: Vec<MurderCluster>, namespace: &str) -> anyhow::Result<MurderCluster> {
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => anyhow::bail!("namespace {namespace} has no MurderCluster; give another with -n"),
        _ => {
            let names: Vec<String> = found.iter().map(MurderCluster::name_any).collect();
            let names = names.join(", ");
            Err(BadInput(format!(
                "namespace {namespace} has several murders ({names}); choose one with -c"
            ))
            .into())
        }
    }
}
