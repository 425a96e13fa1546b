//! The engine under a mail store: the log is the truth, redb is the index.
//!
//! A [`Partition`] has one writer. Operations run in a [`Batch`]; [`Batch::commit`] appends their
//! rows and blobs to the log, syncs it once, and only then lets anybody see them. [`Snapshots`]
//! read what is committed. FORMAT.md gives the files byte by byte and walks through every crash.
//!
//! The engine starts no thread and reads no clock; files are reached through [`Disk`] only.

mod batch;
mod check;
mod counts;
mod damage;
mod disk;
mod dump;
mod index;
mod log;
mod memory_disk;
mod overlay;
mod partition;
mod place;
mod recovery;
mod replay;
mod scan;
mod segment;
mod snapshot;
mod tail;
mod tx;
mod volume;

pub use self::batch::{Identity, KEY_BYTES_MAX, RECORD_BYTES_MAX, VALUE_BYTES_MAX};
pub use self::check::{CheckReport, UnreadableBlob, check};
pub use self::counts::{SegmentCounts, SegmentCountsByNumber};
pub use self::damage::Damage;
pub use self::disk::{Disk, DiskFile, DiskLock, OpenMode, RealDisk, Space, SpaceProbe};
pub use self::dump::dump;
pub use self::memory_disk::{MemoryDisk, PowerLoss};
pub use self::partition::{Batch, Committed, Partition, PartitionFailed, PartitionOptions};
pub use self::place::OpenError;
pub use self::recovery::RecoveryReport;
pub use self::segment::LOG_VERSION;
pub use self::snapshot::{Blob, Snapshot, Snapshots};
pub use self::tail::Cut;
pub use self::tx::Tx;
