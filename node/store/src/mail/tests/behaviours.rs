//! One operation at a time.

use murder_model::{Keyword, SystemFlags, Timestamp, UidSet, UnitState};

use super::{Fixture, NOW, UNIT, alice, all_rows, bob, name, new_message, next};
use crate::mail::{
    Effect, FlagChange, MailError, NewMessage, OutboxOperation, Viewer, acknowledge_outbox, append,
    append_as, copy, delete_mailbox, deliver, effective_seen, expunge, mailbox, mailbox_by_name,
    mailboxes, message, move_messages, outbox_after, outbox_length, placeholder_exists,
    prune_marks, publish_names, put_ownership, raise_uid_validities, rename_mailbox, set_acl,
    store_flags, subscriptions, take_recent, unit, vanished_since,
};
use crate::rows::{MemoryRows, Table};

#[test]
fn a_new_root_has_inbox_and_folders_with_distinct_uid_validities() {
    let fixture = Fixture::new();
    let list = mailboxes(&fixture.rows, &UNIT).unwrap();
    let shown: Vec<_> = list
        .iter()
        .map(|(name, mailbox)| (name.as_str(), mailbox.as_ref().unwrap().uid_validity.get()))
        .collect();
    assert_eq!(shown, [("user.alice", 101), ("user.alice.Sent", 102)]);
    assert_eq!(subscriptions(&fixture.rows, &UNIT).unwrap().len(), 2);
    fixture.check();
}

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
fn deleting_a_parent_keeps_its_name_until_the_last_child_goes() {
    let mut fixture = Fixture::new();
    let child = fixture.create("user.alice.a.b.c").unwrap();
    let parent = mailbox_by_name(&fixture.rows, &UNIT, &name("user.alice.a.b"))
        .unwrap()
        .unwrap();
    delete_mailbox(&mut fixture.rows, &parent.id, NOW).unwrap();
    let shown = |rows: &MemoryRows| -> Vec<(String, bool)> {
        let list = mailboxes(rows, &UNIT).unwrap();
        list.iter()
            .map(|(name, mailbox)| (name.to_string(), mailbox.is_some()))
            .collect()
    };
    assert!(shown(&fixture.rows).contains(&("user.alice.a.b".into(), false)));
    delete_mailbox(&mut fixture.rows, &child, NOW).unwrap();
    assert!(
        !shown(&fixture.rows)
            .iter()
            .any(|(name, _)| name == "user.alice.a.b")
    );
    fixture.check();
    let again = fixture.create("user.alice.a.b").unwrap();
    let again = mailbox(&fixture.rows, &again).unwrap().unwrap();
    assert!(again.uid_validity > parent.uid_validity);
}

#[test]
fn renaming_takes_children_along_and_tells_the_master() {
    let mut fixture = Fixture::new();
    fixture.create("user.alice.a.b").unwrap();
    let ids = &mut fixture.ids;
    rename_mailbox(
        &mut fixture.rows,
        &UNIT,
        &name("user.alice.a"),
        &name("user.alice.z"),
        &mut || next(ids),
        NOW,
    )
    .unwrap();
    assert!(
        mailbox_by_name(&fixture.rows, &UNIT, &name("user.alice.z.b"))
            .unwrap()
            .is_some()
    );
    assert!(
        mailbox_by_name(&fixture.rows, &UNIT, &name("user.alice.a"))
            .unwrap()
            .is_none()
    );
    let operations: Vec<_> = outbox_after(&fixture.rows, 4, 100)
        .unwrap()
        .into_iter()
        .map(|(_, row)| match row.operation {
            OutboxOperation::Put { name, .. } => format!("+{name}"),
            OutboxOperation::Delete { name } => format!("-{name}"),
        })
        .collect();
    assert_eq!(
        operations,
        [
            "-user.alice.a",
            "+user.alice.z",
            "-user.alice.a.b",
            "+user.alice.z.b"
        ]
    );
    fixture.check();
}

