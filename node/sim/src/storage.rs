//! redb on a disk that loses unsynced writes, for master and replicas.

use std::io;
use std::path::Path;
use std::sync::Arc;

use murder_store::engine::{Disk, DiskFile, MemoryDisk, OpenMode};
use redb::StorageBackend;

const FILE: &str = "locations/locations.redb";

/// A database file on a [`MemoryDisk`].
#[derive(Debug)]
pub(crate) struct Storage(Arc<dyn DiskFile>);

impl Storage {
    /// Opens the one database of this disk, or creates it. The file's name is durable at once.
    pub(crate) fn open(disk: &MemoryDisk) -> io::Result<Self> {
        let path = Path::new(FILE);
        match disk.open(path, OpenMode::Write) {
            Ok(file) => Ok(Self(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.open(path, OpenMode::Create)?;
                disk.sync_directory(Path::new("locations"))?;
                Ok(Self(file))
            }
            Err(error) => Err(error),
        }
    }
}

impl StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_length(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}
