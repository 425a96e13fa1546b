//! COPY and MOVE to other servers.

use murder_model::{DeliveryId, SystemFlags, Timestamp, UidSet};

use super::{Fixture, NOW, UNIT, alice, bob, name, new_message};
use crate::mail::{
    Intent, Viewer, append_once, appended_under, complete_intent, effective_seen, intents, mailbox,
    messages, prune_results, put_intent,
};

const ID: DeliveryId = DeliveryId::from_bytes([8; 16]);

fn intent(fixture: &Fixture, moving: bool) -> Intent {
    Intent {
        user: alice(),
        source: fixture.inbox,
        uids: UidSet::range(1, 2),
        destination: name("projects.alpha"),
        moving,
        since: NOW,
    }
}

#[test]
fn a_repeated_append_under_an_id_gets_the_uids_of_the_first_time() {
    let mut fixture = Fixture::new();
    fixture.append(fixture.inbox, "before");
    let inbox = fixture.inbox;
    let messages = [new_message("one"), new_message("two")];
    let viewer = Viewer::Owner;
    let rows = &mut fixture.rows;
    let (first, effects) = append_once(rows, &inbox, &ID, viewer, &messages, &[7, 9], NOW).unwrap();
    assert_eq!(
        (&*first.source, &*first.destination),
        (&[7, 9][..], &[2, 3][..])
    );
    assert_eq!(effects.mailboxes.len(), 2);
    let (again, effects) = append_once(rows, &inbox, &ID, viewer, &messages, &[7, 9], NOW).unwrap();
    assert_eq!(again, first);
    assert!(effects.mailboxes.is_empty());
    assert_eq!(mailbox(rows, &inbox).unwrap().unwrap().exists, 3);
    let later = Timestamp::from_millis(NOW.as_millis() + 1);
    assert!(!prune_results(rows, &UNIT, later, 10).unwrap());
    assert_eq!(appended_under(rows, &UNIT, &ID).unwrap(), None);
    fixture.check();
}

#[test]
fn seen_of_an_append_under_an_id_is_the_users() {
    let mut fixture = Fixture::new();
    let mut message = new_message("one");
    message.flags = SystemFlags::SEEN;
    let other = bob();
    let viewer = Viewer::Other(&other);
    let inbox = fixture.inbox;
    append_once(
        &mut fixture.rows,
        &inbox,
        &ID,
        viewer,
        &[message],
        &[1],
        NOW,
    )
    .unwrap();
    let (seen, _) = effective_seen(&fixture.rows, &inbox, &other).unwrap();
    assert_eq!(seen.to_string(), "1");
    fixture.check();
}

#[test]
fn a_move_removes_what_arrived_and_clears_its_intent_at_once() {
    let mut fixture = Fixture::new();
    for text in ["one", "two", "three"] {
        fixture.append(fixture.inbox, text);
    }
    let moving = intent(&fixture, true);
    put_intent(&mut fixture.rows, &ID, &moving).unwrap();
    assert_eq!(intents(&fixture.rows, &UNIT).unwrap(), [(ID, moving)]);
    let taken = UidSet::range(2, 2);
    let (gone, _) = complete_intent(&mut fixture.rows, &UNIT, &ID, &taken, NOW).unwrap();
    assert_eq!(gone.to_string(), "2");
    assert_eq!(intents(&fixture.rows, &UNIT).unwrap(), []);
    let all = UidSet::range(1, 9);
    let (gone, effects) = complete_intent(&mut fixture.rows, &UNIT, &ID, &all, NOW).unwrap();
    assert!(gone.is_empty() && effects.mailboxes.is_empty());
    let left = messages(&fixture.rows, &fixture.inbox, 1, 9).unwrap();
    assert_eq!(left.iter().map(|(uid, _)| *uid).collect::<Vec<_>>(), [1, 3]);
    fixture.check();
}

#[test]
fn a_copy_leaves_the_source_alone() {
    let mut fixture = Fixture::new();
    fixture.append(fixture.inbox, "one");
    let copying = intent(&fixture, false);
    put_intent(&mut fixture.rows, &ID, &copying).unwrap();
    let taken = UidSet::range(1, 1);
    let (gone, _) = complete_intent(&mut fixture.rows, &UNIT, &ID, &taken, NOW).unwrap();
    assert!(gone.is_empty());
    assert_eq!(intents(&fixture.rows, &UNIT).unwrap(), []);
    fixture.check();
}
