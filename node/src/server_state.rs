//! What a server knows of itself, durably: who it is, how often it started, what it has promised.
//!
//! One small JSON file in the data directory, replaced by writing a new one, syncing it, renaming
//! it and syncing the directory. Each change is durable when its function returns. Its identity and
//! the number of starts lie beside the mail on purpose: a volume set back in time brings an old
//! number with it, and so is noticed (`docs/ownership.md`, O8).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use murder_locations::ownership;
use murder_model::{Fence, Incarnation, MoveId, ServerId, Term};
use serde::{Deserialize, Serialize};

use crate::clock;

const FILE: &str = "server.json";

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Facts {
    server_id: ServerId,
    incarnation: Incarnation,
    promised_term: Term,
    fence: Fence,
    cordoned: bool,
    deactivated: bool,
}

/// The facts, and what is true of this start only.
#[derive(Debug)]
pub struct ServerState {
    path: PathBuf,
    facts: Mutex<Facts>,
    start_id: [u8; 16],
    moves: Mutex<u32>,
}

/// A command of an operator that has been replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("fence is below {}", .0.get())]
pub struct Fenced(
    /// Highest fence seen.
    pub Fence,
);

impl ServerState {
    /// Reads the facts, or makes them for an empty directory, and counts this start.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(data_dir)?;
        let path = data_dir.join(FILE);
        let mut facts = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                let text = format!("{}: {error}", path.display());
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Facts {
                server_id: ServerId::from_bytes(clock::random_id()),
                incarnation: Incarnation::new(0),
                promised_term: Term::new(0),
                fence: Fence::new(0),
                cordoned: false,
                deactivated: false,
            },
            Err(error) => return Err(error),
        };
        facts.incarnation = Incarnation::new(facts.incarnation.get() + 1);
        replace(&path, &facts)?;
        Ok(Self {
            path,
            facts: Mutex::new(facts),
            start_id: clock::random_id(),
            moves: Mutex::new(0),
        })
    }

    /// The volume's identity, made once.
    pub fn server_id(&self) -> ServerId {
        self.read(|facts| facts.server_id)
    }

    /// Number of this start.
    pub fn incarnation(&self) -> Incarnation {
        self.read(|facts| facts.incarnation)
    }

    /// Random id of this start.
    pub fn start_id(&self) -> [u8; 16] {
        self.start_id
    }

    /// Highest term promised (O5).
    pub fn promised(&self) -> Term {
        self.read(|facts| facts.promised_term)
    }

    /// Highest fence seen.
    pub fn fence(&self) -> Fence {
        self.read(|facts| facts.fence)
    }

    /// Whether new units are refused.
    pub fn is_cordoned(&self) -> bool {
        self.read(|facts| facts.cordoned)
    }

    /// Whether nothing is served any more.
    pub fn is_deactivated(&self) -> bool {
        self.read(|facts| facts.deactivated)
    }

    /// Promises to refuse lower terms; a lower one than promised changes nothing.
    pub fn promise(&self, term: Term) -> io::Result<()> {
        self.change(|facts| facts.promised_term = facts.promised_term.max(term))
    }

    /// Takes a command's fence: refused if lower than one seen, remembered if higher.
    pub fn admit(&self, fence: Fence) -> io::Result<Result<(), Fenced>> {
        let highest = self.fence();
        if fence < highest {
            return Ok(Err(Fenced(highest)));
        }
        self.change(|facts| facts.fence = facts.fence.max(fence))
            .map(Ok)
    }

    /// Turns the refusal of new units on, or off together with deactivation.
    pub fn set_cordoned(&self, cordoned: bool) -> io::Result<()> {
        self.change(|facts| {
            facts.cordoned = cordoned;
            facts.deactivated &= cordoned;
        })
    }

    /// Serves nothing from now on.
    pub fn deactivate(&self) -> io::Result<()> {
        self.change(|facts| {
            facts.cordoned = true;
            facts.deactivated = true;
        })
    }

    /// An id for a move that begins here, above all earlier ones of this server.
    pub fn next_move_id(&self) -> MoveId {
        let mut serial = self.moves.lock().expect("no holder panics");
        *serial += 1;
        let random = clock::random_id();
        let random = random.first_chunk().expect("16 bytes have 6");
        ownership::move_id(self.incarnation(), *serial, *random)
    }

    fn read<T>(&self, read: impl FnOnce(&Facts) -> T) -> T {
        read(&self.facts.lock().expect("no holder panics"))
    }

    /// Changes facts; they are as before if the file cannot be replaced.
    fn change(&self, change: impl FnOnce(&mut Facts)) -> io::Result<()> {
        let mut facts = self.facts.lock().expect("no holder panics");
        let mut changed = facts.clone();
        change(&mut changed);
        replace(&self.path, &changed)?;
        *facts = changed;
        Ok(())
    }
}

/// The commit point is the rename's directory sync.
fn replace(path: &Path, facts: &Facts) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(facts).map_err(io::Error::other)?;
    let new = path.with_extension("json.new");
    let mut file = File::create(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use murder_model::{Fence, Incarnation, Term};

    use super::{Fenced, ServerState};

    #[test]
    fn identity_stays_and_starts_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let first = ServerState::open(folder.path()).unwrap();
        first.promise(Term::new(3)).unwrap();
        first.promise(Term::new(2)).unwrap();
        let second = ServerState::open(folder.path()).unwrap();
        assert_eq!(second.server_id(), first.server_id());
        assert_eq!(first.incarnation(), Incarnation::new(1));
        assert_eq!(second.incarnation(), Incarnation::new(2));
        assert_ne!(second.start_id(), first.start_id());
        assert_eq!(second.promised(), Term::new(3));
    }

    #[test]
    fn a_lower_fence_is_refused_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let state = ServerState::open(folder.path()).unwrap();
        assert_eq!(state.admit(Fence::new(7)).unwrap(), Ok(()));
        let state = ServerState::open(folder.path()).unwrap();
        assert_eq!(
            state.admit(Fence::new(6)).unwrap(),
            Err(Fenced(Fence::new(7)))
        );
    }

    #[test]
    fn uncordoning_takes_deactivation_back() {
        let folder = tempfile::tempdir().unwrap();
        let state = ServerState::open(folder.path()).unwrap();
        state.deactivate().unwrap();
        assert!(state.is_cordoned() && state.is_deactivated());
        state.set_cordoned(false).unwrap();
        assert!(!state.is_cordoned() && !state.is_deactivated());
    }

    #[test]
    fn later_moves_have_higher_ids_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let state = ServerState::open(folder.path()).unwrap();
        let (one, two) = (state.next_move_id(), state.next_move_id());
        let three = ServerState::open(folder.path()).unwrap().next_move_id();
        assert!(one < two && two < three);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("server.json"), "{").unwrap();
        let error = ServerState::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("server.json"), "{error}");
    }
}
