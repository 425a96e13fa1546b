//! Sockets: listeners with limits, TLS in both directions, and who the peer is.

pub mod dial;
pub mod identity;
pub mod listener;
pub mod networks;
pub mod proxied;
pub mod stream;
pub mod tls;

pub use identity::{PeerIdentity, PeerRole};
pub use stream::{Connection, Stream};
pub use tls::Tls;
