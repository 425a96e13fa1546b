//! A master in memory, and servers that report to it.

use murder_locations::master::{Master, MasterOptions};
use murder_locations::record::{Addresses, HostPort, PartitionSpace, UnitRecord};
use murder_locations::request::*;
use murder_model::*;

pub(crate) fn backend(name: &str) -> Identity {
    Identity {
        name: name.to_owned(),
        role: Role::Backend,
    }
}

pub(crate) fn operator() -> Identity {
    Identity {
        name: "murder-operator".to_owned(),
        role: Role::Operator,
    }
}

pub(crate) fn cyrus() -> Identity {
    Identity {
        name: "mupd".to_owned(),
        role: Role::Cyrus,
    }
}

pub(crate) fn server(name: &str) -> ServerName {
    ServerName::parse(name).unwrap()
}

pub(crate) fn server_id(name: &str) -> ServerId {
    ServerId::from_bytes(padded(name))
}

pub(crate) fn unit_id(name: &str) -> UnitId {
    UnitId::from_bytes(padded(name))
}

pub(crate) fn move_id(number: u8) -> MoveId {
    MoveId::from_bytes([number; 16])
}

fn padded(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

pub(crate) fn partition() -> PartitionName {
    PartitionName::parse("default").unwrap()
}

pub(crate) fn root(name: &str) -> RootName {
    RootName::parse(name).unwrap()
}

pub(crate) fn space(last_lsn: u64) -> Vec<PartitionSpace> {
    vec![PartitionSpace {
        name: partition(),
        free_bytes: 1 << 30,
        total_bytes: 1 << 31,
        last_lsn,
    }]
}

/// A server as a test knows it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) incarnation: u64,
    pub(crate) lsn: u64,
    pub(crate) promised: u64,
    pub(crate) units: Vec<(String, UnitState, u64, u64)>,
}

impl Server {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            incarnation: 1,
            lsn: 0,
            promised: 0,
            units: Vec::new(),
        }
    }

    pub(crate) fn owning(name: &str, term: u64, units: &[(&str, u64)]) -> Self {
        let units = units
            .iter()
            .map(|(root, epoch)| ((*root).to_owned(), UnitState::Owner, term, *epoch))
            .collect();
        Self {
            promised: term,
            units,
            ..Self::new(name)
        }
    }

    pub(crate) fn who(&self) -> Identity {
        backend(&self.name)
    }

    pub(crate) fn hello(&self) -> Request {
        let at = |port| HostPort {
            host: format!("{}.mail", self.name),
            port,
        };
        Request::Report(Report {
            server_id: server_id(&self.name),
            incarnation: Incarnation::new(self.incarnation),
            start_id: [self.incarnation as u8; 16],
            addresses: Addresses {
                imap: at(1143),
                imaps: Some(at(1993)),
                lmtp: at(2003),
                transfer: at(2006),
                admin: at(8443),
            },
            partitions: space(self.lsn),
            promised_term: Term::new(self.promised),
        })
    }

    pub(crate) fn unit(&self, number: usize) -> Request {
        let (name, state, term, epoch) = &self.units[number];
        Request::ReportUnit(ReportedUnit {
            server_id: server_id(&self.name),
            incarnation: Incarnation::new(self.incarnation),
            unit: unit_id(name),
            root: root(name),
            partition: partition(),
            term: Term::new(*term),
            epoch: Epoch::new(*epoch),
            state: state.clone(),
            uidvalidity_max: 1000,
        })
    }

    pub(crate) fn done(&self) -> Request {
        Request::ReportDone {
            server_id: server_id(&self.name),
            incarnation: Incarnation::new(self.incarnation),
        }
    }

    /// Reports as a server does: promising what the master asks, beginning again when told to.
    pub(crate) fn report(&mut self, master: &mut Master) -> Vec<Response> {
        'again: loop {
            let mut answers = vec![ask(master, &self.who(), self.hello())];
            if let Response::Promise { term } = answers[0] {
                self.promised = term.get();
                continue;
            }
            if matches!(answers[0], Response::Refused(_)) {
                return answers;
            }
            for number in 0..self.units.len() {
                let answer = ask(master, &self.who(), self.unit(number));
                if let Response::Promise { term } = answer {
                    self.promised = term.get();
                    continue 'again;
                }
                answers.push(answer);
            }
            answers.push(ask(master, &self.who(), self.done()));
            return answers;
        }
    }
}

pub(crate) fn ask(master: &mut Master, who: &Identity, request: Request) -> Response {
    master.apply(who, request).unwrap()
}

pub(crate) fn master() -> Master {
    Master::in_memory(MasterOptions::default()).unwrap()
}

/// A master to which the named servers have reported.
pub(crate) fn master_of(names: &[&str]) -> Master {
    let mut master = master();
    for name in names {
        Server::new(name).report(&mut master);
    }
    master
}

pub(crate) fn grant(master: &mut Master, server: &str, name: &str) -> Response {
    let term = master.term();
    let unit = unit_id(name);
    ask(
        master,
        &backend(server),
        Request::Grant {
            unit,
            root: root(name),
            partition: partition(),
            term,
        },
    )
}

pub(crate) fn flip(
    master: &mut Master,
    from: &str,
    to: &str,
    name: &str,
    epoch: u64,
    number: u8,
) -> Response {
    let term = master.term();
    ask(
        master,
        &backend(from),
        Request::Flip {
            unit: unit_id(name),
            from_epoch: Epoch::new(epoch),
            destination: server_id(to),
            partition: partition(),
            move_id: move_id(number),
            attempt: Attempt::new(1),
            term,
        },
    )
}

pub(crate) fn settle(
    master: &mut Master,
    server: &str,
    name: &str,
    epoch: u64,
    number: u8,
) -> Response {
    let term = master.term();
    ask(
        master,
        &backend(server),
        Request::Settle {
            unit: unit_id(name),
            epoch: Epoch::new(epoch),
            move_id: move_id(number),
            term,
        },
    )
}

pub(crate) fn row(
    server: &str,
    root: &str,
    epoch: u64,
    number: u64,
    op: RowOp,
) -> (Identity, Request) {
    let row = Row {
        unit: unit_id(root),
        epoch: Epoch::new(epoch),
        number: OutboxNumber::new(number),
        op,
    };
    (backend(server), Request::Row(row))
}

pub(crate) fn put(name: &str, acl: &str) -> RowOp {
    RowOp::Put {
        name: Name::from(name),
        mailbox: MailboxId::from_bytes([7; 16]),
        acl: acl.as_bytes().to_vec(),
        special_use: None,
        selectable: true,
    }
}

/// The record of a unit.
pub(crate) fn record(master: &Master, name: &str) -> UnitRecord {
    master.reader().unit(unit_id(name)).unwrap().unwrap()
}

/// The lines of the whole database: `name location acl`.
pub(crate) fn lines(master: &Master, prefix: &str) -> Vec<String> {
    let (lines, next) = master.reader().list(prefix.as_bytes(), None, 1000).unwrap();
    assert_eq!(next, None);
    lines
        .into_iter()
        .map(|line| {
            let kind = if line.reserved { "RESERVE" } else { "MAILBOX" };
            let location = String::from_utf8(line.location).unwrap();
            let acl = String::from_utf8(line.acl).unwrap();
            format!("{kind} {} {location} {}", line.name, acl.replace('\t', ","))
        })
        .collect()
}
