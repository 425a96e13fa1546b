//! Invariants after random operations, and after transfers in the middle of them.

use std::collections::BTreeMap;

use murder_model::{Acl, DeliveryId, MailboxId, SystemFlags, Timestamp, UidSet, UnitState};
use proptest::prelude::*;

use super::transfers::{assert_equal, portable, round};
use super::{
    Fixture, NOW, UNIT, alice, all_rows, bob, check_unit, name, new_message, next, put_state,
    staged,
};
use crate::mail::{
    FlagChange, Intent, Viewer, append_once, complete_intent, copy, delete_mailbox, deliver,
    drop_unit, expunge, mailboxes, messages, move_messages, prune_delivered, prune_marks,
    prune_results, put_intent, rename_mailbox, set_acl, store_flags, subscribe, take_recent,
    unsubscribe,
};
use crate::rows::{MemoryRows, Table};

#[derive(Clone, Debug)]
enum Op {
    Append(usize),
    Flag(usize, u32, u8, bool),
    Expunge(usize),
    Copy(usize, usize),
    Move(usize, usize),
    Create(u8),
    Delete(usize),
    Rename(usize, u8),
    Subscribe(u8, bool),
    Deliver(usize, u8),
    AppendOnce(usize, u8),
    Intent(usize, u8, bool),
    Complete(u8),
    Acl(usize, bool),
    Recent(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0_usize..6).prop_map(Op::Append),
        3 => (0_usize..6, 1_u32..8, 0_u8..32, any::<bool>())
            .prop_map(|(m, uid, flags, other)| Op::Flag(m, uid, flags, other)),
        2 => (0_usize..6).prop_map(Op::Expunge),
        1 => (0_usize..6, 0_usize..6).prop_map(|(from, to)| Op::Copy(from, to)),
        1 => (0_usize..6, 0_usize..6).prop_map(|(from, to)| Op::Move(from, to)),
        1 => (0_u8..6).prop_map(Op::Create),
        1 => (1_usize..6).prop_map(Op::Delete),
        1 => (1_usize..6, 0_u8..6).prop_map(|(from, to)| Op::Rename(from, to)),
        1 => (0_u8..6, any::<bool>()).prop_map(|(n, on)| Op::Subscribe(n, on)),
        1 => (0_usize..6, 0_u8..3).prop_map(|(to, key)| Op::Deliver(to, key)),
        1 => (0_usize..6, 0_u8..3).prop_map(|(to, id)| Op::AppendOnce(to, id)),
        1 => (0_usize..6, 0_u8..3, any::<bool>())
            .prop_map(|(of, id, moving)| Op::Intent(of, id, moving)),
        1 => (0_u8..3).prop_map(Op::Complete),
        1 => (0_usize..6, any::<bool>()).prop_map(|(of, all)| Op::Acl(of, all)),
        1 => (0_usize..6).prop_map(Op::Recent),
    ];
    prop::collection::vec(op, 0..40)
}

fn run(fixture: &mut Fixture, op: &Op) {
    let list: Vec<_> = mailboxes(&fixture.rows, &UNIT).unwrap();
    let pick = |index: usize| list[index % list.len()].1.as_ref().map(|row| row.id);
    let folder = |n: u8| format!("user.alice.f{}.g{}", n % 2, n / 2);
    match op {
        Op::Append(to) => {
            if let Some(to) = pick(*to) {
                fixture.append(to, "text");
            }
        }
        Op::Flag(of, uid, flags, other) => {
            let user = bob();
            let viewer = if *other {
                Viewer::Other(&user)
            } else {
                Viewer::Owner
            };
            if let Some(id) = pick(*of) {
                let uids = UidSet::range(*uid, *uid + 2);
                let flags = SystemFlags::from_bits(*flags);
                let all = SystemFlags::from_bits(31);
                let change = FlagChange::Replace;
                store_flags(
                    &mut fixture.rows,
                    &id,
                    viewer,
                    &uids,
                    change,
                    flags,
                    &[],
                    all,
                    true,
                    None,
                )
                .unwrap();
            }
        }
        Op::Expunge(of) => {
            if let Some(id) = pick(*of) {
                expunge(&mut fixture.rows, &id, None, NOW).unwrap();
            }
        }
        Op::Copy(from, to) => {
            if let (Some(from), Some(to)) = (pick(*from), pick(*to)) {
                let viewer = (Viewer::Owner, Viewer::Owner);
                copy(
                    &mut fixture.rows,
                    &from,
                    &UidSet::range(1, 3),
                    &to,
                    viewer,
                    NOW,
                )
                .unwrap();
            }
        }
        Op::Move(from, to) => {
            if let (Some(from), Some(to)) = (pick(*from), pick(*to)) {
                move_messages(&mut fixture.rows, &from, &UidSet::range(1, 3), &to, NOW).unwrap();
            }
        }
        Op::Create(n) => {
            let _taken = fixture.create(&folder(*n));
        }
        Op::Delete(of) => {
            let index = of % list.len();
            if let (true, Some(row)) = (index > 0, &list[index].1) {
                delete_mailbox(&mut fixture.rows, &row.id, NOW).unwrap();
            }
        }
        Op::Rename(from, to) => {
            let from = list[from % list.len()].0.clone();
            let ids = &mut fixture.ids;
            let to = name(&folder(*to));
            let _taken =
                rename_mailbox(&mut fixture.rows, &UNIT, &from, &to, &mut || next(ids), NOW);
        }
        Op::Subscribe(n, on) => {
            let folder = name(&folder(*n));
            if *on {
                subscribe(&mut fixture.rows, &UNIT, &folder).unwrap();
            } else {
                unsubscribe(&mut fixture.rows, &UNIT, &folder, NOW).unwrap();
            }
        }
        Op::Deliver(..) | Op::AppendOnce(..) | Op::Intent(..) | Op::Complete(_) => {
            run_across(fixture, op, &pick);
        }
        Op::Acl(of, all) => {
            let user = if *all { alice() } else { bob() };
            if let Some(id) = pick(*of) {
                set_acl(&mut fixture.rows, &id, &Acl::owner_default(&user)).unwrap();
            }
        }
        Op::Recent(of) => {
            if let Some(id) = pick(*of) {
                take_recent(&mut fixture.rows, &id).unwrap();
            }
        }
    }
}

