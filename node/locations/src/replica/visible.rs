//! Names that a user may see, at the cost of what the user sees.
//!
//! A user's own mailboxes are found by their prefix; all others through the reverse index of
//! identifiers that have the lookup right. The sources are merged in byte order of names.

use std::ops::{Bound, ControlFlow};

use super::lookup::ReplicaReader;
use super::tables::{Shown, read};
use super::{ReplicaError, index};
use crate::name::Name;
use crate::record::NameRecord;
use crate::request::decode;

/// Who looks: the identifiers that lists may name it by.
#[derive(Clone, Debug)]
pub struct Viewer {
    identifiers: Vec<Vec<u8>>,
    home: Name,
}

impl Viewer {
    /// A user and the groups it is in.
    pub fn new(user: &str, groups: &[String]) -> Self {
        let mut identifiers = vec![b"anyone".to_vec(), user.as_bytes().to_ascii_lowercase()];
        let groups = groups.iter().map(|group| format!("group:{group}"));
        identifiers.extend(groups.map(|group| group.into_bytes().to_ascii_lowercase()));
        Self {
            home: index::home(&identifiers[1]),
            identifiers,
        }
    }

    fn sees(&self, row: &NameRecord) -> bool {
        index::may_look_up(&row.acl, &self.identifiers)
    }
}

/// One ordered source of names, with its next one.
struct Source<'a> {
    head: Option<Vec<u8>>,
    rest: Box<dyn Iterator<Item = Result<Vec<u8>, ReplicaError>> + 'a>,
}

impl Source<'_> {
    fn advance(&mut self) -> Result<(), ReplicaError> {
        self.head = self.rest.next().transpose()?;
        Ok(())
    }
}

impl ReplicaReader {
    /// Visits the names that the viewer may see, byte-sorted, after `after`, until told to stop. The
    /// visitor should only copy what it needs: pages of the database are held meanwhile.
    pub fn visible(
        &self,
        viewer: &Viewer,
        after: Option<&Name>,
        visit: &mut dyn FnMut(&NameRecord) -> ControlFlow<()>,
    ) -> Result<(), ReplicaError> {
        let shown = self.shown()?;
        let mut sources = vec![own_names(&shown, &viewer.home, after)?];
        for identifier in &viewer.identifiers {
            sources.push(indexed(&shown, identifier, None, after)?);
        }
        while let Some(least) = sources
            .iter()
            .filter_map(|source| source.head.clone())
            .min()
        {
            for source in &mut sources {
                if source.head.as_ref() == Some(&least) {
                    source.advance()?;
                }
            }
            let Some(row) = read::<NameRecord>(&shown.names, &least)? else {
                continue;
            };
            if viewer.sees(&row) && visit(&row).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Whether the viewer may see a name under this one.
    pub fn has_visible_children(&self, viewer: &Viewer, name: &Name) -> Result<bool, ReplicaError> {
        let shown = self.shown()?;
        let (low, high) = name.children_range();
        if name.is_under(&viewer.home) {
            for row in shown.names.range(low.as_slice()..high.as_slice())? {
                if viewer.sees(&decode(row?.1.value())?) {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        for identifier in &viewer.identifiers {
            let mut source = indexed(&shown, identifier, Some(name), None)?;
            while let Some(found) = source.head.take() {
                if read(&shown.names, &found)?.is_some_and(|row| viewer.sees(&row)) {
                    return Ok(true);
                }
                source.advance()?;
            }
        }
        Ok(viewer.home.is_under(name) && self.any_own(&shown, viewer)?)
    }

    fn any_own(&self, shown: &Shown, viewer: &Viewer) -> Result<bool, ReplicaError> {
        let row = read::<NameRecord>(&shown.names, viewer.home.as_bytes())?;
        Ok(row.is_some_and(|row| viewer.sees(&row)))
    }

    /// Visits all names, byte-sorted, after `after`, until told to stop: for administrators.
    pub fn all(
        &self,
        after: Option<&Name>,
        visit: &mut dyn FnMut(&NameRecord) -> ControlFlow<()>,
    ) -> Result<(), ReplicaError> {
        let shown = self.shown()?;
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.as_bytes()));
        for row in shown.names.range::<&[u8]>((from, Bound::Unbounded))? {
            if visit(&decode(row?.1.value())?).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// The home itself and what lies under it.
fn own_names<'a>(
    shown: &'a Shown,
    home: &Name,
    after: Option<&Name>,
) -> Result<Source<'a>, ReplicaError> {
    let (mut low, high) = home.children_range();
    let itself =
        shown.names.get(home.as_bytes())?.is_some() && after.is_none_or(|after| after < home);
    let itself = itself.then(|| Ok(home.as_bytes().to_vec()));
    let mut from_included = true;
    if let Some(after) = after
        && after.as_bytes() >= low.as_slice()
    {
        low = after.as_bytes().to_vec();
        from_included = false;
    }
    let from = if from_included {
        Bound::Included(low.as_slice())
    } else {
        Bound::Excluded(low.as_slice())
    };
    let to = Bound::Excluded(high.as_slice());
    let rest: Box<dyn Iterator<Item = _>> = if low < high {
        let range = shown.names.range::<&[u8]>((from, to))?;
        Box::new(range.map(|row| Ok(row?.0.value().to_vec())))
    } else {
        Box::new(std::iter::empty())
    };
    started(Box::new(itself.into_iter().chain(rest)))
}

/// An identifier's names, or only those under a name.
fn indexed<'a>(
    shown: &'a Shown,
    identifier: &[u8],
    under: Option<&Name>,
    after: Option<&Name>,
) -> Result<Source<'a>, ReplicaError> {
    let (low, high) = match under {
        Some(name) => {
            let (low, high) = name.children_range();
            (index::key(identifier, &low), index::key(identifier, &high))
        }
        None => (index::key(identifier, b""), index::end(identifier)),
    };
    let after = after.map(|name| index::key(identifier, name.as_bytes()));
    let from = match &after {
        Some(after) => Bound::Excluded(after.as_slice()),
        None => Bound::Included(low.as_slice()),
    };
    let range = shown
        .visible
        .range::<&[u8]>((from, Bound::Excluded(high.as_slice())))?;
    let skip = identifier.len() + 1;
    started(Box::new(
        range.map(move |row| Ok(row?.0.value()[skip..].to_vec())),
    ))
}

fn started<'a>(
    rest: Box<dyn Iterator<Item = Result<Vec<u8>, ReplicaError>> + 'a>,
) -> Result<Source<'a>, ReplicaError> {
    let mut source = Source { head: None, rest };
    source.advance()?;
    Ok(source)
}
