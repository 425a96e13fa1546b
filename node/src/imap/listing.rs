//! Answers to LIST and LSUB (RFC 3501 sections 6.3.8 and 6.3.9, RFC 3348, RFC 6154), wherever the
//! names come from.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use murder_model::{ListPattern, MailboxName, SpecialUse, UserName};
use murder_proto::imap::command::List;

use super::write;

/// A name that is shown.
#[derive(Clone, Copy, Debug, Default)]
struct Listed {
    /// It can be selected.
    selectable: bool,
    special_use: Option<SpecialUse>,
}

/// Names that a user may look up, as the user calls them, with the names above them.
#[derive(Debug, Default)]
pub struct Listing(BTreeMap<String, Listed>);

/// What LIST asks for, if it is something that is offered.
#[derive(Debug)]
pub struct Question {
    patterns: Vec<ListPattern>,
    special_use_only: bool,
}

/// How LIST is to be answered.
#[derive(Debug)]
pub enum Asked {
    /// With names.
    Names(Question),
    /// With the separator.
    Separator,
    /// Not at all: what is asked for is not offered.
    Unoffered,
}

/// Reads LIST's arguments.
pub fn asked(list: &List) -> Asked {
    let selection = list.selection;
    let status = list
        .returns
        .as_ref()
        .is_some_and(|returns| returns.status.is_some());
    if status || selection.recursive_match || selection.remote || selection.subscribed {
        return Asked::Unoffered;
    }
    if !list.extended && list.patterns.iter().all(Bytes::is_empty) {
        return Asked::Separator;
    }
    let patterns = list.patterns.iter();
    Asked::Names(Question {
        patterns: patterns
            .map(|pattern| ListPattern::new(&list.reference, pattern))
            .collect(),
        special_use_only: selection.special_use,
    })
}

impl Question {
    /// Whether a name at or below `above`, as the user calls it, can match.
    pub fn reaches(&self, above: &str) -> bool {
        self.patterns.iter().any(|pattern| {
            let prefix = pattern.literal_prefix();
            above.as_bytes().starts_with(prefix) || prefix.starts_with(above.as_bytes())
        })
    }
}

impl Listing {
    /// Adds a mailbox as `viewer` calls it, and the places above it.
    pub fn add(&mut self, viewer: &UserName, name: &MailboxName, special_use: Option<SpecialUse>) {
        let external = name.to_external(viewer);
        for (slash, _) in external.match_indices('/') {
            if !self.0.contains_key(&external[..slash]) {
                self.0
                    .insert(external[..slash].to_owned(), Listed::default());
            }
        }
        let listed = Listed {
            selectable: true,
            special_use,
        };
        self.0.insert(external, listed);
    }

    /// Writes the untagged answers.
    pub fn write(&self, question: &Question, out: &mut Vec<u8>) {
        let children = parents(self.0.keys());
        for (name, listed) in &self.0 {
            if !question
                .patterns
                .iter()
                .any(|pattern| pattern.matches(name))
            {
                continue;
            }
            if question.special_use_only && listed.special_use.is_none() {
                continue;
            }
            let mut attributes = Vec::with_capacity(3);
            if !listed.selectable {
                attributes.push("\\Noselect");
            }
            attributes.push(if children.contains(name.as_str()) {
                "\\HasChildren"
            } else {
                "\\HasNoChildren"
            });
            attributes.extend(listed.special_use.map(SpecialUse::as_str));
            line(out, "LIST", &attributes, name);
        }
    }
}

/// Writes one answer.
pub fn line(out: &mut Vec<u8>, verb: &str, attributes: &[&str], name: &str) {
    let attributes = attributes.join(" ");
    out.extend_from_slice(format!("* {verb} ({attributes}) \"/\" ").as_bytes());
    write::string(out, name.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// All names that have one below them.
fn parents<'a>(names: impl Iterator<Item = &'a String>) -> BTreeSet<&'a str> {
    names
        .filter_map(|name| name.rfind('/').map(|slash| &name[..slash]))
        .collect()
}
