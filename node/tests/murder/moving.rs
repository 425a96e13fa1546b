//! Users and shared roots move between backends, live, by XFER and by RENAME.

use murder_e2e::murder::{Murder, Plan};

use crate::NODE;
use crate::client::{Client, message};
use crate::mupdate;

/// The backend that owns a root, as the master says, and one that does not.
pub(crate) fn owner_and_other(murder: &Murder, root: &str) -> (&'static str, &'static str) {
    let mut client = mupdate::administrator(murder);
    let found = mupdate::rows(&mut client, &format!("FIND \"{root}\""));
    if found[2].starts_with("be-a!") {
        ("be-a", "be-b")
    } else {
        ("be-b", "be-a")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn xfer_moves_a_user_bit_for_bit_and_back_again() {
    let murder = Plan::discrete(NODE, 2, 1)
        .users(["alice", "bob"])
        .start()
        .await
        .unwrap();
    let mut alice = Client::login(&murder, "fe-0", "alice");
    alice.ok("CREATE Work");
    alice.ok("SETACL Work bob lrs");
    alice.ok("SUBSCRIBE Nowhere");
    for number in 0..20 {
        alice.append(
            "Work",
            "\\Flagged $Important",
            &message(&number.to_string()),
        );
    }
    alice.ok("SELECT Work");
    alice.ok("STORE 3:5 +FLAGS (\\Deleted)");
    alice.ok("EXPUNGE");
    let mut bob = Client::login(&murder, "fe-0", "bob");
    bob.ok("SELECT \"Other Users/alice/Work\"");
    bob.ok("STORE 1:7 +FLAGS (\\Seen)");
    bob.ok("UNSELECT");
    let look = |client: &mut Client, name: &str| {
        let mut seen = client.ok(&format!(
            "STATUS {name} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)"
        ));
        client.ok(&format!("EXAMINE {name}"));
        seen.extend(client.ok("FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE MODSEQ BODY.PEEK[HEADER.FIELDS (SUBJECT)])"));
        client.ok("UNSELECT");
        seen
    };
    // Nobody is told of recent messages any more.
    let before = (
        look(&mut alice, "Work"),
        look(&mut bob, "\"Other Users/alice/Work\""),
    );
    let (from, to) = owner_and_other(&murder, "user.alice");
    let mut admin = Client::login(&murder, "fe-0", "admin");
    assert_eq!(
        alice.answer(&format!("XFER INBOX {to}")),
        "t NO [NOPERM] permission denied"
    );
    for (from, to) in [(from, to), (to, from)] {
        assert_eq!(
            admin.answer(&format!("XFER \"Other Users/alice\" {to}")),
            "t OK moved"
        );
        assert_eq!(owner_and_other(&murder, "user.alice"), (to, from));
        let after = (
            look(&mut alice, "Work"),
            look(&mut bob, "\"Other Users/alice/Work\""),
        );
        assert_eq!(after, before);
        assert_eq!(
            alice.ok("LSUB \"\" Nowhere")[0],
            "* LSUB () \"/\" \"Nowhere\""
        );
    }
    let rename = format!("RENAME \"Other Users/alice\" \"Other Users/alice\" {to}!default");
    assert_eq!(admin.answer(&rename), "t OK moved");
    assert_eq!(look(&mut alice, "Work"), before.0);
    let nowhere = admin.answer("XFER \"Other Users/alice\" be-z");
    assert_eq!(
        nowhere,
        "t NO [UNAVAILABLE] not moved: no server is named be-z"
    );
    let part = admin.answer(&format!("XFER \"Other Users/alice/Work\" {from}"));
    assert_eq!(part, "t NO [CANNOT] users and shared roots move as a whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_mailbox_selected_is_told_goodbye_and_finds_it_again() {
    let murder = Plan::discrete(NODE, 2, 1)
        .users(["alice"])
        .start()
        .await
        .unwrap();
    let mut alice = Client::login(&murder, "fe-0", "alice");
    alice.append("INBOX", "", &message("one"));
    alice.ok("SELECT INBOX");
    alice.send(b"t IDLE\r\n");
    assert_eq!(alice.line(), "+ idling");
    let (_, to) = owner_and_other(&murder, "user.alice");
    let mut admin = Client::login(&murder, "fe-0", "admin");
    assert_eq!(
        admin.answer(&format!("XFER \"Other Users/alice\" {to}")),
        "t OK moved"
    );
    let bye = alice.line();
    assert!(bye.starts_with("* BYE [UNAVAILABLE] "), "{bye}");
    let mut alice = Client::login(&murder, "fe-0", "alice");
    let selected = alice.ok("SELECT INBOX");
    assert!(selected.contains(&"* 1 EXISTS".to_owned()), "{selected:?}");
}
