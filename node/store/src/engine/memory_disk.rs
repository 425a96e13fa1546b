//! A disk in memory that can lose power.
//!
//! A file's bytes survive once the file was synced, a name once its directory was. At a power
//! loss each later write survives wholly, up to some byte, or not at all, in any combination: more
//! than real disks allow themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile, DiskLock, OpenMode, Space, directory_of};

/// Files in memory; clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

/// What survives a power loss of what was not synced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PowerLoss {
    /// Nothing.
    LoseUnsynced,
    /// Everything: the process was killed, the machine runs on.
    KeepAll,
    /// Some writes, whole or torn, and some names, chosen from this seed.
    Torn(u64),
}

#[derive(Clone, Debug, Default)]
struct State {
    files: BTreeMap<u64, Content>,
    next_file: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    locked: BTreeSet<PathBuf>,
    space: Option<Space>,
    syncs: u64,
    fail_after: Option<u64>,
    changes: u64,
    capture_after: Option<u64>,
    captured: Option<Box<Self>>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// The disk as it is after the power came back; the old one lives on, unconnected.
    pub fn after(&self, loss: PowerLoss) -> Self {
        let old = self.state();
        let mut random = Random(match loss {
            PowerLoss::Torn(seed) => seed,
            PowerLoss::LoseUnsynced | PowerLoss::KeepAll => 0,
        });
        let names = old.names_after(loss, &mut random);
        let mut files = BTreeMap::new();
        for (number, content) in &old.files {
            let bytes = content.after(loss, &mut random);
            files.insert(
                *number,
                Content {
                    durable: match loss {
                        // The page cache lives on: still nothing proves these bytes.
                        PowerLoss::KeepAll => content.durable.clone(),
                        PowerLoss::LoseUnsynced | PowerLoss::Torn(_) => bytes.clone(),
                    },
                    unsynced: match loss {
                        PowerLoss::KeepAll => content.unsynced.clone(),
                        PowerLoss::LoseUnsynced | PowerLoss::Torn(_) => Vec::new(),
                    },
                    bytes,
                },
            );
        }
        let durable_names = match loss {
            PowerLoss::KeepAll => old.durable_names.clone(),
            PowerLoss::LoseUnsynced | PowerLoss::Torn(_) => names.clone(),
        };
        let state = State {
            files,
            next_file: old.next_file,
            names,
            durable_names,
            space: old.space,
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Sets what [`Disk::space`] tells.
    pub fn set_space(&self, space: Option<Space>) {
        self.state().space = space;
    }

    /// From the sync after `count` more on, every sync fails.
    pub fn fail_syncs_after(&self, count: u64) {
        let mut state = self.state();
        state.fail_after = Some(state.syncs + count);
    }

    /// Syncs of files and directories so far.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Writes, cuts, syncs, creations, renames and removals so far.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Keeps a copy of the disk as it is after `changes` changes in all.
    pub fn capture_after(&self, changes: u64) {
        self.state().capture_after = Some(changes);
    }

    /// The copy that [`MemoryDisk::capture_after`] asked for, once it was made.
    pub fn captured(&self) -> Option<Self> {
        let state = State::clone(self.state().captured.as_deref()?);
        Some(Self {
            state: Arc::new(Mutex::new(state)),
        })
    }

    /// Changes bytes of a file behind everyone's back, durably.
    pub fn damage(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let number = *state.names.get(path).ok_or_else(|| missing(path))?;
        let content = state.files.entry(number).or_default();
        let offset = index(offset)?;
        write(&mut content.bytes, offset, bytes);
        write(&mut content.durable, offset, bytes);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn names_after(&self, loss: PowerLoss, random: &mut Random) -> BTreeMap<PathBuf, u64> {
        match loss {
            PowerLoss::KeepAll => self.names.clone(),
            PowerLoss::LoseUnsynced => self.durable_names.clone(),
            PowerLoss::Torn(_) => {
                let mut names = self.durable_names.clone();
                let both = self.names.keys().chain(self.durable_names.keys());
                for path in both.collect::<BTreeSet<_>>() {
                    if random.below(2) == 0 {
                        continue;
                    }
                    match self.names.get(path) {
                        Some(number) => names.insert(path.clone(), *number),
                        None => names.remove(path),
                    };
                }
                names
            }
        }
    }

    /// Counts a change that is about to happen.
    fn change(&mut self) {
        if self.capture_after == Some(self.changes) {
            self.capture_after = None;
            let mut copy = self.clone();
            copy.locked.clear();
            self.captured = Some(Box::new(copy));
        }
        self.changes += 1;
    }

    fn sync(&mut self) -> io::Result<()> {
        self.change();
        self.syncs += 1;
        match self.fail_after {
            Some(count) if self.syncs > count => Err(io::Error::other("injected sync failure")),
            _ => Ok(()),
        }
    }
}

impl Content {
    fn after(&self, loss: PowerLoss, random: &mut Random) -> Vec<u8> {
        match loss {
            PowerLoss::KeepAll => self.bytes.clone(),
            PowerLoss::LoseUnsynced => self.durable.clone(),
            PowerLoss::Torn(_) => {
                let mut bytes = self.durable.clone();
                for change in &self.unsynced {
                    change.survive(&mut bytes, random);
                }
                bytes
            }
        }
    }
}

impl Change {
    fn survive(&self, onto: &mut Vec<u8>, random: &mut Random) {
        match self {
            Self::Write { offset, bytes } => match random.below(3) {
                0 => {}
                1 => write(onto, *offset, bytes),
                _ => write(onto, *offset, &bytes[..random.below(bytes.len() + 1)]),
            },
            Self::Length(length) if random.below(2) == 0 => onto.resize(*length, 0),
            Self::Length(_) => {}
        }
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        if mode == OpenMode::Create {
            state.change();
        }
        let number = match (state.names.get(path).copied(), mode) {
            (Some(number), OpenMode::Create) => {
                let content = state.files.entry(number).or_default();
                content.bytes.clear();
                content.unsynced.push(Change::Length(0));
                number
            }
            (Some(number), OpenMode::Read | OpenMode::Write) => number,
            (None, OpenMode::Create) => {
                let number = state.next_file;
                state.next_file += 1;
                state.names.insert(path.to_path_buf(), number);
                state.files.insert(number, Content::default());
                number
            }
            (None, OpenMode::Read | OpenMode::Write) => return Err(missing(path)),
        };
        Ok(Arc::new(MemoryFile {
            disk: self.clone(),
            number,
        }))
    }

    fn create_directory(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let here = state
            .names
            .keys()
            .filter(|path| directory_of(path) == directory);
        let names = here.filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
        Ok(names.collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change();
        let number = state.names.remove(from).ok_or_else(|| missing(from))?;
        state.names.insert(to.to_path_buf(), number);
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change();
        let removed = state.names.remove(path);
        removed.map(|_| ()).ok_or_else(|| missing(path))
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.sync()?;
        let State {
            names,
            durable_names,
            ..
        } = &mut *state;
        durable_names.retain(|path, _| directory_of(path) != directory);
        let here = names
            .iter()
            .filter(|(path, _)| directory_of(path) == directory);
        durable_names.extend(here.map(|(path, number)| (path.clone(), *number)));
        Ok(())
    }

    fn space(&self, _directory: &Path) -> io::Result<Option<Space>> {
        Ok(self.state().space)
    }

    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        if !self.state().locked.insert(path.to_path_buf()) {
            let reason = "held by this process";
            return Err(io::Error::new(io::ErrorKind::WouldBlock, reason));
        }
        Ok(DiskLock::new(Unlock {
            disk: self.clone(),
            path: path.to_path_buf(),
        }))
    }
}

struct Unlock {
    disk: MemoryDisk,
    path: PathBuf,
}

impl Drop for Unlock {
    fn drop(&mut self) {
        self.disk.state().locked.remove(&self.path);
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    number: u64,
}

impl MemoryFile {
    fn with<T>(&self, work: impl FnOnce(&mut Content) -> T) -> T {
        work(self.disk.state().files.entry(self.number).or_default())
    }

    fn change<T>(&self, work: impl FnOnce(&mut Content) -> T) -> T {
        let mut state = self.disk.state();
        state.change();
        work(state.files.entry(self.number).or_default())
    }
}

impl DiskFile for MemoryFile {
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let start = index(offset)?;
        self.with(|content| {
            let end = start.checked_add(into.len());
            let bytes = end.and_then(|end| content.bytes.get(start..end));
            into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = index(offset)?;
        self.change(|content| {
            write(&mut content.bytes, offset, bytes);
            let bytes = bytes.to_vec();
            content.unsynced.push(Change::Write { offset, bytes });
        });
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.with(|content| content.bytes.len() as u64))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let length = index(length)?;
        self.change(|content| {
            content.bytes.resize(length, 0);
            content.unsynced.push(Change::Length(length));
        });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.state().sync()?;
        self.with(|content| {
            for change in std::mem::take(&mut content.unsynced) {
                match change {
                    Change::Write { offset, bytes } => {
                        write(&mut content.durable, offset, &bytes);
                    }
                    Change::Length(length) => content.durable.resize(length, 0),
                }
            }
        });
        Ok(())
    }
}

/// A small generator (xorshift64*), so that a seed replays a power loss.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        let mut x = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15) | 1;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0 = x;
        let drawn = x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap_or(0) % limit.max(1)
    }
}

fn write(onto: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = offset + bytes.len();
    if onto.len() < end {
        onto.resize(end, 0);
    }
    onto[offset..end].copy_from_slice(bytes);
}

fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("no file {}", path.display()),
    )
}
