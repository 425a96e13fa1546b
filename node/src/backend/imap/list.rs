//! LIST and LSUB (RFC 3501 sections 6.3.8 and 6.3.9; RFC 5258's options as far as RFC 6154 needs
//! them; RFC 3348), of what is on this server.

use std::collections::BTreeMap;

use murder_model::{ListPattern, Rights, RootName};
use murder_proto::imap::command::List;
use murder_store::mail::{mailboxes, subscriptions};

use super::{Answer, BackendError, Reply, Session, granted};
use crate::backend::rights;
use crate::imap::listing::{self, Asked, Listing, Question};

impl Session {
    pub(super) async fn list(&mut self, list: &List) -> Answer {
        match listing::asked(list) {
            Asked::Unoffered => return Ok(Reply::Bad("LIST-EXTENDED is not offered")),
            Asked::Separator => self.wire.line("* LIST (\\Noselect) \"/\" \"\""),
            Asked::Names(question) => {
                let names = granted!(self.visible(&question).await);
                names.write(&question, &mut self.wire.out);
            }
        }
        Ok(Reply::ok("done"))
    }

    pub(super) async fn lsub(&mut self, reference: &[u8], pattern: &[u8]) -> Answer {
        if pattern.is_empty() {
            self.wire.line("* LSUB (\\Noselect) \"/\" \"\"");
            return Ok(Reply::ok("done"));
        }
        let pattern = ListPattern::new(reference, pattern);
        let place = granted!(self.home().await);
        let unit = place.unit;
        let read = place
            .partition
            .read(move |rows| subscriptions(rows, &unit))
            .await;
        let names = granted!(read.map_err(|error| Reply::from(BackendError::Read(error))));
        let mut shown: BTreeMap<String, bool> = BTreeMap::new();
        for name in names {
            let external = name.to_external(&self.identity.user);
            if pattern.matches(&external) {
                shown.insert(external, true);
            } else if pattern.ends_with_percent()
                && let Some(above) = matching_parent(&pattern, &external)
            {
                shown.entry(above.to_owned()).or_insert(false);
            }
        }
        for (name, subscribed) in shown {
            let attributes: &[&str] = if subscribed { &[] } else { &["\\Noselect"] };
            listing::line(&mut self.wire.out, "LSUB", attributes, &name);
        }
        Ok(Reply::ok("done"))
    }

    /// Names that the user may look up. Other users' and shared units are read only if a pattern can
    /// match there.
    async fn visible(&self, question: &Question) -> Result<Listing, Reply> {
        let own = RootName::user(&self.identity.user);
        let mut names = Listing::default();
        for root in self.backend.roots() {
            let namespace = root.mailbox().to_external(&self.identity.user);
            if root != own && !question.reaches(&namespace) {
                continue;
            }
            let place = match self.backend.place(&root).await {
                Ok(place) => place,
                Err(error) if root == own => return Err(error.into()),
                Err(_) => continue,
            };
            let unit = place.unit;
            let read = place
                .partition
                .read(move |rows| mailboxes(rows, &unit))
                .await;
            let found = read.map_err(|error| Reply::from(BackendError::Read(error)))?;
            for (name, row) in found {
                let Some(row) = row else { continue };
                let rights = rights(&row, &self.identity.user, self.identity.is_admin);
                if rights.contains(Rights::LOOKUP) {
                    names.add(&self.identity.user, &name, row.special_use);
                }
            }
        }
        Ok(names)
    }
}

/// The longest name above `name` that matches.
fn matching_parent<'a>(pattern: &ListPattern, name: &'a str) -> Option<&'a str> {
    let mut above = name.rmatch_indices('/').map(|(slash, _)| &name[..slash]);
    above.find(|parent| pattern.matches(parent))
}
