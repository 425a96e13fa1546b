//! Backends that are dead, slow or silent, and clients that vanish: who hears what, and who waits.

use std::time::Duration;

use murder_node::frontend::lmtp::Patience;

use crate::client::{ACCEPTED, Client, DELIVERED, NO_ANSWER, UNKNOWN};
use crate::murder::{Murder, SHORT, tls};
use crate::scripted::{Answer, Scripted};

const CONTENT: &[u8] = b"Subject: all the same\r\n\r\nHello\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_backend_fails_its_own_recipients_only() {
    let murder = Murder::new(&["alice", "bob"]).await;
    let a = murder.backend("be-a", "").await;
    let mut b = murder.backend("be-b", "").await;
    a.has("alice").await;
    b.has("bob").await;
    let front = murder.frontend(SHORT, "").await;
    b.die().await;
    let mut client = Client::connect(front.lmtp).await;
    let replies = client.envelope(&["bob", "alice", "bob+Sent"]).await;
    assert_eq!(replies, [NO_ANSWER, ACCEPTED, NO_ANSWER]);
    assert_eq!(client.data(CONTENT, 1).await, [DELIVERED]);
    assert_eq!(a.contents("user.alice").await, [CONTENT]);
    assert_eq!(front.frontend.metrics.deliveries_deferred.get(), 2);
    assert_eq!(front.frontend.metrics.deliveries.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_refused_recipients_do_not_end_the_session() {
    let murder = Murder::new(&["alice"]).await;
    let a = murder.backend("be-a", "").await;
    let mut b = murder.backend("be-b", "").await;
    a.has("alice").await;
    b.has("bob").await;
    let front = murder.frontend(SHORT, "").await;
    b.die().await;
    let mut client = Client::connect(front.lmtp).await;
    let recipients = [["bob"; 30], ["nobody"; 30]].concat();
    let replies = client.envelope(&recipients).await;
    assert_eq!(replies, [[NO_ANSWER; 30], [UNKNOWN; 30]].concat());
    assert_eq!(client.command("RCPT TO:<alice>").await, ACCEPTED);
    assert_eq!(client.data(CONTENT, 1).await, [DELIVERED]);
    // Nor on the backend.
    let mut node = Client::connect(a.lmtp).await;
    node.start_tls(&tls(&murder.issue("frontend", "fe"))).await;
    let replies = node.envelope(&["a/b"; 30]).await;
    assert_eq!(replies, [UNKNOWN; 30]);
    assert_eq!(node.command("RCPT TO:<alice>").await, ACCEPTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_dies_before_the_content_fails_its_own_recipients_only() {
    let murder = Murder::new(&["alice", "bob"]).await;
    let a = murder.backend("be-a", "").await;
    let mut b = murder.backend("be-b", "").await;
    a.has("alice").await;
    b.has("bob").await;
    let front = murder.frontend(SHORT, "").await;
    let mut client = Client::connect(front.lmtp).await;
    assert_eq!(client.envelope(&["bob", "alice"]).await, [ACCEPTED; 2]);
    b.die().await;
    let replies = client.data(CONTENT, 2).await;
    assert_eq!(replies, [NO_ANSWER, DELIVERED]);
    assert_eq!(a.contents("user.alice").await, [CONTENT]);
    assert_eq!(b.contents("user.bob").await, [b""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_accepts_and_is_silent_keeps_no_other_session_waiting() {
    let murder = Murder::new(&["alice"]).await;
    let a = murder.backend("be-a", "").await;
    let x = Scripted::start(&murder, "be-x", |_, _| Answer::Stop).await;
    a.has("alice").await;
    x.has("bob").await;
    let forever = Duration::from_secs(3600);
    let patience = Patience {
        open: forever,
        ..Patience::default()
    };
    let front = murder.frontend(patience, "").await;
    let mut waiting = Client::connect(front.lmtp).await;
    waiting.send(b"MAIL FROM:<>\r\nRCPT TO:<bob>\r\n").await;
    x.heard("CONNECT").await;
    let mut client = Client::connect(front.lmtp).await;
    assert_eq!(client.deliver(&["alice"], CONTENT).await, [DELIVERED]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_backend_is_given_up_and_left_alone_for_a_while() {
    let murder = Murder::new(&["alice"]).await;
    let a = murder.backend("be-a", "").await;
    let x = Scripted::start(&murder, "be-x", |_, _| Answer::Stop).await;
    a.has("alice").await;
    x.has("bob").await;
    let front = murder.frontend(SHORT, "").await;
    for _ in 0..2 {
        let mut client = Client::connect(front.lmtp).await;
        let replies = client.envelope(&["bob", "alice", "bob+x"]).await;
        assert_eq!(replies, [NO_ANSWER, ACCEPTED, NO_ANSWER]);
        assert_eq!(client.data(CONTENT, 1).await, [DELIVERED]);
    }
    assert_eq!(x.lines(), ["CONNECT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_takes_no_content_fails_its_own_recipients_only() {
    let murder = Murder::new(&["alice"]).await;
    let a = murder.backend("be-a", "").await;
    let x = Scripted::start(&murder, "be-x", |line, _| {
        if line.starts_with("BDAT ") {
            Answer::Stop
        } else {
            Answer::Usual
        }
    })
    .await;
    a.has("alice").await;
    x.has("bob").await;
    let front = murder.frontend(SHORT, "").await;
    let mut client = Client::connect(front.lmtp).await;
    let large =
        b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(1 << 19);
    assert_eq!(client.envelope(&["bob", "alice"]).await, [ACCEPTED; 2]);
    let replies = client.data(&large, 2).await;
    assert_eq!(replies, [NO_ANSWER, DELIVERED]);
    assert!(a.contents("user.alice").await == [large]);
    assert!(!x.lines().iter().any(|line| line.ends_with(" LAST")));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_there_are_not_kept_back_by_one_that_is_not() {
    let murder = Murder::new(&["alice"]).await;
    let a = murder.backend("be-a", "").await;
    let x = Scripted::start(&murder, "be-x", |line, _| {
        if line.ends_with(" LAST") {
            Answer::Stop
        } else {
            Answer::Usual
        }
    })
    .await;
    a.has("alice").await;
    x.has("bob").await;
    let patience = Patience {
        delivery: Duration::from_secs(3600),
        ..SHORT
    };
    let front = murder.frontend(patience, "").await;
    let mut client = Client::connect(front.lmtp).await;
    assert_eq!(client.envelope(&["alice", "bob"]).await, [ACCEPTED; 2]);
    assert_eq!(client.data(CONTENT, 1).await, [DELIVERED]);
    drop(client);
    let front = murder.frontend(SHORT, "").await;
    let mut client = Client::connect(front.lmtp).await;
    let replies = client.deliver(&["bob", "alice"], CONTENT).await;
    assert_eq!(replies, [NO_ANSWER, DELIVERED]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_refuses_is_passed_on_and_what_only_it_could_know_is_not_for_good() {
    let murder = Murder::new(&[]).await;
    let x = Scripted::start(&murder, "be-x", |line, seen| match line {
        "RCPT TO:<bob+full>" => Answer::Line("452 4.3.1 no space left for new mail"),
        "BDAT 32 LAST" => Answer::Line("452 4.3.1 no space left for new mail"),
        "MAIL FROM:<sender@example.org>" if seen == 1 => {
            Answer::Line("530 5.7.0 authentication required")
        }
        _ => Answer::Usual,
    })
    .await;
    x.has("bob").await;
    let front = murder.frontend(SHORT, "").await;
    let mut client = Client::connect(front.lmtp).await;
    let full = "452 4.3.1 no space left for new mail";
    assert_eq!(
        client.envelope(&["bob", "bob+full"]).await,
        [ACCEPTED, full]
    );
    assert_eq!(client.data(CONTENT, 1).await, [full]);
    assert_eq!(client.envelope(&["bob"]).await, [NO_ANSWER]);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_used_again_and_a_dead_one_is_replaced() {
    let murder = Murder::new(&[]).await;
    let x = Scripted::start(&murder, "be-x", |line, seen| match (line, seen) {
        ("MAIL FROM:<sender@example.org>", 3) => Answer::HangUp,
        _ => Answer::Usual,
    })
    .await;
    x.has("bob").await;
    let front = murder.frontend(SHORT, "").await;
    let mut first = Client::connect(front.lmtp).await;
    assert_eq!(first.deliver(&["bob"], CONTENT).await, [DELIVERED]);
    assert_eq!(first.envelope(&["bob"]).await, [ACCEPTED]);
    assert_eq!(first.command("QUIT").await, "221 2.0.0 bye");
    assert_eq!(first.reply().await, "");
    let mut second = Client::connect(front.lmtp).await;
    for _ in 0..2 {
        assert_eq!(second.deliver(&["bob"], CONTENT).await, [DELIVERED]);
    }
    let (mail, to) = ("MAIL FROM:<sender@example.org>", "RCPT TO:<bob>");
    let last = "BDAT 32 LAST";
    assert_eq!(
        x.lines(),
        [
            "CONNECT", mail, to, last, // first
            mail, to, // given up by its client
            "RSET", mail, to, last, // second
            mail, // hung up
            "CONNECT", mail, to, last
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_before_the_end_delivers_nothing() {
    let murder = Murder::new(&["alice"]).await;
    let a = murder.backend("be-a", "").await;
    a.has("alice").await;
    let front = murder.frontend(SHORT, "").await;
    let part = b"Subject: half\r\n\r\nhalf a mess";
    let large = b"0123456789abcdef0123456789abcdef\r\n".repeat(1 << 14);
    let start = b"MAIL FROM:<>\r\nRCPT TO:<alice>\r\n".as_slice();
    for rest in [
        [b"DATA\r\n".as_slice(), part].concat(),
        [b"DATA\r\n".as_slice(), &large].concat(),
        [b"DATA\r\n".as_slice(), &large, b"\r\n.\r"].concat(),
        [
            b"BDAT 17\r\n".as_slice(),
            &part[..17],
            b"BDAT 100 LAST\r\n",
            part,
        ]
        .concat(),
    ] {
        let mut client = Client::connect(front.lmtp).await;
        client.send(&[start, &rest].concat()).await;
    }
    let sessions = || {
        let text = a.backend.metrics.encode();
        text.contains("murder_sessions{protocol=\"lmtp\"} 0\n")
    };
    let mut client = Client::connect(front.lmtp).await;
    assert_eq!(client.deliver(&["alice"], CONTENT).await, [DELIVERED]);
    assert_eq!(a.contents("user.alice").await, [CONTENT]);
    drop((client, front));
    while !sessions() {
        tokio::task::yield_now().await;
    }
    assert_eq!(a.contents("user.alice").await, [CONTENT]);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_server_that_fell_silent_are_given_up_together() {
    let murder = Murder::new(&[]).await;
    let x = Scripted::start(&murder, "be-x", |line, seen| match (line, seen) {
        ("MAIL FROM:<sender@example.org>" | "CONNECT", 2..) => Answer::Stop,
        _ => Answer::Usual,
    })
    .await;
    x.has("bob").await;
    let front = murder.frontend(SHORT, "").await;
    let mut first = Client::connect(front.lmtp).await;
    let mut second = Client::connect(front.lmtp).await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.envelope(&["bob"]).await, [ACCEPTED]);
    }
    for client in [&mut first, &mut second] {
        assert_eq!(client.data(CONTENT, 1).await, [DELIVERED]);
    }
    for _ in 0..3 {
        assert_eq!(first.envelope(&["bob", "bob"]).await, [NO_ANSWER; 2]);
        assert_eq!(first.command("RSET").await, "250 2.0.0 reset");
    }
    let count = |line| x.lines().iter().filter(|heard| *heard == line).count();
    // One connection of the two was tried, and then a new one.
    assert_eq!(count("MAIL FROM:<sender@example.org>"), 3);
    assert_eq!(count("CONNECT"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_came_before_a_backend_fell_silent_count() {
    let murder = Murder::new(&[]).await;
    let x = Scripted::start(&murder, "be-x", |line, _| {
        if line.ends_with(" LAST") {
            Answer::Line("250 2.1.5 delivered")
        } else {
            Answer::Usual
        }
    })
    .await;
    x.has("bob").await;
    let front = murder.frontend(SHORT, "").await;
    let mut client = Client::connect(front.lmtp).await;
    let replies = client.deliver(&["bob", "bob+x"], CONTENT).await;
    assert_eq!(replies, [DELIVERED, NO_ANSWER]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_its_client_takes_back_is_not_delivered() {
    let murder = Murder::new(&["alice"]).await;
    let a = murder.backend("be-a", "").await;
    a.has("alice").await;
    let front = murder.frontend(SHORT, "").await;
    let mut client = Client::connect(front.lmtp).await;
    for size in [0, 10, 200_000] {
        assert_eq!(client.envelope(&["alice"]).await, [ACCEPTED]);
        let chunk = [format!("BDAT {size}\r\n").as_bytes(), &vec![b'x'; size]].concat();
        client.send(&chunk).await;
        let taken = format!("250 2.0.0 {size} octets received");
        assert_eq!(client.reply().await, taken);
        assert_eq!(client.command("RSET").await, "250 2.0.0 reset");
    }
    assert_eq!(client.deliver(&["alice"], CONTENT).await, [DELIVERED]);
    assert_eq!(a.contents("user.alice").await, [CONTENT]);
}
