//! Who gets what: recipients spread over backends, found, made, followed and refused.

use murder_node::frontend::lmtp::Patience;

use crate::client::{ACCEPTED, Client, DELIVERED, UNKNOWN};
use crate::murder::Murder;

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
    ];
    let replies = client.envelope(&recipients).await;
    assert_eq!(replies, [ACCEPTED, ACCEPTED, UNKNOWN, ACCEPTED, ACCEPTED]);
    let content = b"Subject: to all\r\n\r\nHello\r\n";
    assert_eq!(client.data(content, 4).await, [DELIVERED; 4]);
    assert_eq!(a.contents("user.alice").await, [content, content]);
    assert_eq!(b.contents("user.bob").await, [content]);
    assert_eq!(b.contents("user.bob.Sent").await, [content]);
}
