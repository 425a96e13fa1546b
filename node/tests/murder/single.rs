//! One unified node with certificates and without a master.

use murder_e2e::imap::Session;
use murder_e2e::lmtp::{self, Outcome, Transfer};
use murder_e2e::murder::{PASSWORD, Plan};
use murder_proto::lmtp::address::Address;
use serde_json::json;

use crate::NODE;

#[tokio::test]
async fn mail_is_read_over_tls_before_and_after_a_kill_on_the_same_ports() {
    let plan = Plan::single(NODE).users(["alice"]);
    let plan = plan.settings_of("un-a-0", json!({"logging": {"level": "warn"}}));
    let mut murder = plan.start().await.unwrap();
    let tls = murder.mail_client().unwrap();
    let addresses = murder.addresses("un-a").unwrap();
    let mut lmtp = lmtp::Session::connect(addresses.lmtp).await.unwrap();
    let alice = [Address::new("alice".to_owned(), None)];
    let content = b"Message-ID: <1@example.org>\r\n\r\nText\r\n";
    let (outcomes, failure) = lmtp.deliver(&alice, content, Transfer::Data).await;
    assert!(failure.is_none(), "{failure:?}");
    assert_eq!(outcomes, [Outcome::Delivered]);
    for _ in 0..2 {
        let login = Session::login_tls(addresses.imaps, tls.clone(), "alice", PASSWORD);
        let mut session = login.await.unwrap();
        assert_eq!(session.select("INBOX").await.unwrap().exists, 1);
        murder.kill("un-a-0").unwrap();
        murder.start("un-a").await.unwrap();
    }
    murder.pause("un-a").unwrap();
    murder.resume("un-a").unwrap();
    assert!(murder.node("un-a").unwrap().is_ready().await);
    let status = murder.stop("un-a").await.unwrap();
    assert!(status.success(), "{status}");
}
