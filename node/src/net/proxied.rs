//! Connections that a balancer passes on, and who is behind it (the PROXY protocol).
//!
//! From the configured networks a header is required. A unified node also takes connections without
//! one from there, for other nodes dial it directly; where those come from says nothing, so that
//! they are trusted for their certificate alone.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use murder_proto::proxy::{Step, may_begin, parse};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::net::networks::Networks;

/// How long a header may take.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// How long its first byte is waited for where connections may come without.
const FIRST_BYTE_LIMIT: Duration = Duration::from_secs(1);

/// Who passes connections on.
#[derive(Clone, Debug)]
pub struct Proxies {
    networks: Networks,
    /// Whether connections from there may come without a header.
    headerless: bool,
    first_byte_limit: Duration,
    header_limit: Duration,
}

impl Proxies {
    /// Proxies in these networks.
    pub fn new(networks: &[String], headerless: bool) -> Self {
        Self {
            networks: Networks::new(networks),
            headerless,
            first_byte_limit: FIRST_BYTE_LIMIT,
            header_limit: HEADER_LIMIT,
        }
    }

    /// Takes the header off a connection just accepted: the client's address, `None` if it is not
    /// known. Nothing behind the header is read.
    pub async fn client(
        &self,
        socket: &mut TcpStream,
        peer: SocketAddr,
    ) -> io::Result<Option<SocketAddr>> {
        if !self.networks.contains(peer.ip()) {
            return Ok(Some(peer));
        }
        if self.headerless {
            let mut first = [0];
            match timeout(self.first_byte_limit, socket.peek(&mut first)).await {
                Ok(Ok(1)) if may_begin(first[0]) => {}
                Ok(Err(error)) => return Err(error),
                _ => return Ok(None),
            }
        }
        timeout(self.header_limit, header(socket))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no PROXY header in time"))?
    }
}

async fn header(socket: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut bytes = Vec::new();
    loop {
        match parse(&bytes) {
            Ok(Step::Whole(client)) => return Ok(client),
            Ok(Step::More(more)) => {
                let begin = bytes.len();
                bytes.resize(begin + more, 0);
                socket.read_exact(&mut bytes[begin..]).await?;
            }
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::Proxies;

    /// What the node sees of a connection from loopback that begins with these bytes, and what is
    /// left for it to read.
    async fn arrive(proxies: &Proxies, sent: &[u8]) -> (Result<String, ErrorKind>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut socket, peer) = listener.accept().await.unwrap();
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        let seen = proxies.client(&mut socket, peer).await;
        let seen = match seen {
            Ok(Some(seen)) if seen == peer => Ok("itself".to_owned()),
            Ok(Some(seen)) => Ok(seen.to_string()),
            Ok(None) => Ok("unknown".to_owned()),
            Err(error) => Err(error.kind()),
        };
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        (seen, rest)
    }

    fn proxies(network: &str, headerless: bool) -> Proxies {
        Proxies::new(&[network.to_owned()], headerless)
    }

    const ONE: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 50000 143\r\nLHLO x\r\n";
    const TWO: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\xc3\x50\0\x8f\x16\x03";

    #[tokio::test]
    async fn from_a_proxy_a_header_is_required_and_taken_off() {
        for headerless in [false, true] {
            let proxies = proxies("127.0.0.0/8", headerless);
            let client = Ok("192.0.2.1:50000".to_owned());
            assert_eq!(
                arrive(&proxies, ONE).await,
                (client.clone(), b"LHLO x\r\n".to_vec())
            );
            assert_eq!(arrive(&proxies, TWO).await, (client, b"\x16\x03".to_vec()));
            let own = b"PROXY UNKNOWN\r\n".as_slice();
            assert_eq!(
                arrive(&proxies, own).await,
                (Ok("unknown".to_owned()), Vec::new())
            );
            let (seen, _) = arrive(&proxies, b"PROXY TCP4 nonsense\r\n").await;
            assert_eq!(seen, Err(ErrorKind::InvalidData));
        }
        let strict = proxies("127.0.0.0/8", false);
        let (seen, _) = arrive(&strict, b"\x16\x03\x01").await;
        assert_eq!(seen, Err(ErrorKind::InvalidData));
        let (seen, _) = arrive(&strict, b"PROXY TCP4").await;
        assert_eq!(seen, Err(ErrorKind::UnexpectedEof));
    }

    #[tokio::test]
    async fn nodes_may_come_without_and_are_nobody_in_particular() {
        let proxies = proxies("127.0.0.0/8", true);
        for sent in [b"\x16\x03\x01".as_slice(), b"LHLO x\r\n"] {
            let (seen, rest) = arrive(&proxies, sent).await;
            assert_eq!((seen, rest.as_slice()), (Ok("unknown".to_owned()), sent));
        }
    }

    /// A client cannot pass for another by a header of its own.
    #[tokio::test]
    async fn from_elsewhere_a_header_means_nothing() {
        let (seen, rest) = arrive(&proxies("10.0.0.0/8", false), ONE).await;
        assert_eq!((seen, rest.as_slice()), (Ok("itself".to_owned()), ONE));
    }

    /// Nodes wait for the greeting of LMTP before they say anything.
    #[tokio::test]
    async fn silence_is_a_node_s_or_too_long() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _client = TcpStream::connect(address).await.unwrap();
        let (mut socket, peer) = listener.accept().await.unwrap();
        let quick = |headerless| Proxies {
            first_byte_limit: Duration::from_millis(10),
            header_limit: Duration::from_millis(10),
            ..proxies("127.0.0.0/8", headerless)
        };
        let seen = quick(true).client(&mut socket, peer).await;
        assert_eq!(seen.unwrap(), None);
        let seen = quick(false).client(&mut socket, peer).await;
        assert_eq!(seen.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
