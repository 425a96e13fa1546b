//! A frontend: the real [`Replica`], and the routing of calls.

use std::collections::BTreeMap;

use murder_locations::name::Name;
use murder_locations::record::{Position, UnitRecord};
use murder_locations::replica::{Need, PlacementLimits, Replica, ReplicaOptions, ReplicaReader};
use murder_locations::request::{Identity, Request, Response, Role, StreamItem, UnitRef};
use murder_model::{Epoch, RootName, Term, UnitId, UserName};
use murder_store::engine::{MemoryDisk, PowerLoss};

use crate::backend_of;
use crate::context::{Context, Timer};
use crate::message::{Address, Millis, Op, Outcome, Payload};
use crate::mutant::Mutant;
use crate::storage::Storage;

/// "Moved to" that are followed before the master is asked.
const HOPS_MAX: u32 = 3;
/// A call is given up after this.
const PATIENCE: Millis = 1200;

/// A call under way.
struct Call {
    client: Address,
    client_id: u64,
    user: UserName,
    root: RootName,
    op: Op,
    hops: u32,
    /// The latest "moved to" that was followed.
    followed: (Term, Epoch),
    until: Millis,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// A backend has it.
    Sent,
    /// A backend is asked to make the root first.
    Creating,
    /// The master is asked who owns the unit.
    Finding,
    /// The master is asked for a barrier, to prove that the name is unknown.
    Proving,
    /// The barrier to be reached.
    Waiting(Position),
}

struct Running {
    replica: Replica,
    reader: ReplicaReader,
    start: u64,
    calls: BTreeMap<u64, Call>,
    connection: u64,
    /// Pieces of the stream that came.
    number: u64,
    /// When the stream last was asked for.
    subscribed: Millis,
    /// A barrier that the replica should reach.
    heartbeat: Option<u64>,
    behind_since: Option<Millis>,
}

/// A frontend's machine.
pub(crate) struct Frontend {
    index: usize,
    disk: MemoryDisk,
    starts: u64,
    running: Option<Running>,
}

