//! Power loss for real processes: a preload library (`shim/powerloss.c`) keeps what each unsynced
//! change destroyed, and [`PowerLoss::strike`], after `kill -9`, takes the changes back.
//!
//! Strict rules: content lives since its file's fsync or fdatasync, an entry since an fsync of its
//! directory (of a rename, the directory of the new name); nothing else survives. A file that was
//! created, written and synced is gone if its directory was not synced. A disk may also keep more
//! than it promised: [`Loss::Some`] keeps, by a seed, unsynced pages and a beginning of the unsynced
//! entries, so that torn writes happen.
//!
//! A process ends where the harness kills it, or at a [`Point`] that it was told.
//!
//! A process that is killed and started again without a strike goes on with the same log: what
//! was not synced before is not synced now.

mod log;
mod point;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use self::log::{Change, Entry, Log};

pub use self::point::{Point, When};

/// The preload library's source; built where it is needed, with the C compiler of the machine.
const SOURCE: &str = include_str!("../shim/powerloss.c");

/// How much of a file is kept or lost as one by [`Loss::Some`].
const PAGE_BYTES: usize = 4096;

/// The built preload library.
#[derive(Clone, Debug)]
pub struct Shim {
    library: PathBuf,
}

impl Shim {
    /// Builds the library in `directory`, which exists. Needs `cc`.
    pub fn build(directory: &Path) -> Result<Self> {
        let source = directory.join("powerloss.c");
        let library = directory.join("libpowerloss.so");
        fs::write(&source, SOURCE).context("cannot write the preload library's source")?;
        let mut compiler = Command::new("cc");
        compiler.args([
            "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o",
        ]);
        let output = compiler
            .arg(&library)
            .arg(&source)
            .args(["-ldl", "-lpthread"])
            .output()
            .context("cannot run cc (is a C compiler installed?)")?;
        let messages = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "cannot build the preload library: {messages}"
        );
        Ok(Self { library })
    }
}

/// What a power loss takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loss {
    /// All that is not synced.
    Everything,
    /// A part of it that this seed chooses.
    Some(u64),
}

/// What a strike took.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lost {
    /// Files whose content changed.
    pub files: usize,
    /// Entries that came, moved or went, and did not.
    pub entries: usize,
}

/// A directory whose changes can be lost, and the directory that keeps how.
#[derive(Clone, Debug)]
pub struct PowerLoss {
    shim: Shim,
    watched: PathBuf,
    undo: PathBuf,
}

impl PowerLoss {
    /// Watches `watched`. `undo` must lie outside of it, on the same file system; both are created
    /// if they do not exist. One process at a time, with its threads, may use them.
    pub fn new(shim: &Shim, watched: &Path, undo: &Path) -> Result<Self> {
        let prepare = |path: &Path| {
            fs::create_dir_all(path)
                .and_then(|()| path.canonicalize())
                .with_context(|| format!("cannot prepare {}", path.display()))
        };
        let (watched, undo) = (prepare(watched)?, prepare(undo)?);
        ensure!(
            !undo.starts_with(&watched),
            "{} lies in what it keeps",
            undo.display()
        );
        Ok(Self {
            shim: shim.clone(),
            watched,
            undo,
        })
    }

    /// The environment of the process that is to lose power.
    pub fn environment(&self) -> [(&'static str, &OsStr); 3] {
        [
            ("LD_PRELOAD", self.shim.library.as_os_str()),
            ("MURDER_POWERLOSS_DIR", self.watched.as_os_str()),
            ("MURDER_POWERLOSS_UNDO", self.undo.as_os_str()),
        ]
    }

    /// Tells the process where to end, whether it runs already or starts later. A strike takes it back.
    pub fn arm(&self, point: &Point) -> Result<()> {
        let new = self.undo.join("kill.new");
        fs::write(&new, point.line())
            .and_then(|()| fs::rename(&new, self.undo.join("kill")))
            .context("cannot write where the process is to end")
    }

    /// How often each call was seen since the last strike, by its C name.
    pub fn seen(&self) -> Result<BTreeMap<&'static str, u64>> {
        Ok(Log::read(&self.undo.join("log"))?.seen)
    }

