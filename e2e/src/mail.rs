//! Where the mail of a demonstration comes from: named by the user, the repository's history, the
//! samples, and generated.

mod files;
mod generate;
mod history;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use blake3::Hash;
use bytes::Bytes;

pub use files::{read_mail, to_crlf};
pub use generate::{Generator, SPREAD};
pub use history::root as repository;

/// Largest message that is taken, in bytes: what a node accepts by default.
pub const MESSAGE_BYTES_MAX: usize = 50 << 20;

/// Most bytes of real mail that are held.
const REAL_BYTES_MAX: usize = 512 << 20;

/// Where a message is from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// People's mail, or patches.
    Real,
    /// Of the repository's samples.
    Sample,
    /// From a seed.
    Generated,
}

/// One message to deliver.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where it is from.
    pub kind: Kind,
    /// Of its exact bytes.
    pub hash: Hash,
    /// Bytes.
    pub size: usize,
    /// Whether a server can recognise a repeated delivery of it.
    pub has_id: bool,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Held(Bytes),
    /// Made again each time: generated mail is large.
    Generated {
        generator: Generator,
        number: u64,
    },
}

impl Message {
    /// A message that is held.
    pub fn held(kind: Kind, content: Vec<u8>) -> Self {
        Self {
            kind,
            hash: blake3::hash(&content),
            size: content.len(),
            has_id: has_message_id(&content),
            content: Content::Held(content.into()),
        }
    }

    /// Message `number` of a generator.
    pub fn generated(generator: Generator, number: u64) -> Self {
        let content = generator.message(number);
        Self {
            kind: Kind::Generated,
            hash: blake3::hash(&content),
            size: content.len(),
            has_id: true,
            content: Content::Generated { generator, number },
        }
    }

    /// Its bytes, which end with CRLF.
    pub fn content(&self) -> Bytes {
        match &self.content {
            Content::Held(bytes) => bytes.clone(),
            Content::Generated { generator, number } => generator.message(*number).into(),
        }
    }
}

/// What to collect.
#[derive(Clone, Debug)]
pub struct Sources {
    /// A Maildir, an mbox, a message or a folder of messages, in place of the history.
    pub mail: Option<PathBuf>,
    /// Messages in all.
    pub messages: usize,
    /// Of the generated ones.
    pub seed: u64,
}

/// The mail, each content once, and remarks on what was left out.
#[derive(Debug, Default)]
pub struct Collected {
    /// Real, sample and generated, in this order.
    pub messages: Vec<Message>,
    /// For people.
    pub remarks: Vec<String>,
}

impl Sources {
    /// Reads and generates.
    pub fn collect(&self) -> Result<Collected> {
        let mut collected = Collected::default();
        let mut known = HashSet::new();
        let root = history::root();
        let real = match (&self.mail, &root) {
            (Some(path), _) => read_mail(path, self.messages)?,
            (None, Some(root)) => history::patches(root, self.messages)?,
            (None, None) => {
                let remark = "not in a git checkout: its history is not delivered";
                collected.remarks.push(remark.to_owned());
                Vec::new()
            }
        };
        collected.take(Kind::Real, real, self.messages, &mut known);
        let samples = root.unwrap_or_default().join("examples/mail");
        if samples.is_dir() {
            let samples = samples_in(&samples)?;
            collected.take(Kind::Sample, samples, self.messages, &mut known);
        } else {
            let remark = format!("no samples: {} does not exist", samples.display());
            collected.remarks.push(remark);
        }
        let generator = Generator::new(self.seed);
        let missing = self.messages.saturating_sub(collected.messages.len());
        collected
            .messages
            .extend((0..missing as u64).map(|number| Message::generated(generator, number)));
        Ok(collected)
    }
}

impl Collected {
    fn take(
        &mut self,
        kind: Kind,
        contents: Vec<Vec<u8>>,
        messages_max: usize,
        known: &mut HashSet<Hash>,
    ) {
        let (mut unfit, mut repeated, mut excess, mut bytes) = (0, 0, 0, 0);
        for content in contents {
            if content.is_empty() || content.len() > MESSAGE_BYTES_MAX {
                unfit += 1;
                continue;
            }
            if self.messages.len() >= messages_max || bytes + content.len() > REAL_BYTES_MAX {
                excess += 1;
                continue;
            }
            let message = Message::held(kind, content);
            if known.insert(message.hash) {
                bytes += message.size;
                self.messages.push(message);
            } else {
                repeated += 1;
            }
        }
        let reasons = [
            (unfit, "are empty or larger than 50 MiB"),
            (repeated, "are the same as others, byte for byte"),
            (excess, "are more than is delivered"),
        ];
        for (count, reason) in reasons.into_iter().filter(|(count, _)| *count > 0) {
            let remark = format!("{count} messages are left out: they {reason}");
            self.remarks.push(remark);
        }
    }
}

/// The samples as they are: line ends are what some of them are about.
fn samples_in(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let read = |path: &PathBuf| {
        let content = std::fs::read(path);
        content.with_context(|| format!("cannot read {}", path.display()))
    };
    let mut contents = files::messages_in(folder)?
        .iter()
        .map(read)
        .collect::<Result<Vec<_>>>()?;
    contents.iter_mut().for_each(files::end_with_crlf);
    Ok(contents)
}

/// Whether there is one `Message-ID` field of the plain form `<left@right>`; others are
/// recognised by some servers and not by others.
fn has_message_id(content: &[u8]) -> bool {
    let mut values = header_lines(content).filter_map(|line| {
        let (name, value) = line.split_at_checked(11)?;
        name.eq_ignore_ascii_case(b"message-id:")
            .then(|| value.trim_ascii())
    });
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let inner = value.strip_prefix(b"<").and_then(|v| v.strip_suffix(b">"));
    inner.is_some_and(|id| {
        id.iter().filter(|&&byte| byte == b'@').count() == 1
            && id
                .iter()
                .all(|byte| byte.is_ascii_graphic() && !b"<>()\"\\".contains(byte))
    })
}

fn header_lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .take_while(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_message_id_counts() {
        let cases: [(&[u8], bool); 7] = [
            (b"Subject: a\r\nMessage-ID: <a.1@b>\r\n\r\n", true),
            (b"message-id:<a@b>\r\n\r\n", true),
            (b"Subject: a\r\n\r\nMessage-ID: <a@b>\r\n", false),
            (b"Message-ID: <a@b>\r\nMessage-ID: <c@d>\r\n\r\n", false),
            (b"Message-ID:\r\n <a@b>\r\n\r\n", false),
            (b"Message-ID: a@b\r\n\r\n", false),
            (b"", false),
        ];
        for (content, expected) in cases {
            assert_eq!(has_message_id(content), expected, "{content:?}");
        }
    }

    #[test]
    fn a_repeated_message_is_taken_once() {
        let contents = vec![b"a: b\r\n".to_vec(), b"a: b\r\n".to_vec(), Vec::new()];
        let mut collected = Collected::default();
        collected.take(Kind::Real, contents, 10, &mut HashSet::new());
        assert_eq!(collected.messages.len(), 1);
        assert_eq!(
            collected.remarks,
            [
                "1 messages are left out: they are empty or larger than 50 MiB",
                "1 messages are left out: they are the same as others, byte for byte",
            ]
        );
    }
}
