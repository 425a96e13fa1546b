//! IMAP between sessions.

use crate::harness::{Node, message};

#[test]
fn two_sessions_see_each_others_changes() {
    let node = Node::start_new();
    for id in ["1", "2", "3"] {
        node.deliver(&["alice"], &message(id, "hello"));
    }
    let (mut one, mut two) = (node.login("alice"), node.login("alice"));
    one.command("SELECT INBOX");
    two.command("SELECT INBOX");
    one.command("STORE 2 +FLAGS (\\Deleted $Work)");
    let noop = two.command("NOOP");
    assert!(
        noop.contains(&"* 2 FETCH (UID 2 FLAGS (\\Deleted $Work))".to_owned()),
        "{noop:?}"
    );
    assert_eq!(one.command("EXPUNGE"), ["* 2 EXPUNGE", "t OK done"]);
    // A FETCH by message number may not shift numbers under the client.
    let fetched = two.command("FETCH 3 UID");
    assert_eq!(fetched, ["* 3 FETCH (UID 3)", "t OK done"]);
    assert_eq!(two.command("NOOP"), ["* 2 EXPUNGE", "t OK done"]);
    assert_eq!(
        two.command("FETCH 2 UID"),
        ["* 2 FETCH (UID 3)", "t OK done"]
    );
}

#[test]
fn an_idle_session_hears_of_a_delivery() {
    let node = Node::start_new();
    let mut client = node.login("alice");
    client.command("SELECT INBOX");
    client.send(b"t IDLE\r\n");
    assert_eq!(client.line(), "+ idling");
    node.deliver(&["alice"], &message("1", "hello"));
    assert_eq!(client.line(), "* 1 EXISTS");
    client.send(b"DONE\r\n");
    assert_eq!(client.line(), "t OK done");
}

#[test]
fn append_copy_and_move_tell_uids() {
    let node = Node::start_new();
    let mut client = node.login("alice");
    client.send(b"t APPEND Sent (\\Seen $Done) \" 7-Feb-1994 21:52:25 -0800\" {16}\r\n");
    assert_eq!(client.line(), "+ go on");
    client.send(b"Subject: x\r\n\r\ny\n\r\n");
    let appended = client.until_tag();
    assert!(appended[0].starts_with("t OK [APPENDUID "), "{appended:?}");
    assert!(appended[0].ends_with(" 1] done"), "{appended:?}");
    client.command("SELECT Sent");
    let copied = client.command("UID COPY 1 Archive");
    assert!(
        copied[0].contains("[COPYUID ") && copied[0].ends_with(" 1 1] done"),
        "{copied:?}"
    );
    let moved = client.command("MOVE 1 Trash");
    assert!(moved[0].starts_with("* OK [COPYUID "), "{moved:?}");
    assert_eq!(moved[1..], ["* 1 EXPUNGE", "t OK done"]);
    client.command("SELECT Trash");
    let fetched = client.command("FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE)");
    assert_eq!(
        fetched[0],
        "* 1 FETCH (FLAGS (\\Seen $Done \\Recent) INTERNALDATE \" 7-Feb-1994 21:52:25 -0800\" \
         RFC822.SIZE 16)"
    );
    let copy = client.command("COPY 1 Nowhere");
    assert_eq!(copy, ["t NO [TRYCREATE] mailbox does not exist"]);
}

#[test]
fn a_move_to_a_shared_folder_takes_the_message_along_once() {
    let node = Node::start_new();
    let mut admin = node.login("admin");
    admin.command("CREATE \"Shared Folders/team\"");
    admin.command("SETACL \"Shared Folders/team\" anyone lrsi");
    node.deliver(&["alice"], &message("1", "hello"));
    node.deliver(&["alice"], &message("2", "hello"));
    let mut client = node.login("alice");
    client.command("SELECT INBOX");
    client.command("STORE 1 +FLAGS (\\Seen $Work)");
    let moved = client.command("MOVE 1 \"Shared Folders/team\"");
    assert!(
        moved[0].starts_with("* OK [COPYUID ") && moved[0].ends_with(" 1 1] moved"),
        "{moved:?}"
    );
    assert_eq!(moved[1..], ["* 1 EXPUNGE", "t OK done"]);
    assert_eq!(client.command("UID SEARCH ALL")[0], "* SEARCH 2");
    client.command("EXAMINE \"Shared Folders/team\"");
    let fetched = client.command("FETCH 1:* (UID FLAGS)");
    assert_eq!(
        fetched[0],
        "* 1 FETCH (UID 1 FLAGS (\\Seen $Work \\Recent))"
    );
    assert_eq!(fetched.len(), 2);
}

