//! Content through a frontend: exact, by DATA and BDAT, within the limits.

use std::fmt::Write as _;

use murder_node::frontend::lmtp::Patience;

use crate::client::{ACCEPTED, Client, DELIVERED};
use crate::murder::{Murder, SHORT};

/// What DATA has to be careful with, and what it must not touch.
const AWKWARD: &[u8] = b".first\r\nbare \r and \n and \0 stay\r\n.\r\n..\r\n\n.\n\r.\r\
    \xe9\xff\x80 8-bit\r\n. \r\nend\r\n";

/// The same with a dot before each dot that starts a line.
const STUFFED: &[u8] = b"..first\r\nbare \r and \n and \0 stay\r\n..\r\n...\r\n\n.\n\r.\r\
    \xe9\xff\x80 8-bit\r\n.. \r\nend\r\n.\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn content_arrives_exactly_by_data_and_by_chunks() {
    let murder = Murder::new(&["alice", "bob"]).await;
    let a = murder.backend("be-a", "").await;
    let b = murder.backend("be-b", "").await;
    a.has("alice").await;
    b.has("bob").await;
    let front = murder.frontend(Patience::default(), "").await;
    let mut client = Client::connect(front.lmtp).await;
    assert_eq!(client.envelope(&["alice", "bob"]).await, [ACCEPTED; 2]);
    assert_eq!(client.command("DATA").await, "354 end with CRLF.CRLF");
    client.send(STUFFED).await;
    assert_eq!(client.replies(2).await, [DELIVERED; 2]);

    assert_eq!(client.envelope(&["alice", "bob"]).await, [ACCEPTED; 2]);
    client
        .send(b"BDAT 4\r\n.\r\n.BDAT 0\r\nBDAT 5\r\n\r\n.\r\nBDAT 3 LAST\r\n\0\xff.")
        .await;
    assert_eq!(
        client.replies(5).await,
        [
            "250 2.0.0 4 octets received",
            "250 2.0.0 0 octets received",
            "250 2.0.0 5 octets received",
            DELIVERED,
            DELIVERED
        ]
    );

    assert_eq!(client.envelope(&["alice", "bob"]).await, [ACCEPTED; 2]);
    client.send(b"BDAT 0 LAST\r\n").await;
    assert_eq!(client.replies(2).await, [DELIVERED; 2]);

    let chunked = b".\r\n.\r\n.\r\n\0\xff.";
    let expected = [AWKWARD, chunked, b""];
    assert_eq!(a.contents("user.alice").await, expected);
    assert_eq!(b.contents("user.bob").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_content_arrives_exactly_in_pieces_of_any_size() {
    let murder = Murder::new(&["alice", "bob"]).await;
    let a = murder.backend("be-a", "").await;
    let b = murder.backend("be-b", "").await;
    a.has("alice").await;
    b.has("bob").await;
    let front = murder.frontend(Patience::default(), "").await;
    let mut client = Client::connect(front.lmtp).await;
    let (mut content, mut stuffed) = (String::new(), String::new());
    for line in 0..100_000 {
        let dots = if line % 3 == 0 { "." } else { "" };
        writeln!(content, "{dots}line {line} {:>1$}\r", "", line % 60).unwrap();
        writeln!(stuffed, "{dots}{dots}line {line} {:>1$}\r", "", line % 60).unwrap();
    }
    assert_eq!(client.envelope(&["alice", "bob"]).await, [ACCEPTED; 2]);
    assert_eq!(client.command("DATA").await, "354 end with CRLF.CRLF");
    for (number, piece) in stuffed.as_bytes().chunks(70_001).enumerate() {
        let (first, second) = piece.split_at(piece.len() / (number + 1));
        client.send(first).await;
        client.send(second).await;
    }
    client.send(b".\r\n").await;
    assert_eq!(client.replies(2).await, [DELIVERED; 2]);
    assert!(a.contents("user.alice").await == [content.as_bytes()]);
    assert!(b.contents("user.bob").await == [content.as_bytes()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_refused_once_for_each_recipient() {
    let murder = Murder::new(&["alice", "bob"]).await;
    let a = murder.backend("be-a", "").await;
    a.has("alice").await;
    a.has("bob").await;
    let limits = "lmtp: {trustedNetworks: [127.0.0.1], messageBytesMax: 200000}\n";
    let front = murder.frontend(SHORT, limits).await;
    let mut client = Client::connect(front.lmtp).await;
    let too_large = "552 5.3.4 message is larger than 200000 octets";
    let mail = client.command("MAIL FROM:<> SIZE=200001").await;
    assert_eq!(mail, too_large);
    assert_eq!(client.envelope(&["alice", "bob"]).await, [ACCEPTED; 2]);
    let large = b"0123456789abcdef0123456789abcdef\r\n".repeat(10_000);
    assert_eq!(client.data(&large, 2).await, [too_large; 2]);
    assert_eq!(client.envelope(&["alice", "bob"]).await, [ACCEPTED; 2]);
    let chunks = [
        b"BDAT 150000\r\n",
        &large[..150_000],
        b"BDAT 60000\r\n",
        &large[..60_000],
    ];
    client.send(&chunks.concat()).await;
    client.send(b"BDAT 1 LAST\r\nx").await;
    let replies = client.replies(4).await;
    assert_eq!(replies[0], "250 2.0.0 150000 octets received");
    assert_eq!(replies[1..], [too_large; 3]);
    let small = b"Subject: small\r\n\r\n";
    assert_eq!(
        client.deliver(&["alice", "bob"], small).await,
        [DELIVERED; 2]
    );
    assert_eq!(a.contents("user.alice").await, [small]);
    assert_eq!(a.contents("user.bob").await, [small]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_takes_less_refuses_what_is_too_large_for_it() {
    let murder = Murder::new(&["alice", "bob"]).await;
    let a = murder
        .backend("be-a", "lmtp: {messageBytesMax: 2000}\n")
        .await;
    let b = murder.backend("be-b", "").await;
    a.has("alice").await;
    b.has("bob").await;
    let front = murder.frontend(SHORT, "").await;
    let mut client = Client::connect(front.lmtp).await;
    assert_eq!(client.envelope(&["alice", "bob"]).await, [ACCEPTED; 2]);
    let large = b"0123456789abcdef0123456789abcdef\r\n".repeat(10_000);
    let too_large = "552 5.3.4 message is larger than 2000 octets";
    assert_eq!(client.data(&large, 2).await, [too_large, DELIVERED]);
    assert_eq!(client.envelope(&["alice", "bob"]).await, [ACCEPTED; 2]);
    assert_eq!(client.data(&large[..3400], 2).await, [too_large, DELIVERED]);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_recipients_than_allowed_are_put_off() {
    let murder = Murder::new(&["alice"]).await;
    let a = murder.backend("be-a", "").await;
    a.has("alice").await;
    let limits = "lmtp: {trustedNetworks: [127.0.0.1], recipientsMax: 100}\n";
    let front = murder.frontend(SHORT, limits).await;
    let mut client = Client::connect(front.lmtp).await;
    let replies = client.envelope(&["alice"; 101]).await;
    assert_eq!(replies[..100], [ACCEPTED; 100]);
    assert_eq!(replies[100], "452 4.5.3 too many recipients");
    let content = b"Subject: a hundred\r\n\r\n";
    assert_eq!(client.data(content, 100).await, [DELIVERED; 100]);
    assert_eq!(a.contents("user.alice").await, [content; 100]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_in_one_piece_and_byte_by_byte_is_the_same() {
    let murder = Murder::new(&["alice", "bob"]).await;
    let a = murder.backend("be-a", "").await;
    let b = murder.backend("be-b", "").await;
    a.has("alice").await;
    b.has("bob").await;
    let front = murder.frontend(SHORT, "").await;
    let envelope = b"MAIL FROM:<a@b.example> BODY=8BITMIME SIZE=99\r\nRCPT TO:<alice>\r\n\
        RCPT TO:<nobody>\r\nRCPT TO:<bob@x.example>\r\n"
        .as_slice();
    let session = [
        b"LHLO x\r\n",
        envelope,
        b"DATA\r\n",
        STUFFED,
        envelope,
        b"BDAT 3\r\n.\r\nBDAT 4 LAST\r\n.\r\n.NOOP\r\n",
        envelope,
        b"RSET\r\nMAIL FROM:<>\r\nDATA\r\nBDAT 2 LAST\r\n.\nQUIT\r\n",
    ]
    .concat();
    let whole = front.converse(&session, 1 << 16).await;
    let bytes = front.converse(&session, 1).await;
    assert_eq!(whole, bytes);
    let replies: Vec<_> = whole
        .lines()
        .filter(|line| !line.starts_with("250-"))
        .collect();
    let accepted = [
        "250 2.1.0 sender ok",
        ACCEPTED,
        "550 5.1.1 no such recipient here",
        ACCEPTED,
    ];
    let expected = [
        &["220 fe-0 LMTP ready", "250 AUTH PLAIN"],
        accepted.as_slice(),
        &["354 end with CRLF.CRLF", DELIVERED, DELIVERED],
        &accepted,
        &[
            "250 2.0.0 3 octets received",
            DELIVERED,
            DELIVERED,
            "250 2.0.0 ok",
        ],
        &accepted,
        &["250 2.0.0 reset", "250 2.1.0 sender ok"],
        &["503 5.5.1 no recipient was accepted"; 2],
        &["221 2.0.0 bye"],
    ];
    assert_eq!(replies, expected.concat());
    let contents = [AWKWARD, b".\r\n.\r\n.", AWKWARD, b".\r\n.\r\n."];
    assert_eq!(a.contents("user.alice").await, contents);
    assert_eq!(b.contents("user.bob").await, contents);
}
