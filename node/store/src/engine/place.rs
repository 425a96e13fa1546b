//! The files of a partition: locked, listed, and whose they are.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::Identity;
use super::disk::{Disk, DiskLock};
use super::index::Index;
use super::partition::PartitionOptions;
use super::recovery::usable;
use super::replay::Replayed;
use super::segment::{FIRST_BATCH, LOG_VERSION, SegmentFiles};
use crate::rows::StoreError;

const LOCK_FILE: &str = "lock";
const INDEX_FILE: &str = "index.redb";

/// Why a partition cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it open.
    #[error("lock {path}: {holder}")]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// The file system failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// There is an index but no log: these are not all files of the partition.
    #[error("{0} holds an index, but no segment of its log")]
    LogMissing(PathBuf),
    /// No segment has a readable header.
    #[error("no segment in {0} has a readable header")]
    Unreadable(PathBuf),
    /// A newer program wrote this log.
    #[error("segment {segment:08x} has version {version}, this program reads {LOG_VERSION}")]
    Version {
        /// The segment.
        segment: u32,
        /// Its version.
        version: u32,
    },
    /// The index failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(crate) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> OpenError {
    let what = what.into();
    |source| OpenError::Io { what, source }
}

/// Files of a partition that is locked and whose log exists.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: PartitionOptions,
    pub(crate) files: Arc<SegmentFiles>,
    pub(crate) segments: BTreeSet<u32>,
    pub(crate) locks: Vec<DiskLock>,
}

impl Place {
    /// Locks the partition's directories and lists its segments.
    pub(crate) fn lock(
        disk: Arc<dyn Disk>,
        options: PartitionOptions,
        create: bool,
    ) -> Result<Self, OpenError> {
        let directory = options.directory.clone();
        let mut directories = vec![directory.clone()];
        directories.extend(
            options
                .index_directory
                .clone()
                .filter(|other| *other != directory),
        );
        let mut locks = Vec::new();
        for directory in &directories {
            if create {
                disk.create_directory(directory)
                    .map_err(io_error(format!("create {}", directory.display())))?;
            }
            locks.push(lock(disk.as_ref(), &directory.join(LOCK_FILE))?);
        }
        let open_max = options.open_segments_max;
        let files = Arc::new(SegmentFiles::new(Arc::clone(&disk), &directory, open_max));
        let listed = files.list();
        let segments = listed.map_err(io_error(format!("list {}", directory.display())))?;
        Ok(Self {
            disk,
            options,
            files,
            segments: segments.into_iter().collect(),
            locks,
        })
    }

    pub(crate) fn index_directory(&self) -> &Path {
        self.options
            .index_directory
            .as_deref()
            .unwrap_or(&self.options.directory)
    }

    pub(crate) fn index_path(&self) -> PathBuf {
        self.index_directory().join(INDEX_FILE)
    }

    pub(crate) fn index_exists(&self) -> Result<bool, OpenError> {
        let directory = self.index_directory();
        let names = self.disk.list(directory);
        let names = names.map_err(io_error(format!("list {}", directory.display())))?;
        Ok(names.iter().any(|name| name == INDEX_FILE))
    }

    /// The identity in the first readable segment header.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, OpenError> {
        for segment in &self.segments {
            let header = self.files.header(*segment);
            let header = header.map_err(io_error(format!("read segment {segment:08x}")))?;
            if let Some(header) = header {
                if header.version != LOG_VERSION {
                    let version = header.version;
                    let segment = *segment;
                    return Err(OpenError::Version { segment, version });
                }
                return Ok(Some(header.identity));
            }
        }
        Ok(None)
    }

    /// Whether nothing was ever committed here: at most a first segment without a header.
    pub(crate) fn is_new(&self) -> Result<bool, OpenError> {
        for segment in &self.segments {
            let length = self.files.get(*segment).and_then(|file| file.length());
            if length.map_err(io_error(format!("read segment {segment:08x}")))? > FIRST_BATCH {
                return Ok(false);
            }
        }
        Ok(self.segments.len() <= 1)
    }

    /// The index, if it is usable and belongs to this log.
    pub(crate) fn open_index(&self, identity: Identity) -> Result<(Index, Replayed), StoreError> {
        let cache_bytes = self.options.cache_bytes;
        let index = Index::open(self.disk.as_ref(), &self.index_path(), false, cache_bytes)?;
        let replayed = usable(&index, identity)?;
        Ok((index, replayed))
    }
}

fn lock(disk: &dyn Disk, path: &Path) -> Result<DiskLock, OpenError> {
    disk.lock(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked {
            path: path.to_path_buf(),
            holder: error.to_string(),
        },
        _ => io_error(format!("lock {}", path.display()))(error),
    })
}
