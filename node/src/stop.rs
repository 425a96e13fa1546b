//! Being told to stop.

use tokio::sync::watch;

/// Waits until the node is told to stop, or whoever tells it is gone. Cancel-safe.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody is left to tell.
    let _told = stop.wait_for(|stop| *stop).await;
}
