//! A murder that loses power at each step of a move: at the source, the destination and the master.

use std::time::Duration;

use murder_e2e::murder::Plan;
use murder_e2e::powerloss::{Loss, Point, PowerLoss, Shim, When};

use crate::rig::{ROOT, Rig, Struck, until};
use crate::table::Table;
use crate::wire::owner_at_master;
use crate::{NODE, kills};

/// Rounds for one kill, if the master was at another commit: servers tell their space now and then.
const TRIES: usize = 5;
/// Messages that come in while the unit moves.
const MESSAGES: usize = 3;

/// Who loses power.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Victim {
    Source,
    Destination,
    Master,
}

/// A step of a move. On a backend it is a record of the unit: its root, then the number of its state
/// (`UnitState` in the order of its declaration).
#[derive(Clone, Copy, Debug)]
struct Step {
    name: &'static str,
    victim: Victim,
    state: (u8, &'static str),
    /// Syncs in one move that fit.
    syncs: u32,
}

const RELEASED: Step = Step {
    name: "source: Released",
    victim: Victim::Source,
    state: (2, "Released"),
    syncs: 1,
};
const MOVED: Step = Step {
    name: "source: Moved",
    victim: Victim::Source,
    state: (5, "Moved"),
    syncs: 1,
};
/// The record that begins a copy, and batches of rows.
const STAGING: Step = Step {
    name: "destination: Staging",
    victim: Victim::Destination,
    state: (3, "Staging"),
    syncs: 2,
};
const PREPARED: Step = Step {
    name: "destination: Prepared",
    victim: Victim::Destination,
    state: (4, "Prepared"),
    syncs: 1,
};
const OWNER: Step = Step {
    name: "destination: Owner",
    victim: Victim::Destination,
    state: (1, "Owner"),
    syncs: 1,
};
const FLIP: Step = Step {
    name: "master: flip",
    victim: Victim::Master,
    state: (0, ""),
    syncs: 1,
};

impl Step {
    const fn when(round: usize) -> When {
        [When::Before, When::After][round % 2]
    }

    /// Which of the syncs in a move.
    fn number(self, round: usize) -> u32 {
        1 + u32::try_from(round / 2).unwrap() % self.syncs
    }

    fn point(self, round: usize) -> Point {
        let when = Self::when(round);
        if self.victim == Victim::Master {
            return Point::new(when, "fdatasync", "/locations.redb");
        }
        let record = [ROOT.as_bytes(), &[self.state.0]].concat();
        Point::new(when, "fdatasync", "/log-")
            .of(&record)
            .number(self.number(round))
    }

    /// The step's record is there if it was synced, and only then.
    fn check(self, round: usize, struck: &Struck) {
        if self.victim == Victim::Master {
            return;
        }
        let there = struck.states.get(ROOT).map(String::as_str) == Some(self.state.1);
        match Self::when(round) {
            When::After => assert!(there, "{}: {:?}", self.name, struck.states),
            When::Before if struck.loss == Loss::Everything && self.number(round) == 1 => {
                assert!(!there, "{}: {:?}", self.name, struck.states);
            }
            When::Before => {}
        }
    }
}

/// Part of a server in the unit, as it says itself; empty: it has none.
async fn state(rig: &Rig, server: &str) -> Option<String> {
    let units = rig.murder.units(server).await.ok()?;
    let unit = units.into_iter().find(|unit| unit.root.as_str() == ROOT);
    Some(unit.map(|unit| unit.state).unwrap_or_default())
}

/// The one owner, as soon as the servers and the master agree.
async fn owner(rig: &Rig) -> &'static str {
    let mupdate = rig.murder.addresses("mupdate").unwrap().mupdate;
    until("one owner", || async {
        let (a, b) = (state(rig, "be-a").await?, state(rig, "be-b").await?);
        let in_doubt = |state: &str| matches!(state, "Released" | "Prepared" | "Creating");
        if in_doubt(&a) || in_doubt(&b) {
            return None;
        }
        // Two at once: it moved between the two looks.
        let found = match (a == "Owner", b == "Owner") {
            (true, false) => "be-a",
            (false, true) => "be-b",
            _ => return None,
        };
        let named = owner_at_master(mupdate, ROOT).ok()?;
        (named == found).then_some(found)
    })
    .await
}

