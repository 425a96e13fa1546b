//! Fixed seeds, each a world of its own; `MURDER_SIM_SEEDS=from..to` runs others.

/// Clean runs, with the seed and the end of its trace for one that is not.
#[test]
fn no_seed_breaks_a_rule() {
    let seeds = match std::env::var("MURDER_SIM_SEEDS") {
        Ok(text) => {
            let (from, to) = text.split_once("..").expect("MURDER_SIM_SEEDS=from..to");
            from.parse().expect("a number")..to.parse().expect("a number")
        }
        Err(_) => 0..200,
    };
    for seed in seeds {
        if let Err(failure) = murder_sim::run(seed) {
            panic!("{failure}");
        }
    }
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for seed in [3, 14, 15] {
        let (first, trace) = murder_sim::run_traced(seed, 100_000);
        let (second, again) = murder_sim::run_traced(seed, 100_000);
        assert_eq!(first.unwrap(), second.unwrap());
        assert_eq!(trace, again, "seed {seed}");
    }
}
