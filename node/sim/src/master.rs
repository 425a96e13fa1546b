//! The mupdate master: the real [`Master`] on a disk that loses unsynced writes, answered in batches
//! and streamed to frontends.

use std::collections::BTreeMap;

use murder_locations::master::{Master, MasterOptions, Since, Snapshot};
use murder_locations::record::Position;
use murder_locations::request::{Identity, Request, Response, StreamItem};
use murder_model::ServerName;
use murder_store::engine::{MemoryDisk, PowerLoss};

use crate::context::{Context, Timer};
use crate::message::{Address, Payload};
use crate::storage::Storage;

/// Changes in one piece of the stream.
const PIECE: usize = 20;
/// Rows in one piece of a snapshot.
const SNAPSHOT_ROWS: usize = 3;

struct Subscriber {
    connection: u64,
    /// Pieces sent.
    number: u64,
    position: Position,
    snapshot: Option<Snapshot>,
}

struct Running {
    master: Master,
    start: u64,
    waiting: Vec<(Address, u64, Identity, Request)>,
    commit_is_due: bool,
    subscribers: BTreeMap<Address, Subscriber>,
    /// The last request of each sender: reports that were sent before, on a connection that broke, are
    /// void. Other requests may be as late as they like.
    heard: BTreeMap<Address, u64>,
    /// Reports that were sent before this start are void, too.
    heard_before: u64,
}

/// The master's machine.
#[derive(Default)]
pub(crate) struct MasterNode {
    disk: MemoryDisk,
    starts: u64,
    /// Servers that must report to a database made anew.
    awaited: Vec<ServerName>,
    running: Option<Running>,
}

impl MasterNode {
    pub(crate) fn start(&mut self, context: &mut Context) {
        self.starts += 1;
        let options = MasterOptions {
            cache_bytes: 1 << 20,
            ring_changes_max: 40,
            awaited: self.awaited.clone(),
            ..MasterOptions::default()
        };
        let storage = Storage::open(&self.disk).map_err(|error| error.to_string());
        let opened = storage.and_then(|storage| {
            Master::with_backend(storage, options).map_err(|error| error.to_string())
        });
        let Some(master) = context.expect("4 a master recovers", "open database", opened) else {
            return;
        };
        context.trace(|| format!("master   starts at {:?}", master.position()));
        let reader = master.reader();
        for (unit, acknowledged) in context.oracle.granted.clone() {
            let record = reader.unit(unit).ok().flatten();
            let known = record.map(|record| (record.term, record.epoch));
            let dropped = context.oracle.dropped.contains(&unit);
            if !dropped && known.is_none_or(|known| known < acknowledged) {
                context.violate(
                    "O4 a grant is durable",
                    format!("{unit} was granted at {acknowledged:?}, the master has {known:?}"),
                );
            }
        }
        context.timer(Address::Master, self.starts, 20, Timer::Tick);
        self.running = Some(Running {
            master,
            start: self.starts,
            waiting: Vec::new(),
            commit_is_due: false,
            subscribers: BTreeMap::new(),
            heard: BTreeMap::new(),
            heard_before: context.unique(),
        });
    }

    /// Its volume is lost: the next start makes a new database, which waits for these servers.
    pub(crate) fn lose(&mut self, context: &mut Context, awaited: Vec<ServerName>) {
        context.trace(|| "master   loses its volume".to_owned());
        self.running = None;
        self.disk = MemoryDisk::new();
        self.awaited = awaited;
        context.oracle.master_lost();
    }

    /// Loses power, or is killed.
    pub(crate) fn crash(&mut self, context: &mut Context, loss: PowerLoss) {
        context.trace(|| format!("master   crashes: {loss:?}"));
        let after = self.disk.after(loss);
        self.running = None;
        self.disk = after;
    }

    pub(crate) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn master(&self) -> Option<&Master> {
        self.running.as_ref().map(|running| &running.master)
    }

    /// The power will fail after so many more writes.
    pub(crate) fn arm(&self, writes: u64) {
        self.disk.capture_after(self.disk.changes() + writes);
    }

