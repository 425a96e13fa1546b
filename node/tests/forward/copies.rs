//! What COPY and MOVE to another server do, and what clients are told.

use murder_model::SystemFlags;

use crate::harness::{message, until};
use crate::murder::Murder;
use crate::proxy::{Cut, From, Mode};
use crate::server::Server;

const TEAM: &str = "\"Shared Folders/team\"";
const ALL_ITEMS: &str = "FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE \
    BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])";

/// Alice on be-a, the shared folder team on be-b, where she may do most things.
async fn alice_and_team() -> (Murder, Server, Server) {
    let murder = Murder::start().await;
    let a = Server::start(&murder, "be-a").await;
    let b = Server::start(&murder, "be-b").await;
    a.create("user.alice", &[]).await;
    b.create("team", &[("alice", "lrswite"), ("bob", "lrs")])
        .await;
    (murder, a, b)
}

async fn add(server: &Server, id: &str, flags: SystemFlags, keywords: &[&str]) {
    let text = message(id, 1000);
    let added = server.node.append("user.alice", &text, flags, keywords);
    added.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_has_uids_flags_keywords_dates_and_bytes() {
    let (_murder, mut a, mut b) = alice_and_team().await;
    let flags = SystemFlags::SEEN.with(SystemFlags::FLAGGED);
    add(&a, "1", flags, &["work"]).await;
    add(&a, "2", SystemFlags::NONE, &[]).await;
    add(&a, "3", SystemFlags::ANSWERED, &["work", "$Forwarded"]).await;
    let mut alice = a.client("alice");
    alice.ok("SELECT INBOX").await;
    alice.ok("STORE 2 +FLAGS (\\Deleted)").await;
    alice.ok("EXPUNGE").await;
    let validity = b.uid_validity("team").await;
    let copied = alice.all(&format!("COPY 1:* {TEAM}")).await;
    assert_eq!(copied, [format!("t OK [COPYUID {validity} 1,3 1:2] done")]);
    let again = alice.last(&format!("UID COPY 3 {TEAM}")).await;
    assert_eq!(again, format!("t OK [COPYUID {validity} 3 3] done"));
    alice.ok("EXAMINE INBOX").await;
    let expected = alice.ok(ALL_ITEMS).await;
    let mut there = b.client("alice");
    there.ok(&format!("EXAMINE {TEAM}")).await;
    let mut seen = there.ok(ALL_ITEMS).await;
    assert_eq!(seen.drain(..expected.len()).collect::<Vec<_>>(), expected);
    let mut bob = b.client("bob");
    bob.ok(&format!("EXAMINE {TEAM}")).await;
    assert_eq!(
        bob.ok("FETCH 1 FLAGS").await,
        ["* 1 FETCH (FLAGS (\\Flagged work))"]
    );
    let (from, to) = (a.stored("user.alice").await, b.stored("team").await);
    assert_eq!(to[..2], from[..]);
    assert_eq!(to[2], from[1]);
    assert_eq!(a.intents("user.alice").await, 0);
    drop((alice, there, bob));
    a.stop_and_check().await;
    b.stop_and_check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_tells_uids_before_expunges_and_takes_the_messages_along() {
    let (_murder, mut a, mut b) = alice_and_team().await;
    for id in ["1", "2", "3"] {
        add(&a, id, SystemFlags::NONE, &[]).await;
    }
    let before = a.stored("user.alice").await;
    let mut alice = a.client("alice");
    alice.ok("SELECT INBOX").await;
    let validity = b.uid_validity("team").await;
    let moved = alice.all(&format!("MOVE 1,3 {TEAM}")).await;
    assert_eq!(
        moved,
        [
            format!("* OK [COPYUID {validity} 1,3 1:2] moved"),
            "* 1 EXPUNGE".to_owned(),
            "* 2 EXPUNGE".to_owned(),
            "t OK done".to_owned(),
        ]
    );
    assert_eq!(a.stored("user.alice").await, before[1..2]);
    assert_eq!(
        b.stored("team").await,
        [before[0].clone(), before[2].clone()]
    );
    assert_eq!(a.intents("user.alice").await, 0);
    drop(alice);
    a.stop_and_check().await;
    b.stop_and_check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seen_is_the_viewers_own_on_both_sides() {
    let (_murder, a, b) = alice_and_team().await;
    a.create("user.bob", &[]).await;
    let text = message("1", 100);
    let shared = b.node.append("team", &text, SystemFlags::NONE, &[]);
    shared.await.unwrap();
    let mut bob = b.client("bob");
    bob.ok(&format!("SELECT {TEAM}")).await;
    bob.ok("STORE 1 +FLAGS (\\Seen)").await;
    bob.ok("COPY 1 INBOX").await;
    let mut alice = b.client("alice");
    alice.ok(&format!("SELECT {TEAM}")).await;
    alice.ok("COPY 1 INBOX").await;
    for (user, flags) in [("bob", "\\Seen"), ("alice", "")] {
        let mut home = a.client(user);
        home.ok("EXAMINE INBOX").await;
        let fetched = home.ok("FETCH 1 FLAGS").await;
        assert_eq!(fetched, [format!("* 1 FETCH (FLAGS ({flags}))")], "{user}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_there_is_refused_here_and_leaves_nothing() {
    let (_murder, a, b) = alice_and_team().await;
    b.create("readonly", &[("alice", "lr")]).await;
    b.create("hidden", &[]).await;
    add(&a, "1", SystemFlags::NONE, &[]).await;
    let mut alice = a.client("alice");
    alice.ok("SELECT INBOX").await;
    for verb in ["COPY", "MOVE"] {
        for (name, expected) in [
            ("none", "t NO [TRYCREATE] mailbox does not exist"),
            ("team/none", "t NO [TRYCREATE] mailbox does not exist"),
            ("hidden", "t NO [TRYCREATE] mailbox does not exist"),
            ("readonly", "t NO [NOPERM] permission denied"),
        ] {
            let told = alice
                .all(&format!("{verb} 1 \"Shared Folders/{name}\""))
                .await;
            assert_eq!(told, [expected], "{name}");
        }
        let none = alice.all(&format!("UID {verb} 7:9 {TEAM}")).await;
        assert_eq!(none, ["t OK nothing to do"]);
    }
    assert_eq!(a.intents("user.alice").await, 0);
    assert_eq!(a.stored("user.alice").await.len(), 1);
    for name in ["team", "readonly", "hidden"] {
        assert_eq!(b.stored(name).await, [], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_the_connection_breaks_a_message_is_copied_once() {
    let (_murder, a, b) = alice_and_team().await;
    let text = message("large", 600_000);
    let added = a.node.append("user.alice", &text, SystemFlags::NONE, &[]);
    added.await.unwrap();
    let mut alice = a.client("alice");
    alice.ok("SELECT INBOX").await;
    let validity = b.uid_validity("team").await;
    let mut copies = 0;
    for from in [From::Client, From::Server] {
        for records in 1.. {
            b.node.to_peers.arm(Cut { from, records });
            let copied = alice.last(&format!("COPY 1 {TEAM}")).await;
            copies += 1;
            let expected = format!("t OK [COPYUID {validity} 1 {copies}] done");
            assert_eq!(copied, expected, "{from:?} {records}");
            assert_eq!(b.stored("team").await.len(), copies, "{from:?} {records}");
            if b.node.to_peers.is_armed() {
                break;
            }
        }
    }
    assert!(copies > 10, "{copies}");
    assert_eq!(a.intents("user.alice").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_out_of_reach_is_told_as_unavailable_and_nothing_is_left() {
    let (_murder, a, b) = alice_and_team().await;
    add(&a, "1", SystemFlags::NONE, &[]).await;
    b.node.to_peers.set(Mode::Refuse);
    let mut alice = a.client("alice");
    alice.ok("SELECT INBOX").await;
    let told = alice.all(&format!("MOVE 1 {TEAM}")).await;
    assert_eq!(told, ["t NO [UNAVAILABLE] mailbox is not available now"]);
    assert_eq!(a.intents("user.alice").await, 0);
    b.node.to_peers.set(Mode::Pass);
    alice.ok(&format!("MOVE 1 {TEAM}")).await;
    assert_eq!(b.stored("team").await.len(), 1);
    assert_eq!(a.stored("user.alice").await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_that_moved_twice_is_found() {
    let murder = Murder::start().await;
    let a = Server::start(&murder, "be-a").await;
    let b = Server::start(&murder, "be-b").await;
    let c = Server::start(&murder, "be-c").await;
    a.create("user.alice", &[]).await;
    a.create("user.bob", &[("alice", "lrswi")]).await;
    add(&a, "1", SystemFlags::NONE, &["work"]).await;
    let mut alice = a.client("alice");
    alice.ok("SELECT INBOX").await;
    let root = murder_model::RootName::parse("user.bob").unwrap();
    let mut expected = 0;
    for (from, to) in [(&a, &b), (&b, &c)] {
        from.node.transfer(&root, &to.node).await;
        until("it is served there", || async {
            to.backend().place(&root).await.is_ok()
        })
        .await;
        alice.ok("COPY 1 \"Other Users/bob\"").await;
        expected += 1;
        assert_eq!(to.stored("user.bob").await.len(), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_sessions_that_move_one_message_one_does() {
    let (_murder, a, b) = alice_and_team().await;
    for id in ["1", "2", "3", "4", "5"] {
        add(&a, id, SystemFlags::NONE, &[]).await;
    }
    let before = a.stored("user.alice").await;
    let (mut one, mut other) = (a.client("alice"), a.client("alice"));
    for client in [&mut one, &mut other] {
        client.ok("SELECT INBOX").await;
    }
    for uid in 1..=5 {
        let command = format!("UID MOVE {uid} {TEAM}");
        let (first, second) = tokio::join!(one.last(&command), other.last(&command));
        let told = [first, second];
        assert!(told.contains(&"t OK done".to_owned()), "{told:?}");
        let others = [
            "t OK nothing to do",
            "t NO [INUSE] some of the messages are being moved",
        ];
        assert!(
            told.iter().any(|line| others.contains(&line.as_str())),
            "{told:?}"
        );
    }
    assert_eq!(a.stored("user.alice").await, []);
    assert_eq!(b.stored("team").await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_are_moved_in_one_go() {
    let (_murder, a, b) = alice_and_team().await;
    let added = (1..=600).map(|number| {
        let text = message(&number.to_string(), 1000);
        let node = &a.node;
        async move {
            let added = node.append("user.alice", &text, SystemFlags::NONE, &["work"]);
            added.await.unwrap();
        }
    });
    for one in added {
        one.await;
    }
    let before = a.stored("user.alice").await;
    let mut alice = a.client("alice");
    alice.ok("SELECT INBOX").await;
    let validity = b.uid_validity("team").await;
    let moved = alice.all(&format!("UID MOVE 1:299,301:600 {TEAM}")).await;
    assert_eq!(
        moved[0],
        format!("* OK [COPYUID {validity} 1:299,301:600 1:599] moved")
    );
    assert_eq!(moved.len(), 601);
    assert_eq!(a.stored("user.alice").await, before[299..300]);
    let expected = [&before[..299], &before[300..]].concat();
    assert_eq!(b.stored("team").await, expected);
}
