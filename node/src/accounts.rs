//! Who may log in: a file of argon2id verifiers behind a trait that other sources can join.
//!
//! The file has one account a line, `name:$argon2id$…` (PHC string format); empty lines and lines
//! that begin with `#` are kept. It is read again when its modification time changes, so that
//! `murder-node passwd` needs no restart. A write goes to a new file that is synced and renamed.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use murder_model::UserName;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

/// Verifications that run at once: each takes 19 MiB and some 20 ms of a core.
const VERIFICATIONS_MAX: usize = 4;
/// Largest accounts file read, in bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What a source of accounts says of a name and a password.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The password is the account's.
    Accepted,
    /// No such account, or another password; which of the two is not told.
    Refused,
}

/// Why no verdict could be given.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// The file cannot be read or written.
    #[error("cannot {action} the accounts file {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line is not `name:verifier`.
    #[error("{path}:{line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The password could not be hashed.
    #[error("cannot hash the password: {0}")]
    Hash(String),
    /// There is no such account to delete.
    #[error("there is no account {0}")]
    NoAccount(UserName),
}

/// A verdict on its way.
pub type Verifying<'a> = Pin<Box<dyn Future<Output = Result<Verdict, AccountsError>> + Send + 'a>>;
/// Word of an account on its way.
pub type Looking<'a> = Pin<Box<dyn Future<Output = Result<bool, AccountsError>> + Send + 'a>>;

/// A source of accounts.
pub trait Accounts: fmt::Debug + Send + Sync {
    /// Checks a password. Takes the same time whether or not the account exists.
    fn verify<'a>(&'a self, user: &'a UserName, password: &'a [u8]) -> Verifying<'a>;

    /// Whether there is such an account.
    fn exists<'a>(&'a self, user: &'a UserName) -> Looking<'a>;
}

#[derive(Debug, Default)]
struct Loaded {
    modified: Option<SystemTime>,
    verifiers: Arc<HashMap<String, String>>,
}

/// Accounts in a file.
#[derive(Clone, Debug)]
pub struct FileAccounts(Arc<Verifiers>);

/// The file's lines, and what checking a password against them needs.
#[derive(Debug)]
struct Verifiers {
    path: PathBuf,
    loaded: Mutex<Loaded>,
    running: Semaphore,
    /// Memory of verifications that do not run now. An allocator would keep some for each thread.
    spare: Mutex<Vec<Vec<Block>>>,
    /// Verified against when the account is unknown, so that both cases take the same time.
    decoy: String,
}

impl FileAccounts {
    /// Opens the file; it must exist and be sound.
    pub fn open(path: &Path) -> Result<Self, AccountsError> {
        let accounts = Verifiers {
            path: path.to_owned(),
            loaded: Mutex::default(),
            running: Semaphore::new(VERIFICATIONS_MAX),
            spare: Mutex::default(),
            decoy: hash(b"nobody has this password")?,
        };
        accounts.verifiers()?;
        Ok(Self(Arc::new(accounts)))
    }
}

impl Accounts for FileAccounts {
    fn verify<'a>(&'a self, user: &'a UserName, password: &'a [u8]) -> Verifying<'a> {
        Box::pin(async move {
            let _slot = self
                .0
                .running
                .acquire()
                .await
                .expect("the semaphore is never closed");
            let accounts = Arc::clone(&self.0);
            let (user, password) = (user.clone(), password.to_vec());
            tokio::task::spawn_blocking(move || accounts.verify_blocking(&user, &password))
                .await
                .map_err(|error| AccountsError::Hash(error.to_string()))?
        })
    }

    fn exists<'a>(&'a self, user: &'a UserName) -> Looking<'a> {
        Box::pin(async move { Ok(self.0.verifiers()?.contains_key(user.as_str())) })
    }
}

impl Verifiers {
    fn verify_blocking(&self, user: &UserName, password: &[u8]) -> Result<Verdict, AccountsError> {
        let verifiers = self.verifiers()?;
        let known = verifiers.get(user.as_str());
        let spare = self.spare.lock().expect("no holder panics").pop();
        let mut memory = spare.unwrap_or_default();
        let matches = PasswordHash::new(known.unwrap_or(&self.decoy))
            .is_ok_and(|verifier| is_password(password, &verifier, &mut memory));
        self.spare.lock().expect("no holder panics").push(memory);
        Ok(if known.is_some() && matches {
            Verdict::Accepted
        } else {
            Verdict::Refused
        })
    }

