//! Whatever is done to the master, every way to follow it shows the same.

use murder_locations::request::*;
use murder_model::*;
use proptest::prelude::*;

use super::{all, follow, replica, seen};
use crate::support::*;

/// One random change of the names of two units.
#[derive(Clone, Debug)]
enum Edit {
    Put(usize, u8, &'static str),
    Delete(usize, u8),
    Flip(usize),
    Drop(usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let acl = prop_oneof![Just("bob\tlr\t"), Just("anyone\tl\t-bob\tl\t"), Just("")];
    let edit = prop_oneof![
        6 => (0..2_usize, 0..6_u8, acl).prop_map(|(unit, leaf, acl)| Edit::Put(unit, leaf, acl)),
        3 => (0..2_usize, 0..6_u8).prop_map(|(unit, leaf)| Edit::Delete(unit, leaf)),
        1 => (0..2_usize).prop_map(Edit::Flip),
        1 => (0..2_usize).prop_map(Edit::Drop),
    ];
    proptest::collection::vec(edit, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_followed_stream_and_a_fresh_snapshot_show_the_same(edits in edits()) {
        let roots = ["user.alice", "shared"];
        let mut master = master_of(&["be-a", "be-b"]);
        for root in roots {
            grant(&mut master, "be-a", root);
        }
        let mut followed = replica();
        for (number, edit) in (1..).zip(edits) {
            let (unit, op) = match edit {
                Edit::Put(unit, leaf, acl) => (unit, put(&format!("{}.f{leaf}", roots[unit]), acl)),
                Edit::Delete(unit, leaf) => {
                    let name = Name::from(format!("{}.f{leaf}", roots[unit]).as_str());
                    (unit, RowOp::Delete { name })
                }
                Edit::Flip(unit) => {
                    flip(&mut master, "be-a", "be-b", roots[unit], 1, 1);
                    continue;
                }
                Edit::Drop(unit) => {
                    let drop = Request::DropUnit {
                        unit: unit_id(roots[unit]),
                        epoch: Epoch::new(1),
                        number: OutboxNumber::new(number),
                        uidvalidity_max: 1,
                    };
                    ask(&mut master, &backend("be-a"), drop);
                    continue;
                }
            };
            let (who, request) = row("be-a", roots[unit], 1, number, op);
            ask(&mut master, &who, request);
            if number % 5 == 0 {
                follow(&mut followed, &master);
            }
        }
        follow(&mut followed, &master);
        let mut fresh = replica();
        follow(&mut fresh, &master);
        let names = all(&fresh.reader());
        prop_assert_eq!(&all(&followed.reader()), &names);
        let listed: Vec<_> = master.reader().list(b"", None, 1000).unwrap().0;
        let listed: Vec<_> = listed.into_iter().map(|line| line.name).collect();
        prop_assert_eq!(listed, names.into_iter().map(|row| row.name).collect::<Vec<_>>());
        for user in ["bob", "dora"] {
            prop_assert_eq!(
                seen(&followed.reader(), user, &[]),
                seen(&fresh.reader(), user, &[])
            );
        }
        for root in roots {
            let root = Name::from(root);
            prop_assert_eq!(
                followed.reader().route(&root).unwrap(),
                fresh.reader().route(&root).unwrap()
            );
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let versioned = [&[WIRE_VERSION], bytes.as_slice()].concat();
        if let Ok(request) = decode::<Request>(&versioned) {
            prop_assert_eq!(decode::<Request>(&encode(&request)), Ok(request));
        }
        let _ = decode::<StreamItem>(&versioned);
        let _ = decode::<Response>(&bytes);
    }
}
