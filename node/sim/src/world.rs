//! The world: nodes, clients, and what fails.

use murder_model::{RootName, UserName};
use murder_store::engine::PowerLoss;

use crate::Summary;
use crate::backend::Backend;
use crate::client::Client;
use crate::context::{Context, Event, Timer};
use crate::frontend::Frontend;
use crate::master::MasterNode;
use crate::message::{Address, Payload};
use crate::plan::{HEALING, Plan};
use crate::random::Random;
use crate::verify;

/// Events of one run at most; no clean run comes near.
const EVENTS_MAX: u64 = 400_000;

/// Everything there is.
pub(crate) struct World {
    pub(crate) context: Context,
    pub(crate) master: MasterNode,
    pub(crate) backends: Vec<Backend>,
    pub(crate) frontends: Vec<Frontend>,
    pub(crate) clients: Vec<Client>,
    crashes: u64,
}

impl World {
    pub(crate) fn new(seed: u64, lines: usize) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random);
        let mut context = Context::new(plan, random, lines);
        let backends = (0..context.plan.backends)
            .map(|index| Backend::new(index, &mut context))
            .collect();
        let frontends = (0..context.plan.frontends).map(Frontend::new).collect();
        let clients = clients(context.plan.clients);
        Self {
            context,
            master: MasterNode::default(),
            backends,
            frontends,
            clients,
            crashes: 0,
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            events: self.context.events,
            acknowledged: self.context.oracle.acknowledged,
            crashes: self.crashes,
            moved: self.context.oracle.moved,
        }
    }

    pub(crate) fn run(&mut self) {
        let plan = self.context.plan.clone();
        self.context.trace(|| format!("{plan:?}"));
        self.master.start(&mut self.context);
        for backend in &mut self.backends {
            backend.start(&mut self.context);
        }
        for frontend in &mut self.frontends {
            frontend.start(&mut self.context);
        }
        for index in 0..self.clients.len() {
            let address = Address::Client(index);
            self.context.timer(address, 0, 50, Timer::Tick);
        }
        self.context.at(300, Event::Chaos);
        while self.context.now < plan.chaos && self.step() {}
        self.heal();
        let until = self.context.now + HEALING;
        let mut look_at = self.context.now;
        while self.step() {
            if self.context.now < look_at {
                continue;
            }
            look_at = self.context.now + 200;
            match verify::at_rest(self) {
                Ok(()) => return verify::everything(self),
                Err(reason) if self.context.now > until => {
                    return self
                        .context
                        .violate("everything heals", format!("still: {reason}"));
                }
                Err(_) => {}
            }
        }
    }

    /// One event; false if the world ended.
    fn step(&mut self) -> bool {
        let Some(event) = self.context.next() else {
            return false;
        };
        match event {
            Event::Arrive { from, to, payload } => self.arrive(from, to, payload),
            Event::Timer { at, start, timer } => self.timer(at, start, timer),
            Event::Chaos => self.chaos(),
            Event::Restart(address) => self.restart(address),
            Event::Mend => self.context.mend(),
        }
        if self.context.events > EVENTS_MAX {
            self.context.violate("everything heals", "too many events");
        }
        self.context.violation.is_none()
    }

    fn arrive(&mut self, from: Address, to: Address, payload: Payload) {
        let context = &mut self.context;
        match to {
            Address::Master => self.master.arrive(context, from, payload),
            Address::Backend(index) => self.backends[index].arrive(context, from, payload),
            Address::Frontend(index) => self.frontends[index].arrive(context, from, payload),
            Address::Client(index) => self.clients[index].arrive(context, payload),
        }
    }

    fn timer(&mut self, at: Address, start: u64, timer: Timer) {
        let context = &mut self.context;
        match at {
            Address::Master => self.master.timer(context, start, timer),
            Address::Backend(index) => self.backends[index].timer(context, start, timer),
            Address::Frontend(index) => self.frontends[index].timer(context, start, timer),
            Address::Client(index) => self.clients[index].timer(context, timer),
        }
    }

    fn restart(&mut self, address: Address) {
        let context = &mut self.context;
        match address {
            Address::Master if !self.master.is_up() => self.master.start(context),
            Address::Backend(index) if !self.backends[index].is_up() => {
                self.backends[index].start(context);
            }
            Address::Frontend(index) if !self.frontends[index].is_up() => {
                self.frontends[index].start(context);
            }
            _ => {}
        }
    }

    /// Something fails, or somebody moves a unit.
    fn chaos(&mut self) {
        if self.context.healing {
            return;
        }
        let pause = self
            .context
            .random
            .between(1, 2 * self.context.plan.disturbance);
        let next = self.context.now + pause;
        self.context.at(next, Event::Chaos);
        if self.context.random.chance(self.context.plan.moves) {
            self.move_a_unit();
        }
        if self.context.random.chance(self.context.plan.crashes) {
            let victim = self.victim();
            self.fail(victim);
        }
        if self.context.plan.restores {
            self.copy_or_restore();
        }
        if self.context.random.chance(50) {
            let (one, other) = (self.victim(), self.victim());
            if one != other {
                self.context.cut(one, other);
                let mend = self.context.now + self.context.random.between(100, 2000);
                self.context.at(mend, Event::Mend);
            }
        }
    }

    /// Somebody copies a volume, or puts a copy back.
    fn copy_or_restore(&mut self) {
        let index = self.context.random.index(self.backends.len());
        match self.context.random.below(10) {
            0..5 => self.backends[index].keep_copy(),
            5 if self.backends[index].restore(&mut self.context) => {
                self.crashes += 1;
                let back = self.context.now + self.context.random.between(20, 1500);
                self.context
                    .at(back, Event::Restart(Address::Backend(index)));
            }
            _ => {}
        }
    }

    fn victim(&mut self) -> Address {
        let random = &mut self.context.random;
        match random.below(10) {
            0..2 => Address::Master,
            2..4 => Address::Frontend(random.index(self.frontends.len())),
            _ => Address::Backend(random.index(self.backends.len())),
        }
    }

    fn fail(&mut self, victim: Address) {
        let loss = match self.context.random.below(3) {
            0 => PowerLoss::LoseUnsynced,
            1 => PowerLoss::KeepAll,
            _ => PowerLoss::Torn(self.context.random.bits()),
        };
        let way = self.context.random.below(10);
        let writes = self.context.random.between(1, 12);
        let context = &mut self.context;
        match victim {
            Address::Master if self.master.is_up() => match way {
                0..5 => return self.master.arm(writes),
                5 if context.plan.masters_lost => {
                    let servers = self.backends.iter().map(|backend| backend.name.clone());
                    self.master.lose(context, servers.collect());
                }
                _ => self.master.crash(context, loss),
            },
            Address::Backend(index) if self.backends[index].is_up() => match way {
                0..4 => return self.backends[index].arm(writes),
                4 => return self.backends[index].fail_syncs(writes / 3),
                5 => self.backends[index].stop(context, true),
                6 => self.backends[index].stop(context, false),
                _ => self.backends[index].crash(context, loss),
            },
            Address::Frontend(index) if self.frontends[index].is_up() => {
                self.frontends[index].crash(context, loss);
            }
            _ => return,
        }
        self.crashes += 1;
        let back = self.context.now + self.context.random.between(20, 1500);
        self.context.at(back, Event::Restart(victim));
    }

    fn move_a_unit(&mut self) {
        let units: Vec<_> = self
            .backends
            .iter()
            .flat_map(|backend| {
                backend
                    .records()
                    .map(move |record| (backend.index, record.unit))
            })
            .collect();
        if units.is_empty() {
            return;
        }
        let (from, unit) = units[self.context.random.index(units.len())];
        let to = self.context.random.index(self.backends.len());
        self.backends[from].begin_move(&mut self.context, unit, to);
    }

    /// From here on nothing fails.
    fn heal(&mut self) {
        self.context.healing = true;
        self.context.mend();
        self.context.trace(|| "nothing fails any more".to_owned());
        let mut all = vec![Address::Master];
        all.extend((0..self.backends.len()).map(Address::Backend));
        all.extend((0..self.frontends.len()).map(Address::Frontend));
        for address in all {
            self.restart(address);
        }
    }
}

/// Clients of a few roots: users, and one shared folder.
fn clients(count: usize) -> Vec<Client> {
    let user = |name: &str| UserName::parse(name).expect("a user's name");
    let root = |name: &str| RootName::parse(name).expect("a root's name");
    let who = [
        ("ann", "user.ann"),
        ("ben", "user.ben"),
        ("ann", "user.ann"),
        ("ann", "team"),
        ("ben", "team"),
    ];
    let mut managed = Vec::new();
    who.iter()
        .take(count)
        .enumerate()
        .map(|(index, (name, mail))| {
            let manages = !managed.contains(mail);
            managed.push(mail);
            Client::new(index, user(name), root(mail), manages)
        })
        .collect()
}
