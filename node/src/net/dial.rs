//! Opening connections to other nodes: a time limit, TLS, and the certificate's name checked.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::net::{PeerIdentity, Stream, Tls};

/// How long a connection with its handshake may take.
pub const DIAL_LIMIT: Duration = Duration::from_secs(5);

/// Connects to `host:port`. Nagle's algorithm is off.
pub async fn dial_plain(host: &str, port: u16) -> io::Result<TcpStream> {
    let connected = timeout(DIAL_LIMIT, TcpStream::connect((host, port))).await;
    let socket = connected.map_err(|_| timed_out(host, port))?;
    let socket = socket.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot reach {host}:{port}: {error}"))
    })?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Turns a connection into TLS and checks that the peer is `server` of `cluster`.
pub async fn secure(
    tls: &Tls,
    socket: TcpStream,
    host: &str,
    cluster: &str,
    server: &str,
) -> io::Result<Stream> {
    let handshake = timeout(DIAL_LIMIT, tls.connect(host, socket)).await;
    let (stream, identity) = handshake.map_err(|_| timed_out(host, 0))??;
    check(identity.as_ref(), cluster, server)?;
    Ok(stream)
}

/// Connects, with TLS from the first byte, to a node that must be `server` of `cluster`.
pub async fn dial(
    tls: &Tls,
    host: &str,
    port: u16,
    cluster: &str,
    server: &str,
) -> io::Result<Stream> {
    let socket = dial_plain(host, port).await?;
    secure(tls, socket, host, cluster, server).await
}

fn check(identity: Option<&PeerIdentity>, cluster: &str, server: &str) -> io::Result<()> {
    match identity {
        Some(peer) if peer.cluster == cluster && peer.server == server => Ok(()),
        Some(peer) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "expected server {server} of {cluster}, found {peer} of {}",
                peer.cluster
            ),
        )),
        None => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("the certificate of {server} names no server"),
        )),
    }
}

fn timed_out(host: &str, port: u16) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("{host}:{port} did not answer in {} s", DIAL_LIMIT.as_secs()),
    )
}
