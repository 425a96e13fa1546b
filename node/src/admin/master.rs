//! The master's part: the servers of the murder, their cordons and their end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::{Extension, Json};
use murder_api::admin::{Confirm, Retire, ServerList, ServerStatus, SetCordon};
use murder_locations::master::{CHANGES_PAGE_MAX, MasterError, MasterReader};
use murder_locations::request::{
    Identity, Position, Request, Response, Restored, Role, ServerFlags, ServerRecord,
};
use murder_model::{Fence, ServerId, ServerName};
use tokio::sync::Mutex;

use super::Admin;
use super::body::{Body, Segment};
use super::refusal::Refused;
use crate::mupdate::master::{MasterHandle, Stopped};
use crate::net::PeerIdentity;

/// After a change names are counted again, but counting takes at most one part of so many of the time.
const COUNT_SHARE: u32 = 20;
/// A count is at most this old, if anything has changed since.
const COUNT_AGE_MAX: Duration = Duration::from_secs(10);

/// Reads what the master has committed, on a thread that may block.
pub(super) async fn reading<T, F>(master: &MasterHandle, read: F) -> Result<T, Refused>
where
    T: Send + 'static,
    F: FnOnce(&MasterReader) -> Result<T, MasterError> + Send + 'static,
{
    let reader = master.reader().clone();
    let read = tokio::task::spawn_blocking(move || read(&reader)).await;
    Ok(read.map_err(|_| Refused::unavailable("the location database cannot be read"))??)
}

/// The last count of names by server. It takes time in proportion to the names, so it is kept while
/// nothing changed and, if it took long, a little longer.
#[derive(Debug, Default)]
pub(super) struct NameCounts(Mutex<Option<Counted>>);

#[derive(Debug)]
struct Counted {
    position: Position,
    at: Instant,
    took: Duration,
    names: Arc<BTreeMap<ServerId, u64>>,
}

impl Counted {
    fn holds(&self, position: Position) -> bool {
        self.position == position
            || self.at.elapsed() < (self.took * COUNT_SHARE).min(COUNT_AGE_MAX)
    }
}

impl NameCounts {
    /// One caller counts, others wait for the result.
    async fn names(&self, master: &MasterHandle) -> Result<Arc<BTreeMap<ServerId, u64>>, Refused> {
        let mut last = self.0.lock().await;
        let position = *master.positions().borrow();
        if let Some(counted) = last.as_ref().filter(|counted| counted.holds(position)) {
            return Ok(Arc::clone(&counted.names));
        }
        let began = Instant::now();
        let names = reading(master, |reader| {
            let mut counting = reader.count_names();
            while counting.step(CHANGES_PAGE_MAX)? {}
            Ok(Arc::new(counting.counts()))
        })
        .await?;
        *last = Some(Counted {
            position,
            at: Instant::now(),
            took: began.elapsed(),
            names: Arc::clone(&names),
        });
        Ok(names)
    }
}

/// `GET /v1/servers`.
pub(super) async fn servers(State(admin): State<Arc<Admin>>) -> Result<Json<ServerList>, Refused> {
    let servers = statuses(&admin).await?;
    Ok(Json(ServerList { servers }))
}

/// `POST /v1/servers/NAME/cordon`.
pub(super) async fn cordon(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<PeerIdentity>,
    Segment(name): Segment,
    Body(call): Body<SetCordon>,
) -> Result<Json<ServerStatus>, Refused> {
    let server = parse(&name)?;
    let commanded = Arc::clone(&admin);
    let command = async move {
        let master = master(&commanded.context)?;
        let who = Arc::new(identity(&caller));
        admit(master, &who, call.fence).await?;
        // Of one name there is at most one record that is not retired.
        let of_name = server.clone();
        let record = find(master, move |record| {
            record.server == of_name && !record.retired
        });
        let record = record.await?;
        let flags = ServerFlags {
            cordoned: call.cordoned,
            ..record
                .as_ref()
                .map(|record| record.flags)
                .unwrap_or_default()
        };
        let request = Request::SetFlags {
            server,
            flags,
            fence: call.fence,
        };
        ask(master, &who, request).await?;
        record
            .map(|record| record.server_id)
            .ok_or_else(no_such_server)
    };
    let server_id = admin.in_turn(command).await?;
    status_of(&admin, server_id).await
}

/// `POST /v1/servers/NAME/retire`.
pub(super) async fn retire(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<PeerIdentity>,
    Segment(name): Segment,
    Body(Retire { fence, server_id }): Body<Retire>,
) -> Result<Json<ServerStatus>, Refused> {
    let request = Request::Retire { server_id, fence };
    to_identity(&admin, &caller, &name, server_id, fence, request).await
}

