//! The Secrets with certificates that a murder needs, and for whom.

use kube::ResourceExt as _;

use super::certificates::{Identity, Role};
use super::objects::{self, Objects};
use crate::core::Kind;
use crate::crd::Topology;
use crate::resources::names;

/// A Secret that should hold a certificate.
pub(super) struct Wanted {
    pub(super) secret: String,
    pub(super) identity: Identity,
    pub(super) owner: (Kind, String),
}

/// Name of the Secret with our own certificate.
pub(super) fn operator_secret(cluster: &str) -> String {
    format!("{cluster}-operator-tls")
}

/// All Secrets with certificates that a murder needs.
pub(super) fn wanted(objects: &Objects) -> Vec<Wanted> {
    let (cluster, namespace) = (&objects.key.name, &objects.key.namespace);
    let of_cluster = || (Kind::MurderCluster, cluster.clone());
    let mut wanted = vec![
        Wanted {
            secret: operator_secret(cluster),
            identity: Identity::of_client(cluster, "operator"),
            owner: of_cluster(),
        },
        Wanted {
            secret: format!("{cluster}-admin-tls"),
            identity: Identity::of_client(cluster, "admin"),
            owner: of_cluster(),
        },
    ];
    let mut server = |name: &str, role, owner| {
        wanted.push(Wanted {
            secret: names::tls_secret(name),
            identity: Identity::of_server(cluster, role, name, namespace),
            owner,
        });
    };
    if objects.cluster.spec.mupdate.replicas > 0 {
        server(&names::mupdate(cluster), Role::Mupdate, of_cluster());
    }
    let role = match objects.cluster.spec.topology {
        Topology::Discrete => Role::Backend,
        Topology::Unified => Role::Unified,
    };
    for backend in &objects.backends {
        let name = backend.name_any();
        server(&name, role, (Kind::Backend, name.clone()));
    }
    for frontend in &objects.frontends {
        let name = frontend.name_any();
        wanted.push(Wanted {
            secret: names::tls_secret(&name),
            identity: Identity::of_frontend(cluster, &name, namespace),
            owner: (Kind::Frontend, name),
        });
    }
    wanted
}

/// Whether what presents a certificate is ready, and so has it. Nothing waits for those of clients.
pub(super) fn is_in_use(objects: &Objects, leaf: &Wanted) -> bool {
    let (kind, name) = &leaf.owner;
    let is_ready = |pod: &str| {
        objects
            .pods
            .get(pod)
            .is_some_and(|pod| objects::is_ready(pod))
    };
    match kind {
        Kind::MurderCluster if leaf.secret != names::tls_secret(&names::mupdate(name)) => true,
        Kind::MurderCluster => is_ready(&format!("{}-0", names::mupdate(name))),
        Kind::Backend => is_ready(&format!("{name}-0")),
        Kind::Frontend => {
            let mut pods = objects.pods.values();
            pods.all(|pod| {
                pod.labels().get(names::FRONTEND_LABEL) != Some(name) || objects::is_ready(pod)
            })
        }
    }
}
