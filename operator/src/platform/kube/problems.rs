//! What goes wrong in a pass, noted by object.

use std::collections::BTreeMap;

use super::calls::{self, NamespaceEnds};
use crate::core::Kind;

/// What went wrong, by object; it blocks nothing else.
#[derive(Debug, Default)]
pub(super) struct Problems {
    noted: BTreeMap<(Kind, String), Vec<String>>,
    namespace_ends: bool,
}

impl Problems {
    /// Notes what is wrong with an object, once.
    pub(super) fn note(&mut self, kind: Kind, name: &str, what: String) {
        let of_object = self.noted.entry((kind, name.to_owned())).or_default();
        if !of_object.contains(&what) {
            of_object.push(what);
        }
    }

    /// Notes a failure. That the namespace is on its way out is nobody's failure.
    pub(super) fn failed(&mut self, kind: Kind, name: &str, error: &anyhow::Error) {
        if calls::namespace_ends(error) {
            self.namespace_ends = true;
        } else {
            self.note(kind, name, format!("{error:#}"));
        }
    }

    /// Ends a pass of a murder whose namespace is on its way out.
    pub(super) fn check(&self) -> Result<(), NamespaceEnds> {
        match self.namespace_ends {
            true => Err(NamespaceEnds),
            false => Ok(()),
        }
    }

    /// Whether nothing went wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.noted.is_empty()
    }

    /// Those of one object.
    pub(super) fn of(&self, kind: Kind, name: &str) -> Vec<String> {
        let found = self.noted.get(&(kind, name.to_owned()));
        found.cloned().unwrap_or_default()
    }
}
