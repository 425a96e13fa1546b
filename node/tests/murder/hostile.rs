//! Clients that mean no good, or nothing at all: others do not notice.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use murder_e2e::murder::{Murder, Plan};
use murder_e2e::random::Random;

use crate::client::{Client, message};
use crate::{NODE, mupdate};

/// Clients that stop in the middle of a literal.
const HALVES: usize = 500;
/// Half a message, all of which fits into memory.
const HALF_MESSAGE: usize = 64 << 10;
/// What one client fetches and does not read.
const LARGE: usize = 25 << 20;
/// How many of these.
const LARGE_COUNT: usize = 4;
/// Address space of a node.
const ADDRESS_SPACE: u64 = 1536 << 20;
/// Memory of a node that holds all those clients off; of a debug build.
const RESIDENT_MAX: u64 = 200 << 20;
/// What a client calls prompt on a busy machine.
const PROMPT: Duration = Duration::from_secs(15);
/// Connections with garbage, for each listener.
const ROUNDS: usize = 250;

fn resident(murder: &Murder, node: &str) -> u64 {
    let pid = murder.node(node).unwrap().pid().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_ascii_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() << 10
}

fn limit(murder: &Murder, node: &str) {
    let pid = murder.node(node).unwrap().pid().unwrap();
    let status = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--as={ADDRESS_SPACE}")])
        .status();
    assert!(status.unwrap().success());
}

/// Delivers one message over LMTP; the answer to its final dot.
fn deliver(address: SocketAddr, user: &str, content: &str) -> String {
    let mut lmtp = Client::connect(address);
    lmtp.line();
    lmtp.send(b"LHLO x\r\n");
    while lmtp.line().starts_with("250-") {}
    let commands = format!("MAIL FROM:<a@example.org>\r\nRCPT TO:<{user}>\r\nDATA\r\n");
    lmtp.send(commands.as_bytes());
    for code in ["250 ", "250 ", "354 "] {
        let reply = lmtp.line();
        assert!(reply.starts_with(code), "{reply}");
    }
    lmtp.send(content.as_bytes());
    lmtp.send(b".\r\n");
    lmtp.line()
}

/// A client in the middle of a literal of LOGIN or of APPEND.
fn half(murder: &Murder, node: &str, number: usize) -> Client {
    if !number.is_multiple_of(5) {
        let mut client = Client::connect(murder.addresses(node).unwrap().imap);
        client.line();
        client.send(b"t LOGIN {1000}\r\n");
        assert!(client.line().starts_with("+ "));
        client.send(&[b'u'; 500]);
        return client;
    }
    let mut client = Client::login(murder, node, "alice");
    client.send(format!("t APPEND INBOX {{{}}}\r\n", 2 * HALF_MESSAGE).as_bytes());
    assert!(client.line().starts_with("+ "));
    client.send(&[b'm'; HALF_MESSAGE]);
    client
}

