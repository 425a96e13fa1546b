//! Who a peer is: a node by its certificate, a Cyrus server by the password of an administrator.

use murder_locations::request::{Identity, Role};
use murder_model::UserName;
use murder_proto::sasl::{Credentials, Mechanism};

use super::Server;
use crate::accounts::Verdict;
use crate::net::{PeerIdentity, PeerRole};

/// What a peer may log in with. Passwords never cross the network in clear.
pub(super) fn mechanisms(
    server: &Server,
    private: bool,
    peer: Option<&PeerIdentity>,
) -> Vec<Mechanism> {
    let mut offered = Vec::new();
    if node(server, peer).is_some() {
        offered.push(Mechanism::External);
    }
    if server.accounts.is_some() && (private || server.settings.insecure_loopback) {
        offered.push(Mechanism::Plain);
    }
    offered
}

/// Checks what a peer claims; `None`: refused.
pub(super) async fn verify(
    server: &Server,
    peer: Option<&PeerIdentity>,
    credentials: Credentials,
) -> Option<Identity> {
    match credentials {
        Credentials::External { authorization } => {
            node(server, peer).filter(|node| authorization.is_none_or(|wanted| wanted == node.name))
        }
        Credentials::Password {
            authorization,
            authentication,
            password,
        } => {
            let account = administrator(server, &authentication);
            let accounts = server.accounts.as_ref()?;
            // The password is checked for any name, so that the time does not tell administrators.
            let user = UserName::parse(&authentication).ok()?;
            let verdict = accounts.verify(&user, password.as_bytes()).await;
            let account = match verdict {
                Ok(Verdict::Accepted) => account?,
                Ok(Verdict::Refused) => return None,
                Err(error) => {
                    tracing::error!(event = "accounts_failed", %error);
                    return None;
                }
            };
            let account = match authorization {
                Some(other) => administrator(server, &other)?,
                None => account,
            };
            Some(Identity {
                name: account.as_str().to_owned(),
                role: Role::Cyrus,
            })
        }
    }
}

fn administrator(server: &Server, name: &str) -> Option<UserName> {
    let user = UserName::parse(name).ok()?;
    server.settings.admins.contains(&user).then_some(user)
}

/// The identity in a certificate of this murder.
fn node(server: &Server, peer: Option<&PeerIdentity>) -> Option<Identity> {
    let peer = peer.filter(|peer| peer.cluster == server.settings.cluster)?;
    let role = match peer.role {
        PeerRole::Backend | PeerRole::Unified => Role::Backend,
        PeerRole::Frontend => Role::Frontend,
        PeerRole::Mupdate => Role::Mupdate,
        PeerRole::Operator => Role::Operator,
    };
    Some(Identity {
        name: peer.server.clone(),
        role,
    })
}
