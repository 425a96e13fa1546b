//! Listeners of mail: a socket, a limit, and a session for each connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use murder_proto::imap::server::Limits;
use tokio::net::{TcpListener, TcpStream};

use super::{Base, Running};
use crate::admin::{self, BackendPart};
use crate::backend::{self, Backend, lmtp};
use crate::frontend::lmtp::Proxy;
use crate::frontend::{self, Frontend};
use crate::imap::login::LoginContext;
use crate::imap::{End, Identity, Wire, login};
use crate::mupdate::master::MasterHandle;
use crate::net::proxied::Proxies;
use crate::net::{PeerIdentity, Stream, Tls, listener};
use crate::peer::{self, Service};
use crate::stop::{Leave, Phase};
use crate::transfer::Transfers;

/// Who serves mail here.
#[derive(Clone)]
pub(super) enum Mail {
    /// Only what is on this server.
    Backend(Arc<Backend>),
    /// Everything, by way of those who have it.
    Frontend(Arc<Frontend>),
    /// Clients are routed; nodes are served what is here.
    Unified(Arc<Backend>, Arc<Frontend>),
}

impl Mail {
    async fn imap(self, wire: Wire, identity: Identity) -> Result<(), End> {
        let from_node = identity.via.is_some();
        match self {
            Self::Backend(backend) => backend::imap::serve(backend, wire, identity).await,
            Self::Unified(backend, _) if from_node => {
                backend::imap::serve(backend, wire, identity).await
            }
            Self::Frontend(frontend) | Self::Unified(_, frontend) => {
                frontend::imap::serve(frontend, wire, identity).await
            }
        }
    }
}

/// Who takes deliveries here.
#[derive(Clone)]
enum Lmtp {
    Backend(Arc<Backend>, Option<Tls>),
    Proxy(Arc<Proxy>),
}

impl Lmtp {
    async fn serve(
        self,
        stream: Stream,
        peer: Option<SocketAddr>,
        leave: Leave,
    ) -> Result<(), End> {
        let leave = Some(leave);
        match self {
            Self::Backend(backend, tls) => {
                lmtp::serve(backend, tls, stream, peer, None, leave).await
            }
            Self::Proxy(proxy) => frontend::lmtp::serve(proxy, stream, peer, None, leave).await,
        }
    }
}

/// What sessions of IMAP share.
struct Imap {
    mail: Mail,
    login: LoginContext,
    leave: Leave,
}

