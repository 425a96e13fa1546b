//! Who may submit, how they show it, and what only nodes are told.

use murder_e2e::murder::Authority;
use murder_node::frontend::lmtp::Patience;

use crate::client::{ACCEPTED, Client, DELIVERED, UNKNOWN};
use crate::murder::{Murder, PASSWORD, contents, root, tls};

const CONTENT: &[u8] = b"Subject: submitted\r\n\r\n";
const NOT_SUBMITTED: &str = "530 5.7.0 authentication required";
const ADMINS: &str = "lmtpAdmins: [mailer]\nimap: {loginFailureDelayMs: 0}\n";

/// Base64 of NUL, name, NUL, password.
fn plain(user: &str, password: &str) -> String {
    use std::fmt::Write as _;
    let bytes = format!("\0{user}\0{password}");
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.as_bytes().chunks(3) {
        let octet = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for at in 0..4 {
            let sextet = bits >> (18 - 6 * at) & 63;
            let letter = char::from(letters[sextet as usize]);
            let letter = if at > three.len() { '=' } else { letter };
            write!(text, "{letter}").unwrap();
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_may_submit_nowhere() {
    let murder = Murder::new(&["alice"]).await;
    let a = murder.backend("be-a", "").await;
    a.has("alice").await;
    let front = murder.frontend(Patience::default(), "lmtp: {}\n").await;
    let stranger = murder.issue("mupdate", "stranger");
    let other = tempfile::tempdir().unwrap();
    let other = Authority::new("other", other.path()).unwrap();
    for address in [a.lmtp, front.lmtp] {
        let mut client = Client::connect(address).await;
        assert_eq!(client.command("MAIL FROM:<>").await, NOT_SUBMITTED);
        let to = client.command("RCPT TO:<alice>").await;
        assert_eq!(to, "503 5.5.1 MAIL comes first");
        // The role in the certificate counts, not that there is one.
        client.start_tls(&tls(&stranger)).await;
        assert_eq!(client.command("MAIL FROM:<>").await, NOT_SUBMITTED);
        // And only that of this murder's own authority.
        let foreign = other.issue("frontend", "fe", "fe-0").unwrap();
        let mut client = Client::connect(address).await;
        assert_eq!(client.command("STARTTLS").await, "220 2.0.0 start TLS now");
        client.fail_tls(&tls(&foreign)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_certificate_shown_by_starttls_may_submit() {
    let murder = Murder::new(&["alice"]).await;
    let a = murder.backend("be-a", "").await;
    a.has("alice").await;
    let mut client = Client::connect(a.lmtp).await;
    assert_eq!(client.command("MAIL FROM:<>").await, NOT_SUBMITTED);
    let hello = client
        .start_tls(&tls(&murder.issue("frontend", "fe")))
        .await;
    assert!(!hello.contains("STARTTLS"), "{hello}");
    assert_eq!(client.deliver(&["alice"], CONTENT).await, [DELIVERED]);
    assert_eq!(a.contents("user.alice").await, [CONTENT]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_lmtp_administrator_may_submit_after_a_login_inside_tls() {
    let murder = Murder::new(&["alice", "mailer"]).await;
    let a = murder.backend("be-a", ADMINS).await;
    a.has("alice").await;
    let front = murder
        .frontend(Patience::default(), &format!("{ADMINS}lmtp: {{}}\n"))
        .await;
    let anybody = tls(&murder.issue("operator", "anybody"));
    for address in [a.lmtp, front.lmtp] {
        let mut client = Client::connect(address).await;
        let login = format!("AUTH PLAIN {}", plain("mailer", PASSWORD));
        assert!(!client.hello().await.contains("AUTH"));
        assert_eq!(
            client.command(&login).await,
            "502 5.5.1 AUTH is not offered"
        );
        let hello = client.start_tls(&anybody).await;
        assert!(hello.contains("250 AUTH PLAIN"), "{hello}");
        let failed = "535 5.7.8 authentication failed";
        for (user, password) in [
            ("mailer", "wrong"),
            ("alice", PASSWORD),
            ("nobody", PASSWORD),
            ("", ""),
        ] {
            let login = format!("AUTH PLAIN {}", plain(user, password));
            let reply = client.command(&login).await;
            assert!(reply == failed || user.is_empty(), "{user}: {reply}");
        }
        assert_eq!(client.command("MAIL FROM:<>").await, NOT_SUBMITTED);
        assert_eq!(client.command(&login).await, "235 2.7.0 authenticated");
        assert_eq!(client.deliver(&["alice"], CONTENT).await, [DELIVERED]);
        // The same without an initial response, in another session.
        let mut client = Client::connect(address).await;
        client.start_tls(&anybody).await;
        assert_eq!(client.command("AUTH PLAIN").await, "334");
        let reply = client.command(&plain("mailer", PASSWORD)).await;
        assert_eq!(reply, "235 2.7.0 authenticated");
        assert_eq!(client.deliver(&["alice"], CONTENT).await, [DELIVERED]);
    }
    assert_eq!(a.contents("user.alice").await, [CONTENT; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_nodes_are_told_where_a_mailbox_is() {
    let murder = Murder::new(&["alice", "bob", "carol"]).await;
    let trusting = "lmtp: {trustedNetworks: [127.0.0.0/8]}\n";
    let a = murder.backend("be-a", trusting).await;
    let b = murder.backend("be-b", "").await;
    a.has("alice").await;
    a.gives("alice", &b).await;
    b.has("bob").await;
    a.backend.state.set_cordoned(true).unwrap();
    // Moved, never here though its account is, new while nothing new is taken, and without account.
    let recipients = [
        "alice",
        "bob",
        "carol",
        "nobody",
        "+Shared Folders/x",
        "a/b",
    ];
    let elsewhere = "451 4.3.0 the mailbox is on another server";
    let mut client = Client::connect(a.lmtp).await;
    let [first, others @ ..] = &client.envelope(&recipients).await[..] else {
        panic!("no replies");
    };
    assert_eq!(first, elsewhere);
    assert_eq!(others[..4], [elsewhere; 4]);
    assert_eq!(others[4], UNKNOWN);
    let mut node = Client::connect(a.lmtp).await;
    node.start_tls(&tls(&murder.issue("frontend", "fe"))).await;
    let moved = "451 4.3.2 XMOVED be-b 1 2";
    let away = "451 4.3.2 XMOVED";
    let replies = node.envelope(&recipients).await;
    assert_eq!(replies, [moved, away, away, away, away, UNKNOWN]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unified_node_passes_on_what_clients_send_and_serves_nodes_itself() {
    let murder = Murder::new(&["alice", "bob"]).await;
    let trusting = "lmtp: {trustedNetworks: [127.0.0.0/8]}\n";
    let b = murder.backend("be-b", "").await;
    let un = murder.unified("un-a", trusting).await;
    b.has("bob").await;
    let local = un.frontend.local.clone().unwrap();
    local.create_root(&root("alice")).await.unwrap();
    un.caught_up().await;
    let mut client = Client::connect(un.lmtp).await;
    let replies = client.deliver(&["bob", "alice"], CONTENT).await;
    assert_eq!(replies, [DELIVERED; 2]);
    assert_eq!(contents(&local, "user.alice").await, [CONTENT]);
    assert_eq!(b.contents("user.bob").await, [CONTENT]);
    // One is counted by each role, none twice.
    assert_eq!(local.metrics.deliveries.get(), 2);
    let text = local.metrics.encode();
    assert!(
        text.contains("murder_sessions{protocol=\"lmtp\"} 1\n"),
        "{text}"
    );

    let mut node = Client::connect(un.lmtp).await;
    node.start_tls(&tls(&murder.issue("frontend", "fe"))).await;
    let replies = node.envelope(&["alice", "bob"]).await;
    assert_eq!(replies, [ACCEPTED, "451 4.3.2 XMOVED"]);
    assert_eq!(node.data(CONTENT, 1).await, [DELIVERED]);
    assert_eq!(contents(&local, "user.alice").await, [CONTENT; 2]);
}
