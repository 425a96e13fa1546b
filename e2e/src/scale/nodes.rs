//! The mail nodes that are played: what they hold, and what they answer at their admin interfaces.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use murder_api::admin::{
    BackendStatus, ErrorBody, Fenced, NodeStatus, PartitionStatus, ROWS_PAGE_MAX, Retire, RowPage,
    ServerList, ServerStatus, SetCordon, SetTransferRate, TransferList, UNITS_PAGE_MAX,
    UnitOfRecord, UnitPage, UnitSummary,
};
use murder_api::settings::Role;
use murder_model::{
    Epoch, Fence, Incarnation, PartitionName, RootName, ServerId, ServerName, Term, UnitId,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Size of each volume.
const VOLUME_BYTES: u64 = 100 << 30;
/// Mailboxes of a unit.
const MAILBOXES: u64 = 5;
/// Messages of a unit.
const MESSAGES: u64 = 2000;
/// Bytes of a unit.
const UNIT_BYTES: u64 = 200 << 20;

/// All nodes of a murder.
#[derive(Default)]
pub(super) struct Nodes {
    state: Mutex<State>,
    /// Calls that were answered.
    calls: AtomicU64,
}

#[derive(Default)]
struct State {
    /// What runs, by address.
    pods: HashMap<IpAddr, PodState>,
    /// What the volumes of backends hold, by server.
    servers: BTreeMap<String, Server>,
}

struct PodState {
    name: String,
    server: String,
    role: Role,
    fence: Fence,
}

/// A backend's volume, and what the master has of it.
struct Server {
    name: ServerName,
    id: ServerId,
    incarnation: Incarnation,
    cordoned: bool,
    deactivated: bool,
    rate: u64,
    cordoned_at_master: bool,
    retired: bool,
    units: Vec<UnitSummary>,
}

/// Sixteen bytes that are always the same for a text.
fn bytes_of(text: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
    bytes
}

impl Server {
    fn new(name: &str, units: usize) -> Result<Self> {
        let unit = |index: usize| -> Result<UnitSummary> {
            let root = format!("user.{name}-{index:05}");
            Ok(UnitSummary {
                unit: UnitId::from_bytes(bytes_of(&root)),
                root: RootName::parse(&root)?,
                partition: PartitionName::parse("default")?,
                state: "Owner".to_owned(),
                epoch: Epoch::new(1),
                mailboxes: MAILBOXES,
                messages: MESSAGES,
                bytes: UNIT_BYTES,
            })
        };
        Ok(Self {
            name: ServerName::parse(name)?,
            id: ServerId::from_bytes(bytes_of(name)),
            incarnation: Incarnation::new(0),
            cordoned: false,
            deactivated: false,
            rate: 0,
            cordoned_at_master: false,
            retired: false,
            units: (0..units).map(unit).collect::<Result<_>>()?,
        })
    }

    fn status(&self) -> Result<BackendStatus> {
        let units = self.units.len() as u64;
        Ok(BackendStatus {
            server_id: self.id,
            incarnation: self.incarnation,
            cordoned: self.cordoned,
            deactivated: self.deactivated,
            units,
            units_in_doubt: 0,
            units_staged: 0,
            units_grace: 0,
            mailboxes: units * MAILBOXES,
            messages: units * MESSAGES,
            bytes: units * UNIT_BYTES,
            outbox: 0,
            held: 0,
            transfer_bytes_per_second: self.rate,
            partitions: vec![PartitionStatus {
                name: PartitionName::parse("default")?,
                free_bytes: VOLUME_BYTES.saturating_sub(units * UNIT_BYTES),
                total_bytes: VOLUME_BYTES,
                failed: None,
            }],
        })
    }

    fn at_master(&self) -> ServerStatus {
        let units = self.units.len() as u64;
        ServerStatus {
            server: self.name.clone(),
            server_id: self.id,
            incarnation: self.incarnation,
            cordoned: self.cordoned_at_master,
            retired: self.retired,
            blocked: false,
            units,
            names: units * MAILBOXES,
        }
    }

    fn rows(&self) -> impl Iterator<Item = UnitOfRecord> {
        self.units.iter().map(|unit| UnitOfRecord {
            unit: unit.unit,
            root: unit.root.to_string(),
            server: self.name.clone(),
            server_id: self.id,
            partition: Some(unit.partition.clone()),
            epoch: unit.epoch,
            state: "Owned".to_owned(),
            confirmed: true,
        })
    }
}

/// Why a node refuses: status, and what it says.
pub(super) type Refusal = (u16, ErrorBody);

fn refusal(status: u16, reason: &str, message: impl ToString) -> Refusal {
    let (reason, message) = (reason.to_owned(), message.to_string());
    (status, ErrorBody { reason, message })
}

fn json(answer: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(answer).map_err(|error| refusal(500, "Internal", error))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| refusal(400, "Invalid", error))
}