/// Opens a listener of mail: its sessions are waited for when the node stops.
fn spawn_mail<F, Fut>(
    base: &Base,
    running: &mut Running,
    socket: TcpListener,
    limit: (usize, &'static [u8]),
    serve: F,
) where
    F: Fn(TcpStream, Option<SocketAddr>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let settings = &base.settings;
    let networks = &settings.listeners.proxy_protocol.networks;
    let proxies = Proxies::new(networks, settings.role.holds_mailboxes());
    let mut leave = Leave::new(base.phase.clone());
    let closing = async move { leave.reached(Phase::Closing).await };
    let (sessions, (max, refusal)) = (base.sessions.clone(), limit);
    let counted = move |mut socket: TcpStream, peer| {
        let (open, proxies, serve) = (sessions.open(), proxies.clone(), serve.clone());
        async move {
            match proxies.client(&mut socket, peer).await {
                Ok(client) => serve(socket, client).await,
                Err(error) => tracing::info!(event = "proxy_refused", %peer, %error),
            }
            drop(open);
        }
    };
    running.tasks.spawn(listener::serve_until(
        socket, max, refusal, closing, counted,
    ));
}

/// Opens the listeners of IMAP and LMTP.
pub(super) async fn mail(base: &Base, running: &mut Running, mail: Mail) -> Result<()> {
    let settings = &base.settings;
    let imap = Arc::new(Imap {
        mail: mail.clone(),
        login: LoginContext {
            settings: Arc::clone(settings),
            accounts: Arc::clone(&base.accounts),
            tls: base.tls.clone(),
            metrics: Arc::clone(&base.metrics),
        },
        leave: Leave::new(base.phase.clone()),
    });
    lmtp_listener(base, running, mail).await?;
    for (address, encrypted) in [
        (&settings.listeners.imap, false),
        (&settings.listeners.imaps, true),
    ] {
        let Some(address) = address else { continue };
        let socket = listener::bind("IMAP", address).await?;
        let (imap, max) = (Arc::clone(&imap), settings.imap.sessions_max);
        let refusal = b"* BYE [UNAVAILABLE] too many sessions\r\n";
        spawn_mail(base, running, socket, (max, refusal), move |socket, _| {
            let imap = Arc::clone(&imap);
            async move { ended("imap", imap.serve(socket, encrypted).await) }
        });
    }
    Ok(())
}

async fn lmtp_listener(base: &Base, running: &mut Running, mail: Mail) -> Result<()> {
    let settings = &base.settings;
    let Some(address) = &settings.listeners.lmtp else {
        return Ok(());
    };
    let served = match mail {
        Mail::Backend(backend) => Lmtp::Backend(backend, base.tls.clone()),
        Mail::Frontend(frontend) | Mail::Unified(_, frontend) => {
            Lmtp::Proxy(Arc::new(Proxy::new(frontend)))
        }
    };
    let socket = listener::bind("LMTP", address).await?;
    let max = settings.lmtp.sessions_max;
    let refusal = b"421 4.3.2 too many sessions\r\n";
    let leave = Leave::new(base.phase.clone());
    spawn_mail(
        base,
        running,
        socket,
        (max, refusal),
        move |socket, peer| {
            let (served, leave) = (served.clone(), leave.clone());
            let stream = Stream::Plain(socket);
            async move { ended("lmtp", served.serve(stream, peer, leave).await) }
        },
    );
    Ok(())
}

impl Imap {
    async fn serve(&self, socket: TcpStream, encrypted: bool) -> Result<(), End> {
        let _counted = self.login.metrics.session("imap");
        let settings = &self.login.settings;
        let patience = Duration::from_secs(settings.imap.login_seconds_max);
        let (stream, peer): (_, Option<PeerIdentity>) = match (&self.login.tls, encrypted) {
            (Some(tls), true) => tokio::time::timeout(patience, tls.accept_public(socket))
                .await
                .map_err(|_| End::Idle)??,
            (None, true) => return Err(End::Closed),
            (_, false) => (Stream::Plain(socket), None),
        };
        let peer = peer.filter(|peer| peer.cluster == settings.cluster);
        let mut wire =
            Wire::new(stream, Limits::BEFORE_LOGIN, patience).with_leave(self.leave.clone());
        let logged_in = login(&mut wire, &self.login, peer.as_ref());
        let identity = match tokio::time::timeout(patience, logged_in).await {
            Ok(Ok(identity)) => identity,
            Ok(Err(end)) => {
                wire.close().await;
                return Err(end);
            }
            Err(_) => {
                wire.bye("log in sooner").await;
                return Err(End::Idle);
            }
        };
        wire.silence_max = Duration::from_secs(settings.imap.idle_seconds_max);
        self.mail.clone().imap(wire, identity).await
    }
}

/// Notes how a session ended, if it is worth noting.
pub(super) fn ended(protocol: &'static str, end: Result<(), End>) {
    match end {
        Ok(()) | Err(End::Closed | End::Logout | End::Idle) => {}
        Err(error) => tracing::debug!(event = "session_failed", protocol, %error),
    }
}

/// Opens the listener for other backends.
pub(super) async fn peers(
    base: &Base,
    running: &mut Running,
    backend: &Arc<Backend>,
    transfers: &Arc<Transfers>,
) -> Result<()> {
    let (Some(address), Some(tls)) = (&base.settings.listeners.transfer, &base.tls) else {
        return Ok(());
    };
    let socket = listener::bind("transfers", address).await?;
    let (settings, tls) = (Arc::clone(&base.settings), tls.clone());
    let (backend, transfers) = (Arc::clone(backend), Arc::clone(transfers));
    let stopping = base.stopping.clone();
    running.tasks.spawn(listener::serve(
        socket,
        peer::SESSIONS_MAX,
        b"",
        stopping,
        move |socket, _| {
            let (settings, tls) = (Arc::clone(&settings), tls.clone());
            let (backend, transfers) = (Arc::clone(&backend), Arc::clone(&transfers));
            async move {
                match peer::accept(&settings, &tls, socket).await {
                    Ok(Some((link, peer, Service::Transfer))) => {
                        transfers.serve(link, peer).await;
                    }
                    Ok(Some((link, peer, Service::Append))) => {
                        peer::append::serve(backend, link, peer).await;
                    }
                    Ok(None) => {}
                    Err(error) => tracing::debug!(event = "peer_refused", %error),
                }
            }
        },
    ));
    Ok(())
}

/// Opens the admin interface.
pub(super) async fn admin(
    base: &Base,
    running: &mut Running,
    backend: Option<BackendPart>,
    master: Option<MasterHandle>,
) -> Result<()> {
    let (Some(address), Some(tls)) = (&base.settings.listeners.admin, &base.tls) else {
        return Ok(());
    };
    let socket = listener::bind("the admin interface", address).await?;
    let context = admin::Context {
        settings: Arc::clone(&base.settings),
        metrics: Arc::clone(&base.metrics),
        health: Arc::clone(&base.health),
        state: master.is_none().then(|| Arc::clone(&base.state)),
        backend,
        master,
        limits: admin::Limits::default(),
    };
    let stopping = base.stopping.clone();
    running
        .tasks
        .spawn(admin::serve(socket, tls.clone(), context, stopping));
    Ok(())
}