    /// Makes the directory look as after a power loss. The process must be dead.
    pub fn strike(&self, loss: Loss) -> Result<Lost> {
        let log = Log::read(&self.undo.join("log"))?;
        let mut chance = match loss {
            Loss::Everything => None,
            Loss::Some(seed) => Some(Chance(seed)),
        };
        let mut lost = Lost {
            files: self.lose_content(&log, chance.as_mut())?,
            entries: 0,
        };
        let entries = log.lost_entries();
        let kept = chance.map_or(0, |mut chance| chance.below(entries.len() + 1));
        for entry in entries[kept..].iter().rev() {
            let undone = self.lose_entry(entry);
            lost.entries += usize::from(undone.with_context(|| format!("cannot undo {entry:?}"))?);
        }
        self.forget()?;
        Ok(lost)
    }

    /// Gives each file its content of the last sync, whatever its name is.
    fn lose_content(&self, log: &Log, mut chance: Option<&mut Chance>) -> Result<usize> {
        let mut places = HashMap::new();
        for directory in [&self.watched, &self.undo] {
            collect_files(directory, &mut places)
                .with_context(|| format!("cannot list {}", directory.display()))?;
        }
        let mut files = 0;
        for (identity, changes) in log.lost_content() {
            // A file that has no name any more had none that was durable either.
            let Some(path) = places.get(&identity) else {
                continue;
            };
            lose_changes(path, &changes, chance.as_deref_mut())
                .with_context(|| format!("cannot undo {}", path.display()))?;
            files += 1;
        }
        Ok(files)
    }

    /// Takes one entry back; `false` if its change never happened.
    fn lose_entry(&self, entry: &Entry) -> Result<bool> {
        let saved = |number: &u64| self.undo.join(format!("saved.{number}"));
        match entry {
            Entry::Created { path } => match fs::symlink_metadata(path) {
                Ok(status) if status.is_dir() => fs::remove_dir_all(path)?,
                Ok(_) => fs::remove_file(path)?,
                Err(error) if is_absent(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            },
            Entry::Renamed {
                from,
                to,
                inode,
                replaced,
            } => {
                match fs::symlink_metadata(to) {
                    Ok(status) if status.ino() == *inode => {}
                    Ok(_) => return Ok(false),
                    Err(error) if is_absent(&error) => return Ok(false),
                    Err(error) => return Err(error.into()),
                }
                fs::rename(to, from)?;
                if *replaced != 0 {
                    fs::hard_link(saved(replaced), to)?;
                }
            }
            Entry::Removed { path, .. } if fs::symlink_metadata(path).is_ok() => return Ok(false),
            Entry::Removed {
                path,
                is_directory: true,
                ..
            } => fs::create_dir(path)?,
            Entry::Removed { path, kept, .. } => fs::hard_link(saved(kept), path)?,
        }
        Ok(true)
    }

    /// Empties the undo directory: what is there now is durable.
    fn forget(&self) -> Result<()> {
        for entry in fs::read_dir(&self.undo).context("cannot list the undo directory")? {
            let path = entry?.path();
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }
}

/// A name is absent also if its directory is.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

fn collect_files(directory: &Path, found: &mut HashMap<(u64, u64), PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let status = entry.metadata()?;
        if status.is_dir() {
            collect_files(&entry.path(), found)?;
        } else if status.is_file() {
            found.insert((status.dev(), status.ino()), entry.path());
        }
    }
    Ok(())
}

fn lose_changes(path: &Path, changes: &[&Change], chance: Option<&mut Chance>) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let before = chance.is_some().then(|| fs::read(path)).transpose()?;
    for change in changes.iter().rev() {
        file.write_all_at(&change.old, change.offset)?;
        file.set_len(change.old_length)?;
    }
    match (chance, before) {
        (Some(chance), Some(before)) => keep_some(&file, &before, chance),
        _ => Ok(()),
    }
}

/// Brings back some pages of `before`, the unsynced content, and by chance its length.
fn keep_some(file: &File, before: &[u8], chance: &mut Chance) -> io::Result<()> {
    let durable = file.metadata()?.len();
    let length = if chance.below(2) == 0 {
        durable
    } else {
        before.len() as u64
    };
    let keeps_all = chance.below(4) == 0;
    for (number, page) in before.chunks(PAGE_BYTES).enumerate() {
        if keeps_all || chance.below(2) == 0 {
            file.write_all_at(page, (number * PAGE_BYTES) as u64)?;
        }
    }
    file.set_len(length)
}

/// A small generator (splitmix64): the same seed takes the same.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}