    pub(crate) fn arrive(&mut self, context: &mut Context, from: Address, payload: Payload) {
        let Some(running) = &mut self.running else {
            return;
        };
        match payload {
            Payload::Ask { id, who, request } => {
                let heard = running.heard.entry(from).or_default();
                let report = matches!(
                    request,
                    Request::Report(_)
                        | Request::ReportUnit(_)
                        | Request::ReportDone { .. }
                        | Request::Space { .. }
                );
                if report && (id < *heard || id < running.heard_before) {
                    return;
                }
                *heard = id.max(*heard);
                running.waiting.push((from, id, who, request));
                if !std::mem::replace(&mut running.commit_is_due, true) {
                    let wait = context.random.between(1, 3);
                    context.timer(Address::Master, running.start, wait, Timer::Commit);
                }
            }
            Payload::Subscribe { connection, after } => {
                let known = running.subscribers.get(&from);
                if known.is_none_or(|known| known.connection < connection) {
                    let subscriber = Subscriber {
                        connection,
                        number: 0,
                        position: after,
                        snapshot: None,
                    };
                    running.subscribers.insert(from, subscriber);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn timer(&mut self, context: &mut Context, start: u64, timer: Timer) {
        if self.starts != start || self.running.is_none() {
            return;
        }
        match timer {
            Timer::Commit => self.commit(context),
            Timer::Tick => context.timer(Address::Master, start, 25, Timer::Tick),
        }
        if let Some(running) = &mut self.running {
            running.stream(context);
        }
    }

    fn commit(&mut self, context: &mut Context) {
        let Some(running) = &mut self.running else {
            return;
        };
        running.commit_is_due = false;
        let waiting = std::mem::take(&mut running.waiting);
        let requests = waiting
            .iter()
            .map(|(_, _, who, request)| (who.clone(), request.clone()))
            .collect();
        let answered = running.master.batch(requests);
        if let Some(captured) = self.disk.captured() {
            // The power failed within this batch, or just behind it: nobody hears of it.
            self.disk = captured;
            let seed = context.random.bits();
            self.crash(context, PowerLoss::Torn(seed));
            let back = context.now + context.random.between(50, 800);
            context.at(back, crate::context::Event::Restart(Address::Master));
            return;
        }
        let Some(answers) = context.expect("4 a master answers", "answer a batch", answered) else {
            return;
        };
        for ((to, id, _, request), response) in waiting.into_iter().zip(answers) {
            if !matches!(request, Request::Barrier) {
                context.trace(|| format!("master   {to:?} {request:?} => {response:?}"));
            }
            if let (Request::DropUnit { unit, .. }, Response::Done) = (&request, &response) {
                context.oracle.dropped.insert(*unit);
            }
            if let Response::Flipped(record) | Response::Raised(record) = &response {
                let told =
                    context
                        .oracle
                        .granted(record.unit, record.term, record.epoch, &record.server);
                context.check(told);
            }
            if let Response::Granted(granted) = &response {
                let record = &granted.record;
                let told =
                    context
                        .oracle
                        .granted(record.unit, record.term, record.epoch, &record.server);
                context.check(told);
            }
            context.send(Address::Master, to, Payload::Told { id, response });
        }
    }
}

impl Running {
    /// Sends each subscriber what follows.
    fn stream(&mut self, context: &mut Context) {
        let reader = self.master.reader();
        for (to, subscriber) in &mut self.subscribers {
            let items = match subscriber.next(&reader) {
                Ok(items) => items,
                Err(error) => {
                    context.violate("4 a master answers", format!("read the stream: {error}"));
                    return;
                }
            };
            if items.is_empty() {
                continue;
            }
            subscriber.number += 1;
            let piece = Payload::Stream {
                connection: subscriber.connection,
                number: subscriber.number,
                items,
            };
            context.send(Address::Master, *to, piece);
        }
    }
}

impl Subscriber {
    fn next(
        &mut self,
        reader: &murder_locations::master::MasterReader,
    ) -> Result<Vec<StreamItem>, murder_locations::master::MasterError> {
        if let Some(snapshot) = &mut self.snapshot {
            let Some(items) = snapshot.step(SNAPSHOT_ROWS)? else {
                self.snapshot = None;
                return Ok(Vec::new());
            };
            if let Some(StreamItem::SnapshotEnd { position }) = items.last() {
                self.position = *position;
            }
            return Ok(items);
        }
        match reader.changes_since(self.position, PIECE)? {
            Since::Changes(items) => {
                if let Some(StreamItem::Change { position, .. }) = items.last() {
                    self.position = *position;
                }
                Ok(items)
            }
            Since::SnapshotNeeded => {
                self.snapshot = Some(reader.snapshot()?);
                Ok(Vec::new())
            }
        }
    }
}