#[test]
fn rights_are_enforced_between_users() {
    let node = Node::start_new();
    node.deliver(&["alice"], &message("1", "hello"));
    let (mut alice, mut bob) = (node.login("alice"), node.login("bob"));
    let refused = bob.command("SELECT \"Other Users/alice\"");
    assert_eq!(refused, ["t NO [NONEXISTENT] mailbox does not exist"]);
    alice.command("SETACL INBOX bob lr");
    let listed = bob.command("LIST \"\" \"Other Users/%\"");
    assert_eq!(
        listed[0],
        "* LIST (\\HasNoChildren) \"/\" \"Other Users/alice\""
    );
    let selected = bob.command("SELECT \"Other Users/alice\"");
    assert_eq!(selected.last().unwrap(), "t OK [READ-ONLY] selected");
    let stored = bob.command("STORE 1 +FLAGS (\\Flagged)");
    assert_eq!(stored, ["t NO [READ-ONLY] the mailbox is read-only"]);
    let set = bob.command("SETACL \"Other Users/alice\" bob lrswite");
    assert_eq!(set, ["t NO [NOPERM] permission denied"]);
}

#[test]
fn condstore_tells_and_checks_modification_sequences() {
    let node = Node::start_new();
    node.deliver(&["alice"], &message("1", "hello"));
    node.deliver(&["alice"], &message("2", "hello"));
    let mut client = node.login("alice");
    client.command("SELECT INBOX (CONDSTORE)");
    let stored = client.command("STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\\Seen)");
    assert_eq!(stored, ["t OK [MODIFIED 1] done in part"]);
    let all = client.command("FETCH 1:2 (MODSEQ)");
    let mod_seq: u64 = all[1]
        .split(['(', ')'])
        .nth(2)
        .and_then(|number| number.parse().ok())
        .unwrap();
    client.command("STORE 1 +FLAGS (\\Seen)");
    let changed = client.command(&format!("FETCH 1:2 (FLAGS) (CHANGEDSINCE {mod_seq})"));
    assert_eq!(changed.len(), 2, "{changed:?}");
    assert!(
        changed[0].starts_with("* 1 FETCH (FLAGS (\\Seen \\Recent) MODSEQ ("),
        "{changed:?}"
    );
}

#[test]
fn search_finds_by_header_body_flag_and_date() {
    let node = Node::start_new();
    node.deliver(&["alice"], &message("first", "an apple"));
    node.deliver(&["alice"], &message("second", "a pear"));
    let mut client = node.login("alice");
    client.command("SELECT INBOX");
    client.command("STORE 2 +FLAGS (\\Flagged)");
    for (keys, found) in [
        ("SUBJECT first", "1"),
        ("BODY PEAR", "2"),
        ("TEXT example.org", "1 2"),
        ("FLAGGED", "2"),
        ("NOT FLAGGED", "1"),
        ("OR FLAGGED SUBJECT first", "1 2"),
        ("SENTON 7-Feb-1994", "1 2"),
        ("SENTBEFORE 7-Feb-1994", ""),
        ("HEADER Message-ID second", "2"),
        ("LARGER 100000", ""),
        ("UID 2:* UNSEEN", "2"),
        ("CHARSET UTF-8 FROM sender", "1 2"),
    ] {
        let answer = client.command(&format!("SEARCH {keys}"));
        let expected = format!("* SEARCH {found}");
        assert_eq!(answer[0], expected.trim_end(), "{keys}");
    }
    let refused = client.command("SEARCH CHARSET X-NONE FROM a");
    assert!(refused[0].starts_with("t NO [BADCHARSET "), "{refused:?}");
}

#[test]
fn mailboxes_are_made_renamed_subscribed_and_deleted() {
    let node = Node::start_new();
    let mut client = node.login("alice");
    assert_eq!(client.command("CREATE Work/2026"), ["t OK done"]);
    assert_eq!(
        client.command("CREATE Work"),
        ["t NO [ALREADYEXISTS] mailbox exists already"]
    );
    assert_eq!(client.command("RENAME Work Old"), ["t OK done"]);
    assert_eq!(
        client.command("LIST \"\" Old*"),
        [
            "* LIST (\\HasChildren) \"/\" \"Old\"",
            "* LIST (\\HasNoChildren) \"/\" \"Old/2026\"",
            "t OK done"
        ]
    );
    assert_eq!(client.command("SUBSCRIBE Old/2026"), ["t OK done"]);
    assert_eq!(
        client.command("LSUB \"\" Old/%"),
        ["* LSUB () \"/\" \"Old/2026\"", "t OK done"]
    );
    assert_eq!(client.command("DELETE Old/2026"), ["t OK done"]);
    assert_eq!(
        client
            .command("DELETE INBOX")
            .last()
            .unwrap()
            .split(' ')
            .nth(1),
        Some("NO")
    );
    assert_eq!(
        client.command("SELECT Old/2026"),
        ["t NO [NONEXISTENT] mailbox does not exist"]
    );
    let created = client.command("CREATE Later (USE (\\Junk))");
    assert_eq!(created, ["t OK done"]);
    let listed = client.command("LIST (SPECIAL-USE) \"\" Later");
    assert_eq!(listed[0], "* LIST (\\HasNoChildren \\Junk) \"/\" \"Later\"");
}