/// Work under ids.
fn run_across(fixture: &mut Fixture, op: &Op, pick: &dyn Fn(usize) -> Option<MailboxId>) {
    let rows = &mut fixture.rows;
    let id = |n: &u8| DeliveryId::from_bytes([*n; 16]);
    match op {
        Op::Deliver(to, key) => {
            if let Some(to) = pick(*to) {
                let to = [(to, Some([*key; 32]))];
                deliver(rows, &to, &new_message("delivered"), NOW).unwrap();
            }
        }
        Op::AppendOnce(to, n) => {
            if let Some(to) = pick(*to) {
                let new = [new_message("once")];
                append_once(rows, &to, &id(n), Viewer::Owner, &new, &[1], NOW).unwrap();
            }
        }
        Op::Intent(of, n, moving) => {
            if let Some(source) = pick(*of) {
                let intent = Intent {
                    user: alice(),
                    source,
                    uids: UidSet::range(1, 3),
                    destination: name("projects"),
                    moving: *moving,
                    since: NOW,
                };
                put_intent(rows, &id(n), &intent).unwrap();
            }
        }
        Op::Complete(n) => {
            complete_intent(rows, &UNIT, &id(n), &UidSet::range(1, 2), NOW).unwrap();
        }
        _ => {}
    }
}

/// UIDs of all messages by (mailbox, UID) and the change of their creation.
fn identities(rows: &MemoryRows) -> Vec<((MailboxId, u32), u64)> {
    let mut all = Vec::new();
    for (_, row) in mailboxes(rows, &UNIT).unwrap() {
        let Some(row) = row else { continue };
        for (uid, message) in messages(rows, &row.id, 1, u32::MAX).unwrap() {
            all.push(((row.id, uid), message.created));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn counters_digest_and_change_index_survive_random_operations(ops in ops()) {
        let mut fixture = Fixture::new();
        let mut known = BTreeMap::new();
        for op in &ops {
            run(&mut fixture, op);
            for (identity, created) in identities(&fixture.rows) {
                let first = known.entry(identity).or_insert(created);
                prop_assert_eq!(*first, created, "a UID was used twice");
            }
        }
        fixture.check();
    }

    #[test]
    fn forgetting_marks_keeps_digest_and_index(ops in ops(), limit in 1_usize..20) {
        let mut fixture = Fixture::new();
        let later = Timestamp::from_millis(NOW.as_millis() + 1);
        for op in &ops {
            run(&mut fixture, op);
        }
        while prune_marks(&mut fixture.rows, &UNIT, 0, later, limit).unwrap() {}
        while prune_delivered(&mut fixture.rows, &UNIT, later, limit).unwrap() {}
        while prune_results(&mut fixture.rows, &UNIT, later, limit).unwrap() {}
        fixture.check();
        prop_assert!(all_rows(&fixture.rows, Table::Changes).iter().all(|(_, mark)| mark == &[0]));
    }

    #[test]
    fn a_transferred_unit_is_equal_bit_for_bit(
        first in ops(),
        meanwhile in ops(),
        last in ops(),
    ) {
        let mut source = Fixture::new();
        let mut destination = staged();
        for op in &first {
            run(&mut source, op);
        }
        let mut waiting = meanwhile.iter();
        let (reached, _) = round(&mut source, &mut destination, 0, &mut |source| {
            for op in waiting.by_ref().take(3) {
                run(source, op);
            }
        });
        for op in waiting.chain(&last) {
            run(&mut source, op);
        }
        round(&mut source, &mut destination, reached, &mut |_| {});
        assert_equal(&source, &mut destination);
        put_state(&mut destination, UnitState::Owner);
        check_unit(&destination);
        // The new owner goes on as the old one would.
        let mut owner = Fixture { rows: destination, ..source };
        for op in &first {
            run(&mut owner, op);
        }
        owner.check();
        put_state(&mut owner.rows, UnitState::Gone);
        while drop_unit(&mut owner.rows, &UNIT, 5).unwrap() {}
        prop_assert_eq!(portable(&owner.rows), vec![]);
        prop_assert_eq!(owner.rows.blob_count(), 0);
    }
}
