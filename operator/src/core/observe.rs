//! The world as one pass sees it.

use murder_api::admin::{BackendStatus, ServerStatus, TransferStatus, UnitSummary};
use murder_model::{MoveId, ServerId};

/// Everything that one pass decides on.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Time of the observation, in milliseconds since any fixed point.
    pub now_ms: u64,
    /// What the murder is told to be.
    pub cluster: ClusterView,
    /// The mupdate master; none for a single unified server.
    pub mupdate: Option<MupdateView>,
    /// All Backends.
    pub backends: Vec<BackendView>,
    /// All Frontends.
    pub frontends: Vec<FrontendView>,
}

/// What decisions need of a MurderCluster.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// Whether nothing may be done.
    pub paused: bool,
    /// Backends drained at a time.
    pub max_concurrent_drains: usize,
    /// Fewest Backends that stay active.
    pub min_active: usize,
    /// Units moved at a time from one backend.
    pub parallel_per_backend: usize,
    /// Units moved at a time in all.
    pub parallel_total: usize,
    /// Transfers of a unit that may fail before it is given up for now.
    pub attempts_max: usize,
    /// How long a source keeps its copy after a move.
    pub grace_ms: u64,
    /// Share of a destination's volume that a drain leaves free.
    pub headroom_percent: u64,
}

impl Default for ClusterView {
    fn default() -> Self {
        Self {
            name: String::new(),
            paused: false,
            max_concurrent_drains: 1,
            min_active: 1,
            parallel_per_backend: 4,
            parallel_total: 16,
            attempts_max: 8,
            grace_ms: 24 * 3600 * 1000,
            headroom_percent: 15,
        }
    }
}

/// A pod, or the process in its place.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct PodView {
    /// Its name, e.g. `be-a-0`.
    pub name: String,
    /// Revision of the settings that it runs.
    pub revision: String,
    /// Whether it serves.
    pub ready: bool,
    /// Whether it ever served.
    pub was_ready: bool,
}

/// The mupdate master.
#[derive(Clone, Debug, Default)]
pub struct MupdateView {
    /// Name of its pod.
    pub pod_name: String,
    /// Revision of the settings that it should run.
    pub revision: String,
    /// Whether its volume exists.
    pub volume: bool,
    /// Its pod.
    pub pod: Option<PodView>,
    /// Servers that it knows; none if it does not answer.
    pub servers: Option<Vec<ServerStatus>>,
}

/// What a Backend is told to be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Wish {
    /// Serves and gets new users.
    #[default]
    Active,
    /// Serves and gets no new users.
    Cordoned,
    /// Is emptied.
    Drained,
}

/// A volume.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum VolumeView {
    /// There is none, or it was released.
    #[default]
    Absent,
    /// In use.
    Present,
    /// Its server is retired for ever.
    Retired {
        /// When it may be deleted, if it may.
        delete_after_ms: Option<u64>,
    },
}

/// A proof that a server is empty, made earlier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Proof {
    /// When.
    pub at_ms: u64,
    /// Of which server.
    pub server_id: ServerId,
}

/// A Backend and what is seen of it.
#[derive(Clone, Debug, Default)]
pub struct BackendView {
    /// Its name, which is its server's name.
    pub name: String,
    /// What it is told to be.
    pub wish: Wish,
    /// Whether it was deleted and waits for its finalizer.
    pub deleting: bool,
    /// Whether it carries the finalizer.
    pub finalizer: bool,
    /// Whether its pool shrinks by it.
    pub scale_in: bool,
    /// Whether its machine goes away and its volume cannot follow.
    pub evacuate: bool,
    /// Whether its mail was given up, with confirmation.
    pub abandon: bool,
    /// Whether the volume is deleted when empty.
    pub delete_volume: bool,
    /// Share of moved and new units; 0 is none.
    pub weight: u32,
    /// Only these may receive its units; empty is all.
    pub allow: Vec<String>,
    /// These may not receive its units.
    pub deny: Vec<String>,
    /// Revision of the settings that it should run.
    pub revision: String,
    /// Its pod.
    pub pod: Option<PodView>,
    /// Its volume.
    pub volume: VolumeView,
    /// The identity seen on its volume, ever.
    pub server_id: Option<ServerId>,
    /// What it says of itself; none if it does not answer.
    pub status: Option<BackendStatus>,
    /// Its units, while it is emptied; none if they could not be read, too.
    pub units: Option<Vec<UnitSummary>>,
    /// Its transfers, running or lately ended; none if they could not be read.
    pub transfers: Option<Vec<TransferStatus>>,
    /// Transfers that ended before it was last told what to be: their failures count no more.
    pub forgiven: Vec<MoveId>,
    /// The last proof of emptiness, if one was made. Losing it only costs another proof.
    pub proof: Option<Proof>,
    /// When the last unit left.
    pub last_flip_ms: Option<u64>,
}

