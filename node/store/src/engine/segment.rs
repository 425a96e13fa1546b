//! Segment files: their names, their header, and a bounded set of open handles.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::batch::{Identity, u32_at, u64_at};
use super::disk::{Disk, DiskFile, OpenMode};

/// Bytes of a segment's header; the first batch follows.
pub(crate) const HEADER_BYTES: usize = 64;
/// Where the first batch of a segment begins.
pub(crate) const FIRST_BATCH: u64 = HEADER_BYTES as u64;
/// Begins each segment file.
const MAGIC: [u8; 8] = *b"\x89MSEGMT\n";
/// Version of the log's format.
pub const LOG_VERSION: u32 = 1;

/// What a segment's header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SegmentHeader {
    pub(crate) version: u32,
    pub(crate) number: u32,
    pub(crate) identity: Identity,
    /// Number of the first batch it will hold; every earlier batch was synced before.
    pub(crate) first_batch: u64,
    pub(crate) first_lsn: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_be_bytes());
        bytes[16..32].copy_from_slice(&self.identity);
        bytes[32..40].copy_from_slice(&self.first_batch.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.first_lsn.to_be_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// `None` unless `bytes` are a sound header of this segment.
    pub(crate) fn decode(bytes: &[u8], number: u32) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        if bytes[..8] != MAGIC || u32_at(bytes, 60) != crc32c::crc32c(&bytes[..60]) {
            return None;
        }
        let header = Self {
            version: u32_at(bytes, 8),
            number: u32_at(bytes, 12),
            identity: bytes[16..32].try_into().expect("sixteen bytes"),
            first_batch: u64_at(bytes, 32),
            first_lsn: u64_at(bytes, 40),
        };
        (header.number == number).then_some(header)
    }
}

/// `log-0000002a.seg`
pub(crate) fn file_name(number: u32) -> String {
    format!("log-{number:08x}.seg")
}

/// The number in a segment's file name.
pub(crate) fn number_of(file_name: &str) -> Option<u32> {
    let digits = file_name.strip_prefix("log-")?.strip_suffix(".seg")?;
    let number = u32::from_str_radix(digits, 16).ok()?;
    (self::file_name(number) == file_name).then_some(number)
}

/// Opens segments and keeps some open.
#[derive(Debug)]
pub(crate) struct SegmentFiles {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    open_max: usize,
    /// Most recently used last.
    open: Mutex<Vec<(u32, Arc<dyn DiskFile>)>>,
}

impl SegmentFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, directory: &Path, open_max: usize) -> Self {
        Self {
            disk,
            directory: directory.to_path_buf(),
            open_max: open_max.max(1),
            open: Mutex::default(),
        }
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn path(&self, number: u32) -> PathBuf {
        self.directory.join(file_name(number))
    }

    /// Numbers of the segments there are, ascending.
    pub(crate) fn list(&self) -> io::Result<Vec<u32>> {
        let names = self.disk.list(&self.directory)?;
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| number_of(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A handle for reading.
    pub(crate) fn get(&self, number: u32) -> io::Result<Arc<dyn DiskFile>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().rposition(|(kept, _)| *kept == number) {
            let entry = open.remove(at);
            let file = Arc::clone(&entry.1);
            open.push(entry);
            return Ok(file);
        }
        let file = self.disk.open(&self.path(number), OpenMode::Read)?;
        if open.len() >= self.open_max {
            open.remove(0);
        }
        open.push((number, Arc::clone(&file)));
        Ok(file)
    }

    /// A handle for writing, not kept.
    pub(crate) fn writable(&self, number: u32) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(&self.path(number), OpenMode::Write)
    }

    /// Creates a segment: durable, with its name, when this returns.
    pub(crate) fn create(&self, header: &SegmentHeader) -> io::Result<Arc<dyn DiskFile>> {
        let file = self
            .disk
            .open(&self.path(header.number), OpenMode::Create)?;
        file.write_all_at(&header.encode(), 0)?;
        file.sync()?;
        self.disk.sync_directory(&self.directory)?;
        Ok(file)
    }

    /// Removes a segment's name; durable only after the directory is synced.
    pub(crate) fn unlink(&self, number: u32) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(kept, _)| *kept != number);
        self.disk.unlink(&self.path(number))
    }

    /// Makes names durable.
    pub(crate) fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory(&self.directory)
    }

    /// The header of a segment; `None` if it is damaged or cut short.
    pub(crate) fn header(&self, number: u32) -> io::Result<Option<SegmentHeader>> {
        let mut bytes = [0; HEADER_BYTES];
        match self.get(number)?.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(SegmentHeader::decode(&bytes, number)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryDisk;
    use super::*;

    #[test]
    fn header_is_these_64_bytes() {
        let header = SegmentHeader {
            version: 1,
            number: 0x2a,
            identity: *b"0123456789abcdef",
            first_batch: 3,
            first_lsn: 9,
        };
        let mut expected = b"\x89MSEGMT\n\0\0\0\x01\0\0\0\x2a0123456789abcdef\
            \0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0"
            .to_vec();
        expected.extend_from_slice(&crc32c::crc32c(&expected).to_be_bytes());
        assert_eq!(header.encode().as_slice(), expected);
        assert_eq!(SegmentHeader::decode(&expected, 0x2a), Some(header));
        assert_eq!(SegmentHeader::decode(&expected, 0x2b), None);
        assert_eq!(SegmentHeader::decode(&expected[..63], 0x2a), None);
    }

    #[test]
    fn only_exact_names_are_segments() {
        assert_eq!(file_name(0x2a), "log-0000002a.seg");
        assert_eq!(number_of("log-0000002a.seg"), Some(0x2a));
        for stranger in [
            "log-2a.seg",
            "log-0000002A.seg",
            "log-0000002a.seg.old",
            "lock",
        ] {
            assert_eq!(number_of(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn handles_are_kept_up_to_the_bound() {
        let disk = Arc::new(MemoryDisk::new());
        let files = SegmentFiles::new(disk, Path::new("p"), 2);
        for number in 1..=3 {
            let header = SegmentHeader {
                version: LOG_VERSION,
                number,
                identity: [0; 16],
                first_batch: 1,
                first_lsn: 1,
            };
            files.create(&header).unwrap();
            assert_eq!(files.header(number).unwrap(), Some(header));
        }
        assert_eq!(files.open.lock().unwrap().len(), 2);
        assert_eq!(files.list().unwrap(), [1, 2, 3]);
    }
}