#[test]
fn renaming_inbox_moves_its_messages_and_leaves_it() {
    let mut fixture = Fixture::new();
    fixture.append(fixture.inbox, "one");
    let ids = &mut fixture.ids;
    rename_mailbox(
        &mut fixture.rows,
        &UNIT,
        &name("user.alice"),
        &name("user.alice.old"),
        &mut || next(ids),
        NOW,
    )
    .unwrap();
    let old = mailbox_by_name(&fixture.rows, &UNIT, &name("user.alice.old"))
        .unwrap()
        .unwrap();
    let inbox = mailbox(&fixture.rows, &fixture.inbox).unwrap().unwrap();
    assert_eq!((old.exists, inbox.exists, inbox.uid_next), (1, 0, 2));
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
fn renaming_the_last_child_away_frees_the_placeholder_above() {
    let mut fixture = Fixture::new();
    fixture.create("user.alice.a.b").unwrap();
    let parent = mailbox_by_name(&fixture.rows, &UNIT, &name("user.alice.a"));
    let parent = parent.unwrap().unwrap().id;
    delete_mailbox(&mut fixture.rows, &parent, NOW).unwrap();
    assert!(placeholder_exists(&fixture.rows, &UNIT, &name("user.alice.a")).unwrap());
    let (from, to) = (name("user.alice.a.b"), name("user.alice.c"));
    let ids = &mut fixture.ids;
    rename_mailbox(&mut fixture.rows, &UNIT, &from, &to, &mut || next(ids), NOW).unwrap();
    assert!(!placeholder_exists(&fixture.rows, &UNIT, &name("user.alice.a")).unwrap());
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
    assert!(!prune_marks(&mut fixture.rows, &UNIT, NOW, 10).unwrap());
    let kept = vanished_since(&fixture.rows, &UNIT, &inbox, before).unwrap();
    assert!(kept.complete, "a mark of that very time is kept");
    prune_marks(&mut fixture.rows, &UNIT, later, 10).unwrap();
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

fn published(rows: &MemoryRows) -> Vec<String> {
    let rows = outbox_after(rows, 0, 100).unwrap().into_iter();
    rows.map(|(_, row)| match row.operation {
        OutboxOperation::Put { name, acl, .. } => format!("+{name} {}", acl.to_wire().trim_end()),
        OutboxOperation::Delete { name } => format!("-{name}"),
    })
    .collect()
}

#[test]
fn names_are_published_again_with_their_rights_and_removals() {
    let mut fixture = Fixture::new();
    let work = fixture.create("user.alice.Work").unwrap();
    let gone = fixture.create("user.alice.Gone").unwrap();
    delete_mailbox(&mut fixture.rows, &gone, NOW).unwrap();
    let acl = murder_model::Acl::owner_default(&bob());
    set_acl(&mut fixture.rows, &work, &acl).unwrap();
    let last = outbox_after(&fixture.rows, 0, 100)
        .unwrap()
        .pop()
        .unwrap()
        .0;
    acknowledge_outbox(&mut fixture.rows, last).unwrap();
    assert_eq!(outbox_length(&fixture.rows, 9).unwrap(), 0);
    let effects = publish_names(&mut fixture.rows, &UNIT).unwrap();
    assert!(effects.outbox);
    assert_eq!(
        published(&fixture.rows),
        [
            "-user.alice.Gone",
            "+user.alice alice\tlrswipkxtea",
            "+user.alice.Sent alice\tlrswipkxtea",
            "+user.alice.Work bob\tlrswipkxtea",
        ]
    );
    fixture.check();
}

#[test]
fn raised_uid_validities_are_above_all_that_were_used() {
    let mut fixture = Fixture::new();
    raise_uid_validities(&mut fixture.rows, &UNIT, 500).unwrap();
    let list = mailboxes(&fixture.rows, &UNIT).unwrap();
    let validities: Vec<_> = list
        .iter()
        .map(|(_, row)| row.as_ref().unwrap().uid_validity.get())
        .collect();
    assert_eq!(validities, [501, 502]);
    fixture.check();
}