impl BackendView {
    /// Whether it is to be emptied, for whatever reason.
    pub fn is_leaving(&self) -> bool {
        self.deleting || self.scale_in || self.evacuate || self.wish == Wish::Drained
    }

    /// Whether it goes away for good once it is empty.
    pub fn is_going(&self) -> bool {
        self.deleting || self.scale_in
    }

    /// Name of its pod.
    pub fn pod_name(&self) -> String {
        format!("{}-0", self.name)
    }
}

/// A Frontend and what is seen of it.
#[derive(Clone, Debug, Default)]
pub struct FrontendView {
    /// Its name.
    pub name: String,
    /// How many pods there should be.
    pub replicas: usize,
    /// Whether it was deleted.
    pub deleting: bool,
    /// Revision of the settings that its pods should run.
    pub revision: String,
    /// Its pods.
    pub pods: Vec<PodView>,
}

/// What the master says of a backend's server.
#[derive(Clone, Copy, Debug)]
pub(super) enum Record<'a> {
    /// It lists no living server of this name, and none of this identity.
    Absent,
    /// It lists another living server under this name, or this identity under another name.
    Foreign(&'a ServerStatus),
    /// It lists the very server: name and identity are equal.
    Listed(&'a ServerStatus),
    /// There is no master.
    NoMaster,
    /// It does not answer.
    Silent,
}

impl World {
    /// What the master says of a backend's server.
    pub(super) fn record(&self, backend: &BackendView) -> Record<'_> {
        let Some(mupdate) = &self.mupdate else {
            return Record::NoMaster;
        };
        let Some(servers) = &mupdate.servers else {
            return Record::Silent;
        };
        let id = backend.status.as_ref().map(|status| status.server_id);
        let id = id.or(backend.server_id);
        let named = |row: &&ServerStatus| row.server.as_str() == backend.name;
        let is_it = |row: &&ServerStatus| Some(row.server_id) == id;
        if let Some(row) = servers.iter().find(|row| named(row) && is_it(row)) {
            return Record::Listed(row);
        }
        // A retired server of the same name was its predecessor.
        let other = |row: &&ServerStatus| is_it(row) || (named(row) && !row.retired);
        let other = servers.iter().find(other);
        other.map_or(Record::Absent, Record::Foreign)
    }

    /// The master's row of a backend; none if the master does not answer or does not know it.
    pub(super) fn row(&self, backend: &BackendView) -> Option<&ServerStatus> {
        match self.record(backend) {
            Record::Listed(row) => Some(row),
            Record::Absent | Record::Foreign(_) | Record::NoMaster | Record::Silent => None,
        }
    }

    /// Whether there is a master that does not answer.
    pub(super) fn is_master_silent(&self) -> bool {
        let mut mupdate = self.mupdate.iter();
        mupdate.any(|mupdate| mupdate.servers.is_none())
    }

    /// The same world with every list in one order.
    pub(super) fn sorted(&self) -> Self {
        let mut world = self.clone();
        world.backends.sort_by(|a, b| a.name.cmp(&b.name));
        world.frontends.sort_by(|a, b| a.name.cmp(&b.name));
        for frontend in &mut world.frontends {
            frontend.pods.sort();
        }
        for backend in &mut world.backends {
            if let Some(units) = &mut backend.units {
                units.sort_by(|a, b| a.root.as_str().cmp(b.root.as_str()));
            }
            if let Some(transfers) = &mut backend.transfers {
                transfers.sort_by(|a, b| a.move_id.as_bytes().cmp(b.move_id.as_bytes()));
            }
        }
        world
    }
}
