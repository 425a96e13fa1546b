//! Sections of BODY[…]: RFC 3501 section 6.4.5.
//!
//! Part numbers count within a message: a message that is no multipart has one part, number 1,
//! which is its body; a `message/rfc822` part counts the parts of the message inside of it.

use std::ops::Range;

use super::{Content, Part, Structure};

/// What of a part is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Section {
    /// All of it: BODY[], BODY[1].
    Full,
    /// The header of a message.
    Header,
    /// Some fields of the header of a message.
    HeaderFields {
        /// Field names.
        names: Vec<Vec<u8>>,
        /// The others instead.
        not: bool,
    },
    /// The body of a message.
    Text,
    /// The MIME header of a part.
    Mime,
}

/// A section specification.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SectionPath {
    /// Part numbers; empty for the message itself.
    pub part: Vec<u32>,
    /// What of that part.
    pub section: Section,
}

/// Which bytes of the message to read for a section.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SectionPlan {
    /// These bytes as they are.
    Range(Range<u64>),
    /// These bytes, through [`super::filter_header`].
    Filter {
        /// A header.
        header: Range<u64>,
        /// Field names.
        names: Vec<Vec<u8>>,
        /// The others instead.
        not: bool,
    },
}

/// Finds a section; `None` if the message has no such part or the part no such section.
pub fn locate(structure: &Structure, path: &SectionPath) -> Option<SectionPlan> {
    let Some(part) = find(structure, &path.part)? else {
        return match &path.section {
            Section::Full => Some(SectionPlan::Range(0..structure.bytes)),
            Section::Mime => None,
            section => of_message(structure.root(), section),
        };
    };
    match &path.section {
        Section::Full => Some(SectionPlan::Range(part.body.clone())),
        Section::Mime => Some(SectionPlan::Range(part.header.clone())),
        section => match &part.content {
            Content::Message { root, .. } => {
                of_message(structure.parts.get(*root as usize)?, section)
            }
            _ => None,
        },
    }
}

fn of_message(entity: &Part, section: &Section) -> Option<SectionPlan> {
    let header = entity.header.clone();
    match section {
        Section::Header => Some(SectionPlan::Range(header)),
        Section::Text => Some(SectionPlan::Range(entity.body.clone())),
        Section::HeaderFields { names, not } => Some(SectionPlan::Filter {
            header,
            names: names.clone(),
            not: *not,
        }),
        Section::Full | Section::Mime => None,
    }
}

/// The part with these numbers: the inner `None` for the message itself.
fn find<'a>(structure: &'a Structure, numbers: &[u32]) -> Option<Option<&'a Part>> {
    // The entity of a message is numbered as one part if it is no multipart.
    let mut message = Some(structure.root());
    let mut found = None;
    for &number in numbers {
        let index = (number as usize).checked_sub(1)?;
        let container = match (message, found) {
            (Some(entity), _) => entity,
            (None, part) => part?,
        };
        let next = match &container.content {
            Content::Multipart(children) => structure.parts.get(*children.get(index)? as usize)?,
            _ if message.is_some() && index == 0 => container,
            _ => return None,
        };
        message = match &next.content {
            Content::Message { root, .. } => Some(structure.parts.get(*root as usize)?),
            _ => None,
        };
        found = Some(next);
    }
    Some(found)
}
