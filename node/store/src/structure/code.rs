//! The compact form in which a structure is kept: a version byte, then postcard.
//!
//! [`decode`] checks what the writers and [`super::locate`] rest on, so that damaged bytes are an
//! error here and nothing else anywhere.

use std::ops::Range;

use thiserror::Error;

use super::{Content, DEPTH_MAX, Part, Structure};

/// The first byte; another one means another layout, and the message is scanned again.
const VERSION: u8 = 1;

/// Why bytes are no structure.
#[derive(Debug, Error)]
pub enum StructureError {
    /// There are none.
    #[error("structure is empty")]
    Empty,
    /// A version that this program does not know.
    #[error("structure has unknown version {0}")]
    Version(u8),
    /// Not what postcard wrote.
    #[error("structure cannot be read")]
    Format(#[from] postcard::Error),
    /// Readable, but its parts do not form a tree in the message.
    #[error("structure is inconsistent at part {0}")]
    Inconsistent(usize),
}

/// Packs a structure.
pub fn encode(structure: &Structure) -> Vec<u8> {
    postcard::to_extend(structure, vec![VERSION]).expect("a vector takes all that is written")
}

/// The reverse of [`encode`].
pub fn decode(bytes: &[u8]) -> Result<Structure, StructureError> {
    let (&version, rest) = bytes.split_first().ok_or(StructureError::Empty)?;
    if version != VERSION {
        return Err(StructureError::Version(version));
    }
    let structure: Structure = postcard::from_bytes(rest)?;
    check(&structure)?;
    Ok(structure)
}

/// A header keeps its line end where a delimiter, which claims it too, follows at once: so far a
/// child may reach behind the end of its parent.
const OVERLAP: u64 = 2;

/// Each part but the first has one parent, which stands before it, and lies in its body; none is
/// deeper than the scanner goes.
fn check(structure: &Structure) -> Result<(), StructureError> {
    let parts = &structure.parts;
    if parts.is_empty() {
        return Err(StructureError::Inconsistent(0));
    }
    let mut depths = vec![0; parts.len()];
    depths[0] = 1;
    for (index, part) in parts.iter().enumerate() {
        let depth = depths[index];
        let ranges = ordered(part) && part.body.end <= structure.bytes;
        if !ranges || !(1..=DEPTH_MAX + 1).contains(&depth) {
            return Err(StructureError::Inconsistent(index));
        }
        let children = match &part.content {
            Content::Leaf => &[],
            Content::Multipart(children) if children.is_empty() => {
                return Err(StructureError::Inconsistent(index));
            }
            Content::Multipart(children) => &children[..],
            Content::Message { root, .. } => std::slice::from_ref(root),
        };
        for &child in children {
            let child = child as usize;
            let inside = parts
                .get(child)
                .is_some_and(|child| contains(&part.body, child));
            if child <= index || !inside || depths[child] != 0 {
                return Err(StructureError::Inconsistent(child));
            }
            depths[child] = depth + 1;
        }
    }
    Ok(())
}

fn ordered(part: &Part) -> bool {
    let Part { header, body, .. } = part;
    header.start <= header.end && header.end <= body.start && body.start <= body.end
}

fn contains(body: &Range<u64>, child: &Part) -> bool {
    body.start <= child.header.start && child.body.end <= body.end.saturating_add(OVERLAP)
}
