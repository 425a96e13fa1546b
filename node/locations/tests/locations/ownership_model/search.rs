//! Searching the model: breadth first from the beginning, and at random further on.

use std::collections::{HashSet, VecDeque};

use super::{Bounds, World};

/// Breadth first; answers how many states were checked.
fn explore(bounds: Bounds) -> usize {
    let first = World::new();
    let mut seen = HashSet::from([first.fingerprint()]);
    let mut queue = VecDeque::from([first]);
    while let Some(world) = queue.pop_front() {
        for after in world.steps(bounds) {
            if seen.len() < bounds.states && seen.insert(after.fingerprint()) {
                if let Err(fault) = after.check().and_then(|()| after.comes_to_rest()) {
                    panic!("{fault}\nin {after:#?}\nafter {world:#?}");
                }
                queue.push_back(after);
            }
        }
    }
    seen.len()
}

/// Walks at random, further than the search reaches; the seed is in the message of a failure.
fn walk(seed: u64, bounds: Bounds, steps: usize) -> u64 {
    let mut world = World::new();
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..steps {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if random.is_multiple_of(8) {
            world.run_move(bounds, (random >> 3) % 8);
        } else {
            let mut worlds = world.steps(bounds);
            world = worlds.swap_remove((random >> 11) as usize % worlds.len());
        }
        if let Err(fault) = world.check().and_then(|()| world.comes_to_rest()) {
            panic!("seed {seed}: {fault}\nin {world:#?}");
        }
    }
    world.master.epoch.get()
}

#[test]
fn one_move_has_one_owner_in_every_reachable_state() {
    let bounds = Bounds {
        moves: 1,
        freezes: 1,
        crashes: 1,
        writes: 1,
        states: 30_000,
    };
    let states = explore(bounds);
    println!("{states} states");
    assert!(states > 100);
}

#[test]
fn two_moves_have_one_owner_in_every_state_searched() {
    let bounds = Bounds {
        moves: 2,
        freezes: 2,
        crashes: 2,
        writes: 2,
        states: 30_000,
    };
    assert_eq!(explore(bounds), 30_000);
}

#[test]
fn long_random_walks_keep_one_owner_and_every_write() {
    let bounds = Bounds {
        moves: 8,
        freezes: 3,
        crashes: 6,
        writes: 9,
        states: 0,
    };
    let epochs: u64 = (0..100).map(|seed| walk(seed, bounds, 100)).sum();
    assert!(epochs > 300, "walks get through several moves: {epochs}");
}