    fn verifiers(&self) -> Result<Arc<HashMap<String, String>>, AccountsError> {
        let modified = fs::metadata(&self.path)
            .and_then(|metadata| metadata.modified())
            .map_err(|source| self.file_error("read", source))?;
        let mut loaded = self.loaded.lock().expect("no holder panics");
        if loaded.modified != Some(modified) {
            match read_lines(&self.path) {
                Ok(lines) => {
                    let verifiers = lines.into_iter().filter_map(Line::account).collect();
                    loaded.verifiers = Arc::new(verifiers);
                }
                // Whoever could log in still can, until the file is mended.
                Err(error) if loaded.modified.is_some() => {
                    tracing::error!(event = "accounts_reload_failed", %error);
                }
                Err(error) => return Err(error),
            }
            loaded.modified = Some(modified);
        }
        Ok(Arc::clone(&loaded.verifiers))
    }

    fn file_error(&self, action: &'static str, source: io::Error) -> AccountsError {
        AccountsError::File {
            action,
            path: self.path.clone(),
            source,
        }
    }
}

/// Sets the password of an account, which is made if need be; so is the file (mode 0600).
pub fn set_password(path: &Path, user: &UserName, password: &[u8]) -> Result<(), AccountsError> {
    let mut lines = if path.exists() {
        read_lines(path)?
    } else {
        Vec::new()
    };
    let verifier = hash(password)?;
    match lines.iter_mut().find(|line| line.names(user)) {
        Some(Line::Account { verifier: old, .. }) => *old = verifier,
        _ => lines.push(Line::Account {
            name: user.as_str().to_owned(),
            verifier,
        }),
    }
    write_lines(path, &lines)
}

/// Removes an account; its mail stays.
pub fn delete(path: &Path, user: &UserName) -> Result<(), AccountsError> {
    let mut lines = read_lines(path)?;
    let before = lines.len();
    lines.retain(|line| !line.names(user));
    if lines.len() == before {
        return Err(AccountsError::NoAccount(user.clone()));
    }
    write_lines(path, &lines)
}

enum Line {
    Account { name: String, verifier: String },
    Other(String),
}

impl Line {
    fn names(&self, user: &UserName) -> bool {
        matches!(self, Self::Account { name, .. } if name == user.as_str())
    }

    fn account(self) -> Option<(String, String)> {
        match self {
            Self::Account { name, verifier } => Some((name, verifier)),
            Self::Other(_) => None,
        }
    }
}

fn read_lines(path: &Path) -> Result<Vec<Line>, AccountsError> {
    let file_error = |source| AccountsError::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let length = fs::metadata(path).map_err(file_error)?.len();
    if length > FILE_BYTES_MAX {
        return Err(file_error(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{length} bytes, at most {FILE_BYTES_MAX} are read"),
        )));
    }
    let text = fs::read_to_string(path).map_err(file_error)?;
    text.lines()
        .enumerate()
        .map(|(index, line)| parse_line(path, index + 1, line))
        .collect()
}

fn parse_line(path: &Path, line: usize, text: &str) -> Result<Line, AccountsError> {
    if text.is_empty() || text.starts_with('#') {
        return Ok(Line::Other(text.to_owned()));
    }
    let wrong = |reason| AccountsError::Line {
        path: path.to_owned(),
        line,
        reason,
    };
    let (name, verifier) = text
        .split_once(':')
        .ok_or_else(|| wrong("expected name:verifier"))?;
    let name = UserName::parse(name).map_err(|_| wrong("not a valid user name"))?;
    PasswordHash::new(verifier).map_err(|_| wrong("not a verifier in PHC string format"))?;
    Ok(Line::Account {
        name: name.as_str().to_owned(),
        verifier: verifier.to_owned(),
    })
}

fn write_lines(path: &Path, lines: &[Line]) -> Result<(), AccountsError> {
    let file_error = |source| AccountsError::File {
        action: "write",
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    for line in lines {
        match line {
            Line::Account { name, verifier } => {
                text.push_str(name);
                text.push(':');
                text.push_str(verifier);
            }
            Line::Other(other) => text.push_str(other),
        }
        text.push('\n');
    }
    replace_file(path, text.as_bytes()).map_err(file_error)
}

/// Writes beside, syncs, renames, syncs the directory: readers see the old file or the new one.
fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    fs::File::open(directory)?.sync_all()
}

