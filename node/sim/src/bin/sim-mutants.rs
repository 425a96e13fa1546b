//! Each fault on purpose must be found within 2,000 seeds, and 200 seeds without one must be clean.
//!
//! `sim-mutants [NAME…]` tries only these faults. Exits 1 if one is not found.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::panic;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use murder_sim::Failure;
use murder_sim::mutant::Mutant;

const SEEDS_MAX: u64 = 2000;
const CLEAN_SEEDS: u64 = 200;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(name) = wanted
        .iter()
        .find(|name| Mutant::ALL.iter().all(|mutant| mutant.name() != *name))
    {
        eprintln!("no fault has the name {name}");
        return ExitCode::from(2);
    }
    // Assertions that a fault breaks are reported with their seed, not one by one.
    panic::set_hook(Box::new(|_| {}));
    let mut missed = 0;
    for mutant in Mutant::ALL {
        if !wanted.is_empty() && !wanted.iter().any(|name| mutant.name() == name) {
            continue;
        }
        Mutant::choose(Some(mutant));
        match first_failure(SEEDS_MAX) {
            Some(failure) => println!(
                "mutant {} found by seed {} ({}: {})",
                mutant.name(),
                failure.seed,
                failure.violation.rule,
                failure.violation.what.chars().take(100).collect::<String>()
            ),
            None => {
                println!(
                    "mutant {} NOT FOUND within {SEEDS_MAX} seeds",
                    mutant.name()
                );
                missed += 1;
            }
        }
    }
    Mutant::choose(None);
    if let Some(failure) = first_failure(CLEAN_SEEDS) {
        println!("{failure}");
        println!("no mutant: seed {} is not clean", failure.seed);
        return ExitCode::FAILURE;
    }
    println!("no mutant: {CLEAN_SEEDS} seeds clean");
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The failure with the lowest seed below `limit`, if any.
fn first_failure(limit: u64) -> Option<Box<Failure>> {
    let next = AtomicU64::new(0);
    let lowest = AtomicU64::new(limit);
    let found: Mutex<Option<Box<Failure>>> = Mutex::new(None);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= lowest.load(Ordering::Relaxed) {
                        return;
                    }
                    let Err(failure) = murder_sim::run(seed) else {
                        continue;
                    };
                    lowest.fetch_min(seed, Ordering::Relaxed);
                    if let Ok(mut found) = found.lock()
                        && found.as_ref().is_none_or(|found| found.seed > seed)
                    {
                        *found = Some(failure);
                    }
                }
            });
        }
    });
    found.into_inner().ok().flatten()
}
