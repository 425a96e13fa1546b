//! A message on its way in: in memory while it is small, else in a file that has no name any more.
//!
//! Hashes are computed as the bytes arrive. Nothing here is durable; the log is where the message is
//! written once, whole, in the batch that acknowledges it. So a client that vanishes leaves nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use murder_model::Guid;
use murder_store::rows::BlobSource;
use murder_store::structure;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use crate::clock;

/// Messages up to this size stay in memory.
const MEMORY_BYTES_MAX: usize = 256 << 10;

/// A message that is still arriving.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    memory: Vec<u8>,
    file: Option<File>,
    length: u64,
    guid: blake3::Hasher,
    content: Sha256,
}

/// A message that has arrived.
#[derive(Debug)]
pub struct Spooled {
    bytes: Vec<u8>,
    file: Option<File>,
    /// Bytes.
    pub length: u64,
    /// BLAKE3 of all bytes.
    pub guid: Guid,
    /// SHA-256 of the bytes that the client sent.
    pub content: [u8; 32],
    /// Encoded structure.
    pub structure: Vec<u8>,
    /// Its Message-ID field.
    pub message_id: Option<Vec<u8>>,
}

impl Spool {
    /// An empty message; large ones use `directory`.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            memory: Vec::new(),
            file: None,
            length: 0,
            guid: blake3::Hasher::new(),
            content: Sha256::new(),
        }
    }

    /// Adds what this server writes before the client's bytes.
    pub fn prefix(&mut self, header: &[u8]) {
        self.memory.extend_from_slice(header);
        self.length += header.len() as u64;
        self.guid.update(header);
    }

    /// Adds bytes of the client.
    pub async fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.guid.update(bytes);
        self.content.update(bytes);
        self.length += bytes.len() as u64;
        self.memory.extend_from_slice(bytes);
        if self.memory.len() <= MEMORY_BYTES_MAX {
            return Ok(());
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => {
                let directory = self.directory.clone();
                spawn_blocking(move || unnamed_file(&directory)).await??
            }
        };
        let chunk = std::mem::take(&mut self.memory);
        let written = spawn_blocking(move || {
            file.write_all(&chunk)?;
            Ok::<_, io::Error>(file)
        });
        self.file = Some(written.await??);
        Ok(())
    }

    /// Ends the message and scans its structure.
    pub async fn finish(mut self) -> io::Result<Spooled> {
        spawn_blocking(move || {
            let mut spooled = Spooled {
                bytes: std::mem::take(&mut self.memory),
                file: None,
                length: self.length,
                guid: Guid::from_bytes(*self.guid.finalize().as_bytes()),
                content: self.content.finalize().into(),
                structure: Vec::new(),
                message_id: None,
            };
            let scanned = match self.file.take() {
                Some(mut file) => {
                    file.write_all(&spooled.bytes)?;
                    spooled.bytes = Vec::new();
                    // As large as the largest message that settings allow.
                    let length = usize::try_from(self.length).unwrap_or(usize::MAX);
                    let mut whole = vec![0; length];
                    file.read_exact_at(&mut whole, 0)?;
                    spooled.file = Some(file);
                    structure::scan(&whole)
                }
                None => structure::scan(&spooled.bytes),
            };
            spooled.message_id = scanned.message_id().map(<[u8]>::to_vec);
            spooled.structure = structure::encode(&scanned);
            Ok(spooled)
        })
        .await?
    }
}

impl Spooled {
    /// The bytes, for the log.
    pub fn source(&self) -> BlobSource<'_> {
        match &self.file {
            Some(file) => BlobSource::File {
                file,
                start: 0,
                length: self.length,
            },
            None => BlobSource::Bytes(&self.bytes),
        }
    }
}

pub(crate) fn unnamed_file(directory: &Path) -> io::Result<File> {
    let id = clock::random_id();
    let name: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = directory.join(name);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use murder_store::rows::BlobSource;

    use super::{MEMORY_BYTES_MAX, Spool};

    #[tokio::test]
    async fn small_and_large_messages_keep_their_bytes() {
        let directory = tempfile::tempdir().unwrap();
        for size in [10, MEMORY_BYTES_MAX, 3 * MEMORY_BYTES_MAX + 7] {
            let mut spool = Spool::new(directory.path());
            spool.prefix(b"Message-ID: <a@b>\r\n");
            let body = vec![b'x'; size];
            for chunk in body.chunks(65_536) {
                spool.push(chunk).await.unwrap();
            }
            let spooled = spool.finish().await.unwrap();
            let expected = [b"Message-ID: <a@b>\r\n".as_slice(), &body].concat();
            assert_eq!(spooled.length, expected.len() as u64);
            assert_eq!(spooled.guid.as_bytes(), blake3::hash(&expected).as_bytes());
            assert_eq!(spooled.message_id.as_deref(), Some(b"<a@b>".as_slice()));
            let on_disk = matches!(spooled.source(), BlobSource::File { .. });
            assert_eq!(on_disk, size >= MEMORY_BYTES_MAX);
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        }
    }
}
