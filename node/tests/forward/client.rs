//! An IMAP client on a connection in memory.

use std::sync::Arc;
use std::time::Duration;

use murder_model::UserName;
use murder_node::backend::{Backend, imap};
use murder_node::imap::{Identity, Wire};
use murder_node::net::Stream;
use murder_proto::imap::server::Limits;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};

pub(crate) struct Client(BufReader<DuplexStream>);

impl Client {
    /// A session of this user; `admin` is an administrator.
    pub(crate) fn open(backend: &Arc<Backend>, user: &str) -> Self {
        let (client, server) = tokio::io::duplex(1 << 20);
        let limits = Limits::default();
        let wire = Wire::new(Stream::Memory(server), limits, Duration::from_secs(60));
        let identity = Identity {
            user: UserName::parse(user).unwrap(),
            is_admin: user == "admin",
            via: None,
        };
        tokio::spawn(imap::serve(Arc::clone(backend), wire, identity));
        Self(BufReader::new(client))
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
    }

    /// A line without `\\Recent`, which says when a session looked, not what it saw.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        let length = self.0.read_line(&mut line).await.unwrap();
        assert!(length > 0, "the session has ended");
        let line = line.replace(" \\Recent", "").replace("\\Recent", "");
        line.trim_end().to_owned()
    }

    /// The answer's lines, the tagged one last.
    pub(crate) async fn all(&mut self, text: &str) -> Vec<String> {
        self.send(&format!("t {text}\r\n")).await;
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            let last = line.starts_with("t ");
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    /// The tagged line.
    pub(crate) async fn last(&mut self, text: &str) -> String {
        self.all(text).await.pop().unwrap()
    }

    /// The untagged lines of a command that succeeds.
    pub(crate) async fn ok(&mut self, text: &str) -> Vec<String> {
        let mut lines = self.all(text).await;
        let last = lines.pop().unwrap();
        assert!(last.starts_with("t OK"), "{text}: {last}");
        lines
    }
}
