//! An IMAP client on a connection in memory.

use std::sync::Arc;
use std::time::Duration;

use murder_model::UserName;
use murder_node::backend::{Backend, imap};
use murder_node::imap::{Identity, Wire};
use murder_node::net::Stream;
use murder_proto::imap::server::Limits;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};
use tokio::task::AbortHandle;

/// Whoever drops it ends the session at once, wherever it is.
pub(crate) struct Client {
    wire: BufReader<DuplexStream>,
    session: AbortHandle,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.session.abort();
    }
}

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
        let session = tokio::spawn(imap::serve(Arc::clone(backend), wire, identity));
        Self {
            wire: BufReader::new(client),
            session: session.abort_handle(),
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.wire
            .get_mut()
            .write_all(text.as_bytes())
            .await
            .unwrap();
    }

    /// A line without `\\Recent`, which says when a session looked, not what it saw.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        let length = self.wire.read_line(&mut line).await.unwrap();
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

    /// As [`Self::last`]; `None` if the session ends before.
    pub(crate) async fn attempt(&mut self, text: &str) -> Option<String> {
        let command = format!("t {text}\r\n");
        self.wire
            .get_mut()
            .write_all(command.as_bytes())
            .await
            .ok()?;
        loop {
            let mut line = String::new();
            let length = self.wire.read_line(&mut line).await.ok()?;
            if length == 0 {
                return None;
            }
            if line.starts_with("t ") {
                return Some(line);
            }
        }
    }

    /// The untagged lines of a command that succeeds.
    pub(crate) async fn ok(&mut self, text: &str) -> Vec<String> {
        let mut lines = self.all(text).await;
        let last = lines.pop().unwrap();
        assert!(last.starts_with("t OK"), "{text}: {last}");
        lines
    }
}
