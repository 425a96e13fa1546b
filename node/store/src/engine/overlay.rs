//! An index file that is read but never written: changes stay in memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::disk::DiskFile;

const BLOCK_BYTES: usize = 4096;

/// redb's view of a file, with its own changes over it.
#[derive(Debug)]
pub(crate) struct Overlay {
    file: Arc<dyn DiskFile>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Length as redb set it.
    length: u64,
    /// Bytes of the file below this place are still seen.
    file_length: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Overlay {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let length = file.length()?;
        let state = State {
            length,
            file_length: length,
            blocks: BTreeMap::new(),
        };
        Ok(Self {
            file,
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present content of a block.
    fn block(&self, state: &State, number: u64) -> io::Result<Box<[u8]>> {
        if let Some(block) = state.blocks.get(&number) {
            return Ok(block.clone());
        }
        let mut block = vec![0; BLOCK_BYTES].into_boxed_slice();
        let start = number * BLOCK_BYTES as u64;
        let there = state
            .file_length
            .saturating_sub(start)
            .min(BLOCK_BYTES as u64);
        let there = usize::try_from(there).unwrap_or(BLOCK_BYTES);
        self.file.read_exact_at(&mut block[..there], start)?;
        Ok(block)
    }
}

/// Pieces of `[offset, offset + count)` by block: number, start in the block, start in the whole,
/// length.
fn pieces(offset: u64, count: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let block_bytes = BLOCK_BYTES as u64;
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == count {
            return None;
        }
        let at = offset + done as u64;
        let within = usize::try_from(at % block_bytes).unwrap_or(0);
        let length = (BLOCK_BYTES - within).min(count - done);
        let piece = (at / block_bytes, within, done, length);
        done += length;
        Some(piece)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if offset + out.len() as u64 > state.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, at, length) in pieces(offset, out.len()) {
            let block = self.block(&state, number)?;
            out[at..at + length].copy_from_slice(&block[within..within + length]);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        state.length = length;
        state.file_length = state.file_length.min(length);
        let whole = length.div_ceil(BLOCK_BYTES as u64);
        state.blocks.retain(|number, _| *number < whole);
        let within = usize::try_from(length % BLOCK_BYTES as u64).unwrap_or(0);
        if within > 0
            && let Some(block) = state.blocks.get_mut(&(whole - 1))
        {
            block[within..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        for (number, within, at, length) in pieces(offset, data.len()) {
            let mut block = self.block(&state, number)?;
            block[within..within + length].copy_from_slice(&data[at..at + length]);
            state.blocks.insert(number, block);
        }
        state.length = state.length.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Disk, MemoryDisk, OpenMode};
    use super::*;

    #[test]
    fn changes_are_seen_and_the_file_stays() {
        let disk = MemoryDisk::new();
        let file = disk.open(Path::new("f"), OpenMode::Create).unwrap();
        file.write_all_at(&[1; 10_000], 0).unwrap();
        let overlay = Overlay::new(Arc::clone(&file)).unwrap();
        overlay.write(4090, &[2; 4110]).unwrap();
        let mut read = [0; 4];
        for (at, expected) in [(4088, [1, 1, 2, 2]), (8198, [2, 2, 1, 1])] {
            overlay.read(at, &mut read).unwrap();
            assert_eq!(read, expected, "at {at}");
        }
        overlay.set_len(8192).unwrap();
        overlay.set_len(12_000).unwrap();
        for (at, expected) in [(8190, [2, 2, 0, 0]), (9998, [0; 4])] {
            overlay.read(at, &mut read).unwrap();
            assert_eq!(read, expected, "at {at}");
        }
        let mut original = vec![0; 10_000];
        file.read_exact_at(&mut original, 0).unwrap();
        assert_eq!(original, vec![1; 10_000]);
    }
}
