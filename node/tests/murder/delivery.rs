//! Mail through a frontend's LMTP: many recipients, several backends, one answer each.

use murder_e2e::lmtp::{Outcome, Session, Transfer};
use murder_e2e::murder::Plan;
use murder_proto::lmtp::address::Address;

use crate::NODE;
use crate::client::{Client, message};

fn to(recipient: &str) -> Address {
    Address::new(recipient.to_owned(), Some("example.org".to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_reaches_new_users_on_all_backends_and_nobody_else() {
    let users: Vec<String> = (0..8).map(|number| format!("user{number}")).collect();
    let murder = Plan::discrete(NODE, 2, 2)
        .users(users.clone())
        .start()
        .await
        .unwrap();
    let mut admin = Client::login(&murder, "fe-0", "admin");
    admin.ok("CREATE \"Shared Folders/team\"");
    admin.ok("SETACL \"Shared Folders/team\" anyone lrsp");
    let address = murder.addresses("fe-0").unwrap().lmtp;
    let mut session = Session::connect(address).await.unwrap();
    let mut recipients: Vec<Address> = users.iter().map(|user| to(user)).collect();
    recipients.push(to("nobody"));
    recipients.push(to("user1+Drafts"));
    recipients.push(to("user2+Nowhere"));
    recipients.push(to("+Shared Folders/team"));
    for transfer in [Transfer::Data, Transfer::Chunks] {
        let content = message(&format!("{transfer:?}"));
        let (outcomes, failure) = session
            .deliver(&recipients, content.as_bytes(), transfer)
            .await;
        assert!(failure.is_none(), "{failure:?}");
        for (recipient, outcome) in recipients.iter().zip(&outcomes) {
            if recipient == &to("nobody") {
                assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
            } else {
                assert!(
                    matches!(outcome, Outcome::Delivered),
                    "{recipient:?}: {outcome:?}"
                );
            }
        }
    }
    // A folder that is not there means INBOX, which has the message already.
    for user in &users {
        let mut client = Client::login(&murder, "fe-1", user);
        let status = client.ok("STATUS INBOX (MESSAGES)");
        assert_eq!(status[0], "* STATUS \"INBOX\" (MESSAGES 2)", "{user}");
        client.ok("SELECT INBOX");
        let fetched = client.ok("FETCH 2 BODY.PEEK[TEXT]");
        assert!(fetched[1].starts_with("Text of "), "{fetched:?}");
        let team = client.ok("STATUS \"Shared Folders/team\" (MESSAGES UNSEEN)");
        assert_eq!(
            team[0],
            "* STATUS \"Shared Folders/team\" (MESSAGES 2 UNSEEN 2)"
        );
    }
    let mut client = Client::login(&murder, "fe-1", "user1");
    let status = client.ok("STATUS Drafts (MESSAGES)");
    assert_eq!(status[0], "* STATUS \"Drafts\" (MESSAGES 2)");
}
