//! Volumes that change hands or go back in time, and a master that forgets.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use murder_e2e::murder::{Murder, Plan};

use crate::NODE;
use crate::client::{Client, message};
use crate::mupdate;

/// No change that is waited for takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// All that a user can tell of a mailbox, on any server.
fn look(client: &mut Client, name: &str) -> Vec<String> {
    let status = format!("STATUS {name} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)");
    let mut seen = client.ok(&status);
    client.ok(&format!("EXAMINE {name}"));
    seen.extend(client.ok("FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE MODSEQ BODY.PEEK[TEXT])"));
    client.ok("UNSELECT");
    seen
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.unwrap().success());
}

/// Puts a copy of a folder in another's place.
fn put(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).unwrap();
    copy(from, to);
}

/// Fills the mailboxes of alice and bob and returns what they see.
fn fill(murder: &Murder, node: &str) -> Vec<(String, Vec<String>)> {
    for user in ["alice", "bob"] {
        let mut client = Client::login(murder, node, user);
        client.ok("CREATE Work");
        client.ok("SUBSCRIBE Work");
        for number in 0..6 {
            let mailbox = if number % 2 == 0 { "INBOX" } else { "Work" };
            let content = message(&format!("{user}-{number}"));
            client.append(mailbox, "\\Flagged $Kept", &content);
        }
        client.ok("SELECT INBOX");
        client.ok("STORE 2 +FLAGS (\\Deleted)");
        client.ok("EXPUNGE");
    }
    let mut alice = Client::login(murder, node, "alice");
    alice.ok("SETACL Work bob lrs");
    seen(murder, node)
}

/// What alice and bob see.
fn seen(murder: &Murder, node: &str) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    for user in ["alice", "bob"] {
        let mut client = Client::login(murder, node, user);
        for name in ["INBOX", "Work", "\"Other Users/alice/Work\""] {
            // Nobody is told of recent messages twice.
            client.ok(&format!("SELECT {name}"));
            client.ok("UNSELECT");
            all.push((format!("{user} {name}"), look(&mut client, name)));
        }
        all.push((user.to_owned(), client.ok("LIST \"\" \"*\"")));
        all.push((user.to_owned(), client.ok("LSUB \"\" \"*\"")));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_servers_data_joins_a_murder_unchanged() {
    let mut single = Plan::single(NODE)
        .users(["alice", "bob"])
        .start()
        .await
        .unwrap();
    let before = fill(&single, "un-a");
    assert!(single.stop("un-a").await.unwrap().success());
    let data = single.node("un-a").unwrap().data();
    for (plan, joins, others) in [
        (Plan::discrete(NODE, 2, 1), "be-a", vec!["fe-0"]),
        (Plan::unified(NODE, 2), "un-a", vec!["un-b", "un-a"]),
    ] {
        let mut murder = plan.users(["alice", "bob", "carol"]).prepare().unwrap();
        put(&data, &murder.node(joins).unwrap().data());
        murder.start_all().await.unwrap();
        let mut master = mupdate::administrator(&murder);
        for name in ["user.alice", "user.alice.Work", "user.bob"] {
            let found = mupdate::rows(&mut master, &format!("FIND \"{name}\""));
            assert!(
                found[2].starts_with(&format!("{joins}!default")),
                "{found:?}"
            );
        }
        for node in others {
            assert_eq!(seen(&murder, node), before, "{node} of {joins}'s murder");
            let mut carol = Client::login(&murder, node, "carol");
            let appended = carol.append("INBOX", "", &message("new"));
            assert!(appended.starts_with("t OK [APPENDUID "), "{appended}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_lost_its_database_is_told_everything_again() {
    let plan = Plan::discrete(NODE, 2, 1).users(["alice", "bob", "carol"]);
    let mut murder = plan.start().await.unwrap();
    let mut admin = Client::login(&murder, "fe-0", "admin");
    admin.ok("CREATE \"Shared Folders/team\"");
    admin.ok("SETACL \"Shared Folders/team\" anyone lrsi");
    let before = fill(&murder, "fe-0");
    let rows = || mupdate::rows(&mut mupdate::administrator(&murder), "LIST");
    let known = rows();
    assert!(known.len() > 10, "{known:?}");
    assert!(murder.stop("mupdate").await.unwrap().success());
    let data = murder.node("mupdate").unwrap().data();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::create_dir(&data).unwrap();
    murder.start("mupdate").await.unwrap();
    let rows = || mupdate::rows(&mut mupdate::administrator(&murder), "LIST");
    let begun = Instant::now();
    let mut told = rows();
    while told != known {
        assert!(begun.elapsed() < PATIENCE, "{told:?}, but before {known:?}");
        told = rows();
    }
    assert_eq!(seen(&murder, "fe-0"), before);
    let mut carol = Client::login(&murder, "fe-0", "carol");
    let mut appended = carol.append("INBOX", "", &message("new"));
    while appended.starts_with("t NO [UNAVAILABLE] ") {
        assert!(begun.elapsed() < PATIENCE, "{appended}");
        appended = carol.append("INBOX", "", &message("new"));
    }
    assert!(appended.starts_with("t OK [APPENDUID "), "{appended}");
    let appended = carol.append("Shared Folders/team", "", &message("shared"));
    assert!(appended.starts_with("t OK [APPENDUID "), "{appended}");
    murder.stop_all().await.unwrap();
    murder.start_all().await.unwrap();
    assert_eq!(
        seen(&murder, "fe-0"),
        before,
        "after all have started again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_went_back_in_time_serves_nothing() {
    let plan = Plan::discrete(NODE, 1, 1).users(["alice", "bob"]);
    let mut murder = plan.start().await.unwrap();
    fill(&murder, "fe-0");
    assert!(murder.stop("be-a").await.unwrap().success());
    let data = murder.node("be-a").unwrap().data();
    let old = murder.folder().join("old");
    copy(&data, &old);
    murder.start("be-a").await.unwrap();
    let mut alice = Client::login(&murder, "fe-0", "alice");
    let appended = alice.append("INBOX", "", &message("after the copy"));
    assert!(appended.starts_with("t OK [APPENDUID "), "{appended}");
    assert!(murder.stop("be-a").await.unwrap().success());
    put(&old, &data);
    let log = murder.node("be-a").unwrap().log();
    murder.node_mut("be-a").unwrap().spawn().unwrap();
    let why = "blocked: incarnation or log went back; an administrator must confirm the volume";
    let begun = Instant::now();
    while !std::fs::read_to_string(&log).unwrap().contains(why) {
        assert!(begun.elapsed() < PATIENCE, "its log does not say why");
        tokio::task::yield_now().await;
    }
    let mut alice = Client::login(&murder, "fe-0", "alice");
    for command in ["SELECT INBOX", "STATUS Work (MESSAGES)", "CREATE More"] {
        let refused = alice.answer(command);
        assert!(
            refused.starts_with("t NO [UNAVAILABLE] "),
            "{command}: {refused}"
        );
    }
    let refused = alice.append("INBOX", "", &message("refused"));
    assert!(refused.starts_with("t NO [UNAVAILABLE] "), "{refused}");
    let mut lmtp = Client::connect(murder.addresses("fe-0").unwrap().lmtp);
    lmtp.line();
    lmtp.send(b"LHLO x\r\n");
    while lmtp.line().starts_with("250-") {}
    lmtp.send(b"MAIL FROM:<>\r\nRCPT TO:<alice>\r\n");
    assert!(lmtp.line().starts_with("250 "));
    let refused = lmtp.line();
    assert!(refused.starts_with("451 "), "{refused}");
}
