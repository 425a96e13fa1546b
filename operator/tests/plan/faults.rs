//! Faults: reads that fail, steps that nobody carries out, wishes that change. No backend is given up while anything is
//! on it, no user is lost, and once the faults end all is as wished.

use murder_operator::core::{Action, Kind, Step, Wish, World, plan};
use proptest::prelude::*;

use super::sim::Sim;

/// One pass in bad times.
#[derive(Clone, Debug)]
struct Round {
    /// Changes of wishes: backend, wish.
    wish: Option<(usize, Wish)>,
    /// Reads that fail, a bit each.
    unread: u16,
    /// Steps that are not carried out, a bit each.
    lost: u16,
    /// Whether transfers stand still.
    still: bool,
}

const NAMES: [&str; 3] = ["be-a", "be-b", "be-c"];

fn round() -> impl Strategy<Value = Round> {
    let wish = prop_oneof![
        Just(Wish::Active),
        Just(Wish::Cordoned),
        Just(Wish::Drained)
    ];
    let wish = prop::option::weighted(0.1, (0..2_usize, wish));
    // Each fault with a chance of an eighth.
    let rare = || any::<[u16; 3]>().prop_map(|[a, b, c]| a & b & c);
    let still = prop::bool::weighted(0.85);
    (wish, rare(), rare(), still).prop_map(|(wish, unread, lost, still)| Round {
        wish,
        unread,
        lost,
        still,
    })
}

/// What is seen of the world when some reads fail.
fn seen(world: &World, unread: u16) -> World {
    let mut world = world.clone();
    let fails = |bit: usize| unread >> bit & 1 == 1;
    for (index, backend) in world.backends.iter_mut().enumerate() {
        if fails(3 * index) {
            (backend.status, backend.units, backend.transfers) = (None, None, None);
        }
        if fails(3 * index + 1) {
            backend.units = None;
        }
        if fails(3 * index + 2) {
            backend.transfers = None;
        }
    }
    if let Some(mupdate) = &mut world.mupdate
        && fails(15)
    {
        mupdate.servers = None;
    }
    world
}

/// Nothing but grace copies may be on a backend that is given up.
fn check(sim: &mut Sim, step: &Step) {
    let gives_up = matches!(
        step.action,
        Action::Deactivate
            | Action::DeleteVolume
            | Action::ReleaseVolume
            | Action::Retire { .. }
            | Action::RetireVolume { .. }
            | Action::StopPod { .. }
    );
    if step.kind == Kind::Backend && gives_up {
        let units = sim.get(&step.object).units.iter().flatten();
        let held: Vec<_> = units.filter(|unit| unit.state != "Moved").collect();
        assert!(held.is_empty(), "{step} with {held:?}");
    }
}

fn run_round(sim: &mut Sim, round: &Round) {
    if let Some((index, wish)) = round.wish
        && let Some(backend) = sim.world.backends.get_mut(index)
    {
        backend.wish = wish;
    }
    let plan = plan(&seen(&sim.world, round.unread));
    for (number, step) in plan.steps.iter().enumerate() {
        // A backend that was let go in this pass hears nothing more.
        let is_there =
            step.kind != Kind::Backend || sim.world.backends.iter().any(|b| b.name == step.object);
        if is_there && round.lost >> (number % 16) & 1 == 0 {
            check(sim, step);
            sim.trace.record(step);
            sim.apply(step);
        }
    }
    if !round.still {
        sim.tick();
    }
    sim.recount();
    sim.world.now_ms += 700;
}

fn owners(sim: &Sim) -> Vec<String> {
    let backends = sim.world.backends.iter();
    let units = backends.flat_map(|backend| backend.units.iter().flatten());
    let owned = units.filter(|unit| unit.state == "Owner");
    let mut roots: Vec<String> = owned.map(|unit| unit.root.as_str().to_owned()).collect();
    roots.sort();
    roots
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_fault_gives_up_a_backend_that_holds_something(
        rounds in prop::collection::vec(round(), 20..80),
        last in prop_oneof![Just(Wish::Active), Just(Wish::Cordoned), Just(Wish::Drained)],
        deleted: bool,
        more: bool,
    ) {
        let mut sim = Sim::running(&[("alice", 10), ("bob", 20), ("carol", 30)]);
        sim.world.cluster.attempts_max = 100;
        if more {
            sim.give("be-b", &[("dave", 5)]);
        }
        let everyone = owners(&sim);
        for round in &rounds {
            run_round(&mut sim, round);
            prop_assert_eq!(owners(&sim), everyone.clone());
        }
        for name in NAMES {
            sim.get(name).wish = Wish::Active;
        }
        sim.get("be-a").wish = last;
        sim.get("be-a").deleting = deleted;
        let calm = Round { wish: None, unread: 0, lost: 0, still: false };
        for _ in 0..60 {
            run_round(&mut sim, &calm);
        }
        prop_assert!(sim.plan().converged, "{:#?}", sim.trace.lines());
        prop_assert_eq!(owners(&sim), everyone);
        let here = sim.world.backends.iter().any(|backend| backend.name == "be-a");
        prop_assert_eq!(here, !deleted);
    }
}