/// What another client does meanwhile.
fn is_served(murder: &Murder, node: &str, id: &str) {
    let begun = Instant::now();
    let mut bob = Client::login(murder, node, "bob");
    bob.ok("SELECT INBOX");
    let appended = bob.append("INBOX", "", &message(&format!("{id}-appended")));
    assert!(appended.starts_with("t OK [APPENDUID "), "{appended}");
    let lmtp = murder.addresses(node).unwrap().lmtp;
    let reply = deliver(lmtp, "bob", &message(&format!("{id}-delivered")));
    assert!(reply.starts_with("250 "), "{reply}");
    bob.ok("NOOP");
    let found = bob.ok(&format!("SEARCH SUBJECT \"about {id}-delivered\""));
    assert!(found[0].starts_with("* SEARCH "), "{found:?}");
    bob.ok("FETCH 1:* (FLAGS BODY.PEEK[HEADER])");
    bob.ok("LIST \"\" \"*\"");
    bob.ok("LOGOUT");
    let taken = begun.elapsed();
    assert!(taken < PROMPT, "{node}: {taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_literals_and_a_client_that_does_not_read_are_no_concern_of_others() {
    let delay = serde_json::json!({"imap": {"loginSecondsMax": 600}});
    let plan = Plan::discrete(NODE, 1, 1).users(["alice", "bob"]);
    let murder = plan.settings(delay).start().await.unwrap();
    let line = format!("{}\r\n", "x".repeat(70));
    let large = format!("Subject: large\r\n\r\n{}", line.repeat(LARGE / line.len()));
    for _ in 0..LARGE_COUNT {
        let lmtp = murder.addresses("be-a").unwrap().lmtp;
        let reply = deliver(lmtp, "alice", &large);
        assert!(reply.starts_with("250 "), "{reply}");
    }
    Client::login(&murder, "fe-0", "bob").ok("SELECT INBOX");
    let nodes = ["be-a", "fe-0"];
    nodes.iter().for_each(|node| limit(&murder, node));
    for node in nodes {
        is_served(&murder, node, "before");
        let mut slow = Client::login(&murder, node, "alice");
        slow.ok("SELECT INBOX");
        slow.send(format!("t FETCH 1:{LARGE_COUNT} BODY.PEEK[]\r\n").as_bytes());
        let mut halves = Vec::new();
        for number in 0..HALVES {
            halves.push(half(&murder, node, number));
            if number.is_multiple_of(250) {
                assert_eq!(slow.bytes(1).len(), 1);
                is_served(&murder, node, &format!("with-{number}"));
            }
        }
        is_served(&murder, node, "with-all");
        for node in nodes {
            let resident = resident(&murder, node);
            assert!(resident < RESIDENT_MAX, "{node}: {} MiB", resident >> 20);
        }
        // Those who do go on are served, too.
        for client in halves.iter_mut().step_by(100) {
            client.send(&[b'm'; HALF_MESSAGE]);
            client.send(b"\r\n");
            let appended = client.until_tag().pop().unwrap();
            assert!(appended.starts_with("t OK [APPENDUID "), "{appended}");
        }
    }
}

/// Bytes that a client of the protocol would not send.
fn garbage(random: &mut Random) -> Vec<u8> {
    const WORDS: [&[u8]; 16] = [
        b"* ",
        b"+ ",
        b"a ",
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"{5}\r\n",
        b"{99999999999999999999}\r\n",
        b"{5+}\r\n",
        b"a LOGIN ",
        b"a UPDATE ",
        b"LHLO ",
        b"MAIL FROM:<",
        b"a AUTHENTICATE PLAIN ",
        b"\"((((((((",
    ];
    let mut bytes = Vec::new();
    match random.below(5) {
        // Anything.
        0 => {
            for _ in 0..random.below(2000) {
                bytes.push(random.below(256) as u8);
            }
        }
        // A line without an end.
        1 => bytes.resize(
            70_000 + random.below(200_000),
            b"a \0\xff("[random.below(5)],
        ),
        // Words in any order.
        2 | 3 => {
            for _ in 0..random.below(60) {
                bytes.extend_from_slice(WORDS[random.below(WORDS.len())]);
            }
        }
        // Many short lines.
        _ => {
            for _ in 0..random.below(200) {
                bytes.push(random.below(256) as u8);
                bytes.extend_from_slice(b" NOOP\r\n");
            }
        }
    }
    bytes
}

/// Sends bytes and waits for the end of the connection.
fn send_and_leave(address: SocketAddr, bytes: &[u8]) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    socket
        .set_write_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    // Whoever has heard enough may hang up before the end.
    let sent = socket.write_all(bytes);
    let left = sent.and_then(|()| socket.shutdown(Shutdown::Write));
    let heard = left.and_then(|()| socket.read_to_end(&mut Vec::new()));
    if let Err(error) = heard {
        let gave_up = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(
            !gave_up,
            "{address} holds on after {}",
            bytes.escape_ascii()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_answered_or_dropped_by_every_listener_and_all_serve_on() {
    let plans = [
        (Plan::discrete(NODE, 1, 1), vec!["be-a", "fe-0"]),
        (Plan::unified(NODE, 1), vec!["un-a"]),
    ];
    for (seed, (plan, nodes)) in plans.into_iter().enumerate() {
        let murder = plan.users(["alice", "bob"]).start().await.unwrap();
        let master = murder.addresses("mupdate").unwrap();
        let mut listeners = vec![master.mupdate, master.admin];
        for node in &nodes {
            let at = murder.addresses(node).unwrap();
            listeners.extend([at.imap, at.imaps, at.lmtp, at.admin]);
            if murder.node(node).unwrap().role().holds_mailboxes() {
                listeners.push(at.transfer);
            }
        }
        let threads: Vec<_> = listeners
            .into_iter()
            .enumerate()
            .map(|(number, address)| {
                std::thread::spawn(move || {
                    let mut random = Random::new((seed * 100 + number) as u64);
                    for _ in 0..ROUNDS {
                        send_and_leave(address, &garbage(&mut random));
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        Client::login(&murder, nodes[nodes.len() - 1], "bob").ok("SELECT INBOX");
        for node in &nodes {
            is_served(&murder, node, "after");
        }
        let mut client = mupdate::administrator(&murder);
        let found = mupdate::rows(&mut client, "FIND \"user.bob\"");
        assert!(found.len() > 1, "{found:?}");
        for node in murder.nodes() {
            let log = std::fs::read(node.log()).unwrap();
            let log = String::from_utf8_lossy(&log);
            assert!(!log.contains("panicked"), "{}", node.name());
        }
    }
}
