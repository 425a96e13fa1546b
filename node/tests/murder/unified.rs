//! Unified nodes under one master: whichever a client speaks to, it finds all mail.

use murder_e2e::lmtp::{Outcome, Session, Transfer};
use murder_e2e::murder::{Murder, Plan};
use murder_proto::lmtp::address::Address;

use crate::NODE;
use crate::client::{Client, message};
use crate::mupdate;

/// Users that are made until both nodes have one.
const USERS_MAX: usize = 24;

fn user(number: usize) -> String {
    format!("user{number}")
}

/// Two nodes, a user of the first and one of the second.
async fn murder() -> (Murder, String, String) {
    let plan = Plan::unified(NODE, 2).users((0..USERS_MAX).map(user));
    let murder = plan.start().await.unwrap();
    let mut master = mupdate::administrator(&murder);
    let (mut first, mut second) = (None, None);
    for user in (0..USERS_MAX).map(user) {
        Client::login(&murder, "un-a", &user).ok("SELECT INBOX");
        let found = mupdate::rows(&mut master, &format!("FIND \"user.{user}\""));
        if found[2].starts_with("un-a!") {
            first = Some(user);
        } else {
            second = Some(user);
        }
        if first.is_some() && second.is_some() {
            break;
        }
    }
    (murder, first.unwrap(), second.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_serves_the_mail_of_both() {
    let (mut murder, of_a, of_b) = murder().await;
    for (node, user) in [("un-a", &of_b), ("un-b", &of_a), ("un-a", &of_a)] {
        // Delivered at the one node, read at both.
        let lmtp = murder.addresses(node).unwrap().lmtp;
        let mut lmtp = Session::connect(lmtp).await.unwrap();
        let content = message(&format!("{node}-{user}"));
        let to = [Address::new(user.clone(), None)];
        let (outcomes, failure) = lmtp.deliver(&to, content.as_bytes(), Transfer::Data).await;
        assert!(failure.is_none(), "{failure:?}");
        assert_eq!(outcomes, [Outcome::Delivered]);
        for at in ["un-a", "un-b"] {
            let mut client = Client::login(&murder, at, user);
            client.ok("SELECT INBOX");
            let found = client.ok(&format!("SEARCH SUBJECT \"about {node}-{user}\""));
            assert!(found[0].starts_with("* SEARCH "), "{at}: {found:?}");
            let fetched = client.ok("FETCH * BODY.PEEK[TEXT]");
            assert_eq!(fetched[1], format!("Text of {node}-{user}"), "{at}");
            let refused = client.answer("SUBSCRIBE Nowhere");
            assert!(
                refused.starts_with("t NO [NONEXISTENT] "),
                "{at}: {refused}"
            );
            client.ok("SUBSCRIBE Sent");
        }
    }
    murder.kill("un-b").unwrap();
    let mut here = Client::login(&murder, "un-a", &of_a);
    here.ok("SELECT INBOX");
    here.ok("STORE 1 +FLAGS (\\Flagged)");
    let appended = here.append("INBOX", "", &message("alone"));
    assert!(appended.starts_with("t OK [APPENDUID "), "{appended}");
    let mut there = Client::login(&murder, "un-a", &of_b);
    let refused = there.answer("SELECT INBOX");
    assert!(refused.starts_with("t NO [UNAVAILABLE] "), "{refused}");
    murder.start("un-b").await.unwrap();
    let selected = there.ok("SELECT INBOX");
    assert!(selected.contains(&"* 1 EXISTS".to_owned()), "{selected:?}");
}
