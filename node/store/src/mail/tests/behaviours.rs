//! One operation at a time.

use murder_model::{Keyword, SystemFlags, Timestamp, UidSet, UnitId, UnitState};

use super::{Fixture, NOW, UNIT, alice, all_rows, bob, new_message};
use crate::mail::{
    Effect, FlagChange, MailError, NewMessage, Viewer, append, append_as, copy, delete_mailbox,
    deliver, effective_seen, expunge, first_mark, mailbox, message, move_messages, prune_marks,
    put_ownership, store_flags, take_recent, unit, units_after, vanished_since,
};
use crate::rows::Table;

#[test]
fn an_appended_message_is_counted_and_published_to_views() {
    let mut fixture = Fixture::new();
    let (appended, effects) =
        append(&mut fixture.rows, &fixture.inbox, &new_message("one"), NOW).unwrap();
    assert_eq!((appended.uid.get(), appended.uid_validity.get()), (1, 101));
    let [(id, Effect::Appended(entries))] = effects.mailboxes.as_slice() else {
        panic!("{effects:?}");
    };
    assert_eq!(
        (*id, entries[0].uid, entries[0].size),
        (fixture.inbox, 1, 3)
    );
    let row = mailbox(&fixture.rows, &fixture.inbox).unwrap().unwrap();
    assert_eq!((row.exists, row.unseen, row.uid_next), (1, 1, 2));
    fixture.check();
}

#[test]
fn expunge_removes_what_is_deleted_and_remembers_it() {
    let mut fixture = Fixture::new();
    for text in ["one", "two", "three"] {
        fixture.append(fixture.inbox, text);
    }
    let before = mailbox(&fixture.rows, &fixture.inbox)
        .unwrap()
        .unwrap()
        .highest_mod_seq;
    fixture.flag(Viewer::Owner, "1:2", FlagChange::Add, SystemFlags::DELETED);
    let only: UidSet = "2:3".parse().unwrap();
    let (gone, _) = expunge(&mut fixture.rows, &fixture.inbox, Some(&only), NOW).unwrap();
    assert_eq!(gone.to_string(), "2");
    let vanished = vanished_since(&fixture.rows, &UNIT, &fixture.inbox, before).unwrap();
    assert_eq!(vanished.uids.to_string(), "2");
    assert_eq!(fixture.append(fixture.inbox, "four"), 4);
    assert_eq!(fixture.rows.blob_count(), 3);
    fixture.check();
}

#[test]
fn seen_is_per_user_and_the_owners_own_flag_stays() {
    let mut fixture = Fixture::new();
    fixture.append(fixture.inbox, "one");
    let other = bob();
    fixture.flag(
        Viewer::Other(&other),
        "1",
        FlagChange::Add,
        SystemFlags::SEEN,
    );
    assert!(
        message(&fixture.rows, &fixture.inbox, 1)
            .unwrap()
            .unwrap()
            .flags
            .is_empty()
    );
    let (seen, _) = effective_seen(&fixture.rows, &fixture.inbox, &other).unwrap();
    assert_eq!(seen.to_string(), "1");
    fixture.flag(Viewer::Owner, "1", FlagChange::Add, SystemFlags::SEEN);
    fixture.flag(
        Viewer::Other(&other),
        "1",
        FlagChange::Remove,
        SystemFlags::SEEN,
    );
    let (seen, _) = effective_seen(&fixture.rows, &fixture.inbox, &other).unwrap();
    assert!(seen.is_empty());
    assert!(
        message(&fixture.rows, &fixture.inbox, 1)
            .unwrap()
            .unwrap()
            .flags
            .contains(SystemFlags::SEEN)
    );
    fixture.check();
}

#[test]
fn unchanged_since_leaves_younger_messages_alone() {
    let mut fixture = Fixture::new();
    fixture.append(fixture.inbox, "one");
    let since = message(&fixture.rows, &fixture.inbox, 1)
        .unwrap()
        .unwrap()
        .mod_seq;
    fixture.append(fixture.inbox, "two");
    let (stored, _) = store_flags(
        &mut fixture.rows,
        &fixture.inbox,
        Viewer::Owner,
        &"1:2".parse().unwrap(),
        FlagChange::Add,
        SystemFlags::FLAGGED,
        &[],
        SystemFlags::FLAGGED,
        true,
        Some(since),
    )
    .unwrap();
    assert_eq!(stored.modified.to_string(), "2");
    assert_eq!(stored.messages.len(), 1);
    assert!(stored.messages[0].mod_seq > since);
}

#[test]
fn a_repeated_delivery_is_recognised() {
    let mut fixture = Fixture::new();
    let key = Some([7; 32]);
    let to = [(fixture.inbox, key)];
    let (first, _) = deliver(&mut fixture.rows, &to, &new_message("one"), NOW).unwrap();
    let (again, effects) = deliver(&mut fixture.rows, &to, &new_message("one"), NOW).unwrap();
    assert!(first[0].is_some());
    assert_eq!(again, [None]);
    assert!(effects.mailboxes.is_empty());
    fixture.check();
}

