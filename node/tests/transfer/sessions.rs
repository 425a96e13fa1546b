//! What IMAP sessions see of a move.

use std::sync::Arc;
use std::time::Duration;

use murder_api::admin::TransferPhase;
use murder_model::UserName;
use murder_node::backend::imap;
use murder_node::imap::{Identity, Wire};
use murder_node::net::Stream;
use murder_proto::imap::server::Limits;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};

use crate::content::fill;
use crate::harness::Node;
use crate::murder::Murder;

/// A client on a connection in memory.
struct Client(BufReader<DuplexStream>);

impl Client {
    fn open(node: &Node) -> Self {
        let (client, server) = tokio::io::duplex(1 << 20);
        let limits = Limits::BEFORE_LOGIN;
        let wire = Wire::new(Stream::Memory(server), limits, Duration::from_secs(60));
        let identity = Identity {
            user: UserName::parse("alice").unwrap(),
            is_admin: false,
            via: None,
        };
        tokio::spawn(imap::serve(Arc::clone(node.backend()), wire, identity));
        Self(BufReader::new(client))
    }

    async fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
    }

    /// One line; empty at the end of the connection.
    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line
    }

    async fn command(&mut self, text: &str) -> String {
        self.send(&format!("t {text}\r\n")).await;
        loop {
            let line = self.line().await;
            if line.is_empty() || line.starts_with("t ") {
                return line;
            }
        }
    }
}

const BYE: &str = "* BYE [UNAVAILABLE] the mailbox has moved, connect again\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_on_a_moved_mailbox_end_and_others_go_on() {
    let murder = Murder::start().await;
    let a = murder.backend("be-a", "").await;
    let b = murder.backend("be-b", "").await;
    let root = fill(&a).await;
    let mut selected = Client::open(&a);
    assert!(selected.command("SELECT INBOX").await.starts_with("t OK "));
    let mut idle = Client::open(&a);
    assert!(idle.command("SELECT Old").await.starts_with("t OK "));
    idle.send("t IDLE\r\n").await;
    assert_eq!(idle.line().await, "+ idling\r\n");
    let mut other = Client::open(&a);
    assert!(other.command("NOOP").await.starts_with("t OK "));
    let status = a.transfer(&root, &b).await;
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    assert_eq!(selected.line().await, BYE);
    assert_eq!(selected.line().await, "");
    assert_eq!(idle.line().await, BYE);
    assert_eq!(idle.line().await, "");
    assert!(other.command("NOOP").await.starts_with("t OK "));
    let answer = other.command("SELECT INBOX").await;
    assert!(answer.starts_with("t NO ["), "{answer}");
    let mut there = Client::open(&b);
    assert!(there.command("SELECT INBOX").await.starts_with("t OK "));
    // Back again: nobody meets what was seen before.
    let status = b.transfer(&root, &a).await;
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    assert_eq!(there.line().await, BYE);
    assert!(other.command("SELECT INBOX").await.starts_with("t OK "));
}
