//! Moves that even backends out are proposed, and only while nothing else is to be done.

use std::collections::BTreeMap;

use murder_api::admin::UnitSummary;
use murder_operator::core::{Move, Rebalance, RebalanceState, RebalanceWish, Wish, rebalance};

use super::sim::{GIB, Sim};

const PROPOSE: RebalanceWish = RebalanceWish {
    propose: true,
    threshold_percent: 20,
    target: murder_operator::core::Target::Bytes,
    moves_max: 1000,
};

fn uneven() -> (Sim, BTreeMap<String, Vec<UnitSummary>>) {
    let mut sim = Sim::running(&[("ann", GIB), ("art", GIB), ("axl", GIB)]);
    let units = sim.get("be-a").units.clone().unwrap();
    (sim, BTreeMap::from([("be-a".to_owned(), units)]))
}

fn paused(skew_percent: Option<u64>, why: &str) -> Rebalance {
    Rebalance {
        skew_percent,
        state: RebalanceState::Paused(why.to_owned()),
    }
}

#[test]
fn skew_is_told_also_when_nothing_is_proposed() {
    let (sim, units) = uneven();
    let wish = RebalanceWish {
        propose: false,
        ..PROPOSE
    };
    let expected = Rebalance {
        skew_percent: Some(300),
        state: RebalanceState::Disabled,
    };
    assert_eq!(rebalance(&sim.world, wish, &units), expected);
}

#[test]
fn a_proposal_names_units_and_destinations() {
    let (sim, units) = uneven();
    let found = rebalance(&sim.world, PROPOSE, &units);
    let RebalanceState::ProposalReady(proposal) = found.state else {
        panic!("{found:?}");
    };
    let step = |root: &str, to: &str| Move {
        root: root.to_owned(),
        from: "be-a".to_owned(),
        to: to.to_owned(),
        bytes: GIB,
    };
    let expected = [step("user.axl", "be-b"), step("user.art", "be-c")];
    assert_eq!(proposal.moves, expected);
    assert_eq!(proposal.skew_percent_after, 0);
    let needed = RebalanceState::UnitsNeeded(vec!["be-a".to_owned()]);
    assert_eq!(
        rebalance(&sim.world, PROPOSE, &BTreeMap::new()).state,
        needed
    );
}

#[test]
fn a_drain_and_a_pause_come_first_and_the_unseen_is_not_guessed() {
    let (mut sim, units) = uneven();
    sim.get("be-c").wish = Wish::Drained;
    let why = "be-c is being emptied, which comes first";
    assert_eq!(
        rebalance(&sim.world, PROPOSE, &units),
        paused(Some(200), why)
    );
    sim.world.cluster.paused = true;
    let why = "the MurderCluster is paused";
    assert_eq!(
        rebalance(&sim.world, PROPOSE, &units),
        paused(Some(200), why)
    );
    sim.get("be-b").status = None;
    let why = "be-b-0 does not answer";
    assert_eq!(rebalance(&sim.world, PROPOSE, &units), paused(None, why));
}
