use std::collections::BTreeMap;

use murder_api::admin::UnitSummary;
use proptest::prelude::*;

use super::{Load, Move, Proposal, RebalanceState, RebalanceWish, Target, propose, skew_percent};

const PROPOSE: RebalanceWish = RebalanceWish {
    propose: true,
    threshold_percent: 20,
    target: Target::Bytes,
    moves_max: 1000,
};

fn unit(name: &str, bytes: u64) -> UnitSummary {
    let text = serde_json::json!({
        "unit": "000102030405060708090a0b0c0d0e0f", "root": format!("user.{name}"), "partition": "default",
        "state": "Owner", "epoch": 1, "mailboxes": 1, "messages": 1, "bytes": bytes,
    });
    serde_json::from_value(text).unwrap()
}

fn load(name: &str, bytes: u64) -> Load {
    Load {
        name: name.to_owned(),
        weight: 100,
        bytes,
        mailboxes: 1,
        free_bytes: 1_000_000,
    }
}

fn listed(units: &[(&str, &[(&str, u64)])]) -> BTreeMap<String, Vec<UnitSummary>> {
    let of = |(name, units): &(&str, &[(&str, u64)])| {
        let units = units.iter().map(|(name, bytes)| unit(name, *bytes));
        ((*name).to_owned(), units.collect())
    };
    units.iter().map(of).collect()
}

fn step(root: &str, from: &str, to: &str, bytes: u64) -> Move {
    Move {
        root: format!("user.{root}"),
        from: from.to_owned(),
        to: to.to_owned(),
        bytes,
    }
}

#[test]
fn skew_is_the_difference_by_the_mean_and_counts_weights() {
    let mut loads = [load("a", 300), load("b", 100)];
    assert_eq!(skew_percent(&loads, Target::Bytes), 100);
    assert_eq!(skew_percent(&loads, Target::Mailboxes), 0);
    loads[0].weight = 300;
    assert_eq!(skew_percent(&loads, Target::Bytes), 0);
    assert_eq!(
        skew_percent(&[load("a", 0), load("b", 0)], Target::Bytes),
        0
    );
    assert_eq!(skew_percent(&[load("a", 5)], Target::Bytes), 0);
    assert_eq!(skew_percent(&[], Target::Bytes), 0);
}

#[test]
fn even_enough_is_balanced() {
    let loads = [load("a", 109), load("b", 91)];
    assert_eq!(
        propose(&loads, PROPOSE, &BTreeMap::new()),
        RebalanceState::Balanced
    );
}

#[test]
fn units_of_those_above_the_mean_are_asked_for() {
    let loads = [load("a", 300), load("b", 100), load("c", 290)];
    let needed = vec!["a".to_owned(), "c".to_owned()];
    assert_eq!(
        propose(&loads, PROPOSE, &BTreeMap::new()),
        RebalanceState::UnitsNeeded(needed)
    );
}

#[test]
fn a_new_backend_is_filled_with_the_fewest_moves() {
    let loads = [load("a", 300), load("b", 300), load("c", 0)];
    let units = listed(&[
        ("a", &[("ann", 100), ("art", 50), ("axl", 150)]),
        ("b", &[("ben", 100), ("bob", 100), ("bud", 100)]),
    ]);
    let expected = RebalanceState::ProposalReady(Proposal {
        moves: vec![step("bud", "b", "c", 100), step("ann", "a", "c", 100)],
        hash: "014fbab5918a22e0".to_owned(),
        bytes: 200,
        skew_percent_after: 0,
    });
    assert_eq!(propose(&loads, PROPOSE, &units), expected);
    let one = RebalanceWish {
        moves_max: 1,
        ..PROPOSE
    };
    let RebalanceState::ProposalReady(first) = propose(&loads, one, &units) else {
        panic!("no proposal");
    };
    assert_eq!(
        (first.moves, first.skew_percent_after),
        (vec![step("bud", "b", "c", 100)], 100)
    );
}

#[test]
fn a_giant_is_not_sent_back_and_forth() {
    let loads = [load("a", 300), load("b", 0)];
    let units = listed(&[("a", &[("ann", 300)])]);
    assert_eq!(propose(&loads, PROPOSE, &units), RebalanceState::NoBenefit);
}

#[test]
fn nobody_gets_what_does_not_fit() {
    let mut loads = [load("a", 300), load("b", 0), load("c", 100)];
    loads[1].free_bytes = 10;
    let units = listed(&[("a", &[("ann", 90), ("art", 210)])]);
    let RebalanceState::ProposalReady(found) = propose(&loads, PROPOSE, &units) else {
        panic!("no proposal");
    };
    assert_eq!(found.moves, vec![step("ann", "a", "c", 90)]);
    loads[2].free_bytes = 10;
    assert_eq!(propose(&loads, PROPOSE, &units), RebalanceState::NoBenefit);
}

proptest! {
    #[test]
    fn a_proposal_evens_out_and_moves_each_unit_once(
        sizes in proptest::collection::vec(proptest::collection::vec(0_u64..1000, 0..20), 1..6),
        weights in proptest::collection::vec(1_u64..4, 6),
        free in proptest::collection::vec(0_u64..5000, 6),
        moves_max in 1_usize..30,
    ) {
        let name = |at: usize| format!("be-{at}");
        let mut units = BTreeMap::new();
        let mut loads = Vec::new();
        for (at, sizes) in sizes.iter().enumerate() {
            let of = sizes.iter().enumerate().map(|(n, &bytes)| unit(&format!("u{at}x{n}"), bytes));
            units.insert(name(at), of.collect());
            loads.push(Load {
                name: name(at),
                weight: weights[at],
                bytes: sizes.iter().sum(),
                mailboxes: 0,
                free_bytes: free[at],
            });
        }
        let wish = RebalanceWish { moves_max, ..PROPOSE };
        let before = skew_percent(&loads, Target::Bytes);
        let RebalanceState::ProposalReady(found) = propose(&loads, wish, &units) else {
            return Ok(());
        };
        prop_assert!(found.moves.len() <= moves_max);
        let mut after = loads.clone();
        let mut seen = std::collections::BTreeSet::new();
        for step in &found.moves {
            prop_assert!(seen.insert(step.root.clone()));
            let owned = units[&step.from].iter().any(|u| u.root.as_str() == step.root && u.bytes == step.bytes);
            prop_assert!(owned);
            after.iter_mut().find(|load| load.name == step.from).unwrap().bytes -= step.bytes;
            let to = after.iter_mut().find(|load| load.name == step.to).unwrap();
            to.bytes += step.bytes;
            prop_assert!(to.free_bytes >= step.bytes);
            to.free_bytes -= step.bytes;
        }
        prop_assert_eq!(found.bytes, found.moves.iter().map(|step| step.bytes).sum::<u64>());
        let skew = skew_percent(&after, Target::Bytes);
        prop_assert_eq!(skew, found.skew_percent_after);
        prop_assert!(skew <= before, "{} > {}", skew, before);
    }
}