/// The value of a parameter; none of ours needs to be unescaped.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, v)| v).next()
}

impl Nodes {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node starts.
    pub(super) fn start(
        &self,
        address: IpAddr,
        pod: &str,
        server: &str,
        role: Role,
        units: usize,
    ) -> Result<()> {
        let mut state = self.lock();
        if role.holds_mailboxes() {
            if !state.servers.contains_key(server) {
                let new = Server::new(server, units)?;
                state.servers.insert(server.to_owned(), new);
            }
            if let Some(server) = state.servers.get_mut(server) {
                server.incarnation = server.incarnation.next();
            }
        }
        let pod = PodState {
            name: pod.to_owned(),
            server: server.to_owned(),
            role,
            fence: Fence::default(),
        };
        state.pods.insert(address, pod);
        Ok(())
    }

    /// A node ends.
    pub(super) fn stop(&self, address: IpAddr) {
        self.lock().pods.remove(&address);
    }

    /// Calls that were answered so far.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Whether a backend's node refuses new units.
    pub(super) fn is_cordoned(&self, server: &str) -> Option<bool> {
        let state = self.lock();
        let server = state.servers.get(server)?;
        Some(server.cordoned && server.cordoned_at_master)
    }

    /// Answers a call at the admin interface of the node at `address`.
    pub(super) fn answer(
        &self,
        address: IpAddr,
        method: &str,
        path: &str,
        query: &str,
        body: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut state = self.lock();
        let State { pods, servers } = &mut *state;
        let pod = pods.get_mut(&address);
        let pod = pod.ok_or_else(|| refusal(503, "Unavailable", "nothing runs here"))?;
        if method == "POST" {
            fenced(pod, body)?;
        }
        match (method, path) {
            ("GET", "/v1/status") => return json(&status(pod, servers)?),
            ("GET", "/v1/transfers") => {
                return json(&TransferList {
                    transfers: Vec::new(),
                });
            }
            ("GET", "/v1/units") => return json(&units(of(pod, servers)?, query)),
            ("GET", "/v1/servers") if pod.role == Role::Mupdate => {
                let servers = servers.values().map(Server::at_master).collect();
                return json(&ServerList { servers });
            }
            ("GET", "/v1/rows") if pod.role == Role::Mupdate => return json(&rows(servers, query)),
            ("POST", "/v1/cordon") => {
                let told: SetCordon = read(body)?;
                let server = of(pod, servers)?;
                server.cordoned = told.cordoned;
                server.deactivated &= told.cordoned;
            }
            ("POST", "/v1/transfer-rate") => {
                let told: SetTransferRate = read(body)?;
                of(pod, servers)?.rate = told.bytes_per_second;
            }
            ("POST", "/v1/deactivate") => {
                let server = of(pod, servers)?;
                (server.cordoned, server.deactivated) = (true, true);
            }
            ("POST", path) if pod.role == Role::Mupdate => return told(servers, path, body),
            _ => return Err(refusal(404, "NotFound", format!("{method} {path}"))),
        }
        json(&status(pod, servers)?)
    }
}

