//! Fixed seeds, each a world of its own; `MURDER_SIM_SEEDS=from..to` runs others.

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
