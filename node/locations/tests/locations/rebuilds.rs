//! Random histories of three servers and real masters, of which some lose all they had.
//!
//! A deposed master goes on answering whoever still promises its term; requests and answers are
//! lost, late and doubled. Whatever happens, at most one server owns the unit and it has every
//! acknowledged write; and in the end, when nothing more fails, one owns it and nobody is in doubt.

use murder_locations::master::{Master, MasterOptions};
use murder_locations::ownership::{Here, OwnershipEvent, SettleAnswer, move_id, next};
use murder_locations::request::*;
use murder_model::*;

use crate::support::{Server, partition, root, server, server_id, unit_id};

const NAMES: [&str; 3] = ["be-a", "be-b", "be-c"];
const ROOT: &str = "user.alice";
const IN_FLIGHT_MAX: usize = 10;

struct Node {
    report: Server,
    record: Option<OwnershipRecord>,
    content: u64,
}

enum Flight {
    Ask {
        from: usize,
        request: Request,
    },
    Answer {
        to: usize,
        spoken: Term,
        response: Response,
    },
}

struct World {
    /// The last one reigns, the others are deposed.
    masters: Vec<Master>,
    nodes: Vec<Node>,
    flights: Vec<Flight>,
    acknowledged: u64,
    moves: u32,
    random: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut master = Master::in_memory(MasterOptions::default()).unwrap();
        let nodes = NAMES
            .map(|name| {
                let mut report = Server::new(name);
                report.report(&mut master);
                Node {
                    report,
                    record: None,
                    content: 0,
                }
            })
            .into_iter()
            .collect();
        let grant = Request::Grant {
            unit: unit_id(ROOT),
            root: root(ROOT),
            partition: partition(),
            term: master.term(),
        };
        let granted = master
            .apply(&crate::support::backend(NAMES[0]), grant)
            .unwrap();
        assert!(matches!(granted, Response::Granted(_)));
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut world = Self {
            masters: vec![master],
            nodes,
            flights: vec![],
            acknowledged: 0,
            moves: 0,
            random,
        };
        world.event(
            0,
            OwnershipEvent::Create {
                unit: unit_id(ROOT),
                root: root(ROOT),
            },
        );
        let (term, epoch) = (Term::new(1), Epoch::new(1));
        assert!(world.event(0, OwnershipEvent::Granted { term, epoch }));
        world
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 20) as usize % sides
    }

    fn promised(&self, node: usize) -> Term {
        Term::new(self.nodes[node].report.promised)
    }

    fn event(&mut self, node: usize, event: OwnershipEvent) -> bool {
        let name = server(NAMES[node]);
        let here = Here {
            server: &name,
            promised: self.promised(node),
        };
        match next(here, self.nodes[node].record.as_ref(), event) {
            Ok(record) => self.nodes[node].record = Some(record),
            Err(_) => return false,
        }
        true
    }

    fn state(&self, node: usize) -> Option<&UnitState> {
        self.nodes[node].record.as_ref().map(|record| &record.state)
    }

    fn owner(&self) -> Option<usize> {
        (0..NAMES.len()).find(|node| self.state(*node) == Some(&UnitState::Owner))
    }

    fn fly(&mut self, flight: Flight) {
        if self.flights.len() == IN_FLIGHT_MAX {
            let lost = self.roll(IN_FLIGHT_MAX);
            self.flights.remove(lost);
        }
        self.flights.push(flight);
    }

    /// Copies to another server, which prepares; unless given up, releases and sends the flip.
    fn run_move(&mut self) {
        let Some(source) = self.owner() else { return };
        let to = (source + 1 + self.roll(2)) % 3;
        self.moves += 1;
        let id = move_id(Incarnation::new(1), self.moves, [source as u8; 6]);
        let (attempt, epoch) = (
            Attempt::new(1),
            self.nodes[source].record.as_ref().unwrap().epoch,
        );
        let from = server(NAMES[source]);
        let stage = OwnershipEvent::Stage {
            unit: unit_id(ROOT),
            root: root(ROOT),
            move_id: id,
            attempt: Attempt::new(0),
            from,
            epoch,
        };
        let digest = UnitDigest::from_bytes([self.nodes[source].content as u8; 32]);
        let prepare = OwnershipEvent::Prepare {
            move_id: id,
            attempt,
            epoch,
            digest,
        };
        if !self.event(to, stage) || !self.event(to, prepare) {
            return;
        }
        self.nodes[to].content = self.nodes[source].content;
        if self.roll(8) == 0 {
            return;
        }
        let release = OwnershipEvent::Release {
            to: server(NAMES[to]),
            move_id: id,
            attempt,
        };
        assert!(self.event(source, release));
        let request = Request::Flip {
            unit: unit_id(ROOT),
            from_epoch: epoch,
            destination: server_id(NAMES[to]),
            partition: partition(),
            move_id: id,
            attempt,
            term: self.promised(source),
        };
        self.fly(Flight::Ask {
            from: source,
            request,
        });
    }

    fn ask(&mut self, node: usize) {
        let unit = unit_id(ROOT);
        let request = match &self.nodes[node].record {
            Some(OwnershipRecord {
                state: UnitState::Released { move_id, .. },
                epoch,
                ..
            }) => Request::Settle {
                unit,
                epoch: *epoch,
                move_id: *move_id,
                term: self.promised(node),
            },
            _ => Request::FindUnit(UnitRef::Id(unit)),
        };
        self.fly(Flight::Ask {
            from: node,
            request,
        });
    }

    /// A server that holds a copy asks the source of it, which gives the move up if it still owns the unit.
    fn ask_source(&mut self, node: usize) {
        if let Some(
            UnitState::Staging { move_id, from, .. } | UnitState::Prepared { move_id, from, .. },
        ) = self.state(node)
        {
            let (move_id, attempt) = (*move_id, Attempt::new(u32::MAX));
            if self
                .owner()
                .is_some_and(|owner| server(NAMES[owner]) == *from)
            {
                self.event(node, OwnershipEvent::DropStaging { move_id, attempt });
            }
        }
    }

    fn deliver(&mut self, which: usize, master: usize) {
        match &self.flights[which] {
            Flight::Ask { from, request } => {
                let who = self.nodes[*from].report.who();
                let (to, spoken) = (*from, self.masters[master].term());
                let response = self.masters[master].apply(&who, request.clone()).unwrap();
                self.fly(Flight::Answer {
                    to,
                    spoken,
                    response,
                });
            }
            Flight::Answer {
                to,
                spoken,
                response,
            } => {
                let (to, spoken) = (*to, *spoken);
                let record = match response {
                    Response::Flipped(record)
                    | Response::Raised(record)
                    | Response::Unit(Some(record)) => record.clone(),
                    _ => return,
                };
                self.learn(to, spoken, &record);
            }
        }
    }

    fn learn(&mut self, node: usize, spoken: Term, record: &UnitRecord) {
        let (owner, term, epoch) = (record.server.clone(), record.term, record.epoch);
        let event = match (
            self.state(node),
            record.last_move.filter(|last| last.flipped),
        ) {
            (Some(UnitState::Released { .. }), _) => {
                let answer = SettleAnswer::Record { owner, term, epoch };
                OwnershipEvent::Settled { spoken, answer }
            }
            (_, Some(last)) if owner == server(NAMES[node]) => OwnershipEvent::GrantArrived {
                term,
                epoch,
                move_id: last.move_id,
                attempt: last.attempt,
            },
            _ => OwnershipEvent::SeenElsewhere { owner, term, epoch },
        };
        self.event(node, event);
    }

    /// Reports to the master that reigns, and yields to or accepts what it says.
    fn report(&mut self, node: usize) {
        let master = self.masters.len() - 1;
        self.nodes[node].report.units.clear();
        if let Some(record) = &self.nodes[node].record {
            let unit = (
                ROOT.to_owned(),
                record.state.clone(),
                record.term.get(),
                record.epoch.get(),
            );
            self.nodes[node].report.units.push(unit);
        }
        let answers = self.nodes[node].report.report(&mut self.masters[master]);
        let spoken = self.masters[master].term();
        for answer in answers {
            if let Response::Verdict(Verdict::Record(record)) = answer {
                self.learn(node, spoken, &record);
            }
        }
    }

    fn rebuild(&mut self) {
        let awaited = NAMES.map(server).to_vec();
        let options = MasterOptions {
            awaited,
            ..MasterOptions::default()
        };
        self.masters.push(Master::in_memory(options).unwrap());
    }

    fn step(&mut self) {
        let node = self.roll(3);
        match self.roll(16) {
            0..=2 => self.run_move(),
            3..=7 if !self.flights.is_empty() => {
                let which = self.roll(self.flights.len());
                let master = self.roll(self.masters.len());
                self.deliver(which, master);
                if self.roll(2) == 0 {
                    self.flights.remove(which.min(self.flights.len() - 1));
                }
            }
            8..=10 => self.ask(node),
            11 => self.ask_source(node),
            12 | 13 => self.report(node),
            14 if self.masters.len() < 4 && self.roll(3) == 0 => self.rebuild(),
            15 => {
                if let Some(owner) = self.owner() {
                    self.acknowledged += 1;
                    self.nodes[owner].content = self.acknowledged;
                }
            }
            _ => {}
        }
    }

    fn check(&self, seed: u64) {
        let owners: Vec<_> = (0..NAMES.len())
            .filter(|node| self.state(*node) == Some(&UnitState::Owner))
            .collect();
        assert!(owners.len() <= 1, "seed {seed}: two owners");
        for owner in owners {
            let content = self.nodes[owner].content;
            assert_eq!(content, self.acknowledged, "seed {seed}: a write is lost");
        }
    }

    fn come_to_rest(&mut self, seed: u64) {
        let reigning = self.masters.len() - 1;
        self.flights.clear();
        for _ in 0..4 {
            for node in 0..NAMES.len() {
                self.report(node);
                self.ask(node);
                while !self.flights.is_empty() {
                    self.deliver(0, reigning);
                    self.flights.remove(0);
                    self.check(seed);
                }
                self.ask_source(node);
            }
        }
        let states: Vec<_> = self
            .nodes
            .iter()
            .map(|node| node.record.as_ref().map(|record| &record.state))
            .collect();
        let in_doubt = |state: &Option<&UnitState>| {
            matches!(
                state,
                Some(UnitState::Released { .. } | UnitState::Prepared { .. })
            )
        };
        let at_rest = self.owner().is_some() && !states.iter().any(in_doubt);
        assert!(
            at_rest,
            "seed {seed}: stuck with {:#?}",
            self.nodes_in_words()
        );
    }

    fn nodes_in_words(&self) -> Vec<String> {
        let master = self.masters.last().unwrap();
        let record = master.reader().unit(unit_id(ROOT)).unwrap();
        let mut words = vec![format!("term {}: {record:?}", master.term().get())];
        words.extend(self.nodes.iter().map(|node| {
            let record = node.record.as_ref();
            let state = record.map(|record| (&record.state, record.term.get(), record.epoch.get()));
            format!(
                "{} promised {}: {state:?}",
                node.report.name, node.report.promised
            )
        }));
        words
    }
}

#[test]
fn masters_that_lose_everything_leave_one_owner_and_nobody_in_doubt() {
    let mut moved = 0;
    for seed in 0..250 {
        let mut world = World::new(seed);
        for _ in 0..60 {
            world.step();
            world.check(seed);
        }
        world.come_to_rest(seed);
        let owner = world.owner().expect("checked");
        moved += world.nodes[owner].record.as_ref().unwrap().epoch.get() - 1;
    }
    assert!(moved > 250, "histories have moves in them: {moved}");
}
