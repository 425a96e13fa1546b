//! A volume that went back in time serves nothing until it is confirmed, and then nothing that a client
//! could take for what it knew.

use std::path::Path;

use murder_api::admin::{Confirm, ServerStatus};
use murder_e2e::murder::Plan;

use crate::NODE;
use crate::client::{Client, message};

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp")
        .args(["-a", "--"])
        .args([from, to])
        .status()
        .unwrap();
    assert!(copied.success());
}

/// The number after `word` in an answer to STATUS.
fn number(status: &str, word: &str) -> u32 {
    let rest = status.split_once(word).unwrap().1.trim_start();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_volume_waits_for_confirmation_and_raises_every_uidvalidity() {
    let mut murder = Plan::discrete(NODE, 1, 1)
        .users(["alice"])
        .start()
        .await
        .unwrap();
    let mut alice = Client::login(&murder, "fe-0", "alice");
    alice.append("INBOX", "", &message("kept"));
    murder.stop("be-a").await.unwrap();
    let data = murder.node("be-a").unwrap().data();
    let old = data.with_extension("old");
    copy(&data, &old);
    murder.start("be-a").await.unwrap();
    alice.append("INBOX", "", &message("lost"));
    let before = alice.ok("STATUS INBOX (MESSAGES UIDVALIDITY)");
    assert_eq!(number(&before[0], "MESSAGES"), 2);
    murder.stop("be-a").await.unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&old, &data).unwrap();
    murder.start("be-a").await.unwrap();
    let unavailable = "t NO [UNAVAILABLE] mailbox is not available now";
    assert_eq!(alice.answer("STATUS INBOX (MESSAGES)"), unavailable);
    let master = murder.nodes()[0].addresses().admin;
    let servers = murder.admin().servers(master).await.unwrap();
    assert!(servers[0].blocked, "{servers:?}");
    let confirm = Confirm {
        fence: murder.fence(),
        server_id: servers[0].server_id,
    };
    let confirmed: ServerStatus = murder
        .admin()
        .post(master, "/v1/servers/be-a/confirm", &confirm)
        .await
        .unwrap();
    assert!(!confirmed.blocked, "{confirmed:?}");
    let mut answer = alice.command("STATUS INBOX (MESSAGES UIDVALIDITY)");
    while answer == [unavailable] {
        answer = alice.command("STATUS INBOX (MESSAGES UIDVALIDITY)");
    }
    assert_eq!(number(&answer[0], "MESSAGES"), 1);
    assert!(number(&answer[0], "UIDVALIDITY") > number(&before[0], "UIDVALIDITY"));
    // The server is whole again: it takes mail, and its names are known.
    let appended = alice.append("INBOX", "", &message("new"));
    assert!(appended.starts_with("t OK [APPENDUID "), "{appended}");
    alice.ok("CREATE Later");
    assert_eq!(alice.ok("LIST \"\" Later").len(), 2);
}