struct Mover {
    rig: Rig,
    moves: u64,
}

impl Mover {
    async fn start_move(&mut self, from: &str, to: &str) {
        self.moves += 1;
        // Whoever loses power may not answer; an earlier move may be under way still.
        let started = self.rig.murder.start_transfer(from, ROOT, to, self.moves);
        let _refused = started.await;
    }

    /// False: the master lost power at another commit.
    async fn round(&mut self, step: Step, round: usize) -> bool {
        let from = owner(&self.rig).await;
        let to = if from == "be-a" { "be-b" } else { "be-a" };
        let victim = match step.victim {
            Victim::Source => from,
            Victim::Destination => to,
            Victim::Master => "mupdate",
        };
        self.rig.arm(victim, &step.point(round));
        let load = self.rig.load(1, MESSAGES);
        self.start_move(from, to).await;
        let struck = self.rig.lose_power(victim, Some(&load)).await;
        step.check(round, &struck);
        let is_there = match (step.victim, Step::when(round)) {
            (Victim::Master, When::Before) => {
                let kept = struck.loss != Loss::Everything || struck.states[ROOT] == from;
                assert!(kept, "flipped before the sync");
                state(&self.rig, from).await.as_deref() == Some("Released")
            }
            (Victim::Master, When::After) => struck.states[ROOT] == to,
            _ => true,
        };
        self.rig.murder.start(victim).await.unwrap();
        self.rig.finish(load).await;
        let mut at = owner(&self.rig).await;
        self.rig.verify().await;
        while at != to {
            self.start_move(from, to).await;
            at = owner(&self.rig).await;
        }
        let name = if is_there {
            step.name
        } else {
            "master: another commit"
        };
        let when = Step::when(round).word();
        self.rig.table.count(&format!("{name}, {when} its sync"));
        is_there
    }
}

async fn run(title: &'static str, steps: &[Step]) {
    let rig = Rig::start(Plan::discrete(NODE, 2, 1), "fe-0", title).await;
    let mut mover = Mover { rig, moves: 0 };
    for round in 0..kills() {
        for step in steps {
            let mut tries = 0..TRIES;
            while !mover.round(*step, round).await {
                assert!(tries.next().is_some(), "{}: not reached", step.name);
            }
        }
    }
    mover.rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_survives_power_losses_of_its_destination() {
    run("steps of a move, destination", &[STAGING, PREPARED, OWNER]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_survives_power_losses_of_its_source_and_of_the_master() {
    let title = "steps of a move, source and master";
    run(title, &[RELEASED, MOVED, FLIP]).await;
}

/// A database that was never finished is begun anew; one that was is there by its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_survives_power_losses_of_its_first_start() {
    let shim_folder = tempfile::tempdir().unwrap();
    let shim = Shim::build(shim_folder.path()).unwrap();
    let mut table = Table::new("first start of a master");
    let points = [
        ("fdatasync", "/locations.redb", 1),
        ("fdatasync", "/locations.redb", 2),
        ("fdatasync", "/locations.redb", 3),
        ("rename", "/locations.redb", 1),
        ("fsync", "/mupdate-0", 1),
    ];
    for (call, path, number) in points {
        for when in [When::Before, When::After] {
            let mut murder = Plan::discrete(NODE, 0, 0).prepare().unwrap();
            let undo = murder.folder().join("undo");
            let node = murder.node_mut("mupdate").unwrap();
            let power = PowerLoss::new(&shim, &node.data(), &undo).unwrap();
            let environment = power.environment();
            let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
            node.set_environment(environment.to_vec());
            power
                .arm(&Point::new(when, call, path).number(number))
                .unwrap();
            node.spawn().unwrap();
            node.wait_end(Duration::from_secs(60)).await.unwrap();
            power.strike(Loss::Some(u64::from(number))).unwrap();
            murder.start("mupdate").await.unwrap();
            table.count(&format!("{} {call} {number}", when.word()));
        }
    }
    table.show();
}
