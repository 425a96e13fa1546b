//! A user's own mailboxes: found, or made at the first login where there is room.

use bytes::Bytes;
use murder_model::MailboxName;

use super::Session;
use super::relay::Outcome;
use crate::frontend::router::HOPS_MAX;
use crate::frontend::{RouterError, Target};
use crate::imap::End;

impl Session {
    /// Makes INBOX if there is none and the settings say so. What fails here is told when the user
    /// asks for the INBOX.
    pub(super) async fn ensure_home(&mut self) -> Result<(), End> {
        if !self.frontend.settings.autocreate.on_login {
            return Ok(());
        }
        let inbox = MailboxName::inbox(&self.identity.user);
        match self.frontend.router.route(&inbox).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => self.make_home(&inbox).await,
            Err(error) => {
                tracing::warn!(event = "home_unknown", user = %self.identity.user, %error);
                Ok(())
            }
        }
    }

    async fn make_home(&mut self, inbox: &MailboxName) -> Result<(), End> {
        self.wire.flush().await?;
        let tag = Bytes::from_static(b"H");
        match self.create_root(inbox, &tag, b"H CREATE INBOX\r\n").await? {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(event = "autocreate_failed", user = %self.identity.user, %error);
            }
        }
        // What the backend said was not for the client, who has only logged in.
        self.wire.out.clear();
        Ok(())
    }

    /// Passes the creation of a root on to a server with room; one that is cordoned meanwhile, or
    /// gone, is passed over. The answer goes to the client.
    pub(super) async fn create_root(
        &mut self,
        name: &MailboxName,
        tag: &Bytes,
        create: &[u8],
    ) -> Result<Result<(), RouterError>, End> {
        let mut exclude = Vec::new();
        let mut target: Option<Target> = None;
        for _ in 0..=HOPS_MAX {
            let chosen = match target.take() {
                Some(target) => target,
                None => match self.frontend.router.place(&exclude) {
                    Ok(target) => target,
                    Err(error) => return Ok(Err(error)),
                },
            };
            match self.relay(&chosen, tag, create).await? {
                Outcome::Answered(_) => {
                    self.renamed = Some(chosen);
                    return Ok(Ok(()));
                }
                Outcome::Cordoned | Outcome::Lost => exclude.push(chosen.server),
                Outcome::Moved(moved) => match self.frontend.router.follow(name, &moved).await {
                    Ok(next) => target = next,
                    Err(error) => return Ok(Err(error)),
                },
            }
        }
        Ok(Err(RouterError::NoRoom))
    }
}
