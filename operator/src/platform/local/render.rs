//! Settings of each pod, from the manifests.

use anyhow::Context as _;
use murder_api::settings::{
    Autocreate, Imap, Listeners, Lmtp, LogFormat, Logging, MupdateAddress, ProxyProtocol, Role,
    Settings, Stop, Store, TlsFiles, Topology, Transfer,
};
use murder_model::ServerName;

use super::certificates::{self, Identity};
use super::state::{Folder, Ports, State};
use crate::crd;
use crate::resources::fingerprint;
pub(super) use crate::resources::settings::ADMIN;
use crate::resources::settings::{admins, duration_ms, partitions};

/// A pod that there should be.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) server: String,
    pub(super) role: Role,
    pub(super) partitions: Vec<String>,
}

/// Name of the master's pod.
pub(super) fn mupdate_pod(cluster: &str) -> String {
    format!("{cluster}-mupdate-0")
}

/// All pods that there should be, without those of retired Backends.
pub(super) fn pods(state: &State) -> Vec<Pod> {
    let Some(cluster) = &state.cluster else {
        return Vec::new();
    };
    let name = cluster.metadata.name.clone().unwrap_or_default();
    let mut pods = Vec::new();
    if cluster.spec.mupdate.replicas > 0 {
        let pod = mupdate_pod(&name);
        let server = format!("{name}-mupdate");
        pods.push(Pod {
            name: pod,
            server,
            role: Role::Mupdate,
            partitions: Vec::new(),
        });
    }
    let role = match cluster.spec.topology {
        crd::Topology::Discrete => Role::Backend,
        crd::Topology::Unified => Role::Unified,
    };
    for (name, backend) in &state.backends {
        let partitions = backend.object.spec.partitions.clone();
        pods.push(Pod {
            name: format!("{name}-0"),
            server: name.clone(),
            role,
            partitions,
        });
    }
    for (name, frontend) in &state.frontends {
        for index in 0..frontend.object.spec.replicas {
            let name = format!("{name}-{index}");
            let server = name.clone();
            pods.push(Pod {
                name,
                server,
                role: Role::Frontend,
                partitions: Vec::new(),
            });
        }
    }
    pods
}

/// A pod's settings as text.
pub(super) fn settings(folder: &Folder, state: &mut State, pod: &Pod) -> anyhow::Result<String> {
    let cluster = state.cluster.clone().context("there is no MurderCluster")?;
    let name = cluster.metadata.name.clone().unwrap_or_default();
    let role = match pod.role {
        Role::Backend => "backend",
        Role::Frontend => "frontend",
        Role::Mupdate => "mupdate",
        Role::Unified => "unified",
    };
    let identity = Identity {
        cluster: &name,
        role,
        server: &pod.server,
        pod: &pod.name,
    };
    let files = certificates::ensure(&folder.tls(), identity)?;
    let ports = state.ports_of(&pod.name)?;
    let mupdate = if cluster.spec.mupdate.replicas > 0 && pod.role != Role::Mupdate {
        let master = mupdate_pod(&name);
        let port = state.ports_of(&master)?.mupdate;
        Some(MupdateAddress {
            host: "127.0.0.1".to_owned(),
            port,
            tls_name: Some(master),
        })
    } else {
        None
    };
    let data_dir = match pod.role {
        Role::Frontend => folder.scratch(&pod.name),
        Role::Mupdate | Role::Backend | Role::Unified => folder.volume(&pod.server),
    };
    let transfer = &cluster.spec.transfer;
    let milliseconds =
        |text: &str| duration_ms(text).with_context(|| format!("{text}: no duration"));
    let settings = Settings {
        role: pod.role,
        cluster: name,
        name: pod.name.clone(),
        server: ServerName::parse(&pod.server)?,
        data_dir,
        partitions: partitions(&pod.partitions)?,
        listeners: listeners(pod.role, ports),
        advertise: None,
        tls: Some(TlsFiles {
            certificate: files.certificate,
            key: files.key,
            ca: files.authority,
        }),
        public_tls: None,
        mupdate,
        accounts: folder.accounts(),
        admins: admins(&cluster.spec.auth.admins)?,
        lmtp_admins: admins(&[])?,
        domains: cluster.spec.domains.clone(),
        allow_plaintext_login: state.insecure_loopback,
        insecure_loopback: state.insecure_loopback,
        topology: match cluster.spec.topology {
            crd::Topology::Discrete => Topology::Discrete,
            crd::Topology::Unified => Topology::Unified,
        },
        allow_all_subscribe: None,
        lmtp: Lmtp::default(),
        imap: Imap::default(),
        autocreate: Autocreate::default(),
        store: Store::default(),
        transfer: Transfer {
            parallel: transfer.parallel_per_backend.unsigned_abs() as usize,
            freeze_ms_max: milliseconds(&transfer.freeze_timeout)?,
            grace_hours: milliseconds(&transfer.grace_period)?.div_ceil(3_600_000),
            attempts_max: transfer.max_attempts.unsigned_abs(),
        },
        stop: Stop::default(),
        logging: Logging {
            format: LogFormat::Json,
            level: "info".to_owned(),
        },
    };
    Ok(murder_api::yaml::write(&settings))
}

fn listeners(role: Role, ports: Ports) -> Listeners {
    let at = |port: u16| Some(format!("127.0.0.1:{port}"));
    let mail = role != Role::Mupdate;
    Listeners {
        imap: at(ports.imap).filter(|_| mail),
        imaps: at(ports.imaps).filter(|_| mail),
        lmtp: at(ports.lmtp).filter(|_| mail),
        transfer: at(ports.transfer).filter(|_| role.holds_mailboxes()),
        mupdate: at(ports.mupdate).filter(|_| role == Role::Mupdate),
        admin: at(ports.admin),
        metrics: at(ports.metrics),
        proxy_protocol: ProxyProtocol::default(),
    }
}

/// Names the settings by their content.
pub(super) fn revision(settings: &str) -> String {
    fingerprint::of_text(settings)
}
