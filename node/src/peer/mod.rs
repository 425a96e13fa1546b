//! What backends say to each other: transfers of units, and messages for mailboxes elsewhere.
//!
//! One connection carries one conversation over mutual TLS. It begins with a [`Hello`] that names the
//! service and is answered with [`Welcome`]; what follows is the service's own.

pub mod append;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use murder_api::Settings;
use murder_locations::request::HostPort;
use murder_model::ServerName;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use wire::{CONTENT_BYTES_MAX, FRAME_BYTES_MAX, Link, LinkError};

use crate::net::dial::{DIAL_LIMIT, dial};
use crate::net::{PeerIdentity, Tls};

/// Most conversations at once.
pub const SESSIONS_MAX: usize = 256;
/// Version of everything that is said.
pub const PEER_VERSION: u32 = 1;

/// First words of whoever connects.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Hello {
    /// [`PEER_VERSION`] of the one who connects.
    pub version: u32,
    /// What is wanted.
    pub service: Service,
}

/// What a conversation is about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Service {
    /// The transfer of one unit to the server that is spoken to.
    Transfer,
    /// Messages to append to mailboxes of the server that is spoken to.
    Append,
}

/// The answer to [`Hello`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Welcome {
    /// Go on.
    Ready,
    /// No, and why.
    Refused(String),
}

/// Opens a conversation with a server.
pub async fn connect(
    settings: &Settings,
    tls: &Tls,
    server: &ServerName,
    address: &HostPort,
    service: Service,
) -> Result<Link, LinkError> {
    let (cluster, name) = (&settings.cluster, server.as_str());
    let stream = dial(tls, &address.host, address.port, cluster, name).await?;
    let mut link = Link::new(stream);
    let hello = Hello {
        version: PEER_VERSION,
        service,
    };
    link.send(&hello).await?;
    link.flush().await?;
    match link.receive().await? {
        Welcome::Ready => Ok(link),
        Welcome::Refused(why) => Err(LinkError::Refused(why)),
    }
}

/// Accepts a conversation from a backend of this murder; anybody else is refused. `None`: refused,
/// and told so.
pub async fn accept(
    settings: &Arc<Settings>,
    tls: &Tls,
    socket: TcpStream,
) -> Result<Option<(Link, PeerIdentity, Service)>, LinkError> {
    let accepted = timeout(DIAL_LIMIT, tls.accept_mutual(socket)).await;
    let (stream, identity) = accepted.map_err(|_| LinkError::Silent)??;
    let mut link = Link::new(stream);
    let hello: Hello = link.receive().await?;
    let peer =
        identity.filter(|peer| peer.cluster == settings.cluster && peer.role.holds_mailboxes());
    let refusal = match &peer {
        None => Some("only backends of this murder are served here".to_owned()),
        Some(_) if hello.version != PEER_VERSION => {
            Some(format!("version {PEER_VERSION} is spoken here"))
        }
        Some(_) => None,
    };
    if let Some(why) = refusal {
        link.send(&Welcome::Refused(why)).await?;
        link.flush().await?;
        return Ok(None);
    }
    link.send(&Welcome::Ready).await?;
    link.flush().await?;
    Ok(peer.map(|peer| (link, peer, hello.service)))
}

/// How long a peer may be silent in a conversation.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);
