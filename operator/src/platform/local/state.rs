//! What the local platform keeps: one JSON file, written whole and renamed into place.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use murder_model::MoveId;
use serde::{Deserialize, Serialize};

use crate::core::Proof;
use crate::crd::{Backend, Frontend, MurderCluster};

/// Paths in the state folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A state folder at an absolute path.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The supervisor's socket.
    pub fn socket(&self) -> PathBuf {
        self.0.join("supervisor.sock")
    }

    /// The supervisor's log.
    pub fn supervisor_log(&self) -> PathBuf {
        self.0.join("supervisor.log")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("supervisor.lock")
    }

    pub(super) fn objects(&self) -> PathBuf {
        self.0.join("state.json")
    }

    pub(super) fn tls(&self) -> PathBuf {
        self.0.join("tls")
    }

    pub(super) fn accounts(&self) -> PathBuf {
        self.0.join("accounts")
    }

    pub(super) fn passwords(&self) -> PathBuf {
        self.0.join("passwords")
    }

    pub(super) fn volume(&self, name: &str) -> PathBuf {
        self.0.join("volumes").join(name)
    }

    pub(super) fn released_volume(&self, name: &str, server_id: &str) -> PathBuf {
        self.0
            .join("volumes")
            .join(format!("{name}.retired-{server_id}"))
    }

    pub(super) fn scratch(&self, pod: &str) -> PathBuf {
        self.0.join("scratch").join(pod)
    }

    pub(super) fn settings(&self, pod: &str) -> PathBuf {
        self.0.join("nodes").join(pod).join("settings.yaml")
    }

    pub(super) fn log(&self, pod: &str) -> PathBuf {
        self.0.join("nodes").join(pod).join("log")
    }
}

/// Everything that is kept.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct State {
    pub(super) cluster: Option<MurderCluster>,
    pub(super) backends: BTreeMap<String, StoredBackend>,
    pub(super) frontends: BTreeMap<String, StoredFrontend>,
    pub(super) mupdate_volume: bool,
    /// Starts of a supervisor: its leadership.
    pub(super) fence: u64,
    pub(super) users: u32,
    pub(super) users_made: u32,
    pub(super) insecure_loopback: bool,
    pub(super) endpoints: Option<PathBuf>,
    pub(super) pods: BTreeMap<String, PodRecord>,
    pub(super) ports: BTreeMap<String, Ports>,
}

/// A Backend as the API server would keep it, with what the operator learned.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredBackend {
    pub(super) object: Backend,
    #[serde(default)]
    pub(super) deleting: bool,
    #[serde(default)]
    pub(super) finalizer: bool,
    #[serde(default)]
    pub(super) volume: StoredVolume,
    #[serde(default)]
    pub(super) server_id: Option<String>,
    #[serde(default)]
    pub(super) last_flip_ms: Option<u64>,
    /// Finished transfers and units at the last look, by which departures are noticed.
    #[serde(default)]
    pub(super) seen: Seen,
    /// Transfers that had ended when the Backend was last told what to be.
    #[serde(default)]
    pub(super) forgiven: Vec<MoveId>,
    #[serde(skip)]
    pub(super) proof: Option<Proof>,
}

impl StoredBackend {
    /// A Backend that was not there before.
    pub(super) fn new(object: Backend) -> Self {
        Self {
            object,
            deleting: false,
            finalizer: false,
            volume: StoredVolume::Absent,
            server_id: None,
            last_flip_ms: None,
            seen: Seen::default(),
            forgiven: Vec::new(),
            proof: None,
        }
    }

    /// The volume went, and with it all that was known of its server.
    pub(super) fn forget_volume(&mut self) {
        self.volume = StoredVolume::Absent;
        (self.server_id, self.last_flip_ms, self.proof) = (None, None, None);
        (self.seen, self.forgiven) = (Seen::default(), Vec::new());
    }
}

/// What a look at a backend showed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Seen {
    pub(super) done: usize,
    pub(super) units: u64,
}

/// A volume's state.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum StoredVolume {
    #[default]
    Absent,
    Present,
    Retired {
        delete_after_ms: Option<u64>,
    },
}

/// A Frontend as the API server would keep it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredFrontend {
    pub(super) object: Frontend,
    #[serde(default)]
    pub(super) deleting: bool,
}

/// A node process. Pid and start time together name it; the settings path proves that it is ours.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodRecord {
    pub(super) pid: u32,
    pub(super) start_time: u64,
    pub(super) revision: String,
    pub(super) was_ready: bool,
    pub(super) restarts: u32,
}

/// Ports of a pod, fixed once it has served on them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ports {
    pub(super) imap: u16,
    pub(super) imaps: u16,
    pub(super) lmtp: u16,
    pub(super) transfer: u16,
    pub(super) mupdate: u16,
    pub(super) admin: u16,
    pub(super) metrics: u16,
    /// Whether the pod ever served on them: then they stay for ever.
    #[serde(default)]
    pub(super) proven: bool,
}

impl State {
    pub(super) fn load(folder: &Folder) -> anyhow::Result<Self> {
        match std::fs::read(folder.objects()) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged", folder.objects().display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context("read the state"),
        }
    }

    pub(super) fn save(&self, folder: &Folder) -> anyhow::Result<()> {
        write_secret(&folder.objects(), &serde_json::to_vec_pretty(self)?)
    }

    /// The pod's ports, chosen now if it has none yet.
    pub(super) fn ports_of(&mut self, pod: &str) -> anyhow::Result<Ports> {
        if let Some(ports) = self.ports.get(pod) {
            return Ok(*ports);
        }
        let taken = self.ports.values().flat_map(|ports| ports.all()).collect();
        let ports = Ports::choose(&taken)?;
        self.ports.insert(pod.to_owned(), ports);
        Ok(ports)
    }
}

/// A loopback address.
pub(super) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Writes a file that only we may read, and renames it into place.
pub(super) fn write_secret(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let parent = path.parent().context("a file needs a folder")?;
    std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)
        .with_context(|| format!("write {}", temporary.display()))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path).with_context(|| format!("write {}", path.display()))?;
    // What a caller was told must outlive a power loss.
    let folder = std::fs::File::open(parent).with_context(|| parent.display().to_string())?;
    folder
        .sync_all()
        .with_context(|| format!("sync {}", parent.display()))
}
