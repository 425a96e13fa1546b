//! An LMTP client that shows every reply.

use std::net::SocketAddr;
use std::time::Duration;

use murder_node::net::{Stream, Tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No answer takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Client {
    stream: Option<Stream>,
    read: Vec<u8>,
}

impl Client {
    /// A session that has said LHLO.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let mut client = Self {
            stream: Some(Stream::Plain(socket)),
            read: Vec::new(),
        };
        let greeting = client.reply().await;
        assert!(greeting.starts_with("220 "), "{greeting}");
        client.hello().await;
        client
    }

    pub(crate) async fn hello(&mut self) -> String {
        let hello = self.command("LHLO client.example").await;
        assert!(hello.starts_with("250-"), "{hello}");
        hello
    }

    /// STARTTLS and LHLO again, with the certificate that `tls` shows.
    pub(crate) async fn start_tls(&mut self, tls: &Tls) -> String {
        assert_eq!(self.command("STARTTLS").await, "220 2.0.0 start TLS now");
        let Some(Stream::Plain(socket)) = self.stream.take() else {
            panic!("TLS in TLS");
        };
        let (stream, _) = tls.connect("127.0.0.1", socket).await.unwrap();
        self.stream = Some(stream);
        self.hello().await
    }

    /// A handshake that the server, or the client, ends.
    pub(crate) async fn fail_tls(&mut self, tls: &Tls) {
        let Some(Stream::Plain(socket)) = self.stream.take() else {
            panic!("TLS in TLS");
        };
        assert!(tls.connect("127.0.0.1", socket).await.is_err());
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let stream = self.stream.as_mut().unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
    }

    /// A line with its end; empty at the end of the connection.
    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.read.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return String::from_utf8(line).unwrap();
            }
            let stream = self.stream.as_mut().unwrap();
            let read = timeout(PATIENCE, stream.read_buf(&mut self.read)).await;
            if matches!(read.expect("no answer"), Ok(0) | Err(_)) {
                return String::new();
            }
        }
    }

    /// A reply, its lines joined, without the last line's end; empty at the end of the connection.
    pub(crate) async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let line = self.line().await;
            reply.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return reply.trim_end().to_owned();
            }
        }
    }

    pub(crate) async fn replies(&mut self, count: usize) -> Vec<String> {
        let mut replies = Vec::new();
        for _ in 0..count {
            replies.push(self.reply().await);
        }
        replies
    }

    pub(crate) async fn command(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes()).await;
        self.reply().await
    }

    /// MAIL and RCPT; the replies to the latter.
    pub(crate) async fn envelope(&mut self, recipients: &[&str]) -> Vec<String> {
        let mail = self.command("MAIL FROM:<sender@example.org>").await;
        assert_eq!(mail, "250 2.1.0 sender ok");
        let mut replies = Vec::new();
        for recipient in recipients {
            replies.push(self.command(&format!("RCPT TO:<{recipient}>")).await);
        }
        replies
    }

    /// DATA with content that needs no dots; the replies after the final dot.
    pub(crate) async fn data(&mut self, content: &[u8], accepted: usize) -> Vec<String> {
        assert_eq!(self.command("DATA").await, "354 end with CRLF.CRLF");
        self.send(&[content, b".\r\n"].concat()).await;
        self.replies(accepted).await
    }

    /// A whole message to recipients who all are accepted.
    pub(crate) async fn deliver(&mut self, recipients: &[&str], content: &[u8]) -> Vec<String> {
        for reply in self.envelope(recipients).await {
            assert_eq!(reply, ACCEPTED);
        }
        self.data(content, recipients.len()).await
    }
}

pub(crate) const ACCEPTED: &str = "250 2.1.5 recipient ok";
pub(crate) const DELIVERED: &str = "250 2.1.5 delivered";
pub(crate) const UNKNOWN: &str = "550 5.1.1 no such recipient here";
pub(crate) const NO_ANSWER: &str = "451 4.4.2 the mailbox' server does not answer";