#[test]
fn one_blob_serves_all_recipients_and_copies() {
    let mut fixture = Fixture::new();
    let work = fixture.create("user.alice.Work").unwrap();
    let to = [(fixture.inbox, None), (work, None)];
    deliver(&mut fixture.rows, &to, &new_message("one"), NOW).unwrap();
    let viewer = (Viewer::Owner, Viewer::Owner);
    let all = UidSet::range(1, 9);
    copy(&mut fixture.rows, &work, &all, &fixture.inbox, viewer, NOW).unwrap();
    assert_eq!(fixture.rows.blob_count(), 1);
    delete_mailbox(&mut fixture.rows, &work, NOW).unwrap();
    assert_eq!(fixture.rows.blob_count(), 1);
    fixture.flag(Viewer::Owner, "1:2", FlagChange::Add, SystemFlags::DELETED);
    expunge(&mut fixture.rows, &fixture.inbox, None, NOW).unwrap();
    assert_eq!(fixture.rows.blob_count(), 0);
    fixture.check();
}

#[test]
fn move_keeps_keywords_by_name_and_seen_state_of_others() {
    let mut fixture = Fixture::new();
    let work = fixture.create("user.alice.Work").unwrap();
    let keyword = [Keyword::parse("$Later").unwrap()];
    let with_keyword = NewMessage {
        keywords: &keyword,
        ..new_message("one")
    };
    let filler = [Keyword::parse("other").unwrap()];
    let filler = NewMessage {
        keywords: &filler,
        ..new_message("two")
    };
    append(&mut fixture.rows, &work, &filler, NOW).unwrap();
    append(&mut fixture.rows, &fixture.inbox, &with_keyword, NOW).unwrap();
    let other = bob();
    fixture.flag(
        Viewer::Other(&other),
        "1",
        FlagChange::Add,
        SystemFlags::SEEN,
    );
    let moved = move_messages(
        &mut fixture.rows,
        &fixture.inbox,
        &UidSet::range(1, 1),
        &work,
        NOW,
    );
    let (copied, _) = moved.unwrap();
    assert_eq!((copied.source, copied.destination), (vec![1], vec![2]));
    let row = mailbox(&fixture.rows, &work).unwrap().unwrap();
    let bits = message(&fixture.rows, &work, 2).unwrap().unwrap().keywords;
    assert_eq!(
        row.keywords[bits.trailing_zeros() as usize].as_str(),
        "$Later"
    );
    assert_eq!(
        effective_seen(&fixture.rows, &work, &other)
            .unwrap()
            .0
            .to_string(),
        "2"
    );
    fixture.check();
}

#[test]
fn recent_is_told_to_one_session_only() {
    let mut fixture = Fixture::new();
    fixture.append(fixture.inbox, "one");
    assert_eq!(take_recent(&mut fixture.rows, &fixture.inbox).unwrap().0, 1);
    assert_eq!(take_recent(&mut fixture.rows, &fixture.inbox).unwrap().0, 2);
    fixture.append(fixture.inbox, "two");
    assert_eq!(take_recent(&mut fixture.rows, &fixture.inbox).unwrap().0, 2);
    fixture.check();
}

#[test]
fn a_unit_that_is_not_owned_takes_no_writes() {
    let mut fixture = Fixture::new();
    let mut record = unit(&fixture.rows, &UNIT).unwrap().unwrap().ownership;
    record.state = UnitState::Gone;
    put_ownership(&mut fixture.rows, &record).unwrap();
    let result = append(&mut fixture.rows, &fixture.inbox, &new_message("one"), NOW);
    assert!(matches!(result, Err(MailError::NotOwner(Some(_)))));
}

#[test]
fn expunged_messages_take_everybodys_seen_state_along() {
    let mut fixture = Fixture::new();
    fixture.append(fixture.inbox, "one");
    fixture.append(fixture.inbox, "two");
    for viewer in [alice(), bob()] {
        let viewer = Viewer::Other(&viewer);
        fixture.flag(viewer, "1:2", FlagChange::Add, SystemFlags::SEEN);
    }
    fixture.flag(Viewer::Owner, "1", FlagChange::Add, SystemFlags::DELETED);
    expunge(&mut fixture.rows, &fixture.inbox, None, NOW).unwrap();
    let (seen, _) = effective_seen(&fixture.rows, &fixture.inbox, &bob()).unwrap();
    assert_eq!(seen.to_string(), "2");
    assert_eq!(all_rows(&fixture.rows, Table::Seen).len(), 2);
    fixture.check();
}

#[test]
fn a_copy_into_the_same_mailbox_does_not_copy_copies() {
    let mut fixture = Fixture::new();
    for text in ["one", "two", "three"] {
        fixture.append(fixture.inbox, text);
    }
    let set: UidSet = "1,3:100".parse().unwrap();
    let inbox = fixture.inbox;
    let viewers = (Viewer::Owner, Viewer::Owner);
    let (copied, _) = copy(&mut fixture.rows, &inbox, &set, &inbox, viewers, NOW).unwrap();
    assert_eq!(
        (copied.source, copied.destination),
        (vec![1, 3], vec![4, 5])
    );
    let (moved, _) = move_messages(&mut fixture.rows, &inbox, &set, &inbox, NOW).unwrap();
    assert_eq!(moved.source, [1, 3, 4, 5]);
    assert_eq!(moved.destination, [6, 7, 8, 9]);
    fixture.check();
}

