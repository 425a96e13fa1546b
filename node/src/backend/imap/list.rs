//! LIST and LSUB (RFC 3501 sections 6.3.8 and 6.3.9; RFC 5258's options as far as RFC 6154 needs
//! them; RFC 3348).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use murder_model::{ListPattern, MailboxName, Rights, SpecialUse};
use murder_proto::imap::command::List;
use murder_store::mail::{mailboxes, subscriptions};

use super::{Answer, BackendError, Reply, Session, granted};
use crate::backend::rights;
use crate::imap::write;

/// A name that is shown.
#[derive(Clone, Debug, Default)]
struct Listed {
    /// It can be selected.
    selectable: bool,
    special_use: Option<SpecialUse>,
}

impl Session {
    pub(super) async fn list(&mut self, list: &List) -> Answer {
        let selection = list.selection;
        let status = list
            .returns
            .as_ref()
            .is_some_and(|returns| returns.status.is_some());
        if status || selection.recursive_match || selection.remote || selection.subscribed {
            return Ok(Reply::Bad("LIST-EXTENDED is not offered"));
        }
        if !list.extended && list.patterns.iter().all(Bytes::is_empty) {
            self.wire.line("* LIST (\\Noselect) \"/\" \"\"");
            return Ok(Reply::ok("done"));
        }
        let patterns: Vec<ListPattern> = list
            .patterns
            .iter()
            .map(|pattern| ListPattern::new(&list.reference, pattern))
            .collect();
        let names = granted!(self.visible(&patterns).await);
        let children = parents(names.keys());
        for (name, listed) in &names {
            if !patterns.iter().any(|pattern| pattern.matches(name)) {
                continue;
            }
            if selection.special_use && listed.special_use.is_none() {
                continue;
            }
            let mut attributes = Vec::new();
            if !listed.selectable {
                attributes.push("\\Noselect");
            }
            let has_children = children.contains(name.as_str());
            attributes.push(if has_children {
                "\\HasChildren"
            } else {
                "\\HasNoChildren"
            });
            attributes.extend(listed.special_use.map(SpecialUse::as_str));
            self.write_list("LIST", &attributes, name);
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
            self.write_list("LSUB", attributes, &name);
        }
        Ok(Reply::ok("done"))
    }

    fn write_list(&mut self, verb: &str, attributes: &[&str], name: &str) {
        let attributes = attributes.join(" ");
        self.wire
            .out
            .extend_from_slice(format!("* {verb} ({attributes}) \"/\" ").as_bytes());
        write::string(&mut self.wire.out, name.as_bytes());
        self.wire.out.extend_from_slice(b"\r\n");
    }

    /// Names that the user may look up, as the user calls them, with the names above them. Other
    /// users' and shared units are read only if a pattern can match there.
    async fn visible(&self, patterns: &[ListPattern]) -> Result<BTreeMap<String, Listed>, Reply> {
        let own = murder_model::RootName::user(&self.identity.user);
        let mut names = BTreeMap::new();
        for root in self.backend.roots() {
            let namespace = root.mailbox().to_external(&self.identity.user);
            let can_match = |pattern: &ListPattern| {
                let prefix = pattern.literal_prefix();
                namespace.as_bytes().starts_with(prefix) || prefix.starts_with(namespace.as_bytes())
            };
            if root != own && !patterns.iter().any(can_match) {
                continue;
            }
            let Some(place) = self.backend.unit(&root) else {
                continue;
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
                    self.show(&mut names, &name, row.special_use);
                }
            }
        }
        Ok(names)
    }

    fn show(
        &self,
        names: &mut BTreeMap<String, Listed>,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
    ) {
        let external = name.to_external(&self.identity.user);
        for (slash, _) in external.match_indices('/') {
            names.entry(external[..slash].to_owned()).or_default();
        }
        names.insert(
            external,
            Listed {
                selectable: true,
                special_use,
            },
        );
    }
}

/// All names that have one below them.
fn parents<'a>(names: impl Iterator<Item = &'a String>) -> BTreeSet<&'a str> {
    names
        .filter_map(|name| name.rfind('/').map(|slash| &name[..slash]))
        .collect()
}

/// The longest name above `name` that matches.
fn matching_parent<'a>(pattern: &ListPattern, name: &'a str) -> Option<&'a str> {
    let mut above = name.rmatch_indices('/').map(|(slash, _)| &name[..slash]);
    above.find(|parent| pattern.matches(parent))
}
