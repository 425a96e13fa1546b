//! A bounded model check of moves: two backends and a master, with lost, late and doubled messages and
//! with crashes at any instant.
//!
//! Backends run the real rules of `ownership`, the master those of `rules`. Every message that was
//! ever sent may be delivered at any later time, any number of times, or never; so the search covers
//! loss, delay, disorder and doubling at once. A crash loses what is held in memory. Checked in every
//! state: at most one owner; the owner has every acknowledged write; and from there, with messages
//! delivered and nothing else failing, the unit comes to have an owner.

mod search;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use murder_locations::ownership::{Here, OwnershipEvent, SettleAnswer, move_id, next};
use murder_locations::record::{Standing, UnitRecord};
use murder_locations::rules::{self, Flip, Outcome};
use murder_model::*;

use crate::support::{partition, root, server, server_id, unit_id};

const NAMES: [&str; 2] = ["be-a", "be-b"];
const TERM: Term = Term::new(1);

/// Takes one step of the model.
type Step<'a> = dyn FnMut(&dyn Fn(&mut World)) + 'a;

/// How far the search goes.
#[derive(Clone, Copy)]
struct Bounds {
    moves: u32,
    freezes: u32,
    crashes: u64,
    writes: u8,
    states: usize,
}

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Message {
    Stage {
        to: usize,
        id: MoveId,
        attempt: Attempt,
        epoch: Epoch,
    },
    Prepare {
        to: usize,
        id: MoveId,
        attempt: Attempt,
        epoch: Epoch,
        content: u8,
    },
    Prepared {
        to: usize,
        id: MoveId,
        attempt: Attempt,
    },
    Abort {
        to: usize,
        id: MoveId,
        attempt: Attempt,
    },
    Drop {
        to: usize,
        id: MoveId,
    },
    Flip {
        from: usize,
        id: MoveId,
        attempt: Attempt,
        epoch: Epoch,
    },
    Settle {
        from: usize,
        id: MoveId,
        epoch: Epoch,
    },
    /// The master's record, as answer to a flip, a settle or a read.
    Record {
        to: usize,
        owner: usize,
        epoch: Epoch,
        by: Option<(MoveId, Attempt)>,
    },
}

#[derive(Clone, Debug)]
struct Node {
    record: Option<OwnershipRecord>,
    content: u8,
    starts: u64,
    /// In memory: the move under way, its freezes so far, and whether it is frozen now.
    moving: Option<(MoveId, Attempt, bool)>,
}

#[derive(Clone, Debug)]
struct World {
    master: UnitRecord,
    nodes: [Node; 2],
    wire: BTreeSet<Message>,
    moves: u32,
    crashes: u64,
    acknowledged: u8,
}

