//! Accepting connections: one task a listener, one task a connection, never more than a limit.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::stop::stopped;

/// How long accepting rests after the system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds `address` (`host:port`) and names it in the error.
pub async fn bind(what: &str, address: &str) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot listen for {what} on {address}: {error}"),
        )
    })
}

/// Accepts until `stop` turns true. See [`serve_until`].
pub async fn serve<F, Fut>(
    listener: TcpListener,
    sessions_max: usize,
    refusal: &'static [u8],
    mut stop: watch::Receiver<bool>,
    handle: F,
) where
    F: Fn(TcpStream, SocketAddr) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let told = async move { stopped(&mut stop).await };
    serve_until(listener, sessions_max, refusal, told, handle).await;
}

/// Accepts until `stop` is done. At most `sessions_max` connections are served at once; one more
/// gets `refusal` and is closed. Nagle's algorithm is off on every socket.
pub async fn serve_until<F, Fut>(
    listener: TcpListener,
    sessions_max: usize,
    refusal: &'static [u8],
    stop: impl Future<Output = ()>,
    handle: F,
) where
    F: Fn(TcpStream, SocketAddr) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut stop = std::pin::pin!(stop);
    let slots = Arc::new(Semaphore::new(sessions_max));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => return,
        };
        match accepted {
            Ok((socket, peer)) => {
                // A failure here means that the peer is gone already.
                let _gone = socket.set_nodelay(true);
                let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                    let _gone = socket.try_write(refusal);
                    continue;
                };
                let session = handle(socket, peer);
                tokio::spawn(async move {
                    session.await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Most often out of descriptors: a pause lets sessions end instead of spinning.
                tracing::warn!(event = "accept_failed", %error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
