//! Clients behind a balancer that speaks the PROXY protocol.

use crate::harness::{Client, Node, PASSWORD, message};

/// A node that takes headers from loopback and deliveries from 10.0.0.0/8.
fn start() -> Node {
    let mut node = Node::start_new();
    node.kill();
    let settings = std::fs::read_to_string(node.config()).unwrap();
    let proxies = "listeners:\n  proxyProtocol: {networks: [127.0.0.0/8]}\n";
    let settings = settings.replace("listeners:\n", proxies).replace(
        "insecureLoopback: true",
        "allowPlaintextLogin: true\nlmtp: {trustedNetworks: [10.0.0.0/8]}",
    );
    std::fs::write(node.config(), settings).unwrap();
    node.start();
    node
}

fn lmtp(node: &Node, header: &str) -> Client {
    let mut client = Client::connect(node.lmtp);
    client.send(header.as_bytes());
    assert!(client.line().starts_with("220 "));
    client.send(b"LHLO test\r\n");
    assert!(client.reply().starts_with("250"));
    client
}

#[test]
fn the_address_in_the_header_decides_who_may_deliver_and_is_in_the_trace() {
    let node = start();
    let mut trusted = lmtp(&node, "PROXY TCP4 10.1.2.3 10.9.9.9 40000 24\r\n");
    let replies = trusted.deliver(&["alice"], &message("1", "passed on"));
    assert!(replies[0].starts_with("250 "), "{replies:?}");
    // From elsewhere, from the balancer itself, and from a node that says nothing of itself.
    for header in [
        "PROXY TCP4 192.0.2.1 10.9.9.9 40000 24\r\n",
        "PROXY UNKNOWN\r\n",
        "",
    ] {
        let mut client = lmtp(&node, header);
        client.send(b"MAIL FROM:<>\r\n");
        let reply = client.reply();
        assert!(reply.starts_with("530 "), "{header}: {reply}");
    }
    let mut client = Client::connect(node.imap);
    // Version 2, followed by the first command at once.
    client.send(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\xc3\x50\0\x8f");
    client.send(format!("t LOGIN alice {PASSWORD}\r\n").as_bytes());
    assert!(client.line().starts_with("* OK "));
    assert!(client.line().starts_with("t OK "));
    client.command("SELECT INBOX");
    let fetched = client.command("FETCH 1 BODY[HEADER.FIELDS (RECEIVED)]");
    assert!(
        fetched[1].starts_with("Received: from [10.1.2.3] by one-0 "),
        "{fetched:?}"
    );
}