impl World {
    fn new() -> Self {
        let owner = OwnershipRecord {
            unit: unit_id("u"),
            root: root("user.alice"),
            state: UnitState::Owner,
            term: TERM,
            epoch: Epoch::new(1),
        };
        let node = |record| Node {
            record,
            content: 0,
            starts: 1,
            moving: None,
        };
        Self {
            master: UnitRecord {
                unit: unit_id("u"),
                root: (&root("user.alice")).into(),
                server: server(NAMES[0]),
                server_id: server_id(NAMES[0]),
                partition: Some(partition()),
                term: TERM,
                epoch: Epoch::new(1),
                standing: Standing::Owned,
                last_move: None,
                confirmed: TERM,
            },
            nodes: [node(Some(owner)), node(None)],
            wire: BTreeSet::new(),
            moves: 0,
            crashes: 0,
            acknowledged: 0,
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (
            &self.master,
            &self.wire,
            self.moves,
            self.crashes,
            self.acknowledged,
        )
            .hash(&mut hasher);
        for node in &self.nodes {
            (node.content, node.starts, node.moving).hash(&mut hasher);
            if let Some(record) = &node.record {
                (record.term, record.epoch).hash(&mut hasher);
                std::mem::discriminant(&record.state).hash(&mut hasher);
                match &record.state {
                    UnitState::Released {
                        move_id, attempt, ..
                    }
                    | UnitState::Staging {
                        move_id, attempt, ..
                    } => {
                        (move_id, attempt).hash(&mut hasher);
                    }
                    UnitState::Prepared {
                        move_id,
                        attempt,
                        epoch,
                        digest,
                        ..
                    } => {
                        (move_id, attempt, epoch, digest).hash(&mut hasher);
                    }
                    _ => {}
                }
            }
        }
        hasher.finish()
    }

    fn owns(&self, node: usize) -> bool {
        self.state(node) == Some(&UnitState::Owner)
    }

    fn state(&self, node: usize) -> Option<&UnitState> {
        self.nodes[node].record.as_ref().map(|record| &record.state)
    }

    fn epoch(&self, node: usize) -> Epoch {
        self.nodes[node]
            .record
            .as_ref()
            .map_or(Epoch::new(0), |record| record.epoch)
    }

    /// Applies an event durably; false if the rules refuse it.
    fn event(&mut self, node: usize, event: OwnershipEvent) -> bool {
        let name = server(NAMES[node]);
        let here = Here {
            server: &name,
            promised: TERM,
        };
        match next(here, self.nodes[node].record.as_ref(), event) {
            Ok(record) => {
                self.nodes[node].record = Some(record);
                true
            }
            Err(_) => false,
        }
    }

    fn send_record(&mut self, to: usize) {
        let owner = usize::from(self.master.server == server(NAMES[1]));
        let flipped = self.master.last_move.filter(|last| last.flipped);
        self.wire.insert(Message::Record {
            to,
            owner,
            epoch: self.master.epoch,
            by: flipped.map(|last| (last.move_id, last.attempt)),
        });
    }

    fn send_settle(&mut self, node: usize) {
        if let Some(UnitState::Released { move_id, .. }) = self.state(node) {
            let (id, epoch) = (*move_id, self.epoch(node));
            self.wire.insert(Message::Settle {
                from: node,
                id,
                epoch,
            });
        }
    }

    /// A copy asks its source: a source that owns the unit and is not in this move gives it up for good.
    fn ask_source(&mut self, node: usize) {
        let Some(UnitState::Staging { move_id, .. } | UnitState::Prepared { move_id, .. }) =
            self.state(node)
        else {
            return;
        };
        let (id, source) = (*move_id, 1 - node);
        let moving = self.nodes[source].moving.map(|(id, ..)| id);
        if self.owns(source) && moving != Some(id) {
            self.wire.insert(Message::Drop { to: node, id });
        }
    }

    fn deliver(&mut self, message: &Message) {
        match message.clone() {
            Message::Stage {
                to,
                id,
                attempt,
                epoch,
            } => {
                let from = server(NAMES[1 - to]);
                let (unit, root) = (unit_id("u"), root("user.alice"));
                self.event(
                    to,
                    OwnershipEvent::Stage {
                        unit,
                        root,
                        move_id: id,
                        attempt,
                        from,
                        epoch,
                    },
                );
            }
            Message::Prepare {
                to,
                id,
                attempt,
                epoch,
                content,
            } => {
                let digest = UnitDigest::from_bytes([content; 32]);
                let event = OwnershipEvent::Prepare {
                    move_id: id,
                    attempt,
                    epoch,
                    digest,
                };
                if self.event(to, event) {
                    self.nodes[to].content = content;
                    self.wire.insert(Message::Prepared {
                        to: 1 - to,
                        id,
                        attempt,
                    });
                }
            }
            Message::Prepared { to, id, attempt } => {
                if self.owns(to) && self.nodes[to].moving == Some((id, attempt, true)) {
                    let epoch = self.epoch(to);
                    let other = server(NAMES[1 - to]);
                    let release = OwnershipEvent::Release {
                        to: other,
                        move_id: id,
                        attempt,
                    };
                    assert!(self.event(to, release));
                    self.nodes[to].moving = None;
                    self.wire.insert(Message::Flip {
                        from: to,
                        id,
                        attempt,
                        epoch,
                    });
                }
            }
            Message::Abort { to, id, attempt } => {
                self.event(
                    to,
                    OwnershipEvent::AbortAttempt {
                        move_id: id,
                        attempt,
                    },
                );
            }
            Message::Drop { to, id } => {
                let attempt = Attempt::new(u32::MAX);
                self.event(
                    to,
                    OwnershipEvent::DropStaging {
                        move_id: id,
                        attempt,
                    },
                );
            }
            Message::Flip {
                from,
                id,
                attempt,
                epoch,
            } => {
                let to = NAMES[1 - from];
                let ask = Flip {
                    asker: server_id(NAMES[from]),
                    from_epoch: epoch,
                    destination: (server(to), server_id(to)),
                    partition: partition(),
                    move_id: id,
                    attempt,
                };
                if let Ok(flipped) = rules::flip(&self.master, TERM, &ask) {
                    self.master = flipped;
                    self.send_record(from);
                }
            }
            Message::Settle { from, id, epoch } => {
                let asker = server_id(NAMES[from]);
                if let Outcome::Raise(raised) = rules::settle(&self.master, TERM, asker, epoch, id)
                {
                    self.master = raised;
                }
                self.send_record(from);
            }
            Message::Record {
                to,
                owner,
                epoch,
                by,
            } => self.record_arrives(to, owner, epoch, by),
        }
    }

    fn record_arrives(
        &mut self,
        to: usize,
        owner: usize,
        epoch: Epoch,
        by: Option<(MoveId, Attempt)>,
    ) {
        let owner_name = server(NAMES[owner]);
        let event = match (self.state(to), by) {
            (Some(UnitState::Released { .. }), _) => OwnershipEvent::Settled {
                spoken: TERM,
                answer: SettleAnswer::Record {
                    owner: owner_name,
                    term: TERM,
                    epoch,
                },
            },
            (_, Some((move_id, attempt))) if owner == to => OwnershipEvent::GrantArrived {
                term: TERM,
                epoch,
                move_id,
                attempt,
            },
            _ => OwnershipEvent::SeenElsewhere {
                owner: owner_name,
                term: TERM,
                epoch,
            },
        };
        self.event(to, event);
    }

    /// Every state that one step can lead to.
    fn steps(&self, bounds: Bounds) -> Vec<Self> {
        let mut worlds = Vec::new();
        let mut step = |change: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            change(&mut world);
            worlds.push(world);
        };
        for message in &self.wire {
            step(&|world| world.deliver(message));
        }
        for node in [0, 1] {
            step(&|world| world.send_settle(node));
            step(&|world| world.send_record(node));
            step(&|world| world.ask_source(node));
            step(&|world| {
                world.event(node, OwnershipEvent::GraceOver);
            });
            if self.crashes < bounds.crashes {
                step(&|world| {
                    world.crashes += 1;
                    world.nodes[node].starts += 1;
                    world.nodes[node].moving = None;
                });
            }
            if self.owns(node) {
                self.owner_steps(node, bounds, &mut step);
            }
        }
        worlds
    }

