//! A backend that stands still, with its connections open: down is narrow.

use murder_e2e::lmtp::{Outcome, Session, Transfer};
use murder_e2e::murder::{Murder, Plan};
use murder_proto::lmtp::address::Address;

use crate::NODE;
use crate::client::{Client, message};

/// A user whose mailboxes are at that backend.
async fn user_at(murder: &Murder, backend: &str) -> String {
    let units = murder.units(backend).await.unwrap();
    let mut roots = units
        .iter()
        .filter_map(|unit| unit.root.as_str().strip_prefix("user."));
    roots.find(|user| *user != "admin").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_stands_still_stops_its_own_mailboxes_only() {
    let users: Vec<_> = (0..8).map(|number| format!("user{number}")).collect();
    let plan = Plan::discrete(NODE, 2, 1).users(users.clone());
    let murder = plan.start().await.unwrap();
    for user in &users {
        Client::login(&murder, "fe-0", user).ok("SELECT INBOX");
    }
    let (alice, bob) = (
        user_at(&murder, "be-a").await,
        user_at(&murder, "be-b").await,
    );
    let mut waiting = Client::login(&murder, "fe-0", &bob);
    waiting.ok("SELECT INBOX");
    murder.pause("be-b").unwrap();
    waiting.send(b"t NOOP\r\n");

    let mut client = Client::login(&murder, "fe-0", &alice);
    client.ok("SELECT INBOX");
    client.append("INBOX", "", &message("one"));
    let lmtp = murder.addresses("fe-0").unwrap().lmtp;
    let mut session = Session::connect(lmtp).await.unwrap();
    let to = [Address::new(alice, None)];
    let content = message("two");
    let (outcomes, failure) = session
        .deliver(&to, content.as_bytes(), Transfer::Chunks)
        .await;
    assert_eq!(outcomes, [Outcome::Delivered], "{failure:?}");
    let noop = client.ok("NOOP");
    assert!(noop.contains(&"* 2 EXISTS".to_owned()), "{noop:?}");

    murder.resume("be-b").unwrap();
    let answered = waiting.until_tag();
    assert!(
        answered.last().unwrap().starts_with("t OK "),
        "{answered:?}"
    );
}
