//! Mailboxes and their names: creation, deletion, renaming, publication.

use super::{Fixture, NOW, UNIT, bob, name, next};
use crate::mail::{
    OutboxOperation, acknowledge_outbox, delete_mailbox, mailbox, mailbox_by_name, mailboxes,
    outbox_after, outbox_length, placeholder_exists, publish_names, raise_uid_validities,
    rename_mailbox, set_acl, subscriptions,
};
use crate::rows::MemoryRows;

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
            OutboxOperation::Restated { since, names } => format!("={since} {names}"),
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

fn published(rows: &MemoryRows) -> Vec<String> {
    let rows = outbox_after(rows, 0, 100).unwrap().into_iter();
    rows.map(|(_, row)| match row.operation {
        OutboxOperation::Put { name, acl, .. } => format!("+{name} {}", acl.to_wire().trim_end()),
        OutboxOperation::Delete { name } => format!("-{name}"),
        OutboxOperation::Restated { since, names } => format!("={since} {names}"),
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
            "=7 3",
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
