//! LIST from the replica, at the cost of what the user may see.

use std::ops::ControlFlow;

use murder_locations::name::Name;
use murder_locations::replica::Viewer;
use murder_locations::request::NameRecord;
use murder_model::{Acl, MailboxName, Rights};
use murder_proto::imap::command::List;

use super::{Reply, Session};
use crate::frontend::RouterError;
use crate::imap::End;
use crate::imap::listing::{self, Asked, Listing};

impl Session {
    pub(super) async fn list(&mut self, list: &List) -> Result<Reply, End> {
        let question = match listing::asked(list) {
            Asked::Unoffered => return Ok(Reply::bad("LIST-EXTENDED is not offered")),
            Asked::Separator => {
                self.wire.line("* LIST (\\Noselect) \"/\" \"\"");
                return Ok(Reply::ok());
            }
            Asked::Names(question) => question,
        };
        self.catch_up().await;
        let reader = self.frontend.router.replica().reader().clone();
        let identity = self.identity.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut names = Listing::default();
            let mut add = |row: &NameRecord| {
                let name = row.name.to_mailbox().filter(|_| row.selectable);
                if let Some(name) = name {
                    let external = name.root().mailbox().to_external(&identity.user);
                    let own = name.owner().as_ref() == Some(&identity.user);
                    if own || question.reaches(&external) {
                        names.add(&identity.user, &name, row.special_use);
                    }
                }
                ControlFlow::Continue(())
            };
            if identity.is_admin {
                reader.all(None, &mut add)?;
            } else {
                let viewer = Viewer::new(identity.user.as_str(), &[]);
                reader.visible(&viewer, None, &mut add)?;
            }
            let mut out = Vec::new();
            names.write(&question, &mut out);
            Ok::<_, murder_locations::replica::ReplicaError>(out)
        });
        match read.await {
            Ok(Ok(out)) => {
                self.wire.out.extend_from_slice(&out);
                Ok(Reply::ok())
            }
            Ok(Err(error)) => {
                tracing::error!(event = "replica_failed", %error);
                Ok(Reply::unavailable())
            }
            Err(_) => Ok(Reply::unavailable()),
        }
    }

    /// Whether a mailbox exists for this user, proved.
    pub(super) async fn may_look_up(&self, name: &MailboxName) -> Result<(), Reply> {
        let router = &self.frontend.router;
        let reader = router.replica().reader();
        let read = |_: &RouterError| Reply::unavailable();
        for fresh in [false, true] {
            if fresh {
                router.refresh().await.map_err(|error| read(&error))?;
            }
            let row = reader.name(&Name::from(name));
            let row = row.map_err(|error| read(&error.into()))?;
            let Some(row) = row else { continue };
            let acl = Acl::parse_wire(&String::from_utf8_lossy(&row.acl)).unwrap_or_default();
            let own = name.owner().as_ref() == Some(&self.identity.user);
            let rights = acl.rights_for(&self.identity.user, &[]);
            if own || self.identity.is_admin || rights.contains(Rights::LOOKUP) {
                return Ok(());
            }
        }
        Err(Reply::nonexistent())
    }

    /// A session that changed names sees its changes in its own LIST: waits until the owner has told
    /// the master, and the replica has heard of it. Bounded; if it takes too long, names follow later.
    async fn catch_up(&mut self) {
        let Some(target) = self.renamed.take() else {
            return;
        };
        let Ok(index) = self.link(&target).await else {
            return;
        };
        let link = &mut self.links[index];
        let told = link.send(b"P XPUBLISHED\r\n").await.is_ok() && link.wait_ok(b"P").await.is_ok();
        if told && let Err(error) = self.frontend.router.refresh().await {
            tracing::debug!(event = "list_may_be_old", %error);
        }
    }
}
