//! Values as they cross a wire or lie in a store, with their bytes in full.

use murder_model::{
    Acl, Attempt, Day, Epoch, Identifier, InternalDate, Location, MailboxId, MoveId,
    OwnershipRecord, Rights, RootName, SequenceSet, Term, UidSet, UnitId, UnitState, UserName,
};
use proptest::prelude::*;

#[test]
fn an_id_in_a_store_is_its_sixteen_bytes() {
    let id = MailboxId::from_bytes([0xab; 16]);
    assert_eq!(postcard::to_allocvec(&id).unwrap(), [0xab; 16]);
}

#[test]
fn a_released_unit_is_kept_with_its_destination_and_move() {
    let record = OwnershipRecord {
        unit: UnitId::from_bytes([7; 16]),
        root: RootName::parse("user.alice").unwrap(),
        state: UnitState::Released {
            to: "be-b".parse().unwrap(),
            move_id: MoveId::from_bytes([9; 16]),
            attempt: Attempt::new(2),
        },
        term: Term::new(3),
        epoch: Epoch::new(300),
    };
    let mut expected = vec![7; 16];
    expected.extend_from_slice(b"\x0auser.alice");
    expected.extend_from_slice(b"\x02\x04be-b");
    expected.extend_from_slice(&[9; 16]);
    expected.extend_from_slice(b"\x02\x03\xac\x02");
    let bytes = postcard::to_allocvec(&record).unwrap();
    assert_eq!(bytes, expected);
    assert_eq!(postcard::from_bytes::<OwnershipRecord>(&bytes), Ok(record));
}

#[test]
fn a_list_of_every_kind_of_identifier_is_one_line_of_tabs() {
    let text = "anyone\tl\tanonymous\tr\tgroup:staff\tlrs\t-bob\tw\tj.doe\tlrswipkxtea\t";
    let acl = Acl::parse_wire(text).unwrap();
    assert_eq!(acl.to_wire(), text);
    assert_eq!(
        acl.entry(&Identifier::parse("bob").unwrap(), true),
        Rights::WRITE
    );
    let doe = UserName::parse("j.doe").unwrap();
    assert_eq!(acl.rights_for(&doe, &[]), Rights::ALL);
}

#[test]
fn uid_559_to_star_always_names_the_last_message() {
    let set = SequenceSet::parse(b"559:*").unwrap();
    assert_eq!(set.resolve(7).to_string(), "7:559");
}

#[test]
fn sets_reach_the_greatest_uid() {
    let mut set: UidSet = "4294967295".parse().unwrap();
    set.insert_range(4_294_967_293, 4_294_967_294);
    assert_eq!(set.to_string(), "4294967293:4294967295");
    set.insert_range(1, u32::MAX);
    assert_eq!(set.len(), 4_294_967_295);
}

#[test]
fn the_day_of_a_date_is_that_of_its_own_zone() {
    let date = |text: &str| InternalDate::parse(text.as_bytes()).unwrap();
    let late = date("31-Dec-1999 23:30:00 -0100");
    let early = date(" 1-Jan-2000 01:30:00 +0100");
    assert_eq!(
        (late.seconds(), early.seconds()),
        (946_686_600, 946_686_600)
    );
    assert_eq!(late.day(), Day::new(1999, 12, 31).unwrap());
    assert_eq!(early.day(), Day::new(2000, 1, 1).unwrap());
    assert_eq!(
        date("29-Feb-2000 00:00:00 +0000").day(),
        Day::new(2000, 2, 29).unwrap()
    );
    assert_eq!(Day::new(1900, 2, 29), None);
}

proptest! {
    #[test]
    fn dates_are_read_as_written(
        seconds in -62_000_000_000_i64..253_000_000_000,
        offset_minutes in -1439_i16..=1439,
    ) {
        let date = InternalDate::new(seconds, offset_minutes);
        let text = date.to_string();
        prop_assert_eq!(text.len(), 26);
        prop_assert_eq!(InternalDate::parse(text.as_bytes()), Ok(date));
    }

    #[test]
    fn locations_are_read_as_written(server in "[a-z][a-z0-9-]{0,8}", partition in "[a-z0-9]{1,8}") {
        let text = format!("{server}!{partition}");
        prop_assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
    }

    #[test]
    fn a_set_in_a_store_is_the_same_set(numbers in prop::collection::vec(1_u32..200, 0..60)) {
        let set: UidSet = numbers.into_iter().collect();
        let bytes = postcard::to_allocvec(&set).unwrap();
        prop_assert_eq!(postcard::from_bytes::<UidSet>(&bytes), Ok(set));
    }
}

#[test]
fn a_set_of_ours_is_read_back_however_many_ranges_it_has() {
    let set: UidSet = (0..10_001).map(|number| number * 2 + 1).collect();
    assert_eq!(set.to_string().parse::<UidSet>(), Ok(set));
}

#[test]
fn a_damaged_set_is_refused() {
    for ranges in [
        vec![(9_u32, 3_u32)],
        vec![(0, 1)],
        vec![(1, 2), (3, 4)],
        vec![(5, 6), (1, 2)],
    ] {
        let bytes = postcard::to_allocvec(&ranges).unwrap();
        assert!(
            postcard::from_bytes::<UidSet>(&bytes).is_err(),
            "{ranges:?}"
        );
    }
}

#[test]
fn a_damaged_date_does_not_stop_the_reader() {
    let bytes = postcard::to_allocvec(&(i64::MAX, 60_i16)).unwrap();
    let date: InternalDate = postcard::from_bytes(&bytes).unwrap();
    assert!(date.to_string().ends_with(" +0100"));
}