fn argon2() -> Argon2<'static> {
    // OWASP's first choice for argon2id: 19 MiB, two passes, one lane.
    let params = Params::new(19 * 1024, 2, 1, None).expect("the parameters are in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Whether a verifier was made of this password. `memory` grows to what the verifier wants.
fn is_password(password: &[u8], verifier: &PasswordHash, memory: &mut Vec<Block>) -> bool {
    let (Some(salt), Some(expected)) = (&verifier.salt, &verifier.hash) else {
        return false;
    };
    let (Ok(algorithm), Ok(version), Ok(params)) = (
        Algorithm::try_from(verifier.algorithm.as_str()),
        verifier
            .version
            .map_or_else(|| Ok(Version::default()), Version::try_from),
        Params::try_from(verifier),
    ) else {
        return false;
    };
    if memory.len() < params.block_count() {
        memory.resize(params.block_count(), Block::default());
    }
    let mut found = vec![0; expected.len()];
    let argon2 = Argon2::new(algorithm, version, params);
    argon2
        .hash_password_into_with_memory(password, salt, &mut found, memory)
        .is_ok()
        && bool::from(expected.as_bytes().ct_eq(&found))
}

fn hash(password: &[u8]) -> Result<String, AccountsError> {
    argon2()
        .hash_password(password)
        .map(|hash| hash.to_string())
        .map_err(|error| AccountsError::Hash(error.to_string()))
}

#[cfg(test)]
mod tests {
    use murder_model::UserName;

    use super::{Accounts as _, FileAccounts, Verdict, delete, set_password};

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    #[tokio::test]
    async fn a_set_password_is_accepted_and_others_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("accounts");
        set_password(&path, &user("alice"), b"secret").unwrap();
        let accounts = FileAccounts::open(&path).unwrap();
        assert_eq!(
            accounts.verify(&user("ALICE"), b"secret").await.unwrap(),
            Verdict::Accepted
        );
        assert_eq!(
            accounts.verify(&user("alice"), b"Secret").await.unwrap(),
            Verdict::Refused
        );
        assert_eq!(
            accounts.verify(&user("bob"), b"secret").await.unwrap(),
            Verdict::Refused
        );
    }

    #[tokio::test]
    async fn memory_of_earlier_verifications_changes_no_verdict() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("accounts");
        set_password(&path, &user("alice"), b"secret").unwrap();
        let accounts = FileAccounts::open(&path).unwrap();
        for _ in 0..3 {
            for (password, verdict) in [("secret", Verdict::Accepted), ("Secret", Verdict::Refused)]
            {
                let found = accounts.verify(&user("alice"), password.as_bytes()).await;
                assert_eq!(found.unwrap(), verdict);
            }
        }
        assert_eq!(accounts.0.spare.lock().unwrap().len(), 1);
    }

    /// A mounted Secret is a link to a link to a file, and changes by another link.
    #[tokio::test]
    async fn a_changed_file_counts_at_once_and_a_bad_one_leaves_the_old_accounts() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let write = |version: &str, user_name: &str, bad: &str| {
            let folder = root.join(version);
            std::fs::create_dir(&folder).unwrap();
            let file = folder.join("accounts");
            set_password(&file, &user(user_name), b"secret").unwrap();
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, text + bad).unwrap();
            std::os::unix::fs::symlink(version, root.join("..next")).unwrap();
            std::fs::rename(root.join("..next"), root.join("..data")).unwrap();
        };
        write("1", "alice", "");
        std::os::unix::fs::symlink("..data/accounts", root.join("accounts")).unwrap();
        let accounts = FileAccounts::open(&root.join("accounts")).unwrap();
        write("2", "bob", "");
        assert!(accounts.exists(&user("bob")).await.unwrap());
        assert!(!accounts.exists(&user("alice")).await.unwrap());
        write("3", "carol", "carol\n");
        assert!(accounts.exists(&user("bob")).await.unwrap());
        assert!(!accounts.exists(&user("carol")).await.unwrap());
        write("4", "carol", "");
        assert!(accounts.exists(&user("carol")).await.unwrap());
    }

    #[test]
    fn deleting_keeps_comments_and_other_accounts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("accounts");
        std::fs::write(&path, "# staff\n").unwrap();
        set_password(&path, &user("alice"), b"a").unwrap();
        set_password(&path, &user("bob"), b"b").unwrap();
        delete(&path, &user("alice")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# staff\nbob:$argon2id$"), "{text}");
        assert!(delete(&path, &user("alice")).is_err());
    }

    #[test]
    fn a_bad_line_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("accounts");
        std::fs::write(&path, "# fine\nalice:plain\n").unwrap();
        let error = FileAccounts::open(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("accounts:2: not a verifier in PHC string format"),
            "{error}"
        );
    }
}
