//! The log that the preload library writes; its layout is described in `shim/powerloss.c`.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{Context, Result, bail, ensure};

const MAGIC: u32 = 0x4c57_504d;
const HEADER_BYTES: usize = 48;

/// Names of calls, by their numbers in the library.
const NAMES: [&str; 33] = [
    "write",
    "writev",
    "pwrite",
    "pwrite64",
    "pwritev",
    "pwritev64",
    "copy_file_range",
    "sendfile",
    "sendfile64",
    "ftruncate",
    "ftruncate64",
    "fallocate",
    "fallocate64",
    "posix_fallocate",
    "posix_fallocate64",
    "open",
    "open64",
    "openat",
    "openat64",
    "creat",
    "creat64",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "fsync",
    "fdatasync",
];

/// Device and inode.
pub(super) type Identity = (u64, u64);

/// What a change of a file destroyed.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) offset: u64,
    pub(super) old: Vec<u8>,
    pub(super) old_length: u64,
}

/// A change of a directory. Numbers are those of kept files; 0 is none.
#[derive(Debug)]
pub(super) enum Entry {
    Created {
        path: PathBuf,
    },
    Renamed {
        from: PathBuf,
        to: PathBuf,
        inode: u64,
        replaced: u64,
    },
    Removed {
        path: PathBuf,
        kept: u64,
        is_directory: bool,
    },
}

/// The log, in the order in which it was written. Places are offsets in it.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) seen: BTreeMap<&'static str, u64>,
    content: Vec<(u64, Identity, Change)>,
    entries: Vec<(u64, Identity, Entry)>,
    /// Up to where changes of a file are durable.
    synced: HashMap<Identity, u64>,
    /// Up to where changes of a directory's entries are durable.
    directories_synced: HashMap<Identity, u64>,
}

impl Log {
    /// Reads a log; one that does not exist is empty. A torn last record is left out.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let mut log = Self::default();
        let mut rest = &bytes[..];
        while let Some((header, tail)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let header = Header::parse(header)?;
            let Some((first, tail)) = tail.split_at_checked(header.first) else {
                break;
            };
            let Some((second, tail)) = tail.split_at_checked(header.second) else {
                break;
            };
            log.add((bytes.len() - rest.len()) as u64, &header, first, second)?;
            rest = tail;
        }
        Ok(log)
    }

    fn add(&mut self, place: u64, header: &Header, first: &[u8], second: &[u8]) -> Result<()> {
        let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
        let Header { identity, a, b, .. } = *header;
        let mut entry = |entry| self.entries.push((place, identity, entry));
        match header.kind {
            1 => {
                let change = Change {
                    offset: a,
                    old: first.to_vec(),
                    old_length: b,
                };
                self.content.push((place, identity, change));
            }
            2 => raise(&mut self.synced, identity, a),
            3 => entry(Entry::Created { path: path(first) }),
            4 => entry(Entry::Renamed {
                from: path(first),
                to: path(second),
                inode: b,
                replaced: a,
            }),
            5 => entry(Entry::Removed {
                path: path(first),
                kept: a,
                is_directory: b == 1,
            }),
            6 => raise(&mut self.directories_synced, identity, a),
            kind => bail!("the log has a record of unknown kind {kind} at {place}"),
        }
        let name = NAMES
            .get(header.call)
            .context("the log has a record of an unknown call")?;
        *self.seen.entry(name).or_default() += 1;
        Ok(())
    }

    /// Changes that no sync covers, in order, file by file.
    pub(super) fn lost_content(&self) -> BTreeMap<Identity, Vec<&Change>> {
        let mut lost: BTreeMap<Identity, Vec<&Change>> = BTreeMap::new();
        for (place, identity, change) in &self.content {
            if self
                .synced
                .get(identity)
                .is_none_or(|durable| place >= durable)
            {
                lost.entry(*identity).or_default().push(change);
            }
        }
        lost
    }

    /// Entries that no sync covers, in order.
    pub(super) fn lost_entries(&self) -> Vec<&Entry> {
        let lost = |(place, identity, _): &&(u64, Identity, Entry)| {
            self.directories_synced
                .get(identity)
                .is_none_or(|durable| place >= durable)
        };
        self.entries
            .iter()
            .filter(lost)
            .map(|(_, _, entry)| entry)
            .collect()
    }
}

/// Syncs of several threads may end in another order than they began.
fn raise(durable: &mut HashMap<Identity, u64>, identity: Identity, place: u64) {
    let known = durable.entry(identity).or_default();
    *known = place.max(*known);
}

struct Header {
    kind: u8,
    call: usize,
    identity: Identity,
    a: u64,
    b: u64,
    first: usize,
    second: usize,
}

impl Header {
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self> {
        let word = |at: usize| {
            let four = bytes[at..at + 4].try_into().expect("four bytes");
            u32::from_ne_bytes(four)
        };
        let long = |at: usize| {
            let eight = bytes[at..at + 8].try_into().expect("eight bytes");
            u64::from_ne_bytes(eight)
        };
        ensure!(word(0) == MAGIC, "the log is damaged");
        Ok(Self {
            kind: bytes[4],
            call: bytes[5].into(),
            identity: (long(8), long(16)),
            a: long(24),
            b: long(32),
            first: word(40) as usize,
            second: word(44) as usize,
        })
    }
}
