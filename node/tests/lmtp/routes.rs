//! Who gets what: recipients spread over backends, found, made, followed and refused.

use std::sync::atomic::Ordering;

use murder_node::backend::gate::Phase;
use murder_node::frontend::lmtp::Patience;

use crate::client::{ACCEPTED, Client, DELIVERED, UNKNOWN};
use crate::murder::{Murder, root};
use crate::scripted::{Answer, Scripted};

#[tokio::test(flavor = "multi_thread")]
async fn recipients_on_two_backends_get_one_message_and_their_replies_in_order() {
    let murder = Murder::new(&["alice", "bob"]).await;
    let a = murder.backend("be-a", "").await;
    let b = murder.backend("be-b", "").await;
    a.has("alice").await;
    b.has("bob").await;
    let front = murder.frontend(Patience::default(), "").await;
    let mut client = Client::connect(front.lmtp).await;
    let recipients = [
        "bob",
        "alice@example.org",
        "nobody",
        "bob+Sent",
        "alice+Nowhere",
        "+Shared Folders/x",
    ];
    let replies = client.envelope(&recipients).await;
    assert_eq!(
        replies,
        [ACCEPTED, ACCEPTED, UNKNOWN, ACCEPTED, ACCEPTED, UNKNOWN]
    );
    let content = b"Subject: to all\r\n\r\nHello\r\n";
    assert_eq!(client.data(content, 4).await, [DELIVERED; 4]);
    assert_eq!(a.contents("user.alice").await, [content, content]);
    assert_eq!(b.contents("user.bob").await, [content]);
    assert_eq!(b.contents("user.bob.Sent").await, [content]);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_users_are_made_at_their_first_delivery_where_there_is_room() {
    let users = ["u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7"];
    let murder = Murder::new(&users).await;
    let a = murder.backend("be-a", "").await;
    let b = murder.backend("be-b", "").await;
    // The master does not know: the backend itself says no.
    a.backend.state.set_cordoned(true).unwrap();
    let front = murder.frontend(Patience::default(), "").await;
    let mut client = Client::connect(front.lmtp).await;
    let content = b"Subject: first\r\n\r\nHello\r\n";
    assert_eq!(client.deliver(&users, content).await, [DELIVERED; 8]);
    front.caught_up().await;
    for user in users {
        assert_eq!(front.server_of(user).as_deref(), Some("be-b"));
        assert_eq!(b.contents(&format!("user.{user}")).await, [content]);
    }
    assert_eq!(a.backend.roots(), []);
    assert_eq!(front.frontend.metrics.deliveries.get(), 8);
    assert_eq!(front.frontend.metrics.deliveries_deferred.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_get_no_mailboxes_by_delivery_if_the_settings_say_so() {
    let murder = Murder::new(&["alice"]).await;
    let a = murder.backend("be-a", "").await;
    let extra = "autocreate: {onDelivery: false}\n";
    let front = murder.frontend(Patience::default(), extra).await;
    let mut client = Client::connect(front.lmtp).await;
    assert_eq!(client.envelope(&["alice"]).await, [UNKNOWN]);
    assert_eq!(a.backend.roots(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_refused_for_good_without_proof() {
    let mut murder = Murder::new(&["alice"]).await;
    let a = murder.backend("be-a", "").await;
    a.has("alice").await;
    let front = murder
        .frontend(Patience::default(), "domains: [ex.org]\n")
        .await;
    let mut client = Client::connect(front.lmtp).await;
    murder.master_dies().await;
    let recipients = ["nobody", "alice", "alice@ex.com"];
    assert_eq!(
        client.envelope(&recipients).await,
        [
            "451 4.3.0 the location of the mailbox cannot be found out now: the mupdate master \
             does not answer",
            ACCEPTED,
            "550 5.1.2 domain is not served here",
        ]
    );
    let content = b"Subject: without a master\r\n\r\n";
    assert_eq!(client.data(content, 1).await, [DELIVERED]);
    assert_eq!(front.frontend.metrics.deliveries_deferred.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_moved_is_found_by_the_backend_that_had_it() {
    let murder = Murder::new(&["alice"]).await;
    let a = murder.backend("be-a", "").await;
    let b = murder.backend("be-b", "").await;
    a.has("alice").await;
    let front = murder.frontend(Patience::default(), "").await;
    front.hears_no_more().await;
    a.gives("alice", &b).await;
    assert_eq!(front.server_of("alice").as_deref(), Some("be-a"));
    let mut client = Client::connect(front.lmtp).await;
    let content = b"Subject: follow me\r\n\r\n";
    assert_eq!(client.deliver(&["alice"], content).await, [DELIVERED]);
    assert_eq!(b.contents("user.alice").await, [content]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_its_owner_does_not_have_yet_is_waited_for() {
    let murder = Murder::new(&[]).await;
    let x = Scripted::start(&murder, "be-x", |line, seen| match (line, seen) {
        ("RCPT TO:<alice>", 0..3) => Answer::Line("451 4.3.2 XMOVED"),
        _ => Answer::Usual,
    })
    .await;
    x.has("alice").await;
    let front = murder.frontend(Patience::default(), "").await;
    let mut client = Client::connect(front.lmtp).await;
    let content = b"Subject: soon\r\n\r\n";
    assert_eq!(client.deliver(&["alice"], content).await, [DELIVERED]);
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_to_is_followed_so_often_and_never_shown() {
    let murder = Murder::new(&[]).await;
    let x = Scripted::start(&murder, "be-x", |line, seen| match (line, seen) {
        ("RCPT TO:<alice>", 0) => Answer::Line("451 4.3.2 XMOVED be-y 1 10"),
        ("RCPT TO:<alice>", 1) => Answer::Line("451 4.3.2 XMOVED be-y 1 12"),
        ("RCPT TO:<alice>", _) => Answer::Line("451 4.3.2 XMOVED be-y 1 14"),
        _ => Answer::Usual,
    })
    .await;
    let y = Scripted::start(&murder, "be-y", |line, _| match line {
        "RCPT TO:<alice>" => Answer::Line("451 4.3.2 XMOVED be-x 1 11"),
        "BDAT 12 LAST" => Answer::Line("451 4.3.2 XMOVED be-x 1 11"),
        _ => Answer::Usual,
    })
    .await;
    x.has("alice").await;
    y.has("bob").await;
    let front = murder.frontend(Patience::default(), "").await;
    let mut client = Client::connect(front.lmtp).await;
    let replies = client.envelope(&["alice", "bob"]).await;
    assert_eq!(replies, ["451 4.3.2 the mailbox is being moved", ACCEPTED]);
    let replies = client.data(b"Subject: x\r\n", 1).await;
    assert_eq!(replies, ["451 4.3.0 the mailbox was moved meanwhile"]);
    let offers = |server: &Scripted| {
        let lines = server.lines();
        lines
            .iter()
            .filter(|line| *line == "RCPT TO:<alice>")
            .count()
    };
    assert_eq!((offers(&x), offers(&y)), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_whose_move_is_not_decided_yet_is_held() {
    let murder = Murder::new(&["alice"]).await;
    let a = murder.backend("be-a", "").await;
    a.has("alice").await;
    let gate = a.backend.unit(&root("alice")).unwrap().gate;
    gate.set(Phase::InDoubt).await;
    let front = murder.frontend(Patience::default(), "").await;
    let mut client = Client::connect(front.lmtp).await;
    client.send(b"MAIL FROM:<>\r\nRCPT TO:<alice>\r\n").await;
    while a.backend.held.load(Ordering::Acquire) == 0 {
        tokio::task::yield_now().await;
    }
    gate.set(Phase::Active).await;
    assert_eq!(client.replies(2).await, ["250 2.1.0 sender ok", ACCEPTED]);
    assert_eq!(a.backend.held.load(Ordering::Acquire), 0);
}