    fn owner_steps(&self, node: usize, bounds: Bounds, step: &mut Step<'_>) {
        let to = 1 - node;
        let frozen = self.nodes[node].moving.is_some_and(|(.., frozen)| frozen);
        if !frozen && self.acknowledged < bounds.writes {
            step(&|world| {
                world.acknowledged += 1;
                world.nodes[node].content = world.acknowledged;
            });
        }
        match self.nodes[node].moving {
            None if self.moves < bounds.moves => step(&|world| {
                world.moves += 1;
                let start = Incarnation::new(world.nodes[node].starts);
                let id = move_id(start, world.moves, [node as u8; 6]);
                let attempt = Attempt::new(0);
                world.nodes[node].moving = Some((id, attempt, false));
                world.wire.insert(Message::Stage {
                    to,
                    id,
                    attempt,
                    epoch: world.epoch(node),
                });
            }),
            Some((id, attempt, false)) => {
                if attempt.get() < bounds.freezes {
                    step(&|world| {
                        let attempt = attempt.next();
                        let (epoch, content) = (world.epoch(node), world.nodes[node].content);
                        world.nodes[node].moving = Some((id, attempt, true));
                        world.wire.insert(Message::Prepare {
                            to,
                            id,
                            attempt,
                            epoch,
                            content,
                        });
                    });
                }
                step(&|world| world.nodes[node].moving = None);
            }
            Some((id, attempt, true)) => step(&|world| {
                world.nodes[node].moving = Some((id, attempt, false));
                world.wire.insert(Message::Abort { to, id, attempt });
            }),
            None => {}
        }
    }

    /// The owner's whole next move as it goes when nothing fails, cut short after some messages. All
    /// of them stay on the wire.
    fn run_move(&mut self, bounds: Bounds, mut messages: u64) {
        let Some(source) = [0, 1].into_iter().find(|node| self.owns(*node)) else {
            return;
        };
        if self.moves == bounds.moves {
            return;
        }
        self.moves += 1;
        let id = move_id(
            Incarnation::new(self.nodes[source].starts),
            self.moves,
            [source as u8; 6],
        );
        let (to, epoch, content) = (1 - source, self.epoch(source), self.nodes[source].content);
        let attempt = Attempt::new(1);
        self.nodes[source].moving = Some((id, attempt, true));
        let stage = Message::Stage {
            to,
            id,
            attempt: Attempt::new(0),
            epoch,
        };
        let prepare = Message::Prepare {
            to,
            id,
            attempt,
            epoch,
            content,
        };
        let mut fresh = vec![prepare, stage];
        self.wire.extend(fresh.iter().cloned());
        while let Some(message) = fresh.pop().filter(|_| messages > 0) {
            messages -= 1;
            let before = self.wire.clone();
            self.deliver(&message);
            if matches!(message, Message::Flip { .. }) {
                self.send_record(to);
            }
            fresh.extend(self.wire.difference(&before).cloned());
        }
    }

    fn check(&self) -> Result<(), String> {
        let owners: Vec<_> = [0, 1].into_iter().filter(|node| self.owns(*node)).collect();
        if owners.len() > 1 {
            return Err("two owners".to_owned());
        }
        if owners
            .iter()
            .any(|node| self.nodes[*node].content != self.acknowledged)
        {
            return Err("the owner lacks an acknowledged write".to_owned());
        }
        Ok(())
    }

    /// Nothing fails any more, moves under way are given up, whoever is in doubt asks.
    fn comes_to_rest(&self) -> Result<(), String> {
        let mut world = self.clone();
        for _ in 0..4 {
            for node in [0, 1] {
                world.nodes[node].moving = None;
                world.wire.clear();
                world.send_settle(node);
                world.send_record(node);
                world.ask_source(node);
                while let Some(message) = world.wire.pop_first() {
                    world.deliver(&message);
                    world.check()?;
                }
            }
        }
        let at_rest = |node: usize| {
            !matches!(
                world.state(node),
                Some(
                    UnitState::Released { .. }
                        | UnitState::Staging { .. }
                        | UnitState::Prepared { .. }
                )
            )
        };
        let owned = world.owns(0) || world.owns(1);
        if owned && at_rest(0) && at_rest(1) {
            Ok(())
        } else {
            Err(format!("stuck: {world:#?}"))
        }
    }
}
