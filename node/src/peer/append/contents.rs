//! Contents on their way in: in memory while all of them are small, else behind one another in a file
//! without a name. Only the message that is arriving is in memory.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use murder_model::{Guid, Keyword};
use murder_store::mail::NewMessage;
use murder_store::rows::BlobSource;
use murder_store::structure;
use tokio::task::spawn_blocking;

use super::{Append, Item};
use crate::backend::spool::unnamed_file;
use crate::peer::{CONTENT_BYTES_MAX, Link, LinkError};

/// Contents of a request that stay in memory.
const MEMORY_BYTES_MAX: u64 = 256 << 10;

/// What has arrived.
#[derive(Debug, Default)]
pub(super) struct Contents {
    memory: Vec<u8>,
    file: Option<File>,
    messages: Vec<Arrived>,
}

#[derive(Debug)]
struct Arrived {
    start: u64,
    length: u64,
    structure: Vec<u8>,
}

/// Why contents are of no use.
#[derive(Debug)]
pub(super) enum Unusable {
    /// They could not be spooled.
    Spool(io::Error),
    /// They are not what was announced.
    Malformed,
}

/// Reads all contents of a request from the wire, to the last byte even if they are of no use.
pub(super) async fn receive(
    link: &mut Link,
    directory: &Path,
    request: &Append,
) -> Result<Result<Contents, Unusable>, LinkError> {
    let mut contents = Ok(Contents::default());
    if request.bytes() > MEMORY_BYTES_MAX {
        let directory = directory.to_owned();
        let opened = spawn_blocking(move || unnamed_file(&directory)).await;
        contents = match opened.expect("opening a file does not panic") {
            Ok(file) => Ok(Contents {
                file: Some(file),
                ..Contents::default()
            }),
            Err(error) => Err(Unusable::Spool(error)),
        };
    }
    for item in &request.messages {
        let Some(message) = receive_one(link, item.length).await? else {
            return Ok(Err(Unusable::Malformed));
        };
        if let Ok(so_far) = contents {
            let guid = item.guid;
            let added = spawn_blocking(move || so_far.add(message, guid)).await;
            contents = added.expect("spooling does not panic");
        }
    }
    Ok(contents)
}

/// `None`: the pieces do not add up.
async fn receive_one(link: &mut Link, length: u64) -> Result<Option<Vec<u8>>, LinkError> {
    let expected = usize::try_from(length).unwrap_or(usize::MAX);
    let mut message = Vec::with_capacity(expected.min(CONTENT_BYTES_MAX));
    while message.len() < expected {
        let piece = link.receive_content().await?;
        if piece.is_empty() || message.len() + piece.len() > expected {
            return Ok(None);
        }
        message.extend_from_slice(&piece);
    }
    Ok(Some(message))
}

impl Contents {
    fn add(mut self, message: Vec<u8>, guid: Guid) -> Result<Self, Unusable> {
        if *blake3::hash(&message).as_bytes() != *guid.as_bytes() {
            return Err(Unusable::Malformed);
        }
        let end = |arrived: &Arrived| arrived.start + arrived.length;
        self.messages.push(Arrived {
            start: self.messages.last().map_or(0, end),
            length: message.len() as u64,
            structure: structure::encode(&structure::scan(&message)),
        });
        match &mut self.file {
            Some(file) => file.write_all(&message).map_err(Unusable::Spool)?,
            None => self.memory.extend_from_slice(&message),
        }
        Ok(self)
    }

    /// The messages, for the store.
    pub(super) fn messages<'a>(
        &'a self,
        items: &'a [Item],
        keywords: &'a [Vec<Keyword>],
    ) -> Vec<NewMessage<'a>> {
        let all = self.messages.iter().zip(items).zip(keywords);
        all.map(|((arrived, item), keywords)| NewMessage {
            content: self.source(arrived),
            guid: item.guid,
            email_id: item.email_id,
            flags: item.flags,
            keywords,
            internal_date: item.internal_date,
            structure: &arrived.structure,
        })
        .collect()
    }

    fn source(&self, arrived: &Arrived) -> BlobSource<'_> {
        match &self.file {
            Some(file) => BlobSource::File {
                file,
                start: arrived.start,
                length: arrived.length,
            },
            None => {
                let start = usize::try_from(arrived.start).expect("small contents");
                let length = usize::try_from(arrived.length).expect("small contents");
                BlobSource::Bytes(&self.memory[start..start + length])
            }
        }
    }
}