impl Frontend {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            index,
            disk: MemoryDisk::new(),
            starts: 0,
            running: None,
        }
    }

    const fn address(&self) -> Address {
        Address::Frontend(self.index)
    }

    pub(crate) fn start(&mut self, context: &mut Context) {
        self.starts += 1;
        let options = ReplicaOptions {
            cache_bytes: 1 << 20,
            changes_per_sync: 10,
        };
        let storage = Storage::open(&self.disk).map_err(|error| error.to_string());
        let opened = storage.and_then(|storage| {
            Replica::with_backend(storage, &options).map_err(|error| error.to_string())
        });
        let Some(replica) = context.expect("4 a replica recovers", "open replica", opened) else {
            return;
        };
        let at = replica.position();
        context.trace(|| format!("fe-{}     starts at {at:?}", self.index));
        context.timer(self.address(), self.starts, 5, Timer::Tick);
        self.running = Some(Running {
            reader: replica.reader(),
            replica,
            start: self.starts,
            calls: BTreeMap::new(),
            connection: 0,
            number: 0,
            subscribed: 0,
            heartbeat: None,
            behind_since: None,
        });
    }

    pub(crate) fn crash(&mut self, context: &mut Context, loss: PowerLoss) {
        context.trace(|| format!("fe-{}     crashes: {loss:?}", self.index));
        let after = self.disk.after(loss);
        self.running = None;
        self.disk = after;
    }

    pub(crate) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn replica(&self) -> Option<&Replica> {
        self.running.as_ref().map(|running| &running.replica)
    }

    fn who(&self) -> Identity {
        Identity {
            name: format!("fe-{}", self.index),
            role: Role::Frontend,
        }
    }

    pub(crate) fn arrive(&mut self, context: &mut Context, from: Address, payload: Payload) {
        if self.running.is_none() {
            return;
        }
        match payload {
            Payload::Call { id, user, root, op } => {
                let call = Call {
                    client: from,
                    client_id: id,
                    user,
                    root,
                    op,
                    hops: 0,
                    followed: (Term::new(0), Epoch::new(0)),
                    until: context.now + PATIENCE,
                    stage: Stage::Sent,
                };
                self.route(context, call);
            }
            Payload::Answer { id, outcome } => self.answered(context, id, outcome),
            Payload::Told { id, response } => self.told(context, id, response),
            Payload::Stream {
                connection,
                number,
                items,
            } => self.stream(context, connection, number, items),
            _ => {}
        }
    }

    pub(crate) fn timer(&mut self, context: &mut Context, start: u64, timer: Timer) {
        let address = self.address();
        let who = self.who();
        let Some(running) = &mut self.running else {
            return;
        };
        if running.start != start || !matches!(timer, Timer::Tick) {
            return;
        }
        context.timer(address, start, 50, Timer::Tick);
        if running.connection == 0
            || running
                .behind_since
                .is_some_and(|since| since + 200 < context.now)
        {
            running.subscribe(context, address);
        }
        if context.random.chance(100) {
            let id = context.unique();
            running.heartbeat = Some(id);
            let request = Request::Barrier;
            context.send(address, Address::Master, Payload::Ask { id, who, request });
        }
        let late: Vec<u64> = running
            .calls
            .iter()
            .filter(|(_, call)| call.until < context.now)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            if let Some(call) = running.calls.remove(&id) {
                let outcome = match call.stage {
                    Stage::Sent => Outcome::Unknown,
                    _ => Outcome::Unavailable,
                };
                reply(context, address, &call, outcome);
            }
        }
        self.reached(context);
    }

    /// Sends a call to where the replica says.
    fn route(&mut self, context: &mut Context, call: Call) {
        let Some(running) = &self.running else { return };
        let name = Name::from(&call.root);
        let Some(route) =
            context.expect("4 a replica answers", "route", running.reader.route(&name))
        else {
            return;
        };
        match route {
            Some(route) => match backend_of(route.server_name()) {
                Some(backend) => self.send(context, backend, call, Stage::Sent),
                None => self.ask(context, call, Stage::Finding),
            },
            None => self.ask(context, call, Stage::Proving),
        }
    }

    fn send(&mut self, context: &mut Context, backend: usize, mut call: Call, stage: Stage) {
        let address = self.address();
        let Some(running) = &mut self.running else {
            return;
        };
        let id = context.unique();
        call.stage = stage;
        let op = match stage {
            Stage::Creating => Op::Create,
            _ => call.op.clone(),
        };
        let payload = Payload::Call {
            id,
            user: call.user.clone(),
            root: call.root.clone(),
            op,
        };
        running.calls.insert(id, call);
        context.send(address, Address::Backend(backend), payload);
    }

    fn ask(&mut self, context: &mut Context, mut call: Call, stage: Stage) {
        let (address, who) = (self.address(), self.who());
        let Some(running) = &mut self.running else {
            return;
        };
        let id = context.unique();
        call.stage = stage;
        let request = match stage {
            Stage::Proving => Request::Barrier,
            _ => Request::FindUnit(UnitRef::Root(Name::from(&call.root))),
        };
        if Mutant::RefuseWhenStale.is_on() && stage == Stage::Proving {
            return self.unknown(context, call);
        }
        running.calls.insert(id, call);
        context.send(address, Address::Master, Payload::Ask { id, who, request });
    }

    fn answered(&mut self, context: &mut Context, id: u64, outcome: Outcome) {
        let address = self.address();
        let Some(running) = &mut self.running else {
            return;
        };
        let Some(mut call) = running.calls.remove(&id) else {
            return;
        };
        call.hops += 1;
        match outcome {
            Outcome::MovedTo {
                server,
                term,
                epoch,
            } if call.hops < HOPS_MAX && call.followed < (term, epoch) => {
                call.followed = (term, epoch);
                match backend_of(&server) {
                    Some(backend) => {
                        let stage = call.stage;
                        self.send(context, backend, call, stage);
                    }
                    None => reply(context, address, &call, Outcome::Unavailable),
                }
            }
            Outcome::MovedTo { .. } | Outcome::NotHere if call.hops < 2 * HOPS_MAX => {
                self.ask(context, call, Stage::Finding);
            }
            Outcome::MovedTo { .. } | Outcome::NotHere => {
                reply(context, address, &call, Outcome::Unavailable);
            }
            Outcome::Created if call.stage == Stage::Creating => match call.op {
                Op::Create => reply(context, address, &call, Outcome::Created),
                _ => {
                    call.stage = Stage::Sent;
                    self.ask(context, call, Stage::Finding);
                }
            },
            _ if call.stage == Stage::Creating => {
                reply(context, address, &call, Outcome::Unavailable);
            }
            outcome => reply(context, address, &call, outcome),
        }
    }

    fn told(&mut self, context: &mut Context, id: u64, response: Response) {
        let address = self.address();
        let Some(running) = &mut self.running else {
            return;
        };
        if running.heartbeat == Some(id) {
            if let Response::At(barrier) = response
                && !running.reader.fresh_as_of(barrier).unwrap_or(false)
            {
                running.behind_since.get_or_insert(context.now);
            }
            return;
        }
        let Some(mut call) = running.calls.remove(&id) else {
            return;
        };
        match (call.stage, response) {
            (Stage::Finding, Response::Unit(Some(UnitRecord { server, .. }))) => {
                match backend_of(&server) {
                    Some(backend) => self.send(context, backend, call, Stage::Sent),
                    None => reply(context, address, &call, Outcome::Unavailable),
                }
            }
            (Stage::Finding, Response::Unit(None)) => self.unknown(context, call),
            (Stage::Proving, Response::At(barrier)) => {
                call.stage = Stage::Waiting(barrier);
                running.calls.insert(id, call);
                self.reached(context);
            }
            _ => reply(context, address, &call, Outcome::Unavailable),
        }
    }

    /// Calls that waited for the replica to be fresh.
    fn reached(&mut self, context: &mut Context) {
        let Some(running) = &mut self.running else {
            return;
        };
        let mut ready = Vec::new();
        for (id, call) in &running.calls {
            if let Stage::Waiting(barrier) = call.stage {
                match running.reader.fresh_as_of(barrier) {
                    Ok(true) => ready.push(*id),
                    Ok(false) => {
                        running.behind_since.get_or_insert(context.now);
                    }
                    Err(error) => context.violate("4 a replica answers", error.to_string()),
                }
            }
        }
        for id in ready {
            let Some(call) = self
                .running
                .as_mut()
                .and_then(|running| running.calls.remove(&id))
            else {
                continue;
            };
            let name = Name::from(&call.root);
            let known = self
                .running
                .as_ref()
                .and_then(|running| running.reader.route(&name).ok().flatten());
            match known {
                Some(_) => self.route(context, call),
                None => self.unknown(context, call),
            }
        }
    }

    /// It is proved that there is no such root: it is made, or refused for good.
    fn unknown(&mut self, context: &mut Context, call: Call) {
        let address = self.address();
        let Some(running) = &self.running else { return };
        if !matches!(call.op, Op::Create | Op::Deliver { .. }) {
            return reply(context, address, &call, Outcome::NoSuchRoot);
        }
        let random = context.random.bits();
        let placed = running.reader.place(random, &PlacementLimits::default());
        match placed {
            Ok(Some(placement)) => match backend_of(&placement.server.server) {
                Some(backend) => self.send(context, backend, call, Stage::Creating),
                None => reply(context, address, &call, Outcome::Unavailable),
            },
            Ok(None) => reply(context, address, &call, Outcome::Unavailable),
            Err(error) => context.violate("4 a replica answers", error.to_string()),
        }
    }

    fn stream(
        &mut self,
        context: &mut Context,
        connection: u64,
        number: u64,
        items: Vec<StreamItem>,
    ) {
        let address = self.address();
        let Some(running) = &mut self.running else {
            return;
        };
        // Pieces of a snapshot have no numbers of their own: they count in the order of one
        // connection only. Changes may come as they like, the replica sees to that itself.
        let numbered = items
            .iter()
            .any(|item| !matches!(item, StreamItem::Change { .. }));
        let in_order = connection == running.connection && number == running.number + 1;
        if in_order {
            running.number = number;
        }
        if numbered && !in_order {
            if connection == running.connection && number > running.number {
                running.subscribe(context, address);
            }
            return;
        }
        let before = running.units(context);
        let applied = running.replica.apply(items);
        let Some(need) = context.expect("4 a replica follows", "apply", applied) else {
            return;
        };
        for unit in before {
            let known = running.reader.unit(unit);
            if known.is_ok_and(|known| known.is_none()) && !context.oracle.dropped.contains(&unit) {
                context.violate(
                    "5 nothing is deleted on the word of a partial list",
                    format!("fe-{} does not know unit {unit} any more", self.index),
                );
            }
        }
        match need {
            Need::Nothing => running.behind_since = None,
            Need::CatchUp { .. } if running.subscribed + 100 < context.now => {
                running.subscribe(context, address);
            }
            Need::CatchUp { .. } => {
                running.behind_since.get_or_insert(context.now);
            }
        }
        self.reached(context);
    }
}

impl Running {
    /// Units that the replica shows.
    fn units(&self, context: &Context) -> Vec<UnitId> {
        let granted = context.oracle.granted.keys();
        granted
            .filter(|unit| {
                let known = self.reader.unit(**unit);
                known.is_ok_and(|known| known.is_some())
            })
            .copied()
            .collect()
    }

    fn subscribe(&mut self, context: &mut Context, address: Address) {
        self.connection = context.unique();
        self.number = 0;
        self.subscribed = context.now;
        self.behind_since = Some(context.now);
        let payload = Payload::Subscribe {
            connection: self.connection,
            after: self.replica.position(),
        };
        context.send(address, Address::Master, payload);
    }
}

fn reply(context: &mut Context, from: Address, call: &Call, outcome: Outcome) {
    let payload = Payload::Answer {
        id: call.client_id,
        outcome,
    };
    context.send(from, call.client, payload);
}
