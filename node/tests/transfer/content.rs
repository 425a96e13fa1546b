//! A unit that has something of everything.

use murder_model::{
    Acl, Identifier, MailboxName, Rights, RootName, SystemFlags, Timestamp, UidSet, UserName,
};
use murder_node::clock;
use murder_store::mail::{
    FlagChange, Viewer, copy, create_mailbox, delete_mailbox, delivery_key, expunge,
    rename_mailbox, set_acl, store_flags, subscribe, unsubscribe,
};

use crate::harness::{Node, alice, message};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn name(text: &str) -> MailboxName {
    MailboxName::parse_internal(text).unwrap()
}

/// Makes alice's mailboxes: messages of all sizes, flags, keywords, marks, copies, folders that were
/// made, renamed and deleted, rights and seen state of bob, subscriptions, a delivery that is
/// remembered.
pub(crate) async fn fill(node: &Node) -> RootName {
    let root = alice();
    node.create(&root).await;
    make_folders(node, &root).await;
    for (number, size) in [0, 10, 2_000, 70_000, 300_000, 3_000_000]
        .into_iter()
        .enumerate()
    {
        let text = message(&number.to_string(), size);
        let flags = [SystemFlags::SEEN, SystemFlags::NONE][number % 2];
        let added = node.append("user.alice", &text, flags, &["$Work", "odd"]);
        added.await.unwrap();
    }
    node.append(
        "user.alice.Old",
        "\0 not a header\nat all",
        SystemFlags::DRAFT,
        &[],
    )
    .await
    .unwrap();
    node.append("user.alice.Old", "", SystemFlags::DELETED, &[])
        .await
        .unwrap();
    change_messages(node, &root).await;
    root
}

async fn make_folders(node: &Node, root: &RootName) {
    let place = node.backend().unit(root).unwrap();
    let unit = place.unit;
    let acl = Acl::owner_default(&UserName::parse("alice").unwrap());
    let made = node.backend().write(&place, move |tx| {
        let mut new_id = clock::random_id;
        let (_, mut effects) =
            create_mailbox(tx, &unit, &name("user.alice.Old"), &acl, None, &mut new_id)?;
        let (gone, more) =
            create_mailbox(tx, &unit, &name("user.alice.Gone"), &acl, None, &mut new_id)?;
        effects.extend(more);
        let (_, more) = create_mailbox(tx, &unit, &name("user.alice.A"), &acl, None, &mut new_id)?;
        effects.extend(more);
        let (from, to) = (name("user.alice.A"), name("user.alice.B"));
        effects.extend(rename_mailbox(tx, &unit, &from, &to, &mut new_id, NOW)?);
        effects.extend(delete_mailbox(tx, &gone, NOW)?);
        subscribe(tx, &unit, &to)?;
        subscribe(tx, &unit, &from)?;
        unsubscribe(tx, &unit, &from, NOW)?;
        Ok(((), effects))
    });
    made.await.unwrap();
}

async fn change_messages(node: &Node, root: &RootName) {
    let place = node.backend().unit(root).unwrap();
    let inbox = node.row("user.alice").await.id;
    let old = node.row("user.alice.Old").await.id;
    let bob = UserName::parse("bob").unwrap();
    let mut acl = Acl::owner_default(&UserName::parse("alice").unwrap());
    let rights = Rights::LOOKUP.with(Rights::READ).with(Rights::SEEN);
    acl.set(Identifier::User(bob.clone()), false, rights)
        .unwrap();
    let changed = node.backend().write(&place, move |tx| {
        let mut effects = set_acl(tx, &inbox, &acl)?;
        let seen = SystemFlags::SEEN;
        let uids = UidSet::range(1, 3);
        let viewer = Viewer::Other(&bob);
        let add = FlagChange::Add;
        store_flags(tx, &inbox, viewer, &uids, add, seen, &[], seen, false, None)?;
        let flagged = SystemFlags::FLAGGED;
        store_flags(
            tx,
            &inbox,
            Viewer::Owner,
            &uids,
            add,
            flagged,
            &[],
            flagged,
            false,
            None,
        )?;
        let viewers = (Viewer::Owner, Viewer::Owner);
        copy(tx, &inbox, &UidSet::range(2, 5), &old, viewers, NOW)?;
        let deleted = SystemFlags::DELETED;
        let one = UidSet::range(2, 2);
        store_flags(
            tx,
            &inbox,
            Viewer::Owner,
            &one,
            add,
            deleted,
            &[],
            deleted,
            false,
            None,
        )?;
        effects.extend(expunge(tx, &inbox, None, NOW)?.1);
        Ok(((), effects))
    });
    changed.await.unwrap();
    let key = delivery_key("alice", b"<once@example.org>", &[7; 32]);
    node.deliver("user.alice", &message("once", 500), key).await;
}
