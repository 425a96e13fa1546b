//! COPY and MOVE to mailboxes on another backend, through a frontend.

use murder_e2e::murder::Plan;

use crate::NODE;
use crate::client::{Client, message};
use crate::moving::owner_and_other;

/// The numbers of COPYUID: UIDVALIDITY, source and destination UIDs.
fn copied(line: &str) -> (String, String) {
    let code = line.split_once("[COPYUID ").unwrap().1;
    let mut fields = code.split_once(']').unwrap().0.split(' ').skip(1);
    let (source, destination) = (fields.next().unwrap(), fields.next().unwrap());
    assert_eq!(fields.next(), None, "{line}");
    (source.to_owned(), destination.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_and_move_reach_a_shared_folder_on_the_other_backend() {
    let murder = Plan::discrete(NODE, 2, 1)
        .users(["alice"])
        .start()
        .await
        .unwrap();
    let mut alice = Client::login(&murder, "fe-0", "alice");
    let mut admin = Client::login(&murder, "fe-0", "admin");
    admin.ok("CREATE \"Shared Folders/team\"");
    admin.ok("SETACL \"Shared Folders/team\" anyone lrsitek");
    let (home, other) = owner_and_other(&murder, "user.alice");
    if owner_and_other(&murder, "team").0 == home {
        admin.ok(&format!("XFER \"Shared Folders/team\" {other}"));
    }
    for number in 0..5 {
        alice.append(
            "INBOX",
            "\\Flagged \\Seen $Work",
            &message(&number.to_string()),
        );
    }
    alice.ok("SELECT INBOX");
    let before = alice.ok("FETCH 1:* (INTERNALDATE RFC822.SIZE)");
    let answer = alice.ok("COPY 1:3 \"Shared Folders/team\"");
    assert_eq!(
        copied(answer.last().unwrap()),
        ("1:3".to_owned(), "1:3".to_owned())
    );
    let answer = alice.ok("UID MOVE 4:5 \"Shared Folders/team\"");
    assert_eq!(copied(&answer[0]), ("4:5".to_owned(), "4:5".to_owned()));
    assert_eq!(answer[1..3], ["* 4 EXPUNGE", "* 4 EXPUNGE"]);
    let missing = alice.answer("COPY 1 \"Shared Folders/nowhere\"");
    assert_eq!(missing, "t NO [TRYCREATE] mailbox does not exist");
    alice.ok("SELECT \"Shared Folders/team\"");
    let flags = alice.ok("FETCH 1:* (FLAGS)");
    for (number, line) in flags[..5].iter().enumerate() {
        let number = number + 1;
        let expected = format!("* {number} FETCH (FLAGS (\\Flagged \\Seen $Work \\Recent))");
        assert_eq!(*line, expected);
    }
    let after = alice.ok("FETCH 1:* (INTERNALDATE RFC822.SIZE)");
    assert_eq!(after, before);
    // And back again.
    let answer = alice.ok("MOVE 1:5 INBOX");
    assert_eq!(copied(&answer[0]), ("1:5".to_owned(), "6:10".to_owned()));
    let status = alice.ok("STATUS INBOX (MESSAGES)");
    assert_eq!(status[0], "* STATUS \"INBOX\" (MESSAGES 8)");
}