/// `POST /v1/servers/NAME/confirm`.
pub(super) async fn confirm(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<PeerIdentity>,
    Segment(name): Segment,
    Body(Confirm { fence, server_id }): Body<Confirm>,
) -> Result<Json<ServerStatus>, Refused> {
    let request = Request::Confirm { server_id, fence };
    to_identity(&admin, &caller, &name, server_id, fence, request).await
}

/// Asks the master for something that is meant for one identity: if the name belongs to another one, it is
/// refused.
async fn to_identity(
    admin: &Arc<Admin>,
    caller: &PeerIdentity,
    name: &str,
    server_id: ServerId,
    fence: Fence,
    request: Request,
) -> Result<Json<ServerStatus>, Refused> {
    let server = parse(name)?;
    let commanded = Arc::clone(admin);
    let who = Arc::new(identity(caller));
    let command = async move {
        let master = master(&commanded.context)?;
        admit(master, &who, fence).await?;
        let of_name = server.clone();
        let named = find(master, move |record| record.server == of_name).await?;
        let named = named.ok_or_else(no_such_server)?;
        let wanted = find(master, move |record| {
            record.server == server && record.server_id == server_id
        });
        if wanted.await?.is_none() {
            return Err(Refused::conflict(format!(
                "{} has the identity {}, not {server_id}",
                named.server, named.server_id
            )));
        }
        ask(master, &who, request).await
    };
    admin.in_turn(command).await?;
    status_of(admin, server_id).await
}

fn parse(name: &str) -> Result<ServerName, Refused> {
    ServerName::parse(name).map_err(|error| Refused::bad_request(error.to_string()))
}

pub(super) fn master(context: &super::Context) -> Result<&MasterHandle, Refused> {
    let master = context.master.as_ref();
    master.ok_or_else(|| Refused::not_found("this node is not the master"))
}

fn identity(caller: &PeerIdentity) -> Identity {
    Identity {
        name: caller.server.clone(),
        role: Role::Operator,
    }
}

/// The fence first: a caller that was replaced learns that and nothing else.
async fn admit(master: &MasterHandle, who: &Arc<Identity>, fence: Fence) -> Result<(), Refused> {
    ask(master, who, Request::Raise { fence }).await
}

/// Asks the master for a change; durable when this returns.
async fn ask(master: &MasterHandle, who: &Arc<Identity>, request: Request) -> Result<(), Refused> {
    let answer = master.submit(who, request).await?;
    match answer.await.map_err(|_| Stopped)? {
        Response::Refused(refusal) => Err(refusal.into()),
        _ => Ok(()),
    }
}

/// The record that fits.
async fn find(
    master: &MasterHandle,
    fits: impl Fn(&ServerRecord) -> bool + Send + 'static,
) -> Result<Option<ServerRecord>, Refused> {
    let servers = reading(master, MasterReader::servers).await?;
    Ok(servers.into_iter().find(fits))
}

fn no_such_server() -> Refused {
    Refused::not_found("no such server")
}

/// All servers, in order of their names.
async fn statuses(admin: &Admin) -> Result<Vec<ServerStatus>, Refused> {
    let master = master(&admin.context)?;
    let names = admin.names.names(master).await?;
    let (servers, units) = reading(master, |reader| {
        Ok((reader.servers()?, reader.owned_counts()?))
    })
    .await?;
    let mut statuses: Vec<_> = servers
        .into_iter()
        .map(|record| {
            let units = units.get(&record.server_id).copied().unwrap_or(0);
            let names = names.get(&record.server_id).copied().unwrap_or(0);
            ServerStatus {
                server: record.server,
                server_id: record.server_id,
                incarnation: record.incarnation,
                cordoned: record.flags.cordoned,
                retired: record.retired,
                blocked: record.restored == Restored::Blocked,
                units,
                // Names are counted apart, and may be of a moment before.
                names: if units == 0 { 0 } else { names },
            }
        })
        .collect();
    statuses.sort_by(|a, b| (&a.server, a.retired).cmp(&(&b.server, b.retired)));
    Ok(statuses)
}

async fn status_of(admin: &Admin, server_id: ServerId) -> Result<Json<ServerStatus>, Refused> {
    let mut statuses = statuses(admin).await?.into_iter();
    let found = statuses.find(|status| status.server_id == server_id);
    found.map(Json).ok_or_else(no_such_server)
}
