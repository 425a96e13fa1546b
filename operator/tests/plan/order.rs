//! The order of the world's lists changes nothing.

use murder_operator::core::{Wish, plan};
use proptest::prelude::*;

use super::sim::{GIB, Sim};

proptest! {
    #[test]
    fn the_order_of_lists_changes_nothing(
        sizes in prop::collection::vec(0..GIB, 0..8),
        order in Just((0..3).collect::<Vec<usize>>()).prop_shuffle(),
        reversed: bool,
    ) {
        let names = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];
        let users: Vec<(&str, u64)> = names.into_iter().zip(sizes).collect();
        let mut sim = Sim::running(&users);
        sim.get("be-a").wish = Wish::Drained;
        sim.pass();
        let expected = plan(&sim.world);
        let mut other = sim.world.clone();
        other.backends = order.into_iter().map(|at| sim.world.backends[at].clone()).collect();
        other.frontends[0].pods.reverse();
        if reversed {
            let units = other.backends.iter_mut().filter_map(|backend| backend.units.as_mut());
            units.for_each(|units| units.reverse());
            other.mupdate.as_mut().unwrap().servers.as_mut().unwrap().reverse();
        }
        prop_assert_eq!(plan(&other), expected);
    }
}