/// Refuses a caller that was deposed.
fn fenced(pod: &mut PodState, body: &[u8]) -> Result<(), Refusal> {
    #[derive(serde::Deserialize)]
    struct Any {
        fence: Fence,
    }
    let fence = read::<Any>(body)?.fence;
    if fence < pod.fence {
        let message = format!("{} has seen fence {}", pod.name, pod.fence);
        return Err(refusal(409, "Fenced", message));
    }
    pod.fence = fence;
    Ok(())
}

fn of<'a>(
    pod: &PodState,
    servers: &'a mut BTreeMap<String, Server>,
) -> Result<&'a mut Server, Refusal> {
    let server = servers.get_mut(&pod.server);
    server.ok_or_else(|| refusal(404, "NotFound", "it has no mailboxes"))
}

fn status(pod: &PodState, servers: &BTreeMap<String, Server>) -> Result<NodeStatus, Refusal> {
    let made = || -> Result<NodeStatus> {
        let backend = match servers.get(&pod.server) {
            Some(server) if pod.role.holds_mailboxes() => Some(server.status()?),
            _ => None,
        };
        Ok(NodeStatus {
            name: pod.name.clone(),
            server: ServerName::parse(&pod.server).context("name of the server")?,
            role: pod.role,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: true,
            fence: pod.fence,
            term: Term::new(1),
            sessions: 10,
            backend,
        })
    };
    made().map_err(|error| refusal(500, "Internal", format!("{error:#}")))
}

fn units(server: &Server, query: &str) -> UnitPage {
    let after = parameter(query, "after").unwrap_or_default();
    let limit = parameter(query, "limit").and_then(|text| text.parse().ok());
    let limit: usize = limit.unwrap_or(UNITS_PAGE_MAX).min(UNITS_PAGE_MAX);
    let mut left = server
        .units
        .iter()
        .filter(|unit| unit.root.as_str() > after);
    let units: Vec<UnitSummary> = left.by_ref().take(limit).cloned().collect();
    let more = left.next().is_some();
    let next = units.last().map(|unit| unit.root.clone());
    UnitPage {
        units,
        next: next.filter(|_| more),
    }
}

fn rows(servers: &BTreeMap<String, Server>, query: &str) -> RowPage {
    let all = servers.values().flat_map(Server::rows);
    if let Some(root) = parameter(query, "root") {
        let rows = all.filter(|row| row.root == root).collect();
        return RowPage { rows, next: None };
    }
    let after: Option<UnitId> = parameter(query, "after").and_then(|text| text.parse().ok());
    let mut rows: Vec<UnitOfRecord> = all
        .filter(|row| after.is_none_or(|a| row.unit > a))
        .collect();
    rows.sort_by_key(|row| row.unit);
    let more = rows.len() > ROWS_PAGE_MAX;
    rows.truncate(ROWS_PAGE_MAX);
    let next = rows.last().map(|row| row.unit).filter(|_| more);
    RowPage { rows, next }
}

/// What the master is told of a server.
fn told(
    servers: &mut BTreeMap<String, Server>,
    path: &str,
    body: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let unknown = || refusal(404, "NotFound", format!("POST {path}"));
    let rest = path.strip_prefix("/v1/servers/").ok_or_else(unknown)?;
    let (name, verb) = rest.split_once('/').ok_or_else(unknown)?;
    let server = servers.get_mut(name).ok_or_else(unknown)?;
    match verb {
        "cordon" => server.cordoned_at_master = read::<SetCordon>(body)?.cordoned,
        "retire" if read::<Retire>(body)?.server_id != server.id => return Err(unknown()),
        "retire" if !server.units.is_empty() => {
            return Err(refusal(409, "NotEmpty", "it has units of record"));
        }
        "retire" => server.retired = true,
        "confirm" => drop(read::<Fenced>(body)),
        _ => return Err(unknown()),
    }
    json(&server.at_master())
}