#[test]
fn seen_given_with_an_append_is_the_appending_users() {
    let mut fixture = Fixture::new();
    let seen = NewMessage {
        flags: SystemFlags::SEEN.with(SystemFlags::FLAGGED),
        ..new_message("one")
    };
    let other = bob();
    let viewer = Viewer::Other(&other);
    append_as(&mut fixture.rows, &fixture.inbox, viewer, &seen, NOW).unwrap();
    let row = message(&fixture.rows, &fixture.inbox, 1).unwrap().unwrap();
    assert_eq!(row.flags, SystemFlags::FLAGGED);
    let (uids, _) = effective_seen(&fixture.rows, &fixture.inbox, &other).unwrap();
    assert_eq!(uids.to_string(), "1");
    fixture.check();
}

#[test]
fn a_mailbox_has_room_for_128_keywords() {
    let mut fixture = Fixture::new();
    let keywords: Vec<_> = (0..129)
        .map(|n| Keyword::parse(&format!("k{n}")).unwrap())
        .collect();
    let with = |keywords| NewMessage {
        keywords,
        ..new_message("one")
    };
    append(
        &mut fixture.rows,
        &fixture.inbox,
        &with(&keywords[..128]),
        NOW,
    )
    .unwrap();
    let refused = append(
        &mut fixture.rows,
        &fixture.inbox,
        &with(&keywords[128..]),
        NOW,
    );
    assert!(matches!(refused, Err(MailError::TooManyKeywords)));
    let row = message(&fixture.rows, &fixture.inbox, 1).unwrap().unwrap();
    assert_eq!(row.keywords, u128::MAX);
    fixture.check();
}

#[test]
fn forgotten_marks_are_admitted() {
    let mut fixture = Fixture::new();
    fixture.append(fixture.inbox, "one");
    let inbox = fixture.inbox;
    let before = mailbox(&fixture.rows, &inbox)
        .unwrap()
        .unwrap()
        .highest_mod_seq;
    fixture.flag(Viewer::Owner, "1", FlagChange::Add, SystemFlags::DELETED);
    expunge(&mut fixture.rows, &inbox, None, NOW).unwrap();
    let vanished = vanished_since(&fixture.rows, &UNIT, &inbox, before).unwrap();
    assert_eq!(
        (vanished.uids.to_string().as_str(), vanished.complete),
        ("1", true)
    );
    let later = Timestamp::from_millis(NOW.as_millis() + 1);
    assert!(!prune_marks(&mut fixture.rows, &UNIT, 0, NOW, 10).unwrap());
    let kept = vanished_since(&fixture.rows, &UNIT, &inbox, before).unwrap();
    assert!(kept.complete, "a mark of that very time is kept");
    let first = first_mark(&fixture.rows, &UNIT, 0).unwrap();
    let (change, time) = first.unwrap();
    assert_eq!((change > before.get(), time), (true, NOW));
    assert_eq!(first_mark(&fixture.rows, &UNIT, change).unwrap(), first);
    assert_eq!(first_mark(&fixture.rows, &UNIT, change + 1).unwrap(), None);
    prune_marks(&mut fixture.rows, &UNIT, change, later, 10).unwrap();
    assert_eq!(first_mark(&fixture.rows, &UNIT, 0).unwrap(), None);
    let vanished = vanished_since(&fixture.rows, &UNIT, &inbox, before).unwrap();
    assert_eq!((vanished.uids.is_empty(), vanished.complete), (true, false));
    let after = mailbox(&fixture.rows, &inbox)
        .unwrap()
        .unwrap()
        .highest_mod_seq;
    let nothing = vanished_since(&fixture.rows, &UNIT, &inbox, after).unwrap();
    assert!(nothing.complete);
    fixture.check();
}

#[test]
fn units_are_read_in_bounded_steps_in_the_order_of_their_ids() {
    let mut fixture = Fixture::new();
    let mut record = unit(&fixture.rows, &UNIT).unwrap().unwrap().ownership;
    for number in [3, 2] {
        record.unit = UnitId::from_bytes([number; 16]);
        put_ownership(&mut fixture.rows, &record).unwrap();
    }
    let step = |after: Option<u8>| -> Vec<u8> {
        let after = after.map(|number| UnitId::from_bytes([number; 16]));
        let found = units_after(&fixture.rows, after.as_ref(), 2).unwrap();
        let numbers = found.iter().map(|row| row.ownership.unit.as_bytes()[0]);
        numbers.collect()
    };
    assert_eq!(step(None), [1, 2]);
    assert_eq!(step(Some(2)), [3]);
    assert_eq!(step(Some(3)), []);
}
